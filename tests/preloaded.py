"""Commands started from a process that has imported the product already, which is most of their time.

What runs is a process of its own all the same, forked, with its own arguments, environment, folder and
files, and it ends as a program ends. `Commands` is the tests' side; run as a program, this is the server.
A command sees no difference but in what the interpreter itself reads at its start: the `PYTHON…` variables
and the locale are the server's.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any

REQUEST_MAX_BYTES = 1 << 20
IMPORTED = (
    "hyperguild.cli.chains",
    "hyperguild.cli.execution",
    "hyperguild.cli.group",
    "hyperguild.cli.models",
    "hyperguild.cli.run",
    "hyperguild.cli.run_skill",
    "hyperguild.cli.sessions",
    "hyperguild.cli.skills",
    "hyperguild.adapters.tools.mcp",
    "hyperguild.adapters.tools.mcp_http",
    "hyperguild.adapters.tools.mcp_stdio",
    "hyperguild.adapters.tools.workbench",
    "hyperguild.adapters.tools.worktree",
)
"""What commands spend their start with."""


class Commands:
    """Starts commands; one server for all of them. Close it when the tests are over."""

    def __init__(self, env: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=dict(env),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._socket = ours

    def run(
        self,
        arguments: tuple[str, ...],
        *,
        folder: Path,
        env: Mapping[str, str],
        stdin: str | None,
        limit_s: float,
    ) -> tuple[int, str, str]:
        """Return the exit code, stdout and stderr of a command; it is killed when it takes too long."""
        ours, theirs = socket.socketpair()
        with (
            ours,
            tempfile.TemporaryFile() as told,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            Path(os.devnull).open("rb") as nothing,
        ):
            if stdin is not None:
                told.write(stdin.encode())
                told.seek(0)
            streams = [nothing if stdin is None else told, out, err]
            with theirs:
                request = json.dumps({"arguments": arguments, "folder": str(folder), "env": dict(env)})
                descriptors = [theirs.fileno(), *(stream.fileno() for stream in streams)]
                socket.send_fds(self._socket, [request.encode()], descriptors)
            ours.settimeout(limit_s)
            with ours.makefile("r") as replies:
                pid = int(replies.readline())
                try:
                    code = int(replies.readline())
                except TimeoutError:
                    os.kill(pid, signal.SIGKILL)
                    raise
            return code, _text(out), _text(err)

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        self._server.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _serve(requests: socket.socket) -> None:
    """Answer requests until the tests' side is closed; return in the process of each command."""
    for name in IMPORTED:
        import_module(name)
    # Nobody waits for the processes in between, which tell how commands end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, REQUEST_MAX_BYTES, 4)
        if not message:
            sys.exit()
        if os.fork() == 0:
            requests.close()
            if _watch(descriptors[0]):
                _become(json.loads(message), descriptors[1:])
                return
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(reply: int) -> bool:
    """Fork once more: return True in the command's process; in the other one tell of its end, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(reply)
        return True
    os.write(reply, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    os.write(reply, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[1:] = request["arguments"]


if __name__ == "__main__":
    from hyperguild.cli.main import main

    with socket.socket(fileno=int(sys.argv.pop(1))) as from_tests:
        _serve(from_tests)
    main()
