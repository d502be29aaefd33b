"""A folder in which nothing may be written, seen by a user who is not root."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperguild.adapters.store.connection import open_for_writing

_SCRIPT = """
import os, sys
from pathlib import Path
from hyperguild.adapters.store.breakers import peek_breakers
from hyperguild.adapters.store.connection import open_for_reading, open_for_writing
from hyperguild.errors import StoreError
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
path = Path(sys.argv[1])
print(peek_breakers(path))
print(open_for_reading(path, program_version="1").execute("SELECT title FROM sessions").fetchone()[0])
for target in (path, path.with_name("other.db")):
    try:
        open_for_writing(target, program_version="1").execute("DELETE FROM sessions")
    except StoreError as error:
        print(error.message, "|", error.hint)
    except Exception as error:
        print("raw", error)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hyperguild-", dir="/tmp") as name:
        yield Path(name)
        Path(name).chmod(0o700)


def test_reading_works_and_writing_says_why_not(folder: Path) -> None:
    path = folder / "sessions.db"
    connection = open_for_writing(path, program_version="1")
    connection.execute("INSERT INTO sessions (session_id, created_at, title) VALUES ('s1', '', 'precious')")
    connection.execute(
        "INSERT INTO breakers (key, endpoint, failures, openings, error, changed_at)"
        " VALUES ('k', 'swap', 1, 0, '', '2026-01-01T00:00:00Z')"
    )
    connection.close()
    path.chmod(0o444)
    folder.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(path)],
        # Coverage cannot write its data as a user who may not write here.
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    breakers, title, existing, new = done.stdout.splitlines()
    assert "key='k'" in breakers, "what is kept from being asked is known here, too"
    assert title == "precious"
    assert "cannot be written or opened" in existing
    assert "permissions" in existing
    assert "cannot be used: Permission denied" in new
    assert "--db" in new
    assert [file.name for file in folder.iterdir()] == ["sessions.db"]
