"""Whether a value that stands beside a telling name is a secret: not an example, a reference or a word."""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal

from hyperguild.domain.patterns import lazy

NameKind = Literal["password", "token", "key"]
"""What a name promises: a password may be short and plain, a token is long and random; `key` says little."""

SHORTEST = 6
"""Characters of a password; shorter ones are replaced nowhere, for they stand in ordinary text too."""

SHORTEST_TOKEN = 12
SHORTEST_KEY = 16

_EXAMPLE_WORDS = frozenset(
    """your changeme changeit change placeholder example dummy sample redacted fake insert replace todo fixme
    mock lorem secret secrets password passwords passwd pass pwd passphrase token tokens key apikey
    credentials string value none null nil undefined true false required optional hidden masked test foo bar
    baz foobar user username admin""".split()  # noqa: SIM905  # a list of them is three times as long
)
_TELLING = frozenset(
    """your changeme changeit placeholder example dummy sample redacted fake insert replace todo
    fixme""".split()  # noqa: SIM905  # as above
)
_FILLED_IN = lazy(
    r"\$\{|\$\(|\{\{|\{(?:[A-Za-z_][A-Za-z0-9_.]*)?\}|<%|#\{|%\(|<[A-Za-z]|\[secret:|(?<![A-Z0-9])REDACTED_"
    r"|x{4}|X{4}|\*{3}|\.\.\.|…|•|\[[A-Za-z0-9]-[A-Za-z0-9]|[Aa][Bb][Cc][Dd][Ee][Ff][Gg][Hh][Ii][Jj][Kk]"
)
"""What a template fills in or somebody crossed out, placeholders of ours, alphabets and patterns."""

_REFERENCE = lazy(
    r"\$[A-Za-z_0-9@]|%[A-Za-z_]+%$|[A-Za-z_][A-Za-z0-9_]*(?:\??\.[A-Za-z_][A-Za-z0-9_]*)+$"
    r"|(?:process\.env|os\.environ|ENV|env|secrets|vars|vault|arn|op|ssm|file|https?|urn|data|blob):"
    r"|!|&[a-z]|@[A-Za-z]+/|\^|/\^"
)
"""What a value that refers to another begins with: `$NAME`, `config.password`, `vault:…`, a URL, a regex."""

_ADDRESS = lazy(r"[a-z][a-z0-9+.-]{1,20}://")
_PATH = lazy(r"(?:~|\.{1,2})?/")
_COLOR = lazy(r"#[0-9A-Fa-f]{3,8}$")
_DATE = lazy(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9](?:[Tt ][0-2][0-9]:[0-5][0-9](?::[0-6][0-9](?:[.,][0-9]{1,9})?)?"
    r"[ ]?(?:[Zz]|UTC|[+-][0-9]{2}:?[0-9]{2})?)?$"
)
_RULE = lazy(r"[a-z_]+(?:[|:,][a-z0-9_]+)+$")
_WORDY = lazy(r"[A-Za-z]{0,24}[0-9]{0,6}$")
_DIGIT = lazy(r"\d")
_SEPARATORS = lazy(r"[-_./:@+ \\]+")
_TECHNICAL = lazy(
    r"(?i)(?:sha|md|base|utf|ucs|bcrypt|scrypt|argon|pbkdf|ripemd|blake|aes|rsa|des|ed|x|rfc|iso|ascii|latin"
    r"|tls|ssl|oauth|http|ipv|sql|web|log|vt|v|s|ec|k|p|h)-?[0-9]"
)
_FILE = lazy(r"[^=+]*\.(?:pem|key|crt|cer|json|ya?ml|txt|env|py|js|ts|go|rs|java|toml|ini|p12|pfx|html?)$")


def is_made_up(value: str) -> bool:
    """Tell whether the value stands for a secret: an example, a template's gap, something crossed out."""
    if _FILLED_IN().search(value) or len(set(value)) < 3:
        return True
    words = [part.rstrip("0123456789") for part in _SEPARATORS().split(value.lower().strip("<>[](){}"))]
    words = [word for word in words if word]
    return any(word in _TELLING for word in words) or (
        bool(words) and all(word in _EXAMPLE_WORDS for word in words)
    )


def is_reference(value: str) -> bool:
    """Tell whether the value names where a secret is, or is code, an address, a file, a color or a date."""
    if _PATH().match(value) and is_wordy(value):
        return True
    return any(pattern().match(value) for pattern in (_REFERENCE, _ADDRESS, _COLOR, _FILE, _DATE))


def is_wordy(value: str) -> bool:
    """Tell whether the value is words and short numbers, as names, paths and versions are."""
    parts = _SEPARATORS().split(value)
    return all(_WORDY().match(part) for part in parts) and (len(parts) > 1 or len(value) <= 24)


def is_random(value: str, shortest: int) -> bool:
    """Tell whether the value looks drawn: long enough, with digits among letters, no words, much entropy."""
    if len(value) < shortest or any(char.isspace() for char in value) or is_wordy(value):
        return False
    digits = sum(char.isdigit() for char in value)
    letters = sum(char.isalpha() for char in value)
    if not digits:
        mixed = any(char.islower() for char in value) and any(char.isupper() for char in value)
        return mixed and len(value) >= 24 and entropy(value) >= 4.0
    return letters > 0 and entropy(value) >= 2.8


def is_password(value: str) -> bool:
    """Tell whether a quoted value may be a password: at least 6 characters, and not just a word."""
    if len(value) < SHORTEST or value.split() != [value] or _RULE().match(value):
        return False
    if value.isdigit():
        return True
    if not any(char.isalpha() for char in value):
        return False
    within = value[1:-1]
    return _DIGIT().search(value) is not None or any(char in within for char in "!@#$%^&*?~=+")


def is_given(value: str, kind: NameKind) -> bool:
    """Tell whether a value is the secret that a name of this kind promises."""
    if is_made_up(value) or is_reference(value):
        return False
    match kind:
        case "password":
            return is_password(value)
        case "token":
            return is_random(value, SHORTEST_TOKEN)
        case "key":
            return is_random(value, SHORTEST_KEY)


def is_technical(value: str) -> bool:
    """Tell whether the value names an algorithm, an encoding or a version: `sha256`, `v2beta1`."""
    return _TECHNICAL().match(value) is not None


def entropy(value: str) -> float:
    """Return the Shannon entropy of its characters, in bits each."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


def is_distinct(value: str) -> bool:
    """Tell whether the value is a secret also where no name stands beside it: no word, and no number."""
    return (
        len(value) >= SHORTEST
        and any(char.isalpha() for char in value)
        and any(not char.isalpha() for char in value)
    )
