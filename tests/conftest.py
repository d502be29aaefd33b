"""Settings of all tests."""

from __future__ import annotations

import os

from figures import pytest_terminal_summary  # noqa: F401  # pytest finds it here
from hypothesis import settings

# No deadline: the machine is shared. In CI the same inputs each time, since a landing must not hang on luck;
# elsewhere new inputs are drawn at every run.
settings.register_profile("hyperguild", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("hyperguild")
