"""Whether a process is seen to be gone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hyperguild.adapters.store.liveness import ProcessId

OWN = ProcessId.own()

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="start times come from /proc")


def test_this_process_is_there() -> None:
    assert not OWN.is_gone()
    assert not replace(OWN, started=None).is_gone()


@needs_proc
def test_a_process_that_ended_is_gone_even_before_its_parent_asks() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    ended = replace(OWN, pid=process.pid, started=None)
    while not ended.is_gone():  # between the end of its output and its own lies a moment
        pass
    process.communicate()
    assert ended.is_gone()


@needs_proc
def test_another_process_with_the_same_number_is_not_it() -> None:
    assert OWN.started is not None
    namespace = OWN.started.split()[0]
    assert replace(OWN, started=f"{namespace} 1").is_gone()


def test_what_cannot_be_seen_is_not_called_gone() -> None:
    assert not replace(OWN, pid=2**22 + 1, host="elsewhere").is_gone()
    assert not replace(OWN, pid=2**22 + 1, started="pid:[1] 5").is_gone()
    assert not replace(OWN, pid=2**70, started=None).is_gone()
    assert replace(OWN, pid=2**22 + 1).is_gone()
