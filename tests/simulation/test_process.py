"""The fleet as a process: how it starts, refuses to start, and ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path

import pytest

from hyperguild.simulation.process import FleetError, FleetProcess

MODULE = [sys.executable, "-m", "hyperguild.simulation"]


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MODULE, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_line_then_service_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "fleet.yaml"
    script.write_text("models: {a: {answers: [{fault: hang}]}}\n")
    with subprocess.Popen([*MODULE, "--script", str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        announced = json.loads(process.stdout.readline())
        assert announced["pid"] == process.pid
        with urllib.request.urlopen(announced["url"] + "/health", timeout=10) as answer:  # noqa: S310 our own
            assert answer.read() == b"OK"
        with socket.create_connection(("127.0.0.1", int(announced["url"].rsplit(":", 1)[1]))) as hanging:
            body = b'{"model": "a", "messages": []}'
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
            hanging.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + body)
            process.send_signal(number)
            assert process.wait(timeout=20) == 0
        assert process.stdout.read() == ""


def test_a_wrong_script_is_refused_in_one_line() -> None:
    refused = run("--script", "-", stdin="models: {a: {lod_s: 1}}\nmodles: {}\n")
    complaints = "models.a.lod_s: unknown key; modles: unknown key"
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr == f"error: standard input: {complaints}\n"


def test_a_missing_script_is_refused() -> None:
    refused = run("--script", "no-such-file.yaml")
    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)


def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = run("--port", str(taken.getsockname()[1]))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


def test_it_ends_with_its_parent_even_when_that_is_killed() -> None:
    program = """
        import sys, time
        from hyperguild.simulation.process import FleetProcess
        fleet = FleetProcess().start()
        print(fleet.pid, flush=True)
        time.sleep(60)
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    deadline = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < deadline, "the fleet outlived its parent"
        time.sleep(0.02)


def test_an_interrupted_start_leaves_nothing_behind(tmp_path: Path) -> None:
    script = tmp_path / "fleet.yaml"
    os.mkfifo(script)
    program = """
        import sys
        from hyperguild.simulation.process import FleetProcess
        try:
            FleetProcess(sys.argv[1]).start()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            sys.stdin.read()
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program), str(script)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        with script.open("wb", buffering=0) as written:  # waits for the fleet, which waits for its script
            parent.send_signal(signal.SIGINT)
            assert parent.stdout.readline() == "interrupted\n"
            with pytest.raises(BrokenPipeError):  # nobody reads it any more
                written.write(b"models: {}")
        parent.stdin.close()
        assert parent.wait(timeout=20) == 0  # no timer holds it up


def test_the_library_face_tells_what_was_wrong() -> None:
    with pytest.raises(FleetError, match="modles: unknown key"):
        FleetProcess({"modles": {}}).start()
    fleet = FleetProcess({"models": {"a": {}}})
    with pytest.raises(FleetError, match="not started"):
        fleet.state()
    with fleet:
        with pytest.raises(FleetError, match=r"models\.a\.lod_s: unknown key"):
            fleet.script({"models": {"a": {"lod_s": 1}}})
        assert list(fleet.state()["models"]) == ["a"]
        with pytest.raises(FleetError, match="no model 'b'"):
            fleet.crash("b")
    with pytest.raises(FleetError, match=r"not running|not started"):
        fleet.requests()
    fleet.stop()


def test_importing_the_library_face_is_cheap() -> None:
    heavy = ("pydantic", "yaml", "starlette")
    program = f"import sys, hyperguild.simulation.process; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
