"""What can be wrong with an embedded model: each fault fails its own attempt, and the walk goes on."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from real.fleet import MODELS, SKILLS, Bench, Seen, open_bench, open_engine_bench, serving
from real.make_gguf import CONTEXT
from real.processes import servers_of

from hyperguild.adapters.embedded.engine import Change, Engine
from hyperguild.adapters.embedded.process import ServerProcess
from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.domain.chain import EngineSettings
from hyperguild.domain.events import Event, LoadWaiting
from hyperguild.domain.records import Attempt, RunResult
from hyperguild.errors import ConnectError, ServerError

TASK, ANSWER = "3. März 2024", "2024-03-03"

HANG_LIMIT_S = 60.0
"""Nothing here takes nearly so long: it only keeps a hang from hanging the suite."""

MEMORY_BYTES = 1_500_000_000
"""Enough address space for the program and a tiny model."""

FEW_THREADS_BYTES = 800_000_000
"""Enough for the same, and not for the stacks of 512 threads."""

HUGE_WINDOW = 1_000_000_000
"""The apprentice's memory of so many tokens would take 500 GB."""

HIDE_LLAMA_CPP = """\
import sys
from importlib.machinery import PathFinder


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] == "xllamacpp"
        return None if hidden else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""


def chains_with(
    faulty: Path, *, window: int = CONTEXT, endpoint: str = "here", load_timeout_s: int = 300
) -> str:
    """Return a chains.yaml: `faulty` first, then a model that knows the answer; nobody judges."""
    return f"""\
version: 1
endpoints:
  here:  {{kind: embedded, slots: 2}}
  other: {{kind: embedded}}
models:
  faulty:  {{endpoint: {endpoint}, gguf: "{faulty}", context_window: {window}}}
  healthy: {{endpoint: here, gguf: "{MODELS}/apprentice.gguf", max_output_tokens: 24}}
chains:
  default:
    tiers:
      - {{model: faulty, verify: false, load_timeout_s: {load_timeout_s}}}
      - {{model: healthy, verify: false}}
  brief: {{tiers: [{{model: faulty, verify: false, params: {{stop: ["e"]}}}}]}}
"""


def fault_in(result: RunResult) -> Attempt:
    """Return the attempt of the faulty model; the test fails where the walk did not go on from there."""
    assert (result.status, result.output, result.model) == ("accepted", ANSWER, "healthy")
    first, second = result.attempts
    assert (second.verdict, second.error, second.retries) == ("accept", None, 0)
    assert first.error is not None
    assert (first.verdict, first.cause) == ("error", first.error.kind)
    assert first.error.message == first.error.message.strip()
    assert "\n" not in first.error.message
    assert len(first.error.message) < 600
    assert "Traceback" not in first.error.message
    return first


async def fault_of(bench: Bench) -> Attempt:
    """Walk; return the attempt of the faulty model, which the session log holds as it is."""
    result = await bench.run(TASK)
    stored = await bench.stored(result)
    assert [attempt.error for attempt in stored.result.attempts] == [one.error for one in result.attempts]
    return fault_in(result)


async def test_a_file_that_is_missing(tmp_path: Path) -> None:
    missing = tmp_path / "no-such.gguf"
    async with open_bench(tmp_path, chains_with(missing)) as bench:
        fault = await fault_of(bench)
    assert fault.error is not None
    assert (fault.error.kind, fault.error.retryable, fault.retries) == ("not_found", False, 0)
    assert fault.error.message.startswith(f"{missing} does not exist")


def cut_off(model: bytes) -> bytes:
    return model[: len(model) // 2]


def scribbled_over(model: bytes) -> bytes:
    return model[:24] + b"\xa5" * (len(model) - 24)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda _model: b"", "is empty"),
        (lambda _model: b"<html>404 Not Found</html>", "is no GGUF file"),
        (cut_off, "cannot be loaded: tensor"),
        (scribbled_over, "cannot be loaded: string length"),
    ],
    ids=["empty", "junk", "cut-off", "scribbled-over"],
)
async def test_a_file_that_is_damaged(
    damage: Callable[[bytes], bytes], complaint: str, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(damage((MODELS / "apprentice.gguf").read_bytes()))
    async with open_bench(tmp_path, chains_with(damaged)) as bench:
        fault = await fault_of(bench)
    assert fault.error is not None
    assert (fault.error.kind, fault.error.retryable, fault.retries) == ("server", False, 0)
    assert fault.error.message.startswith(f"{damaged} {complaint}")


async def test_a_file_that_is_mended_is_loaded_by_the_next_run(tmp_path: Path, random_gguf: Path) -> None:
    file = tmp_path / "late.gguf"
    async with open_bench(tmp_path, chains_with(file)) as bench:
        await fault_of(bench)
        await asyncio.to_thread(shutil.copy, random_gguf, file)
        await assert_it_starts_anew(bench)


def test_not_enough_memory(tmp_path: Path) -> None:
    chains = chains_with(MODELS / "apprentice.gguf", window=HUGE_WINDOW)
    fault = fault_in(
        run_command(
            tmp_path,
            chains,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES)),
        )
    )
    assert fault.error is not None
    assert (fault.error.kind, fault.error.retryable, fault.retries) == ("server", False, 0)
    assert fault.error.message.startswith(
        f"not enough memory for apprentice.gguf with a window of {HUGE_WINDOW} tokens"
    )
    assert "lower context_window" in fault.error.message


def test_not_enough_threads(tmp_path: Path) -> None:
    chains = chains_with(MODELS / "apprentice.gguf", endpoint="other")
    chains = chains.replace("other: {kind: embedded", "other: {kind: embedded, threads: 512")
    limit = (FEW_THREADS_BYTES, FEW_THREADS_BYTES)
    fault = fault_in(
        run_command(tmp_path, chains, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit))
    )
    assert fault.error is not None
    assert (fault.error.kind, fault.error.retryable, fault.retries) == ("server", False, 0)
    assert fault.error.message.startswith("the system has no thread left for the server of apprentice.gguf")
    assert "lower threads" in fault.error.message


async def test_what_llama_cpp_does_not_want_is_not_laid_to_the_file(tmp_path: Path) -> None:
    more_than_it_takes = ServerSpec(MODELS / "apprentice.gguf", 64, slots=300)
    with pytest.raises(
        ServerError, match=r"the server of apprentice\.gguf did not start: .*n_seq_max"
    ) as found:
        await ServerProcess.start(more_than_it_takes)
    assert (found.value.retryable, found.value.hint) == (False, None)


async def test_a_window_that_llama_cpp_cannot_count(tmp_path: Path) -> None:
    async with open_bench(tmp_path, chains_with(MODELS / "apprentice.gguf", window=2**31)) as bench:
        fault = await fault_of(bench)
    assert fault.error is not None
    assert (fault.error.kind, fault.error.retryable, fault.retries) == ("server", False, 0)
    assert fault.error.message.startswith("a window of 2147483648 tokens for each of 2 slots is more than")


async def test_a_port_that_is_taken(tmp_path: Path, random_gguf: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        chains = chains_with(random_gguf, endpoint="other")
        async with open_engine_bench(tmp_path, chains, ports={"other": port}) as bench:
            fault = await fault_of(bench)
            assert fault.error is not None
            # It may be free a moment later: it was tried again.
            assert (fault.error.kind, fault.error.retryable, fault.retries) == ("connect", True, 2)
            assert fault.error.message == "the server of random.gguf found its port taken"
            taken.close()
            await assert_it_starts_anew(bench)


async def test_the_extra_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDE_LLAMA_CPP, encoding="utf-8")
    async with serving(MODELS / "apprentice.gguf", context_tokens=2048) as served:
        chains = f"""\
version: 1
endpoints:
  here: {{kind: embedded}}
  there: {{kind: openai, base_url: "{served.url}/v1", api_key_env: THERE_KEY}}
models:
  faulty:  {{endpoint: here, gguf: "{MODELS}/apprentice.gguf"}}
  healthy: {{endpoint: there, max_output_tokens: 24}}
chains:
  default: {{tiers: [{{model: faulty, verify: false}}, {{model: healthy, verify: false}}]}}
"""
        env = {"PYTHONPATH": str(tmp_path / "hidden"), "THERE_KEY": served.key}
        fault = fault_in(await asyncio.to_thread(run_command, tmp_path, chains, env))
    assert fault.error is not None
    assert (fault.error.kind, fault.error.retryable, fault.retries) == ("connect", False, 0)
    assert "pip install 'hyperguild[embedded]'" in fault.error.message


async def test_a_crash_while_it_loads(tmp_path: Path, random_gguf: Path) -> None:
    async with open_bench(tmp_path, chains_with(random_gguf)) as bench, asyncio.timeout(HANG_LIMIT_S):
        run = asyncio.create_task(bench.run(TASK))
        os.kill(await first_server(), signal.SIGSEGV)
        fault = fault_in(await run)
        assert fault.error is not None
        assert (fault.error.kind, fault.error.retryable, fault.retries) == ("server", False, 0)
        assert "the server of random.gguf crashed (SIGSEGV) while it started" in fault.error.message
        assert fault.load_ms is not None
        await assert_it_starts_anew(bench)


@pytest.mark.parametrize(("number", "runs"), [(signal.SIGKILL, 1), (signal.SIGSEGV, 2)])
async def test_a_crash_in_the_middle_of_an_answer(
    number: signal.Signals, runs: int, tmp_path: Path, random_gguf: Path
) -> None:
    sinks = [Seen() for _ in range(runs)]
    async with open_bench(tmp_path, chains_with(random_gguf)) as bench, asyncio.timeout(HANG_LIMIT_S):
        running = [asyncio.create_task(bench.run(TASK, sink=sink)) for sink in sinks]
        for sink in sinks:
            await sink.speaking.wait()
        (crashing,) = servers_of(os.getpid())
        os.kill(crashing, number)
        for run in running:
            fault = fault_in(await run)
            assert fault.error is not None
            assert (fault.error.kind, fault.error.retryable, fault.retries) == ("server", False, 0)
            assert fault.error.message.startswith("the server of faulty (random.gguf) ")
            assert number.name in fault.error.message
            assert fault.answer  # what it had said is kept
        await assert_it_starts_anew(bench)


async def test_a_crash_while_idle_is_nobodys_fault(tmp_path: Path, random_gguf: Path) -> None:
    async with open_bench(tmp_path, chains_with(random_gguf)) as bench, asyncio.timeout(HANG_LIMIT_S):
        await assert_it_starts_anew(bench)
        for _ in range(3):
            (idle,) = servers_of(os.getpid())
            os.kill(idle, signal.SIGKILL)
            await_death(idle)  # but the engine need not have heard of it yet
            (attempt,) = (await bench.run(TASK, chain="brief")).attempts
            assert (attempt.verdict, attempt.error) == ("accept", None)
            assert servers_of(os.getpid()) != [idle]


async def test_a_load_that_hangs_gives_its_place_to_the_next_tier(tmp_path: Path, random_gguf: Path) -> None:
    changes: list[Change] = []
    chains = chains_with(random_gguf, load_timeout_s=1)
    async with (
        open_engine_bench(tmp_path, chains, observe=changes.append) as bench,
        asyncio.timeout(HANG_LIMIT_S),
    ):
        run = asyncio.create_task(bench.run(TASK))
        hanging = await first_server()
        os.kill(hanging, signal.SIGSTOP)
        fault = fault_in(await run)
        assert fault.error is not None
        assert (fault.error.kind, fault.retries) == ("timeout", 0)
        assert "not loaded within 1 s" in fault.error.message
        assert fault.load_ms is not None
        assert hanging not in servers_of(os.getpid())
    assert [(change.spec.name, change.state, change.reason) for change in changes] == [
        ("random.gguf", "starting", "asked"),
        ("random.gguf", "cold", "evicted"),  # it has to leave,
        ("random.gguf", "cold", "evicted"),  # and is gone
        ("apprentice.gguf", "starting", "asked"),
        ("apprentice.gguf", "ready", "asked"),
        ("apprentice.gguf", "cold", "closed"),
    ]


async def test_who_leaves_while_it_loads(tmp_path: Path, random_gguf: Path) -> None:
    loading = asyncio.Event()

    class Sink:
        def emit(self, event: Event) -> None:
            if isinstance(event, LoadWaiting):
                loading.set()

    async with open_bench(tmp_path, chains_with(random_gguf)) as bench, asyncio.timeout(HANG_LIMIT_S):
        run = asyncio.create_task(bench.run(TASK, sink=Sink()))
        await loading.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        stored = await bench.last()
        (attempt,) = stored.result.attempts
        assert (attempt.verdict, attempt.cause, attempt.warm_state) == ("error", "cancelled", "cold")
        assert attempt.load_ms is not None
        await first_server()
    assert servers_of(os.getpid()) == []


async def ask(engine: Engine, spec: ServerSpec) -> None:
    async with engine.lease(spec):
        pass


async def test_an_engine_that_closes_while_it_loads(random_gguf: Path) -> None:
    engine, spec = Engine(EngineSettings()), ServerSpec(random_gguf, CONTEXT)
    async with asyncio.timeout(HANG_LIMIT_S):
        asking = asyncio.create_task(ask(engine, spec))
        await first_server()
        assert await engine.state(spec) == "starting"
        await engine.aclose()
        with pytest.raises(ConnectError, match="closed"):
            await asking
        # Who comes later must not start a server that nobody would stop.
        with pytest.raises(ConnectError, match="closed"):
            await ask(engine, spec)
    assert await engine.state(spec) == "cold"
    assert servers_of(os.getpid()) == []


async def test_an_engine_that_closes_in_the_moment_a_model_is_up(random_gguf: Path) -> None:
    engine, spec = Engine(EngineSettings()), ServerSpec(random_gguf, CONTEXT)

    def is_starting(task: asyncio.Task[object]) -> bool:
        return getattr(task.get_coro(), "__qualname__", "") == "ServerProcess.start"

    async with asyncio.timeout(HANG_LIMIT_S):
        asking = asyncio.create_task(ask(engine, spec))
        # Looking at every turn of the loop, we see that it is up before the engine does.
        while not (starting := [task for task in asyncio.all_tasks() if is_starting(task)]):  # noqa: ASYNC110
            await asyncio.sleep(0)
        while not starting[0].done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert await engine.state(spec) == "starting"
        await engine.aclose()
        with pytest.raises(ConnectError, match="closed"):
            await asking
    assert servers_of(os.getpid()) == []


async def first_server() -> int:
    """Return the id of our first model server as soon as there is one."""
    while True:
        if pids := servers_of(os.getpid()):
            return pids[0]
        await asyncio.sleep(0.005)


def await_death(child: int) -> None:
    with suppress(ChildProcessError):  # somebody else has taken note of it already
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)


async def assert_it_starts_anew(bench: Bench) -> None:
    """Ask the model that failed for a little: it is loaded, and answers."""
    (attempt,) = (await bench.run(TASK, chain="brief")).attempts
    assert (attempt.verdict, attempt.error) == ("accept", None)
    assert (attempt.model, attempt.warm_state) == ("faulty", "cold")
    assert attempt.answer


def run_command(folder: Path, chains: str, env: Mapping[str, str] | None = None, **options: Any) -> RunResult:
    """Walk in a program of its own; return the result that it prints."""
    config = folder / "chains.yaml"
    config.write_text(chains, encoding="utf-8")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PATH", "PYTHONPATH", "COVERAGE_"))
    }
    arguments = ["--config", str(config), "--skills", str(SKILLS), "--db", str(folder / "cli.db")]
    done = subprocess.run(
        [sys.executable, "-m", "hyperguild", *arguments, "run", "iso-date", TASK, "--json"],
        env={**kept, "HOME": str(folder), "PYTHONUTF8": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_LIMIT_S,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return RunResult.model_validate(json.loads(done.stdout))
