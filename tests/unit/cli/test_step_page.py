"""`sessions show --steps`: what a person sees of an attempt's steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hyperguild.cli.page import Page
from hyperguild.cli.step_page import fill_steps
from hyperguild.domain.message_lines import call_line, message_title
from hyperguild.domain.records import RunResult, Step, StoredRun
from hyperguild.domain.usage import Usage

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def step(position: int, *messages: dict[str, Any], anew: bool = False) -> Step:
    return Step(
        step_id=f"s{position}",
        attempt_id="a",
        position=position,
        anew=anew,
        messages=messages,
        usage=Usage(input_tokens=1200, output_tokens=30),
        duration_ms=1500,
        created_at=NOW,
    )


def stored(*steps: Step) -> StoredRun:
    result = RunResult(run_id="r", session_id="s", skill="debug", chain="c", status="accepted")
    return StoredRun(result=result, task="t", created_at=NOW, steps=steps)


def shown(*steps: Step, whole: bool = False) -> str:
    page = Page(width=80, wraps=True, styled=False)
    fill_steps(page, stored(*steps), whole=whole)
    return "\n".join(line.plain for line in page.lines)


CALLED = {
    "role": "assistant",
    "content": "Let me look.",
    "tool_calls": [{"id": "c", "name": "fs_read", "arguments": {"path": "a.py"}}],
}
RESULT = {
    "role": "tool",
    "content": "\n".join(f"line {n}" for n in range(20)),
    "name": "fs_read",
    "tool_call_id": "c",
    "is_error": False,
    "started_at": NOW.isoformat(),
    "ended_at": (NOW + timedelta(seconds=2)).isoformat(),
}


def test_a_step_has_its_calls_and_their_results_and_not_the_prompt() -> None:
    prompt = ({"role": "system", "content": "the skill"}, {"role": "user", "content": "the task"})
    text = shown(
        step(0, *prompt, CALLED, RESULT, anew=True), step(1, {"role": "assistant", "content": "Done."})
    )
    assert "the skill" not in text
    assert "the task" not in text
    assert "step 1  1.5 s · 1,200 → 30 tokens" in text
    assert "→ fs_read path=a.py" in text
    assert "result of fs_read · 2.0 s" in text
    assert "line 5" in text
    assert "line 6" not in text
    assert "14 more lines (--full)" in text
    assert text.index("step 2") < text.index("Done.")


def test_everything_is_shown_if_asked_for() -> None:
    assert "line 19" in shown(step(0, CALLED, RESULT), whole=True)


def test_broken_arguments_are_shown_as_they_were_written() -> None:
    assert call_line({"name": "fs_read", "arguments": None, "raw": '{"path": '}) == 'fs_read {"path":'
    assert message_title({"role": "tool", "is_error": True, "name": "x"}) == "error of x"
    assert message_title({"role": "user"}) == "user"


def test_sources_are_named() -> None:
    said = {"role": "assistant", "content": "Found.", "sources": [{"url": "https://x.example", "title": "X"}]}
    assert "source: X https://x.example" in shown(step(0, said))
