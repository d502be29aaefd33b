"""Reads shell text into drafts of simple commands: words, redirections, here-documents. Pure.

The dialect is POSIX sh with what bash adds (`|&`, `&>`, `<<<`, `<( )`, `$' '`). Nothing is expanded.
What is not read with certainty, or not alike by the two, is a doubt: the drafts are then what is visible, not
all that may run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from hyperguild.agent.shell_words import MARKS, Word, WordBuilder

LONGEST_COMMAND: Final = 131_071
"""Bytes; Linux hands no longer single argument to a program (MAX_ARG_STRLEN less its closing zero)."""

DEEPEST: Final = 24
"""Brackets, substitutions and scripts within scripts that are followed."""

_CONTROLS = re.compile("[\0-\5]")
_OPERATOR = re.compile(r";;&|;;|;&|;|&&|&|\|\||\|&|\|")
_REDIRECTION = re.compile(r"&>>|&>|<<<|<<-|<<|<>|<&|>>|>\||>&|<|>")
_PLAIN_WORD = re.compile(r"[^\s\\'\"$`*?\[\]{},;&|()<>]+")
_PLAIN_QUOTED = re.compile(r"[^\"\\$`]+")
_PARAMETER = re.compile(r"\$(?:[A-Za-z_]\w*|[0-9@*#?$!-]|\{#?(?:[A-Za-z_]\w*|[0-9]+|[@*#?$!-])\})", re.ASCII)
_ANSI_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*+)'", re.DOTALL)
_BACKTICKED = re.compile(r"`((?:[^`\\]|\\.)*+)`", re.DOTALL)
_ANSI_ESCAPE = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})|c(.)|(.))", re.DOTALL
)
_ANSI_LETTERS: Final = dict(zip("ntrabeEfv", "\n\t\r\a\b\x1b\x1b\f\v", strict=True))


@dataclass(frozen=True, slots=True)
class Redirection:
    """A file that a command's input or output is tied to; `writes` unless it is only read."""

    operator: str
    target: Word

    @property
    def writes(self) -> bool:
        """Whether the file is written."""
        return self.operator not in {"<", "<&"}


@dataclass(slots=True)
class Draft:
    """One simple command as it was found.

    `bodies`: its here-documents and here-strings. `unredirected`: how many words stand before the first
    redirection, if there is one; what follows is no keyword. `both`: it has a `&>`.
    """

    words: list[Word] = field(default_factory=list)
    redirections: list[Redirection] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    piped_in: bool = False
    unredirected: int | None = None
    both: bool = False


@dataclass(slots=True)
class Sheet:
    """What was read: drafts in order of their beginning, and the doubts, each once.

    `plain`: no command's output becomes another's input or arguments.
    """

    drafts: list[Draft] = field(default_factory=list)
    doubts: dict[str, None] = field(default_factory=dict)
    plain: bool = True

    def doubt(self, reason: str) -> None:
        """Note why the text is not read with certainty."""
        self.doubts[reason] = None

    def draft(self, *, piped_in: bool = False) -> Draft:
        """Begin another simple command."""
        draft = Draft(piped_in=piped_in)
        self.drafts.append(draft)
        return draft


@dataclass(frozen=True, slots=True)
class _HereDocument:
    draft: Draft
    end: str
    verbatim: bool
    tabs_stripped: bool


def read_shell(text: str, depth: int = 0) -> Sheet:
    """Read a whole text, itself `depth` scripts within others; never raises.

    Takes time in proportion to its length.
    """
    sheet = Sheet()
    if len(text) > LONGEST_COMMAND:
        sheet.doubt("it is too long")
        return sheet
    if _CONTROLS.search(text):
        sheet.doubt("it holds control characters")
        text = _CONTROLS.sub(" ", text)
    _Reader(text, depth, sheet).read_all()
    return sheet


class _Reader:
    """A position in one text."""

    def __init__(self, text: str, depth: int, sheet: Sheet) -> None:
        self._text = text
        self._at = 0
        self._depth = depth
        self._sheet = sheet
        self._pending: list[_HereDocument] = []

    def read_all(self) -> None:
        self._nested(self._read_list)
        if self._pending:
            self._sheet.doubt("a here-document has no text")

    def read_quoted_text(self) -> None:
        """Look for substitutions in the text of a here-document."""
        self._nested(lambda: self._read_double(WordBuilder(), ""))

    def _nested(self, read: Callable[[], None]) -> None:
        if self._depth >= DEEPEST:
            self._sheet.doubt("it is nested too deeply")
            self._at = len(self._text)
            return
        self._depth += 1
        read()
        self._depth -= 1

    def _peek(self, ahead: int = 0) -> str:
        return self._text[self._at + ahead : self._at + ahead + 1]

    def _opens_process_substitution(self) -> bool:
        return self._text.startswith(("<(", ">("), self._at)

    def _read_list(self, closer: str = "") -> None:
        """Read commands up to `closer`, or to the end."""
        draft = self._sheet.draft()
        while char := self._peek():
            redirection = _REDIRECTION.match(self._text, self._at)
            if self._skipped_blank(char):
                continue
            if char == ")":
                self._at += 1
                if closer:
                    return
                self._sheet.doubt("a bracket closes that was not opened")
                draft = self._sheet.draft()
            elif char == "(":
                draft = self._read_group(draft)
            elif redirection and not self._opens_process_substitution():
                self._read_redirection(draft, redirection[0])
            elif char in "\n;&|":
                draft = self._read_operator(char)
            else:
                self._read_argument(draft)
        if closer:
            self._sheet.doubt("a bracket is not closed")

    def _skipped_blank(self, char: str) -> bool:
        if char in " \t":
            self._at += 1
        elif self._text.startswith("\\\n", self._at):
            self._at += 2
        elif char == "#":
            end = self._text.find("\n", self._at)
            self._at = len(self._text) if end < 0 else end
        else:
            return False
        return True

    def _read_operator(self, char: str) -> Draft:
        if char == "\n":
            self._at += 1
            self._read_here_documents()
            return self._sheet.draft()
        operator = _OPERATOR.match(self._text, self._at)
        found = operator[0] if operator else char
        self._at += len(found)
        piped = found in {"|", "|&"}
        if piped:
            self._sheet.plain = False
        return self._sheet.draft(piped_in=piped)

    def _read_group(self, draft: Draft) -> Draft:
        if self._text.startswith("((", self._at):
            self._sheet.doubt("it holds arithmetic")
        if draft.words:
            self._sheet.doubt("a bracket stands in the middle of a command")
        self._at += 1
        self._nested(lambda: self._read_list(")"))
        return self._sheet.draft()

    def _read_redirection(self, draft: Draft, operator: str) -> None:
        self._at += len(operator)
        draft.both |= operator.startswith("&")
        if draft.unredirected is None:
            draft.unredirected = len(draft.words)
        while self._peek() and self._peek() in " \t\\" and self._skipped_blank(self._peek()):
            pass
        if self._peek() in {"", "\n", *";&|()<>"} and not self._opens_process_substitution():
            self._sheet.doubt("a redirection leads nowhere")
            return
        target = self._read_word()
        if operator in {"<<", "<<-"}:
            verbatim = target.source != target.text
            self._pending.append(_HereDocument(draft, target.text, verbatim, operator == "<<-"))
        elif operator == "<<<":
            draft.bodies.append(target.shape)
        elif operator not in {">&", "<&"} or not re.fullmatch(r"[0-9]*-?", target.source):
            draft.redirections.append(Redirection(operator, target))

    def _read_here_documents(self) -> None:
        pending, self._pending = self._pending, []
        for document in pending:
            start = self._at
            end = start
            while True:
                if self._at >= len(self._text):
                    self._sheet.doubt("a here-document is not closed")
                    end = self._at
                    break
                stop = self._text.find("\n", self._at)
                stop = len(self._text) if stop < 0 else stop
                line = self._text[self._at : stop]
                end = self._at
                self._at = stop + 1
                if (line.lstrip("\t") if document.tabs_stripped else line) == document.end:
                    break
            body = self._text[start:end]
            document.draft.bodies.append(body)
            if not document.verbatim and "\\\n" in body:
                self._sheet.doubt("a here-document joins lines")  # the joined line may not have ended it
            if not document.verbatim and ("$" in body or "`" in body):
                _Reader(body, self._depth, self._sheet).read_quoted_text()

    def _read_argument(self, draft: Draft) -> None:
        word = self._read_word()
        is_descriptor = word.source.isascii() and word.source.isdigit() and self._peek() in {"<", ">"}
        if draft.both:
            self._sheet.doubt("words follow `&>`, which sh takes for another command")
        if not is_descriptor or self._opens_process_substitution():
            draft.words.append(word)

    def _read_word(self) -> Word:
        start = self._at
        builder = WordBuilder()
        while char := self._peek():
            if self._opens_process_substitution():
                self._sheet.plain = False
                begun = self._at
                self._at += 2
                self._nested(lambda: self._read_list(")"))
                builder.expansion(self._text[begun : self._at])
            elif char in " \t\n;&|()<>":
                break
            else:
                self._read_piece(builder, char)
        return builder.word(self._text[start : self._at])

    def _read_piece(self, builder: WordBuilder, char: str) -> None:
        if plain := _PLAIN_WORD.match(self._text, self._at):
            builder.literal(plain[0])
            self._at = plain.end()
        elif char == "\\":
            self._read_escape(builder)
        elif char == "'":
            builder.literal(self._until_quote())
        elif char == '"':
            self._at += 1
            self._read_double(builder, '"')
        elif char == "$":
            self._read_dollar(builder, quoted=False)
        elif char == "`":
            self._read_backticks(builder)
        else:
            self._at += 1
            (builder.mark if char in MARKS else builder.literal)(char)

    def _read_escape(self, builder: WordBuilder) -> None:
        escaped = self._peek(1)
        self._at += 2
        if not escaped:
            self._sheet.doubt("it ends in a backslash")
        elif escaped != "\n":
            builder.literal(escaped)

    def _until_quote(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            self._sheet.doubt("a quote is not closed")
            end = len(self._text)
        inner = self._text[self._at + 1 : end]
        self._at = end + 1
        return inner

    def _read_double(self, builder: WordBuilder, closer: str) -> None:
        """Read double-quoted text, its opening quote already passed; without a closer, to the end."""
        while char := self._peek():
            if plain := _PLAIN_QUOTED.match(self._text, self._at):
                builder.literal(plain[0])
                self._at = plain.end()
            elif char == closer:
                self._at += 1
                return
            elif char == "\\":
                escaped = self._peek(1)
                self._at += 2
                if escaped != "\n":
                    builder.literal(escaped if escaped and escaped in '$`"\\' else char + escaped)
            elif char == "$":
                self._read_dollar(builder, quoted=True)
            elif char == "`":
                self._read_backticks(builder)
            else:
                builder.literal(char)
                self._at += 1
        if closer:
            self._sheet.doubt("a quote is not closed")

    def _read_dollar(self, builder: WordBuilder, *, quoted: bool) -> None:
        start = self._at
        following = self._peek(1)
        if parameter := _PARAMETER.match(self._text, self._at):
            self._at = parameter.end()
        elif following == "(":
            self._sheet.plain = False
            if self._text.startswith("$((", self._at):
                self._sheet.doubt("it holds arithmetic")
            self._at += 2
            self._nested(lambda: self._read_list(")"))
        elif following == "{":
            self._sheet.doubt("it computes with variables")
            self._at += 2
            self._nested(self._read_braces)
        elif following == "[":
            self._sheet.doubt("it holds arithmetic")
            self._at += 2
        elif following == "'" and not quoted:
            self._at += 1
            self._read_ansi(builder)
            return
        else:
            self._at += 1
            if quoted or following != '"':
                builder.literal("$")
            return
        builder.expansion(self._text[start : self._at])

    def _read_braces(self) -> None:
        inner = WordBuilder()
        while char := self._peek():
            if char == "}":
                self._at += 1
                return
            self._read_piece(inner, char)
        self._sheet.doubt("a bracket is not closed")

    def _read_ansi(self, builder: WordBuilder) -> None:
        found = _ANSI_QUOTED.match(self._text, self._at)
        if found is None:
            self._sheet.doubt("a quote is not closed")
            builder.decoded(self._text[self._at + 1 :])
            self._at = len(self._text)
            return
        self._at = found.end()
        if "\\'" in found[1]:
            self._sheet.doubt("it holds a quote within `$'`, where sh ends it")
        builder.decoded(_CONTROLS.sub(" ", _ANSI_ESCAPE.sub(_ansi_character, found[1])))

    def _read_backticks(self, builder: WordBuilder) -> None:
        self._sheet.plain = False
        start = self._at
        found = _BACKTICKED.match(self._text, self._at)
        if found is None:
            self._sheet.doubt("a quote is not closed")
            self._at = len(self._text)
        else:
            self._at = found.end()
            _Reader(re.sub(r"\\([`\\$])", r"\1", found[1]), self._depth, self._sheet).read_all()
        builder.expansion(self._text[start : self._at])


def _ansi_character(match: re.Match[str]) -> str:
    for group, base in ((1, 16), (2, 16), (3, 16), (4, 8)):
        if match[group]:
            code = int(match[group], base)
            return chr(code) if code <= 0x10FFFF else ""
    if match[5]:
        return chr(ord(match[5]) & 31)
    return _ANSI_LETTERS.get(match[6], match[6])
