"""A session log that fails: one clear error, the answer on stdout all the same, nothing spent without it."""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from variants import mostly_long

from hyperguild import Event, Guild, RunFinished, UnrecordedRunError
from hyperguild.simulation.process import FleetProcess

GOOD = "## Findings\n\n1. Line 3 is wrong: it skips the last element.\n"
NO_ATTEMPTS = "BEFORE INSERT ON attempts"
NO_ENDS = "BEFORE UPDATE OF status ON runs WHEN new.finished_at IS NOT NULL"
NO_ANSWERS = "BEFORE INSERT ON attempts WHEN new.verdict = 'accept'"


def refuse(path: Path, what: str) -> None:
    """Make the log refuse some writes from now on; readers see nothing of it."""
    with closing(sqlite3.connect(path)) as log:
        log.execute(f"CREATE TRIGGER refuses {what} BEGIN SELECT RAISE(FAIL, 'refused'); END")


def mend(path: Path) -> None:
    with closing(sqlite3.connect(path)) as log:
        log.execute("DROP TRIGGER refuses")


@pytest.fixture
def log(home: Any) -> Path:
    """A log that holds one accepted run."""
    assert home.run("run", "review", "earlier").code == 0
    return next(Path(home.env["XDG_STATE_HOME"]).rglob("sessions.db"))


def models_asked(fleet: FleetProcess) -> list[str]:
    return [one["model"] for one in fleet.requests() if one["path"].endswith("/chat/completions")]


def statuses(home: Any) -> list[str]:
    listed = home.run("sessions", "list", "--json").json
    return [status for session in reversed(listed) for status in session["statuses"]]


@pytest.mark.parametrize("what", mostly_long(NO_ANSWERS, long=(NO_ENDS,)))
def test_an_accepted_answer_is_printed_though_it_cannot_be_recorded(home: Any, log: Path, what: str) -> None:
    refuse(log, what)
    said = home.run("run", "review", "x")
    assert (said.code, said.out) == (5, GOOD)
    assert "the answer is not on record: the session log" in said.error
    asked = home.run("run", "review", "x", "--json")
    assert asked.code == 5
    assert (asked.json["status"], asked.json["output"]) == ("accepted", GOOD)
    assert [one["verdict"] for one in asked.json["attempts"]] == ["escalate", "accept"]
    assert asked.error == said.error
    streamed = home.run("run", "review", "x", "--events")
    events = [json.loads(line) for line in streamed.out.splitlines()]
    assert (streamed.code, events[-1]["type"]) == (5, "run.finished")
    assert events[-1]["result"]["output"] == GOOD
    # What is said to be finished is on record, and what was recorded before stays.
    assert statuses(home) == ["accepted", "interrupted", "interrupted", "interrupted"]
    stored = home.run("sessions", "show", "last", "--json").json["runs"][-1]["attempts"]
    told = [event["attempt_id"] for event in events if event["type"] == "attempt.finished"]
    assert [one["attempt_id"] for one in stored] == told


def test_no_further_model_is_asked_without_a_log(home: Any, log: Path, fleet: FleetProcess) -> None:
    refuse(log, NO_ATTEMPTS)
    fleet.reset()
    said = home.run("run", "review", "x", "--json")
    assert models_asked(fleet) == ["phi-4-q4", "judge"]
    assert (said.code, said.json["status"], said.json["output"]) == (5, "interrupted", None)
    assert [one["verdict"] for one in said.json["attempts"]] == ["escalate"]
    assert "the run was ended: the session log" in said.error
    # Once the log is well again the run can be gone on with.
    mend(log)
    assert home.run("run", "--continue").out == GOOD


def test_the_end_of_an_exhausted_run_that_cannot_be_recorded(home: Any, log: Path) -> None:
    refuse(log, NO_ENDS)
    said = home.run("run", "review", "x", "--chain", "weak", "--json")
    assert (said.code, said.json["status"]) == (5, "exhausted")
    assert "the run was ended: " in said.error


@pytest.mark.parametrize("kind", ["not a database", "locked away", "a folder", "refusing"])
def test_a_log_that_fails_at_the_start_costs_nothing(
    home: Any, log: Path, fleet: FleetProcess, kind: str
) -> None:
    where, remedy = log, "--db"
    if kind == "not a database":
        where, remedy = home.write("notes.txt", "these are notes. " * 500), "sessions repair"
    elif kind == "locked away":
        where = Path("/proc/hyperguild/sessions.db")
    elif kind == "a folder":
        where = log.parent
    else:
        refuse(log, "BEFORE INSERT ON runs")
        remedy = "refused a statement"
    before = where.read_bytes() if where.is_file() else None
    fleet.reset()
    said = home.run("run", "review", "x", "--db", str(where))
    assert (said.code, said.out) == (5, "")
    assert remedy in said.error
    assert models_asked(fleet) == []
    if before is not None and where != log:
        assert where.read_bytes() == before


def limited_to(size: int) -> Any:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_log_that_cannot_grow(home: Any, log: Path, fleet: FleetProcess, script: dict[str, Any]) -> None:
    long = GOOD + " ".join(str(number) for number in range(30_000))
    models = {**script["models"], "qwen": {"answers": [{"text": long}]}}
    fleet.script({**script, "models": models})
    process = home.start("run", "review", "x", preexec_fn=limited_to(250_000))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, f"{long}\n"), err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "the answer is not on record" in errors[0]
    assert statuses(home) == ["accepted", "interrupted"]
    with closing(sqlite3.connect(log)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert opened.execute("SELECT count(*) FROM attempts").fetchone()[0] == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB; where nobody may mount one, `RLIMIT_FSIZE` above has to do."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True, check=False
    ).returncode:
        pytest.skip("a disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(home: Any, fleet: FleetProcess, small_disk: Path) -> None:
    path = small_disk / "sessions.db"
    db = ("--db", str(path))
    assert home.run("run", "review", "earlier", *db).code == 0
    refuse(path, NO_ATTEMPTS)
    mend(path)
    left = small_disk / "left"
    with left.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    fleet.reset()
    said = home.run("run", "review", "x", *db)
    assert (said.code, said.out, models_asked(fleet)) == (5, "", [])
    assert "no room left for the session log" in said.error
    left.unlink()
    again = home.run("run", "review", "x", *db)
    assert (again.code, again.out) == (0, GOOD)


async def test_a_program_gets_the_result_with_the_error(home: Any, log: Path) -> None:
    refuse(log, NO_ANSWERS)
    async with Guild.from_config(home.folder / "chains.yaml", env=home.env) as guild:
        with pytest.raises(UnrecordedRunError) as failed:
            await guild.run("review", "x")
        assert failed.value.result.output == GOOD
        seen: list[Event] = []
        with pytest.raises(UnrecordedRunError):
            await guild.run("review", "x", on_event=seen.append)
    last = seen[-1]
    assert isinstance(last, RunFinished)
    assert last.result.output == GOOD


async def test_steps_that_cannot_be_recorded(home: Any, log: Path, fleet: FleetProcess, script: Any) -> None:
    called: list[str] = []

    async def look(line: int) -> str:
        """Look at a line."""
        called.append(str(line))
        return "it is wrong"

    call = {"times": 1, "tool_calls": [{"name": "look", "arguments": {"line": 3}}]}
    # Rules are used up in turn: the first run comes to one call, the second to a call and the answer.
    answers = [call, call, {"text": GOOD}]
    models = {**script["models"], "phi-4-q4": {"aliases": ["phi4"], "answers": answers}}
    fleet.script({**script, "models": models})
    options: dict[str, Any] = {"chain": "weak", "tools": ["look"]}
    async with Guild.from_config(home.folder / "chains.yaml", env=home.env, tools=[look]) as guild:
        # A step that others follow: the run ends there.
        refuse(log, "BEFORE INSERT ON steps WHEN new.position = 0")
        fleet.reset()
        with pytest.raises(UnrecordedRunError) as failed:
            await guild.run("review", "x", **options)
        assert (failed.value.result.status, failed.value.result.output) == ("interrupted", None)
        (attempt,) = failed.value.result.attempts
        assert attempt.error is not None
        assert attempt.error.message.startswith("cut off: the session log")
        assert models_asked(fleet) == ["phi-4-q4"]
        # The step that is the answer: it is judged, and given.
        mend(log)
        refuse(log, "BEFORE INSERT ON steps WHEN new.position = 1")
        with pytest.raises(UnrecordedRunError) as failed:
            await guild.run("review", "x", **options)
        assert (failed.value.result.status, failed.value.result.output) == ("accepted", GOOD)
    assert called == ["3", "3"]
