"""One skill: what its SKILL.md says, ready to use."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hyperguild.skills.allowed_tools import AllowedTools, ToolPattern, parse_allowed_tools
from hyperguild.skills.frontmatter import MAX_FILE_BYTES, Document, Value, parse_document, refusal

MANIFEST_NAME: Final = "SKILL.md"
FORMAT_KEYS: Final = frozenset(
    {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
)
"""The keys of the Agent Skills format; all others are kept in `Skill.extra`."""

_ARGUMENTS: Final = re.compile(r"\$ARGUMENTS(?![A-Za-z0-9_])")


@dataclass(frozen=True, slots=True)
class Skill:
    """A loaded skill.

    `name` is the folder's name, under which it is found; `declared_name` is the frontmatter's, None where it
    has none. `description` is empty where the frontmatter has none. `folder` and `path` (its SKILL.md) are
    where it was found. `metadata` values that are not text are JSON. `allowed_tools` holds this program's
    tool names, is None when the key is absent, and limits what is offered; `allowed_tool_patterns` are the
    argument rules that came with them. `extra` holds every other key as written, and keys of the format whose
    value has the wrong shape.
    """

    name: str
    declared_name: str | None
    description: str
    body: str
    folder: Path
    path: Path
    license: str | None
    compatibility: str | None
    metadata: Mapping[str, str]
    allowed_tools: tuple[str, ...] | None
    allowed_tool_patterns: tuple[ToolPattern, ...]
    extra: Mapping[str, Value]

    @property
    def estimated_tokens(self) -> int:
        """The body's length in tokens, estimated as (characters + 3) / 4."""
        return (len(self.body) + 3) // 4

    def system_prompt(self, task: str) -> str:
        """Return the body, each `$ARGUMENTS` replaced by `task`; the task itself is the user message."""
        return _ARGUMENTS.sub(lambda _: task, self.body)


def read_skill(folder: Path, root: Path) -> Skill:
    """Load `folder`/SKILL.md, found in the search folder `root`.

    Raises SkillError, with file, line and remedy, when it cannot be read or used, or lies outside `root`.
    """
    path = folder / MANIFEST_NAME
    return skill_from(read_document(path, root), path)


def read_document(path: Path, root: Path) -> Document:
    """Read and take apart one SKILL.md; raises SkillError. `path`, links resolved, has to lie in `root`."""
    file = str(path)
    try:
        real = path.resolve(strict=True)
        inside = real.is_relative_to(root.resolve(strict=True))
        if inside and not stat.S_ISREG(real.stat().st_mode):
            raise refusal(file, 1, "it is not a regular file", hint=f"make {MANIFEST_NAME} a text file")
        data = _head_of(real) if inside else b""
    except (OSError, RuntimeError) as exc:
        # A loop of links is a RuntimeError up to Python 3.12.
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "a loop of links"
        hint = "check that the file exists and that you may read it"
        raise refusal(file, 1, f"cannot be read: {reason}", hint=hint) from exc
    if not inside:
        raise refusal(
            file,
            1,
            f"it is a link that leaves the skills folder {root}",
            hint="copy the skill there, or put the folder that really holds it on the search path",
        )
    return parse_document(data, file)


def skill_from(document: Document, path: Path) -> Skill:
    """Make a skill of a document; `path` is its SKILL.md.

    Raises SkillError when the body is empty or `allowed-tools` cannot be read: a limit is never guessed. A
    fault in what only informs is left to `skills check`.
    """
    fields = document.fields
    if not document.body:
        raise refusal(
            str(path),
            document.body_line,
            "the body is empty: there is nothing to tell the model",
            hint="write the instructions after the frontmatter",
        )
    allowed = allowed_tools_of(document, path)
    metadata = fields.get("metadata")
    misshapen = {
        key for key in ("name", "description", "license", "compatibility") if _is_nested(fields.get(key))
    }
    if metadata is not None and not isinstance(metadata, dict):
        misshapen.add("metadata")
    return Skill(
        name=path.parent.name,
        declared_name=_text(fields.get("name")),
        description=_text(fields.get("description")) or "",
        body=document.body,
        folder=path.parent,
        path=path,
        license=_text(fields.get("license")),
        compatibility=_text(fields.get("compatibility")),
        metadata={key: _as_text(value) for key, value in metadata.items()}
        if isinstance(metadata, dict)
        else {},
        allowed_tools=allowed.tools if allowed else None,
        allowed_tool_patterns=allowed.patterns if allowed else (),
        extra={key: value for key, value in fields.items() if key not in FORMAT_KEYS or key in misshapen},
    )


def allowed_tools_of(document: Document, path: Path) -> AllowedTools | None:
    """Read `allowed-tools`: None when absent, no tools when it is there and empty; raises SkillError."""
    if "allowed-tools" not in document.fields:
        return None
    value = document.fields["allowed-tools"]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        # Joined, because a flow list cuts Bash(a:*, b:*) at its comma.
        return parse_allowed_tools(", ".join(str(item) for item in value))
    if value is None or isinstance(value, str):
        return parse_allowed_tools(value or "")
    raise refusal(
        str(path),
        document.lines["allowed-tools"],
        "allowed-tools is neither text nor a list of tool names",
        hint='write it like "Read Grep Bash(git:*)", in quotes',
    )


def _head_of(path: Path) -> bytes:
    """Read up to one byte more than is allowed, whatever the file grows to."""
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def _is_nested(value: Value) -> bool:
    return isinstance(value, list | dict)


def _text(value: Value) -> str | None:
    return (value.strip() or None) if isinstance(value, str) else None


def _as_text(value: Value) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
