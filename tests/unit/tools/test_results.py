"""Results that are too large for a window are kept whole and shown by their ends."""

from __future__ import annotations

import stat
from pathlib import Path

from hyperguild.adapters.tools.results import ResultFiles, most_chars
from hyperguild.domain.tools import ToolCall

CALL = ToolCall("call/1", "shell", {})


def kept(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


async def test_c6_a_small_result_stays_as_it_is(tmp_path: Path) -> None:
    assert await ResultFiles(tmp_path / "results", 100).fit(CALL, "x" * 100) == "x" * 100
    assert not (tmp_path / "results").exists()


async def test_c6_a_large_one_is_shown_by_its_ends_and_kept_for_its_owner(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    text = "head" + "x" * 5000 + "tail"
    shown = await ResultFiles(folder, 1000).fit(CALL, text)
    assert shown.startswith("head")
    assert shown.endswith("tail")
    assert len(shown) < 1100
    assert "session:/shell-call_1.txt" in shown
    assert kept(folder) == {"shell-call_1.txt": text}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "shell-call_1.txt").stat().st_mode) == 0o600


async def test_c6_results_of_calls_with_one_id_do_not_overwrite_each_other(tmp_path: Path) -> None:
    files = ResultFiles(tmp_path, 1000)
    texts = ["a" * 2000, "b" * 2000, "c" * 2000]
    shown = [await files.fit(CALL, text) for text in texts]
    assert sorted(kept(tmp_path).values()) == texts
    assert ["-2.txt" in one for one in shown] == [False, True, False]
    assert "-3.txt" in shown[2]


async def test_c6_a_folder_that_cannot_be_written_leaves_the_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    shown = await ResultFiles(tmp_path / "file", 1000).fit(CALL, "x" * 5000)
    assert "could not be kept" in shown


def test_c6_a_third_of_the_window_or_16_kib() -> None:
    assert most_chars(None) == 16 * 1024
    assert most_chars(3000) == 4000
