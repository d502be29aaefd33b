"""Takes a shell command apart into the simple commands that it may run. Pure.

Followed: separators, groups, substitutions, here-documents, and programs that run another one (`env`,
`xargs`, `find -exec`, `sh -c`, `eval`, `sudo`). What cannot be followed with certainty becomes a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from hyperguild.agent.shell_reader import (
    DEEPEST,
    LONGEST_COMMAND,
    Draft,
    Redirection,
    Sheet,
    read_shell,
)
from hyperguild.agent.shell_words import WILD, Word
from hyperguild.agent.wrappers import OPAQUE, SHELLS, TRANSPARENT, Wrapper, is_system_program, program_name

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(?:\[[^\]]*\])?\+?=", re.ASCII)
_KEYWORDS: Final = frozenset(
    {"!", "{", "}", "if", "then", "elif", "else", "fi", "while", "until", "do", "done", "esac"}
)
_UNREADABLE_KEYWORDS: Final = frozenset({"case", "function", "coproc", "[[", "select"})
_LOOPS: Final = _UNREADABLE_KEYWORDS | {"for"}
_SCRIPT_OPTION = re.compile(r"-[ceux]*c[ceux]*")
_FIND_RUNS: Final = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
_SEPARATORS = re.compile(r"[;&|()\n{}<>`$,=:\0-\5]+")
_WORK: Final = 6 * LONGEST_COMMAND
"""Work done before a line counts as too involved, a character being 1: scripts in scripts can multiply."""
_WORD_WORK: Final = 8
_QUOTES = re.compile(r"[\"'\\]")


@dataclass(frozen=True, slots=True)
class SimpleCommand:
    """One program with its words.

    `assignments` come before it. `bodies`: texts on its standard input. `wrapper`: it only runs other
    commands of the line, which stand there as well, so it needs no permission of its own. `runs_words`: any
    of its words may be the name of a program that it runs. `open_ended`: it gets more words than stand here.
    """

    words: tuple[Word, ...]
    assignments: tuple[Word, ...] = ()
    redirections: tuple[Redirection, ...] = ()
    bodies: tuple[str, ...] = ()
    wrapper: bool = False
    runs_words: bool = False
    open_ended: bool = False

    @property
    def program(self) -> str:
        """The last part of the program's name, in lower case; empty where there is none."""
        return program_name(self.words[0].shape) if self.words else ""

    @property
    def certain(self) -> bool:
        """Whether every word is written out (globs may be left to the shell)."""
        return not any(word.expands for word in (*self.words, *self.assignments))


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A shell command taken apart.

    `doubts` says why it is not known to run these commands alone; empty where it is. `fragments`, only where
    there are doubts: whatever might be a command, cut out without regard to syntax. `plain`: no command's
    output becomes another's input or arguments.
    """

    text: str
    commands: tuple[SimpleCommand, ...]
    doubts: tuple[str, ...] = ()
    fragments: tuple[tuple[str, ...], ...] = ()
    plain: bool = True


def read_command_line(text: str) -> CommandLine:
    """Take `text` apart. Never raises; takes time in proportion to its length."""
    analysis = _Analysis()
    analysis.follow_script(text, 0)
    doubts = tuple(analysis.doubts)
    fragments = _fragments(text) if doubts else ()
    return CommandLine(text, tuple(analysis.commands), doubts, fragments, analysis.plain)


def _fragments(text: str) -> tuple[tuple[str, ...], ...]:
    """Cut at everything that may part commands; once with the quotes gone, once with cuts at them too."""
    cuts = _SEPARATORS.split(_QUOTES.sub("", text.replace("\\\n", "")))
    cuts += _SEPARATORS.split(_QUOTES.sub(";", text))
    return tuple(tuple(words) for words in dict.fromkeys(tuple(cut.split()) for cut in cuts) if words)


class _Analysis:
    """What is known of a line so far."""

    def __init__(self) -> None:
        self.commands: list[SimpleCommand] = []
        self.doubts: dict[str, None] = {}
        self.plain = True
        self._left = _WORK

    def follow_script(self, text: str, depth: int, *, shown_only: bool = False) -> None:
        """Add the commands of a script. `shown_only`: they need no permission of their own."""
        if not self._may_spend(len(text)):
            return
        sheet: Sheet = read_shell(text, depth)
        self.plain &= sheet.plain
        self.doubts |= sheet.doubts
        first = len(self.commands)
        for draft in sheet.drafts:
            self._follow_draft(draft, depth + 1)
        if shown_only:
            self.commands[first:] = [replace(command, wrapper=True) for command in self.commands[first:]]

    def _doubt(self, reason: str) -> None:
        self.doubts[reason] = None

    def _may_spend(self, work: int) -> bool:
        self._left -= work
        if self._left < 0:
            self._doubt("it runs commands within commands too often")
        return self._left >= 0

    def _follow_draft(self, draft: Draft, depth: int) -> None:
        words = _less_keywords(draft.words, draft.unredirected)
        if draft.piped_in and draft.words and draft.words[0].source == "time":
            self._doubt("it holds `time` within a pipe")
        if words and words[0].source in _UNREADABLE_KEYWORDS:
            self._doubt(f"it holds `{words[0].source}`")
        assigned = 0
        while assigned < len(words) and _ASSIGNMENT.match(words[assigned].source):
            assigned += 1
        command = SimpleCommand(
            tuple(words[assigned:]), tuple(words[:assigned]), tuple(draft.redirections), tuple(draft.bodies)
        )
        if words and words[0].source == "for":
            self.commands.append(replace(command, wrapper=True))
        elif command.words:
            self._follow(command, depth, piped_in=draft.piped_in)
        elif command.assignments or command.redirections or command.bodies:
            self.commands.append(command)

    def _follow(self, command: SimpleCommand, depth: int, *, piped_in: bool = False) -> None:
        """Add a command and those that it runs."""
        if not self._may_spend(_WORD_WORK * len(command.words)):
            return
        first = command.words[0]
        name = command.program
        if depth > DEEPEST:
            self._doubt("it is nested too deeply")
            self.commands.append(replace(command, runs_words=True))
        elif first.expands or WILD in first.shape:
            self._doubt("the name of a program is not written out")
            self.commands.append(replace(command, runs_words=True))
        elif name in {"source", "."}:
            self._doubt("it runs a file's commands")
            self.commands.append(command)
        elif name == "eval":
            self._follow_eval(command, depth)
        elif name in SHELLS:
            self._follow_shell(command, depth, piped_in=piped_in)
        elif name == "find":
            self._follow_find(command, depth)
        elif name in TRANSPARENT and is_system_program(first.text, name):
            self._follow_wrapper(command, TRANSPARENT[name], depth)
        elif name in OPAQUE or name in TRANSPARENT:
            self._follow_opaque(command, depth)
        else:
            self.commands.append(command)

    def _follow_eval(self, command: SimpleCommand, depth: int) -> None:
        if not command.certain:
            self._doubt("it runs a text that is not written out")
        self.commands.append(replace(command, wrapper=command.words[0].text == "eval"))
        self.follow_script(" ".join(word.text for word in command.words[1:]), depth)

    def _follow_shell(self, command: SimpleCommand, depth: int, *, piped_in: bool) -> None:
        """`sh -c TEXT` is its text; any other shell needs permission of its own."""
        words = command.words
        spot = next((i for i, word in enumerate(words) if i and _takes_script(word.text)), 0)
        if not spot or spot + 1 >= len(words):
            self.commands.append(replace(command, runs_words=True))
            for body in command.bodies:
                self.follow_script(body, depth)
            if piped_in or any(not redirection.writes for redirection in command.redirections):
                self._doubt("a shell gets its commands as input")
            return
        script = words[spot + 1]
        if script.expands:
            self._doubt("it runs a text that is not written out")
        known = is_system_program(words[0].text, command.program)
        only_script = known and spot == 1 and bool(_SCRIPT_OPTION.fullmatch(words[1].text))
        self.commands.append(replace(command, wrapper=only_script, runs_words=True))
        self.follow_script(script.text, depth)

    def _follow_find(self, command: SimpleCommand, depth: int) -> None:
        self.commands.append(command)
        spots = [i for i, word in enumerate(command.words) if word.text in _FIND_RUNS]
        for spot in spots:
            rest = command.words[spot + 1 :]
            end = next((i for i, word in enumerate(rest) if _ends_find_command(rest, i, word)), len(rest))
            self._follow_inner(_with_unknown(rest[:end], "{}"), depth, open_ended=False)
            if depth > DEEPEST:
                return
            depth += 1

    def _follow_wrapper(self, command: SimpleCommand, wrapper: Wrapper, depth: int) -> None:
        spot = wrapper.inner(command.words)
        if spot is None:
            self._follow_opaque(command, depth)
            return
        assigned = spot
        while wrapper.assigns and assigned < len(command.words) and "=" in command.words[assigned].text:
            assigned += 1
        inner = command.words[assigned:]
        if not inner:
            self.commands.append(command)
            return
        assignments = (*command.assignments, *command.words[spot:assigned])
        self.commands.append(replace(command, assignments=assignments, wrapper=True))
        placeholder = wrapper.placeholder(command.words[:spot])
        if placeholder:
            inner = _with_unknown(inner, placeholder)
        self._follow_inner(inner, depth, open_ended=wrapper.appends, assignments=assignments)

    def _follow_inner(
        self,
        words: Sequence[Word],
        depth: int,
        *,
        open_ended: bool,
        assignments: tuple[Word, ...] = (),
    ) -> None:
        if words:
            inner = SimpleCommand(tuple(words), assignments, open_ended=open_ended)
            self._follow(inner, depth + 1, piped_in=open_ended)

    def _follow_opaque(self, command: SimpleCommand, depth: int) -> None:
        """Show what a program such as `sudo` may run; that is for refusals, its own rule permits it."""
        self.commands.append(replace(command, runs_words=True))
        for word in command.words[1:]:
            if any(char.isspace() for char in word.text):
                self.follow_script(word.text, depth, shown_only=True)


def _less_keywords(words: Sequence[Word], end: int | None) -> Sequence[Word]:
    """Drop what only opens or joins commands; `time` before one of these is a keyword too."""
    spot = 0
    end = len(words) if end is None else end
    while spot < end:
        following = spot
        while following < end and words[following].source in {"time", "-p", "--"}:
            following += 1
        if following > spot and words[spot].source != "time":
            break
        if following == end or words[following].source not in _KEYWORDS | _LOOPS:
            break
        spot = following
        if words[spot].source in _LOOPS:
            break
        spot += 1
    return words[spot:]


def _takes_script(option: str) -> bool:
    return option.startswith("-") and not option.startswith("--") and "c" in option


def _ends_find_command(words: Sequence[Word], spot: int, word: Word) -> bool:
    return word.text == ";" or (word.text == "+" and spot > 0 and words[spot - 1].text == "{}")


def _with_unknown(words: Sequence[Word], placeholder: str) -> tuple[Word, ...]:
    """A placeholder that is the whole of an argument stays one argument; within a text it may be anything."""
    return tuple(
        replace(word, shape=word.shape.replace(placeholder, WILD), expands=True)
        if placeholder in word.text and (spot == 0 or word.text != placeholder)
        else word
        for spot, word in enumerate(words)
    )
