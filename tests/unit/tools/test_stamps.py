"""What state of the files a call would read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hyperguild.adapters.tools import stamps
from hyperguild.adapters.tools.roots import Roots
from hyperguild.adapters.tools.stamps import stamp_of
from hyperguild.domain.tools import ToolError

Change = Callable[[Path], object]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stamps, "SETTLED_NS", 0)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("one\n")
    (tmp_path / "other").write_text("other\n")
    return tmp_path


READS: list[tuple[str, dict[str, Any]]] = [
    ("fs_read", {"path": "src/a.py"}),
    ("fs_ls", {"path": "src"}),
    ("fs_glob", {"pattern": "src/**"}),
    ("fs_grep", {"pattern": "one", "path": "src"}),
    ("fs_grep", {"pattern": "one"}),
    ("fs_edit", {"path": "src/a.py", "old": "one", "new": "two"}),
]


def rewrite_same_size(work: Path) -> None:
    (work / "src" / "a.py").write_text("two\n")


def back_in_time(work: Path) -> None:
    file = work / "src" / "a.py"
    before = file.stat()
    file.write_text("two\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(work: Path) -> None:
    (work / "new").write_text("one\n")
    (work / "new").replace(work / "src" / "a.py")


def remove(work: Path) -> None:
    (work / "src" / "a.py").unlink()


@pytest.mark.parametrize("change", [rewrite_same_size, back_in_time, replace, remove])
@pytest.mark.parametrize(("name", "arguments"), READS)
def test_i5_what_is_written_after_a_read_began_is_seen(
    work: Path, name: str, arguments: dict[str, Any], change: Change
) -> None:
    roots = Roots(work)
    before = stamp_of(name, arguments, roots)
    assert before is not None
    assert stamp_of(name, arguments, roots) == before
    (work / "other").write_text("changed\n")
    if arguments != {"pattern": "one"}:  # a search of everything sees that, too
        assert stamp_of(name, arguments, roots) == before
    change(work)
    assert stamp_of(name, arguments, roots) != before


def test_i5_a_file_that_comes_is_seen_and_one_that_is_missing_is_no_error(work: Path) -> None:
    before = stamp_of("fs_read", {"path": "src/b.py"}, Roots(work))
    (work / "src" / "b.py").write_text("")
    assert before is not None
    assert stamp_of("fs_read", {"path": "src/b.py"}, Roots(work)) != before


def test_i5_nothing_is_said_of_a_file_that_was_written_just_now(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "SETTLED_NS", 10**12)
    for name, arguments in READS:
        assert stamp_of(name, arguments, Roots(work)) is None


def test_i5_nothing_is_said_of_a_search_over_very_many_files(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamps, "ENTRIES_STAMPED_MAX", 2)
    assert stamp_of("fs_glob", {"pattern": "**"}, Roots(work)) is None
    assert stamp_of("fs_glob", {"pattern": "src/**"}, Roots(work)) is not None


def test_i5_tools_that_read_no_files_of_ours_are_always_the_same(work: Path) -> None:
    assert stamp_of("web_search", {"path": "x"}, Roots(work)) == ()


def test_i5_a_way_out_of_the_folder_is_refused(work: Path) -> None:
    with pytest.raises(ToolError):
        stamp_of("fs_read", {"path": "../x"}, Roots(work))
