"""Settings of all tests."""

from __future__ import annotations

import gc
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


def pytest_collection_finish() -> None:
    """Leave what was collected out of garbage collections: to go through it takes a quarter of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
