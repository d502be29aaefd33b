"""What we write is for its owner alone, whatever the umask; `doctor` tells of what is not."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperguild.adapters.embedded.location import KeeperFolder
from hyperguild.adapters.store.connection import open_for_writing
from hyperguild.adapters.store.migrations import MIGRATIONS
from hyperguild.adapters.tools.places import Origin, Place
from hyperguild.adapters.tools.repository import Repository
from hyperguild.adapters.tools.results import ResultFiles
from hyperguild.cli.main import run_command_line
from hyperguild.config.trust import TrustStore
from hyperguild.domain.tools import ToolCall
from hyperguild.private_folder import make_private, rights_of_others


@pytest.fixture
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> set[str]:
    """Return what below the folder others can reach: what a closed folder holds, they cannot."""
    found = set()
    for path in folder.iterdir():
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            found.add(path.name)
            if path.is_dir():
                found |= {f"{path.name}/{name}" for name in open_to_others(path)}
    return found


@pytest.mark.usefixtures("_no_umask")
class TestWithoutUmask:
    def test_folders_and_those_above_them(self, tmp_path: Path) -> None:
        (tmp_path / "theirs").mkdir()
        make_private(tmp_path / "theirs" / "a" / "b")
        make_private(tmp_path / "theirs" / "a" / "b")
        assert open_to_others(tmp_path) == {"theirs"}, "what exists stays as it is"
        assert stat.S_IMODE((tmp_path / "theirs" / "a").stat().st_mode) == 0o700

    def test_the_session_log_and_its_backup(self, tmp_path: Path) -> None:
        path = tmp_path / "state" / "hyperguild" / "sessions.db"
        first = open_for_writing(path, program_version="1", migrations=MIGRATIONS[:1])
        first.close()
        connection = open_for_writing(path, program_version="2")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE other (x)")
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
        assert {"sessions.db", "sessions.db-wal", "sessions.db-shm", "sessions.db.bak-v1"} <= modes.keys()
        assert set(modes.values()) == {0o600}
        assert open_to_others(tmp_path) == set()
        connection.close()

    async def test_large_results(self, tmp_path: Path) -> None:
        folder = tmp_path / "state" / "results" / "s"
        await ResultFiles(folder, 100).fit(ToolCall("c", "shell", {}), "x" * 1000)
        (file,) = folder.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert open_to_others(tmp_path) == set()

    def test_worktrees(self, tmp_path: Path) -> None:
        repository = Repository("/r", "/r/.git", "/r/.git/objects", "/r/.git/index", "sha1", None)
        place = Place.make(tmp_path / "state" / "worktrees", "w", repository, Origin("s", "m", "i"))
        place.begin("0" * 40)
        assert open_to_others(tmp_path) == set()
        assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
        place.release()

    def test_the_record_of_trusted_files(self, tmp_path: Path) -> None:
        TrustStore(tmp_path / "state" / "hyperguild" / "trusted.json").trust(tmp_path / "chains.yaml", ())
        assert open_to_others(tmp_path) == set()

    def test_the_folder_of_the_keeper_s_socket(self, tmp_path: Path) -> None:
        KeeperFolder(tmp_path / "run" / "hyperguild").make()
        assert open_to_others(tmp_path) == set()


def test_rights_are_those_of_the_user_s_own_files(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    file.chmod(0o644)
    (tmp_path / "link").symlink_to(file)
    assert rights_of_others(file) == 0o044
    assert rights_of_others(tmp_path / "link") == 0
    assert rights_of_others(tmp_path / "none") == 0
    file.chmod(0o600)
    assert rights_of_others(file) == 0


def test_doctor_tells_what_others_can_read_or_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("HYPERGUILD_DB", "HYPERGUILD_CONFIG", "HYPERGUILD_SKILLS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "chains.yaml").write_text(
        "version: 1\nendpoints: {c: {kind: command, argv: [echo]}}\n"
        "models: {m: {endpoint: c}}\nchains: {default: [m]}\n"
    )
    state = tmp_path / "state" / "hyperguild"
    open_for_writing(state / "sessions.db", program_version="1").close()
    (state / "results").mkdir(mode=0o700)
    backup, record = state / "sessions.db.bak-v1", state / "trusted.json"
    for file in (backup, record):
        file.touch(mode=0o600)
    record.write_text('{"version": 1, "files": {}}')

    def told() -> list[tuple[str, str]]:
        run_command_line(["doctor", "--json"])
        findings = json.loads(capsys.readouterr().out)
        return [(one["message"], one["remedy"]) for one in findings if one["area"] == "private files"]

    assert told() == []
    for path, mode in ((state, 0o755), (state / "sessions.db", 0o640), (backup, 0o604), (record, 0o622)):
        path.chmod(mode)
    # SQLite gives what it makes beside the log the rights of the log.
    assert [one for one in told() if not one[0].partition(" ")[0].endswith(("-wal", "-shm"))] == [
        (f"{state} can be read by other users", f"chmod 700 {state}"),
        (f"{record} can be changed by other users", f"chmod 600 {record}"),
        (f"{state / 'sessions.db'} can be read by other users", f"chmod 600 {state / 'sessions.db'}"),
        (f"{backup} can be read by other users", f"chmod 600 {backup}"),
    ]
