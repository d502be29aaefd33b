"""Where the log is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperguild.adapters.store.location import db_path


@pytest.mark.parametrize(
    ("flag", "env", "expected"),
    [
        ("/a/x.db", {"HYPERGUILD_DB": "/b/y.db"}, "/a/x.db"),
        (None, {"HYPERGUILD_DB": "/b/y.db", "XDG_STATE_HOME": "/c"}, "/b/y.db"),
        (None, {"HYPERGUILD_DB": "", "XDG_STATE_HOME": "/c", "HOME": "/h"}, "/c/hyperguild/sessions.db"),
        (None, {"HOME": "/h"}, "/h/.local/state/hyperguild/sessions.db"),
        (None, {"HOME": "/h", "XDG_STATE_HOME": ""}, "/h/.local/state/hyperguild/sessions.db"),
        (None, {"HOME": "/h", "XDG_STATE_HOME": "relative"}, "/h/.local/state/hyperguild/sessions.db"),
    ],
)
def test_order(flag: str | None, env: dict[str, str], expected: str) -> None:
    assert db_path(Path(flag) if flag else None, env) == Path(expected)


def test_home_of_the_user_where_the_environment_names_none() -> None:
    assert db_path(None, {}) == Path.home() / ".local/state/hyperguild/sessions.db"
    assert db_path(None, {"HYPERGUILD_DB": "~/x.db"}) == Path.home() / "x.db"
