"""The library's face over the simulated fleet: runs, events, tools and hooks of a program."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from hyperguild import (
    AnswerDelta,
    AttachedFile,
    BudgetExceededError,
    ChainExhaustedError,
    Completion,
    ConfigError,
    Control,
    Denied,
    Event,
    Guild,
    Message,
    Question,
    RunFinished,
    RunStarted,
    SkillError,
    StoreError,
    ToolCall,
    ToolError,
    ToolResult,
    ToolReturned,
    TrustError,
    UsageError,
    hooks,
    tool,
)
from hyperguild.simulation.process import FleetProcess

CHAINS = """\
version: 1
endpoints:
  box: {{kind: openai, base_url: "{url}/openai/v1"}}
models:
  m: {{endpoint: box, context_window: 65536}}
  n: {{endpoint: box, context_window: 65536}}
verifiers:
  headed: {{checks: [{{kind: regex, pattern: "^## "}}]}}
chains:
  default: {{tiers: [{{model: m, verify: false}}]}}
  strict: {{tiers: [m, n], verifier: headed}}
  guarded: {{tiers: [{{model: m, verify: false}}], agent: {{rules: {rules}}}}}
skills:
  careful: {{chain: guarded}}
"""
SKILL = "---\nname: {name}\ndescription: It helps.\n{more}---\nBe brief about $ARGUMENTS.\n"
RULES = "{deny: [forget], ask: [weather]}"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


class World:
    """A folder with chains.yaml and skills, the fleet that it names, and what the fleet was told."""

    def __init__(self, folder: Path, fleet: FleetProcess) -> None:
        self.folder = folder
        self.fleet = fleet
        self.config = folder / "chains.yaml"
        self.config.write_text(CHAINS.format(url=fleet.url, rules=RULES), encoding="utf-8")
        self.env = {"HOME": str(folder / "home"), "XDG_STATE_HOME": str(folder / "state"), "PATH": "/usr/bin"}
        for name, more in {
            "plain": "",
            "careful": "",
            "reader": "allowed-tools: Read\n",
            "asker": "allowed-tools: weather\n",
            "both": "allowed-tools: Read weather\n",
        }.items():
            (folder / "skills" / name).mkdir(parents=True)
            text = SKILL.format(name=name, more=more)
            (folder / "skills" / name / "SKILL.md").write_text(text, encoding="utf-8")

    def says(self, *answers: str | Mapping[str, Any], **others: list[Mapping[str, Any]]) -> None:
        """Script the model `m`, each answer to be given once, and others by name."""
        made = [{"text": one} if isinstance(one, str) else dict(one) for one in answers]
        named = {"m": [{"times": 1, **one} for one in made], "n": [], **others}
        models = {name: {"answers": found} for name, found in named.items()}
        self.fleet.script({"openai": {"models": models}})
        self.fleet.reset()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [one["body"] for one in self.fleet.requests() if one["path"].endswith("/chat/completions")]

    @property
    def told(self) -> list[str]:
        """The results of tools, as the model was told them in the last request."""
        return [one["content"] for one in self.bodies[-1]["messages"] if one["role"] == "tool"]

    @property
    def offered(self) -> list[str]:
        """The names of the tools of the first request."""
        return [one["function"]["name"] for one in self.bodies[0].get("tools", [])]

    def open(self, **options: Any) -> Any:
        return Guild.from_config(self.config, env=self.env, **options)


@pytest.fixture
def world(tmp_path: Path, fleet: FleetProcess) -> World:
    return World(tmp_path, fleet)


def calls(name: str, **arguments: Any) -> dict[str, Any]:
    return {"tool_calls": [{"name": name, "arguments": arguments}]}


@tool(effect="read")
async def weather(city: Annotated[str, Field(description="Its name.")], days: int = 1) -> dict[str, Any]:
    """Look up the weather."""
    if city == "Atlantis":
        raise ToolError("no such city")
    return {"city": city, "days": days, "sky": "clear"}


@tool
async def forget(what: str) -> None:
    """Forget something."""
    raise AssertionError(what)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)


# --- run


async def test_a_run_returns_its_result_and_is_in_the_log(world: World) -> None:
    world.says("A fine answer.")
    async with Guild.from_config(world.config, env=world.env) as guild:
        result = await guild.run("plain", "the task")
        (session,) = await guild.sessions()
        (stored,) = await guild.session_runs("last")
    assert (result.output, result.status, result.model) == ("A fine answer.", "accepted", "m")
    assert (session.session_id, stored.result.run_id) == (result.session_id, result.run_id)
    assert stored.task == "the task"
    assert world.bodies[0]["messages"] == [
        {"role": "system", "content": "Be brief about the task."},
        {"role": "user", "content": "the task"},
    ]


async def test_events_are_handed_to_a_function(world: World) -> None:
    world.says("A fine answer.")
    seen: list[Event] = []
    async with world.open() as guild:
        result = await guild.run("plain", "the task", on_event=seen.append)
    assert [one.seq for one in seen] == list(range(1, len(seen) + 1))
    assert isinstance(seen[0], RunStarted)
    assert isinstance(seen[-1], RunFinished)
    assert seen[-1].result == result


async def test_a_chain_that_is_exhausted_raises_with_the_result(world: World) -> None:
    world.says("no heading", n=[{"text": "none either"}])
    async with world.open() as guild:
        with pytest.raises(ChainExhaustedError) as caught:
            await guild.run("plain", "the task", chain="strict")
    assert [one.answer for one in caught.value.result.attempts] == ["no heading", "none either"]
    assert caught.value.result.status == "exhausted"
    assert "regex" in caught.value.message
    assert caught.value.hint


async def test_a_spent_deadline_raises_with_the_result(world: World) -> None:
    world.says({"text": "late", "delay_s": 30})
    async with world.open() as guild:
        with pytest.raises(BudgetExceededError) as caught:
            await guild.run("plain", "the task", deadline_s=0.5)
    assert caught.value.result.status == "budget_exceeded"


async def test_runs_of_one_guild_go_on_at_once(world: World) -> None:
    answers = [{"when": {"contains": f"task {number}"}, "text": f"answer {number}"} for number in range(5)]
    world.says(*answers)
    async with world.open() as guild, asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(guild.run("plain", f"task {number}")) for number in range(5)]
    assert [run.result().output for run in runs] == [f"answer {number}" for number in range(5)]


async def test_a_session_goes_on_with_its_turns(world: World) -> None:
    world.says("first answer", "second answer")
    async with world.open() as guild:
        first = await guild.run("plain", "first task")
        second = await guild.run("plain", "second task", session=first.session_id, history=True)
        assert len(await guild.session_runs(first.session_id)) == 2
    assert second.session_id == first.session_id
    assert [one["content"] for one in world.bodies[1]["messages"][1:]] == [
        "first task",
        "first answer",
        "second task",
    ]


async def test_files_and_images_are_attached(world: World) -> None:
    (world.folder / "a.py").write_text("print(1)\n", encoding="utf-8")
    world.config.write_text(
        world.config.read_text(encoding="utf-8").replace(
            "m: {endpoint: box,", "m: {endpoint: box, vision: true,"
        ),
        encoding="utf-8",
    )
    world.says("seen")
    async with world.open() as guild:
        files = [world.folder / "a.py", AttachedFile("b.txt", "in memory")]
        await guild.run("plain", files=files, images=[PNG])
        with pytest.raises(UsageError, match="is no PNG"):
            await guild.run("plain", "look", images=[b"nothing"])
        with pytest.raises(UsageError, match="no task given"):
            await guild.run("plain", " ")
    text, picture = world.bodies[0]["messages"][1]["content"]
    assert re.search(r"a\.py\n<file (\w+)>\nprint\(1\)\n\n</file \1>", text["text"])
    assert re.search(r"File: b\.txt\n<file (\w+)>\nin memory\n</file \1>", text["text"])
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")


async def test_a_private_run_leaves_no_content(world: World) -> None:
    world.says("whispered", "said aloud")
    async with world.open() as guild:
        hidden, shown = await guild.run("plain", "a secret", private=True), await guild.run("plain", "hello")
        (stored,) = await guild.session_runs(hidden.session_id)
        (other,) = await guild.session_runs(shown.session_id)
    assert hidden.output == "whispered"
    assert (stored.task, stored.result.output) == (None, None)
    assert (other.task, other.result.output) == ("hello", "said aloud")


async def test_a_program_without_an_event_loop_uses_asyncio_run(world: World) -> None:
    world.says("done")

    async def main() -> str | None:
        async with world.open() as guild:
            output: str | None = (await guild.run("plain", "the task")).output
            return output

    assert await asyncio.to_thread(lambda: asyncio.run(main())) == "done"


# --- events


async def test_a_stream_ends_with_the_result(world: World) -> None:
    world.says("one two three")
    async with world.open() as guild, guild.stream("plain", "the task") as events:
        seen = [event async for event in events]
        assert [event async for event in events] == []
    assert "".join(one.text for one in seen if isinstance(one, AnswerDelta)) == "one two three"
    assert isinstance(seen[-1], RunFinished)
    assert events.result == seen[-1].result


async def test_the_error_of_a_run_comes_after_its_last_event(world: World) -> None:
    world.says("no heading", n=[{"text": "none either"}])
    seen: list[Event] = []
    async with world.open() as guild:
        events = guild.stream("plain", "the task", chain="strict")

        async def read_all() -> None:
            async with events:
                async for event in events:
                    seen.append(event)  # noqa: PERF401  # the error comes after them

        with pytest.raises(ChainExhaustedError):
            await read_all()
        assert isinstance(seen[-1], RunFinished)
        assert events.result.status == "exhausted"


async def test_leaving_the_events_cancels_the_run_and_records_that(world: World) -> None:
    world.says({"text": "late", "delay_s": 60})
    async with world.open() as guild:
        async with guild.stream("plain", "the task") as events:
            async for event in events:
                if event.type == "step.started":
                    break
            with pytest.raises(UsageError, match="no result yet"):
                assert events.result
        (stored,) = await guild.session_runs("last")
        assert events.result.status == "cancelled"
    assert stored.result.status == "cancelled"
    assert stored.result.attempts[0].error is not None
    assert stored.result.attempts[0].error.kind == "cancelled"


async def test_an_error_among_the_events_cancels_the_run(world: World) -> None:
    world.says({"text": "late", "delay_s": 60})

    def stumble(event: Event) -> None:
        if event.type == "step.started":
            raise LookupError("of the program")

    async with world.open() as guild:
        with pytest.raises(LookupError, match="of the program"):
            await guild.run("plain", "the task", on_event=stumble)
        (stored,) = await guild.session_runs("last")
    assert stored.result.status == "cancelled"


async def test_a_slow_reader_holds_up_nothing_and_loses_nothing(world: World) -> None:
    world.says({"text": " ".join(str(number) for number in range(500))})
    async with world.open() as guild, guild.stream("plain", "the task") as events:
        ended = False
        async with asyncio.timeout(30):
            while not ended:
                await asyncio.sleep(0.01)
                ended = any(one.statuses == ("accepted",) for one in await guild.sessions())
        seen = [event async for event in events]
    assert [one.seq for one in seen] == list(range(1, len(seen) + 1))
    assert "".join(one.text for one in seen if isinstance(one, AnswerDelta)) == events.result.output


async def test_a_stream_has_to_be_entered_and_only_once(world: World) -> None:
    world.says("one", "two")
    async with world.open() as guild:
        stream = guild.stream("plain", "the task")
        with pytest.raises(UsageError, match="has not begun"):
            _ = [event async for event in stream]
        async with stream:
            pass
        with pytest.raises(UsageError, match="entered once"):
            async with stream:
                pass


# --- ends


async def test_a4_cancelling_a_run_records_it(world: World) -> None:
    world.says({"text": "late", "delay_s": 60})
    async with world.open() as guild:
        task = asyncio.create_task(guild.run("plain", "the task"))
        await until(lambda: bool(world.bodies))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (stored,) = await guild.session_runs("last")
    assert stored.result.status == "cancelled"


async def test_closing_the_guild_cancels_what_is_under_way(world: World) -> None:
    world.says({"text": "late", "delay_s": 60})
    async with world.open() as guild:
        task = asyncio.create_task(guild.run("plain", "the task"))
        await until(lambda: bool(world.bodies))
    with pytest.raises(UsageError, match="closed before the run had ended"):
        await task
    with pytest.raises(UsageError, match="the guild is closed"):
        await guild.run("plain", "another")
    async with world.open() as again:
        (stored,) = await again.session_runs("last")
    assert stored.result.status == "cancelled"


async def test_a_log_that_cannot_be_used_is_an_error(world: World) -> None:
    (world.folder / "no.db").write_text("this is no database, and never was " * 99, encoding="utf-8")
    with pytest.raises(StoreError):
        async with world.open(db=world.folder / "no.db"):
            pass


async def test_a4_wherever_runs_are_left_none_stays_open(world: World) -> None:
    world.says({"text": "one two three four", "times": 99})

    async def leave(guild: Guild, after: int) -> None:
        async with guild.stream("plain", "the task") as events:
            async for event in events:
                if event.seq == after:
                    break

    async def cancel(guild: Guild, after: int) -> None:
        task = asyncio.create_task(
            guild.run("plain", "the task", on_event=lambda event: event.seq == after and task.cancel())
        )
        await asyncio.wait({task})
        assert task.cancelled()

    async with world.open() as guild:
        async with asyncio.TaskGroup() as tasks:
            for after in range(1, 11):
                tasks.create_task(leave(guild, after))
                tasks.create_task(cancel(guild, after))
        statuses = [session.statuses for session in await guild.sessions(limit=99)]
    assert len(statuses) == 20
    assert {status for each in statuses for status in each} <= {"cancelled", "accepted"}
    assert ("cancelled",) in statuses


# --- going on


ORACLE = {
    "name": "oracle",
    "description": "Ask it.",
    "parameters": {"type": "object", "properties": {"question": {"type": "string"}}},
}


async def test_c9_a_program_executes_tools_itself_and_hands_the_results_in(world: World) -> None:
    both = [
        {"name": "weather", "arguments": {"city": "Rome"}},
        {"name": "oracle", "arguments": {"question": "when?"}},
    ]
    world.says({"tool_calls": both}, "Tomorrow.")
    async with world.open(tools=[weather]) as guild:
        waiting = await guild.run("plain", "When?", external_tools=[ORACLE])
    assert waiting.status == "awaiting_tools"
    (pending,) = waiting.pending_tool_calls
    assert (pending["name"], pending["arguments"]) == ("oracle", {"question": "when?"})
    async with world.open(tools=[weather]) as guild:
        with pytest.raises(UsageError, match="oracle"):
            await guild.resume(waiting.session_id)
        seen: list[Event] = []
        results = [{"id": pending["id"], "content": "tomorrow"}]
        result = await guild.resume(waiting.session_id, results=results, on_event=seen.append)
        with pytest.raises(UsageError, match="no unfinished run"):
            await guild.resume()
    assert (result.output, result.run_id) == ("Tomorrow.", waiting.run_id)
    assert world.told == ['{"city":"Rome","days":1,"sky":"clear"}', "tomorrow"]
    assert isinstance(seen[-1], RunFinished)


async def test_h2_a_cancelled_run_goes_on_with_the_tools_of_the_program_alone(world: World) -> None:
    world.says(calls("weather", city="Rome"), {"text": "late", "delay_s": 60})
    async with world.open(tools=[weather]) as guild:
        task = asyncio.create_task(guild.run("both", "Rome?"))
        await until(lambda: len(world.bodies) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        world.says("Clear skies.")
        async with guild.resume_stream() as events:
            assert [event async for event in events]
    assert events.result.output == "Clear skies."
    assert world.offered == ["weather"]
    assert world.told == ['{"city":"Rome","days":1,"sky":"clear"}']
    with pytest.raises(TypeError, match="unexpected keyword argument 'result'"):
        guild.resume_stream(result=[])


# --- what is refused


async def test_what_is_wrong_with_the_configuration_is_said_at_once(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        async with Guild.from_config(tmp_path / "none.yaml", env=world.env):
            pass
    with pytest.raises(UsageError, match="no folder"):
        async with world.open(skills=tmp_path / "none"):
            pass
    world.config.write_text("version: 1\nchians: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        async with world.open():
            pass
    assert any("chians" in str(problem) for problem in caught.value.problems)
    with pytest.raises(TypeError, match="unexpected keyword argument 'toolz'"):
        async with world.open(toolz=[]):
            pass


async def test_an_unknown_skill_chain_or_model_is_said_with_a_hint(world: World) -> None:
    async with world.open() as guild:
        with pytest.raises(SkillError, match='there is no skill "plian"') as caught:
            await guild.run("plian", "the task")
        assert "plain" in (caught.value.hint or "")
        with pytest.raises(ConfigError, match="nowhere"):
            await guild.run("plain", "the task", chain="nowhere")
        with pytest.raises(ConfigError, match="nobody"):
            await guild.run("plain", "the task", model="nobody")
        assert await guild.sessions() == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"max_cost_usd": float("nan")}, "max_cost_usd is nan"),
        ({"deadline_s": -1}, "deadline_s is -1"),
        ({"history": True}, "history needs a session"),
        ({"session": "0123456789"}, "0123456789"),
        ({"workdir": "/nowhere/at/all"}, "no such folder"),
        ({"permission_mode": "free"}, "no permission mode 'free'"),
        ({"tools": "fs_read"}, "tools is a list"),
        ({"files": "a.py"}, "files is a list"),
        ({"files": ["/nowhere/at/all"]}, "cannot read"),
    ],
)
async def test_options_that_cannot_be_are_refused(world: World, options: dict[str, Any], why: str) -> None:
    async with world.open() as guild:
        with pytest.raises(UsageError, match=re.escape(why)):
            await guild.run("plain", "the task", **options)
        with pytest.raises(TypeError, match="unexpected keyword argument 'modle'"):
            await guild.run("plain", "the task", modle="m")


async def test_a_file_that_was_merely_found_must_be_trusted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.says("one")
    with world.config.open("a", encoding="utf-8") as file:
        file.write("mcp_servers: {odd: {argv: [odd-server]}}\n")
    monkeypatch.chdir(world.folder / "skills")
    with pytest.raises(TrustError, match="not trusted"):
        async with Guild.from_config(env=world.env):
            pass
    async with Guild.from_config(env=world.env, trusted=True) as guild:
        assert (await guild.run("plain", "the task")).output == "one"


# --- tools


async def test_a_function_of_the_program_is_a_tool(world: World) -> None:
    world.says(calls("weather", city="Rome"), "Clear skies.")
    seen: list[Event] = []
    async with world.open(tools=[weather]) as guild:
        result = await guild.run("plain", "Rome?", on_event=seen.append)
    assert result.output == "Clear skies."
    assert world.told == ['{"city":"Rome","days":1,"sky":"clear"}']
    (offered,) = world.bodies[0]["tools"]
    assert offered["function"]["description"] == "Look up the weather."
    assert offered["function"]["parameters"]["properties"]["city"]["description"] == "Its name."
    (returned,) = [event for event in seen if isinstance(event, ToolReturned)]
    assert not returned.is_error


async def test_c5_faults_of_functions_are_told_to_the_model(world: World) -> None:
    @tool
    async def broken() -> None:
        """Break."""
        raise LookupError("it broke")

    world.says(
        calls("weather"),
        calls("weather", city="Rome", days="many"),
        calls("weather", city="Atlantis"),
        calls("broken"),
        "I could not.",
    )
    async with world.open(tools=[weather, broken]) as guild:
        assert (await guild.run("plain", "Rome?")).output == "I could not."
    missing, wrong, unknown, failed = world.told
    assert "'city' is a required property" in missing
    assert "days" in wrong
    assert unknown == "no such city"
    assert failed == "broken failed: LookupError: it broke"


@pytest.mark.parametrize(
    ("skill", "options", "offered"),
    [
        ("plain", {}, ["weather", "forget"]),
        ("plain", {"tools": ["w*"]}, ["weather"]),
        ("plain", {"tools": []}, []),
        ("asker", {}, ["weather"]),
        ("reader", {}, []),
        ("reader", {"workdir": "."}, ["fs_read"]),
        ("reader", {"workdir": ".", "tools": ["weather"]}, []),
    ],
)
async def test_c2_skill_and_run_limit_what_is_offered(
    world: World, skill: str, options: dict[str, Any], offered: list[str]
) -> None:
    world.says("fine")
    async with world.open(tools=[weather, forget]) as guild:
        await guild.run(skill, "the task", **options)
    assert world.offered == offered


@pytest.mark.parametrize(
    ("skill", "mode", "call", "told"),
    [
        ("plain", None, calls("weather", city="Rome"), "clear"),
        ("plain", "plan", calls("weather", city="Rome"), "clear"),
        ("plain", "plan", calls("forget", what="it"), "only reads"),
        ("plain", "deny", calls("weather", city="Rome"), 'permission mode "deny"'),
        ("plain", None, calls("forget", what=".ssh/id_rsa"), "no tool may touch it"),
        ("careful", None, calls("forget", what="it"), 'the rule "forget" forbids it'),
        ("careful", "bypass", calls("forget", what="it"), 'the rule "forget" forbids it'),
        ("careful", None, calls("weather", city="Rome"), "nobody is there to be asked"),
    ],
)
async def test_c3_functions_run_unless_a_rule_or_the_mode_says_otherwise(
    world: World, skill: str, mode: Any, call: dict[str, Any], told: str
) -> None:
    world.says(call, "fine")
    async with world.open(tools=[weather, forget]) as guild:
        await guild.run(skill, "the task", permission_mode=mode)
    assert told in world.told[0]


@pytest.mark.parametrize(("answer", "told"), [("yes", "clear"), (True, "clear"), (False, "the user said no")])
async def test_c3_the_approver_is_asked(world: World, answer: bool | Literal["yes"], told: str) -> None:
    world.says(calls("weather", city="Rome"), "fine")
    asked: list[Question] = []

    async def approve(question: Question) -> bool | Literal["yes"]:
        asked.append(question)
        return answer

    async with world.open(tools=[weather], approver=approve) as guild:
        await guild.run("careful", "the task")
    assert told in world.told[0]
    (question,) = asked
    assert (question.call.name, question.call.arguments) == ("weather", {"city": "Rome"})
    assert "wants it asked about" in question.reason


async def test_a_built_in_tool_is_asked_about_too(world: World) -> None:
    (world.folder / "note.txt").write_text("remember the milk", encoding="utf-8")
    world.says(calls("fs_read", path="note.txt"), "Milk.")

    async def approve(question: Question) -> Literal["always"]:
        del question
        return "always"

    async with world.open(approver=approve) as guild:
        await guild.run("reader", "what was it?", workdir=world.folder)
    assert "remember the milk" in world.told[0]


async def test_what_the_approver_raises_ends_the_run(world: World) -> None:
    world.says(calls("weather", city="Rome"), "fine")

    async def confused(question: Question) -> Any:
        return question.reason

    async with world.open(tools=[weather], approver=confused) as guild:
        with pytest.raises(TypeError, match="yes, no, always or a bool"):
            await guild.run("careful", "the task")


async def test_tools_that_cannot_be_are_refused_at_once(world: World) -> None:
    def plain() -> None:
        """Be plain."""

    with pytest.raises(TypeError, match="async function"):
        async with world.open(tools=[plain]):
            pass
    with pytest.raises(UsageError, match="two tools are named weather"):
        async with world.open(tools=[weather, weather]):
            pass


# --- hooks


async def test_c7_pre_tool_and_post_tool_hooks_are_functions_of_the_program(world: World) -> None:
    async def northwards(call: ToolCall) -> dict[str, Any] | Denied:
        if call.name == "forget":
            return Denied("nothing is forgotten here")
        return {**(call.arguments or {}), "days": 3}

    async def shout(call: ToolCall, result: ToolResult) -> str:
        return f"{call.name}: {result.text.upper()}"

    world.says(calls("weather", city="Rome"), calls("forget", what="it"), "fine")
    async with world.open(
        tools=[weather, forget],
        hooks=[hooks(pre_tool=northwards), hooks(post_tool=shout, tools="weather")],
    ) as guild:
        await guild.run("plain", "Rome?")
    first, second = world.told
    assert first == 'weather: {"CITY":"ROME","DAYS":3,"SKY":"CLEAR"}'
    assert "nothing is forgotten here" in second


async def test_c7_c2_what_a_hook_rewrites_is_checked_after_it(world: World) -> None:
    async def astray(call: ToolCall) -> dict[str, Any]:
        return {"city": ".aws/credentials", "days": "many" if call.id else 1}

    world.says(calls("weather", city="Rome"), "fine")
    async with world.open(tools=[weather], hooks=hooks(pre_tool=astray)) as guild:
        await guild.run("plain", "Rome?")
    assert "bad arguments" in world.told[0]


async def test_c7_a_stop_hook_sends_the_model_on(world: World) -> None:
    async def complete(answer: str) -> str | None:
        return None if "source" in answer else "Name your source."

    world.says("It is clear.", "It is clear; source: the sky.")
    async with world.open(hooks=hooks(stop=complete)) as guild:
        result = await guild.run("plain", "Rome?")
    assert result.output == "It is clear; source: the sky."
    assert world.bodies[1]["messages"][-1]["content"] == "Name your source."


async def test_d0_d1_hooks_around_steps_steer_the_attempt(world: World) -> None:
    async def remind(messages: tuple[Message, ...]) -> list[Message] | None:
        return None if len(messages) > 2 else [*messages, Message("user", "Answer in Latin.")]

    async def once(completion: Completion, messages: tuple[Message, ...], control: Control) -> None:
        if completion.text == "Caelum.":
            second = await control.generate("n", [Message("user", f"Is it Latin: {completion.text}")])
            control.append(Message("user", f"A colleague says: {second.text}"))
            control.continue_()

    world.says("Caelum.", "Caelum serenum est.", n=[{"text": "too short"}])
    async with world.open(hooks=hooks(before_step=remind, after_step=once)) as guild:
        result = await guild.run("plain", "Rome?")
        (stored,) = await guild.session_runs("last")
    assert result.output == "Caelum serenum est."
    sent = [one["content"] for one in world.bodies[-1]["messages"]]
    assert sent[-3:] == ["Answer in Latin.", "Caelum.", "A colleague says: too short"]
    (aside,) = stored.result.attempts[0].asides
    assert (aside.model, aside.purpose) == ("n", "hook")


async def test_c7_a_hook_that_fails_denies_and_the_run_goes_on(world: World) -> None:
    async def confused(call: ToolCall) -> Any:
        return call.name

    world.says(calls("weather", city="Rome"), "fine")
    async with world.open(tools=[weather], hooks=hooks(pre_tool=confused)) as guild:
        assert (await guild.run("plain", "Rome?")).output == "fine"
    assert "confused" in world.told[0]
