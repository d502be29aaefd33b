"""Where chains.yaml is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperguild.config.loader import load_config
from hyperguild.config.locate import FoundConfig, find_config
from hyperguild.errors import ConfigError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for folder in ("project/src/deep", "config/hyperguild", "home/.config/hyperguild"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_the_order(home: Path) -> None:
    cwd = home / "project/src/deep"
    env = {"HOME": str(home / "home")}
    with pytest.raises(ConfigError) as caught:
        find_config(None, env, cwd)
    assert caught.value.hint == "run `hyperguild init`"

    own = home / "home/.config/hyperguild/chains.yaml"
    own.touch()
    assert find_config(None, env, cwd) == FoundConfig(own, discovered=False)

    xdg = home / "config/hyperguild/chains.yaml"
    xdg.touch()
    env["XDG_CONFIG_HOME"] = str(home / "config")
    assert find_config(None, env, cwd) == FoundConfig(xdg, discovered=False)

    parent = home / "project/chains.yaml"
    parent.touch()
    assert find_config(None, env, cwd) == FoundConfig(parent, discovered=True)

    near = cwd / "chains.yaml"
    near.touch()
    assert find_config(None, env, cwd) == FoundConfig(near, discovered=True)

    env["HYPERGUILD_CONFIG"] = "../other.yaml"
    assert find_config(None, env, cwd) == FoundConfig(cwd / "../other.yaml", discovered=False)
    assert find_config(Path("flag.yaml"), env, cwd) == FoundConfig(cwd / "flag.yaml", discovered=False)


def test_what_named_a_file_is_told_where_it_cannot_be_read(home: Path) -> None:
    for flag, env, named_by in (
        (Path("typo.yaml"), {"HYPERGUILD_CONFIG": "other.yaml"}, "--config"),
        (None, {"HYPERGUILD_CONFIG": "typo.yaml"}, "$HYPERGUILD_CONFIG"),
    ):
        found = find_config(flag, env, home)
        with pytest.raises(ConfigError, match=r"typo\.yaml cannot be read") as caught:
            load_config(found.path, env, found.named_by)
        assert caught.value.hint == f"named by {named_by}"


def test_a_folder_is_no_file_and_an_empty_variable_is_none(home: Path) -> None:
    cwd = home / "project"
    (cwd / "chains.yaml").mkdir()
    env = {"HOME": str(home / "home"), "HYPERGUILD_CONFIG": "", "XDG_CONFIG_HOME": "relative"}
    own = home / "home/.config/hyperguild/chains.yaml"
    own.touch()
    assert find_config(None, env, cwd) == FoundConfig(own, discovered=False)
