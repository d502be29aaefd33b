"""`hyperguild demo`: real models where they can run, simulated ones elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hyperguild.cli.demo import TRIAL
from hyperguild.cli.demo_real import why_not_real

INSTALL = "needs real inference: pip install 'hyperguild[embedded]'"

ABSENT = """\
from importlib.machinery import PathFinder
find = PathFinder.find_spec
hidden = lambda cls, name, *rest: None if name == "xllamacpp" else find(name, *rest)
PathFinder.find_spec = classmethod(hidden)
"""
"""A sitecustomize.py that hides the extra."""

HANGING = """\
import os, pathlib, time
pathlib.Path(os.environ["HOME"], "started").write_text(str(os.getpid()))
time.sleep(600)
"""
"""An xllamacpp.py that is never done loading, and says who it is."""

BROKEN = 'raise ImportError("libgomp.so.1: cannot open shared object file")\n'
"""An xllamacpp.py that does what the real one does on a machine it was not built for."""

IN_WORDS = "third of March, twenty twenty-four"
LEAP_DAY = "2 days after 27 Feb 2024"
BEYOND_ALL = "last day of February 2024"
"""Both local models get this wrong, and the judge knows."""


@pytest.fixture
def models() -> None:
    """Skip the test where no model can run."""
    pytest.importorskip("xllamacpp", reason=INSTALL)


def before_site_packages(home: Any, name: str, text: str) -> dict[str, str]:
    """Return an environment in which this module is found first."""
    folder = home.write(f"first/{name}", text).parent
    return {"PYTHONPATH": f"{folder}:{home.env['PYTHONPATH']}"}


@pytest.mark.usefixtures("models")
class TestReal:
    def test_a_handful_of_dates_shows_each_outcome(self, home: Any) -> None:
        said = home.run("demo", "--json")
        assert said.code == 0, said.err
        at_once, in_words, no_such_day, leap_day = said.json
        assert (at_once["output"], at_once["model"], at_once["cost_usd"]) == ("2024-03-03", "apprentice", 0)
        assert (in_words["output"], in_words["model"]) == ("2024-03-03", "journeyman")
        assert (no_such_day["output"], no_such_day["model"]) == ("invalid", "journeyman")
        assert (leap_day["output"], leap_day["model"]) == ("2024-02-29", "fake-cloud")
        assert (leap_day["tier"], len(leap_day["attempts"])) == ("subagent", 3)
        assert leap_day["cost_usd"] > 0
        for result in said.json:
            assert (result["status"], result["skill"], result["chain"]) == ("accepted", "iso-date", "demo")
            *refused, accepted = [attempt["verdict"] for attempt in result["attempts"]]
            assert (set(refused) <= {"escalate"}, accepted) == (True, "accept")

        # One engine and one session serve them all: each model is loaded once.
        assert len({result["session_id"] for result in said.json}) == 1
        first, later = at_once["attempts"][0], in_words["attempts"][0]
        assert (first["warm_state"], later["warm_state"], later["load_ms"]) == ("cold", "ready", None)
        assert first["load_ms"] > 0
        assert no_such_day["attempts"][1]["warm_state"] == "ready"
        stored = home.run("sessions", "show", "last", "--json").json["runs"]
        assert [run["run_id"] for run in stored] == [result["run_id"] for result in said.json]

    def test_it_says_what_is_real_and_what_came_of_each_date(self, home: Any) -> None:
        said = home.run("demo")
        assert (said.code, said.out) == (0, "2024-03-03\n2024-03-03\ninvalid\n2024-02-29\n")
        introduction, *_ = said.err.partition("\n\n3. März 2024\n")
        assert introduction.startswith(TRIAL)
        assert "lets 13 of 100 wrong ones pass" in introduction
        assert "fake-cloud is a process here that has prepared answers" in introduction
        lines = said.err.splitlines()
        assert lines.count(IN_WORDS) == 1
        assert f"{IN_WORDS}  2003-03-19 ✗  2024-03-03 ✓" in lines
        assert f"{LEAP_DAY:34}  2024-02-22 ✗  2024-03-30 ✗  2024-02-29 ✓" in lines
        assert lines[-2].startswith("Why it went so: ")
        assert lines[-2].endswith(" sessions show last")
        assert lines[-1].startswith("In the browser: ")
        assert lines[-1].endswith(" review --web")
        assert max(map(len, introduction.splitlines())) <= 80

    def test_a_date_of_ones_own(self, home: Any) -> None:
        said = home.run("demo", "3 mars 2024", "--json")
        assert (said.code, said.json["output"], said.json["model"]) == (0, "2024-03-03", "apprentice")

    @pytest.mark.long
    def test_what_the_simulated_cloud_does_not_know_it_does_not_make_up(self, home: Any) -> None:
        said = home.run("demo", BEYOND_ALL)
        assert (said.code, said.out) == (1, "")
        assert "no answer is prepared for this date; a real cloud model would answer here" in said.error
        assert "`hyperguild init`" in said.error
        assert "Why it went so: " in said.err
        [run] = home.run("sessions", "show", "last", "--json").json["runs"]
        assert run["status"] == "exhausted"
        assert [attempt["cause"] for attempt in run["attempts"]] == ["rejected", "rejected", "bad_request"]

    @pytest.mark.long
    @pytest.mark.long
    def test_events_of_all_runs(self, home: Any) -> None:
        said = home.run("demo", "--events")
        events = [json.loads(line) for line in said.out.splitlines()]
        ends = [event["result"] for event in events if event["type"] == "run.finished"]
        assert (said.code, [end["status"] for end in ends]) == (0, ["accepted"] * 4)
        assert sum(event["type"] == "run.started" for event in events) == 4

    def test_ctrl_c_in_the_middle(self, home: Any) -> None:
        process = home.start("demo", "--json")
        for line in process.stderr:
            if line.startswith("accepted: apprentice"):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err.splitlines()[-1] == "error: interrupted"
        assert "Traceback" not in err
        first, *others = json.loads(out)
        assert first["status"] == "accepted"
        assert len(others) < 3
        assert {one["status"] for one in others} <= {"accepted", "cancelled"}
        stored = home.run("sessions", "show", "last", "--json").json["runs"]
        assert [run["status"] for run in stored] == [one["status"] for one in (first, *others)]

    def test_a_folder_of_the_same_name_is_not_imported(self, home: Any) -> None:
        home.write("hyperguild/__init__.py", 'raise SystemExit("not this one")\n')
        done = subprocess.run(
            [sys.executable, "-P", "-m", "hyperguild", "demo", "3 mars 2024"],
            cwd=home.folder,
            env=home.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "2024-03-03\n"), done.stderr


class TestInterruptedAtTheStart:
    """Whatever is being started then, nothing of it holds up the end."""

    @pytest.mark.parametrize("arguments", [(), pytest.param(("--simulated",), marks=pytest.mark.long)])
    def test_ctrl_c_after_the_first_line(self, home: Any, arguments: tuple[str, ...]) -> None:
        process = home.start("demo", *arguments)
        assert process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert err.splitlines()[-1] == "error: interrupted"
        assert "Traceback" not in err


class TestSimulated:
    def test_when_asked_for(self, home: Any) -> None:
        process = home.start("demo", "--simulated")
        lines = iter(process.stderr)
        assert next(lines).startswith("This is a simulation: ")
        assert any(line.startswith("phi4") for line in lines)
        process.send_signal(signal.SIGINT)  # the whole of it takes ten seconds
        process.communicate(timeout=60)
        assert process.returncode == 130

    def test_without_the_extra(self, home: Any) -> None:
        said = home.run_by_itself(
            "demo", "--json", env=before_site_packages(home, "sitecustomize.py", ABSENT)
        )
        assert (said.code, said.json["skill"], said.json["model"]) == (0, "review", "qwen-coder-32b")
        trial, first, rest = said.err.replace("\n\n", "\n", 1).split("\n", 2)
        assert trial == TRIAL.strip()
        assert first.startswith("No real models here, so this is the simulated demo: ")
        assert first.endswith("(pip install 'hyperguild[embedded]')")
        assert rest.lstrip().startswith("This is a simulation: ")
        assert "Why it went so: " in rest

    @pytest.mark.parametrize(
        ("name", "text", "why"),
        [
            (
                "sitecustomize.py",
                ABSENT,
                "embedded models need llama.cpp (pip install 'hyperguild[embedded]')",
            ),
            ("xllamacpp.py", BROKEN, "ImportError: libgomp.so.1: cannot open shared object file"),
        ],
        ids=["absent", "broken"],
    )
    def test_a_date_needs_models_that_run(self, home: Any, name: str, text: str, why: str) -> None:
        said = home.run_by_itself("demo", "3 mars 2024", env=before_site_packages(home, name, text))
        assert (said.code, said.out) == (2, "")
        assert said.error.endswith(why)


def test_a_trial_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "xllamacpp.py").write_text(HANGING, encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    obstacle = why_not_real(limit_s=3.0)
    assert obstacle is not None
    assert obstacle.message == "a model that was started for trial was not up within 3 s"
    hung = int((tmp_path / "started").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--simulated", "3 mars 2024"),
        *(
            pytest.param(one, marks=pytest.mark.long)
            for one in [("",), ("--json", "--events"), ("3 mars 2024", "4 mars 2024")]
        ),
    ],
)
def test_what_cannot_be_asked_for(home: Any, arguments: tuple[str, ...]) -> None:
    said = home.run("demo", *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.error
