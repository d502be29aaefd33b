"""Holds permission rules against calls. Pure.

What allows must cover all of a call; what forbids or asks needs to match a part of it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from hyperguild.agent.command_line import CommandLine, SimpleCommand
from hyperguild.agent.rules import (
    FILE_READERS,
    FILE_WRITERS,
    OWN_ROOTS,
    CommandPattern,
    PathPattern,
    Rule,
)
from hyperguild.agent.shapes import could_be, fits
from hyperguild.agent.shell_words import WILD, Word
from hyperguild.agent.wrappers import has_risky_options, program_name, risky_words

_HARMLESS_VARIABLES: Final = frozenset(
    {"CI", "COLUMNS", "FORCE_COLOR", "LANG", "LC_ALL", "LINES", "NO_COLOR", "PYTHONDONTWRITEBYTECODE"}
    | {"PYTHONUNBUFFERED", "RUST_BACKTRACE", "TZ"}
)
"""They change how output looks, never what runs."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule is held against: one call, its paths normalised, its command taken apart.

    `workdir`: the absolute path of the work directory, for the absolute paths that a command names.
    """

    tool: str
    paths: tuple[str, ...]
    arguments: Mapping[str, Any]
    line: CommandLine | None
    workdir: str = ""


def normal_path(path: str) -> str:
    """Resolve `.` and `..` by spelling alone; `.` is the work directory."""
    return posixpath.normpath(path) if path else "."


def is_outside(path: str) -> bool:
    """Return whether a normalised path leaves the work directory (`/a` does not contain `/ab`)."""
    return path.startswith(("/", "../", "~")) or path == ".."


def inside_workdir(path: str, workdir: str) -> str:
    """Normalise a path; one that is absolute and below the work directory becomes relative."""
    path = normal_path(path)
    if not workdir or path == workdir:
        return "." if path == workdir else path
    return path.removeprefix(workdir.rstrip("/") + "/")


def binding_rule(rules: Sequence[Rule], subject: Subject) -> Rule | None:
    """Return the first rule that matches any part of the call: for rules that forbid or ask.

    A pattern of one file tool binds all that read, or all that write: else `fs_edit` would get round
    `fs_write(secrets/**)`. For `shell`, patterns of reading tools bind any path that the command names,
    those of writing tools what it redirects to.
    """
    return next((rule for rule in rules if _binds(rule, subject)), None)


def _binds(rule: Rule, subject: Subject) -> bool:
    pattern = rule.pattern
    if pattern is None:
        return fnmatchcase(subject.tool, rule.tool)
    if isinstance(pattern, PathPattern):
        if subject.line is not None:
            return any(
                _binds_path(pattern, path) for path in _command_paths(rule, subject.line, subject.workdir)
            )
        if not _same_family(rule.tool, subject.tool):
            return False
        return any(_binds_path(pattern, path) for path in subject.paths)
    if not fnmatchcase(subject.tool, rule.tool):
        return False
    if isinstance(pattern, CommandPattern):
        return subject.line is not None and command_binds(pattern, subject.line)
    values = dict(subject.arguments)
    if pattern.key:
        values = {key: value for key, value in values.items() if key == pattern.key}
    return any(fits(pattern.shape, text) for text in argument_texts(values))


def _same_family(glob: str, tool: str) -> bool:
    return any(
        tool in family and any(fnmatchcase(member, glob) for member in family)
        for family in (FILE_READERS, FILE_WRITERS)
    )


def _command_paths(rule: Rule, line: CommandLine, workdir: str) -> Iterator[str]:
    """The paths in a command that a rule for file tools is about, open parts included."""
    reading = any(fnmatchcase(name, rule.tool) for name in FILE_READERS)
    writing = any(fnmatchcase(name, rule.tool) for name in FILE_WRITERS)
    for command in line.commands:
        for redirection in command.redirections:
            if reading or (writing and redirection.writes):
                yield inside_workdir(redirection.target.shape, workdir)
        if reading:
            for word in command.words[1:]:
                for text in {word.shape, word.shape.partition("=")[2]} - {""}:
                    yield inside_workdir(text, workdir)


def _binds_path(pattern: PathPattern, path: str) -> bool:
    """Forbidding and asking do without regard to case, as some file systems do."""
    parts = path.casefold().split("/")
    wanted = [part.casefold() for part in pattern.parts]
    return _parts_fit(wanted, parts[-1:] if pattern.any_depth else parts, may_be)


def _parts_fit(wanted: Sequence[str], parts: Sequence[str], fit: Callable[[str, str], bool]) -> bool:
    """Match part by part; on a misfit the last `**` takes one part more. `fit` gets a part and a shape."""
    want = spot = 0
    star, resumed = -1, 0
    while spot < len(parts):
        if want < len(wanted) and wanted[want] == "**":
            star, resumed = want, spot
            want += 1
        elif want < len(wanted) and fit(parts[spot], wanted[want]):
            want += 1
            spot += 1
        elif star >= 0:
            resumed += 1
            want, spot = star + 1, resumed
        else:
            return False
    return all(part == "**" for part in wanted[want:])


def covering_rule(rules: Sequence[Rule], subject: Subject) -> Rule | None:
    """Return a rule that covers the whole call, else None; for `shell` see `command_covered`."""
    return next((rule for rule in rules if _covers(rule, subject)), None)


def _covers(rule: Rule, subject: Subject) -> bool:
    if not fnmatchcase(subject.tool, rule.tool):
        return False
    pattern = rule.pattern
    if pattern is None:
        return True
    if isinstance(pattern, PathPattern):
        return bool(subject.paths) and all(covers_path(pattern, path) for path in subject.paths)
    if isinstance(pattern, CommandPattern):
        return False
    if pattern.key:
        value = subject.arguments.get(pattern.key)
        return isinstance(value, str) and _covers_text(pattern.shape, value)
    texts = list(argument_texts(subject.arguments))
    return bool(texts) and all(_covers_text(pattern.shape, text) for text in texts)


def _covers_text(shape: str, text: str) -> bool:
    """A glob must not be climbed out of."""
    return fits(shape, text) and (WILD not in shape or ".." not in re.split(r"[/\\]", text))


def covers_path(pattern: PathPattern, path: str) -> bool:
    """Return whether a normalised path is within what a pattern allows."""
    if pattern.inside and (is_outside(path) or path.startswith(OWN_ROOTS)):
        return False
    parts = path.split("/")
    target = parts[-1:] if pattern.any_depth else parts
    return _parts_fit(pattern.parts, target, lambda part, shape: fits(shape, part))


def argument_texts(value: object) -> Iterator[str]:
    """Every text, number and truth value in arguments, at any depth, as a text."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            pending.extend(item)
        elif item is not None:
            yield item if isinstance(item, str) else str(item)


def command_covered(patterns: Sequence[CommandPattern], command: SimpleCommand) -> bool:
    """Return whether one of the patterns covers a simple command; its redirections are another question.

    Never where a word is not written out, a variable is set that may change what runs, or an option makes the
    program run or write something else and the pattern does not name it.
    """
    if not command.certain or not all(_is_harmless(word) for word in command.assignments):
        return False
    if not command.words:
        return not command.bodies
    return any(_covers_command(pattern, command) for pattern in patterns)


def _is_harmless(assignment: Word) -> bool:
    return assignment.text.partition("=")[0] in _HARMLESS_VARIABLES


def _covers_command(pattern: CommandPattern, command: SimpleCommand) -> bool:
    words, wanted = command.words, pattern.words
    if len(words) < len(wanted) or (not pattern.open_ended and len(words) != len(wanted)):
        return False
    if command.open_ended and (not pattern.open_ended or has_risky_options(command.program)):
        return False
    if not all(fits(want.shape, word.text) for want, word in zip(wanted, words, strict=False)):
        return False
    named = {spot for spot, want in enumerate(wanted) if want.shape == words[spot].text}
    return not wanted or risky_words(words) <= named


def command_binds(pattern: CommandPattern, line: CommandLine) -> bool:
    """Return whether any command of the line, as far as it shows, is one that the pattern means.

    Options before the pattern's next word do not hide it (`git -C . push`), nor does the program's folder, or
    the case of its name.
    """
    for command in line.commands:
        shapes = [word.shape for word in command.words]
        starts = range(len(shapes)) if command.runs_words else range(min(1, len(shapes)))
        if any(_means(pattern, shapes, start) for start in starts):
            return True
    return any(
        _means(pattern, fragment, start) for fragment in line.fragments for start in range(len(fragment))
    )


def _means(pattern: CommandPattern, shapes: Sequence[str], start: int) -> bool:
    wanted = pattern.words
    if not wanted:
        return True
    program = program_name(shapes[start].lstrip("-+:!"))
    meant = program_name(wanted[0].shape)
    if not fits(meant, program) and not (program.strip(WILD) and fits(program, meant)):
        return False
    if not pattern.open_ended:
        rest = shapes[start + 1 :]
        return len(rest) == len(wanted) - 1 and all(
            may_be(shape, want.shape) for shape, want in zip(rest, wanted[1:], strict=True)
        )
    spot = start + 1
    for want in wanted[1:]:
        optional = False
        while spot < len(shapes) and not may_be(shapes[spot], want.shape):
            is_option = shapes[spot].startswith("-")
            if not is_option and not optional:
                return False
            optional = is_option
            spot += 1
        if spot == len(shapes):
            return False
        spot += 1
    return True


def may_be(shape: str, wanted: str) -> bool:
    """Return whether a word is, or could become, what a pattern means."""
    return fits(wanted, shape) or could_be(shape, wanted)
