"""Loading a chains.yaml that is given as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config
from hyperguild.errors import ConfigError

Load = Callable[..., Configuration]
Refuse = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write the text to chains.yaml in the working folder, and load it with the given environment."""
    monkeypatch.chdir(tmp_path)

    def load(text: str, **env: str) -> Configuration:
        path = tmp_path / "chains.yaml"
        path.write_text(dedent(text), encoding="utf-8")
        return load_config(path, env)

    return load


@pytest.fixture
def refuse(load: Load) -> Refuse:
    """Load a text that must be refused; return the problems as lines."""

    def refuse(text: str, **env: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, **env)
        assert caught.value.exit_code == 3
        return [str(problem) for problem in caught.value.problems]

    return refuse
