"""What a program may choose for a run, and the request that comes of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, get_args

from hyperguild.attachments import image, read_attachment
from hyperguild.config.configuration import Configuration
from hyperguild.continuing import Terms, tool_results
from hyperguild.domain.agent import PermissionMode
from hyperguild.domain.messages import Image
from hyperguild.domain.run import RunRequest
from hyperguild.domain.task import AttachedFile, Task
from hyperguild.errors import UsageError
from hyperguild.requests import (
    ChainOptions,
    ToolOptions,
    check_that_results_can_be_handed_in,
    chosen_chain,
    external_tools,
    recorded,
    work_order,
)
from hyperguild.skills.catalog import SkillCatalog

AnyPath = str | Path


class RunOptions(TypedDict, total=False):
    """What may be said about a run, all of it as on the command line.

    `files` are attached: paths of texts and images, or texts with a name of their own; `images` are bytes.
    `chain` and `model` are names; `local` leaves out every tier that is not local. `max_cost_usd` and
    `deadline_s` bound the run. `session` groups it with that session's runs, and with `history` its accepted
    turns go before the task. `workdir` is the folder in which the skill may use its tools, `allow_paths` are
    folders beside it; `tools` are names or globs of those to offer, and no others. `private`: nothing of the
    content is logged. `external_tools` are those that the program executes itself, outside of the run: each
    `{"name", "description", "parameters"}`; where one is called the result is `awaiting_tools`, and
    `Guild.resume` goes on.
    """

    files: Sequence[AnyPath | AttachedFile]
    images: Sequence[bytes]
    chain: str | None
    model: str | None
    local: bool
    max_cost_usd: float | None
    deadline_s: float | None
    session: str | None
    history: bool
    workdir: AnyPath | None
    allow_paths: Sequence[AnyPath]
    tools: Sequence[str] | None
    permission_mode: PermissionMode | None
    private: bool
    external_tools: Sequence[Mapping[str, Any]]


class ResumeOptions(TypedDict, total=False):
    """What may be said about a run that goes on.

    `results` are those of the calls that it waits for: each `{"id", "content"}`, with `"is_error": True` for
    what failed. `max_cost_usd` and `deadline_s` go in the place of its own bounds.
    """

    results: Sequence[Mapping[str, Any]]
    max_cost_usd: float | None
    deadline_s: float | None


def refuse_unknown(call: str, given: Collection[str], known: type) -> None:
    """Raise `TypeError`, as Python does, for a keyword that the call does not take."""
    unknown = sorted(set(given) - known.__annotations__.keys())
    if unknown:
        raise TypeError(f"{call}() got an unexpected keyword argument {unknown[0]!r}")


def run_request(
    configuration: Configuration,
    catalog: SkillCatalog,
    named: tuple[str, str],
    options: RunOptions,
    *,
    functions: bool,
) -> RunRequest:
    """Return the request for a skill and a task, `named`, less its session. Reads files: it blocks.

    `functions`: the program has tools of its own. Raises `SkillError`, `ConfigError` for an unknown chain or
    model, and `UsageError`.
    """
    skill, text = named
    loaded = catalog.get(skill)
    if options.get("history") and options.get("session") is None:
        raise UsageError("history needs a session", hint='session="last" continues the newest one')
    task = _task(text, options)
    chosen = ChainOptions(
        chain_name=options.get("chain"),
        model_name=options.get("model"),
        local=options.get("local", False),
        max_cost=_bound("max_cost_usd", options.get("max_cost_usd")),
        deadline=_bound("deadline_s", options.get("deadline_s")),
    )
    chain = chosen_chain(configuration, loaded.name, chosen)
    work = work_order(loaded, chain, _tool_options(options), Path.cwd(), functions=functions)
    external = external_tools([dict(one) for one in options.get("external_tools", ())])
    check_that_results_can_be_handed_in(external, configuration, private=options.get("private", False))
    return RunRequest(
        skill=loaded.name,
        system_prompt=loaded.system_prompt(task.text),
        task=task,
        chain=chain,
        work=work,
        external_tools=external,
        options=recorded(chosen, work, external),
        local_only=chosen.local,
    )


def resume_terms(options: ResumeOptions) -> Terms:
    """Return the options as they are understood below. Raises `UsageError`."""
    return Terms(
        results=tool_results([dict(one) for one in options.get("results", ())]),
        max_cost=_bound("max_cost_usd", options.get("max_cost_usd")),
        deadline=_bound("deadline_s", options.get("deadline_s")),
    )


def _task(text: str, options: RunOptions) -> Task:
    read = [
        one if isinstance(one, AttachedFile) else read_attachment(str(one))
        for one in _several("files", options.get("files", ()))
    ]
    images = [one for one in read if isinstance(one, Image)]
    for position, data in enumerate(options.get("images", ())):
        found = image(data)
        if found is None:
            raise UsageError(f"images[{position}] is no PNG, JPEG, GIF or WebP image")
        images.append(found)
    task = Task(text, tuple(one for one in read if isinstance(one, AttachedFile)), tuple(images))
    if task.is_empty:
        raise UsageError("no task given", hint="give a text, files or images")
    return task


def _tool_options(options: RunOptions) -> ToolOptions:
    mode, tools = options.get("permission_mode"), options.get("tools")
    if mode is not None and mode not in get_args(PermissionMode):
        known = ", ".join(get_args(PermissionMode))
        raise UsageError(f"there is no permission mode {mode!r}", hint=f"there are {known}")
    workdir = options.get("workdir")
    return ToolOptions(
        workdir=None if workdir is None else _folder("workdir", workdir),
        allow_paths=tuple(
            _folder("allow_paths", one) for one in _several("allow_paths", options.get("allow_paths", ()))
        ),
        tools=None if tools is None else tuple(_several("tools", tools)),
        permission_mode=mode,
    )


def _several(name: str, values: Sequence[Any]) -> Sequence[Any]:
    """Refuse a text where several are expected: it would count as many of one character each."""
    if isinstance(values, str | bytes):
        raise UsageError(f"{name} is a list", hint=f"write {name}=[{values!r}]")
    return values


def _folder(name: str, path: AnyPath) -> Path:
    if not Path(path).is_dir():
        raise UsageError(f"{name}: {path} is {'not a folder' if Path(path).exists() else 'no such folder'}")
    return Path(path)


def _bound(name: str, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise UsageError(f"{name} is {value}", hint="it is a finite number, 0 or more")
    return value
