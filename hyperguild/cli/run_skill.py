"""Does what `run` asks for: runs a skill, or shows what would be tried."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path
from typing import Any

from hyperguild.cli.dry_run import preview, print_preview
from hyperguild.cli.execution import Output, execute
from hyperguild.cli.options import Settings
from hyperguild.cli.output import print_json, warn
from hyperguild.cli.page import Page
from hyperguild.cli.task_input import read_stdin, read_task
from hyperguild.cli.tool_files import read_external_tools
from hyperguild.config.configuration import Configuration
from hyperguild.config.wording import quoted
from hyperguild.domain.run import RunRequest
from hyperguild.domain.text import nearest
from hyperguild.errors import UsageError
from hyperguild.requests import (
    ChainOptions,
    ToolOptions,
    check_that_results_can_be_handed_in,
    chosen_chain,
    recorded,
    warning_of_guess,
    work_order,
)
from hyperguild.skills.tool_names import NATIVE_TOOLS, native_tool_name


def run_skill(
    settings: Settings, skill: str, task: tuple[str | None, tuple[str, ...]], options: dict[str, Any]
) -> None:
    """Run the skill, or show what would be tried.

    `task` is the argument and the attached files; `options` are those of `hyperguild run`, by parameter name,
    and are used up. Raises `HyperguildError`, and what `execute` does once a cancelled run is recorded.
    """
    session_ref, history = options.pop("session_ref"), options.pop("history")
    dry_run = options.pop("dry_run")
    output, tools = Output.taken_from(options), _tool_options(options)
    external = read_external_tools(options.pop("external_tools"), read_stdin)
    configuration = settings.load()
    check_that_results_can_be_handed_in(external, configuration, private=output.private)
    loaded = settings.catalog(configuration.path).get(skill)
    model_name = options["model_name"]
    chain_options = ChainOptions(**options)
    chain = chosen_chain(configuration, skill, chain_options)
    work = work_order(loaded, chain, tools, Path.cwd())
    request = RunRequest(
        skill=loaded.name,
        system_prompt="",
        task=read_task(*task, stdin_is_terminal=sys.stdin.isatty(), read_stdin=read_stdin),
        chain=chain,
        work=work,
        external_tools=external,
        options=recorded(chain_options, work, external),
        local_only=chain_options.local,
        insist=chain_options.model_name is not None,
    )
    request = dataclasses.replace(request, system_prompt=loaded.system_prompt(request.task.text))
    warn(warning_of_guess(configuration, model_name))
    if dry_run:
        plan = asyncio.run(_preview(settings, configuration, request, session_ref))
        print_json(plan) if output.as_json else print_preview(plan, Page.for_stdout(settings.env))
        return
    execute(settings, configuration, request, output, session_ref=session_ref, history=history)


async def _preview(
    settings: Settings, configuration: Configuration, request: RunRequest, session_ref: str | None
) -> dict[str, Any]:
    """Return what would be tried, as limits and breakers stand now."""
    from hyperguild.cli.breakers import refusals  # noqa: PLC0415  # start-up
    from hyperguild.cli.limits_left import standings_now  # noqa: PLC0415  # start-up

    return await preview(
        configuration,
        request,
        settings.env,
        standings=await standings_now(settings, configuration, session_ref),
        # Who names a model has it tried, whatever the breaker says.
        breakers={} if request.insist else refusals(settings, [tier.model for tier in request.chain.tiers]),
    )


def _tool_options(options: dict[str, Any]) -> ToolOptions:
    """Take the options of tools out of all of them."""
    listed = options.pop("tools")
    names = None if listed is None else tuple(name for name in listed.replace(",", " ").split() if name)
    for name in names or ():
        _check_tool_name(name)
    return ToolOptions(
        workdir=options.pop("workdir"),
        allow_paths=options.pop("allow_paths"),
        tools=names,
        permission_mode=options.pop("permission_mode"),
        tool_choice=options.pop("tool_choice"),
    )


def _check_tool_name(name: str) -> None:
    """Refuse a name that no tool can bear: that of a server's tool is SERVER_NAME. Raises `UsageError`."""
    own = native_tool_name(name)
    near = own if own != name else nearest(name, NATIVE_TOOLS)
    may_be_a_servers = "_" in name and not (name.startswith("fs_") and near)
    if own == name and (name in NATIVE_TOOLS or set("*?[") & set(name) or may_be_a_servers):
        return
    known = ", ".join(sorted(NATIVE_TOOLS))
    hint = f"did you mean {quoted(near)}?" if near else f"there are {known}; those of servers are SERVER_NAME"
    raise UsageError(f"--tools: no tool is called {quoted(name)} here", hint=hint)
