"""How names and paths are shown in messages: printable, with a nearest-name hint, and never a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hyperguild.domain.text import nearest

PathPart = str | int
DocumentPath = tuple[PathPart, ...]

_HIDDEN = "***"

# Shapes of keys that providers document or that are well known: OpenAI, Anthropic, OpenRouter (all sk-),
# GitHub, Groq, Hugging Face, xAI, Slack, AWS, Google, JSON web tokens, PEM blocks.
_KEY_SHAPES = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        sk-[A-Za-z0-9_-]{6,}
      | gh[a-z]_[A-Za-z0-9]{16,} | github_pat_[A-Za-z0-9_]{16,}
      | gsk_[A-Za-z0-9]{16,}
      | hf_[A-Za-z0-9]{16,}
      | xai-[A-Za-z0-9]{16,}
      | xox[a-z]-[A-Za-z0-9-]{10,}
      | AKIA[0-9A-Z]{16}
      | AIza[0-9A-Za-z_-]{20,}
      | eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}
      | -----BEGIN\ [A-Z ]*PRIVATE\ KEY
    )""",
    re.VERBOSE,
)
# Names that people give keys, in lower case and without - and _. Narrow: `prompt_cache_key` and `eos_token`
# are parameters of models.
_KEY_NAME = re.compile(
    r"(.*(api|access|auth|bearer|secret|private))?(key|token)|auth|bearer|cookie|"
    r".*(authorization|credentials?|password|passwd|passphrase|secret)"
)
_BEARER = re.compile(r"\bbearer\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_SECRET_NAME = re.compile(r"key|token|secret|password|passwd|authorization|credential|cookie", re.IGNORECASE)
_SECRET_THEN_VALUE = re.compile(
    r"^([\w-]*(?:key|token|secret|password|passwd|authorization|credential)[\w-]*\s*[:=]).+",
    re.IGNORECASE | re.DOTALL,
)


def looks_like_key(text: str) -> bool:
    """Tell whether the text holds something of the shape of an API key, token or private key."""
    return bool(_KEY_SHAPES.search(text) or _BEARER.search(text))


def names_a_secret(name: str) -> bool:
    """Tell whether what has this name (a header, a variable) is taken for a secret."""
    return bool(_SECRET_NAME.search(name))


def is_name_for_key(name: str) -> bool:
    """Tell whether what has this name in a mapping is taken for an API key or a password."""
    return bool(_KEY_NAME.fullmatch(name.strip().lower().replace("_", "").replace("-", "")))


def is_variable_name(text: str) -> bool:
    """Tell whether the text can be the name of an environment variable, and is not the key itself."""
    return bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text)) and not looks_like_key(text)


def printable(text: str) -> str:
    """Return the text with control, formatting and other unprintable characters escaped.

    Terminal escapes and bidirectional overrides must not change what a person reads.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def quoted(text: str) -> str:
    """Return the text in double quotes, printable; something of the shape of a key is not shown."""
    return f'"{_HIDDEN if looks_like_key(text) else printable(text)}"'


def shown_path(path: DocumentPath) -> str:
    """Join a path with dots. A part that holds a secret (`{api_key:sk-…}` is one key in YAML) is cut."""
    return ".".join(_shown_part(str(part)) for part in path)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "…"?` for the nearest known name, or an empty string."""
    near = nearest(name, known)
    return "" if near is None else f"; did you mean {quoted(near)}?"


def listed(names: Iterable[str]) -> str:
    """Return the names, joined for a sentence: `a, b or c`."""
    every = list(names)
    return " or ".join([", ".join(every[:-1]), every[-1]]) if len(every) > 1 else "".join(every)


def _shown_part(part: str) -> str:
    named = _SECRET_THEN_VALUE.match(part)
    if named:
        return printable(named.group(1)) + _HIDDEN
    return _HIDDEN if looks_like_key(part) else printable(part)
