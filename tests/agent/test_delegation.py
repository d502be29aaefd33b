"""C12: tasks that are handed to other skills, as runs of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from delegating import config, delegates, does, order, scripted, skill, team

from hyperguild.agent.hooks import Denied, Hook, Hooks
from hyperguild.agent.source import AttemptTools
from hyperguild.agent.toolbox import no_rules
from hyperguild.domain.chain import Tier
from hyperguild.domain.events import RunFinished, RunStarted, ToolCalled, Warned
from hyperguild.domain.run import RunRequest
from hyperguild.domain.tools import ToolCall
from hyperguild.ports import Question
from hyperguild.simulation.process import FleetProcess

DONE = {"text": "All done."}
ALLOWED = ", rules: {allow: [delegate]}"
PRICED = ", price: {input: 10.0, output: 10.0}, max_output_tokens: 200"


async def test_c12_three_tasks_run_at_once_and_are_answered_in_order(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    hand = [
        does("one", "first", delay_s=1),
        does("two", "second", delay_s=1),
        does("three", "third", delay_s=1),
    ]
    scripted(fleet, [delegates("one", "two", "three"), DONE], hand)
    async with team(fleet, tmp_path, config(fleet)) as crew:
        result = await crew.run()
        assert (result.status, result.output) == ("accepted", "All done.")
        assert crew.reports() == [
            {"task": "one", "status": "accepted", "model": "hand", "answer": "first"},
            {"task": "two", "status": "accepted", "model": "hand", "answer": "second"},
            {"task": "three", "status": "accepted", "model": "hand", "answer": "third"},
        ]
    asked = [one for one in fleet.requests() if one["model"] == "hand"]
    assert max(one["started_ms"] for one in asked) < min(one["finished_ms"] for one in asked)
    assert [len(body["messages"]) for body in crew.bodies("hand")] == [2, 2, 2]
    (offered,) = crew.bodies("boss")[0]["tools"]
    assert offered["function"]["name"] == "delegate"
    assert "work: Does work." in offered["function"]["description"]


async def test_c12_one_fails_and_the_results_of_the_others_are_kept(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    bad = {"when": {"contains": "two"}, "error": {"status": 400, "message": "no such thing"}}
    scripted(fleet, [delegates("one", "two"), DONE], [does("one", "first"), bad])
    async with team(fleet, tmp_path, config(fleet)) as crew:
        assert (await crew.run()).output == "All done."
        assert not crew.told()[-1].is_error
        first, second = crew.reports()
        assert (first["status"], first["answer"]) == ("accepted", "first")
        assert second["status"] == "exhausted"
        assert "no such thing" in second["failure"]
        assert "\n" not in second["failure"]


async def test_c12_where_all_fail_the_call_failed(fleet: FleetProcess, tmp_path: Path) -> None:
    scripted(fleet, [delegates("one"), DONE], [{"error": {"status": 400}}])
    async with team(fleet, tmp_path, config(fleet)) as crew:
        assert (await crew.run()).output == "All done."
        assert crew.told()[-1].is_error


@pytest.mark.parametrize("tasks", [[f"task {number}" for number in range(8)], [], [""]])
async def test_c12_eight_tasks_are_refused_before_any_runs(
    fleet: FleetProcess, tmp_path: Path, tasks: list[str]
) -> None:
    scripted(fleet, [delegates(*tasks), DONE], [])
    async with team(fleet, tmp_path, config(fleet)) as crew:
        await crew.run()
        (told,) = crew.told()
        assert (told.is_error, "bad arguments at tasks" in told.text) == (True, True)
        assert '"maxItems": 7' in told.text
        assert crew.bodies("hand") == []


async def test_c12_a_second_level_is_not_offered(fleet: FleetProcess, tmp_path: Path) -> None:
    """Even a skill that may delegate to itself does so on one level alone."""
    scripted(
        fleet, [delegates("again", to="lead"), {"when": {"tool_result": True}, **DONE}, {"text": "deep"}], []
    )
    async with team(fleet, tmp_path, config(fleet, delegate="[lead]")) as crew:
        skill(tmp_path / "skills", "lead", body="Lead.")
        await crew.run()
        assert [report["answer"] for report in crew.reports()] == ["deep"]
    assert ["tools" in body for body in crew.bodies("boss")] == [True, False, True]


async def test_c12_the_log_has_the_runs_and_totals_count_once(fleet: FleetProcess, tmp_path: Path) -> None:
    critic = [{"judge": {"accept": True, "score": 0.9}, "usage": {"input_tokens": 5, "output_tokens": 7}}]
    hand = [does("o", "first", usage={"input_tokens": 100, "output_tokens": 10})]
    boss = [
        delegates("one", "two", usage={"input_tokens": 1, "output_tokens": 2}),
        {**DONE, "usage": {"input_tokens": 1, "output_tokens": 2}},
    ]
    scripted(fleet, boss, hand, critic)
    text = config(fleet, boss=PRICED, hand=PRICED, verify="true")
    async with team(fleet, tmp_path, text) as crew:
        result = await crew.run()
        (own,), delegated = await crew.log(result.session_id)
        assert own.result == result
        assert [(run.parent_run_id, run.task, run.result.skill) for run in delegated] == [
            (result.run_id, "one", "work"),
            (result.run_id, "two", "work"),
        ]
        (attempt,) = result.attempts
        assert [(aside.model, aside.purpose) for aside in attempt.asides] == [
            ("hand", "delegate"),
            ("critic", "delegate"),
        ]
        assert (attempt.usage.input_tokens, attempt.usage.output_tokens) == (2, 4)
        assert (result.usage.input_tokens, result.usage.output_tokens) == (2 + 200 + 10, 4 + 20 + 14)
        assert result.cost_usd == pytest.approx((6 + 220) * 10 / 1_000_000)
        (listed,) = await crew.store.sessions(limit=5)
        assert (listed.runs, listed.skills, listed.statuses) == (1, ("lead",), ("accepted",))
        assert listed.cost_usd == pytest.approx(result.cost_usd)
        assert await crew.store.resolve_run("last") == result.run_id


async def test_c12_events_of_all_runs_tell_whose_they_are(fleet: FleetProcess, tmp_path: Path) -> None:
    scripted(fleet, [delegates("one", "two"), DONE], [does("o", "yes")])
    async with team(fleet, tmp_path, config(fleet)) as crew:
        result = await crew.run()
    started = [event for event in crew.events.seen if isinstance(event, RunStarted)]
    assert [event.parent_run_id for event in started] == [None, result.run_id, result.run_id]
    ended = [event.run_id for event in crew.events.seen if isinstance(event, RunFinished)]
    assert set(ended) == {event.run_id for event in started}
    assert ended[-1] == result.run_id
    for run in started:
        numbers = [event.seq for event in crew.events.seen if event.run_id == run.run_id]
        assert numbers == list(range(1, len(numbers) + 1))


# --- budget


async def test_c12_delegated_runs_cannot_overspend_together(fleet: FleetProcess, tmp_path: Path) -> None:
    """Each could pay for its task alone; the budget is not enough for all, and none of them runs."""
    scripted(
        fleet, [delegates("one", "two", "three"), DONE], [{"text": "spent", "usage": {"output_tokens": 200}}]
    )
    text = config(fleet, hand=PRICED, chain=", budget: {cost_usd: 0.005}")
    async with team(fleet, tmp_path, text) as crew:
        result = await crew.run()
        assert [report["status"] for report in crew.reports()] == ["budget_exceeded"] * 3
        assert crew.bodies("hand") == []
        assert result.cost_usd == 0
        assert result.output == "All done."


async def test_c12_a_parent_with_a_cent_left_does_not_spend_more_through_delegates(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    """Four tasks share what a next step leaves of a cent; call after call, the sum stays within it."""
    spends = {"text": "spent", "usage": {"input_tokens": 20, "output_tokens": 200}}
    hand = [spends]
    boss = [delegates("a", "b", usage={"input_tokens": 50, "output_tokens": 20})] * 6
    scripted(fleet, [*boss, DONE], hand)
    text = config(fleet, boss=PRICED, hand=PRICED, chain=", budget: {cost_usd: 0.01}")
    async with team(fleet, tmp_path, text) as crew:
        result = await crew.run()
        assert result.cost_usd is not None
        assert 0.004 < result.cost_usd <= 0.01
        asked = len(crew.bodies("hand"))
        assert 2 <= asked < 12
        (attempt,) = result.attempts
        (aside,) = attempt.asides
        assert aside.usage.output_tokens == 200 * asked


async def test_c12_the_next_tier_has_what_delegates_left(fleet: FleetProcess, tmp_path: Path) -> None:
    spends = {"text": "spent", "usage": {"input_tokens": 0, "output_tokens": 200}}
    scripted(fleet, [delegates("a"), {"text": ""}], [spends])
    text = config(fleet, hand=PRICED, chain=", budget: {cost_usd: 0.0035}").replace(
        "{model: boss, verify: false}", "{model: boss, verify: false}, {model: hand, verify: false}"
    )
    async with team(fleet, tmp_path, text) as crew:
        result = await crew.run()
        assert [(one.verdict, one.cause) for one in result.attempts] == [
            ("error", "protocol"),
            ("skip", "budget"),
        ]
        assert result.cost_usd == pytest.approx(0.002)


async def test_c12_the_deadline_of_the_run_holds_for_what_it_delegates(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    scripted(fleet, [delegates("one", "two"), DONE], [does("one", "quick"), does("two", "never", delay_s=60)])
    text = config(fleet, chain=", budget: {seconds: 2}")
    async with team(fleet, tmp_path, text) as crew:
        result = await crew.run()
        assert result.status == "budget_exceeded"
        _, delegated = await crew.log(result.session_id)
        first, second = (run.result.status for run in delegated)
        assert first == "accepted"
        assert second in {"cancelled", "budget_exceeded"}


async def test_c12_the_time_limit_of_calls_does_not_hold_for_it(fleet: FleetProcess, tmp_path: Path) -> None:
    scripted(fleet, [delegates("one"), DONE], [does("one", "slow", delay_s=1)])
    async with team(fleet, tmp_path, config(fleet, agent=", tool_timeout_s: 0.2")) as crew:
        await crew.run()
        assert [report["answer"] for report in crew.reports()] == ["slow"]


# --- cancellation


async def test_c12_cancelling_stops_all_and_records_each(fleet: FleetProcess, tmp_path: Path) -> None:
    scripted(
        fleet, [delegates("one", "two", "three")], [does("one", "quick"), {"text": "never", "delay_s": 60}]
    )
    async with team(fleet, tmp_path, config(fleet)) as crew:
        running = asyncio.create_task(crew.run())
        async with asyncio.timeout(30):
            while not any(isinstance(event, RunFinished) for event in crew.events.seen):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        session = crew.events.seen[0].session_id
        (own,), delegated = await crew.log(session)
        assert own.result.status == "cancelled"
        assert sorted(run.result.status for run in delegated) == ["accepted", "cancelled", "cancelled"]
        (attempt,) = own.result.attempts
        (aside,) = attempt.asides  # what was used until then is counted
        assert aside.usage.output_tokens > 0
        assert crew.events.seen[-1].run_id == own.result.run_id


# --- which skills, and when


async def test_c12_names_that_are_no_skills_are_warned_of(fleet: FleetProcess, tmp_path: Path) -> None:
    scripted(fleet, [DONE], [])
    async with team(fleet, tmp_path, config(fleet, delegate="[work, wrok]")) as crew:
        await crew.run()
        (warning,) = [event.message for event in crew.events.seen if isinstance(event, Warned)]
        assert "nothing can be delegated to wrok" in warning
        assert 'did you mean "work"' in warning
        (offered,) = crew.bodies("boss")[0]["tools"]
        assert offered["function"]["parameters"]["properties"]["skill"]["enum"] == ["work"]


async def test_c12_without_a_skill_nothing_is_offered(fleet: FleetProcess, tmp_path: Path) -> None:
    scripted(fleet, [DONE], [])
    async with team(fleet, tmp_path, config(fleet, delegate="[wrok]")) as crew:
        assert (await crew.run()).status == "accepted"
        assert "tools" not in crew.bodies("boss")[0]


@pytest.mark.parametrize(
    ("allowed", "only", "offered"),
    [
        (None, None, True),
        ("Read", None, False),
        ("Read delegate", None, True),
        (None, ("fs_*",), False),
        (None, ("fs_*", "deleg*"), True),
    ],
)
async def test_c12_lists_of_tools_may_leave_it_out(
    fleet: FleetProcess, tmp_path: Path, allowed: str | None, only: tuple[str, ...] | None, offered: bool
) -> None:
    scripted(fleet, [DONE], [])
    skill(tmp_path / "skills", "lead", more="" if allowed is None else f"allowed-tools: {allowed}\n")
    async with team(fleet, tmp_path, config(fleet)) as crew:
        await crew.run(work=None if only is None else order(tmp_path, only_tools=only))
        assert ("tools" in crew.bodies("boss")[0]) is offered


# --- permission


class Says:
    """Somebody who always gives the same answer."""

    def __init__(self, answer: Literal["yes", "no", "always"]) -> None:
        self.answer = answer
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Literal["yes", "no", "always"]:
        self.asked.append(question)
        return self.answer


async def test_c12_where_delegated_runs_may_act_the_mode_decides_as_of_a_command(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    for answer, ran, asked in (("no", 0, 2), ("yes", 2, 2), ("always", 2, 1)):
        scripted(fleet, [delegates("one"), delegates("two"), DONE], [{"text": "done"}])
        boss = Says(answer)  # type: ignore[arg-type]
        async with team(fleet, tmp_path, config(fleet), boss) as crew:
            await crew.run(work=order(tmp_path))
            assert (len(crew.bodies("hand")), len(boss.asked)) == (ran, asked)
    scripted(fleet, [delegates("one"), DONE], [{"text": "done"}])
    async with team(fleet, tmp_path, config(fleet)) as crew:
        await crew.run(work=order(tmp_path))
        assert "nobody is there to be asked" in crew.told()[0].text
        assert crew.bodies("hand") == []


@pytest.mark.parametrize(
    ("agent", "fields", "why"),
    [
        (", rules: {deny: [delegate]}", {}, "forbids it"),
        (', rules: {deny: ["delegate(skill=work)"]}', {}, "forbids it"),
        (", permission_mode: deny", {}, "deny"),
        (", rules: {allow: [delegate]}", {"permission_mode": "deny"}, "deny"),
    ],
)
async def test_c12_rules_and_modes_hold_for_it(
    fleet: FleetProcess, tmp_path: Path, agent: str, fields: dict[str, Any], why: str
) -> None:
    scripted(fleet, [delegates("one"), DONE], [])
    async with team(fleet, tmp_path, config(fleet, agent=agent)) as crew:
        await crew.run(work=order(tmp_path, **fields) if fields else None)
        (told,) = crew.told()
        assert (told.is_error, why in told.text) == (True, True)
        assert crew.bodies("hand") == []


WRITE = {"tool_calls": [{"name": "fs_write", "arguments": {"path": "new.txt", "content": "x"}}], "times": 1}


@pytest.mark.parametrize(
    ("mode", "agent", "work", "written"),
    [
        ("bypass", "", "", True),
        (None, ", permission_mode: bypass", ", agent: {permission_mode: bypass}", True),
        (None, ", permission_mode: bypass", ", agent: {permission_mode: plan}", False),
        (None, ", permission_mode: plan", ", agent: {permission_mode: bypass}", False),
        (None, f", permission_mode: auto{ALLOWED}", ", agent: {permission_mode: bypass}", False),
        ("plan", "", ", agent: {permission_mode: bypass}", False),
    ],
)
async def test_c12_nothing_is_granted_by_delegation(
    fleet: FleetProcess, tmp_path: Path, mode: Any, agent: str, work: str, written: bool
) -> None:
    skill(tmp_path / "skills", "work", more="allowed-tools: Write\n")
    scripted(fleet, [delegates("write"), DONE], [WRITE, {"text": "done"}])
    async with team(fleet, tmp_path, config(fleet, agent=agent, work=work)) as crew:
        skill(tmp_path / "skills", "work", more="allowed-tools: Write\n")
        await crew.run(work=order(tmp_path, permission_mode=mode))
        assert len(crew.reports()) == 1  # it was delegated
        assert (tmp_path / "work" / "new.txt").exists() is written
        tools = crew.bodies("hand")[0]["tools"]
        assert [one["function"]["name"] for one in tools] == ["fs_write"]


async def test_c12_the_limit_of_tools_holds_for_what_is_delegated(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    scripted(fleet, [delegates("write"), DONE], [{"text": "done"}])
    async with team(fleet, tmp_path, config(fleet)) as crew:
        skill(tmp_path / "skills", "work", more="allowed-tools: Read Write Bash\n")
        only = ("delegate", "fs_read")
        await crew.run(work=order(tmp_path, only_tools=only, permission_mode="bypass"))
        tools = crew.bodies("hand")[0]["tools"]
        assert [one["function"]["name"] for one in tools] == ["fs_read"]


async def test_c12_without_a_work_directory_what_is_delegated_has_no_tools(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    scripted(fleet, [delegates("read"), DONE], [{"text": "done"}])
    async with team(fleet, tmp_path, config(fleet)) as crew:
        skill(tmp_path / "skills", "work", more="allowed-tools: Read\n")
        await crew.run()
        assert [report["answer"] for report in crew.reports()] == ["done"]
        assert "tools" not in crew.bodies("hand")[0]


async def test_c12_what_may_only_go_to_local_models_is_not_delegated_elsewhere(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    scripted(fleet, [delegates("secret"), DONE], [{"text": "done"}])
    text = config(fleet).replace("{model: hand,", "{model: hand, tier: managed,")
    async with team(fleet, tmp_path, text) as crew:
        await crew.run(local_only=True)
        (told,) = crew.told()
        assert (told.is_error, "no local tier" in told.text) == (True, True)
        assert crew.bodies("hand") == []


# --- calls and results


async def test_c12_calls_of_one_step_come_one_after_the_other(fleet: FleetProcess, tmp_path: Path) -> None:
    both = {"tool_calls": [*delegates("one")["tool_calls"], *delegates("two")["tool_calls"]], "times": 1}
    scripted(fleet, [both, DONE], [does("one", "a", delay_s=0.3), does("two", "b", delay_s=0.3)])
    async with team(fleet, tmp_path, config(fleet)) as crew:
        await crew.run()
        assert len(crew.told()) == 2
    first, second = (one for one in fleet.requests() if one["model"] == "hand")
    assert first["finished_ms"] <= second["started_ms"]


async def test_c12_long_answers_are_cut_to_their_share(fleet: FleetProcess, tmp_path: Path) -> None:
    long = [does("o", " ".join(map(str, range(5_000)))), does("three", "short")]
    scripted(fleet, [delegates("one", "two", "three"), DONE], long)
    async with team(fleet, tmp_path, config(fleet, boss=", context_window: 8192")) as crew:
        await crew.run()
        body = crew.bodies("boss")[-1]
        told = body["messages"][-1]["content"]
        assert len(told) < 8192 * 4 / 3
        assert told.count("characters left out") == 2
        assert '"answer": "short"' in told
        _, delegated = await crew.log(crew.events.seen[0].session_id)
        assert [len(run.result.output or "") > 20_000 for run in delegated] == [True, True, False]


async def test_c12_a_call_shows_skill_and_tasks(fleet: FleetProcess, tmp_path: Path) -> None:
    scripted(fleet, [delegates("one"), DONE], [{"text": "done"}])
    async with team(fleet, tmp_path, config(fleet)) as crew:
        await crew.run()
    (called,) = [event for event in crew.events.seen if isinstance(event, ToolCalled)]
    assert called.arguments == {"skill": "work", "tasks": ["one"]}


# --- where it all works, and who watches


class OwnFolder:
    """A `ToolSource` that gives each attempt of `lead` a folder of its own, as a worktree is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.seen: list[tuple[str, Path, str]] = []

    @asynccontextmanager
    async def open(
        self, request: RunRequest, tier: Tier, session_id: str
    ) -> AsyncGenerator[AttemptTools, None]:
        del session_id
        assert request.work is not None
        self.seen.append((request.skill, request.work.folder, tier.agent.workspace))
        own = replace(request.work, folder=self._folder) if request.skill == "lead" else None
        yield AttemptTools((), no_rules(), work=own)


async def test_c12_what_is_delegated_works_where_the_attempt_does(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    scripted(fleet, [delegates("one"), DONE], [{"text": "done"}])
    worktree = ", agent: {workspace: worktree}"
    text = config(fleet, agent=f", workspace: worktree{ALLOWED}", work=worktree)
    async with team(fleet, tmp_path, text) as crew:
        source = OwnFolder(tmp_path / "own")
        crew.guild = replace(crew.guild, source=source)
        await crew.run(work=order(tmp_path))
        assert source.seen == [
            ("lead", tmp_path / "work", "worktree"),
            ("work", tmp_path / "own", "shared"),
        ]


async def test_c12_hooks_of_the_run_hold_for_what_is_delegated(fleet: FleetProcess, tmp_path: Path) -> None:
    async def no_writes(call: ToolCall) -> Denied | None:
        return Denied("not today") if call.name == "fs_write" else None

    scripted(fleet, [delegates("write"), DONE], [WRITE, {"text": "done"}])
    async with team(fleet, tmp_path, config(fleet)) as crew:
        skill(tmp_path / "skills", "work", more="allowed-tools: Write\n")
        hooks = Hooks(pre_tool=(Hook(no_writes, "no writes"),))
        crew.guild = replace(crew.guild, hooks=lambda _folder: hooks)
        await crew.run(work=order(tmp_path, permission_mode="bypass"))
        assert [one.is_error for one in crew.told()] == [True, False]
        assert not (tmp_path / "work" / "new.txt").exists()
