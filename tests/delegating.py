"""A guild whose skill `lead` may delegate to `work`, over the simulated fleet, with a real session log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from walking import Events

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.bootstrap import OpenGuild, open_guild
from hyperguild.config.loader import load_config_text
from hyperguild.domain.agent import WorkOrder
from hyperguild.domain.chain import Chain, LogPolicy
from hyperguild.domain.events import ToolReturned
from hyperguild.domain.records import RunError, RunResult, StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.ports import Approver
from hyperguild.requests import ConfiguredSkills
from hyperguild.simulation.process import FleetProcess
from hyperguild.skills.catalog import SkillCatalog

HEAD = """\
version: 1
endpoints: {{one: {{kind: openai, base_url: "{url}/openai/v1"}}}}
models:
  boss: {{endpoint: one{boss}}}
  hand: {{endpoint: one{hand}}}
  critic: {{endpoint: one}}
verifiers: {{default: {{judge: critic}}}}
chains:
  lead: {{tiers: [{{model: boss, verify: false}}], agent: {{delegate: {delegate}{agent}}}{chain}}}
  work: {{tiers: [{{model: hand, verify: {verify}}}]{work}}}
skills: {{lead: {{chain: lead}}, work: {{chain: work}}}}
"""
SKILL = "---\nname: {name}\ndescription: {about}\n{more}---\n{body}\n"


def skill(
    folder: Path, name: str, about: str = "Does work.", more: str = "", body: str = "Be brief."
) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    text = SKILL.format(name=name, about=about, more=more, body=body)
    (folder / name / "SKILL.md").write_text(text, encoding="utf-8")


def delegates(*tasks: str, to: str = "work", **fields: Any) -> dict[str, Any]:
    """A rule that is used once: the model delegates."""
    call = {"name": "delegate", "arguments": {"skill": to, "tasks": list(tasks)}}
    return {"tool_calls": [call], "times": 1, **fields}


def does(task: str, answer: str, **fields: Any) -> dict[str, Any]:
    """A rule for the delegated model: what it answers to a task."""
    return {"when": {"contains": task}, "text": answer, **fields}


def config(fleet: FleetProcess, **fields: Any) -> str:
    given: Mapping[str, str] = {
        "boss": "",
        "hand": "",
        "delegate": "[work]",
        "agent": "",
        "chain": "",
        "verify": "false",
        "work": "",
        **fields,
    }
    return HEAD.format(url=fleet.url, **given)


def scripted(fleet: FleetProcess, boss: list[Any], hand: list[Any], critic: list[Any] | None = None) -> None:
    models = {"boss": {"answers": boss}, "hand": {"answers": hand}, "critic": {"answers": critic or []}}
    fleet.script({"openai": {"models": models}})
    fleet.reset()


@dataclass
class Team:
    """The open guild, what it has seen, and its log."""

    fleet: FleetProcess
    guild: OpenGuild
    store: SqliteSessionStore
    chain: Chain
    events: Events = field(default_factory=Events)

    async def run(self, task: str = "the task", **fields: Any) -> RunResult:
        """Run `lead`; return the result, accepted or not."""
        request = RunRequest("lead", "Lead.", Task(task), self.chain, **fields)
        async with asyncio.timeout(60):
            try:
                return await self.guild.run(request, self.store, self.events)
            except RunError as error:
                return error.result

    def told(self) -> list[ToolReturned]:
        """What came of the calls of tools, as the events show it."""
        return [event for event in self.events.seen if isinstance(event, ToolReturned)]

    def reports(self) -> list[dict[str, Any]]:
        """What the delegating model was told last."""
        reports: list[dict[str, Any]] = json.loads(self.told()[-1].text)
        return reports

    def bodies(self, model: str) -> list[dict[str, Any]]:
        return [one["body"] for one in self.fleet.requests() if one["model"] == model]

    async def log(self, session_id: str) -> tuple[list[StoredRun], list[StoredRun]]:
        """The runs of a session: those of its own, and those that were delegated."""
        runs = await self.store.session_runs(session_id)
        own = [run for run in runs if run.parent_run_id is None]
        return own, [run for run in runs if run.parent_run_id is not None]


@asynccontextmanager
async def team(
    fleet: FleetProcess, folder: Path, text: str, approver: Approver | None = None
) -> AsyncIterator[Team]:
    """Open a guild in this process; its skills are in `folder / skills`."""
    skill(folder / "skills", "work")
    configuration = load_config_text(text, folder / "chains.yaml", {})
    scrubber = Scrubber()
    store = await SqliteSessionStore.open(
        folder / "s.db", scrubber=scrubber, log=LogPolicy(), clock=SystemClock()
    )
    env = {"XDG_STATE_HOME": str(folder / "state")}
    catalog = SkillCatalog([folder / "skills"])
    try:
        async with open_guild(configuration, env, scrubber, approver=approver) as opened:
            guild = opened.delegating_to(ConfiguredSkills(configuration, catalog))
            yield Team(fleet, guild, store, configuration.chain_for("lead"))
    finally:
        await store.aclose()


def order(folder: Path, **fields: Any) -> WorkOrder:
    (folder / "work").mkdir(exist_ok=True)
    return WorkOrder(folder / "work", **fields)
