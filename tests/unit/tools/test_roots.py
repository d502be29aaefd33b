"""Which paths are inside, and what they come to; nothing outside is reached whatever is renamed meanwhile."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from file_tools import call, in_a_loop, swapping, tree_of

from hyperguild.adapters.tools.files import paths_of
from hyperguild.adapters.tools.roots import Access, Roots
from hyperguild.domain.tools import ToolError
from hyperguild.errors import UsageError

RACES = 600
"""Rounds of a race; more, up to 20 times as many, where it did not come out both ways by then."""


def _rounds(came: Counter[str], *wanted: str) -> Iterator[int]:
    for number in range(20 * RACES):
        if number >= RACES and all(came[each] for each in wanted):
            return
        yield number


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """`work` beside `workshop` and `outside`; in it files, folders and links of all kinds."""
    work = tmp_path / "work"
    (work / "src" / "deep").mkdir(parents=True)
    (work / "src" / "a.py").write_text("inside\n")
    (work / "src" / "deep" / "b.py").write_text("inside\n")
    for beside in ("outside", "workshop"):
        (tmp_path / beside).mkdir()
        (tmp_path / beside / "a.py").write_text("secret\n")
    (work / "inner").symlink_to("src/deep")
    (work / "absolute").symlink_to(work / "src")
    (work / "src" / "up").symlink_to("../src/deep/..")
    (work / "out").symlink_to("../outside")
    (work / "out-absolute").symlink_to(tmp_path / "outside")
    (work / "out-file").symlink_to("../outside/a.py")
    (work / "src" / "climb").symlink_to("../../outside/a.py")
    (work / "circle").symlink_to("circle2")
    (work / "circle2").symlink_to("circle")
    (work / "round").symlink_to("../work/src")
    return work


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("src/a.py", "src/a.py"),
        ("./src//a.py", "src/a.py"),
        (".", "."),
        ("src/", "src"),
        ("src/deep/../a.py", "src/a.py"),
        ("src/..", "."),
        ("new/er/file", "new/er/file"),
        ("inner/b.py", "src/deep/b.py"),
        ("inner", "src/deep"),
        ("inner/../a.py", "src/a.py"),  # beside what the link leads to, as for the kernel
        ("absolute/a.py", "src/a.py"),
        ("src/up/deep/b.py", "src/deep/b.py"),
        ("...", "..."),
        ("..a", "..a"),
        ("name with  spaces", "name with  spaces"),
    ],
)
def test_c1_a_path_inside_comes_to_what_the_kernel_makes_of_it(work: Path, path: str, relative: str) -> None:
    resolved = Roots(work).resolve(path)
    assert (resolved.relative, resolved.writable) == (relative, True)
    assert resolved.absolute == os.path.realpath(work / path)
    assert resolved.shown == relative


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../outside/a.py",
        "src/../../outside/a.py",
        "src/../..",
        "out/a.py",
        "out",
        "out-absolute/a.py",
        "out-file",
        "src/climb",
        "src/deep/../climb",
        "round/a.py",  # leaves and comes back
        "out/new",
        "/",
        "/etc/passwd",
        "/proc/self/root/etc/passwd",
        "../workshop/a.py",
    ],
)
def test_c1_a_path_that_leaves_is_refused(work: Path, path: str) -> None:
    with pytest.raises(ToolError, match=r"outside the work directory.*use a path relative to") as caught:
        Roots(work).resolve(path)
    assert str(work) in str(caught.value)


def test_c1_a_does_not_contain_ab(work: Path) -> None:
    roots = Roots(work)
    assert roots.resolve(f"{work}/src/a.py").relative == "src/a.py"
    for path in (f"{work}shop/a.py", f"{work}/../workshop/a.py", f"{work.parent}", f"{work}/.."):
        with pytest.raises(ToolError, match="outside"):
            roots.resolve(path)


def test_c1_the_link_that_leads_out_is_named(work: Path) -> None:
    with pytest.raises(ToolError, match="out is a link that leads out"):
        Roots(work).resolve("out/a.py")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("x/" * 3_000, "longer than 4096"),
        ("x/" * 300, None),
        ("n" * 300, "name too long"),
        ("\ud800", "no file can have this name"),
        ("circle", "too many links"),
        ("circle/a", "too many links"),
        ("src/a.py/b", "src/a.py is a regular file, not a folder"),
        ("src/a.py/..", "not a folder"),
        ("nowhere/../src/a.py", "nowhere does not exist"),
        ("~/a", "not expanded"),
        ("skill:/SKILL.md", "there is no root skill:/"),
        ("file:///etc/passwd", "there is no root file:/"),
    ],
)
def test_c1_what_cannot_be_walked_is_refused_in_words(work: Path, path: str, why: str | None) -> None:
    roots = Roots(work)
    if why is None:
        assert roots.resolve(path).relative == path.rstrip("/")
        return
    with pytest.raises(ToolError, match=why) as caught:
        roots.resolve(path)
    assert len(str(caught.value)) < 1_000


def test_c1_folders_are_not_held_open_without_end(work: Path) -> None:
    deep = work
    for _ in range(210):
        deep /= "d"
    deep.mkdir(parents=True)
    with pytest.raises(ToolError, match="more than 200 folders deep"):
        Roots(work).resolve("d/" * 210)


def test_c1_no_descriptor_is_left_open(work: Path) -> None:
    roots = Roots(work)
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for path in ("src/deep/b.py", "inner/../a.py", "out/a.py", "circle", "src/a.py/b", "nowhere/x", "../x"):
        try:
            roots.resolve(path)
        except ToolError:
            continue
    if before:
        assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_c1_allowed_paths_and_read_only_roots(work: Path, tmp_path: Path) -> None:
    roots = Roots(work, allowed=[tmp_path / "outside"], read_only={"skill:/": tmp_path / "workshop"})
    allowed = roots.resolve(f"{tmp_path}/outside/new.py")
    assert (allowed.relative, allowed.shown, allowed.writable) == (
        "new.py",
        f"{tmp_path}/outside/new.py",
        True,
    )
    skill = roots.resolve("skill:/a.py")
    assert (skill.relative, skill.shown, skill.writable) == ("a.py", "skill:/a.py", False)
    assert roots.resolve("skill:/").shown == "skill:/"
    assert roots.resolve(f"{tmp_path}/workshop/a.py").writable is False
    assert await call(roots, "fs_read", path="skill:/a.py") == "secret"
    for path in ("skill:/a.py", "skill:/new.py", f"{tmp_path}/workshop/a.py"):
        with pytest.raises(ToolError, match="read-only"):
            await call(roots, "fs_write", path=path, content="x")
    with pytest.raises(ToolError, match="read-only"):
        await call(roots, "fs_edit", path="skill:/a.py", old="secret", new="x")
    with pytest.raises(ToolError, match=r"outside skill:/"):
        roots.resolve("skill:/../work/src/a.py")
    with pytest.raises(ToolError, match="leads out"):  # each root by itself
        roots.resolve("out/a.py")
    assert (tmp_path / "workshop" / "a.py").read_text() == "secret\n"


def test_c1_roots_must_be_folders(work: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", work / "src" / "a.py", work / "circle"):
        with pytest.raises(UsageError, match="no folder"):
            Roots(work, allowed=[path])
        with pytest.raises(UsageError, match="no folder"):
            Roots(path)


async def test_c1_a_read_only_root_may_come_into_being_later(work: Path, tmp_path: Path) -> None:
    roots = Roots(work, read_only={"session:/": tmp_path / "results"})
    with pytest.raises(ToolError, match="nothing in session:/"):
        await call(roots, "fs_ls", path="session:/")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "1.txt").write_text("long")
    assert await call(roots, "fs_read", path="session:/1.txt") == "long"


def test_c1_a_work_directory_named_by_a_link_is_known_by_both_names(work: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(work)
    roots = Roots(tmp_path / "alias")
    for path in (f"{tmp_path}/alias/src/a.py", f"{work}/src/a.py", "absolute/a.py"):
        assert roots.resolve(path).relative == "src/a.py"


def test_c1_a_root_that_was_replaced_is_refused(work: Path, tmp_path: Path) -> None:
    roots = Roots(work)
    work.rename(tmp_path / "gone")
    (tmp_path / "outside" / "src").mkdir()
    work.symlink_to(tmp_path / "outside")
    with pytest.raises(ToolError):
        roots.resolve("a.py")
    work.unlink()
    (tmp_path / "outside").rename(work)
    with pytest.raises(ToolError, match="replaced by another"):
        roots.resolve("a.py")


def _protection(path: str, access: Access) -> str | None:
    names = path.split("/")
    if ".env" in names or ".ssh" in names:
        return "a secret"
    return "git's own folder" if ".git" in names and access == "write" else None


async def test_c3_protected_files_are_neither_read_found_nor_changed(work: Path) -> None:
    (work / ".env").write_text("TOKEN=inside\n")
    (work / "innocent").symlink_to(".env")
    (work / ".ssh").mkdir()
    (work / ".ssh" / "key").write_text("inside\n")
    (work / "src" / ".env").symlink_to("a.py")
    (work / ".git").mkdir()
    (work / ".git" / "config").write_text("[core]\n")
    roots = Roots(work, protection=_protection)
    for path in (".env", "innocent", "./src/../.env", ".ssh/key", ".ssh", "src/.env", f"{work}/.env"):
        with pytest.raises(ToolError, match="is a secret: no tool may read it"):
            await call(roots, "fs_read", path=path)
        with pytest.raises(ToolError, match="is a secret: no tool may write it"):
            await call(roots, "fs_write", path=path, content="x")
    assert await call(roots, "fs_read", path=".git/config") == "[core]"
    with pytest.raises(ToolError, match="is git's own folder: no tool may write it"):
        await call(roots, "fs_edit", path=".git/config", old="core", new="x")
    with pytest.raises(ToolError, match="is git's own folder"):
        await call(roots, "fs_write", path=".git/hooks/pre-commit", content="x")
    assert "TOKEN" not in await call(roots, "fs_grep", pattern="inside")
    assert ".ssh" not in await call(roots, "fs_grep", pattern="inside")
    assert "key" not in await call(roots, "fs_glob", pattern="**")
    resolved = roots.resolve("innocent")  # the rules decide on both names
    assert (resolved.path, resolved.named) == (".env", "innocent")


async def test_c3_a_link_that_comes_to_lead_to_a_protected_file_is_refused(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / ".env").write_text("TOKEN=inside\n")
    roots = Roots(work, protection=_protection)
    assert [path.path for path in paths_of("fs_read", {"path": "src/a.py"}, roots)] == ["src/a.py"]
    _just_before(monkeypatch, "stat", "a.py", lambda: _swap(work / "src" / "a.py", work / ".env"))
    with pytest.raises(ToolError, match="is a secret"):
        await call(roots, "fs_read", path="src/a.py")


def test_c3_rules_see_a_path_as_a_model_may_name_it(work: Path, tmp_path: Path) -> None:
    roots = Roots(work, allowed=[tmp_path / "outside"], read_only={"skill:/": tmp_path / "workshop"})
    for given, path, named in (
        ("inner/b.py", "src/deep/b.py", "inner/b.py"),
        (f"{work}/inner", "src/deep", "inner"),
        (f"{tmp_path}/outside/./a.py", f"{tmp_path}/outside/a.py", f"{tmp_path}/outside/a.py"),
        ("skill:/a.py", "skill:/a.py", "skill:/a.py"),
        (".", ".", "."),
    ):
        resolved = roots.resolve(given)
        assert (resolved.path, resolved.named) == (path, named)


async def test_c1_a_folder_swapped_for_a_link_never_lets_a_read_out(work: Path, tmp_path: Path) -> None:
    roots = Roots(work)
    came = Counter[str]()
    with in_a_loop(swapping(work / "src", tmp_path / "outside")):
        for _ in _rounds(came, "read", "refused"):
            try:
                texts = [await call(roots, "fs_read", path="src/a.py")]
                texts.append(await call(roots, "fs_grep", pattern=".", path="src"))
                texts.append(await call(roots, "fs_grep", pattern="secret"))
            except ToolError:
                came["refused"] += 1
            else:
                came["read"] += 1
                assert not any("secret" in text for text in texts[:2])
                assert texts[2].startswith("[no line fits")
    assert came["read"]
    assert came["refused"]


async def test_c1_a_file_swapped_for_a_link_never_lets_a_read_out(work: Path, tmp_path: Path) -> None:
    roots = Roots(work)
    came = Counter[str]()
    with in_a_loop(swapping(work / "src" / "a.py", tmp_path / "outside" / "a.py")):
        for _ in _rounds(came, "read", "refused"):
            try:
                assert await call(roots, "fs_read", path="src/a.py") == "inside"
            except ToolError:
                came["refused"] += 1
            else:
                came["read"] += 1
    assert came["read"]
    assert came["refused"]


async def test_c1_a_folder_swapped_for_a_link_never_lets_a_write_out(work: Path, tmp_path: Path) -> None:
    roots = Roots(work)
    outside = tree_of(tmp_path / "outside")
    came = Counter[str]()
    with in_a_loop(swapping(work / "src", tmp_path / "outside")):
        for number in _rounds(came, "written", "refused"):
            try:
                await call(roots, "fs_write", path=f"src/new{number % 7}/file", content="x")
                await call(roots, "fs_edit", path="src/a.py", old="inside", new="inside")
            except ToolError:
                came["refused"] += 1
            try:
                await call(roots, "fs_edit", path="src/a.py", old="inside\n", new=f"inside\n{number}\n")
            except ToolError:
                came["refused"] += 1
            else:
                came["written"] += 1
    assert came["written"]
    assert came["refused"]
    assert tree_of(tmp_path / "outside") == outside
    assert sorted(path.name for path in (tmp_path / "outside").iterdir()) == ["a.py"]
    assert not [name for name in tree_of(work) if name.endswith(".tmp")]


async def test_c1_a_file_swapped_for_a_link_never_lets_a_write_out(work: Path, tmp_path: Path) -> None:
    roots = Roots(work)
    came = Counter[str]()
    with in_a_loop(lambda: _link_over(work / "src" / "a.py", tmp_path / "outside" / "a.py")):
        for _ in _rounds(came, "written"):
            try:
                await call(roots, "fs_write", path="src/a.py", content="inside\n")
            except ToolError:
                continue
            came["written"] += 1
    assert came["written"]
    assert (tmp_path / "outside" / "a.py").read_text() == "secret\n"


def _link_over(path: Path, target: Path) -> None:
    """Put a link where a file stands, by a rename, and take it away again."""
    link = path.with_name("link")
    link.symlink_to(target)
    link.replace(path)
    path.unlink(missing_ok=True)


def _just_before(
    monkeypatch: pytest.MonkeyPatch, function: str, name: str, act: Callable[[], object]
) -> None:
    """Let something happen right before the system is first asked to do `function` with this name."""
    real = getattr(os, function)
    waiting = [act]

    def asked(*args: Any, **kwargs: Any) -> Any:
        if name in args and waiting:
            waiting.pop()()
        return real(*args, **kwargs)

    monkeypatch.setattr(os, function, asked)


def _swap(path: Path, target: Path) -> None:
    path.rename(path.with_name(path.name + ".aside"))
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fs_read", {"path": "src/a.py"}),
        ("fs_ls", {"path": "src"}),
        ("fs_grep", {"path": "src", "pattern": "."}),
        ("fs_grep", {"path": ".", "pattern": "secret", "glob": "src/*"}),
        ("fs_glob", {"pattern": "src/*"}),
        ("fs_write", {"path": "src/a.py", "content": "x"}),
        ("fs_write", {"path": "src/new", "content": "x"}),
        ("fs_edit", {"path": "src/a.py", "old": "secret", "new": "x"}),
    ],
)
async def test_c1_a_folder_swapped_between_look_and_use(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arguments: dict[str, Any]
) -> None:
    (tmp_path / "outside" / "only-outside").write_text("secret\n")
    outside = tree_of(tmp_path / "outside")
    _just_before(monkeypatch, "open", "src", lambda: _swap(work / "src", tmp_path / "outside"))
    try:
        told = await call(Roots(work), name, **arguments)
    except ToolError as error:
        told = str(error)
    assert (work / "src").is_symlink()
    assert "only-outside" not in told
    assert "secret" not in told.replace("fits secret", "")
    assert tree_of(tmp_path / "outside") == outside


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fs_read", {"path": "src/a.py"}),
        ("fs_grep", {"path": "src/a.py", "pattern": "."}),
        ("fs_grep", {"path": "src", "pattern": "secret"}),
        ("fs_write", {"path": "src/a.py", "content": "x"}),
        ("fs_edit", {"path": "src/a.py", "old": "secret", "new": "x"}),
    ],
)
async def test_c1_a_file_swapped_between_look_and_use(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arguments: dict[str, Any]
) -> None:
    outside = tmp_path / "outside" / "a.py"
    _just_before(monkeypatch, "open", "a.py", lambda: _swap(work / "src" / "a.py", outside))
    try:
        told = await call(Roots(work), name, **arguments)
    except ToolError as error:
        told = str(error)
    assert (work / "src" / "a.py").is_symlink()
    assert "secret" not in told.replace("fits secret", "")
    assert outside.read_text() == "secret\n"


@pytest.mark.parametrize(("function", "name"), [("replace", "a.py"), ("mkdir", "new"), ("open", "new")])
async def test_c1_a_folder_swapped_in_the_middle_of_a_write(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, name: str
) -> None:
    path = "src/a.py" if name == "a.py" else "src/new/er/a.py"
    target = work / "src" if function != "open" else work / "src" / "new"

    def swap() -> None:
        (tmp_path / "outside" / "new").mkdir(exist_ok=True)
        _swap(target, tmp_path / "outside")

    _just_before(monkeypatch, function, name, swap)
    with contextlib.suppress(ToolError):
        await call(Roots(work), "fs_write", path=path, content="x")
    assert target.is_symlink()
    assert tree_of(tmp_path / "outside") == {"a.py": b"secret\n"}
    assert not list((tmp_path / "outside" / "new").iterdir())


async def test_c1_a_link_put_in_the_place_of_a_file_is_replaced_itself(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside" / "a.py"
    _just_before(monkeypatch, "replace", "a.py", lambda: _swap(work / "src" / "a.py", outside))
    await call(Roots(work), "fs_write", path="src/a.py", content="x")
    assert outside.read_text() == "secret\n"
    assert (work / "src" / "a.py").read_text() == "x"
    assert not (work / "src" / "a.py").is_symlink()


async def test_c1_a_hard_link_is_written_apart_from_its_other_name(work: Path, tmp_path: Path) -> None:
    os.link(tmp_path / "outside" / "a.py", work / "linked")
    await call(Roots(work), "fs_edit", path="linked", old="secret", new="inside")
    assert (work / "linked").read_text() == "inside\n"
    assert (tmp_path / "outside" / "a.py").read_text() == "secret\n"


@pytest.mark.timeout(20)
async def test_c1_special_files_are_refused_without_waiting_or_opening(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(work / "fifo")
    (work / "to-fifo").symlink_to("fifo")
    roots = Roots(work)
    opened: list[str] = []
    _just_before(monkeypatch, "open", "fifo", lambda: opened.append("fifo"))
    for path in ("fifo", "to-fifo"):
        with pytest.raises(ToolError, match="is a FIFO, not a regular file"):
            await call(roots, "fs_read", path=path)
        with pytest.raises(ToolError, match="is a FIFO"):
            await call(roots, "fs_write", path=path, content="x")
        with pytest.raises(ToolError, match="is a FIFO"):
            await call(roots, "fs_edit", path=path, old="a", new="b")
        with pytest.raises(ToolError, match="is a FIFO"):
            await call(roots, "fs_grep", pattern="x", path=path)
    assert "secret" not in await call(roots, "fs_grep", pattern=".")
    assert "fifo (a FIFO)" in await call(roots, "fs_ls")
    assert stat.S_ISFIFO((work / "fifo").lstat().st_mode)
    assert not opened  # that alone can wake up who waits at the other end
