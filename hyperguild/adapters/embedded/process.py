"""Starts and ends model servers, and says in words why one did not start or did not live."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import Self

from hyperguild.adapters.embedded.environment import child_environment
from hyperguild.adapters.embedded.gguf import MISSING, fault_of_gguf
from hyperguild.adapters.embedded.spec import ONE_THREAD_BELOW_BYTES, ServerSpec
from hyperguild.domain.text import one_line
from hyperguild.errors import ConnectError, ModelError, NotFoundError, ServerError
from hyperguild.programs.start import start_program

STOP_GRACE_S = 2.0
"""A server ends within a tenth of a second; one that is loading a large file is killed after so long."""

LOG_KEPT_BYTES = 65_536
"""Of what a server says on stderr this much is kept, its end: a start of a large model fits in."""

INSTALL_HINT = "pip install 'hyperguild[embedded]'"

_NO_MEMORY = re.compile(
    r"bad_alloc|MemoryError|[Cc]annot allocate memory|(?:failed|unable) to allocate|out of memory"
    r"|insufficient memory|failed to map segment|mmap failed",
)
"""What llama.cpp, the C++ library, Python and the loader say when there is too little memory."""

_NO_THREAD = re.compile(
    r"[Tt]hread creation failed|can't start new thread|[Rr]esource temporarily unavailable"
)
"""What libgomp, Python and the C++ library say when the system grants no further thread."""

_COMPLAINT = re.compile(r"^[\d.]+ E (?:\S+\s+)?\w+: (?:error loading model: )?(.+)$", re.MULTILINE)
"""An error in llama.cpp's log: time, level, perhaps a component, function, text. The first is the cause."""

_OF_THE_FILE = re.compile(r"^[\d.]+ E (?:\S+\s+)?(?:gguf_\w+: |\w+: error loading model: )", re.MULTILINE)
"""An error of its reader of GGUF files, or of what makes a model of one: the file is at fault."""


WINDOW_MAX_TOKENS = 2**31 - 1
"""Of all slots together: llama.cpp counts them in an `int32_t`."""

MESSAGE_MAX_CHARS = 400


def is_installed() -> bool:
    """Return whether llama.cpp is there: the extra `embedded`."""
    return find_spec("xllamacpp") is not None


class ServerProcess:
    """A model server that is up; made by `start`.

    `url` has no path and ends without a slash; `key` is the API key that it wants, drawn for it alone.
    """

    def __init__(
        self,
        spec: ServerSpec,
        process: asyncio.subprocess.Process,
        address: tuple[str, str],
        reading: asyncio.Task[None],
    ) -> None:
        self.spec = spec
        self.url, self.key = address
        self._process = process
        self._stopping = False
        # Both pipes are read until the end: a server whose pipe is full stands still.
        self._reading = (reading, asyncio.create_task(_drain(process.stdout)))

    @classmethod
    async def start(cls, spec: ServerSpec, *, port: int = 0) -> Self:
        """Start a server and wait until it serves, without a limit in time.

        Raises `NotFoundError` where there is no such file; `ServerError` (not retryable) where the file is
        damaged or there is not enough memory; `ConnectError` where llama.cpp is not installed, or (retryable)
        the port is taken. Cancelling kills the process.
        """
        await asyncio.to_thread(_check, spec)
        process = await _spawn(spec)
        log = bytearray()
        listening = asyncio.create_task(_keep_end(process.stderr, log))
        key = secrets.token_urlsafe(24)
        url = None
        try:
            url = await _announced(process, _order(spec, key, port))
            if url is None:  # it is about to end: how it does so by itself says why
                await _ended_in_time(process)
        finally:
            if url is None:
                await _kill(process)
        if url is not None:
            return cls(spec, process, (url, key), listening)
        await asyncio.wait({listening}, timeout=STOP_GRACE_S)
        raise _start_error(spec, process.returncode or 0, log.decode("utf-8", errors="replace"))

    async def ended(self) -> str | None:
        """Wait for the process to end; return how in words, None where `stop` ended it."""
        code = await self._process.wait()
        return None if self._stopping else how_it_ended(code)

    async def stop(self) -> None:
        """End the process; requests under way break off. Safe to call twice."""
        self._stopping = True
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await _ended_in_time(self._process)
        finally:
            await _kill(self._process)
            for task in self._reading:
                task.cancel()


def _line(text: str) -> str:
    return one_line(text, MESSAGE_MAX_CHARS)


def how_it_ended(code: int) -> str:
    """Return an exit code in words; minus a number stands for a signal."""
    if code == -signal.SIGKILL:
        return "was killed (SIGKILL); perhaps the machine ran out of memory"
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})"
    return f"ended by itself (exit code {code})"


def _check(spec: ServerSpec) -> None:
    """Find what can be found without a process: its words are better than those of llama.cpp."""
    if not is_installed():
        raise ConnectError("embedded models need llama.cpp", hint=INSTALL_HINT, retryable=False)
    if spec.context_tokens * spec.slots > WINDOW_MAX_TOKENS:
        raise ServerError(
            f"a window of {_window(spec)} is more than llama.cpp can have: {WINDOW_MAX_TOKENS} in all",
            hint="lower context_window or slots",
            retryable=False,
        )
    fault = fault_of_gguf(spec.gguf)
    if fault is None:
        return
    message, hint = _line(f"{spec.gguf} {fault}"), "correct `gguf` of the model, or put the file there"
    if fault == MISSING:
        raise NotFoundError(message, hint=hint)
    raise ServerError(message, hint=hint, retryable=False)


def _threads(spec: ServerSpec) -> int | None:
    """Return how many threads the server is given; None leaves it to llama.cpp."""
    if spec.threads is not None:
        return spec.threads
    try:
        small = spec.gguf.stat().st_size < ONE_THREAD_BELOW_BYTES
    except OSError:  # it was there a moment ago: the server will say what is wrong
        return None
    return 1 if small else None


async def _spawn(spec: ServerSpec) -> asyncio.subprocess.Process:
    try:
        # a session of its own: Ctrl-C is for us; we end the server when we are done with it
        return await start_program(
            sys.executable,
            "-P",  # what lies in the working directory must not be imported
            "-m",
            "hyperguild.adapters.embedded.server",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=child_environment(os.environ),
        )
    except OSError as exc:
        message = f"no server for {spec.name} could be started: {exc.strerror or exc}"
        raise ServerError(_line(message), retryable=False) from exc


async def _ended_in_time(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(STOP_GRACE_S):
            await process.wait()
    except TimeoutError:
        pass  # the kill that follows is the answer to that


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _order(spec: ServerSpec, key: str, port: int) -> bytes:
    order = {
        "gguf": str(spec.gguf),
        "key": key,
        "context_tokens": spec.context_tokens,
        "slots": spec.slots,
        "threads": _threads(spec),
        "port": port,
        "parent": os.getpid(),
    }
    return json.dumps(order).encode() + b"\n"


async def _announced(process: asyncio.subprocess.Process, order: bytes) -> str | None:
    """Give the process its order and return the address that it prints; None if it ends instead."""
    assert process.stdin is not None  # noqa: S101 - opened as pipes above
    assert process.stdout is not None  # noqa: S101 - likewise
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(order)
        await process.stdin.drain()
    while True:
        try:
            line = await process.stdout.readline()
            if not line:
                return None
            return str(json.loads(line)["url"])
        except (ValueError, KeyError, TypeError):
            continue  # llama.cpp has printed something of its own, perhaps more than a line may have


async def _keep_end(stream: asyncio.StreamReader | None, kept: bytearray) -> None:
    while stream is not None and (chunk := await stream.read(4096)):
        kept += chunk
        del kept[:-LOG_KEPT_BYTES]


async def _drain(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(4096):
        pass


def _start_error(spec: ServerSpec, code: int, log: str) -> ModelError:
    complaint = _COMPLAINT.search(log)
    if _NO_MEMORY.search(log) or code == -signal.SIGKILL:
        return ServerError(
            _line(f"not enough memory for {spec.name} with a window of {_window(spec)}"),
            hint="lower context_window or slots, take a smaller file, or free memory",
            retryable=False,
        )
    if _NO_THREAD.search(log):
        return ServerError(
            _line(f"the system has no thread left for the server of {spec.name}"),
            hint="lower threads, raise the limit of processes (ulimit -u), or free memory",
            retryable=False,
        )
    if "couldn't bind" in log:
        return ConnectError(f"the server of {spec.name} found its port taken")
    if complaint is not None and _OF_THE_FILE.search(log):
        return _damaged(spec, complaint[1])
    if complaint is not None:
        return ServerError(_line(f"the server of {spec.name} did not start: {complaint[1]}"), retryable=False)
    last = next(iter(log.strip().splitlines()[::-1]), "it said nothing")
    message = f"the server of {spec.name} {how_it_ended(code)} while it started: {last}"
    return ServerError(_line(message), retryable=False)


def _window(spec: ServerSpec) -> str:
    window = f"{spec.context_tokens} tokens"
    return window if spec.slots == 1 else f"{window} for each of {spec.slots} slots"


def _damaged(spec: ServerSpec, why: str) -> ModelError:
    return ServerError(
        _line(f"{spec.gguf} cannot be loaded: {why}"),
        hint="the file is damaged or of a kind that this llama.cpp does not know; fetch it again",
        retryable=False,
    )
