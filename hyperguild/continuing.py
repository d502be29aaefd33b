"""Turns a run of the log that has not come to its end into a request that goes on with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperguild.config.configuration import Configuration
from hyperguild.config.wording import quoted
from hyperguild.domain.agent import WorkOrder
from hyperguild.domain.chain import Chain
from hyperguild.domain.records import RESUMABLE, StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.domain.text import encodable
from hyperguild.domain.tools import ToolResult
from hyperguild.errors import UsageError
from hyperguild.orchestration.restoring import Restorer
from hyperguild.orchestration.resume import Continuation, plan, stored_prompt
from hyperguild.requests import (
    ToolOptions,
    chosen_chain,
    external_tools,
    recorded_chain_options,
    recorded_tool_options,
    work_order,
)
from hyperguild.skills.manifest import Skill

TOOL_RESULT = 'each is {"id": "…", "content": "…"}, and "is_error": true for what failed'


@dataclass(frozen=True, slots=True)
class Terms:
    """What may be said of a run that goes on: results that it waits for, and bounds in place of its own."""

    results: tuple[ToolResult, ...] = ()
    max_cost: float | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """What continuing a run takes. `skill` finds a skill by name, and raises `SkillError`; `scrubber` knows
    the configured secrets. `functions`: the caller brings tools of its own."""

    configuration: Configuration
    skill: Callable[[str], Skill]
    scrubber: Scrubber
    new_id: Callable[[], str]
    functions: bool = False


@dataclass(frozen=True, slots=True)
class GoingOn:
    """A request that goes on with a run, where it goes on, and what a person should know of it."""

    request: RunRequest
    continuation: Continuation
    warnings: tuple[str, ...]


def unfinished(runs: Sequence[StoredRun]) -> StoredRun:
    """Return the newest run of a session that can go on; not one that another run delegated.

    Raises `UsageError` where there is none.
    """
    own = [stored for stored in runs if stored.parent_run_id is None]
    for stored in reversed(own):
        if stored.result.status in RESUMABLE:
            return stored
    for stored in reversed(own):
        if stored.result.status == "running":
            raise UsageError(
                f"the run {stored.result.run_id} is under way in another process",
                hint="end that one first, or wait for it",
            )
    raise UsageError(
        "the session has no unfinished run", hint="`hyperguild sessions list` shows how the runs ended"
    )


def going_on(stored: StoredRun, means: Means, terms: Terms) -> GoingOn:
    """Return how the run goes on, from its last persisted step.

    Raises `UsageError` where it cannot: not all of it was stored, placeholders stand for secrets that cannot
    be put back, results are missing, or the chain has changed; `ConfigError` and `SkillError` where chain,
    model or skill is gone.
    """
    restorer = Restorer(means.scrubber)
    prompt, task = stored_prompt(stored, restorer)
    skill = means.skill(stored.result.skill)
    chain = _chain(stored, means.configuration, terms)
    chosen = recorded_chain_options(stored.options)
    request = RunRequest(
        skill=skill.name,
        system_prompt=prompt.system,
        task=Task(task),
        chain=chain,
        session_id=stored.result.session_id,
        history=prompt.history,
        work=_work(stored, skill, chain, functions=means.functions),
        external_tools=external_tools(stored.options.get("external_tools", [])),
        options=stored.options,
        local_only=chosen.local,
        insist=chosen.model_name is not None,
    )
    continuation = plan(stored, request, terms.results, restorer, means.new_id)
    if restorer.missing:
        names = ", ".join(restorer.missing)
        raise UsageError(
            f"the log holds placeholders for secrets that cannot be put back: {names}",
            hint="give the task to `hyperguild run` again",
        )
    changed = skill.system_prompt(prompt.task_text) != prompt.system
    warning = f"the skill {quoted(skill.name)} has changed; going on with its prompt of then"
    return GoingOn(request, continuation, (warning,) if changed else ())


def tool_results(value: Any) -> tuple[ToolResult, ...]:
    """Return the results that a JSON array of `{id, content, is_error}` holds; `tool_call_id` is an `id` too.

    Raises `UsageError`.
    """
    if not isinstance(value, list):
        raise UsageError("tool results are a JSON array", hint=TOOL_RESULT)
    results = tuple(_tool_result(item) for item in value)
    ids = [result.call_id for result in results]
    twice = next((one for one in ids if ids.count(one) > 1), None)
    if twice is not None:
        raise UsageError(f"there are two results of the call {twice}", hint="each call has one")
    return results


def _tool_result(item: Any) -> ToolResult:
    known = item if isinstance(item, dict) else {}
    call_id, content = known.get("id", known.get("tool_call_id")), known.get("content")
    is_error = known.get("is_error", False)
    if not isinstance(call_id, str) or not isinstance(content, str) or not isinstance(is_error, bool):
        raise UsageError("a tool result is not one", hint=TOOL_RESULT)
    return ToolResult(call_id, "", encodable(content), is_error)


def _work(stored: StoredRun, skill: Skill, chain: Chain, *, functions: bool) -> WorkOrder | None:
    """Return how tools work in the rest of the run: ours as before, those of the caller where it has some."""
    tools = recorded_tool_options(stored.options)
    if tools is None and not functions:
        return None
    folder = Path.cwd() if tools is None or tools.workdir is None else tools.workdir
    if not folder.is_dir():
        raise UsageError(f"the work directory of that run is gone: {folder}", hint="put it back")
    order = work_order(skill, chain, tools or ToolOptions(), folder, functions=True)
    built_in = tools is not None and stored.options["tools"].get("built_in", True)
    return order and dataclasses.replace(order, built_in=built_in)


def _chain(stored: StoredRun, configuration: Configuration, terms: Terms) -> Chain:
    former = recorded_chain_options(stored.options)
    options = dataclasses.replace(
        former,
        chain_name=stored.result.chain,
        max_cost=former.max_cost if terms.max_cost is None else terms.max_cost,
        deadline=former.deadline if terms.deadline is None else terms.deadline,
    )
    return chosen_chain(configuration, stored.result.skill, options)
