"""What `skills check` reports: everything in a skill that breaks the format, or will surprise somebody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from hyperguild.errors import SkillError
from hyperguild.skills.catalog import SkillCatalog, SkillEntry
from hyperguild.skills.frontmatter import Document
from hyperguild.skills.manifest import FORMAT_KEYS, Skill, allowed_tools_of, read_document, skill_from
from hyperguild.skills.tool_names import NATIVE_TOOLS

Severity = Literal["error", "warning"]

MAX_NAME_CHARS: Final = 64
MAX_DESCRIPTION_CHARS: Final = 1024
MAX_COMPATIBILITY_CHARS: Final = 500
"""Limits of the Agent Skills format, as published."""
LONG_BODY_TOKENS: Final = 5000
"""The format recommends bodies below this."""

_NAME: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LINK: Final = re.compile(r"\]\(\s*<?(?P<target>(?:\./)?(?:references|scripts|assets)/[^\s)>#?]+)")
_MENTION: Final = re.compile(r"(?<![\w./-])(?P<target>(?:\./)?references/[\w./-]*\.\w+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark of `skills check`; `line` is 1-based. An error breaks the format, a warning does not."""

    path: str
    line: int
    severity: Severity
    message: str

    def __str__(self) -> str:
        """Render as `PATH:LINE: SEVERITY: MESSAGE`."""
        return f"{self.path}:{self.line}: {self.severity}: {self.message}"


def check_catalog(catalog: SkillCatalog) -> list[Finding]:
    """Check every skill on the search path; raises SkillError when a folder cannot be listed."""
    return [finding for entry in catalog.entries() for finding in check_entry(entry)]


def check_entry(entry: SkillEntry) -> list[Finding]:
    """Check one entry of a catalog: the skill, and that it hides others."""
    findings = check_skill(entry.folder, entry.root)
    path = str(entry.folder / "SKILL.md")
    hidden = [
        Finding(path, 1, "warning", f"it shadows {folder}, which is not used") for folder in entry.shadowed
    ]
    return findings + hidden


def check_skill(folder: Path, root: Path) -> list[Finding]:
    """Check `folder`/SKILL.md, found in the search folder `root`, in the order of its lines; raises nothing.

    A file that cannot be loaded gives the one error that loading it would raise.
    """
    path = folder / "SKILL.md"
    try:
        document = read_document(path, root)
        skill = skill_from(document, path)
    except SkillError as exc:
        line, message = (exc.problem.line, exc.problem.message) if exc.problem else (1, exc.message)
        return [Finding(str(path), line, "error", f"{message} ({exc.hint})")]
    checks = (_name, _description, _optional, _tools, _keys, _body, _links)
    findings = [
        Finding(str(path), line, severity, message)
        for check in checks
        for line, severity, message in check(skill, document)
    ]
    findings += [Finding(str(path), remark.line, "warning", remark.message) for remark in document.remarks]
    return sorted(findings, key=lambda finding: finding.line)


_Parts = tuple[int, Severity, str]


def _line(document: Document, key: str) -> int:
    return document.lines.get(key, 1)


def _name(skill: Skill, document: Document) -> Iterator[_Parts]:
    line, name = _line(document, "name"), skill.declared_name
    if name is None:
        yield line, "error", "name is missing"
        return
    if name != skill.name:
        yield line, "error", f'name "{name}" differs from the folder, so it is found as "{skill.name}"'
    if len(name) > MAX_NAME_CHARS:
        yield line, "error", f"name has {len(name)} characters; the most is {MAX_NAME_CHARS}"
    if not _NAME.fullmatch(name):
        yield line, "error", f'name "{name}" is not made of a-z, 0-9 and single hyphens between them'


def _description(skill: Skill, document: Document) -> Iterator[_Parts]:
    line, length = _line(document, "description"), len(skill.description)
    if not length:
        yield line, "error", "description is missing"
    if length > MAX_DESCRIPTION_CHARS:
        yield line, "error", f"description has {length:,} characters; the most is {MAX_DESCRIPTION_CHARS:,}"


def _optional(skill: Skill, document: Document) -> Iterator[_Parts]:
    for key in ("name", "description", "license", "compatibility"):
        if key in skill.extra:
            yield _line(document, key), "error", f"{key} is not text"
    length = len(skill.compatibility or "")
    if length > MAX_COMPATIBILITY_CHARS:
        message = f"compatibility has {length:,} characters; the most is {MAX_COMPATIBILITY_CHARS}"
        yield _line(document, "compatibility"), "error", message
    metadata, line = document.fields.get("metadata"), _line(document, "metadata")
    if "metadata" in skill.extra:
        yield line, "error", "metadata is not a mapping"
    if isinstance(metadata, dict):
        for key, value in metadata.items():
            if isinstance(value, list | dict):
                yield line, "warning", f"metadata.{key} is not text; it is kept as JSON"


def _tools(skill: Skill, document: Document) -> Iterator[_Parts]:
    allowed = allowed_tools_of(document, skill.path)
    if allowed is None:
        return
    line = _line(document, "allowed-tools")
    if not allowed.tools:
        yield line, "warning", "allowed-tools is empty: no tool is offered"
    for fault in allowed.faults:
        yield line, "error", f"allowed-tools: {fault}"
    for tool in allowed.tools:
        # A name of two words parted by _ may be the tool of an MCP server, and a glob may match anything.
        if tool not in NATIVE_TOOLS and "_" not in tool and "*" not in tool:
            yield line, "warning", f'allowed-tools: "{tool}" is not a tool of hyperguild and is never offered'


def _keys(skill: Skill, document: Document) -> Iterator[_Parts]:
    for key in skill.extra:
        if key not in FORMAT_KEYS:
            yield (
                _line(document, key),
                "warning",
                f'"{key}" is not a key of the format; it is kept and has no effect',
            )


def _body(skill: Skill, document: Document) -> Iterator[_Parts]:
    if skill.estimated_tokens > LONG_BODY_TOKENS:
        message = (
            f"the body has about {skill.estimated_tokens:,} tokens (advised: under {LONG_BODY_TOKENS:,}); "
            "models with a small window skip this skill"
        )
        yield document.body_line, "warning", message


def _links(skill: Skill, document: Document) -> Iterator[_Parts]:
    folder = skill.folder.resolve()
    seen: set[str] = set()
    for number, line in enumerate(skill.body.split("\n"), document.body_line):
        for match in (*_LINK.finditer(line), *_MENTION.finditer(line)):
            target = match["target"].removeprefix("./")
            if target in seen:
                continue
            seen.add(target)
            yield from _link(folder, target, number)


def _link(folder: Path, target: str, line: int) -> Iterator[_Parts]:
    try:
        real = (folder / target).resolve()
        exists = real.exists()
    except (OSError, RuntimeError, ValueError):
        # A name that is too long, a loop of links, a NUL.
        yield line, "warning", f"{target} cannot be looked at"
        return
    if not real.is_relative_to(folder):
        yield line, "error", f"{target} leaves the skill's folder"
    elif not exists:
        yield line, "warning", f"{target} does not exist"
