"""The lines of texts that fit a regular expression, in bounded time and bounded in number."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator, Sequence

import regex

from hyperguild.adapters.tools.content import Content, is_binary, lines_of, text_of
from hyperguild.domain.text import clipped
from hyperguild.domain.tools import ToolError

MATCHES_MAX = 100
RESULT_CHARS_MAX = 15_000
"""With the notes below the 16 KiB from which a result is kept aside."""

LINE_SHOWN_CHARS = 300
PATTERN_CHARS_MAX = 1_000
REGEX_TIMEOUT_S = 1.0
"""For one file or one line."""

_UNLIKE_BY_LINE = re.compile(r"\(\?(?!i\)|:)|\\[^wWdDsSbBntrf\W]|[*+?}]\+")
"""What may fit a line by itself and yet nothing in the whole text: look-arounds, anchors to the text's ends,
atomic groups and possessive repeats; besides all rare escapes."""


def compiled(pattern: str) -> regex.Pattern[str]:
    """Return a regular expression. Raises `ToolError` where it is none, with the plain text escaped."""
    if len(pattern) > PATTERN_CHARS_MAX:
        raise ToolError(f"the pattern is longer than {PATTERN_CHARS_MAX} characters")
    try:
        return regex.compile(pattern, regex.MULTILINE)
    except regex.error as error:
        escaped = regex.escape(pattern, literal_spaces=True)
        raise ToolError(
            f"the pattern is no regular expression: {error}; as plain text it would be {escaped}"
        ) from error


class Matches:
    """The matches of one search, collected file by file, and what was passed over.

    `unread` counts the files that could not be read; the owner of the search adds to it.
    """

    def __init__(self, pattern: regex.Pattern[str], context: int, stop: threading.Event) -> None:
        self.unread = 0
        self._pattern = pattern
        self._context = context
        self._stop = stop
        self._whole_first = _UNLIKE_BY_LINE.search(pattern.pattern) is None
        self._told: list[str] = []
        self._chars = 0
        self._matches = 0
        self._shown = 0
        self._files = 0
        self._large = 0

    @property
    def is_full(self) -> bool:
        """Whether no more matches are wanted."""
        return self._matches >= MATCHES_MAX or self._chars >= RESULT_CHARS_MAX

    def search(self, shown: str, content: Content) -> None:
        """Search one file, called `shown`. Raises `ToolError` where the pattern takes too long."""
        if not content.is_whole:
            self._large += 1
            return
        if is_binary(content.data):
            return
        self._files += 1
        text, _ = text_of(content.data)
        try:
            if self._may_match(text):
                self._search_lines(shown, lines_of(text))
        except TimeoutError as error:
            raise ToolError(
                f"searching {shown} took more than {REGEX_TIMEOUT_S:g} s; simplify the pattern"
            ) from error

    def result(self, notes: Sequence[str]) -> str:
        """Return the matches as text, followed by notes on what was left out, in square brackets."""
        own: list[str] = []
        if not self._matches:
            pattern = clipped(self._pattern.pattern, LINE_SHOWN_CHARS)
            own.append(f"no line fits {pattern} ({self._files:,} files searched)")
        if self.is_full:
            own.append(
                f"only the first {self._shown} matches are shown; narrow the pattern, the path or the glob"
            )
        if self._large:
            own.append(f"{self._large:,} large files were not searched")
        if self.unread:
            own.append(f"{self.unread:,} files could not be read")
        return "\n".join([*self._told, *(f"[{note}]" for note in (*own, *notes))])

    def _may_match(self, text: str) -> bool:
        """Return False where no line can match: one look spares most files the walk along their lines."""
        if not self._whole_first:
            return True
        try:
            return self._find(text) is not None
        except TimeoutError:  # no reason to refuse: a line is shorter
            self._whole_first = False
            return True

    def _search_lines(self, shown: str, lines: Sequence[str]) -> None:
        """Tell the matching lines as `path:line: text`, those around them as `path-line- text`."""
        found = dict(self._found(lines))
        near = sorted(
            index
            for index in {index + by for index in found for by in range(-self._context, self._context + 1)}
            if 0 <= index < len(lines)
        )
        for previous, index in itertools.pairwise([-2, *near]):
            if self._context and self._told and index != previous + 1:
                self._told.append("--")
            if index in found:
                line = f"{shown}:{index + 1}: {_window(lines[index], found[index])}"
            else:
                line = f"{shown}-{index + 1}- {clipped(lines[index], LINE_SHOWN_CHARS)}"
            self._chars += len(line) + 1
            if self._chars > RESULT_CHARS_MAX:
                return
            self._told.append(line)
            self._shown += index in found

    def _found(self, lines: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield the index of each matching line, and where in it the match begins."""
        for index, line in enumerate(lines):
            if index % 1_000 == 0 and self._stop.is_set():
                return
            match = self._find(line)
            if match is not None:
                self._matches += 1
                yield index, match.start()
                if self.is_full:
                    return

    def _find(self, text: str) -> regex.Match[str] | None:
        # `concurrent` lets go of the interpreter's lock, so that the event loop runs on meanwhile.
        return self._pattern.search(text, timeout=REGEX_TIMEOUT_S, concurrent=True)


def _window(line: str, start: int) -> str:
    """Return a line, or the part of a long one that its match begins in."""
    if len(line) <= LINE_SHOWN_CHARS:
        return line
    begin = max(min(start - LINE_SHOWN_CHARS // 3, len(line) - LINE_SHOWN_CHARS), 0)
    return ("…" if begin else "") + clipped(line[begin:], LINE_SHOWN_CHARS)
