from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len
from session_log import FEEDBACK, HOSTILE, NOW, Log

from hyperguild.cli.main import run_command_line
from hyperguild.domain.records import (
    CheckResult,
    ErrorInfo,
)
from hyperguild.domain.telling import ago


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setenv("HYPERGUILD_DB", str(tmp_path / "sessions.db"))
    monkeypatch.delenv("COLUMNS", raising=False)
    return Log(tmp_path / "sessions.db")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command_line(["sessions", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code, out, err = run(capsys, "show", *arguments)
    assert (code, err) == (0, "")
    return out


class TestList:
    def test_newest_first(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        old = log.add(log.walk(), task="The old one", age=timedelta(hours=3))
        new = log.add(log.walk(), task="The new one\nand more", age=timedelta(hours=2))
        code, out, err = run(capsys, "list")
        assert (code, err) == (0, "")
        header, first, second = out.splitlines()
        assert header.split() == ["session", "when", "status", "cost", "skill", "task"]
        cells = re.split(r"\s{2,}", first)
        assert cells == [new.session_id[-8:], "2 h ago", "accepted", "$0.0042", "review", "The new one"]
        assert second.startswith(f"{old.session_id[-8:]}  3 h ago")

    def test_a_session_of_several_runs_counts_their_ends(
        self, log: Log, capsys: pytest.CaptureFixture[str]
    ) -> None:
        session_id = log.add(log.walk()).session_id
        log.add(log.walk(), session_id=session_id)
        log.add(log.walk(), session_id=session_id, status="exhausted")
        assert "accepted ×2, exhausted" in run(capsys, "list")[1]

    def test_as_json(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        result = log.add(log.walk())
        code, out, _ = run(capsys, "list", "--json")
        [session] = json.loads(out)
        assert code == 0
        assert session["session_id"] == result.session_id
        assert (session["runs"], session["statuses"]) == (1, ["accepted"])
        assert session["title"] == "Review this file."

    def test_limit(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        for number in range(3):
            log.add(log.walk(), task=f"task {number}", age=timedelta(minutes=10 - number))
        code, out, err = run(capsys, "list", "--limit", "2")
        assert code == 0
        assert [line.rsplit("  ")[-1] for line in out.splitlines()[1:]] == ["task 2", "task 1"]
        cursor = re.fullmatch(r"there are more: --after (\S+)\n", err)
        assert cursor is not None
        code, out, err = run(capsys, "list", "--limit", "2", "--after", cursor[1])
        assert (code, err) == (0, "")
        assert [line.rsplit("  ")[-1] for line in out.splitlines()[1:]] == ["task 0"]
        assert len(json.loads(run(capsys, "list", "--limit", "2", "--json")[1])) == 2
        assert run(capsys, "list", "--limit", "0")[0] == 2

    def test_before_the_first_run(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = run(capsys, "list")
        assert (code, out) == (0, "")
        assert "no sessions yet" in err
        assert run(capsys, "list", "--json") == (0, "[]\n", "")
        assert not log.path.exists()

    @pytest.mark.parametrize("columns", [40, 80])
    def test_fits(
        self, columns: int, log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        log.add(log.walk(), task="a task of many words " * 10)
        out = run(capsys, "list")[1]
        assert "accepted" in out
        assert "a task of" in out
        assert max(len(line) for line in out.splitlines()) <= columns

    def test_hostile_text(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        log.add(log.walk(), task=HOSTILE)
        out = run(capsys, "list")[1]
        assert "[bold]red[/bold] [link=x]y[/link] back" in out
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out)


class TestShow:
    def test_the_chain_with_all_that_is_known(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        result = log.add(log.walk())
        out = shown(capsys)
        assert out.splitlines()[0] == "review · chain code · accepted: claude-sonnet-4-6 (subagent)"
        assert result.run_id in out
        assert result.session_id in out
        assert "spent     7.8 s · $0.0042 · 1,200 → 34 tokens\n" in out
        assert "▒ loading  · waiting for the first token  █ answering  ▓ verifying" in out
        assert re.search(r"^1 ✗ phi4  local, cold +▒+·+█+▓+ 5\.2 s$", out, re.MULTILINE)
        assert "refused by the judge, score 0.35" in out
        assert (
            "loading 3.9 s · first token 200 ms · answering 820 ms · verifying 310 ms · judge qwen3-8b" in out
        )
        assert f"feedback  {FEEDBACK}" in out
        assert "checks    ✓ not_empty" in out
        assert re.search(r"^2 – qwen-coder-32b  local, cold$", out, re.MULTILINE)
        assert "skipped: cold" in out
        assert "why       it is not loaded, and when_cold is skip" in out
        assert re.search(r"^3 ✓ claude-sonnet-4-6  subagent  ·+█+ 2\.6 s$", out, re.MULTILINE)
        assert "answer    Line 14 leaks." in out
        assert f"hyperguild rerun {result.run_id[-8:]}" in out

    def test_bars_have_one_scale(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        log.add(log.walk())
        first, third = [len(bar) for bar in re.findall(r"([▒·█▓]{5,}) ", shown(capsys))]
        assert third / first == pytest.approx(2600 / 5230, abs=0.05)

    def test_long_answers_are_folded(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        log.add(log.walk(), task="\n".join(f"line {number}" for number in range(1, 31)))
        out = shown(capsys)
        assert "finding 6\n" in out
        assert "finding 7\n" not in out
        assert "… 14 more lines (--full)" in out
        assert "line 6\n" in out
        assert "… 24 more lines (--full)" in out
        assert "--full\n" in out.splitlines(keepends=True)[-3]
        whole = shown(capsys, "--full")
        assert "finding 20\n" in whole
        assert "line 30\n" in whole
        assert "--full" not in whole

    def test_one_line_more_than_the_fold_is_shown(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        log.add([(log.attempt(answer="\n".join("abcdefg")), [])])
        out = shown(capsys)
        assert "  g\n" in out
        assert "more line" not in out

    def test_a_long_line_is_folded_where_lines_are_not_wrapped(
        self, log: Log, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log.add([(log.attempt(answer="x" * 3000), [])])
        assert "… 2,500 more characters (--full)" in shown(capsys)
        assert "x" * 3000 in shown(capsys, "--full")

    def test_one_attempt_with_its_prompt(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        result = log.add(log.walk())
        out = shown(capsys, "last", "--attempt", "3")
        assert f"attempt 3 of 3 of run {result.run_id}" in out
        roles = re.findall(r"^── (\w+) ─+$", out, re.MULTILINE)
        assert roles == ["system", "user", "assistant"]
        assert f"\n## Prior attempt feedback\nverifier: {FEEDBACK}\n" in out
        assert out.count("Line 14 leaks.") == 1
        assert "finding 20\n" in shown(capsys, "last", "--attempt", "1")
        assert "no model was called" in shown(capsys, "last", "--attempt", "2")

    def test_an_attempt_that_is_none(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        result = log.add(log.walk())
        code, out, err = run(capsys, "show", "--attempt", "4")
        assert (code, out) == (2, "")
        assert err == f"error: the run {result.run_id[-8:]} has 3 attempts, no attempt 4\n"

    def test_as_json(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        result = log.add(log.walk())
        session = json.loads(shown(capsys, "--json"))
        [stored] = session["runs"]
        assert session["session_id"] == result.session_id
        assert session["created_at"] == stored["created_at"]
        assert set(stored) == {
            *result.model_dump(),
            "task",
            "images",
            "options",
            "parent_run_id",
            "created_at",
            "finished_at",
            "steps",
            "labels",
        }
        assert stored["attempts"] == result.model_dump(mode="json")["attempts"]
        attempt = json.loads(shown(capsys, "--attempt", "1", "--json"))
        assert attempt["score"] == 0.35
        assert attempt["steps"][0]["messages"][1] == {"role": "user", "content": "Review this file."}

    def test_ids(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        first = log.add(log.walk(), task="the first task")
        second = log.add(
            log.walk(), task="the second task", session_id=first.session_id, age=timedelta(minutes=1)
        )
        log.add(log.walk(), task="of another session", age=timedelta(hours=1))
        both = shown(capsys, first.session_id)
        assert both.index("the first task") < both.index("the second task")
        assert both.startswith(f"session {first.session_id}\n2 runs, oldest first")
        assert shown(capsys, first.session_id[-8:]) == shown(capsys, "last") == both
        for reference in (first.run_id, first.run_id[-6:]):
            one = shown(capsys, reference)
            assert "the first task" in one
            assert "the second task" not in one
            assert "1 of 2 of its session" in one
        assert f"of run {second.run_id}" in shown(capsys, "last", "--attempt", "1")
        code, out, err = run(capsys, "show", "ffffffffffff")
        assert (code, out) == (2, "")
        assert err.startswith("error: no session 'ffffffffffff'")

    def test_before_the_first_run(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        for command in (("show",), ("repair",), ("repair", "--dry-run", "--json")):
            code, out, err = run(capsys, *command)
            assert (code, out) == (2, "")
            assert err == f"error: no session log yet at {log.path} (`hyperguild run` makes it)\n"

    def test_a_run_whose_process_died_is_interrupted(
        self, log: Log, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log.add(log.walk()[:1], status="running", age=timedelta(minutes=5))
        out = shown(capsys)
        assert "review · chain code · interrupted\n" in out
        assert "its process ended before the run did" in out
        assert "1 ✗ phi4" in out
        assert "\n… interrupted\n" in out

    def test_a_run_that_goes_on_is_running(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        log.add([], status="running", age=timedelta(), lease=timedelta(hours=1))
        out = shown(capsys)
        assert "review · chain code · running\n" in out
        assert "no attempt was finished" in out

    def test_errors_and_a_cancelled_run(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        refused = ErrorInfo(kind="rate_limit", message="too many requests", status=429, retryable=True)
        limited = log.attempt(
            verdict="error",
            cause="rate_limit",
            error=refused,
            answer="",
            duration_ms=310,
            first_token_ms=None,
            retries=2,
        )
        stopped = ErrorInfo(kind="cancelled", message="cancelled by the caller")
        loading = log.attempt(
            verdict="error",
            cause="cancelled",
            error=stopped,
            answer="",
            load_ms=2000,
            duration_ms=2000,
            first_token_ms=None,
        )
        log.add([(limited, []), (loading, [])], status="cancelled")
        out = shown(capsys)
        assert "review · chain code · cancelled\n" in out
        assert "1 ! phi4" in out
        assert "error: rate_limit" in out
        assert "waiting 310 ms · 2 retries" in out
        assert "error     HTTP 429: too many requests" in out
        assert "2 ! phi4" in out
        assert "error     cancelled by the caller" in out
        assert "not stored" not in out

    def test_failed_checks_are_not_said_twice(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        checks = (
            CheckResult(kind="regex", passed=False, message="nothing matches ^## "),
            CheckResult(kind="length", passed=False, message="too long"),
        )
        refused = log.attempt(
            verdict="escalate", cause="check_failed", feedback="regex: nothing matches ^## ", checks=checks
        )
        log.add([(refused, [])], status="exhausted")
        out = shown(capsys)
        assert "refused by a check  best answer" in out
        assert "checks    ✗ regex  ✗ length" in out
        assert out.count("nothing matches") == 1
        assert "✗ length: too long" in out

    def test_what_was_not_stored_is_said(
        self, tmp_path: Path, log: Log, capsys: pytest.CaptureFixture[str]
    ) -> None:
        private = Log(log.path, content="none")
        private.add(private.walk())
        out = shown(capsys)
        assert "task      not stored" in out
        assert "answer    not stored" in out
        assert FEEDBACK not in out
        assert "the prompt was not stored" in shown(capsys, "--attempt", "1")

    def test_hostile_text_is_data(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        attempt = log.attempt(
            HOSTILE,
            verdict="escalate",
            cause="rejected",
            feedback=HOSTILE,
            answer=HOSTILE,
            warm_state="ready",
        )
        log.add([(attempt, [log.step(attempt, HOSTILE)])], task=HOSTILE, status="exhausted")
        for arguments in ([], ["--full"], ["last", "--attempt", "1"]):
            out = shown(capsys, *arguments)
            assert out.count("[bold]red[/bold] [link=x]y[/link] back") >= 4
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out)
        raw = shown(capsys, "--json")
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", raw)
        assert json.loads(raw)["runs"][0]["attempts"][0]["answer"] == HOSTILE

    @pytest.mark.parametrize("columns", [40, 80])
    def test_fits(
        self, columns: int, log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        wide = log.attempt("a-model-with-a-very-long-name-of-many-parts-q4", answer="日本語" * 40)
        log.add([*log.walk(), (wide, [])], task="word " * 60)
        for arguments in ([], ["--full"]):
            lines = shown(capsys, *arguments).splitlines()
            # Commands that are there to be copied are never broken.
            text = [line for line in lines if "hyperguild " not in line]
            assert [line for line in text if cell_len(line) > columns] == []
        flat = " ".join(" ".join(lines).split())
        assert FEEDBACK in flat
        assert any(re.search(r"▒+·*█+▓*", line) for line in lines)


class TestExport:
    def test_lines(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        first = log.add(log.walk(), task="one\u2028two", age=timedelta(hours=1))
        second = log.add(log.walk())
        code, out, err = run(capsys, "export", "--all")
        assert (code, err) == (0, "")
        runs = [json.loads(line) for line in out.splitlines()]
        assert [stored["run_id"] for stored in runs] == [first.run_id, second.run_id]
        assert runs[0]["task"] == "one\u2028two"
        result = first.model_dump(mode="json")
        assert {name: runs[0][name] for name in result} == result
        assert set(runs[0]) - set(result) == {
            "task",
            "images",
            "options",
            "parent_run_id",
            "created_at",
            "finished_at",
            "steps",
            "labels",
        }
        assert runs[0]["steps"][0]["attempt_id"] == first.attempts[0].attempt_id

    def test_array_of_what_is_named_each_once(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        first = log.add(log.walk(), age=timedelta(hours=1))
        second = log.add(log.walk())
        code, out, _ = run(capsys, "export", "last", first.run_id[-8:], first.session_id, "--format", "json")
        assert code == 0
        assert [stored["run_id"] for stored in json.loads(out)] == [second.run_id, first.run_id]

    def test_nothing_is_printed_where_an_id_is_wrong(
        self, log: Log, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log.add(log.walk())
        code, out, err = run(capsys, "export", "last", "ffffffff")
        assert (code, out) == (2, "")
        assert err.startswith("error: no session 'ffffffff'")

    def test_what_cannot_be_asked_for(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(capsys, "export")[0] == 2
        assert run(capsys, "export", "last", "--all")[0] == 2
        assert run(capsys, "export", "last", "--format", "xml")[0] == 2

    def test_before_the_first_run(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(capsys, "export", "--all") == (0, "", "")
        assert run(capsys, "export", "--all", "--format", "json") == (0, "[]\n", "")


def on_a_terminal(*arguments: str, **env: str) -> str:
    """Run the program with a terminal as its stdout; return what it wrote there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hyperguild", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **env},
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:
        pass  # how Linux says that the other side is closed
    finally:
        os.close(ours)
        assert process.wait(timeout=60) == 0
    return written.decode()


def test_colours_only_on_a_terminal_that_wants_them(
    log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    log.add(log.walk(), task=HOSTILE)
    coloured = on_a_terminal("sessions", "show")
    assert "\x1b[1mphi4\x1b[0m" in coloured
    assert "\x1b]0;owned" not in coloured
    assert "\u202e" not in coloured
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in on_a_terminal("sessions", "show", **env)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in shown(capsys)


def test_every_command_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["list"], ["show"], ["search"], ["tail"], ["export"], ["prune"]):
        code, out, _ = run(capsys, *arguments, "--help")
        assert code == 0
        assert "Examples:\n    hyperguild sessions " in out
        assert max(len(line) for line in out.splitlines()) <= 80


def test_moments_as_a_person_reads_them() -> None:
    expected = {
        timedelta(seconds=-3): "just now",
        timedelta(seconds=59): "just now",
        timedelta(seconds=60): "1 min ago",
        timedelta(hours=23, minutes=59): "23 h ago",
        timedelta(days=13): "13 d ago",
        timedelta(days=30): (NOW - timedelta(days=30)).astimezone().strftime("%Y-%m-%d"),
    }
    assert {past: ago(NOW - past, NOW) for past in expected} == expected


class TestHints:
    """Only what can work is offered."""

    def test_of_a_private_run_nothing_is(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        private = Log(log.path, content="none")
        private.add(private.walk())
        assert "hyperguild " not in shown(capsys)

    def test_of_a_run_with_placeholders_no_rerun_is(
        self, log: Log, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log.add(log.walk(), task="use [secret:anthropic]")
        out = shown(capsys)
        assert "--full" in out
        assert "hyperguild rerun" not in out

    def test_an_attempt_whose_prompt_is_stored_is(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        first, *rest = log.walk()
        log.add([first, *((attempt, []) for attempt, _ in rest)])
        assert "--attempt 1\n" in shown(capsys)


def test_what_an_interrupted_run_spent_is_unknown(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.add([], status="running", age=timedelta(hours=1))
    out = shown(capsys)
    assert "interrupted" in out
    assert "spent     unknown\n" in out


def test_export_takes_json_as_every_listing_does(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.add(log.walk())
    code, out, _ = run(capsys, "export", "last", "--json")
    assert (code, out) == (0, run(capsys, "export", "last", "--format", "json")[1])
    assert len(json.loads(out)) == 1
