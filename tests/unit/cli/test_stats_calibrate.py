from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from judged_log import JudgedLog
from rich.cells import cell_len

from hyperguild.cli.main import run_command_line
from hyperguild.domain.usage import Usage

CHAINS = """\
# ours
version: 1
endpoints:
  swap: {kind: llama-swap, base_url: "http://127.0.0.1:9"}
  cloud: {kind: anthropic, base_url: "https://cloud.example", api_key_env: NO_SUCH_KEY}
models:
  claude: {endpoint: cloud, price: {input: 3.0, output: 15.0}}
verifiers:
  strict:
    judge: qwen3-8b   # small
chains:
  code: {verifier: strict, tiers: [phi4, claude]}
skills:
  tests: {chain: code}
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> JudgedLog:
    """Return a log of 12 good and 12 bad answers to reviews, and runs of another skill."""
    log = JudgedLog(tmp_path_factory.mktemp("log") / "sessions.db")
    log.run(*(log.judged(0.9, "good") for _ in range(12)))
    log.run(*(log.judged(0.75, "bad") for _ in range(6)), *(log.judged(0.4, "bad") for _ in range(6)))
    refused = log.judged(0.3, judge={"model": "other"})
    failed = log.attempt(verdict="error", cause="timeout", error={"kind": "timeout", "message": "late"})
    claude = log.attempt(
        "claude", tier="subagent", cost_usd=0.02, usage=Usage(input_tokens=4000, output_tokens=500)
    )
    parent = log.run(refused, failed, claude, skill="debug")
    log.run(log.attempt(), skill="debug", age=timedelta(days=40))
    log.run(log.attempt(), skill="debug", parent=parent)
    log.write()
    return log


@pytest.fixture
def chains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYPERGUILD_CONFIG", raising=False)
    (tmp_path / "chains.yaml").write_text(CHAINS)
    return tmp_path / "chains.yaml"


def objects(capsys: pytest.CaptureFixture[str], log: JudgedLog, *arguments: str) -> list[dict[str, Any]]:
    assert run_command_line([*arguments, "--db", str(log.path), "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def shown(
    capsys: pytest.CaptureFixture[str],
    log: JudgedLog,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    *arguments: str,
) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run_command_line([*arguments, "--db", str(log.path)]) == 0
    return capsys.readouterr().out


def test_stats_of_a_real_log(capsys: pytest.CaptureFixture[str], log: JudgedLog, chains: Path) -> None:
    debug, review = objects(capsys, log, "stats")
    assert (debug["group"], debug["runs"], debug["delegated"], debug["attempts"]) == ("debug", 3, 1, 5)
    assert (debug["acceptance_rate"], debug["escalation_rate"]) == (1.0, pytest.approx(1 / 3))
    assert (debug["errors"], debug["causes"]) == ({"timeout": 1}, {"rejected": 1})
    assert debug["usage"] == Usage(input_tokens=4000, output_tokens=500).model_dump()
    assert (debug["cost_usd"], debug["saved"]) == (
        0.02,
        {"usd": pytest.approx(0.04), "recorded": 3, "listed": 0, "unknown": 0},
    )
    assert (review["runs"], review["accepted"], review["escalated"]) == (2, 18, 6)
    assert review["saved"]["listed"] == 2
    assert review["latency"]["judge"] == {"count": 24, "p50_ms": 100, "p95_ms": 100}


def test_stats_of_what_is_chosen(capsys: pytest.CaptureFixture[str], log: JudgedLog, chains: Path) -> None:
    assert [
        group["runs"] for group in objects(capsys, log, "stats", "--since", "7d", "--skill", "debug")
    ] == [2]
    by_model = objects(capsys, log, "stats", "--by", "model", "--skill", "debug")
    assert {group["group"]: group["attempts"] for group in by_model} == {"phi4": 4, "claude": 1}
    assert len(objects(capsys, log, "stats", "--by", "day", "--skill", "debug")) == 2
    assert objects(capsys, log, "stats", "--skill", "nothing") == []


def test_without_chains_yaml_what_was_saved_is_not_known(
    capsys: pytest.CaptureFixture[str], log: JudgedLog, chains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains.unlink()
    assert {group["saved"]["usd"] for group in objects(capsys, log, "stats")} == {None}
    assert "saved: not known of 5 runs; " in " ".join(shown(capsys, log, monkeypatch, 100, "stats").split())


@pytest.mark.parametrize("width", [40, 60, 100])
@pytest.mark.parametrize("command", ["stats", "calibrate"])
def test_pages_fit_the_terminal(
    capsys: pytest.CaptureFixture[str],
    log: JudgedLog,
    chains: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    width: int,
) -> None:
    printed = shown(capsys, log, monkeypatch, width, command)
    assert all(cell_len(line) <= width for line in printed.splitlines()), printed
    assert "review" in printed


def test_calibrate_a_real_log(capsys: pytest.CaptureFixture[str], log: JudgedLog, chains: Path) -> None:
    review, debug = objects(capsys, log, "calibrate", "--target-false-accept", "0.2")
    assert (review["judge"], review["skill"], review["good"], review["bad"]) == ("qwen3-8b", "review", 12, 12)
    assert (review["accuracy"]["share"], review["false_accepts"]["share"]) == (0.75, 0.5)
    assert (review["finding"], review["proposal"]["accept_at"]) == ("threshold", 0.76)
    assert review["now"]["accept_at"] == 0.7
    assert review["edits"] == [
        {"verifier": "strict", "now": 0.7, "accept_at": 0.76, "skills": ["review"], "others": ["tests"]}
    ]
    assert (debug["judge"], debug["labelled"], debug["finding"], debug["edits"]) == (
        "other",
        0,
        "too_few_labels",
        [],
    )
    assert [one["judge"] for one in objects(capsys, log, "calibrate", "--judge", "other")] == ["other"]
    assert objects(capsys, log, "calibrate", "--skill", "nothing") == []


def test_the_edit_is_shown_as_a_diff_and_written_when_told(
    capsys: pytest.CaptureFixture[str], log: JudgedLog, chains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = ("calibrate", "--target-false-accept", "0.2")
    printed = shown(capsys, log, monkeypatch, 100, *target)
    changed = ("-    judge: qwen3-8b   # small", "+    judge: {model: qwen3-8b, accept_at: 0.76}   # small")
    assert "\n".join(changed) in printed
    assert "verifier strict: accept_at 0.7 becomes 0.76 (review)" in printed
    assert "used by tests as well" in printed
    assert chains.read_text() == CHAINS
    chains.chmod(0o640)
    shown(capsys, log, monkeypatch, 100, *target, "--write")
    assert chains.read_text() == CHAINS.replace(changed[0][1:], changed[1][1:])
    assert chains.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in chains.parent.iterdir()] == ["chains.yaml"]
    again = shown(capsys, log, monkeypatch, 100, *target, "--write")
    assert "it can stay" in again
    assert "+++" not in again


def test_too_few_labels_are_said_to_be(
    capsys: pytest.CaptureFixture[str], log: JudgedLog, chains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = " ".join(shown(capsys, log, monkeypatch, 80, "calibrate", "--skill", "review").split())
    assert "12 answers labelled bad are too few to be 95 % sure of 5 %: about 40 more are needed" in printed
    assert "+++" not in printed


def test_a_place_that_is_not_edited_is_named(
    capsys: pytest.CaptureFixture[str], log: JudgedLog, chains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = CHAINS.replace("judge: qwen3-8b ", "judge: &one qwen3-8b ").replace(
        "chains:\n", "  other: {judge: *one}\nchains:\n"
    )
    chains.write_text(shared)
    printed = shown(capsys, log, monkeypatch, 80, "calibrate", "--target-false-accept", "0.2", "--write")
    assert "set it by hand: judge has an anchor (&)" in printed
    assert chains.read_text() == shared


def test_errors_are_one_line(
    capsys: pytest.CaptureFixture[str], log: JudgedLog, chains: Path, tmp_path: Path
) -> None:
    none = str(tmp_path / "none.db")
    assert run_command_line(["stats", "--db", none]) == 2
    assert run_command_line(["calibrate", "--db", none]) == 2
    for target in ("1.5", "nan", "1e-300"):
        assert run_command_line(["calibrate", f"--target-false-accept={target}", "--db", str(log.path)]) == 2
    assert run_command_line(["calibrate", "--confidence=0.4", "--db", str(log.path)]) == 2
    chains.unlink()
    assert run_command_line(["calibrate", "--write", "--db", str(log.path)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.startswith("error: ") for line in said.err.splitlines()] == [True] * 7


def test_calibrate_without_chains_yaml_proposes_no_edit(
    capsys: pytest.CaptureFixture[str], log: JudgedLog, chains: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains.unlink()
    printed = shown(capsys, log, monkeypatch, 100, "calibrate", "--target-false-accept", "0.2")
    assert "no edit is proposed: " in printed
    assert "proposed 0.76" in printed
