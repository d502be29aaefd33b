"""Programs that are run to their end: what is kept of what they write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hyperguild.programs.find import ProgramNotFound, find_program
from hyperguild.programs.run import OutputLimit, ProgramEnd, run_program


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


async def sh(script: str, keep: OutputLimit, **options: Any) -> ProgramEnd:
    return await run_program(
        ["sh", "-c", script],
        stdin=None,
        folder=Path("/"),
        environment={"PATH": os.environ["PATH"]},
        timeout_s=options.get("timeout_s", 60),
        keep=keep,
    )


async def test_both_outputs_come_together_as_they_are_written() -> None:
    end = await sh("printf a; printf b >&2; printf c", OutputLimit(tail_bytes=10))
    assert (end.exit_code, end.output, end.stderr) == (0, b"abc", b"")


async def test_stderr_can_be_kept_apart_and_only_its_end() -> None:
    keep = OutputLimit(head_bytes=4, tail_bytes=0, stderr_tail_bytes=3)
    end = await sh("printf 123456; seq 100000 >&2; printf xyz >&2; exit 4", keep)
    assert end == ProgramEnd(4, b"", b"1234", left_out=2, stderr=b"xyz")


async def test_all_pipes_are_closed_again_also_where_nothing_is_started(tmp_path: Path) -> None:
    keep = OutputLimit(tail_bytes=1, stderr_tail_bytes=1)
    await sh("true", keep)
    before = open_descriptors()
    for _ in range(20):
        await sh("printf x >&2", keep)
        with pytest.raises(FileNotFoundError):
            await run_program(
                [str(tmp_path / "none")], stdin=b"x", folder=tmp_path, environment={}, timeout_s=9, keep=keep
            )
    assert open_descriptors() == before


async def test_the_caller_may_bound_the_time() -> None:
    assert (await sh("printf x", OutputLimit(tail_bytes=1), timeout_s=None)).output == b"x"
    assert (await sh("sleep 300", OutputLimit(tail_bytes=1), timeout_s=0.01)).exit_code is None


@pytest.mark.parametrize(
    ("code", "words"),
    [(None, "was not done in time"), (-9, "was killed by SIGKILL"), (-250, "was killed by signal 250"),
     (3, "exited with 3")],
)  # fmt: skip
def test_ends_in_words(code: int | None, words: str) -> None:
    assert ProgramEnd(code, b"").in_words() == words


def test_a_program_is_found_from_its_folder_or_in_the_path(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("#!/bin/sh\n", encoding="utf-8")
    with pytest.raises(ProgramNotFound, match="is not executable") as caught:
        find_program("./own", tmp_path, "")
    assert caught.value.hint == f"chmod +x {tmp_path / './own'}"
    (tmp_path / "own").chmod(0o700)
    assert find_program("./own", tmp_path, "").samefile(tmp_path / "own")
    assert find_program("own", Path("/"), str(tmp_path)) == tmp_path / "own"
    with pytest.raises(ProgramNotFound, match=r"^not found: own$"):
        find_program("own", tmp_path, "/nowhere")
    with pytest.raises(ProgramNotFound, match=r"^cannot be run: no folder .*none$"):
        find_program("own", tmp_path / "none", "")
