"""Runs the simulated fleet as a child process; needs nothing but the standard library and a list of names, so
that importing it costs little.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from hyperguild.programs.environment import MEASURING, PYTHON, TOOLCHAINS, reduced_environment

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 30.0


class FleetError(Exception):
    """The fleet did not start, or refused what it was told; the message is its own."""


class FleetProcess:
    """The fleet as a child process, started by entering the context (or `start`) and ended by leaving it (or
    `stop`).

    The script is a path, or the script itself as a mapping; without one the fleet has no models. The child
    also ends when this process dies, however that happens.
    """

    def __init__(
        self, script: Path | str | Mapping[str, Any] | None = None, *, host: str = "127.0.0.1"
    ) -> None:
        self._script = script
        self._host = host
        self._process: subprocess.Popen[str] | None = None
        self._stderr: IO[str] | None = None
        self._url = ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end: llama-swap's API; `/openai/v1` and `/anthropic`
        are below it.
        """
        return self._url

    @property
    def pid(self) -> int:
        """The child's process id. Raises FleetError when it is not running."""
        return self._running().pid

    def start(self) -> Self:
        """Start the child and wait until it accepts connections. Raises FleetError.

        Whatever else is raised meanwhile, such as KeyboardInterrupt, ends the child, too.
        """
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            self._url = self._start()
            undo.pop_all()
        return self

    def _start(self) -> str:
        given = self._script
        source = str(given) if isinstance(given, Path | str) else "-"
        argv = [sys.executable, "-P", "-m", "hyperguild.simulation", "--script", source, "--host", self._host]
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 closed by stop
        self._process = subprocess.Popen(
            [*argv, "--exit-with-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=reduced_environment(os.environ, TOOLCHAINS | PYTHON, MEASURING),
            start_new_session=True,  # Ctrl-C is for us; we end the child when we are done with it
            text=True,
        )
        line = self._announced(self._process, json.dumps(given or {}) if source == "-" else "")
        if not line:
            self._process.wait()
            raise FleetError(f"the simulated fleet did not start: {self._said()}")
        url: str = json.loads(line)["url"]
        return url

    @staticmethod
    def _announced(process: subprocess.Popen[str], script: str) -> str:
        """Give the child its script and wait for the line it prints; none if it ended, or took too long."""
        if process.stdin is None or process.stdout is None:
            raise FleetError("the simulated fleet was started without pipes")
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(script)
            process.stdin.close()
        too_late = threading.Timer(START_TIMEOUT_S, process.kill)
        too_late.daemon = True  # else it would hold up the end of a process that was interrupted
        too_late.start()
        try:
            return process.stdout.readline()
        finally:
            too_late.cancel()

    def stop(self) -> None:
        """End the child: a signal first, and if that does not help, a kill. Does nothing when it has
        ended.
        """
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def requests(self) -> list[dict[str, Any]]:
        """Every request the fleet saw since the last reset, oldest first, as in `journal.Record`."""
        seen: list[dict[str, Any]] = self._call("GET", "/_sim/requests")
        return seen

    def state(self) -> dict[str, Any]:
        """`{"models": {id: {state, in_flight, waiting, loads, asked}}, "queue": [id], "open": n}`."""
        state: dict[str, Any] = self._call("GET", "/_sim/state")
        return state

    def script(self, script: Path | str | Mapping[str, Any]) -> None:
        """Replace the script; every model is unloaded, the requests stay known. Raises FleetError if it is
        refused.
        """
        if isinstance(script, Path | str):
            self._call("POST", "/_sim/script", Path(script).read_bytes())
        else:
            self._call("POST", "/_sim/script", json.dumps(script).encode())

    def reset(self) -> None:
        """Unload everything, forget the requests, begin the rules again."""
        self._call("POST", "/_sim/reset")

    def crash(self, model: str) -> None:
        """Let the process of a llama-swap model die."""
        self._call("POST", f"/_sim/crash/{model}")

    def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        self._running()
        request = urllib.request.Request(self._url + path, data=body, method=method)  # noqa: S310 our own http address
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=CALL_TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as exc:
            with exc:
                raise FleetError(exc.read().decode(errors="replace")) from exc

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            raise FleetError(f"the simulated fleet is not running: {self._said()}")
        return self._process

    def _said(self) -> str:
        if self._stderr is None:
            return "it was not started"
        self._stderr.seek(0)
        return self._stderr.read().strip() or "it said nothing"
