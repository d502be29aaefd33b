"""`hyperguild label` and `hyperguild review`, over a real log."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from session_log import HOSTILE, Log

from hyperguild.cli.main import run_command_line


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setenv("HYPERGUILD_DB", str(tmp_path / "sessions.db"))
    monkeypatch.setenv("HYPERGUILD_REVIEWER", "anna")
    monkeypatch.delenv("COLUMNS", raising=False)
    return Log(tmp_path / "sessions.db")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command_line(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def reviewed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, typed: str, *arguments: str
) -> tuple[str, str]:
    """Go through attempts with these lines; return stdout and stderr."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    code, out, err = run(capsys, "review", *arguments)
    assert code == 0
    return out, err


def labels(capsys: pytest.CaptureFixture[str], reference: str = "last") -> list[tuple[Any, ...]]:
    """All that was ever said of a run's attempts: by whom, what, why."""
    [stored] = json.loads(run(capsys, "sessions", "show", reference, "--json")[1])["runs"]
    return [(label["reviewer"], label["value"], label["note"]) for label in stored["labels"]]


class TestLabel:
    def test_says_what_it_labelled(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        result = log.add(log.walk())
        short = result.run_id[-8:]
        assert run(capsys, "label", "last", "good") == (
            0,
            f'good: attempt 3 of run {short}, claude-sonnet-4-6, accepted "Line 14 leaks."; by anna\n',
            "",
        )
        code, out, _ = run(capsys, "label", f"{short}:1", "bad", "--note", "misses it", "--as", "ben")
        assert code == 0
        assert out.startswith(f"bad: attempt 1 of run {short}, phi4, refused by the judge, score 0.35 ")
        assert out.endswith("; by ben\n")
        out = run(capsys, "label", result.attempts[2].attempt_id[-8:], "bad", "--as", "ben")[1]
        assert out.endswith("; by ben; all in all: disputed\n")
        out = run(capsys, "label", "last", "none", "--as", "ben")[1]
        assert out.startswith("no label: attempt 3 of run ")
        assert sorted(labels(capsys), key=str) == [
            ("anna", "good", ""),
            ("ben", "bad", ""),
            ("ben", "bad", "misses it"),
            ("ben", None, ""),
        ]

    def test_show_tells_who_said_what(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        log.add(log.walk())
        run(capsys, "label", "last", "good", "--note", f"short {HOSTILE}")
        run(capsys, "label", "last", "bad", "--as", "ben")
        run(capsys, "label", "last", "none", "--as", "carl")
        out = run(capsys, "sessions", "show")[1]
        assert "label     good by anna: short [bold]red[/bold]" in out
        assert "              bad by ben\n" in out
        assert "carl" not in out
        assert "\x1b" not in out
        assert "label     good by anna: short" in run(capsys, "sessions", "show", "--attempt", "3")[1]
        assert "label" not in run(capsys, "sessions", "show", "--attempt", "1")[1]

    def test_as_json(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        result = log.add(log.walk())
        found = json.loads(run(capsys, "label", "last", "bad", "--json")[1])
        assert found.pop("label_id")
        assert found.pop("created_at")
        assert found == {
            "attempt_id": result.attempts[2].attempt_id,
            "reviewer": "anna",
            "value": "bad",
            "note": "",
            "run_id": result.run_id,
            "model": "claude-sonnet-4-6",
            "verdict": "accept",
            "score": None,
            "label": "bad",
        }

    @pytest.mark.parametrize(
        "arguments",
        [
            ["last", "fine"],
            ["ffffffff", "good"],
            ["last:4", "good"],
            ["last", "good", "--as", ""],
            ["last", "good", "--as", "a\nb"],
            ["last", "good", "--as", "a" * 65],
        ],
    )
    def test_refused_in_one_line(
        self, arguments: list[str], log: Log, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log.add(log.walk())
        code, out, err = run(capsys, "label", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert len(err.splitlines()) == 1
        assert labels(capsys) == []

    def test_without_a_log(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        code, _, err = run(capsys, "label", "last", "good")
        assert (code, not log.path.exists()) == (2, True)
        assert "no session log yet" in err

    def test_a_note_does_not_keep_a_key_of_the_configuration(
        self, log: Log, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log.add(log.walk())
        chains = tmp_path / "chains.yaml"
        chains.write_text(
            "version: 1\n"
            "endpoints:\n"
            "  cloud: {kind: anthropic, base_url: 'https://api.anthropic.com', api_key_env: MY_KEY}\n"
            "chains:\n"
            "  default: [claude-sonnet-4-6]\n"
        )
        monkeypatch.setenv("MY_KEY", "no-known-shape-4711")
        run(capsys, "--config", str(chains), "label", "last", "bad", "--note", "it told no-known-shape-4711")
        assert labels(capsys) == [("anna", "bad", "it told [secret:MY_KEY]")]


class TestReview:
    def test_what_teaches_most_comes_first(
        self, log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for score, verdict in ((0.95, "accept"), (0.3, "escalate"), (0.71, "accept"), (0.65, "escalate")):
            attempt = log.attempt(
                verdict=verdict,
                cause="rejected" if verdict == "escalate" else None,
                score=score,
                answer=f"answer of {score}",
                feedback="names no line" if verdict == "escalate" else "",
            )
            log.add([(attempt, [])], status="accepted" if verdict == "accept" else "exhausted")
        out, err = reviewed(capsys, monkeypatch, "g\nbad\ns\n")
        shown = [line.split("answer of ")[1] for line in out.splitlines() if "answer of " in line]
        assert shown == ["0.65", "0.3", "0.71", "0.95"]
        heads = [line.split()[1] for line in out.splitlines() if line.startswith("── ")]
        assert heads == ["1/4", "2/4", "3/4", "4/4"]
        assert "verdict   ✗ refused by the judge, score 0.65  phi4 (local)" in out
        assert "feedback  names no line" in out
        assert err == "1 good, 1 bad, 1 skipped; 1 left\n"
        out, err = reviewed(capsys, monkeypatch, "q\n")
        assert "1/2" in out
        assert err == "nothing labelled; 2 left\n"

    def test_notes_undo_and_the_whole_text(
        self, log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log.add([(log.attempt(score=0.9, answer="\n".join(f"line {n}" for n in range(30))), [])])
        log.add([(log.attempt(score=0.8, answer="short"), [])])
        typed = "u\nn a note\ng\nu\nn\nanother note\nb\no\ngood\n"
        out, err = reviewed(capsys, monkeypatch, typed)
        assert out.count("── 1/2 ") == 2
        assert "(o shows it whole)" in out
        assert "line 29\n" in out
        assert "there is nothing to undo" in err
        assert err.endswith("1 good, 1 bad\n")
        [newest] = [one for one in (labels(capsys),) if one]
        assert newest == [("anna", "good", "a note"), ("anna", None, ""), ("anna", "bad", "another note")]

    def test_a_note_is_of_one_attempt(
        self, log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log.add([(log.attempt(score=0.9), [])])
        log.add([(log.attempt(score=0.8), [])])
        reviewed(capsys, monkeypatch, "n of the first\ns\ng\n")
        assert labels(capsys) == []
        sessions = json.loads(run(capsys, "sessions", "list", "--label", "good", "--json")[1])
        assert labels(capsys, sessions[0]["session_id"]) == [("anna", "good", "")]

    def test_nothing_to_review(
        self, log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log.add(log.walk())
        out, err = reviewed(capsys, monkeypatch, "g\n", "--skill", "explain")
        assert out == ""
        assert err.startswith("nothing to review")

    def test_hostile_text_does_nothing(
        self, log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log.add([(log.attempt(answer=HOSTILE, feedback=HOSTILE), [])], task=HOSTILE)
        out, _ = reviewed(capsys, monkeypatch, "o\nq\n")
        assert "red" in out
        assert not any(character in out for character in "\x1b\x9b\u202e\x07")

    def test_keys_at_a_terminal_act_at_once(self, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
        log.add([(log.attempt(score=0.9, answer="the first answer"), [])])
        log.add([(log.attempt(score=0.8, answer="the second answer"), [])])
        main, terminal = pty.openpty()
        command = [sys.executable, "-m", "hyperguild", "review"]
        process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal)
        os.close(terminal)
        seen = ""

        def until(text: str, times: int = 1) -> None:
            nonlocal seen
            deadline = time.monotonic() + 60
            while seen.count(text) < times and time.monotonic() < deadline:
                if select.select([main], [], [], 1)[0]:
                    seen += os.read(main, 65536).decode(errors="replace")
            assert seen.count(text) >= times, seen

        try:
            until("[q]uit")
            os.write(main, b"b")
            until("[q]uit", 2)
            os.write(main, b"\x04")
            until("1 bad; 1 left")
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
            os.close(main)
        assert labels(capsys) == [("anna", "bad", "")]
