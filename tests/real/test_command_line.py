"""The command line as a program of its own, over real models."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from real.fleet import SKILLS

IN_WORDS = "third of March, twenty twenty-four"

Hyperguild = Callable[..., subprocess.CompletedProcess[str]]


def hyperguild_in(folder: Path, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m hyperguild` in a home in `folder`, nothing on its standard input."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PATH", "PYTHONPATH", "COVERAGE_"))
    }
    places = ["--config", str(config), "--skills", str(SKILLS)]
    return subprocess.run(
        [sys.executable, "-m", "hyperguild", *places, *arguments],
        cwd=home,
        env={**kept, "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.fixture
def hyperguild(tmp_path: Path, iso_date_chains: str) -> Hyperguild:
    """Run `python -m hyperguild` over the chain of the package's models."""
    config = tmp_path / "elsewhere.yaml"
    config.write_text(iso_date_chains, encoding="utf-8")
    return partial(hyperguild_in, tmp_path, config)


@pytest.mark.long
def test_stdout_carries_the_answer_only(hyperguild: Hyperguild) -> None:
    done = hyperguild("run", "iso-date", "3. März 2024")
    assert (done.returncode, done.stdout) == (0, "2024-03-03\n")
    assert "apprentice" in done.stderr


def test_json_is_the_result_object(hyperguild: Hyperguild) -> None:
    done = hyperguild("run", "iso-date", "3. März 2024", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result) == [
        "schema_version",
        "run_id",
        "session_id",
        "skill",
        "chain",
        "status",
        "output",
        "model",
        "tier",
        "duration_ms",
        "best_attempt_id",
        "usage",
        "cost_usd",
        "attempts",
        "pending_tool_calls",
        "speculation",
    ]
    assert result["schema_version"] == 1
    assert (result["skill"], result["chain"]) == ("iso-date", "default")
    assert (result["status"], result["output"]) == ("accepted", "2024-03-03")
    assert (result["model"], result["tier"], result["cost_usd"]) == ("apprentice", "local", 0.0)
    (attempt,) = result["attempts"]
    assert result["best_attempt_id"] == attempt["attempt_id"]
    assert (attempt["verdict"], attempt["cause"], attempt["error"]) == ("accept", None, None)
    assert (attempt["endpoint"], attempt["warm_state"], attempt["warm_start"]) == ("here", "cold", False)
    assert 0 < attempt["load_ms"] <= attempt["duration_ms"]
    assert attempt["usage"]["output_tokens"] > 0
    assert attempt["verifier"]["model"] == "judge"
    assert attempt["verifier"]["usage"]["output_tokens"] > 0
    assert attempt["verify_ms"] <= attempt["duration_ms"] <= result["duration_ms"]
    assert "{" not in done.stderr
    assert "apprentice" in done.stderr

    shown = hyperguild("sessions", "show", "last", "--json")
    assert shown.returncode == 0, shown.stderr
    assert result["run_id"] in shown.stdout


def test_an_exhausted_chain_exits_with_1_and_its_result(hyperguild: Hyperguild) -> None:
    done = hyperguild("run", "iso-date", IN_WORDS, "--chain", "strict", "--model", "apprentice", "--json")
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert (result["status"], result["output"]) == ("exhausted", None)
    assert [attempt["feedback"] for attempt in result["attempts"]] == ["the year is wrong"]
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        done.stderr.splitlines()[-1]
    ]


def test_three_lines_bring_in_a_file_of_ones_own(tmp_path: Path, random_gguf: Path) -> None:
    (tmp_path / "files").mkdir()
    shutil.copy(random_gguf, tmp_path / "files" / "mine.gguf")
    config = tmp_path / "chains.yaml"
    config.write_text(
        """\
version: 1
endpoints: {here: {kind: embedded}}
models: {mine: {endpoint: here, gguf: files/mine.gguf, params: {stop: [e]}}}
chains: {default: {tiers: [{model: mine, verify: false}]}}
""",
        encoding="utf-8",
    )
    done = hyperguild_in(tmp_path, config, "run", "iso-date", "say something", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    (attempt,) = result["attempts"]
    assert result["status"] == "accepted"
    assert result["output"] == attempt["answer"] != ""
    assert (attempt["model"], attempt["endpoint"], attempt["tier"]) == ("mine", "here", "local")
    assert (attempt["warm_state"], attempt["finish_reason"]) == ("cold", "stop")
    assert attempt["load_ms"] > 0
    assert attempt["usage"]["output_tokens"] > 0
