"""Settings of all tests."""

from __future__ import annotations

import os

from figures import pytest_terminal_summary  # noqa: F401  # pytest finds it here
from hypothesis import settings

# No deadline: the machine is shared. In CI the same inputs each time, since a landing must not hang on luck;
# elsewhere new inputs are drawn at every run.
# 60 examples, not 100: there are some three hundred properties, and the suite has six minutes. In CI, where
# the inputs are always the same, 30.
IN_CI = bool(os.environ.get("CI"))
settings.register_profile("hyperguild", deadline=None, derandomize=IN_CI, max_examples=30 if IN_CI else 60)
settings.load_profile("hyperguild")
