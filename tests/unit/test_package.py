"""What the package gives, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hyperguild
from hyperguild.errors import Problem


def test_every_public_name_is_there() -> None:
    for name in hyperguild.__all__:
        assert getattr(hyperguild, name) is not None
        assert name in dir(hyperguild)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Guidl'"):
        _ = hyperguild.Guidl  # type: ignore[attr-defined]


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    program = (
        "import sys; before = set(sys.modules); import hyperguild\n"
        "print(sorted(name for name in set(sys.modules) - before if name.startswith(('hyperguild', 'pyd'))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['hyperguild']"


def test_the_error_of_a_refused_configuration_shows_every_problem() -> None:
    problem = Problem("chains.yaml", 2, 1, "chians", "unknown key")
    error = hyperguild.ConfigError("chains.yaml is refused: 1 problem", problems=[problem])
    assert error.__notes__ == ["chains.yaml:2:1: chians: unknown key"]
