"""The keeper: real processes, real models."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from keeping import is_running, keeper_home, keepers_of, kill_keeper, until
from real.processes import servers_of

from hyperguild import __version__
from hyperguild.adapters.embedded import keeper_client
from hyperguild.adapters.embedded.host import Served
from hyperguild.adapters.embedded.keeper import LOG_MAX_BYTES, say
from hyperguild.adapters.embedded.keeper_client import KeeperHost, keeper_status, stop_keeper
from hyperguild.adapters.embedded.keeper_wire import BEGINS, EngineTerms, KeeperStatus
from hyperguild.adapters.embedded.location import KeeperFolder
from hyperguild.adapters.embedded.process import is_installed
from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.errors import ConnectError, NotFoundError, ServerError
from hyperguild.tiny_fleet import tiny_fleet_dir

pytestmark = [
    pytest.mark.skipif(not is_installed(), reason="needs real inference: pip install xllamacpp"),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked for in /proc"),
]

APPRENTICE = ServerSpec(tiny_fleet_dir() / "apprentice.gguf", 512, threads=1)
JUDGE = ServerSpec(tiny_fleet_dir() / "judge.gguf", 512, threads=1)
TERMS = EngineTerms("here", max_loaded=1, ttl_s=300.0, max_users=8)


@pytest.fixture
def folder() -> Iterator[KeeperFolder]:
    with keeper_home() as (folder, _):
        yield folder


def host_in(folder: KeeperFolder, terms: EngineTerms = TERMS) -> KeeperHost:
    return KeeperHost(folder, terms, probe_timeout_s=10.0)


async def served(host: KeeperHost, spec: ServerSpec = APPRENTICE) -> Served:
    """Take a lease and give it back."""
    async with host.lease(spec) as lease:
        return lease.served


async def status_of(folder: KeeperFolder) -> KeeperStatus:
    status = await keeper_status(folder)
    assert status is not None
    return status


async def users(folder: KeeperFolder) -> int:
    return sum(model.users for model in (await status_of(folder)).models)


async def until_users(folder: KeeperFolder, number: int) -> None:
    async with asyncio.timeout(30):
        while await users(folder) != number:  # noqa: ASYNC110  # another process's affair
            await asyncio.sleep(0.02)


async def keeper_gone(folder: KeeperFolder) -> None:
    await asyncio.to_thread(until, lambda: folder.keeper_pid() is None)


async def test_a_model_stays_loaded_for_the_next_client(folder: KeeperFolder) -> None:
    one, other = host_in(folder), host_in(folder)
    assert await one.state(APPRENTICE) == "cold"
    first = await served(one)
    await one.aclose()
    assert await other.state(APPRENTICE) == "ready"
    assert await other.state(JUDGE) == "cold"
    assert await served(other) == first
    await other.aclose()
    await other.aclose()


async def test_asking_starts_no_keeper(folder: KeeperFolder) -> None:
    host = host_in(folder)
    assert await host.state(APPRENTICE) == "cold"
    assert await keeper_status(folder) is None
    assert await stop_keeper(folder) is None
    assert not folder.path.exists()


async def test_it_tells_what_it_holds(folder: KeeperFolder) -> None:
    async with host_in(folder).lease(APPRENTICE):
        status = await status_of(folder)
    assert (status.pid, status.version) == (folder.keeper_pid(), __version__)
    (model,) = status.models
    assert (model.endpoint, model.file, model.context_tokens, model.slots) == (
        "here",
        APPRENTICE.gguf,
        512,
        1,
    )
    assert (model.state, model.users, model.idle_s, model.ttl_s) == ("ready", 1, 0.0, 300.0)
    await until_users(folder, 0)
    (idle,) = (await status_of(folder)).models
    assert 0 <= idle.idle_s < 60


async def test_max_loaded_holds_over_all_clients_of_an_engine(folder: KeeperFolder) -> None:
    await served(host_in(folder), APPRENTICE)
    await served(host_in(folder), JUDGE)
    host = host_in(folder)
    assert [await host.state(spec) for spec in (APPRENTICE, JUDGE)] == ["cold", "ready"]
    await host.aclose()


@pytest.mark.parametrize("changed", [{"ttl_s": 301.0}, {"max_users": 7}, {"max_loaded": 1}], ids=list)
async def test_max_loaded_holds_when_settings_change(folder: KeeperFolder, changed: dict[str, Any]) -> None:
    """The newest settings win, for what is loaded as well; a request's own model is not what leaves."""
    two = replace(TERMS, max_loaded=2) if "max_loaded" in changed else TERMS
    host = host_in(folder, two)
    await served(host, APPRENTICE)
    await served(host, JUDGE)
    before = await served(host, JUDGE)
    wanted = JUDGE
    if two.max_loaded == 2:
        before, wanted = await served(host, APPRENTICE), APPRENTICE
        await served(host, JUDGE)
    other = host_in(folder, replace(TERMS, **changed))
    assert await other.state(wanted) == "ready"
    assert await served(other, wanted) == before
    (model,) = [model for model in (await status_of(folder)).models if model.state == "ready"]
    assert (model.file, model.ttl_s) == (wanted.gguf, changed.get("ttl_s", 300.0))
    await host.aclose()
    await other.aclose()


async def test_a_shorter_ttl_holds_for_what_is_loaded(folder: KeeperFolder) -> None:
    await served(host_in(folder), APPRENTICE)
    longer = replace(TERMS, max_loaded=2)
    await served(host_in(folder, longer), JUDGE)
    assert len((await status_of(folder)).models) == 2
    await served(host_in(folder, replace(longer, ttl_s=0.2)), JUDGE)
    await keeper_gone(folder)


async def test_endpoints_of_other_names_have_places_of_their_own(folder: KeeperFolder) -> None:
    one = host_in(folder)
    other = host_in(folder, EngineTerms("there", max_loaded=1, ttl_s=300.0, max_users=8))
    await served(one, APPRENTICE)
    await served(other, JUDGE)
    assert await one.state(APPRENTICE) == await other.state(JUDGE) == "ready"
    assert await one.state(JUDGE) == await other.state(APPRENTICE) == "cold"
    await one.aclose()
    await other.aclose()


async def test_it_ends_when_its_last_model_has_left(folder: KeeperFolder) -> None:
    host = host_in(folder, EngineTerms("here", max_loaded=1, ttl_s=0.2, max_users=8))
    await served(host)
    pid = folder.keeper_pid()
    assert pid is not None
    await asyncio.to_thread(until, lambda: not servers_of(pid))
    assert folder.keeper_pid() in {pid, None}
    await keeper_gone(folder)
    assert not folder.socket.exists()
    assert await host.state(APPRENTICE) == "cold"
    # The next one starts as if nothing had been.
    await served(host)
    assert folder.keeper_pid() not in {pid, None}


async def test_a_client_that_only_looks_keeps_it_alive(folder: KeeperFolder) -> None:
    host = host_in(folder, EngineTerms("here", max_loaded=1, ttl_s=0.1, max_users=8))
    await served(host)
    pid = folder.keeper_pid()
    assert await host.state(APPRENTICE) in {"ready", "cold"}
    assert pid is not None
    await asyncio.to_thread(until, lambda: not servers_of(pid))
    await asyncio.sleep(1.5)
    assert folder.keeper_pid() == pid
    await host.aclose()
    await keeper_gone(folder)


async def test_many_who_start_at_once_get_one_keeper(folder: KeeperFolder) -> None:
    spec = ServerSpec(APPRENTICE.gguf, 512, slots=4, threads=1)
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        contexts = [stack.enter_async_context(host_in(folder).lease(spec)) for _ in range(4)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(context) for context in contexts]
        assert len({task.result().served for task in tasks}) == 1
        assert keepers_of(folder) == [folder.keeper_pid()]


async def test_errors_are_those_of_the_engine(folder: KeeperFolder, tmp_path: Path) -> None:
    host = host_in(folder)
    with pytest.raises(NotFoundError, match="does not exist") as missing:
        await served(host, ServerSpec(tmp_path / "none.gguf", 512))
    assert missing.value.hint is not None
    assert "`gguf`" in missing.value.hint
    (tmp_path / "bad.gguf").write_bytes(b"GGUF\3\0\0\0" + b"\xff" * 40)
    with pytest.raises(ServerError, match="cannot be loaded") as damaged:
        await served(host, ServerSpec(tmp_path / "bad.gguf", 512))
    assert not damaged.value.retryable
    assert "none.gguf: " in folder.log.read_text()
    await served(host)


async def test_it_knows_how_a_leased_server_ended(folder: KeeperFolder) -> None:
    async with host_in(folder).lease(APPRENTICE) as lease:
        assert await lease.fate() is None
        pid = folder.keeper_pid()
        assert pid is not None
        (server,) = servers_of(pid)
        os.kill(server, signal.SIGKILL)
        assert "was killed (SIGKILL)" in (await lease.fate() or "")
    assert "was killed (SIGKILL)" in folder.log.read_text()
    await served(host_in(folder))


async def test_who_gives_up_waiting_leaves_the_queue(folder: KeeperFolder) -> None:
    host = host_in(folder)
    async with host.lease(APPRENTICE):
        waiting = asyncio.create_task(served(host))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await until_users(folder, 0)
    await served(host)


async def test_stopping_ends_models_waiters_and_keeper(folder: KeeperFolder) -> None:
    async with host_in(folder).lease(APPRENTICE) as lease:
        waiting = asyncio.create_task(served(host_in(folder)))
        await asyncio.sleep(0.2)
        before = await stop_keeper(folder)
        assert before is not None
        assert [(model.file, model.users) for model in before.models] == [(APPRENTICE.gguf, 1)]
        assert servers_of(before.pid) == []
        assert keepers_of(folder) == []
        with pytest.raises(ConnectError, match="the keeper was stopped") as stopped:
            await waiting
        assert stopped.value.retryable
        assert await lease.fate() is None
    assert await keeper_status(folder) is None
    await served(host_in(folder))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_it_as_well(folder: KeeperFolder, number: signal.Signals) -> None:
    await served(host_in(folder))
    pid = folder.keeper_pid()
    assert pid is not None
    os.kill(pid, number)
    await keeper_gone(folder)
    assert servers_of(pid) == []
    assert not folder.socket.exists()


async def test_when_it_is_killed_its_servers_end_and_a_new_one_can_be_had(folder: KeeperFolder) -> None:
    host = host_in(folder)
    async with host.lease(APPRENTICE) as lease:
        pid = folder.keeper_pid()
        assert pid is not None
        assert await host.state(APPRENTICE) == "ready"
        (server,) = servers_of(pid)
        await asyncio.to_thread(kill_keeper, folder)
        await asyncio.to_thread(until, lambda: not is_running(server))
        assert folder.socket.exists()
        assert await lease.fate() is None
        assert await host.state(APPRENTICE) == "cold"
    assert (await served(host)) != lease.served
    assert await host.state(APPRENTICE) == "ready"
    await host.aclose()


async def test_who_waits_when_it_is_killed_may_try_again(folder: KeeperFolder) -> None:
    host = host_in(folder)
    async with host.lease(APPRENTICE):
        waiting = asyncio.create_task(served(host))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(kill_keeper, folder)
        with pytest.raises(ConnectError, match="ended before it answered") as lost:
            await waiting
    assert lost.value.retryable


async def test_one_that_does_not_answer_is_named(
    folder: KeeperFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served(host_in(folder))
    pid = folder.keeper_pid()
    assert pid is not None
    for limit in ("START_LIMIT_S", "ANSWER_LIMIT_S", "STOP_LIMIT_S"):
        monkeypatch.setattr(keeper_client, limit, 0.3)
    os.kill(pid, signal.SIGSTOP)
    assert await KeeperHost(folder, TERMS, probe_timeout_s=0.2).state(APPRENTICE) == "unknown"
    for ask in (keeper_status(folder), stop_keeper(folder), served(host_in(folder))):
        with pytest.raises(ConnectError, match=rf"the keeper \(process {pid}\) does not answer") as mute:
            await ask
        assert "last words" not in mute.value.message
        assert mute.value.hint == f"kill -9 {pid}"
        assert not mute.value.retryable
    os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    "line", [b"nonsense", b'{"type": "fate?"}', b'{"type": "fate", "fate": null}', b"x" * 99_999]
)
async def test_nonsense_is_refused_and_ends_the_connection(folder: KeeperFolder, line: bytes) -> None:
    await served(host_in(folder))

    def talk() -> bytes:
        with socket.socket(socket.AF_UNIX) as visitor, visitor.makefile("rb") as heard:
            visitor.connect(str(folder.socket))
            visitor.sendall(line + b"\n")
            return heard.read()

    hello, refusal = (await asyncio.to_thread(talk)).splitlines()
    assert b'"type": "hello"' in hello
    assert b'"kind": "protocol"' in refusal
    await served(host_in(folder))


async def test_hanging_up_in_the_middle_of_a_question_lets_go_of_the_keeper(folder: KeeperFolder) -> None:
    host = host_in(folder, replace(TERMS, ttl_s=0.2))
    await served(host)
    pid = folder.keeper_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    asking = asyncio.create_task(host.state(APPRENTICE))
    await asyncio.sleep(0.2)
    await host.aclose()
    os.kill(pid, signal.SIGCONT)
    assert await asking in {"ready", "cold"}
    await keeper_gone(folder)


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def test_it_does_not_keep_our_environment(
    folder: KeeperFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-0123456789")
    async with host_in(folder).lease(APPRENTICE):
        pid = folder.keeper_pid()
        assert pid is not None
        for process in (pid, *servers_of(pid)):
            assert b"sk-0123456789" not in environment_of(process)


async def test_the_log_tells_of_keepers_before_this_one(folder: KeeperFolder, tmp_path: Path) -> None:
    host = host_in(folder)
    with pytest.raises(NotFoundError):
        await served(host, ServerSpec(tmp_path / "none.gguf", 512))
    await stop_keeper(folder)
    await served(host)
    log = folder.log.read_text()
    assert "none.gguf: " in log
    assert log.count(f" {BEGINS}\n") == 2
    assert log.endswith(f"Z process {folder.keeper_pid()} {BEGINS}\n")


async def test_only_its_user_may_enter(folder: KeeperFolder) -> None:
    await served(host_in(folder))
    assert folder.path.stat().st_mode & 0o777 == 0o700
    for path in (folder.socket, folder.lock, folder.log):
        assert path.stat().st_mode & 0o077 == 0


async def test_keys_stay_out_of_its_log(folder: KeeperFolder) -> None:
    key = (await served(host_in(folder))).key
    await stop_keeper(folder)
    assert key not in folder.log.read_text()


def test_a_log_that_has_grown_long_begins_anew(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"x" * LOG_MAX_BYTES)
    say("the last line that fits")
    say("news")
    told = capfd.readouterr().err
    assert told.endswith(" news\n")
    assert "x" not in told
