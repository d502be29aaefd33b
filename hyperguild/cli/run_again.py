"""Does what `rerun` asks for: runs the task of a logged run again."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

from hyperguild.cli.execution import Output, execute
from hyperguild.cli.log_reading import open_log
from hyperguild.cli.options import Settings
from hyperguild.cli.output import warn
from hyperguild.config.configuration import Configuration
from hyperguild.config.wording import quoted
from hyperguild.domain.agent import WorkOrder
from hyperguild.domain.chain import Chain
from hyperguild.domain.records import StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import placeholders
from hyperguild.domain.task import Task
from hyperguild.errors import UsageError
from hyperguild.requests import (
    ChainOptions,
    ToolOptions,
    check_that_results_can_be_handed_in,
    chosen_chain,
    external_tools,
    recorded,
    recorded_chain_options,
    recorded_tool_options,
    warning_of_guess,
    work_order,
)
from hyperguild.skills.manifest import Skill


def run_again(settings: Settings, run_ref: str, from_model: str | None, options: dict[str, Any]) -> None:
    """Run a logged run's task again; takes options and raises as `run_skill.run_skill` does."""
    output = Output.taken_from(options)
    configuration = settings.load()
    stored = asyncio.run(_stored_run(settings, run_ref))
    task = _task_again(stored)
    loaded = settings.catalog(configuration.path).get(stored.result.skill)
    chain_options = ChainOptions(**options, from_model=from_model)
    if stored.options.get("chain") and recorded_chain_options(stored.options).local:
        chain_options = dataclasses.replace(chain_options, local=True)  # what stayed in the house stays there
    chain = _chain_again(configuration, stored, chain_options)
    warn(warning_of_guess(configuration, options["model_name"]))
    work = _work_again(stored, loaded, chain)
    external = external_tools(stored.options.get("external_tools", []))
    check_that_results_can_be_handed_in(external, configuration, private=output.private)
    request = RunRequest(
        skill=loaded.name,
        system_prompt=loaded.system_prompt(task),
        task=Task(task),
        chain=chain,
        session_id=stored.result.session_id,
        work=work,
        external_tools=external,
        options=recorded(chain_options, work, external),
        local_only=chain_options.local,
        insist=chain_options.model_name is not None,
    )
    execute(settings, configuration, request, output)


async def _stored_run(settings: Settings, reference: str) -> StoredRun:
    async with open_log(settings) as store:
        run_id = await store.resolve_run(reference)
        stored = await store.run(run_id)
    if stored is None:
        raise UsageError(f"no run {reference}")
    return stored


def _task_again(stored: StoredRun) -> str:
    """Return the task of a run. Raises `UsageError` where the log does not hold all of it."""
    if stored.task is None:
        raise UsageError(
            "the task of that run was not stored", hint="it ran with --private, or log.content is not full"
        )
    lost = []
    if stored.images:
        images = "1 image" if stored.images == 1 else f"{stored.images} images"
        lost.append(f"that run had {images}, which the log does not keep")
    names = placeholders(stored.task)
    if names:
        lost.append(f"the stored task has placeholders for: {', '.join(names)}")
    if lost:
        raise UsageError("; ".join(lost), hint="give the task again, with `hyperguild run`")
    return stored.task


def _work_again(stored: StoredRun, skill: Skill, chain: Chain) -> WorkOrder | None:
    """Return how tools work: as in that run, where it had ours. Raises `UsageError`."""
    tools = recorded_tool_options(stored.options) if stored.options.get("tools") else None
    if tools is None or tools.workdir is None or not stored.options["tools"].get("built_in", True):
        return work_order(skill, chain, ToolOptions(), Path.cwd())
    if not tools.workdir.is_dir():
        raise UsageError(f"the work directory of that run is gone: {tools.workdir}", hint="put it back")
    return work_order(skill, chain, tools, tools.workdir)


def _chain_again(configuration: Configuration, stored: StoredRun, options: ChainOptions) -> Chain:
    """Return the chain that the options name, else the run's own, else, with a warning, the skill's."""
    skill, former = stored.result.skill, stored.result.chain
    if options.chain_name is not None:
        return chosen_chain(configuration, skill, options)
    if former in configuration.chains:
        return chosen_chain(configuration, skill, dataclasses.replace(options, chain_name=former))
    chain = chosen_chain(configuration, skill, options)
    warn(f"chain {quoted(former)} is not in {configuration.path.name}; walking {quoted(chain.name)}")
    return chain
