"""How a keeper is started, and what is told where that fails: real processes, some of them sabotaged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from keeping import keeper_home, keepers_of

from hyperguild.adapters.embedded import keeper_client
from hyperguild.adapters.embedded.keeper_client import KeeperHost, keeper_status, stop_keeper
from hyperguild.adapters.embedded.keeper_wire import EngineTerms
from hyperguild.adapters.embedded.location import KeeperFolder
from hyperguild.adapters.embedded.process import is_installed
from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.errors import ConnectError
from hyperguild.tiny_fleet import tiny_fleet_dir

pytestmark = [
    pytest.mark.skipif(not is_installed(), reason="needs real inference: pip install xllamacpp"),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked for in /proc"),
]

APPRENTICE = ServerSpec(tiny_fleet_dir() / "apprentice.gguf", 512, threads=1)


@pytest.fixture
def folder() -> Iterator[KeeperFolder]:
    with keeper_home() as (folder, _):
        yield folder


def host_in(folder: KeeperFolder) -> KeeperHost:
    terms = EngineTerms("here", max_loaded=1, ttl_s=300.0, max_users=8)
    return KeeperHost(folder, terms, probe_timeout_s=10.0)


async def start(folder: KeeperFolder) -> None:
    """Take a lease and give it back."""
    async with host_in(folder).lease(APPRENTICE):
        pass


@pytest.fixture
def sabotage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Have Python run some lines at the start of each program that is not this one."""
    folder = tmp_path / "sabotage"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return partial((folder / "sitecustomize.py").write_text, encoding="utf-8")


async def test_one_that_ends_at_once_is_not_started_for_ever(
    folder: KeeperFolder, sabotage: Callable[[str], object], tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    sabotage(f"""\
import asyncio
def broken(coroutine):
    coroutine.close()
    open({str(starts)!r}, "a").write("x")
    raise SystemExit("nothing works here")
asyncio.run = broken
""")
    with pytest.raises(ConnectError) as failed:
        await start(folder)
    assert failed.value.message == (
        "no keeper could be started: it ends at once; its last words: nothing works here"
    )
    assert failed.value.hint == "or set `keep: false` on the endpoint"
    assert not failed.value.retryable
    assert starts.read_text() == "x" * keeper_client.STARTS
    assert folder.log.read_text().count("nothing works here") == keeper_client.STARTS


async def test_it_works_where_nothing_can_be_written(
    folder: KeeperFolder, sabotage: Callable[[str], object]
) -> None:
    sabotage("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))")
    await start(folder)
    assert folder.log.read_bytes() == folder.lock.read_bytes() == b""
    assert folder.is_kept()
    assert folder.keeper_pid() is None
    (pid,) = keepers_of(folder)
    status = await keeper_status(folder)
    assert status is not None
    assert status.pid == pid
    assert await stop_keeper(folder) is not None
    assert keepers_of(folder) == []


@pytest.mark.long
def test_giving_up_a_start_leaves_nothing_to_complain_of(
    folder: KeeperFolder, sabotage: Callable[[str], object]
) -> None:
    sabotage("import os, time; os.dup2 = lambda *_: time.sleep(600)")  # it never lets go of standard error
    program = f"""\
import asyncio, pathlib
from hyperguild.adapters.embedded import keeper_client
from hyperguild.adapters.embedded.keeper_wire import EngineTerms
from hyperguild.adapters.embedded.location import KeeperFolder
from hyperguild.adapters.embedded.spec import ServerSpec
from hyperguild.errors import ConnectError

keeper_client.START_LIMIT_S = 6.0

async def main():
    folder = KeeperFolder(pathlib.Path({str(folder.path)!r}))
    host = keeper_client.KeeperHost(folder, EngineTerms("here", 1, 1.0, 1), probe_timeout_s=1.0)
    async with host.lease(ServerSpec(pathlib.Path("/none.gguf"), 1)):
        pass

try:
    asyncio.run(main())
except ConnectError as error:
    print(error.message)
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.startswith("the keeper")
    assert "does not answer" in done.stdout
    assert "last words" not in done.stdout


async def test_a_log_that_cannot_be_opened_is_named(folder: KeeperFolder) -> None:
    folder.make()
    folder.log.mkdir()
    with pytest.raises(ConnectError, match=r"no keeper could be started: .*keeper-1.log: Is a directory"):
        await start(folder)
    assert keepers_of(folder) == []
    folder.log.rmdir()


async def test_where_it_cannot_start_its_words_are_told(folder: KeeperFolder) -> None:
    folder.make()
    folder.lock.mkdir()
    with pytest.raises(
        ConnectError, match=r"no keeper could be started: .*keeper-1.lock: Is a directory"
    ) as no:
        await start(folder)
    assert not no.value.retryable


async def test_a_folder_that_others_may_enter_is_not_used(folder: KeeperFolder) -> None:
    folder.path.mkdir()
    folder.path.chmod(0o755)
    host = host_in(folder)
    assert await host.state(APPRENTICE) == "unknown"
    with pytest.raises(ConnectError, match="can be entered by other users"):
        await start(folder)
    assert keepers_of(folder) == []
