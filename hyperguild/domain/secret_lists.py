"""Lists of secrets: `API_KEYS=["…", "…"]`, `api_keys:` with items below it. Linear."""

from __future__ import annotations

from itertools import pairwise

from hyperguild.domain.patterns import LazyPattern, lazy
from hyperguild.domain.secret_values import NameKind, is_given

Span = tuple[int, int]

ITEMS_MAX = 200

_QUOTES = frozenset("\"'`")

_OPENING = lazy(
    r"(?:\[\]string|new[ ]String\[\]|(?:frozen)?set\(|tuple\(|list\(|(?:List|Set)\.of|Arrays\.asList|listOf"
    r"|vec!)?[ ]{0,2}[\[({]"
)
_ITEM = lazy(
    r"(?:[\s,]|\\[nrt]|(?:#|//)[^\n]{0,200}\n){0,64}+(?:"
    r"\\\"(?P<escaped>[^\"\\\n]{0,1024}+)\\\"|\"(?P<double>[^\"\\\n]{0,1024}+)\"|'(?P<single>[^'\\\n]{0,1024}+)'"
    r"|`(?P<back>[^`\n]{0,1024}+)`|(?P<bare>[A-Za-z0-9_.~+/=!@#$%^&*-]{1,1024}+))"
    r"(?=[\s,\])}]|\\[nrt])"
)
_LINE = lazy(
    r"[ \t\r]{0,16}(?:#[^\n]{0,200})?\n(?:[ \t]{0,32}(?:#[^\n]{0,200}|\r?)\n){0,8}"
    r"(?:[^\s:=]{1,100}[:-])?(?:[ ]{0,8}[0-9]{1,7}[:|\t-])?[+]?"  # of a search, of numbered lines, of a diff
    r"[ \t]{0,32}-[ \t]{1,4}"
    r"(?:\"(?P<double>[^\"\\\n]{0,1024}+)\"|'(?P<single>[^'\n]{0,1024}+)'|(?P<bare>[^\s\"'#][^\s#]{0,1023}+))"
    r"(?=[ \t\r]{0,16}(?:\n|\Z|#))"
)
_PIECE = lazy(r"[^,;\s]{1,1024}+")


def in_brackets(text: str, at: int, kind: NameKind) -> tuple[list[Span], int]:
    """Return the secrets of the list of strings that begins at `at`, and where the look at it ended."""
    opening = _OPENING().match(text, at)
    if opening is None:
        return [], at
    spans, ended = _items(text, opening.end(), kind, _ITEM)
    if not opening[0].endswith("["):  # an expression or a template, where YAML has a list
        spans = [span for span in spans if text[span[0] - 1] in _QUOTES]
    return spans, ended


def below(text: str, at: int, kind: NameKind) -> tuple[list[Span], int]:
    """Return the secrets among the items of YAML in the lines after `at`, and where the look ended."""
    return _items(text, at, kind, _LINE)


def by_commas(text: str, span: Span, kind: NameKind) -> list[Span]:
    """Return the secrets in a value of several: `KEYS=a,b`."""
    found = [piece.span() for piece in _PIECE().finditer(text, *span)]
    return [one for one in found if is_given(text[slice(*one)], kind)]


def _items(text: str, at: int, kind: NameKind, pattern: LazyPattern) -> tuple[list[Span], int]:
    spans: list[Span] = []
    for _ in range(ITEMS_MAX):
        item = pattern().match(text, at)
        if item is None:
            break
        at, group = item.end(), item.lastgroup or "bare"
        value = item[group]
        if is_given(value, kind) and (group != "bare" or pattern is _LINE or _is_no_name(value)):
            spans.append(item.span(group))
    return spans, at


def _is_no_name(value: str) -> bool:
    """Tell whether an unquoted item is no name of a variable: those seldom have digits in many places."""
    if value.isdigit():
        return False
    return not value.isidentifier() or sum(a.isdigit() != b.isdigit() for a, b in pairwise(value)) >= 4
