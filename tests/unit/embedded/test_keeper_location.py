"""Where a keeper is found, and which folders are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hyperguild.adapters.embedded.location import SOCKET_PATH_MAX_BYTES, KeeperFolder, keeper_folder
from hyperguild.errors import ConnectError


def test_it_is_in_the_runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runtime = Path("/tmp")
    if runtime.stat().st_uid != os.geteuid():
        runtime = Path.home()
    folder = keeper_folder({"XDG_RUNTIME_DIR": str(runtime), "XDG_STATE_HOME": "/s", "HOME": "/h"})
    assert folder.path == runtime / "hyperguild"
    assert folder.socket == runtime / "hyperguild" / "keeper-1.sock"


@pytest.mark.parametrize("runtime", ["", "relative", "/nowhere/at/all", "/dev/null", "/nul\0"])
def test_without_a_runtime_folder_it_is_with_the_state(runtime: str) -> None:
    env = {"XDG_RUNTIME_DIR": runtime, "HOME": "/h"}
    assert keeper_folder(env).path == Path("/h/.local/state/hyperguild/keeper")
    assert keeper_folder({**env, "XDG_STATE_HOME": "/s"}).path == Path("/s/hyperguild/keeper")
    assert keeper_folder({**env, "XDG_STATE_HOME": "s"}).path == Path("/h/.local/state/hyperguild/keeper")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders of others")
def test_a_runtime_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, -1)
    env = {"XDG_RUNTIME_DIR": str(tmp_path / "theirs"), "HOME": "/h"}
    assert keeper_folder(env).path == Path("/h/.local/state/hyperguild/keeper")


def test_a_long_path_leads_to_the_temporary_folder() -> None:
    long = "/" + "ä" * 60
    first = keeper_folder({"XDG_STATE_HOME": long, "TMPDIR": "/t"})
    assert first.path.parent == Path("/t")
    assert first.path.name.startswith(f"hyperguild-{os.geteuid()}-")
    assert first == keeper_folder({"XDG_STATE_HOME": long, "TMPDIR": "/t"})
    assert first != keeper_folder({"XDG_STATE_HOME": long + "b", "TMPDIR": "/t"})
    assert keeper_folder({"XDG_STATE_HOME": long}).path == Path("/tmp") / first.path.name
    assert keeper_folder({"XDG_STATE_HOME": long, "TMPDIR": "t"}).path == Path("/tmp") / first.path.name
    assert keeper_folder({"XDG_STATE_HOME": long, "TMPDIR": long}).path == Path("/tmp") / first.path.name


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_the_longest_path_that_fits_is_used(more: int, fits: bool) -> None:
    rest = len("/hyperguild/keeper/keeper-1.sock")
    state = "/" + "x" * (SOCKET_PATH_MAX_BYTES - rest - 1 + more)
    folder = keeper_folder({"XDG_STATE_HOME": state})
    assert folder.path.is_relative_to(state) is fits
    assert len(os.fsencode(folder.socket)) <= SOCKET_PATH_MAX_BYTES


def test_the_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    folder = KeeperFolder(tmp_path / "a" / "b")
    assert not folder.exists()
    folder.make()
    folder.make()
    assert folder.exists()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.keeper_pid() is None


def test_what_is_in_a_keepers_way_is_seen_without_starting_one(tmp_path: Path) -> None:
    folder = KeeperFolder(tmp_path / "a" / "b")
    folder.check()
    assert not folder.path.exists()
    folder.make()
    for file in (folder.lock, folder.log):
        folder.check()
        file.touch()
        folder.check()
        file.unlink()
        file.mkdir()
        with pytest.raises(ConnectError, match=f"has a {file.name} that cannot be written to") as caught:
            folder.check()
        assert caught.value.hint == f"remove {file}"
        file.rmdir()
    folder.path.chmod(0o755)
    with pytest.raises(ConnectError, match="can be entered by other users"):
        folder.check()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConnectError, match="file cannot be written to"):
        KeeperFolder(tmp_path / "file" / "keeper").check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_in_a_keepers_way(tmp_path: Path) -> None:
    folder = KeeperFolder(tmp_path / "keeper")
    tmp_path.chmod(0o500)
    with pytest.raises(ConnectError, match="cannot be made"):
        folder.check()
    tmp_path.chmod(0o700)
    folder.make()
    folder.path.chmod(0o500)
    with pytest.raises(ConnectError, match="cannot be written to") as caught:
        folder.check()
    assert caught.value.hint == f"chmod 700 {folder.path}"


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = KeeperFolder(tmp_path / "open")
    folder.path.mkdir()
    folder.path.chmod(0o711)
    for use in (folder.exists, folder.make):
        with pytest.raises(ConnectError, match="can be entered by other users") as caught:
            use()
        assert caught.value.hint == f"chmod 700 {folder.path}"
        assert not caught.value.retryable


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders of others")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = KeeperFolder(tmp_path / "theirs")
    folder.path.mkdir(mode=0o700)
    os.chown(folder.path, 12345, -1)
    with pytest.raises(ConnectError, match="belongs to another user"):
        folder.exists()


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("file", "link"):
        with pytest.raises(ConnectError, match="is no folder"):
            KeeperFolder(tmp_path / name).exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConnectError, match="cannot be made"):
        KeeperFolder(tmp_path / "file" / "keeper").make()
