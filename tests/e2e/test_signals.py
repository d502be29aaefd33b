"""Ctrl-C, signals, closed terminals, broken pipes, a locked log: what is known is kept."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from variants import mostly_long

from hyperguild.simulation.process import FleetProcess


def load_slowly(fleet: FleetProcess, script: dict[str, Any]) -> None:
    """Make the first tier load for longer than any test waits."""
    changed = copy.deepcopy(script)
    changed["models"]["phi-4-q4"]["load_s"] = 60
    fleet.script(changed)


def is_asked(fleet: FleetProcess) -> bool:
    return any(one["path"].endswith("/chat/completions") for one in fleet.requests())


def is_dropped(fleet: FleetProcess) -> bool:
    return any(one["outcome"] == "client_disconnected" for one in fleet.requests())


def assert_recorded_as_cancelled(home: Any) -> None:
    """The log holds the run as cancelled, with the attempt that was under way."""
    [run] = home.run("sessions", "show", "last", "--json").json["runs"]
    [attempt] = run["attempts"]
    assert run["status"] == "cancelled"
    assert (attempt["model"], attempt["verdict"], attempt["cause"]) == ("phi4", "error", "cancelled")


def shell(home: Any, command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `hyperguild` is the program."""
    function = f'hyperguild() {{ "{sys.executable}" -m hyperguild "$@"; }}'
    return subprocess.run(
        ["bash", "-c", f"{function}\n{command}"],
        cwd=home.folder,
        env=home.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("number", mostly_long(signal.SIGINT, long=(signal.SIGTERM, signal.SIGHUP)))
def test_a_burst_of_signals_is_one(
    home: Any, fleet: FleetProcess, script: dict[str, Any], until: Any, number: signal.Signals
) -> None:
    load_slowly(fleet, script)
    process = home.start("run", "review", "x", "--json")
    until(lambda: is_asked(fleet))
    for _ in range(20):
        process.send_signal(number)
        time.sleep(0.003)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["status"] == "cancelled"
    assert err.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in err
    until(lambda: is_dropped(fleet))
    assert_recorded_as_cancelled(home)


def test_what_was_told_to_ignore_hang_ups_goes_on(
    home: Any, fleet: FleetProcess, script: dict[str, Any], until: Any
) -> None:
    changed = copy.deepcopy(script)
    changed["models"]["phi-4-q4"]["load_s"] = 2
    fleet.script(changed)

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = home.start("run", "review", "x", preexec_fn=ignore)
    until(lambda: is_asked(fleet))
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.startswith("## Findings")


def is_full(process: subprocess.Popen[str]) -> bool:
    """Whether what stands in the pipe stays the same for a while."""
    assert process.stdout is not None

    def waiting() -> int:
        raw = fcntl.ioctl(process.stdout, termios.FIONREAD, b"\0\0\0\0")  # type: ignore[arg-type]
        return int.from_bytes(raw, sys.byteorder)

    before = waiting()
    time.sleep(0.5)
    return before > 3000 and waiting() == before


@pytest.mark.long
def test_who_presses_three_times_gets_out_of_a_program_that_is_stuck(
    home: Any, fleet: FleetProcess, script: dict[str, Any], until: Any
) -> None:
    changed = copy.deepcopy(script)
    changed["models"]["phi-4-q4"]["answers"] = [{"text": "on and on ", "fault": "endless"}]
    fleet.script(changed)
    # Nobody reads the events, and soon the pipe is full: the program stands in a write.
    process = home.start("run", "review", "x", "--events")
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    until(lambda: is_full(process))
    for _ in range(3):
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        time.sleep(1.2)
    assert process.wait(timeout=30) == 130
    process.communicate(timeout=30)


class Terminal:
    """A pseudo terminal; `read` returns what was shown on it so far."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        os.set_blocking(self.ours, False)
        self.shown = b""

    def read(self) -> bytes:
        try:
            while chunk := os.read(self.ours, 65536):
                self.shown += chunk
        except OSError:
            pass
        return self.shown

    def become_controlling(self) -> None:
        """In the child: make it the terminal that a new session hangs on."""
        os.setsid()
        fcntl.ioctl(self.theirs, termios.TIOCSCTTY, 0)

    def close(self) -> None:
        os.close(self.ours)


def start_on(terminal: Terminal, home: Any, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    given = {"stdin": terminal.theirs, "stdout": terminal.theirs, "stderr": terminal.theirs, **streams}
    process = subprocess.Popen(
        [sys.executable, "-m", "hyperguild", *arguments],
        cwd=home.folder,
        env={**home.env, "TERM": "xterm"},
        preexec_fn=terminal.become_controlling,  # noqa: PLW1509  # this process has no other threads
        **given,
    )
    os.close(terminal.theirs)
    return process


def test_a_terminal_that_is_closed(
    home: Any, fleet: FleetProcess, script: dict[str, Any], until: Any
) -> None:
    load_slowly(fleet, script)
    terminal = Terminal()
    process = start_on(terminal, home, "run", "review", "x")
    until(lambda: is_asked(fleet) and b"phi4" in terminal.read())
    terminal.close()
    assert process.wait(timeout=60) == 130
    until(lambda: is_dropped(fleet))
    assert_recorded_as_cancelled(home)


def test_ctrl_c_on_a_terminal(home: Any, fleet: FleetProcess, script: dict[str, Any], until: Any) -> None:
    load_slowly(fleet, script)
    terminal = Terminal()
    process = start_on(terminal, home, "run", "review", "x")
    until(lambda: is_asked(fleet) and b"phi4" in terminal.read())
    os.write(terminal.ours, b"\x03\x03\x03\x03\x03")
    until(lambda: terminal.read() and process.poll() is not None)
    assert process.returncode == 130
    shown = terminal.read()
    assert shown.count(b"error: interrupted") == 1
    before, summary, end = shown.splitlines()[-3:]
    assert (b"cancelled" in summary, end) == (True, b"error: interrupted"), shown
    assert before
    assert b"Traceback" not in shown
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l"), "the cursor is shown again"
    terminal.close()
    assert_recorded_as_cancelled(home)


def test_events_into_a_pipe_while_the_run_is_shown_on_a_terminal(home: Any, until: Any) -> None:
    terminal = Terminal()
    process = start_on(terminal, home, "run", "review", "x", "--events", stdout=subprocess.PIPE)
    until(lambda: terminal.read() and process.poll() is not None)
    out, _ = process.communicate(timeout=60)
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "run.finished"
    assert b"accepted" in terminal.read()
    terminal.close()


def test_the_reader_of_events_goes_away(
    home: Any, fleet: FleetProcess, script: dict[str, Any], until: Any
) -> None:
    load_slowly(fleet, script)
    done = shell(home, "hyperguild run review x --events | head -3; exit ${PIPESTATUS[0]}")
    assert done.returncode == 130
    assert len(done.stdout.splitlines()) == 3
    assert "error" not in done.stderr.replace("error: cancelled", "")
    assert "Traceback" not in done.stderr
    until(lambda: is_dropped(fleet) or not is_asked(fleet))
    [run] = home.run("sessions", "show", "last", "--json").json["runs"]
    assert run["status"] == "cancelled"


@pytest.mark.parametrize(
    "streams",
    mostly_long(
        "2>&-",
        "--log-format json --log-level debug 2> >(head -1 >&-)",
        long=(
            "<&- 2>&-",
            "2>/dev/full",
            "--log-format json --log-level debug 2>/dev/full",
            "2> >(head -1 >&-)",
        ),
    ),
)
def test_a_closed_stderr_stops_no_run(home: Any, streams: str) -> None:
    done = shell(home, f"hyperguild run review x {streams}")
    assert done.returncode == 0
    assert done.stdout.startswith("## Findings")
    [run] = home.run("sessions", "show", "last", "--json").json["runs"]
    assert run["status"] == "accepted"


@pytest.mark.parametrize("where", mostly_long(">/dev/full", long=(">&-",)))
@pytest.mark.parametrize("options", mostly_long("", "--json", long=("--events",)))
def test_an_answer_that_cannot_be_written_is_an_error(home: Any, where: str, options: str) -> None:
    done = shell(home, f"hyperguild run review x {options} {where}")
    assert done.returncode == 5
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: cannot write the answer: ")
    assert not [word for word in ("internal", "Traceback", "Exception ignored") if word in done.stderr]


@pytest.mark.parametrize(
    "command", mostly_long("sessions list", long=("chains schema", "--help", "skills list --json"))
)
def test_a_listing_that_cannot_be_written_is_an_error(home: Any, command: str) -> None:
    home.run("run", "review", "x", "--chain", "weak")
    done = shell(home, f"hyperguild {command} >/dev/full")
    reason = "No space left on device"
    assert (done.returncode, done.stderr) == (5, f"error: cannot write standard output: {reason}\n")


def test_a_closed_stdin_is_an_empty_one(home: Any) -> None:
    done = shell(home, "hyperguild run review x <&-")
    assert (done.returncode, done.stdout[:11]) == (0, "## Findings")
    done = shell(home, "hyperguild run review <&-")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no task given")


def test_what_stderr_cannot_take_ends_no_command(home: Any) -> None:
    for command in ("sessions list", "trust --list"):
        done = shell(home, f"hyperguild {command} 2>/dev/full")
        assert (done.returncode, done.stdout) == (0, "")


def test_the_reader_of_the_result_goes_away(home: Any) -> None:
    done = shell(home, "hyperguild run review x --chain weak --json | true; exit ${PIPESTATUS[0]}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: no answer was accepted")
    answered = shell(home, "hyperguild run review x | true; exit ${PIPESTATUS[0]}")
    assert answered.returncode == 0
    assert "rror" not in answered.stderr


@pytest.mark.parametrize(
    "command",
    mostly_long(
        "sessions list --json",
        long=(
            "--help",
            "sessions export --all",
            "sessions --help",
            "sessions list",
            "sessions show last --full",
            "models",
            "chains schema",
            "skills show review",
        ),
    ),
)
def test_the_reader_of_a_listing_goes_away(home: Any, command: str) -> None:
    home.run("run", "review", "x", "--chain", "weak")
    done = shell(home, f"hyperguild {command} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell(home, f"hyperguild {command} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1


def test_without_arguments_into_a_pipe_that_nobody_reads(home: Any) -> None:
    done = shell(home, "hyperguild | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (2, "")


@pytest.mark.parametrize(
    ("entry", "module"),
    mostly_long(
        ("-m", "httpx"),
        ("script", "click"),
        long=(("-m", "click"), ("-m", "yaml"), ("script", "yaml"), ("script", "httpx")),
    ),
)
def test_ctrl_c_while_modules_are_imported(home: Any, until: Any, module: str, entry: str) -> None:
    reached = home.folder / "reached"
    slow = f"import pathlib, time\npathlib.Path({str(reached)!r}).touch()\ntime.sleep(60)\n"
    home.write(f"slow/{module}.py", slow)
    script = "from hyperguild.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, *(["-m", "hyperguild"] if entry == "-m" else ["-c", script]), "run", "review", "x"],
        cwd=home.folder,
        env={**home.env, "PYTHONPATH": f"{home.folder / 'slow'}:{home.env['PYTHONPATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(reached.exists)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "error: interrupted\n")


def while_locked(home: Any, until: Callable[[Callable[[], Any]], Any]) -> sqlite3.Connection:
    """Take the write lock of the session log, as another program might, once the run has begun."""
    path = next(Path(home.env["XDG_STATE_HOME"]).rglob("sessions.db"))
    other = sqlite3.connect(path, isolation_level=None, timeout=30)
    until(lambda: other.execute("SELECT count(*) FROM runs WHERE status = 'running'").fetchone()[0])
    other.execute("BEGIN IMMEDIATE")
    return other


@pytest.mark.long
def test_a_log_that_is_locked_for_a_while_costs_no_answer(
    home: Any, fleet: FleetProcess, script: dict[str, Any], until: Any
) -> None:
    home.run("run", "review", "x", "--chain", "weak")
    fleet.reset()
    changed = copy.deepcopy(script)
    changed["models"]["phi-4-q4"]["load_s"] = 12
    fleet.script(changed)
    process = home.start("run", "review", "x")
    with closing(while_locked(home, until)) as other:
        # Longer than a renewal of the lease (every 5 s) waits for the lock (5 s).
        time.sleep(10.5)
        other.execute("ROLLBACK")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.startswith("## Findings")
    assert home.run("sessions", "show", "last", "--json").json["runs"][-1]["status"] == "accepted"


@pytest.mark.long  # waits for SQLite's own busy timeout, several times
def test_a_log_that_stays_locked_ends_the_run_in_one_line(
    home: Any, fleet: FleetProcess, script: dict[str, Any], until: Any
) -> None:
    home.run("run", "review", "x", "--chain", "weak")
    changed = copy.deepcopy(script)
    changed["models"]["phi-4-q4"]["load_s"] = 1
    fleet.script(changed)
    fleet.reset()
    process = home.start("run", "review", "x")
    with closing(while_locked(home, until)):
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, "")
    # No other model is asked without a log.
    assert {one["model"] for one in fleet.requests() if one["path"].endswith("completions")} == {
        "phi-4-q4",
        "judge",
    }
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "locked by another program" in errors[0]
    assert "Traceback" not in err


@pytest.mark.long  # waits for SQLite's own busy timeout, several times
def test_ctrl_c_while_the_log_is_locked(
    home: Any, fleet: FleetProcess, script: dict[str, Any], until: Any
) -> None:
    home.run("run", "review", "x", "--chain", "weak")
    load_slowly(fleet, script)
    fleet.reset()
    process = home.start("run", "review", "x")
    with closing(while_locked(home, until)):
        until(lambda: is_asked(fleet))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "locked by another program" in err
    assert err.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in err
