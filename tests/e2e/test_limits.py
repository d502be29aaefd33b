"""Limits over whole walks: what the fleet was asked for never costs more than they allow."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.bootstrap import OpenGuild, open_guild
from hyperguild.config.loader import load_config_text
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.events import Event
from hyperguild.domain.records import BudgetExceededError, RunError, RunResult
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.simulation.process import FleetProcess

CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 5000}}
  cloud: {{kind: anthropic, base_url: "{url}/anthropic"}}
models:
  # 1 USD for 1000 tokens: what a call may cost is about 1.1 USD, and what it does cost 0.5.
  dear: {{endpoint: cloud, price: {{input: 1000, output: 1000}}, max_output_tokens: 1000}}
  judge: {{endpoint: cloud, price: {{input: 1000, output: 1000}}, max_output_tokens: 100}}
  local: {{endpoint: swap, max_output_tokens: 1000}}
verifiers: {{default: {{judge: judge}}}}
chains: {{default: {chain}}}
limits: {limits}
"""
ACCEPTS = {"accept": True, "score": 0.9, "feedback": "fine"}
USED = {"input_tokens": 100, "output_tokens": 400}
COSTS_USD = 0.5
NO_RESERVATIONS = (
    "CREATE TRIGGER never BEFORE INSERT ON reservations BEGIN SELECT raise(FAIL, 'one is made'); END"
)


class Nobody:
    def emit(self, event: Event) -> None:
        del event


@pytest.fixture
def fleet(shared_fleet: FleetProcess) -> FleetProcess:
    script(shared_fleet)
    return shared_fleet


def script(fleet: FleetProcess, **answers: Any) -> None:
    rules: dict[str, Any] = {"dear": {"text": "saved", "usage": USED}, "judge": {"judge": ACCEPTS}, **answers}
    cloud = {name: {"answers": [rule]} for name, rule in rules.items() if name != "local"}
    local = {"local": {"answers": [rules.get("local", {"text": "free"})]}}
    fleet.script({"models": local, "anthropic": {"models": cloud}})
    fleet.reset()


def sent(fleet: FleetProcess, model: str) -> int:
    return len([one for one in fleet.requests() if one["model"] == model and one["body"]])


class Runs:
    """Runs over one guild and one log."""

    def __init__(self, guild: OpenGuild, store: SqliteSessionStore, request: RunRequest) -> None:
        self._guild, self.store, self._request = guild, store, request

    async def one(self, session: str | None = None) -> RunResult:
        try:
            return await self._guild.run(replace(self._request, session_id=session), self.store, Nobody())
        except RunError as error:
            return error.result

    async def refused(self, session: str | None = None) -> BudgetExceededError:
        request = replace(self._request, session_id=session)
        with pytest.raises(BudgetExceededError) as caught:
            await self._guild.run(request, self.store, Nobody())
        return caught.value

    async def many(self, number: int) -> list[RunResult]:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(self.one()) for _ in range(number)]
        return [one.result() for one in running]


class Opened:
    """Opens runs over the fleet with limits; a context manager."""

    def __init__(self, fleet: FleetProcess, folder: Path, limits: str, chain: str = "[dear]") -> None:
        text = CHAINS.format(url=fleet.url, limits=limits, chain=chain)
        self._configuration = load_config_text(text, folder / "chains.yaml", {})
        self._path = folder / "s.db"

    async def __aenter__(self) -> Runs:
        scrubber = Scrubber()
        self._store = await SqliteSessionStore.open(
            self._path, scrubber=scrubber, log=LogPolicy(), clock=SystemClock()
        )
        self._guild = open_guild(self._configuration, {}, scrubber)
        chain = self._configuration.chain_for("test")
        request = RunRequest("test", "Be brief.", Task("the task"), chain)
        return Runs(await self._guild.__aenter__(), self._store, request)

    async def __aexit__(self, *details: Any) -> None:
        await self._guild.__aexit__(*details)
        await self._store.aclose()


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "s.db")) as connection:
        return connection.execute(query).fetchall()


async def test_twenty_runs_at_once_do_not_overspend_a_day(fleet: FleetProcess, tmp_path: Path) -> None:
    async with Opened(fleet, tmp_path, "{day: {cost_usd: 5}}") as runs:
        results = await runs.many(20)
        answered = [one for one in results if one.status == "accepted"]
        # Four may be under way at once; each of those that were granted made room for no more than one other.
        assert 4 <= len(answered) <= 5 / COSTS_USD
        assert sent(fleet, "dear") == len(answered)
        assert {one.status for one in results} == {"accepted", "budget_exceeded"}
        assert {one.attempts[0].cause for one in results if one.status != "accepted"} == {"budget"}
        error = await runs_until_refused(runs)
    assert sent(fleet, "dear") * COSTS_USD <= 5
    assert sent(fleet, "dear") == 8  # one after the other they get on until less than a whole call is left
    assert error.exit_code == 4
    assert "dear (subagent): skipped (budget): the day's limit of $5: $1.00 left" in error.message
    assert "dear may cost up to $1.0" in error.message
    assert error.hint == "raise limits.day.cost_usd of chains.yaml, or wait for the next day (UTC)"
    assert rows(tmp_path, "SELECT * FROM reservations") == []


async def runs_until_refused(runs: Runs) -> BudgetExceededError:
    while (await runs.one()).status == "accepted":
        pass
    return await runs.refused()


async def test_a_free_tier_takes_over_when_the_day_is_spent(fleet: FleetProcess, tmp_path: Path) -> None:
    chain = "[dear, {model: local, verify: false}]"
    async with Opened(fleet, tmp_path, "{day: {cost_usd: 2}}", chain) as runs:
        models = [(await runs.one()).model for _ in range(3)]
        with closing(sqlite3.connect(tmp_path / "s.db")) as log:
            log.execute(NO_RESERVATIONS)
            log.commit()
        models.append((await runs.one()).model)  # what is free needs no reservation
    assert models == ["dear", "dear", "local", "local"]
    assert sent(fleet, "dear") * COSTS_USD <= 2


async def test_a_limit_of_a_session_is_that_of_one_session(fleet: FleetProcess, tmp_path: Path) -> None:
    async with Opened(fleet, tmp_path, "{session: {attempts: 2}}") as runs:
        first = await runs.one()
        assert (await runs.one(first.session_id)).status == "accepted"
        error = await runs.refused(first.session_id)
        assert (await runs.one()).status == "accepted"
    assert "the session's limit of 2 attempts: 0 left" in error.message
    assert error.hint == "raise limits.session.attempts of chains.yaml, or begin another session"
    assert sent(fleet, "dear") == 3


async def test_tokens_of_a_run_hold_its_second_tier_back(fleet: FleetProcess, tmp_path: Path) -> None:
    long = {"text": "free", "usage": {"input_tokens": 1000, "output_tokens": 500}}
    refuses = {"judge": {**ACCEPTS, "accept": False}, "usage": USED}
    script(fleet, local=long, judge=refuses)
    chain = "{tiers: [{model: local, attempts: 3}]}"
    async with Opened(fleet, tmp_path, "{run: {tokens: 4000}}", chain) as runs:
        error = await runs.refused()
    tried, skipped = error.result.attempts
    assert (tried.verdict, skipped.verdict, skipped.cause) == ("escalate", "skip", "budget")
    assert skipped.feedback.startswith("the run's limit of 4000 tokens: 2000 left, local may use up to ")
    assert error.hint == "raise budget.tokens of the chain, or limits.run.tokens"
    assert error.result.usage.tokens == 2000


async def test_a_judge_that_a_limit_refuses_leaves_the_answer_unjudged(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    # The answer uses more than anybody could foresee, and nothing is left for the verdict.
    script(fleet, dear={"text": "saved", "usage": {"input_tokens": 3000, "output_tokens": 400}})
    chain = "[{model: dear, verify: true}]"
    async with Opened(fleet, tmp_path, "{day: {cost_usd: 3.3}}", chain) as runs:
        error = await runs.refused()
    (attempt,) = error.result.attempts
    assert (attempt.verdict, attempt.cause, attempt.answer) == ("escalate", "budget", "saved")
    assert attempt.feedback.startswith("verifier error: the day's limit of $3.3: $0 left, this call may cost")
    assert (error.result.status, sent(fleet, "judge")) == ("budget_exceeded", 0)


async def test_what_failed_and_what_was_cancelled_is_settled(fleet: FleetProcess, tmp_path: Path) -> None:
    broken = {"status": 400, "type": "invalid_request_error", "message": "no", "in_stream": True}
    script(fleet, dear={"text": "half", "usage": {"input_tokens": 300, "output_tokens": 0}, "error": broken})
    async with Opened(fleet, tmp_path, "{day: {cost_usd: 5}}") as runs:
        failed = await runs.one()
        ((spent,),) = rows(tmp_path, "SELECT sum(cost_usd) FROM runs")
        assert failed.attempts[0].cost_usd == spent >= 0.3
        script(fleet, dear={"text": "late", "delay_s": 60})
        hanging = asyncio.create_task(runs.one())
        async with asyncio.timeout(30):
            while not sent(fleet, "dear"):  # noqa: ASYNC110 - the fleet tells nobody
                await asyncio.sleep(0.05)
        ((open_usd,),) = rows(tmp_path, "SELECT sum(cost_usd) FROM reservations WHERE NOT settled")
        assert open_usd > 1
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
    assert rows(tmp_path, "SELECT * FROM reservations") == []
    assert rows(tmp_path, "SELECT sum(cost_usd) FROM runs") == [(spent,)]


async def test_without_shared_limits_nothing_is_reserved(fleet: FleetProcess, tmp_path: Path) -> None:
    async with Opened(fleet, tmp_path, "{run: {cost_usd: 5, tokens: 100000}}") as runs:
        with closing(sqlite3.connect(tmp_path / "s.db")) as log:
            log.execute(NO_RESERVATIONS)
            log.commit()
        assert (await runs.one()).status == "accepted"


def test_dry_run_and_doctor_tell_what_is_left_of_the_day(home: Any, fleet: FleetProcess) -> None:
    home.write("chains.yaml", CHAINS.format(url=fleet.url, limits="{day: {cost_usd: 2}}", chain="[dear]"))
    assert home.run("run", "review", "x").code == 0
    plan = home.run("run", "review", "x", "--dry-run", "--json").json
    (limit,) = plan["limits"]
    assert (limit["scope"], limit["unit"], limit["limit"]) == ("day", "cost_usd", 2)
    assert limit["left"] == pytest.approx(1.5)
    assert limit["message"] == "the day's limit of $2: $1.50 left"
    found = home.run("doctor", "--json").json
    assert limit["message"] in [one["message"] for one in found if one["area"] == "limits"]


def test_a_dry_run_knows_the_limits_of_its_session(home: Any, fleet: FleetProcess) -> None:
    limits = "{session: {cost_usd: 2}}"
    home.write("chains.yaml", CHAINS.format(url=fleet.url, limits=limits, chain="[dear]"))
    session = home.run("run", "review", "x", "--json").json["session_id"]
    again = home.run("run", "review", "x", "--session", session, "--dry-run", "--json").json
    (limit,) = again["limits"]
    assert limit["message"] == "the session's limit of $2: $1.50 left"
    assert again["tiers"][0]["skip"]["reason"].startswith(limit["message"])
    new = home.run("run", "review", "x", "--dry-run", "--json").json
    assert (new["limits"][0]["left"], new["tiers"][0]["skip"]) == (2, None)
    assert home.run("run", "review", "x", "--session", "nosuch", "--dry-run").code == 2
