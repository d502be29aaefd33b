"""How the hooks of chains.yaml are shown: as JSON whole, on a page in a line each."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hyperguild.cli.page import Page
from hyperguild.domain.hooks import CommandHook, HookKind

_TOOL_KINDS = frozenset({"pre_tool", "post_tool"})


def hooks_object(hooks: Mapping[HookKind, Sequence[CommandHook]]) -> dict[str, Any]:
    """Return the hooks as JSON, under the names of chains.yaml and with every default."""
    return {kind: [_hook_object(kind, hook) for hook in commands] for kind, commands in hooks.items()}


def add_hooks(page: Page, hooks: Mapping[str, Any]) -> None:
    """Put hooks as of `hooks_object` on the page; nothing where there are none."""
    if hooks:
        page.gap()
        page.add(("hooks", "bold"), ("  of every chain", "dim"))
    for kind, commands in hooks.items():
        for number, hook in enumerate(commands):
            words = (shlex.join(hook["argv"]), ""), (f"  {_terms(kind, hook)}", "dim")
            page.fact("" if number else kind, *words, indent=3)


def _hook_object(kind: HookKind, hook: CommandHook) -> dict[str, Any]:
    fields = dataclasses.asdict(hook)
    fields |= {"argv": list(hook.argv), "tools": list(hook.tools)}
    for stray in ("on_error",) if kind in _TOOL_KINDS else ("tools", "fail_open"):
        del fields[stray]
    return fields


def _terms(kind: str, hook: Mapping[str, Any]) -> str:
    within = f"within {hook['timeout_s']:g} s"
    if kind not in _TOOL_KINDS:
        failing = "ends the attempt" if hook["on_error"] == "abort" else "is passed over"
        return f"{within}; if it fails, it {failing}"
    held = "the call is denied" if kind == "pre_tool" else "the result is withheld"
    failing = "it is passed over" if hook["fail_open"] else held
    return f"for {', '.join(hook['tools'])}; {within}; if it fails, {failing}"
