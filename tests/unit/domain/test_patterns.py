"""Patterns that are compiled when they are first used."""

from __future__ import annotations

import subprocess
import sys

from hyperguild.domain.patterns import lazy

COUNTED = """\
import re
compiled = []
compile = re._compiler.compile
re._compiler.compile = lambda pattern, flags: compiled.append(pattern) or compile(pattern, flags)
import hyperguild.domain.secret_context
from hyperguild.domain.secrets import Scrubber
before = [one for one in compiled if "PRIVATE KEY" in str(one) or "[A-Za-z0-9" in str(one)]
Scrubber().scrub("key ghp_" + "a1B2" * 9)
after = [one for one in compiled if "gh[pousr]_" in str(one)]
print(len(before), len(after))
"""


def test_a_pattern_is_compiled_once_when_it_is_first_used() -> None:
    broken = lazy("(")  # nobody has looked at it yet
    fine = lazy("a+")
    assert fine() is fine()
    assert callable(broken)


def test_the_shapes_of_secrets_cost_no_time_at_start_up() -> None:
    done = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True, check=True)
    assert done.stdout == "0 1\n", "none at the import, and of the shapes just the one that may be there"
