"""Weighs a unit that a text repeats: how much of it is still what real texts hold."""

from __future__ import annotations

import re
from typing import Final

LEAST_PROSE: Final = 150
LEAST_CODE: Final = 600
LEAST_BLANK: Final = 1_000
LEAST_DATA: Final = 4_000
"""Characters in all that trip. Nobody writes the same sentence three times; code has a few equal lines;
tables, rulers, zeros and empty cells go on for long, but a model caught in them never ends."""

BEFORE_CHARS: Final = 24
"""How much of the text before the repetition is looked at."""

_CONTEXT_CHARS: Final = 200
_ESCAPED_SPACE = re.compile(r"\\[ntr]")
_HTML = "a|b|br|col|dd|div|dl|dt|em|hr|i|img|input|label|li|ol|option|p|small|span|strong|tbody|td|th|tr|ul"
_DATA = re.compile(
    rf"</?(?:{_HTML})(?=[\s/>])[^<>]*>"  # elements of HTML
    r"|&[a-z]{2,6};"  # entities: &nbsp;
    r"|\\(?:[hc]line|[a-z]+rule|quad|[cdlv]?dots)\b"  # TeX: what tables and gaps are made of
    r"|\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\b0x[0-9a-f]+u?l?"  # bytes in code
    r"|(?<![a-z])(?=[a-f]*[0-9])[0-9a-f]+(?![a-z])"  # hexadecimal with a digit in it
    r"|(?<![a-z])([a-f])\1{1,63}(?![0-9a-z])"  # ff, FFFF, cccccccc
    r"|(?<![a-z])\d[\d.]*(?:e[+-]?\d+)?(?:[a-z]{1,2}|%)?(?![a-z])",  # numbers: 1e-05, 0.0f, 10px
    re.IGNORECASE,
)
_LITERALS = re.compile(
    r"(?<![^\W\d_])(?:true|false|null|none|nil|nan|inf|undefined|void|n/a)(?![^\W\d_])", re.IGNORECASE
)
_SEPARATES = re.compile(r"[,;|:\[\]{}\t\"']")
_LONE_LETTER = re.compile(  # in drawings: o---o, |c|c|
    r"(?<=[-|_+=/\\~*#<>^\[\]])[a-z](?![^\W\d_])|(?<![^\W\d_])[a-z](?=[-|_+=/\\~*#<>^\[\]])", re.IGNORECASE
)
_DRAWING: Final = "#$%&'()*+,\\-./:;<=>@\\[\\\\\\]^_`{|}~\""
_OTHER_DRAWING: Final = (
    "\u00a0\u00a6\u00ac\u00af\u00b0\u00b7\u2010-\u2027\u2190-\u21ff\u2500-\u25ff\u2800-\u28ff\u3000"
)
_STRUCTURE = re.compile(rf"[\s0-9{_DRAWING}{_OTHER_DRAWING}]*")
_CODE = re.compile(r"[{}\[\]<>=;|\\]|\w\(|\(\)|,(?=\S)|\n(?: {2,}|\t)(?=\S)| {3,}(?=\S)|::|->|\w[._]\w|\"")
_CODE_SHARE: Final = 0.05
"""Of the characters that are not white space."""

_BASE64_UNIT = re.compile(r"[A-Za-z0-9+/]*(?:\\[nr]|\s)*[A-Za-z0-9+/]*")
_BASE64_BEFORE = re.compile(r"base64,\Z|[A-Za-z0-9+/\n]{16,}\Z")


def least_chars(unit: str, *, before: str, fenced: bool) -> int:
    """Return how many characters of this unit, over and over, are too many.

    `before` is what stands just before the first of them (the last 24 characters are enough), `fenced` says
    whether that is within a fenced block. A unit is weighed as it looks among its like, so that it hardly
    matters at which of its characters it begins.
    """
    times = max(3, -(-_CONTEXT_CHARS // len(unit)))
    text = _spaced(unit * times)
    if text.isspace():
        return LEAST_BLANK
    if _is_data(text, -(-len(text) // times)) or _is_base64(unit, before[-BEFORE_CHARS:]):
        return LEAST_DATA
    if fenced or len(_CODE.findall(text)) >= _CODE_SHARE * len("".join(text.split())):
        return LEAST_CODE
    return LEAST_PROSE


def _spaced(text: str) -> str:
    """Return the text with the escapes of JSON that stand for white space and quotes undone."""
    return _ESCAPED_SPACE.sub("\n", text).replace('\\"', '"')


def _is_data(text: str, period: int) -> bool:
    """Tell whether the text holds no words: rulers, tables, numbers, markup without content."""
    bare = _DATA.sub(_blanked, text)
    if _SEPARATES.search(text):
        bare = _LITERALS.sub(_blanked, bare)
    bare = _LONE_LETTER.sub("0", bare)
    middle = (len(bare) - period) // 2
    return _STRUCTURE.fullmatch(bare, middle, middle + period) is not None


def _blanked(match: re.Match[str]) -> str:
    return "0" * len(match[0])


def _is_base64(unit: str, before: str) -> bool:
    """Tell whether the unit goes on what base64 stands before it, on one line or several."""
    if not _BASE64_UNIT.fullmatch(unit) or not _BASE64_BEFORE.search(before):
        return False
    return "base64," in before or any(map(str.isupper, before)) or any(map(str.isdigit, before))
