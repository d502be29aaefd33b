"""fs_write and fs_edit over real folders: what is written, kept, refused and previewed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from file_tools import OpenBarrier, ShutBarrier, call, names_in, tool, tree_of, without_privileges

from hyperguild.adapters.tools.changing import DIFF_LINES_MAX, FsEdit, FsWrite
from hyperguild.adapters.tools.diff import unified
from hyperguild.adapters.tools.edit import edited
from hyperguild.adapters.tools.roots import Roots
from hyperguild.domain.tools import ToolError
from hyperguild.ports import ToolContext

SOURCE = """import os


def first():
    return 1


def second():
    return 1
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    (work / "src").mkdir(parents=True)
    (work / "a.py").write_text(SOURCE)
    return work


@pytest.fixture
def roots(work: Path) -> Roots:
    return Roots(work)


async def test_c1_write_makes_folders_and_says_what_it_did(roots: Roots, work: Path) -> None:
    told = await call(roots, "fs_write", path="new/er/a.txt", content="ä\nb")
    assert told == "created new/er/a.txt: 2 lines, 4 bytes"
    assert (work / "new" / "er" / "a.txt").read_bytes() == "ä\nb".encode()
    told = await call(roots, "fs_write", path="new/er/a.txt", content="")
    assert told == "replaced new/er/a.txt: 0 lines, 0 bytes"
    assert (work / "new" / "er" / "a.txt").read_bytes() == b""
    await call(roots, "fs_write", path="crlf", content="a\r\nb\ud800")
    assert (work / "crlf").read_bytes() == b"a\r\nb?"


async def test_c1_write_through_a_link_changes_what_it_leads_to(roots: Roots, work: Path) -> None:
    (work / "link").symlink_to("src/real")
    assert (await call(roots, "fs_write", path="link", content="1")).startswith("created src/real")
    assert (await call(roots, "fs_write", path="link", content="2")).startswith("replaced src/real")
    assert (work / "link").is_symlink()
    assert (work / "src" / "real").read_text() == "2"


async def test_c1_the_mode_of_a_file_is_kept(roots: Roots, work: Path) -> None:
    (work / "a.py").chmod(0o751)
    await call(roots, "fs_edit", path="a.py", old="import os", new="import sys")
    assert (work / "a.py").stat().st_mode & 0o7777 == 0o751
    (work / "a.py").chmod(0o4700)
    await call(roots, "fs_write", path="a.py", content="x")
    assert (work / "a.py").stat().st_mode & 0o7777 == 0o700
    umask = os.umask(0o027)
    try:
        await call(roots, "fs_write", path="new", content="x")
    finally:
        os.umask(umask)
    assert (work / "new").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_c1_the_owner_of_a_file_is_kept(roots: Roots, work: Path) -> None:
    os.chown(work / "a.py", 1234, 1235)
    await call(roots, "fs_write", path="a.py", content="x")
    status = (work / "a.py").stat()
    assert (status.st_uid, status.st_gid) == (1234, 1235)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("src", "src is a folder, not a file"),
        (".", "is a folder"),
        ("new/", "names a folder"),
        ("a.py/b", "a.py is a regular file, not a folder"),
        ("n" * 300, "name too long"),
        ("../a", "outside the work directory"),
        ("nowhere/../../a", "nowhere does not exist"),
    ],
)
async def test_c5_a_write_that_cannot_be(roots: Roots, work: Path, path: str, why: str) -> None:
    before = tree_of(work)
    with pytest.raises(ToolError, match=why):
        await call(roots, "fs_write", path=path, content="x")
    assert tree_of(work) == before


async def test_c5_files_and_folders_that_may_not_be_written(roots: Roots, work: Path) -> None:
    (work / "a.py").chmod(0o444)
    (work / "src" / "b").write_text("b\n")
    (work / "src").chmod(0o555)
    before = tree_of(work)
    with without_privileges(work):
        for path, why in (
            ("a.py", "permission denied"),
            ("src/b", "folder it is in"),
            ("src/new", "folder it"),
        ):
            with pytest.raises(ToolError, match=why):
                await call(roots, "fs_write", path=path, content="x")
        for path, why in (("a.py", "permission denied"), ("src/b", "folder it is in")):
            with pytest.raises(ToolError, match=why):
                await call(roots, "fs_edit", path=path, old="\n", new="x", all=True)
        with pytest.raises(ToolError, match="permission denied"):
            FsWrite(roots).preview({"path": "a.py", "content": "x"})
    assert tree_of(work) == before


async def test_c1_edit_replaces_one_place_and_tells_the_difference(roots: Roots, work: Path) -> None:
    told = await call(
        roots, "fs_edit", path="a.py", old="def second():\n    return 1", new="def second():\n    return 2"
    )
    assert (work / "a.py").read_text() == SOURCE[:-2] + "2\n"
    assert told.split("\n") == [
        "edited a.py",
        "--- a.py",
        "+++ a.py",
        "@@ -6,4 +6,4 @@",
        " ",
        " ",
        " def second():",
        "-    return 1",
        "+    return 2",
    ]


async def test_c1_edit_replaces_everywhere_on_demand(roots: Roots, work: Path) -> None:
    told = await call(roots, "fs_edit", path="a.py", old="return 1", new="return 2", all=True)
    assert told.startswith("edited a.py in 2 places\n--- a.py")
    assert (work / "a.py").read_text() == SOURCE.replace("1", "2")
    told = await call(roots, "fs_edit", path="a.py", old="import os\n", new="", all=True)
    assert told.startswith("edited a.py\n")


@pytest.mark.parametrize(
    ("old", "said"),
    [
        ("return 1", "`old` occurs 2 times, on lines 5, 9; give more of the lines around"),
        ("", "`old` is empty"),
        ("def second()\n    return 1", "The nearest: Lines 8 to 9:\ndef second():\n    return 1"),
        ("\tdef second():\n\treturn 1\n", "with just these spaces; copy the lines exactly. Lines 8 to 9:\n"),
        ("def sceond():", "The nearest: Lines 8 to 8:\ndef second():"),
        ("completely different words", "nor anything like it; read the file first"),
        ("   \n  \n   ", "and is blank; give the text around it" ),
    ],
)  # fmt: skip
async def test_c5_an_edit_that_does_not_fit_says_what_would(
    roots: Roots, work: Path, old: str, said: str
) -> None:
    with pytest.raises(ToolError) as caught:
        await call(roots, "fs_edit", path="a.py", old=old, new="something new")
    assert said in str(caught.value)
    assert (work / "a.py").read_text() == SOURCE


async def test_c5_other_edits_that_cannot_be(roots: Roots, work: Path) -> None:
    with pytest.raises(ToolError, match="perhaps the change is made already"):
        await call(roots, "fs_edit", path="a.py", old="def third():", new="def second():")
    with pytest.raises(ToolError, match="are the same"):
        await call(roots, "fs_edit", path="a.py", old="os", new="os")
    with pytest.raises(ToolError, match=r"b.py does not exist; did you mean a.py\?"):
        await call(roots, "fs_edit", path="b.py", old="os", new="sys")
    with pytest.raises(ToolError, match="src is a folder"):
        await call(roots, "fs_edit", path="src", old="os", new="sys")
    (work / "binary").write_bytes(b"os\0")
    with pytest.raises(ToolError, match="not text: binary data"):
        await call(roots, "fs_edit", path="binary", old="os", new="sys")
    (work / "many").write_text("x\n" * 20)
    with pytest.raises(ToolError, match=r"occurs 20 times, on lines 1, 2, .*10, …;"):
        await call(roots, "fs_edit", path="many", old="x", new="y")


@pytest.mark.timeout(60)
async def test_c5_the_nearest_lines_of_a_long_file_are_found_soon(roots: Roots, work: Path) -> None:
    (work / "long").write_text("".join(f"value_{n} = compute({n}, {n * 7})\n" for n in range(20_000)))
    with pytest.raises(ToolError, match="nearest"):
        await call(roots, "fs_edit", path="long", old="value_77 = compuet(77, 539)", new="x")
    (work / "wide").write_text("xy" * 250_000)
    with pytest.raises(ToolError, match="nearest"):
        await call(roots, "fs_edit", path="wide", old="xy" * 100_000 + "z", new="x")


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"a\r\nb\r\nc\r\n", "a\nb", "x\ny\nz", b"x\r\ny\r\nz\r\nc\r\n"),
        (b"a\r\nb\r\n", "b\r\n", "c\r\n", b"a\r\nc\r\n"),
        (b"a\r\nb\nc\r\nd\r\n", "b\nc", "x\ny", b"a\r\nx\r\ny\r\nd\r\n"),
        (b"a\nb\r\nc\nd\n", "\nd", "\ne\n", b"a\nb\r\nc\ne\n\n"),
        (b"a\r\nb\r\n", "\n", ";", b"a;b;"),
        (b"a\nb\r\nc\n", "c", "d\r\ne", b"a\nb\r\nd\ne\n"),
        (b"\xef\xbb\xbfa\nb", "a", "c", b"\xef\xbb\xbfc\nb"),
        (b"\xef\xbb\xbfa\r\n", "a\n", "c\n", b"\xef\xbb\xbfc\r\n"),
        (b"Gr\xfc\xdfe a", "a", "\xfc", b"Gr\xfc\xdfe \xc3\xbc"),
        (b"aaa", "aa", "b", b"ba"),
        (b"a\rb\r\n", "b", "c", b"a\rc\r\n"),
        (b"a", "a", "\ud800", b"?"),
    ],
)
def test_c1_edit_keeps_line_ends_marks_and_bytes(before: bytes, old: str, new: str, after: bytes) -> None:
    assert edited(before, old, new, everywhere=True)[0] == after


async def test_c1_a_long_difference_is_cut(roots: Roots, work: Path) -> None:
    (work / "many").write_text("x\n" * 500)
    told = (await call(roots, "fs_edit", path="many", old="x", new="y", all=True)).split("\n")
    assert len(told) == DIFF_LINES_MAX + 2
    assert told[-1] == f"[{1 + 2 + 1_000 - DIFF_LINES_MAX} more lines of the diff]"


async def test_c1_an_edit_of_a_file_that_changed_meanwhile_is_refused(roots: Roots, work: Path) -> None:
    barrier = ShutBarrier()
    arguments = {"path": "a.py", "old": "import os", "new": "import sys"}
    task = asyncio.create_task(tool(roots, "fs_edit").run(arguments, ToolContext(barrier, print)))
    await barrier.reached.wait()
    (work / "a.py").write_text("import os  # by somebody else\n")
    barrier.opened.set()
    with pytest.raises(ToolError, match=r"a\.py was changed by something else meanwhile; read it again"):
        await task
    assert tree_of(work) == {"a.py": b"import os  # by somebody else\n"}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fs_write", {"path": "new/a", "content": "x"}),
        ("fs_write", {"path": "a.py", "content": "x"}),
        ("fs_edit", {"path": "a.py", "old": "import os", "new": "x"}),
    ],
)
async def test_c1_nothing_changes_before_the_barrier_is_passed(
    roots: Roots, work: Path, name: str, arguments: dict[str, Any]
) -> None:
    before = names_in(work)
    barrier = ShutBarrier()
    task = asyncio.create_task(tool(roots, name).run(arguments, ToolContext(barrier, print)))
    await barrier.reached.wait()
    assert names_in(work) == before
    assert tree_of(work) == {"a.py": SOURCE.encode()}
    barrier.opened.set()
    await task
    assert tree_of(work) != {"a.py": SOURCE.encode()}


async def test_c1_the_barrier_is_asked_after_the_checks_and_obeyed(roots: Roots, work: Path) -> None:
    barrier = OpenBarrier()
    context = ToolContext(barrier, print)
    for name, arguments in (
        ("fs_write", {"path": "../a", "content": "x"}),
        ("fs_write", {"path": "src", "content": "x"}),
        ("fs_edit", {"path": "a.py", "old": "nowhere to be found", "new": "x"}),
    ):
        with pytest.raises(ToolError):
            await tool(roots, name).run(arguments, context)
    assert barrier.count == 0

    class Refusing:
        async def passed(self) -> None:
            raise ToolError("the speculation was discarded")

    with pytest.raises(ToolError, match="discarded"):
        await tool(roots, "fs_write").run({"path": "a.py", "content": "x"}, ToolContext(Refusing(), print))
    assert tree_of(work) == {"a.py": SOURCE.encode()}


async def test_a4_a_write_cancelled_at_the_barrier_changes_nothing(roots: Roots, work: Path) -> None:
    barrier = ShutBarrier()
    arguments = {"path": "a.py", "content": "x"}
    task = asyncio.create_task(tool(roots, "fs_write").run(arguments, ToolContext(barrier, print)))
    await barrier.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tree_of(work) == {"a.py": SOURCE.encode()}


@pytest.mark.timeout(30)
async def test_a4_a_write_cancelled_in_the_middle_leaves_the_old_file(
    roots: Roots, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()
    real = os.fchmod

    def slow(descriptor: int, mode: int) -> None:
        writing.set()
        go_on.wait()
        real(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", slow)
    task = asyncio.create_task(call(roots, "fs_write", path="a.py", content="x" * 100_000))
    await asyncio.to_thread(writing.wait)
    assert (work / "a.py").read_text() == SOURCE  # the new content is beside it
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tree_of(work) == {"a.py": SOURCE.encode()}


async def test_a4_a_reader_sees_the_old_file_or_the_new_one(roots: Roots, work: Path) -> None:
    texts = ("a" * 300_000, "b" * 200_000)
    (work / "a.py").write_text(texts[0])
    seen: set[str] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add((work / "a.py").read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        await call(roots, "fs_write", path="a.py", content=texts[number % 2])
    done.set()
    reader.join()
    assert seen <= set(texts)


async def test_c1_files_that_look_like_our_temporary_ones_are_in_nobodys_way(
    roots: Roots, work: Path
) -> None:
    (work / "src" / f".hyperguild-{os.getpid()}-0.tmp").write_text("theirs")
    (work / "src" / f".hyperguild-{os.getpid()}-1.tmp").symlink_to("../a.py")
    await call(roots, "fs_write", path="src/new", content="x")
    assert (work / "src" / f".hyperguild-{os.getpid()}-0.tmp").read_text() == "theirs"
    assert (work / "a.py").read_text() == SOURCE
    assert (work / "src" / "new").read_text() == "x"


async def test_c3_a_preview_shows_the_whole_difference_and_changes_nothing(roots: Roots, work: Path) -> None:
    write, edit = FsWrite(roots), FsEdit(roots)
    assert write.preview({"path": "new/a", "content": "x\ny"}) == (
        "--- /dev/null\n+++ new/a\n@@ -0,0 +1,2 @@\n+x\n+y\n\\ No newline at end of file"
    )
    assert write.preview({"path": "new/a", "content": ""}) == "--- /dev/null\n+++ new/a"
    assert write.preview({"path": "a.py", "content": SOURCE}) == ""
    shown = write.preview({"path": "a.py", "content": SOURCE.replace("os", "sys")})
    assert "-import os\n+import sys\n" in shown
    assert shown == edit.preview({"path": "a.py", "old": "import os", "new": "import sys"})
    (work / "binary").write_bytes(b"\0" * 10)
    assert "[10 bytes are replaced by 1]" in write.preview({"path": "binary", "content": "x"})
    for arguments in ({"path": "../a", "content": "x"}, {"path": "src", "content": "x"}):
        with pytest.raises(ToolError):
            write.preview(arguments)
    with pytest.raises(ToolError, match="occurs 2 times"):
        edit.preview({"path": "a.py", "old": "return 1", "new": "return 2"})
    (work / "binary").unlink()
    assert tree_of(work) == {"a.py": SOURCE.encode()}


@pytest.mark.timeout(60)
def test_c3_a_preview_of_much_is_made_in_time() -> None:
    before = "".join(f"{n}\n" for n in range(100_000))
    small = unified(before, before.replace("\n50000\n", "\nchanged\n"), "a")
    assert small.split("\n")[2:] == [
        "@@ -49998,7 +49998,7 @@",
        *(" 49997", " 49998", " 49999"),
        *("-50000", "+changed"),
        *(" 50001", " 50002", " 50003"),
    ]
    large = unified(before, before.replace("1", "x"), "a")
    assert large.count("\n-") > 40_000


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "a\n"),
        ("a\n", ""),
        ("a", "a\n"),
        ("a\n", "a"),
        ("a\nb\nc", "a\nc"),
        ("a\n" * 10, "a\n" * 12),
        ("a\n\n\nb\n", "a\n\n\n\nb\n"),
        ("".join(f"{n}\n" for n in range(50)), "".join(f"{n if n % 17 else -n - 1}\n" for n in range(50))),
        ("a\n" * 3_500, "b\n" * 10),
    ],
)
def test_c3_a_difference_is_one_that_git_applies(tmp_path: Path, before: str, after: str) -> None:
    (tmp_path / "file").write_text(before)
    argv = ["git", "apply", "-p0", "-"]
    subprocess.run(argv, cwd=tmp_path, input=unified(before, after, "file") + "\n", text=True, check=True)
    assert (tmp_path / "file").read_text() == after if after else not (tmp_path / "file").read_text()
