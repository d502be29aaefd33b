"""What small models are offered and shown: two-stage tools (E1), shrunk results (E2), summaries (G1)."""

from __future__ import annotations

import pytest
from builders import cloud_model, local_model

from hyperguild.agent.compaction import HEADING, plan
from hyperguild.agent.gauge import TokenGauge, schema_text
from hyperguild.agent.routing import SELECT, ToolRouting, is_two_stage
from hyperguild.agent.shrink import Shrinker
from hyperguild.agent.transcript import faults
from hyperguild.domain.chain import Model
from hyperguild.domain.messages import Message
from hyperguild.domain.tools import ToolCall, ToolCategory, ToolResult, ToolSpec


def tool(name: str, category: ToolCategory = "read") -> ToolSpec:
    return ToolSpec(name, "A tool.", {"type": "object", "properties": {}}, "read", category)


CATALOGUE = (
    tool("fs_read"),
    tool("fs_ls"),
    tool("fs_grep", "search"),
    tool("fs_edit", "write"),
    tool("shell", "exec"),
)


def select(category: object) -> ToolCall:
    return ToolCall("c", SELECT, {"category": category})


@pytest.mark.parametrize(
    ("model", "small"),
    [
        (local_model(context_window=16_384), True),
        (local_model(context_window=16_385), False),
        (local_model(), True),
        (cloud_model(context_window=8_192), False),
    ],
)
def test_e1_small_local_models_choose_first(model: Model, small: bool) -> None:
    assert is_two_stage("auto", model, CATALOGUE) is small
    assert is_two_stage("always", model, CATALOGUE)
    assert not is_two_stage("never", model, CATALOGUE)


def test_e1_where_there_is_one_category_nothing_is_chosen() -> None:
    assert not is_two_stage("always", local_model(), CATALOGUE[:2])


def test_e1_first_a_category_then_its_tools() -> None:
    routing = ToolRouting(CATALOGUE, two_stage=True)
    (selector,), choice = routing.offer()
    assert (selector.name, choice) == (SELECT, "required")
    assert selector.parameters["properties"]["category"]["enum"] == ["read", "search", "write", "exec"]
    assert routing.select(select("read")) == (f"tools now: fs_read, fs_ls, {SELECT}", False)
    tools, choice = routing.offer()
    assert ([one.name for one in tools], choice) == (["fs_read", "fs_ls", SELECT], "auto")
    routing.select(select("exec"))
    assert [one.name for one in routing.offer()[0]] == ["shell", SELECT]


@pytest.mark.parametrize("wanted", ["sing", None, 3, "meta"])
def test_e1_an_unknown_category_answers_with_the_list_and_goes_back(wanted: object) -> None:
    routing = ToolRouting(CATALOGUE, two_stage=True)
    routing.select(select("read"))
    text, is_error = routing.select(select(wanted))
    assert is_error
    assert "read, search, write, exec" in text
    assert routing.at_first_stage


def test_e1_prose_at_the_first_stage_is_corrected_once() -> None:
    routing = ToolRouting(CATALOGUE, two_stage=True)
    assert "read, search, write, exec" in (routing.correct_prose() or "")
    assert routing.correct_prose() is None
    chosen = ToolRouting(CATALOGUE, two_stage=True)
    chosen.select(select("read"))
    assert chosen.correct_prose() is None


def test_without_two_stages_everything_is_offered() -> None:
    assert ToolRouting(CATALOGUE, two_stage=False).offer() == (CATALOGUE, "auto")


def step(number: int, size: int = 400, *, is_error: bool = False) -> list[Message]:
    call = ToolCall(f"c{number}", "fs_read", {"path": "x"}, '{"path": "x"}')
    result = ToolResult(call.id, "fs_read", "x" * size, is_error=is_error)
    return [Message("assistant", "", tool_calls=(call,)), Message.of_result(result)]


PROMPT = [Message("system", "Be brief."), Message("user", "Do it.")]


def test_e2_results_older_than_the_last_two_steps_shrink() -> None:
    transcript = [*PROMPT, *step(1, is_error=True), *step(2, 10), *step(3), *step(4)]
    shrinker = Shrinker()
    assert shrinker.view(transcript) == tuple(transcript)
    assert shrinker.move(transcript)
    view = shrinker.view(transcript)
    assert [one.text for one in view if one.result] == [
        "[prior result: 400 chars]",
        "x" * 10,
        "x" * 400,
        "x" * 400,
    ]
    assert view[3].result is not None
    assert (view[3].result.call_id, view[3].result.is_error, view[3].result.text) == (
        "c1",
        True,
        view[3].text,
    )
    assert faults(view) == []
    assert transcript[3].text == "x" * 400  # what is stored stays whole


def test_e2_the_mark_moves_only_when_it_is_moved() -> None:
    transcript = [*PROMPT, *step(1), *step(2), *step(3)]
    shrinker = Shrinker()
    assert shrinker.move(transcript)
    view = shrinker.view(transcript)
    longer = [*transcript, *step(4), *step(5)]
    assert shrinker.view(longer)[: len(view)] == view
    assert shrinker.move(longer)
    assert not shrinker.move(longer)


def test_e2_two_steps_are_never_shrunk() -> None:
    transcript = [*PROMPT, *step(1), *step(2)]
    assert not Shrinker().move(transcript)


def test_g1_the_estimate_follows_what_the_server_counts() -> None:
    gauge = TokenGauge()
    transcript = [Message("user", "x" * 4000)]
    assert gauge.estimate(transcript) == 1000 + 4
    gauge.learn(transcript, (), 2008)
    assert gauge.estimate([*transcript, *transcript]) == 4016
    gauge.learn(transcript, (), 0)
    assert gauge.estimate(transcript) == 2008
    assert gauge.estimate(transcript, CATALOGUE) > 2008 + 2 * len(schema_text(CATALOGUE)) // 4


def test_g1_the_old_part_is_summarised_and_no_call_is_parted_from_its_result() -> None:
    since = [message for number in range(1, 8) for message in step(number)]
    for keep in range(1, len(since)):
        cut = plan(PROMPT, since, keep=keep)
        if cut is None:
            continue
        assert [*cut.old, *cut.recent] == since
        assert len(cut.recent) >= keep
        assert faults(cut.recent) == []
        assert faults(cut.old) == []


def test_g1_a_summary_takes_the_place_of_what_it_tells() -> None:
    since = [message for number in range(1, 6) for message in step(number)]
    first = plan(PROMPT, since)
    assert first is not None
    system, asked = first.request(lambda: "n0nce")
    assert "decisions and why" in system.text
    assert asked.text.startswith("<record n0nce>")
    assert asked.text.endswith("</record n0nce>")
    compacted = first.compacted("It is half done.", lambda: "n0nce")
    assert faults(compacted) == []
    assert compacted[0] == PROMPT[0]
    assert compacted[1].text == (f"Do it.\n\n{HEADING}\n<summary n0nce>\nIt is half done.\n</summary n0nce>")
    assert list(compacted[2:]) == since[-6:]
    again = plan(PROMPT, [*since, *step(9), *step(10)], earlier="It is half done.")
    assert again is not None
    assert "It is half done." in again.request(lambda: "n0nce")[1].text
    assert "half" not in again.compacted("All is done.", lambda: "n0nce")[1].text


def test_g1_what_stays_begins_with_the_model_s_own_words() -> None:
    since = [*step(1), Message("user", "Do not greet."), *step(2), *step(3), Message("assistant", "Well.")]
    cut = plan(PROMPT, [*since, Message("user", "Go on.")], keep=7)
    assert cut is None
    later = plan(PROMPT, [*step(0), *since, Message("user", "Go on.")], keep=7)
    assert later is not None
    assert [message.role for message in later.compacted("So far.", lambda: "n0nce")][:3] == [
        "system",
        "user",
        "assistant",
    ]
    assert later.old == tuple(step(0))


def test_g1_long_results_are_cut_in_the_record() -> None:
    since = [*step(1, 1_000_000), *step(2), *step(3), *step(4)]
    cut = plan(PROMPT, since)
    assert cut is not None
    assert len(cut.request(lambda: "n0nce")[1].text) < 5000


def test_g1_a_short_transcript_is_left_alone() -> None:
    assert plan(PROMPT, [*step(1), *step(2), *step(3)]) is None
    assert plan(PROMPT, []) is None
