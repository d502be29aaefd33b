"""Makes the tools of an attempt: files, shell, those of MCP servers, and who may use them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hyperguild.adapters.tools.changing import FsEdit, FsWrite
from hyperguild.adapters.tools.files import file_tools, paths_of
from hyperguild.adapters.tools.own_names import OWN_NAMES
from hyperguild.adapters.tools.places import Origin
from hyperguild.adapters.tools.results import PREFIX, ResultFiles, most_chars
from hyperguild.adapters.tools.roots import Access, Roots
from hyperguild.adapters.tools.sandbox import Bounds, SandboxFinder
from hyperguild.adapters.tools.shell import ShellLimits, ShellTool
from hyperguild.adapters.tools.stamps import stamp_of
from hyperguild.adapters.tools.worktree import Worktrees
from hyperguild.agent.gate import Gate
from hyperguild.agent.permissions import (
    PermissionContext,
    ToolLimit,
    path_refusal,
    tool_limit,
)
from hyperguild.agent.rules import Rule, Rules, parse_rules
from hyperguild.agent.source import AttemptTools
from hyperguild.agent.speculation import EarlyRules
from hyperguild.agent.toolbox import CallRules, no_rules
from hyperguild.domain.agent import WorkOrder
from hyperguild.domain.chain import Tier
from hyperguild.domain.mcp import McpServer
from hyperguild.domain.run import RunRequest
from hyperguild.domain.tools import ToolCall, ToolError
from hyperguild.ports import Approver, Tool
from hyperguild.skills.allowed_tools import AllowedTools, ToolPattern

if TYPE_CHECKING:
    # Start-up counts: it is imported when a run may be offered tools of a server.
    from hyperguild.adapters.tools.mcp import McpTools

OUTPUT_MARGIN_S = 5.0
"""A command ends so much before the tool's own limit, which would lose its output."""


@dataclass(frozen=True, slots=True)
class OffLimits:
    """What is not for tools: `hidden` commands in a sandbox do not see, `programs` nobody may write."""

    hidden: tuple[Path, ...] = ()
    programs: tuple[Path, ...] = ()


class Workbench:
    """A `ToolSource` over the file tools, the shell and MCP servers. Close it with `aclose`.

    `env` is the environment of commands, less what is secret; large results go below `results`, a folder for
    each session; `worktrees` makes those of tiers that ask for one. Without an `approver` nobody is there to
    ask. Of the `servers`, each is opened when an
    attempt may first be offered tools of it, and stays open for all that follow. `functions` are tools that
    the calling program brings: it has asked for and allowed them by that, so that they are offered unless
    skill or run leave them out, and run unless a rule or the mode forbids it or a rule wants to be asked.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        results: Path,
        worktrees: Worktrees,
        *,
        approver: Approver | None = None,
        off_limits: OffLimits | None = None,
        servers: Sequence[McpServer] = (),
        functions: Sequence[Tool] = (),
    ) -> None:
        self._env = env
        self._results = results
        self._worktrees = worktrees
        self._approver = approver
        self._off_limits = off_limits or OffLimits()
        self._sandboxes = SandboxFinder(env)
        self._servers = tuple(servers)
        self._functions = tuple(functions)
        self._mcp: McpTools | None = None
        self._warnings: list[str] = []

    async def aclose(self) -> None:
        """End the servers that were opened. Safe to call twice; no attempt may be under way."""
        if self._mcp is not None:
            await self._mcp.aclose()

    @asynccontextmanager
    async def open(
        self, request: RunRequest, tier: Tier, session_id: str
    ) -> AsyncGenerator[AttemptTools, None]:
        """See `ToolSource.open`."""
        order = None if request.work is None else replace(request.work, kept=self._off_limits.programs)
        request = replace(request, work=order)
        delegates = bool(tier.agent.delegate) and request.parent_run_id is None
        if order is None or not _wants_worktree(order, tier, delegates=delegates):
            async with self._open(request, tier, session_id) as given:
                yield given
            return
        origin = Origin(request.skill, tier.model.name, session_id, order.run_id)
        async with (
            self._worktrees.open(order, origin) as worktree,
            self._open(replace(request, work=worktree.order), tier, session_id) as given,
        ):
            warnings = (*worktree.warnings, *given.warnings)
            yield replace(
                given,
                warnings=warnings,
                settle=worktree.settle,
                work=worktree.order,
                as_left=worktree.as_left,
            )

    @asynccontextmanager
    async def _open(
        self, request: RunRequest, tier: Tier, session_id: str
    ) -> AsyncGenerator[AttemptTools, None]:
        order = request.work
        limits = None if order is None else _limits(order, tier)
        brought = () if order is None else self._brought(order)
        offers = limits is not None and (all(limits) or bool(brought))
        if order is None or limits is None or not offers or not tier.model.tools:
            yield AttemptTools((), no_rules())
            return
        folder = self._results / session_id
        rules, _ = parse_rules(
            {
                "allow": tier.agent.rules.allow,
                "ask": tier.agent.rules.ask,
                "deny": tier.agent.rules.deny,
            }
        )
        allowed = tuple(Rule(tool.spec.name, tool.spec.name) for tool in brought)
        rules = replace(rules, allow=(*rules.allow, *allowed))
        read_only = {PREFIX: folder}
        if order.skill_folder is not None:
            read_only["skill:/"] = order.skill_folder
        roots = Roots(
            order.folder,
            allowed=order.allow_paths,
            read_only=read_only,
            protection=lambda path, access: path_refusal(path, access, rules) or _kept(order, path, access),
        )
        tools: list[Tool] = list(file_tools(roots))
        if _named("shell", limits):
            bounds = Bounds(
                order.folder,
                order.allow_paths,
                (*order.readable, *(() if order.skill_folder is None else (order.skill_folder,))),
                (*self._off_limits.hidden, self._results),
                kept=order.kept,
            )
            shell_limits = ShellLimits(max(tier.agent.tool_timeout_s - OUTPUT_MARGIN_S, 1.0))
            tools.append(ShellTool(bounds, await self._sandboxes.find(), self._env, shell_limits))
        tools += await self._of_servers(limits)
        gate = Gate(_permission(order, tier, rules), self._approver, _FileSight(roots))
        results = ResultFiles(folder, most_chars(tier.model.context_window))
        offered = tuple(tool for tool in tools if _named(tool.spec.name, limits))
        warnings, self._warnings = tuple(self._warnings), []
        early = EarlyRules(gate.refusal_unasked, partial(_stamped, roots))
        toolbox_rules = CallRules(gate.refusal, results.fit, tier.agent.tool_timeout_s, early)
        try:
            yield AttemptTools((*offered, *brought), toolbox_rules, warnings)
        finally:
            if order.private:
                results.discard()

    def _brought(self, order: WorkOrder) -> tuple[Tool, ...]:
        """Return the tools of the calling program that neither skill nor run leaves out."""
        limits = [globs for globs in (order.skill_tools, order.only_tools) if globs is not None]
        return tuple(tool for tool in self._functions if _named(tool.spec.name, limits))

    async def _of_servers(self, limits: Sequence[Sequence[str]]) -> tuple[Tool, ...]:
        """Return the tools of the servers that may have some within the limits; opens these servers."""
        names = [server.name for server in self._servers if _may_have(server.name, limits)]
        if not names:
            return ()
        if self._mcp is None:
            from hyperguild.adapters.tools.mcp import McpTools  # noqa: PLC0415  # start-up

            taken = OWN_NAMES | {tool.spec.name for tool in self._functions}
            self._mcp = McpTools(self._servers, environment=self._env, warn=self._warn, taken=taken)
        return await self._mcp.tools(names)

    def _warn(self, warning: str) -> None:
        self._warnings.append(warning)


class _FileSight:
    """Sees what calls of the file tools would touch and change."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._previews = {tool.spec.name: tool for tool in (FsWrite(roots), FsEdit(roots))}

    async def paths(self, call: ToolCall) -> tuple[str, ...]:
        """Return the paths as they come out, and as they were named."""
        found = await asyncio.to_thread(paths_of, call.name, call.arguments or {}, self._roots)
        return tuple(dict.fromkeys(path for one in found for path in (one.path, one.named)))

    async def preview(self, call: ToolCall) -> str:
        """Return what a write or an edit would change."""
        return await asyncio.to_thread(self._preview, call)

    def _preview(self, call: ToolCall) -> str:
        tool = self._previews.get(call.name)
        if tool is None:
            return ""
        try:
            return tool.preview(call.arguments or {})
        except ToolError as error:
            return str(error)


async def _stamped(roots: Roots, call: ToolCall) -> Hashable | None:
    return await asyncio.to_thread(stamp_of, call.name, call.arguments or {}, roots)


def _kept(order: WorkOrder, path: str, access: Access) -> str | None:
    """Say what a path is that must stay as it is; it is relative to the work directory, or absolute."""
    if access == "write" and order.folder / path in order.kept:
        return "a program that chains.yaml runs"
    return None


def _permission(order: WorkOrder, tier: Tier, rules: Rules) -> PermissionContext:
    return PermissionContext(
        mode=order.permission_mode or tier.agent.permission_mode,
        rules=rules,
        run_tools=None if order.only_tools is None else ToolLimit(order.only_tools),
        skill_tools=_skill_limit(order),
        workdir=str(order.folder),
        opened=tuple(str(path) for path in order.allow_paths),
    )


def _limits(order: WorkOrder, tier: Tier) -> tuple[tuple[str, ...], ...]:
    """Return lists of globs that each name every tool to offer: those of the chain, the skill and the run.

    Chain or skill must ask for tools; beside the other's list each can only limit, never add.
    """
    if not order.built_in:
        return ((),)
    asked = (order.skill_tools or ()) if tier.agent.tools is None else tier.agent.tools
    return (asked, *(globs for globs in (order.skill_tools, order.only_tools) if globs is not None))


def _wants_worktree(order: WorkOrder, tier: Tier, *, delegates: bool) -> bool:
    """Tell whether an attempt gets a worktree; where no tool of ours may change a file it needs none.

    What it delegates works in the same one, with tools of its own.
    """
    if tier.agent.workspace == "shared" or not tier.model.tools:
        return False
    if (order.permission_mode or tier.agent.permission_mode) in {"deny", "plan"}:
        return False
    limits = _limits(order, tier)
    return delegates or any(_named(name, limits) for name in ("fs_write", "fs_edit", "shell"))


def _named(name: str, limits: Sequence[Sequence[str]]) -> bool:
    return all(any(fnmatchcase(name, glob) for glob in globs) for globs in limits)


def _may_have(server: str, limits: Sequence[Sequence[str]]) -> bool:
    """Tell whether a server may have a tool within the limits; its tools are known once it is open."""
    return all(any(_may_begin(glob, f"{server}_") for glob in globs) for globs in limits)


def _may_begin(glob: str, head: str) -> bool:
    """Tell whether a glob may match a name that begins with the head; rather yes than no."""
    plain = re.split(r"[*?[]", glob, maxsplit=1)[0]
    return plain.startswith(head) or (plain != glob and head.startswith(plain))


def _skill_limit(order: WorkOrder) -> ToolLimit | None:
    if order.skill_tools is None:
        return None
    patterns = tuple(ToolPattern(tool, pattern) for tool, pattern in order.skill_patterns)
    return tool_limit(AllowedTools(order.skill_tools, patterns, ()))
