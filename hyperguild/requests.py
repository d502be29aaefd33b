"""Turns what a caller chose into the chain that is walked, and the terms on which tools work."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hyperguild.config.configuration import Configuration
from hyperguild.config.wording import did_you_mean, quoted
from hyperguild.domain.agent import PermissionMode, WorkOrder
from hyperguild.domain.chain import Chain, Tier
from hyperguild.domain.messages import Message
from hyperguild.domain.records import StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.task import Task
from hyperguild.domain.text import nearest
from hyperguild.domain.tools import ToolChoice, ToolSpec
from hyperguild.errors import SkillError, UsageError
from hyperguild.skills.catalog import SkillCatalog
from hyperguild.skills.manifest import Skill


@dataclass(frozen=True, slots=True)
class ChainOptions:
    """What the caller says about the chain."""

    chain_name: str | None = None
    model_name: str | None = None
    local: bool = False
    max_cost: float | None = None
    deadline: float | None = None
    from_model: str | None = None


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """What the caller says about tools; paths as they were given."""

    workdir: Path | None = None
    allow_paths: tuple[Path, ...] = ()
    tools: tuple[str, ...] | None = None
    permission_mode: PermissionMode | None = None
    tool_choice: ToolChoice | None = None


def work_order(
    skill: Skill, chain: Chain, options: ToolOptions, here: Path, *, functions: bool = False
) -> WorkOrder | None:
    """Return how tools work in this run; None where neither the options nor the chain ask for any.

    The work directory is `here`, unless another one is named. `functions`: the caller brings tools of its
    own, which are asked for by that.
    """
    built_in = options != ToolOptions() or any(tier.agent.tools is not None for tier in chain.tiers)
    if not built_in and not functions:
        return None
    order = WorkOrder(
        folder=(options.workdir or here).resolve(),
        only_tools=options.tools,
        allow_paths=tuple(path.resolve() for path in options.allow_paths),
        permission_mode=options.permission_mode,
        built_in=built_in,
        tool_choice=options.tool_choice or "auto",
    )
    return _for_skill(order, skill)


def _for_skill(order: WorkOrder, skill: Skill) -> WorkOrder:
    return dataclasses.replace(
        order,
        skill_tools=skill.allowed_tools,
        skill_patterns=tuple((one.tool, one.pattern) for one in skill.allowed_tool_patterns),
        skill_folder=skill.folder.resolve(),
    )


@dataclass(frozen=True, slots=True)
class ConfiguredSkills:
    """The `SkillBook` of a chains.yaml and the skills of a search path."""

    configuration: Configuration
    catalog: SkillCatalog

    def may_use(self, skill: str, tool: str) -> bool:
        """See `SkillBook`; a skill that is nowhere has no limit, its prompt is the caller's own."""
        try:
            allowed = self.catalog.get(skill).allowed_tools
        except SkillError:
            return True
        return allowed is None or any(fnmatchcase(tool, glob) for glob in allowed)

    def purpose(self, skill: str) -> str:
        """See `SkillBook`. Raises `SkillError` and `ConfigError`."""
        found = self.catalog.get(skill)
        self.configuration.chain_for(skill)
        return found.description

    def request(self, skill: str, task: str, work: WorkOrder | None) -> RunRequest:
        """See `SkillBook`. Raises `SkillError` and `ConfigError`."""
        found = self.catalog.get(skill)
        if work is not None:  # what has to be called first was said of the run that delegates
            work = _for_skill(dataclasses.replace(work, tool_choice="auto"), found)
        return RunRequest(
            skill=found.name,
            system_prompt=found.system_prompt(task),
            task=Task(task),
            chain=self.configuration.chain_for(skill),
            work=work,
        )


def chosen_chain(configuration: Configuration, skill: str, options: ChainOptions) -> Chain:
    """Return the chain to walk, narrowed and bounded as the options say.

    Raises `ConfigError` for an unknown chain, `UsageError` where nothing is left to try.
    """
    chain = configuration.chain_for(skill, options.chain_name)
    tiers = chain.tiers
    if options.model_name is not None:
        tiers = _only(configuration, chain, options.model_name)
    if options.from_model is not None:
        tiers = _from(chain, tiers, options.from_model)
    if options.local:
        tiers = tuple(tier for tier in tiers if tier.model.label == "local")
        if not tiers:
            raise UsageError(
                f"--local leaves no tier of the chain {chain.name}",
                hint="`hyperguild chains show` lists them",
            )
    renumbered = tuple(dataclasses.replace(tier, position=index) for index, tier in enumerate(tiers))
    budget = chain.budget.tightened(cost_usd=options.max_cost, seconds=options.deadline)
    return dataclasses.replace(chain, tiers=renumbered, budget=budget)


def warning_of_guess(configuration: Configuration, name: str | None) -> str | None:
    """Return a warning where chains.yaml does not name the model, but one like it; None elsewhere.

    Raises `ConfigError` where no endpoint can be asked for that name.
    """
    tiers = [tier.model.name for chain in configuration.chains.values() for tier in chain.tiers]
    known = {*configuration.models, *tiers}
    if name is None or name in known or nearest(name, known) is None:
        return None
    endpoint = configuration.model(name).endpoint.name
    missing = f"{quoted(name)} is not in {configuration.path.name}"
    return f"{missing}{did_you_mean(name, known)} asking {endpoint} for it"


def turns_of(runs: Iterable[StoredRun]) -> tuple[Message, ...]:
    """Return the accepted turns of a session's runs, to be put before a task, as far as they are stored.

    Runs that another one delegated are no turns of their own.
    """
    turns: list[Message] = []
    for stored in runs:
        own = stored.parent_run_id is None
        if own and stored.result.status == "accepted" and stored.task and stored.result.output:
            turns += [Message("user", stored.task), Message("assistant", stored.result.output)]
    return tuple(turns)


def _only(configuration: Configuration, chain: Chain, name: str) -> tuple[Tier, ...]:
    """Return the chain's own tier of that model, else one made for it, judged if it is local."""
    for tier in chain.tiers:
        if tier.model.name == name:
            return (tier,)
    model = configuration.model(name)
    return (Tier(0, model, verify=model.label == "local" and chain.verifier is not None),)


def _from(chain: Chain, tiers: tuple[Tier, ...], name: str) -> tuple[Tier, ...]:
    names = [tier.model.name for tier in tiers]
    if name not in names:
        near = nearest(name, names)
        hint = f'did you mean "{near}"?' if near else f"it has {', '.join(names)}"
        raise UsageError(f"the chain {chain.name} has no tier {name}", hint=hint)
    return tiers[names.index(name) :]


def recorded(
    options: ChainOptions, work: WorkOrder | None, external_tools: Sequence[ToolSpec] = ()
) -> dict[str, Any]:
    """Return what a caller chose as a JSON object, so that the run can be continued without saying it again.

    Paths are written whole; what `chosen_chain`, `work_order` and `external_tools` make of it is the same.
    """
    tools = None
    if work is not None:
        tools = {
            "workdir": str(work.folder),
            "allow_paths": [str(path) for path in work.allow_paths],
            "tools": None if work.only_tools is None else list(work.only_tools),
            "permission_mode": work.permission_mode,
            "tool_choice": work.tool_choice,
            "built_in": work.built_in,
        }
    external = [
        {"name": spec.name, "description": spec.description, "parameters": dict(spec.parameters)}
        for spec in external_tools
    ]
    return {"chain": dataclasses.asdict(options), "tools": tools, "external_tools": external}


def recorded_chain_options(record: Mapping[str, Any]) -> ChainOptions:
    """Return the options of the chain that `recorded` wrote. Raises `UsageError`."""
    known = {field.name for field in dataclasses.fields(ChainOptions)}
    try:
        return ChainOptions(**{key: value for key, value in record["chain"].items() if key in known})
    except (KeyError, AttributeError) as error:
        raise _unreadable() from error


def recorded_tool_options(record: Mapping[str, Any]) -> ToolOptions | None:
    """Return the options of tools that `recorded` wrote, None for a run without ours. Raises `UsageError`."""
    try:
        tools = record["tools"]
        return tools and ToolOptions(
            workdir=Path(tools["workdir"]),
            allow_paths=tuple(Path(path) for path in tools["allow_paths"]),
            tools=None if tools["tools"] is None else tuple(tools["tools"]),
            permission_mode=tools["permission_mode"],
            tool_choice=tools.get("tool_choice"),
        )
    except (KeyError, TypeError) as error:
        raise _unreadable() from error


def external_tools(value: Any) -> tuple[ToolSpec, ...]:
    """Return the tools that a JSON array of `{name, description, parameters}` describes.

    `parameters` is the JSON Schema of an object; without it the tool takes nothing. Raises `UsageError`.
    """
    if not isinstance(value, list):
        raise UsageError("external tools are a JSON array", hint=EXTERNAL_TOOL)
    specs = tuple(_external_tool(item) for item in value)
    names = [spec.name for spec in specs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"there are two external tools {twice}", hint="give each a name of its own")
    return specs


def check_that_results_can_be_handed_in(
    external: Sequence[ToolSpec], configuration: Configuration, *, private: bool
) -> None:
    """Refuse external tools where nothing is stored that a run could go on from. Raises `UsageError`."""
    if external and (private or configuration.log.content != "full"):
        raise UsageError(
            "a run whose content is not stored cannot wait for the results of external tools",
            hint="leave out --private, and let log.content be full",
        )


EXTERNAL_TOOL = 'each is {"name": "…", "description": "…", "parameters": {"type": "object", …}}'
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What both APIs take."""


def _external_tool(item: Any) -> ToolSpec:
    from hyperguild.adapters.tools.own_names import OWN_NAMES  # noqa: PLC0415  # start-up

    if not isinstance(item, dict) or item.keys() - {"name", "description", "parameters"}:
        raise UsageError("an external tool is not described as one", hint=EXTERNAL_TOOL)
    name, description = item.get("name"), item.get("description", "")
    parameters = item.get("parameters", {"type": "object", "properties": {}})
    if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
        raise UsageError(
            f"{quoted(str(name))} cannot be the name of a tool", hint="letters, digits, _ and -, at most 64"
        )
    if name in OWN_NAMES:  # ours would be called in its place
        raise UsageError(f"{name} is the name of a built-in tool", hint="give it a name of its own")
    if not isinstance(description, str) or not isinstance(parameters, dict):
        raise UsageError(f"the external tool {name} is not described as one", hint=EXTERNAL_TOOL)
    if parameters.get("type") != "object" or not _is_schema(parameters):
        raise UsageError(f"the parameters of {name} are no JSON Schema of an object", hint=EXTERNAL_TOOL)
    return ToolSpec(name, description, parameters, "exec", source="caller", external=True)


def _is_schema(schema: dict[str, Any]) -> bool:
    import jsonschema  # noqa: PLC0415  # start-up: few runs have external tools

    try:
        jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(
            schema
        )
    except jsonschema.exceptions.SchemaError:
        return False
    return True


def _unreadable() -> UsageError:
    return UsageError(
        "what was chosen for that run cannot be read", hint="`hyperguild rerun` runs its task again"
    )
