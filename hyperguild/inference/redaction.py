"""Takes secrets out of a request before it leaves the machine.

Each becomes a placeholder (`REDACTED_GITHUB_0a1b2c3d4e5f`): one word of letters, digits and underscores,
which survives JSON, shells and Markdown. Its number is a hash of the secret under a key of this process: the
same secret gets the same placeholder in every request, and nobody can compute one from the other. It is no
placeholder of the session log (`[secret:NAME]`, `hyperguild.domain.secrets`), which is for good.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import regex

from hyperguild.domain.chain import Model
from hyperguild.domain.messages import ModelRequest
from hyperguild.domain.redaction import RedactionPolicy
from hyperguild.domain.secret_context import context_spans
from hyperguild.domain.secret_shapes import SHAPES, shapes_in
from hyperguild.domain.secret_values import SHORTEST, is_distinct, is_made_up
from hyperguild.domain.secrets import Scrubber
from hyperguild.errors import BadRequestError
from hyperguild.inference.request_texts import RequestTexts, spelled_in_json

PATTERNS_TIMEOUT_S = 1.0
"""For all configured patterns over one request; a prompt that is not searched is not sent."""

REMEMBERED = 128
"""Secrets that were known by their surroundings, and are replaced in later requests without them."""

SURELY_RANDOM = 16
"""Characters from which on a secret is also found inside a longer word."""

MANY = 256
"""Values from which on one look at each place of a text is quicker than a search for each value."""

_IN_CONTEXT = frozenset({"password", "bearer"})
_BEGINNING = "REDACTED_"
_NUMBER = re.compile("_(?=([0-9a-f]{12}))")
_PLACEHOLDER = re.compile(rf"{_BEGINNING}[A-Z0-9_]{{1,60}}_[0-9a-f]{{12}}")


@dataclass(frozen=True, slots=True)
class Redacted:
    """A request without its secrets, and what each placeholder in it stands for."""

    request: ModelRequest
    originals: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Find:
    """A secret in one text."""

    start: int
    end: int
    kind: str


class Redactor:
    """Redacts requests; safe to share among concurrent runs and threads.

    `key` is random, drawn once for the process (32 bytes). All that is kept between requests is the last 128
    secrets that were known by their surroundings alone, so that an answer that repeats one does not carry it
    out later.
    """

    def __init__(
        self, policy: RedactionPolicy, scrubber: Scrubber, key: bytes, now_s: Callable[[], float]
    ) -> None:
        self._policy = policy
        self._scrubber = scrubber
        self._key = key
        self._now_s = now_s
        self._patterns = [(one.name, regex.compile(one.regex, regex.MULTILINE)) for one in policy.patterns]
        self._remembered: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    @property
    def may_take_long(self) -> bool:
        """Whether somebody's own patterns are searched, for up to a second."""
        return bool(self._policy.patterns)

    def applies_to(self, model: Model) -> bool:
        """Tell whether requests to the model are redacted."""
        return self._policy.applies_to(model)

    def redact(self, request: ModelRequest) -> Redacted:
        """Return the request with a placeholder for every secret; itself where there is none.

        Pictures, and what the provider wants back verbatim, stay as they are. Raises `BadRequestError` where
        the configured patterns take too long.
        """
        source = RequestTexts(request)
        searched = (*source.texts, *source.written)
        finds = self._finds(searched, request.model)
        kinds = {
            text[find.start : find.end]: find.kind for text in source.texts for find in reversed(finds[text])
        }
        arguments = {
            _from_json(text[find.start : find.end]): find.kind
            for text in source.written
            for find in finds[text]
        }
        everything = "\0".join(searched)
        spread = self._spread((*kinds, *arguments), everything)
        if not (kinds or arguments or spread):
            return Redacted(request, {})
        kinds = arguments | kinds
        spread |= {spelled_in_json(value) for value in spread}
        standing = _Standing(spread)
        wide: dict[str, list[_Find]] = {}
        for text in source.texts:
            found = [*finds[text], *standing.in_text(text)]
            if text in arguments:
                found.append(_Find(0, len(text), kinds[text]))
            if found:
                wide[text] = _joined(found)
        taken = frozenset(_NUMBER.findall(everything))
        names: dict[str, str] = {}
        for text, found in wide.items():
            for find in found:
                value = text[find.start : find.end]
                if value not in names:
                    names[value] = self._placeholder(value, kinds.get(value, find.kind), taken)
        texts = {text: _replaced(text, found, names) for text, found in wide.items()}
        originals = {placeholder: value for value, placeholder in names.items()}
        return Redacted(source.rewritten(texts, names), originals)

    def _finds(self, texts: Sequence[str], model: Model) -> dict[str, list[_Find]]:
        """Return what stands in each text, each on its own, in order and apart."""
        found = {text: list(self._secrets(text)) if self._policy.secrets else [] for text in texts}
        self._add_patterns(found, model)
        return {text: _joined(_outside_placeholders(text, finds)) for text, finds in found.items()}

    def _secrets(self, text: str) -> Iterator[_Find]:
        for start, end in self._scrubber.learned_spans(text):
            yield _Find(start, end, _kind(text[start:end]))
        for shape in shapes_in(text):
            for start, end in shape.spans(text):
                value = text[start:end]
                if shape.kind not in _IN_CONTEXT:
                    yield _Find(start, end, shape.kind)
                elif not is_made_up(value) and not value.startswith("$"):
                    yield _Find(start, end, _kind(value))
        for start, end in context_spans(text):
            yield _Find(start, end, _kind(text[start:end]))

    def _add_patterns(self, found: Mapping[str, list[_Find]], model: Model) -> None:
        ends_at = self._now_s() + PATTERNS_TIMEOUT_S
        for name, pattern in self._patterns:
            group = "secret" if "secret" in pattern.groupindex else 0
            for text, finds in found.items():
                left_s = max(ends_at - self._now_s(), 0.001)
                try:
                    # `concurrent` lets go of the interpreter's lock: the event loop runs on meanwhile.
                    matches = list(pattern.finditer(text, timeout=left_s, concurrent=True))
                except TimeoutError as exc:
                    raise _too_slow(model, name) from exc
                spans = (match.span(group) for match in matches)
                # First: what overlaps takes the kind of the first of the longest.
                finds[:0] = [_Find(start, end, name) for start, end in spans if end > start]

    def _spread(self, kinds: Iterable[str], everything: str) -> set[str]:
        """Return the secrets that are looked for also where nothing gives them away; remember them."""
        distinct = {value for value in kinds if is_distinct(value)}
        with self._lock:
            known = [value for value in self._remembered if value in everything]
            for value in [*known, *(value for value in distinct if len(value) <= 1024)]:
                self._remembered[value] = None
                self._remembered.move_to_end(value)
            while len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        return distinct | set(known)

    def _placeholder(self, secret: str, kind: str, taken: frozenset[str]) -> str:
        """Return the secret's placeholder, with a number that does not stand in the request already."""
        word = re.sub(r"[^A-Z0-9]+", "_", kind.upper())
        content = secret.encode("utf-8", "surrogatepass")
        for attempt in range(256):
            number = hashlib.blake2b(content, key=self._key, digest_size=6, salt=bytes([attempt]))
            if number.hexdigest() not in taken:
                break
        return f"{_BEGINNING}{word}_{number.hexdigest()}"


class _Standing:
    """Finds values as whole words; long ones anywhere.

    In linear time, however many there are: each has at least `SHORTEST` characters, and is looked up by
    the first of them.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._values = frozenset(values)
        self._lengths: dict[str, set[int]] = {}
        for value in self._values:
            self._lengths.setdefault(value[:SHORTEST], set()).add(len(value))

    def in_text(self, text: str) -> Iterator[_Find]:
        """Yield where they stand; finds may overlap."""
        for at in self._places(text):
            for length in self._lengths[text[at : at + SHORTEST]]:
                end = at + length
                if (value := text[at:end]) in self._values:
                    whole = not (_in_word(text[at - 1 : at]) or _in_word(text[end : end + 1]))
                    if whole or length >= SURELY_RANDOM:
                        yield _Find(at, end, _kind(value))

    def _places(self, text: str) -> Iterator[int]:
        if len(self._lengths) > MANY:
            yield from (at for at in range(len(text)) if text[at : at + SHORTEST] in self._lengths)
            return
        for beginning in self._lengths:
            at = text.find(beginning)
            while at >= 0:
                yield at
                at = text.find(beginning, at + 1)


def _in_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _outside_placeholders(text: str, finds: Sequence[_Find]) -> Sequence[_Find]:
    """Leave out what stands inside a text that looks like a placeholder: that one stays as it is."""
    if not finds or _BEGINNING not in text:
        return finds
    looks = [match.span() for match in _PLACEHOLDER.finditer(text)]
    return [find for find in finds if not any(a <= find.start and find.end <= b for a, b in looks)]


def _joined(finds: Sequence[_Find]) -> list[_Find]:
    """Return the finds in order, those that overlap as one; the first of the longest lends its kind."""
    joined: list[_Find] = []
    for find in sorted(finds, key=lambda one: (one.start, -one.end)):
        if joined and find.start < joined[-1].end:
            last = joined[-1]
            joined[-1] = _Find(last.start, max(last.end, find.end), last.kind)
        else:
            joined.append(find)
    return joined


def _replaced(text: str, finds: Sequence[_Find], names: Mapping[str, str]) -> str:
    pieces, at = [], 0
    for find in finds:
        pieces += [text[at : find.start], names[text[find.start : find.end]]]
        at = find.end
    return "".join([*pieces, text[at:]])


def _kind(value: str) -> str:
    """Return the kind of a well-known key; `secret` for any other, wherever it was found."""
    return next((shape.kind for shape in SHAPES if shape.is_whole(value)), "secret")


def _from_json(value: str) -> str:
    """Return what stands for the value where it is a piece of a JSON string; itself where it is none."""
    try:
        return str(json.loads(f'"{value}"'))
    except ValueError:
        return value


def _too_slow(model: Model, name: str) -> BadRequestError:
    return BadRequestError(
        f"the redaction pattern {name} took more than {PATTERNS_TIMEOUT_S:g} s; nothing was sent",
        hint="make the pattern simpler (redaction: patterns: in chains.yaml)",
        model=model.name,
        endpoint=model.endpoint.name,
    )
