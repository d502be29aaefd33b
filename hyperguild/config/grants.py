"""What the permissions of a chains.yaml let models do without asking anybody, beyond reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hyperguild.domain.agent import AgentPolicy, PermissionMode

_MODES: dict[PermissionMode, str] = {"bypass": "use every tool", "accept_edits": "change files"}


@dataclass(frozen=True, slots=True)
class Grant:
    """Something that models may do unasked: in words, and to the letter."""

    what: str
    exact: tuple[str, ...]


def grants_of(policy: AgentPolicy) -> Iterator[Grant]:
    """Yield what the mode and the allow rules grant: programs, changes, and tools that could do either.

    Rules that ask and forbid are part of each: without one of them the same rule would grant more. Allow
    rules count in every mode, since the command line can choose another.
    """
    limits = (*(f"ask:{rule}" for rule in policy.rules.ask), *(f"deny:{rule}" for rule in policy.rules.deny))
    but = _limits_in_words(policy)
    mode = policy.permission_mode
    if mode in _MODES:
        what = f"lets models {_MODES[mode]} without asking (permission_mode: {mode}){but}"
        yield Grant(what, ("permit", f"mode:{mode}", *sorted(limits)))
    groups: dict[str, list[str]] = {}
    for text in policy.rules.allow:
        deed = _granted_by(text)
        if deed:
            groups.setdefault(deed, []).append(text)
    for deed, texts in groups.items():
        what = f"lets models {deed} without asking: {', '.join(texts)}{but}"
        yield Grant(what, ("permit", *sorted({f"allow:{text}" for text in texts} | set(limits))))


def _granted_by(rule: str) -> str:
    """Return what an allow rule lets models do, in words; empty where that is reading alone."""
    from hyperguild.agent.rules import (  # noqa: PLC0415  # start-up
        FILE_READERS,
        FILE_WRITERS,
        SHELL,
        parse_rule,
    )

    tool = parse_rule(rule).tool
    deeds = [
        *(["run shell commands"] if fnmatchcase(SHELL, tool) else []),
        *(["change files"] if any(fnmatchcase(writer, tool) for writer in FILE_WRITERS) else []),
    ]
    is_built_in = tool == SHELL or tool in FILE_READERS | FILE_WRITERS
    if not is_built_in and not (deeds and tool.startswith("fs_")):
        deeds.append("use other tools" if deeds else "use tools")
    return " and ".join([", ".join(deeds[:-1]), deeds[-1]]) if len(deeds) > 1 else "".join(deeds)


def _limits_in_words(policy: AgentPolicy) -> str:
    asked = f"; asked about: {', '.join(policy.rules.ask)}" if policy.rules.ask else ""
    return asked + (f"; forbidden: {', '.join(policy.rules.deny)}" if policy.rules.deny else "")
