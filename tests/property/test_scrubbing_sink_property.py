"""The sink that keeps secrets out of events misses none, and leaves the caller's answer alone."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from hyperguild.bootstrap import ScrubbingSink
from hyperguild.domain.events import AttemptFinished, Event, RunFinished, Warned
from hyperguild.domain.records import Attempt, CheckResult, RunResult
from hyperguild.domain.secrets import Scrubber

KEYS = (
    "open sesame 123",
    "sk-proj-" + "aB1_-" * 20,
    "ghp_" + "a1B2" * 9,
    "AKIAIOSFODNN7EXAMPLE",
    "xoxb-123456789012-abcdefABCDEF",
    "postgres://me:hunter2@db/x",
    "Bearer abcdef0123456789",
    "-----BEGIN PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA1c7" * 4,
)
PIECES = st.sampled_from(
    (
        *KEYS,
        "",
        "a",
        "sk-",
        "://",
        "Bearer ",
        "eyJ",
        "@host",
        "-----BEGIN PRIVATE KEY-----",
        "\n",
        "7" * 40,
        ":",
    )
)
TEXTS = st.lists(PIECES, max_size=3).map(" ".join) | st.lists(PIECES, max_size=3).map("".join)
STAMP = {"seq": 1, "time": datetime(2026, 1, 1, tzinfo=UTC), "session_id": "s", "run_id": "r"}


class Kept:
    """Keeps what was emitted."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


def scrubber() -> Scrubber:
    made = Scrubber()
    made.learn("PHRASE", KEYS[0])
    return made


def passed(event: Event) -> Event:
    kept = Kept()
    ScrubbingSink(scrubber(), kept).emit(event)
    (said,) = kept.events
    return said


def attempt(answer: str, feedback: str, message: str) -> Attempt:
    return Attempt(
        attempt_id="a",
        position=0,
        model="m",
        tier="local",
        endpoint="e",
        verdict="escalate",
        feedback=feedback,
        answer=answer,
        checks=(CheckResult(kind="regex", passed=False, message=message),),
    )


@given(TEXTS, TEXTS, TEXTS)
def test_every_text_of_an_event_is_scrubbed_by_itself(answer: str, feedback: str, message: str) -> None:
    scrub = scrubber().scrub
    said = passed(AttemptFinished(**STAMP, attempt=attempt(answer, feedback, message)))
    wanted = attempt(scrub(answer), scrub(feedback), scrub(message))
    assert said == AttemptFinished(**STAMP, attempt=wanted)


@given(TEXTS)
def test_a_single_text_is_scrubbed(text: str) -> None:
    assert passed(Warned(**STAMP, message=text)) == Warned(**STAMP, message=scrubber().scrub(text))


def test_the_callers_answer_stays_whole_in_the_result() -> None:
    key = KEYS[1]
    result = RunResult(
        run_id="r",
        session_id="s",
        skill="k",
        chain="c",
        status="accepted",
        output=key,
        attempts=(attempt(key, "", ""),),
    )
    said = passed(RunFinished(**STAMP, result=result))
    assert isinstance(said, RunFinished)
    assert said.result.output == key
    assert said.result.attempts[0].answer == "[secret:api-key]"
