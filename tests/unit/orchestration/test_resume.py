"""How a run goes on: which attempt, with which transcript, and what keeps it from going on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from builders import attempt, chain, tier

from hyperguild.agent.transcript import faults
from hyperguild.domain.chain import Chain
from hyperguild.domain.message_records import as_record, call_record
from hyperguild.domain.messages import Message
from hyperguild.domain.records import Attempt, ErrorInfo, RunResult, Step, StoredRun
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import AttachedFile, Task
from hyperguild.domain.tools import ToolCall, ToolResult
from hyperguild.domain.usage import Usage
from hyperguild.errors import UsageError
from hyperguild.orchestration.restoring import Restorer
from hyperguild.orchestration.resume import (
    FILES_AS_THEY_ARE,
    Continuation,
    can_go_on,
    plan,
    prompt_record,
    stored_prompt,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROMPT = (Message("system", "Use the tools."), Message("user", "Do the task."))
LOOK, WRITE = ToolCall("c1", "look", {}, "{}"), ToolCall("c2", "write", {"path": "a"}, '{"path": "a"}')
ASK = ToolCall("c3", "ask_user", {}, "{}")
TWO = chain(tier(0), tier(1))
CANCELLED = ErrorInfo(kind="cancelled", message="cancelled by the caller")


def says(text: str, *calls: ToolCall) -> Message:
    return Message("assistant", text, tool_calls=calls)


def told(call: ToolCall, text: str, **fields: Any) -> Message:
    return Message.of_result(ToolResult(call.id, call.name, text, started_at=NOW, ended_at=NOW, **fields))


def step(position: int, *messages: Message, attempt_id: str = "open", **fields: Any) -> Step:
    known: dict[str, Any] = {
        "step_id": f"{attempt_id}-{position}-{fields.get('kind', 'step')}",
        "attempt_id": attempt_id,
        "position": position,
        "anew": position == 0,
        "model": "model-0",
        "finish_reason": "tool_calls",
        "messages": tuple(as_record(message) for message in messages),
        "usage": Usage(input_tokens=10, output_tokens=1),
        "duration_ms": 100,
        "created_at": NOW,
    }
    return Step.model_validate({**known, **fields})


FIRST = step(0, *PROMPT, says("", LOOK), told(LOOK, "seen"))
SECOND = step(1, says("", WRITE), told(WRITE, "written"))
CUT_OFF = ToolResult(WRITE.id, WRITE.name, "interrupted", is_error=True)


def stored(*steps: Step, attempts: Sequence[Attempt] = (), **fields: Any) -> StoredRun:
    request = RunRequest("test", PROMPT[0].text, Task(PROMPT[1].text), TWO)
    result = RunResult(
        run_id="r",
        session_id="s",
        skill="test",
        chain="test",
        status="interrupted",
        attempts=tuple(attempts),
        duration_ms=700,
    )
    known: dict[str, Any] = {
        "result": result,
        "task": PROMPT[1].text,
        "options": {"prompt": prompt_record(request), "chain": {}},
        "created_at": NOW,
        "steps": steps,
    }
    return StoredRun.model_validate({**known, **fields})


def planned(
    run: StoredRun,
    *results: ToolResult,
    of: Chain = TWO,
    restorer: Restorer | None = None,
) -> Continuation:
    restorer = restorer or Restorer(Scrubber())
    prompt, task = stored_prompt(run, restorer)
    request = RunRequest("test", prompt.system, Task(task), of, history=prompt.history)
    numbers = itertools.count()
    return plan(run, request, results, restorer, lambda: f"new-{next(numbers)}")


def resumed(continuation: Continuation) -> Any:
    assert continuation.under_way is not None
    assert faults(continuation.under_way.resumption.messages) == []
    return continuation.under_way


def test_h2_a_killed_attempt_goes_on_under_its_id_with_what_it_used() -> None:
    going = planned(stored(FIRST, SECOND))
    under_way = resumed(going)
    assert (going.run_id, going.attempts, going.earlier_ms) == ("r", (), 700)
    assert (under_way.attempt_id, under_way.earlier_ms, under_way.began_at) == ("open", 200, NOW)
    resumption = under_way.resumption
    assert [message.text for message in resumption.messages] == [
        "Use the tools.",
        "Do the task.",
        "",
        "seen",
        "",
        "written",
    ]
    assert (resumption.prompt_length, resumption.used_steps, resumption.answered) == (2, 2, False)
    assert resumption.usage == Usage(input_tokens=20, output_tokens=2)
    assert [call.name for call, _ in under_way.done] == ["look", "write"]


def test_h2_nothing_persisted_means_that_the_walk_goes_on_with_the_attempts_on_record() -> None:
    refused = attempt(0)
    assert planned(stored()).under_way is None
    going = planned(stored(attempts=[refused]))
    assert (going.under_way, going.attempts) == (None, (refused,))


def test_h1_a_cancelled_attempt_is_taken_up_under_a_new_id_and_its_steps_count() -> None:
    cancelled = attempt(0, "error", attempt_id="open", cause="cancelled", error=CANCELLED)
    broken = step(1, says("", WRITE), Message.of_result(CUT_OFF))
    under_way = resumed(planned(stored(FIRST, broken, attempts=[cancelled])))
    assert (under_way.attempt_id, under_way.resumption.usage, under_way.earlier_ms) == ("new-0", Usage(), 0)
    assert under_way.resumption.used_steps == 2
    assert under_way.resumption.messages[-1].result == CUT_OFF


def test_h1_an_attempt_that_was_cancelled_and_then_killed_has_the_steps_of_both() -> None:
    cancelled = attempt(0, "error", attempt_id="open", cause="cancelled", error=CANCELLED)
    later = step(1, says("", WRITE), told(WRITE, "written"), attempt_id="later")
    under_way = resumed(planned(stored(FIRST, later, attempts=[cancelled])))
    assert under_way.attempt_id == "later"
    assert under_way.resumption.usage == later.usage
    assert len(under_way.resumption.messages) == 6
    assert under_way.resumption.used_steps == 2


def test_h1_an_attempt_that_was_cancelled_before_it_did_anything_is_made_anew() -> None:
    cancelled = attempt(0, "error", attempt_id="open", cause="cancelled", error=CANCELLED)
    partial = step(0, *PROMPT, says("I thi"), finish_reason=None)
    going = planned(stored(partial, attempts=[cancelled]))
    assert (going.under_way, going.attempts) == (None, (cancelled,))


def test_h1_a_cancelled_attempt_of_an_earlier_tier_is_not_taken_up() -> None:
    former = attempt(0, "error", attempt_id="open", cause="cancelled", error=CANCELLED)
    refused = attempt(0, attempt_id="again")
    assert planned(stored(FIRST, attempts=[former, refused])).under_way is None


@pytest.mark.parametrize(("finish_reason", "answered"), [("stop", True), ("other", True), ("length", False)])
def test_h2_an_answer_without_its_verdict_is_not_asked_for_again(
    finish_reason: Any, *, answered: bool
) -> None:
    last = step(1, says("All is done."), finish_reason=finish_reason)
    resumption = resumed(planned(stored(FIRST, last))).resumption
    assert (resumption.answered, resumption.messages[-1].text) == (answered, "All is done.")


def test_h1_what_was_stopped_as_it_spoke_is_said_anew() -> None:
    partial = step(1, says("All is"), finish_reason=None)
    resumption = resumed(planned(stored(FIRST, partial))).resumption
    assert (resumption.answered, resumption.messages[-1].text) == (False, "seen")
    assert (resumption.used_steps, resumption.usage.output_tokens) == (2, 2)


def test_h1_an_attempt_that_was_stopped_twice_as_it_spoke_has_no_two_turns_in_a_row() -> None:
    stops = [
        attempt(0, "error", attempt_id=name, cause="cancelled", error=CANCELLED)
        for name in ("open", "second")
    ]
    thought = step(1, Message("assistant", "", reasoning="hm"), finish_reason=None)
    partial = step(2, says("All is"), attempt_id="second", finish_reason=None)
    resumption = resumed(planned(stored(FIRST, thought, partial, attempts=stops))).resumption
    assert [message.role for message in resumption.messages] == ["system", "user", "assistant", "tool"]
    assert resumption.used_steps == 3


def test_h2_a_summary_stands_for_what_it_replaced_and_asides_are_no_part_of_it() -> None:
    aside = step(
        2,
        Message("user", "aside"),
        says("well"),
        kind="aside",
        anew=True,
        model="other",
        finish_reason="stop",
    )
    summary = step(
        3, *PROMPT, says("", WRITE), told(WRITE, "written"), kind="summary", anew=True, finish_reason="stop"
    )
    added = step(4, Message("user", "Hurry."), kind="injected", model=None, finish_reason=None)
    under_way = resumed(planned(stored(FIRST, SECOND, aside, summary, added)))
    assert [message.text for message in under_way.resumption.messages[2:]] == ["", "written", "Hurry."]
    assert under_way.resumption.usage == Usage(input_tokens=30, output_tokens=3)
    assert under_way.resumption.used_steps == 4
    assert under_way.asides == (("other", aside.usage),)
    assert [call.name for call, _ in under_way.done] == ["look", "write"]  # each once, the replaced one too


def test_c7_what_ran_is_what_a_hook_made_of_the_call() -> None:
    rewritten = step(1, says("", WRITE), told(WRITE, "written", ran_with={"path": "b"}))
    done = resumed(planned(stored(FIRST, rewritten))).done
    assert done[-1][0].arguments == {"path": "b"}


def test_h2_steps_of_an_attempt_that_was_given_up_are_not_taken_up_later() -> None:
    refused = attempt(0, attempt_id="again")
    later = step(0, *PROMPT, says("No."), attempt_id="again", finish_reason="stop")
    assert planned(stored(FIRST, later, attempts=[refused])).under_way is None


@pytest.mark.parametrize("last", [SECOND, step(1, says("It is done."), finish_reason="stop")])
def test_h2_an_attempt_whose_files_are_gone_is_told_so(last: Step) -> None:
    under_way = resumed(planned(stored(FIRST, last))).without_its_files()
    assert under_way.resumption.messages[-1] == Message("user", FILES_AS_THEY_ARE)
    assert under_way.handed_in == (Message("user", FILES_AS_THEY_ARE),)
    assert (under_way.done, under_way.resumption.answered) == ((), False)  # nothing of it is there to judge


PAUSED = step(
    1,
    says("", ASK, WRITE),
    told(WRITE, "written"),
    pending_tool_calls=(call_record(ASK),),
)


def test_c9_results_that_are_handed_in_stand_in_call_order() -> None:
    under_way = resumed(planned(stored(FIRST, PAUSED), ToolResult("c3", "", "yes")))
    assert [message.text for message in under_way.resumption.messages[-3:]] == ["", "yes", "written"]
    (brought,) = under_way.handed_in
    assert brought.result == ToolResult("c3", "ask_user", "yes")
    assert under_way.attempt_id == "open"


def test_c9_results_that_are_on_record_need_not_be_handed_in_again() -> None:
    brought = step(
        2, Message.of_result(ToolResult("c3", "ask_user", "yes")), kind="injected", finish_reason=None
    )
    under_way = resumed(planned(stored(FIRST, PAUSED, brought)))
    assert under_way.handed_in == ()
    assert [message.text for message in under_way.resumption.messages[-3:]] == ["", "yes", "written"]


@pytest.mark.parametrize(
    ("steps", "results", "message"),
    [
        ((FIRST, PAUSED), (), r"waits for the results of ask_user \(c3\)"),
        ((FIRST, PAUSED), (ToolResult("c9", "", ""), ToolResult("c3", "", "")), "no call c9"),
        ((FIRST, SECOND), (ToolResult("c1", "", ""),), "no call c1"),
        ((), (ToolResult("c1", "", ""),), "no call c1"),
    ],
)
def test_c9_missing_and_unknown_results_are_refused_by_name(steps: Any, results: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        planned(stored(*steps), *results)


@pytest.mark.parametrize(
    "of",
    [chain(tier(0, tier(1).model)), chain(tier(0, tier(1).model), tier(1, tier(0).model))],
)
def test_h2_another_chain_is_refused(of: Chain) -> None:
    with pytest.raises(UsageError, match="other tiers than when that run began"):
        planned(stored(FIRST), of=of)
    with pytest.raises(UsageError, match="other tiers than when that run began"):
        planned(stored(attempts=[attempt(0)]), of=of)


def test_h2_tiers_may_be_added_at_the_end() -> None:
    assert resumed(planned(stored(FIRST), of=chain(tier(0), tier(1), tier(2))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": None}, "was not stored"),
        ({"options": {}}, "was not stored"),
        ({"images": 2}, "2 images, which the log does not keep"),
        ({"options": {"prompt": {"system": "x"}}}, "cannot be read"),
        ({"steps": (FIRST.model_copy(update={"messages": ({"role": "user"},)}),)}, "cannot be read"),
        ({"steps": (FIRST, SECOND.model_copy(update={"messages": ()}))}, "was not stored"),
    ],
)
def test_h2_what_the_log_does_not_hold_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        planned(stored(FIRST).model_copy(update=changes))


def test_h2_what_can_go_on_is_told_at_a_glance() -> None:
    run = stored(FIRST)
    assert can_go_on(run)
    lost: tuple[dict[str, Any], ...] = (
        {"task": None},
        {"options": {}},
        {"images": 1},
        {"parent_run_id": "p"},
        {"result": run.result.model_copy(update={"status": "accepted"})},
    )
    assert not any(can_go_on(run.model_copy(update=changes)) for changes in lost)


def test_h2_prompts_come_back_as_they_were() -> None:
    history = (Message("user", "before"), Message("assistant", "done"))
    task = Task("Review.", (AttachedFile("a.py", "print(1)\n"),))
    request = RunRequest("test", "You review.", task, TWO, history=history)
    run = stored(options={"prompt": prompt_record(request)}, task=task.rendered())
    prompt, text = stored_prompt(run, Restorer(Scrubber()))
    assert (prompt.system, prompt.history, prompt.task_text) == ("You review.", history, "Review.")
    assert text == task.rendered()


class TestSecrets:
    KEY = "made-up-cloud-key-0123456789"

    def restorer(self) -> Restorer:
        scrubber = Scrubber()
        scrubber.learn("CLOUD_KEY", self.KEY)
        return Restorer(scrubber)

    def test_h2_known_keys_are_put_back_and_others_named(self) -> None:
        restorer = self.restorer()
        leaky = step(0, *PROMPT, says("", LOOK), told(LOOK, "[secret:CLOUD_KEY] [secret:aws] [secret:gone]"))
        under_way = resumed(planned(stored(leaky), restorer=restorer))
        assert under_way.resumption.messages[-1].text == f"{self.KEY} [secret:aws] [secret:gone]"
        assert restorer.missing == ("aws", "gone")

    def test_h2_what_a_file_spelled_out_stays_as_it_is(self) -> None:
        restorer = self.restorer()
        message = as_record(told(LOOK, "[secret:CLOUD_KEY]")) | {"literal_placeholders": ["CLOUD_KEY"]}
        records = (*(as_record(one) for one in (*PROMPT, says("", LOOK))), message)
        under_way = resumed(
            planned(stored(FIRST.model_copy(update={"messages": records})), restorer=restorer)
        )
        assert under_way.resumption.messages[-1].text == "[secret:CLOUD_KEY]"
        assert restorer.missing == ()

    def test_h2_only_what_would_be_sent_has_to_be_whole(self) -> None:
        restorer = self.restorer()
        leaky = step(0, *PROMPT, says("", LOOK), told(LOOK, "[secret:aws]"))
        thought = step(1, Message("assistant", "", tool_calls=(WRITE,), reasoning="[secret:aws]"))
        summary = step(
            2,
            *PROMPT,
            says("", WRITE),
            told(WRITE, "written"),
            kind="summary",
            anew=True,
            finish_reason="stop",
        )
        assert resumed(planned(stored(leaky, thought, summary), restorer=restorer))
        assert restorer.missing == ()

    def test_h2_a_refused_answer_may_quote_only_what_the_prompt_had(self) -> None:
        restorer = self.restorer()
        refused = attempt(0, answer="use [secret:CLOUD_KEY]", feedback="no")
        planned(stored(attempts=[refused]), restorer=restorer)
        assert restorer.missing == ("CLOUD_KEY",)
        asked = stored(attempts=[refused], task="with [secret:CLOUD_KEY]")
        restorer = self.restorer()
        going = planned(asked, restorer=restorer)
        assert (going.attempts[0].answer, restorer.missing) == (f"use {self.KEY}", ())


def test_hedge_and_i4_of_two_attempts_that_were_cancelled_the_next_tiers_goes_on() -> None:
    answered = step(0, *PROMPT, says("an answer"), attempt_id="attempt-0", finish_reason="stop")
    guessed = step(0, *PROMPT, says("a gu"), attempt_id="attempt-1", model="model-1", finish_reason=None)
    both = [attempt(place, "error", error=CANCELLED, cause="cancelled") for place in (0, 1)]
    for attempts in (both, both[::-1]):
        under_way = resumed(planned(stored(answered, guessed, attempts=attempts)))
        assert under_way.resumption.answered
        assert [message.text for message in under_way.resumption.messages][2:] == ["an answer"]


def test_hedge_whose_later_tier_was_refused_goes_on_behind_it() -> None:
    three = chain(tier(0), tier(1), tier(2))
    lost = attempt(0, "error", error=CANCELLED, cause="cancelled")
    half = step(0, *PROMPT, says("an ans"), attempt_id="attempt-0", finish_reason=None)
    assert planned(stored(half, attempts=[attempt(1), lost]), of=three).under_way is None
