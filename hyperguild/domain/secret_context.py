"""Secrets that are known by what stands around them: `PASSWORD=…`, `"api_key": "…"`, `Basic …`.

Made for code, which is full of tokens, keys and passwords that are none: a name must be telling, and its
value must not be an example, a reference, a word or an expression. Linear: the roots of telling names are
found as literals, and around each a bounded part of the text is looked at.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from itertools import pairwise

from hyperguild.domain.patterns import LazyPattern, lazy
from hyperguild.domain.secret_lists import below, by_commas, in_brackets
from hyperguild.domain.secret_phrases import is_phrase, phrase_end
from hyperguild.domain.secret_shapes import Shape, shape
from hyperguild.domain.secret_values import (
    SHORTEST,
    SHORTEST_KEY,
    SHORTEST_TOKEN,
    NameKind,
    is_distinct,
    is_given,
    is_made_up,
    is_password,
    is_random,
    is_reference,
    is_technical,
    is_wordy,
)

Span = tuple[int, int]

_ROOTS = ("pass", "pwd", "secret", "token", "key", "credential", "_pat")
_NAME_MAX = 64

_PASSWORD_ENDS = ("password", "passwd", "passphrase", "pwd")
_TOKEN_ENDS = ("token", "secret", "credential", "credentials")
_KEY_ENDS = tuple(
    f"{word}key" for word in ("api", "access", "secret", "private", "account", "auth", "shared")
)
_BEFORE_KEY = frozenset(
    """api access secret private auth account shared encryption signing master service deploy storage
    app""".split()  # noqa: SIM905  # a list of them is three times as long
)
_BEFORE_TOKENS = frozenset(
    "api access auth refresh bearer secret session bot github gitlab slack npm service deploy".split()  # noqa: SIM905
)
_NO_SECRET = frozenset(
    # What follows or precedes the word where the value is about a secret, or is no secret at all.
    """url uri name id ids length len min max count limit limits size ttl expiry expires expiration expired
    timeout type path file filename dir folder field label placeholder hint regex pattern policy format
    header prefix suffix env var variable ref arn algorithm algo hash hashed sha sha1 sha256 sha512 md5 digest
    checksum fingerprint endpoint column index version schema class classname style kind usage tokens
    public primary foreign cache sort partition row map dict object next page continuation cancellation
    design sync pad eos bos unk stop mask separator error message msg title text description reset
    forgot strength required enabled helper provider service manager handler validator generator factory mgr
    test""".split()  # noqa: SIM905
) - {"service", "test"}

_PARTS = lazy(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_HEAD = lazy(r"[A-Za-z0-9_.-]{0,64}\Z")
_SPACED = lazy(r"(?:API|[Aa]pi|[Aa]ccess|[Ss]ecret|[Pp]rivate|[Aa]uth) \Z")
_SPACED_MAX = 8
_REST = lazy(r"[A-Za-z0-9_-]{0,40}+")
_OPERATOR = lazy(
    r"(?P<close>\\?[\"'`]\]?|\]|\[[0-9]{0,4}\])?"
    r"(?P<annotation>[ \t]{0,2}:[ \t]{0,2}[&A-Za-z_][&A-Za-z0-9_.|\[\]' ]{0,40}?(?=[ \t]{0,2}=[^=]))?"
    r"(?P<gap>[ \t]{0,8}+)"
    r"(?P<op>(?:(?<=[ \t])|,?[ \t\n]{1,24})[\"']?value[\"']?[ \t]{0,2}[:=]"
    r"|:=|=>|={1,3}|!={1,2}|:|>|\(|,|is:?(?=[ ])|(?=[^\s\"'`=:,>(]))"
    r"(?P<after>[ \t]{0,8}+)"
)
_VALUE = lazy(
    r"[rbfuRBFU@]{0,2}(?:"
    r"\"(?P<double>(?:[^\"\\\n]|\\.){1,1024}+)\""
    r"|'(?P<single>(?:[^'\\\n]|\\.){1,1024}+)'"
    r"|`(?P<back>[^`\n]{1,1024}+)`)"
    r"|\\\"(?P<escaped>[^\"\\\n]{1,1024}+)\\\""
    r"|(?P<bare>[^\s\"'`]{1,1024}+)"
)
_QUOTED = ("double", "single", "back", "escaped")
_ASSIGNMENT = lazy(r"[A-Za-z_][A-Za-z0-9_.-]{0,64}[=:][^=]")
_LONG_VALUE = 128
_QUOTES = frozenset("\"'`")
_BARE_ENDS = lazy(r"[,;&<>(){}\[\]|\\]")
_ELEMENT = lazy(r"(?P<value>[^<>\s]{1,512}+)</")
_LINE_HEAD = lazy(
    r"(?:[^\s:=]{1,100}[:-])?(?:[ ]{0,8}[0-9]{1,7}[:|\t-])?"  # of a search, of numbered lines
    r"[ \t]{0,16}(?:(?:[+>#$-]|//)[ \t]{0,4}){0,2}"  # of a diff, a quotation, a comment, a prompt
    r"(?:(?:export|set|ENV|ARG|-|-e|--env)[ \t]{1,4})?[\"']?"
)
_LINE_HEAD_MAX = 160
_LINE_END = lazy(r"[ \t\r]{0,16}(?:\n|\Z|#|\\[nr])")
_LINE_BREAK = lazy(r"\n|\\n")
_ESCAPED = lazy(r"\\[nrt]")

_LABEL = lazy(r"[ \t]{0,16}(?:[-*>#][ \t]{1,4})?((?:[A-Za-z-]{2,15} ){1,4})")
_CODE_WORDS = frozenset(
    """let var val const private public protected readonly static final def fn func function override abstract
    return case if else elif for while in new type yield await async print echo set raise throw""".split()  # noqa: SIM905
)
_CLAUSE_END = lazy(r"[.,;!)]{0,3}(?:\s|\Z)(?![ \t]{0,4}[a-z])")

_BASIC = shape("basic", ("Basic ", "basic "), r"[Bb]asic[ ]{1,4}(?P<secret>[A-Za-z0-9+/]{6,1024}+={0,2})")
_CURL = shape(
    "password",
    ("-u ", "--user "),
    r"--?u(?:ser)?[ ]{1,4}[\"']?[^\s:\"'$]{1,64}:(?P<secret>[^\s\"'$]{6,256}+)",
)
_KEY_END = lazy(r"-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_LINE = lazy(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/=]{40,}+[^A-Za-z0-9]{0,8}(?:\\n[^A-Za-z0-9]{0,8})?\Z")
_KEY_CHARS = 16_384
"""No private key is longer in PEM."""

_SSHPASS = shape("password", ("sshpass -p",), r"sshpass -p[ ]{0,4}[\"']?(?P<secret>[^\s\"'$]{6,256}+)")
_NETRC = shape(
    "password",
    ("machine ",),
    r"machine\s{1,8}\S{1,200}\.\S{1,200}\s{1,8}login\s{1,8}\S{1,200}\s{1,8}"
    r"password\s{1,8}(?P<secret>[^\s\"']{6,256}+)",
)
_DOCKER = shape(
    "basic",
    ('"auth"', '"auth\\"'),
    r"\"auth\\?\"\s{0,4}:\s{0,4}\\?\"(?P<secret>[A-Za-z0-9+/]{6,1024}+={0,2})\\?\"",
)
_AZURE_SIGNATURE = shape(
    "token",
    ("?sig=", "&sig=", ";sig="),
    r"[?&;]sig=(?P<secret>(?:[A-Za-z0-9+/]|%2[BbFf]){43}(?:=|%3[Dd]))",
)
_SCHEME = shape(
    "token",
    ("uthorization",),
    # Schemes of their own: `Authorization: token …`, `Authorization: ApiKey …`.
    r"uthorization[\"']?[ ]{0,4}[:=][ ]{0,4}[\"']?(?:[Tt]oken|[Aa]pi-?[Kk]ey|[Kk]ey)[ ]{1,4}(?:token=)?[\"']?"
    r"(?P<secret>[A-Za-z0-9._~+/=-]{12,512}+)",
)


def context_spans(text: str) -> list[Span]:
    """Return where secrets stand that their surroundings give away, start and end; they may overlap."""
    lowered = text.replace("İ", "I").lower()  # the one character whose lower case is two
    spans = list(_named(text, lowered))
    for one in (_BASIC, _DOCKER):
        spans += [span for span in one.spans(text) if _is_basic(text[slice(*span)])]
    for one in (_CURL, _SSHPASS, _NETRC):
        spans += [span for span in _strings(one, text) if is_password(text[slice(*span)])]
    spans += _AZURE_SIGNATURE.spans(text)
    spans += _ends_of_keys(text)
    spans += [span for span in _strings(_SCHEME, text) if is_random(text[slice(*span)], SHORTEST_TOKEN)]
    return spans


def _strings(one: Shape, text: str) -> Iterator[Span]:
    for start, end in one.spans(text):
        value = text[start:end]
        if not is_made_up(value) and not is_reference(value):
            yield start, end


def _ends_of_keys(text: str) -> Iterator[Span]:
    """Yield the last lines of private keys whose beginning is not there: files are read in pieces."""
    done = 0
    for match in _KEY_END().finditer(text):
        *lines, mark = text[max(done, match.start() - _KEY_CHARS) : match.start()].split("\n")
        done = match.end()
        start, found = match.start() - len(mark), False
        for above, line in enumerate(reversed(lines)):
            whole = _KEY_LINE().search(line) is not None
            if "-----BEGIN" in line or (above and not whole):  # the last one alone is shorter
                break
            start, found = start - len(line) - 1, found or whole
        if found:
            yield start, match.end()


def _is_basic(value: str) -> bool:
    """Tell whether it is `user:password` in base64, as RFC 7617 has it."""
    try:
        said = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return False
    password = said.partition(":")[2]
    return ":" in said and said.isprintable() and bool(password) and not _FILLER().fullmatch(password)


_FILLER = lazy(r"pass(?:word)?|<.*>|\$.*|\{.*\}|x{3,}|\*+")


def _named(text: str, lowered: str) -> Iterator[Span]:
    looked_at = listed = -1
    for at in _roots(lowered):
        if at < looked_at:
            continue  # the same name holds two roots
        start = at - len(_last(_HEAD, text, at, _NAME_MAX))
        if 0 < start < at and _ESCAPED().match(text, start - 1):
            start += 1  # the letter of an escaped line end
        end = _end(_REST, text, at)
        looked_at = end
        name = _last(_SPACED, text, start, _SPACED_MAX) + text[start:end]
        kind = _kind(name)
        span = None if kind is None else _value_of(text, start, end, kind)
        if span is not None:
            yield span
            continue
        several = kind or _kind_of_several(name)
        if several is not None and at >= listed:  # what stands in a list is not looked through again
            spans, listed = _list_of(text, end, several, plural=kind is None)
            yield from spans


def _roots(lowered: str) -> Iterator[int]:
    places: list[int] = []
    for root in _ROOTS:
        at = lowered.find(root)
        while at >= 0:
            places.append(at)
            at = lowered.find(root, at + len(root))
    return iter(sorted(places))


def _kind(name: str) -> NameKind | None:
    """Return what the name promises, None where it is not the name of a secret."""
    parts = [part.lower() for part in _PARTS().findall(name)]
    if not parts or any(part in _NO_SECRET for part in parts):
        return None
    if parts[-1] == "pass" or any(part.endswith(_PASSWORD_ENDS) for part in parts):
        return "password"
    before = ["", *parts]
    if any(
        part.endswith((*_TOKEN_ENDS, *_KEY_ENDS)) or (part == "key" and before[place] in _BEFORE_KEY)
        for place, part in enumerate(parts)
    ):
        return "token"
    loud = name.replace("-", "").isupper() and len(parts) > 1
    return "key" if loud and parts[-1] in {"key", "pat"} else None


def _kind_of_several(name: str) -> NameKind | None:
    """Return what a name in the plural promises of each: `API_KEYS`, `access_tokens`, `passwords`."""
    parts = [part.lower() for part in _PARTS().findall(name)]
    last = parts[-1] if parts else ""
    if not last.endswith(("keys", "tokens", "secrets", "passwords", "passphrases")):
        return None
    if last == "tokens" and not (len(parts) > 1 and parts[-2] in _BEFORE_TOKENS):
        return None  # those of a text
    return _kind(name[:-1])


def _list_of(text: str, end: int, kind: NameKind, *, plural: bool) -> tuple[list[Span], int]:
    """Return the secrets in what the name that ends at `end` is given, and where the look at it ended."""
    operator = _OPERATOR().match(text, end)
    if operator is None or operator["op"] not in {":", "=", ":=", "=>"}:
        return [], end
    at = operator.end()
    if operator["op"] == ":" and (at == len(text) or text[at] in "\r\n#"):
        return below(text, at, kind)
    spans, ended = in_brackets(text, at, kind)
    if ended > at or not plural:
        return spans, ended
    value = _VALUE().match(text, at)
    if value is None:
        return [], at
    group = next((group for group in _QUOTED if value[group] is not None), "bare")
    if group == "bare" and not (operator["op"] == "=" and at == end + 1 and text[end - 1].isupper()):
        return [], at
    return by_commas(text, value.span(group), kind), value.end()


def _value_of(text: str, start: int, end: int, kind: NameKind) -> Span | None:
    """Return where the value is that the name at `start` to `end` is given, None where it is no secret."""
    operator = _OPERATOR().match(text, end)
    if operator is None:
        return None
    op, name = operator["op"], text[start:end]
    if operator["close"] and text[start - 2 : start] == "::":
        return None  # the name of a type: "AWS::ApiGateway::ApiKey"
    if op == ">":
        element = _ELEMENT().match(text, operator.end()) if text[start - 1 : start] == "<" else None
        return _if_secret(text, element.span("value"), kind) if element and not operator["gap"] else None
    value = _VALUE().match(text, operator.end())
    if value is None:
        return None
    quoted = next((group for group in _QUOTED if value[group] is not None), None)
    if quoted is not None:
        if op == "" or (op == "," and (not operator["close"] or is_wordy(value[quoted]))):
            return None
        phrase = kind == "password" and op not in {"(", ","} and is_phrase(value[quoted])
        return value.span(quoted) if phrase else _if_secret(text, value.span(quoted), kind)
    if op in {"(", ","} or (op == "" and not (name.startswith("--") and operator["gap"])):
        return None
    if len(value["bare"]) > _LONG_VALUE and _ASSIGNMENT().match(value["bare"]):
        return None  # looked at itself; each of many in a row would have all that follow for its value
    return _bare(text, value.span("bare"), kind, operator, start)


def _if_secret(text: str, span: Span, kind: NameKind) -> Span | None:
    return span if is_given(text[slice(*span)], kind) else None


def _bare(text: str, span: Span, kind: NameKind, operator: re.Match[str], name_start: int) -> Span | None:
    """Return where an unquoted value is: the rest of a line of .env as it is, elsewhere what looks drawn."""
    spaced = bool(operator["gap"] or operator["after"])
    begins_line = _begins_line(text, name_start)
    loud = operator["op"] == "=" and not spaced and text[name_start : operator.start()].isupper()
    if kind == "password" and begins_line and operator["op"] in {":", "="}:
        ended = phrase_end(text, span[0])
        if ended is not None:
            return span[0], ended
    before = text[name_start - 1 : name_start] if name_start else ""
    if loud and (begins_line or before in _QUOTES):
        in_string = before in _QUOTES or text[name_start - 2 : name_start] == "\\n"
        return _of_env_line(text, span, kind, in_string=in_string)
    start, end = span
    cut = _BARE_ENDS().search(text, start, end)
    if cut is not None:
        if cut[0] in "([{<" or cut.start() == start:
            return None  # an expression
        end = cut.start()
    value = text[start:end].rstrip(".:")
    span = (start, start + len(value))
    if is_made_up(value) or is_reference(value):
        return None
    # A line of YAML or INI; an indented `password=x1` may be an argument in code.
    alone = begins_line and (operator["op"] == ":" or before != " ") and _LINE_END().match(text, end)
    if kind == "password":
        drawn = is_password(value) and not value.isdigit()
        prose = operator["op"].startswith("is") and _ends_clause(text, end, value)
        labelled = operator["op"] == ":" and _after_label(text, name_start) and _LINE_END().match(text, end)
        assigned = alone or prose or labelled or (loud and before.isspace())
        code = value.isidentifier() and not assigned and _changes(value) < 2
        return span if drawn and not code else None
    if value.isalpha() and not alone:
        return None  # code
    return span if is_random(value, SHORTEST_TOKEN if kind == "token" else SHORTEST_KEY) else None


def _begins_line(text: str, at: int) -> bool:
    """Tell whether nothing but the marks of a listing stands before it on its line."""
    head = _LINE_BREAK().split(text[max(0, at - _LINE_HEAD_MAX) : at])[-1]
    return bool(_LINE_HEAD().fullmatch(head))


def _after_label(text: str, at: int) -> bool:
    """Tell whether words of a label, and no code, stand before it on its line: `The root password: …`."""
    head = _LINE_BREAK().split(text[max(0, at - _LINE_HEAD_MAX) : at])[-1]
    label = _LABEL().fullmatch(head)
    return label is not None and not _CODE_WORDS & set(label[1].lower().split())


def _ends_clause(text: str, end: int, value: str) -> bool:
    """Tell whether the clause ends with the value, which is neither an algorithm nor an encoding."""
    return _CLAUSE_END().match(text, end) is not None and not is_technical(value)


def _of_env_line(text: str, span: Span, kind: NameKind, *, in_string: bool) -> Span | None:
    value = text[slice(*span)].rstrip(";")
    if in_string:
        value = _ESCAPED().split(value, maxsplit=1)[0].rstrip("\\")
    span = (span[0], span[0] + len(value))
    if value.endswith(","):
        return None  # an argument
    if len(value) < SHORTEST or is_made_up(value) or is_reference(value) or value.endswith(("()", ")")):
        return None
    if kind == "password":
        return span
    if kind == "token":
        return span if is_distinct(value) and not value.isdigit() and not _SNAKE().match(value) else None
    return span if is_random(value, SHORTEST_KEY) else None


_SNAKE = lazy(r"[a-z]+(?:[_.-][a-z]+)+$|/[\w./-]+$")


def _changes(value: str) -> int:
    """Count how often digits and letters alternate."""
    kinds = [char.isdigit() for char in value]
    return sum(one != other for one, other in pairwise(kinds))


def _last(pattern: LazyPattern, text: str, at: int, most: int) -> str:
    """Return what the pattern, which ends in an end of text, finds just before `at`, in `most` characters."""
    match = pattern().search(text[max(0, at - most) : at])
    return match[0] if match else ""


def _end(pattern: LazyPattern, text: str, at: int) -> int:
    match = pattern().match(text, at)
    return match.end() if match else at
