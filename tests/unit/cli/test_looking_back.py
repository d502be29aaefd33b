"""Filters, paging, search, tail, export and prune of `hyperguild sessions`, over a real log."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from builders import attempt as attempt_of
from session_log import HOSTILE, Log

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.cli.following import Told
from hyperguild.cli.main import run_command_line
from hyperguild.cli.moments import moment_at, parse_moment
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import RunResult, RunStart, StoredRun
from hyperguild.domain.secrets import Scrubber

ESCAPES = "\x1b\x9b\u202e"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setenv("HYPERGUILD_DB", str(tmp_path / "sessions.db"))
    monkeypatch.delenv("COLUMNS", raising=False)
    return Log(tmp_path / "sessions.db")


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command_line(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    code, out, _ = run(capsys, *arguments, "--json")
    assert code == 0
    found: list[dict[str, Any]] = json.loads(out)
    return found


class TestMoments:
    NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("90s", NOW - timedelta(seconds=90)),
            ("5m", NOW - timedelta(minutes=5)),
            ("5min", NOW - timedelta(minutes=5)),
            ("2H", NOW - timedelta(hours=2)),
            (" 7d ", NOW - timedelta(days=7)),
            ("2w", NOW - timedelta(weeks=2)),
            ("999999w", datetime.min.replace(tzinfo=UTC)),
            ("2026-11-01", datetime(2026, 10, 31, 23, tzinfo=UTC)),
            ("2026-07-01T08:30", datetime(2026, 7, 1, 6, 30, tzinfo=UTC)),
            ("2026-07-01 08:30:15Z", datetime(2026, 7, 1, 8, 30, 15, tzinfo=UTC)),
            ("2026-07-01T08:30:00+05:00", datetime(2026, 7, 1, 3, 30, tzinfo=UTC)),
        ],
    )
    def test_read(self, text: str, expected: datetime, in_berlin: None) -> None:
        moment = parse_moment(text)
        assert moment is not None
        assert moment_at(moment, self.NOW) == expected

    @pytest.mark.parametrize("text", ["", "7", "d", "7 days ago", "-7d", "2026-13-01", "now", "٧d", "1e3d"])
    def test_nonsense(self, text: str) -> None:
        assert parse_moment(text) is None

    def test_said_in_one_line(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = run(capsys, "sessions", "list", "--since", "soon")
        assert (code, out) == (2, "")
        assert err.startswith("error: Invalid value for '--since': 'soon' is no time such as 2h, 7d")
        assert len(err.splitlines()) == 1


class TestList:
    def test_filters_choose_sessions_runs_and_attempts(
        self, log: Log, capsys: pytest.CaptureFixture[str]
    ) -> None:
        walked = log.add(log.walk(), task="Look at the bucket", age=timedelta(days=3))
        refused = log.add(
            [(log.attempt(verdict="escalate", cause="rejected", score=0.2, cost_usd=0.5), [])],
            status="exhausted",
        )
        for choosing, expected in [
            ([], [refused, walked]),
            (["--status", "exhausted"], [refused]),
            (["--status", "exhausted", "--status", "accepted"], [refused, walked]),
            (["--model", "claude-sonnet-4-6"], [walked]),
            (["--tier", "subagent"], [walked]),
            (["--verdict", "skip"], [walked]),
            (["--skill", "explain"], []),
            (["--chain", "code", "--skill", "review"], [refused, walked]),
            (["--since", "1d"], [refused]),
            (["--until", "1d"], [walked]),
            (["--min-cost", "0.5"], []),
            (["--label", "good"], []),
            (["-S", "bucket"], [walked]),
            (["--session", walked.session_id[-8:]], [walked]),
        ]:
            runs = listed(capsys, "sessions", "list", "--runs", *choosing)
            assert [row["run_id"] for row in runs] == [one.run_id for one in expected], choosing
            sessions = listed(capsys, "sessions", "list", *choosing)
            assert [row["session_id"] for row in sessions] == [one.session_id for one in expected], choosing
        attempts = listed(capsys, "sessions", "list", "--attempts", "--min-cost", "0.5")
        assert [row["attempt_id"] for row in attempts] == [refused.attempts[0].attempt_id]

    @pytest.mark.parametrize("what", ["--runs", "--attempts"])
    @pytest.mark.parametrize("columns", [40, 60, 80, 100])
    def test_fits(
        self,
        what: str,
        columns: int,
        log: Log,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        log.add(log.walk(), task=f"{HOSTILE} " * 10)
        code, out, err = run(capsys, "sessions", "list", what)
        assert (code, err) == (0, "")
        assert "claude-sonnet-4-6" in out
        assert max(len(line) for line in out.splitlines()) <= columns
        assert not any(character in out for character in ESCAPES)

    @pytest.mark.parametrize("columns", [60, 120])
    def test_fits_the_terminal(self, columns: int, log: Log) -> None:
        log.add(log.walk(), task="a task of many words " * 10)
        main, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (24, columns))
        command = [sys.executable, "-m", "hyperguild", "sessions", "list"]
        try:
            subprocess.run(command, stdin=terminal, stdout=terminal, stderr=terminal, check=True, timeout=60)
            out = os.read(main, 65536).decode()
        finally:
            os.close(terminal)
            os.close(main)
        lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in out.splitlines()]
        assert columns - 5 < max(len(line) for line in lines) <= columns

    def test_pages_follow_each_other(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        runs = [log.add(log.walk(), age=timedelta(minutes=number)).run_id for number in range(5)]
        found: list[str] = []
        more: list[str] = []
        while True:
            code, out, err = run(capsys, "sessions", "list", "--runs", "--limit", "2", "--json", *more)
            assert code == 0
            found += [row["run_id"] for row in json.loads(out)]
            if not err:
                break
            assert err.startswith("there are more: --after ")
            more = ["--after", err.split()[-1]]
        assert found == runs
        code, out, err = run(capsys, "sessions", "list", "--after", "nonsense")
        assert (code, out) == (2, "")

    def test_nothing_fits(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        log.add(log.walk())
        assert run(capsys, "sessions", "list", "--skill", "x") == (0, "", "no sessions fit\n")
        assert run(capsys, "sessions", "list", "--runs", "--skill", "x") == (0, "", "no runs fit\n")


class TestSearch:
    def test_indented_code_is_one_line_without_gaps(
        self, log: Log, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log.add(log.walk(), task="def load():\n\n        with handle:\n            pass")
        assert "    def load(): with handle: pass\n" in run(capsys, "sessions", "search", "handle")[1]

    def test_tasks_and_answers(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        asked = log.add(log.walk(), task="Where is the file handle?", age=timedelta(hours=2))
        answered = log.add([(log.attempt(answer="A handle of the file leaks."), [])])
        code, out, err = run(capsys, "sessions", "search", "file handle")
        assert (code, err) == (0, "")
        assert re.search(rf"^{answered.run_id[-8:]}  .*  review  answer of phi4 \w{{8}}$", out, re.MULTILINE)
        assert f"{asked.run_id[-8:]}  2 h ago  review  task" in out
        assert "A handle of the file leaks." in out
        hits = listed(capsys, "sessions", "search", '"file handle"')
        assert [(hit["run_id"], hit["attempt_id"]) for hit in hits] == [(asked.run_id, None)]
        assert "".join(hits[0]["excerpt"]) == "Where is the file handle?"
        assert (
            listed(capsys, "sessions", "search", "file handle", "--since", "1h")[0]["run_id"]
            == answered.run_id
        )

    def test_nothing(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        log.add(log.walk())
        assert run(capsys, "sessions", "search", "zebra") == (0, "", "nothing found\n")
        assert run(capsys, "sessions", "search", "zebra", "--json") == (0, "[]\n", "nothing found\n")
        assert run(capsys, "sessions", "search", "  ")[0] == 2

    def test_hostile_text(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        log.add([(log.attempt(answer=f"{HOSTILE} needle {HOSTILE}"), [])])
        out = run(capsys, "sessions", "search", "needle")[1]
        assert "needle" in out
        assert not any(character in out for character in ESCAPES)


class Tail:
    """`hyperguild sessions tail` in a process of its own; a context manager that ends it."""

    def __init__(self, log: Log, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hyperguild", "--db", str(log.path), "sessions", "tail", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def interrupted(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


class TestTold:
    NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)

    def run(self, status: str, *attempts: str) -> StoredRun:
        made = tuple(attempt_of(attempt_id=name) for name in attempts)
        result = RunResult.model_validate(
            {
                "run_id": "r",
                "session_id": "s",
                "skill": "review",
                "chain": "code",
                "status": status,
                "attempts": made,
            }
        )
        return StoredRun(result=result, task="go", created_at=self.NOW)

    def test_nothing_is_told_twice(self) -> None:
        told = Told()

        def kinds(run: StoredRun) -> list[str]:
            news = told.news(run)
            assert [one.time for one in news] == sorted(one.time for one in news)
            return [f"attempt {one.attempt.attempt_id}" if one.attempt else "run" for one in news]

        assert kinds(self.run("running")) == ["run"]
        assert kinds(self.run("running")) == []
        assert kinds(self.run("running", "a")) == ["attempt a"]
        assert kinds(self.run("cancelled", "a", "b")) == ["attempt b", "run"]
        assert kinds(self.run("cancelled", "a", "b")) == []
        # It goes on, and both its end and its last attempt come at once.
        assert kinds(self.run("running", "a", "b")) == ["run"]
        assert kinds(self.run("accepted", "a", "b", "c")) == ["attempt c", "run"]
        assert kinds(self.run("accepted", "a", "b", "c")) == []


class TestTail:
    def test_what_happens_in_another_process(self, log: Log) -> None:
        log.add(log.walk(), task="older", age=timedelta(hours=1))
        with Tail(log, "--json", "-n", "1") as tail:
            self.check_events(log, tail)

    def check_events(self, log: Log, tail: Tail) -> None:
        told = [json.loads(tail.line()) for _ in range(5)]
        assert [one["type"] for one in told] == [
            "run.started", *["attempt.finished"] * 3, "run.finished"
        ]  # fmt: skip
        assert told[0]["task"] == "older"
        new = log.add(log.walk(), task="newer")
        told = [json.loads(tail.line()) for _ in range(5)]
        assert {one["run_id"] for one in told} == {new.run_id}
        assert [one["attempt"]["verdict"] for one in told[1:4]] == ["escalate", "skip", "accept"]
        assert told[0]["skill"] == "review"
        assert told[4]["result"]["status"] == "accepted"
        assert tail.interrupted() == (130, "", "")

    def test_for_a_person(self, log: Log) -> None:
        log.add(log.walk(), task=f"{HOSTILE}\nmore")
        with Tail(log) as tail:
            lines = [tail.line().rstrip("\n") for _ in range(5)]
            code, rest, err = tail.interrupted()
        assert (code, rest, err) == (130, "", "")
        told = [line.split("  ", 2)[2] for line in lines]
        assert told[0].startswith("▶ review, chain code  [bold]red[/bold]")
        assert told[1] == "✗ phi4  refused by the judge, score 0.35 · 5.2 s · $0"
        assert told[2] == "– qwen-coder-32b  skipped: cold"
        assert told[3] == "✓ claude-sonnet-4-6  accepted · 2.6 s · $0"
        assert told[4] == "■ accepted: claude-sonnet-4-6 · 7.8 s · $0.0042"
        assert not any(character in "".join(lines) for character in ESCAPES)

    def test_one_run_until_it_ends(self, log: Log) -> None:
        async def begin_and_end() -> tuple[int, str]:
            store = await SqliteSessionStore.open(
                log.path, scrubber=Scrubber(), log=LogPolicy(), clock=SystemClock()
            )
            now = datetime.now(UTC)
            start = RunStart(
                run_id="the one run",
                session_id="s",
                skill="review",
                chain="code",
                task="go",
                created_at=now,
                lease_expires_at=now + timedelta(minutes=5),
            )
            await store.start_run(start)
            await store.start_run(start.model_copy(update={"run_id": "another"}))
            with Tail(log, "the one run", "--json") as tail:
                assert json.loads(await asyncio.to_thread(tail.line))["type"] == "run.started"
                attempt = log.attempt()
                await store.record_attempt("another", log.attempt(), [])
                await store.record_attempt("the one run", attempt, [])
                assert json.loads(await asyncio.to_thread(tail.line))["attempt_id"] == attempt.attempt_id
                result = RunResult(
                    run_id="the one run", session_id="s", skill="review", chain="code", status="exhausted"
                )
                await store.finish_run(result, datetime.now(UTC))
                out, _ = await asyncio.to_thread(tail.process.communicate)
                await store.aclose()
                return tail.process.returncode, out

        code, out = asyncio.run(begin_and_end())
        assert code == 0
        assert [json.loads(line)["type"] for line in out.splitlines()] == ["run.finished"]

    def test_what_is_not_there(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(capsys, "sessions", "tail", "3f2a91c0")[0] == 2
        log.add(log.walk())
        assert run(capsys, "sessions", "tail", "ffffffffff")[0] == 2


class TestExport:
    def test_chosen_runs_oldest_first(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        session_id = log.add(log.walk(), age=timedelta(days=2)).session_id
        newer = [log.add(log.walk(), session_id=session_id).run_id, log.add(log.walk()).run_id]
        code, out, _ = run(capsys, "sessions", "export", "--since", "1d")
        assert code == 0
        assert sorted(json.loads(line)["run_id"] for line in out.splitlines()) == sorted(newer)
        assert run(capsys, "sessions", "export", "--since", "1d", "last")[0] == 2
        assert run(capsys, "sessions", "export")[0] == 2

    def test_to_a_file(self, log: Log, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        log.add(log.walk())
        target = tmp_path / "runs.json"
        target.write_text("old")
        assert run(capsys, "sessions", "export", "ffffffffff", "-o", str(target))[0] == 2
        assert target.read_text() == "old"
        assert run(capsys, "sessions", "export", "--all", "--json", "-o", str(target)) == (0, "", "")
        [exported] = json.loads(target.read_text())
        assert exported["labels"] == []
        assert target.stat().st_mode & 0o777 == 0o600
        assert {file.name for file in tmp_path.iterdir()} >= {"runs.json", "sessions.db"}
        assert not [file for file in tmp_path.iterdir() if file.name.startswith(".runs")]
        code, _, err = run(capsys, "sessions", "export", "--all", "-o", str(tmp_path / "no" / "such"))
        assert code == 2
        assert "cannot write" in err

    def test_parquet(self, log: Log, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        first = log.add(log.walk(), age=timedelta(hours=1))
        log.add([(log.attempt(answer="ünï \udc80"), [])])
        run(capsys, "label", f"{first.run_id}:1", "bad")
        target = tmp_path / "runs.parquet"
        code, out, err = run(capsys, "sessions", "export", "--all", "--format", "parquet", "-o", str(target))
        assert (code, out, err) == (0, "", "")
        rows = parquet.read_table(target).to_pylist()
        assert [row["verdict"] for row in rows] == ["escalate", "skip", "accept", "accept"]
        assert [row["label"] for row in rows] == ["bad", None, None, None]
        assert rows[0]["run_id"] == first.run_id
        assert (rows[0]["score"], rows[0]["load_ms"], rows[0]["judge"]) == (0.35, 3900, "qwen3-8b")
        assert rows[0]["run_cost_usd"] == 0.0042
        assert rows[3]["answer"] == "ünï ?"
        assert rows[0]["started_at"].tzinfo is not None

    def test_parquet_without_pyarrow(
        self, log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        log.add(log.walk())
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.delitem(sys.modules, "hyperguild.cli.export_parquet", raising=False)
        target = tmp_path / "x"
        code, _, err = run(capsys, "sessions", "export", "--all", "--format", "parquet", "-o", str(target))
        assert code == 2
        assert err == "error: Parquet needs pyarrow (pip install 'hyperguild[review]')\n"
        assert not target.exists()

    def test_openai(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        result = log.add(log.walk(), task="The task as it was given.")
        log.add([(log.attempt(answer="no prompt on record"), [])])
        log.add([(log.attempt(verdict="escalate", cause="rejected"), [])], status="exhausted")
        code, out, err = run(capsys, "sessions", "export", "--all", "--format", "openai")
        assert code == 0
        [example] = [json.loads(line) for line in out.splitlines()]
        assert example == {
            "messages": [
                {"role": "system", "content": "You review."},
                {"role": "user", "content": "The task as it was given."},
                {"role": "assistant", "content": "Line 14 leaks."},
            ]
        }
        assert err.startswith("1 example of 1 run; left out: ")
        assert "1 without a stored prompt" in err
        assert "1 no accepted answer" in err
        # By label: whatever the verdict was.
        run(capsys, "label", f"{result.run_id}:1", "good")
        out = run(capsys, "sessions", "export", "--label", "good", "--format", "openai")[1]
        [example] = [json.loads(line) for line in out.splitlines()]
        assert example["messages"][2]["content"].startswith("finding 1\n")

    def test_openai_leaves_out_what_cannot_be_learnt(
        self, log: Log, capsys: pytest.CaptureFixture[str]
    ) -> None:
        attempt = log.attempt()
        call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "name": "fs_read"}]}
        step = log.step(attempt, "x")
        log.add([(attempt, [step.model_copy(update={"messages": (*step.messages, call)})])])
        code, out, err = run(capsys, "sessions", "export", "--all", "--format", "openai")
        assert (code, out) == (0, "")
        assert err == "0 examples of 0 runs; left out: 1 that used tools\n"


class TestPrune:
    def test_dry_run_then_for_good(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        old = log.add(log.walk(), age=timedelta(days=100))
        kept = log.add(log.walk(), age=timedelta(days=100))
        log.add(log.walk())
        run(capsys, "label", kept.run_id, "good")
        arguments = ["sessions", "prune", "--older-than", "90d", "--keep", "labelled"]
        code, out, err = run(capsys, *arguments, "--dry-run")
        stays = "; 1 run of that age stays, labelled or under way\n"
        told = f"1 run with 3 attempts, and 1 session of which nothing is left{stays}"
        assert (code, out, err) == (0, f"would delete {told}", "")
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, "")
        assert (
            err
            == "error: nobody is there to be asked whether to delete (--dry-run says what, --yes deletes)\n"
        )
        assert len(listed(capsys, "sessions", "list")) == 3
        assert run(capsys, *arguments, "--yes") == (0, f"deleted {told}", "")
        assert old.run_id not in {row["run_id"] for row in listed(capsys, "sessions", "list", "--runs")}
        code, out, _ = run(capsys, *arguments, "--yes", "--json")
        assert json.loads(out) == {"runs": 0, "attempts": 0, "sessions": 0, "kept": 1, "dry_run": False}
        assert run(capsys, *arguments, "--yes")[1] == f"nothing to delete{stays}"

    @pytest.mark.parametrize(("answer", "left"), [("y", 0), ("", 1)])
    def test_asks_on_a_terminal(
        self, answer: str, left: int, log: Log, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log.add(log.walk(), age=timedelta(days=100))
        main, terminal = pty.openpty()
        try:
            command = [sys.executable, "-m", "hyperguild", "sessions", "prune", "--older-than", "90d"]
            os.write(main, f"{answer}\n".encode())
            done = subprocess.run(
                command, stdin=terminal, stdout=terminal, stderr=terminal, check=True, timeout=60
            )
        finally:
            os.close(terminal)
            os.close(main)
        assert done.returncode == 0
        assert len(listed(capsys, "sessions", "list")) == left
