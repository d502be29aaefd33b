"""Whatever path a model gives: the tools see what the kernel sees, inside the roots, or refuse in words."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_tools import call, tree_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyperguild.adapters.tools.diff import unified
from hyperguild.adapters.tools.edit import edited
from hyperguild.adapters.tools.path_pattern import Glob, GlobError, split_start
from hyperguild.adapters.tools.roots import Roots
from hyperguild.domain.tools import ToolError

LINKS = ["in", "up", "out", "abs", "absout", "far", "loop"]
NAMES = [*LINKS, "a", "b", "file", "..", "..", ".", "", "new", "é"]
PATHS = st.lists(st.sampled_from(NAMES), max_size=9).map("/".join)
ANY_PATH = st.text(st.characters() | st.sampled_from("./~:\0"), max_size=40) | st.text(
    st.sampled_from("./abfile~:*\0\n "), max_size=60
)
LINES = st.lists(st.sampled_from(["a", "b", "", " a", "a b", "\r"]), max_size=12).map("\n".join)


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A work directory with links of all kinds, its twin by name, and a folder outside."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(os.path.realpath(name))
        work = base / "work"
        (work / "a" / "b").mkdir(parents=True)
        for folder in (work, work / "a", work / "a" / "b"):
            (folder / "file").write_text("inside")
        (work / "in").symlink_to("a/b")
        (work / "a" / "up").symlink_to("..")
        (work / "a" / "b" / "far").symlink_to("../../in/../up/a")
        (work / "out").symlink_to("..")
        (work / "a" / "out").symlink_to("../../outside")
        (work / "abs").symlink_to(work / "a")
        (work / "absout").symlink_to("/")
        (work / "loop").symlink_to("loop")
        for beside in ("outside", "works"):
            (base / beside).mkdir()
            (base / beside / "file").write_text("outside")
        yield base


@pytest.fixture(scope="module")
def roots(base: Path) -> Roots:
    return Roots(base / "work", read_only={"skill:/": base / "works"})


def inside(path: str, folder: Path) -> bool:
    return path == str(folder) or path.startswith(f"{folder}/")


@settings(max_examples=400)
@given(PATHS, st.sampled_from(["", "", "/", "{work}/", "{work}s/", "{work}/../", "skill:/"]))
@example("a/up/a/up/../outside/file", "")
def test_c1_a_path_comes_to_what_the_kernel_says_or_is_refused(
    base: Path, roots: Roots, path: str, start: str
) -> None:
    work = base / "work"
    given_path = start.format(work=work) + path
    asked = f"{base}/works/{path}" if start == "skill:/" else os.path.join(work, given_path)  # noqa: PTH118
    try:
        resolved = roots.resolve(given_path)
    except ToolError:
        steps = [name for name in given_path.split("/") if name not in {"", "."}]
        plain = given_path != "" and set(steps).isdisjoint({"..", "file", *LINKS})
        assert not (plain and inside(os.path.normpath(asked), work)), "a plain path inside was refused"
        return
    root = Path(resolved.root.folder)
    assert root in {work, base / "works"}
    assert inside(resolved.absolute, root)
    assert resolved.absolute == os.path.realpath(asked)
    assert resolved.writable is (root == work)


@settings(max_examples=200)
@given(ANY_PATH)
@example("\ud800")
@example("a\0b")
@example("../" * 2_000)
@example("a/" * 2_000 + "x")
@example("x" * 5_000)
def test_c1_any_text_is_a_path_inside_or_refused_in_words(base: Path, roots: Roots, path: str) -> None:
    try:
        resolved = roots.resolve(path)
    except ToolError as error:
        told = str(error)
        assert told
        assert len(told) < 9_000
        assert told.encode("utf-8")
        assert "\n" not in told
    else:
        assert inside(resolved.absolute, Path(resolved.root.folder))


@settings(max_examples=60)
@given(st.one_of(PATHS, ANY_PATH), st.sampled_from(["fs_write", "fs_edit", "fs_read", "fs_ls", "fs_glob"]))
def test_c1_no_call_touches_what_is_outside(path: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        work = base / "work"
        (work / "a" / "b").mkdir(parents=True)
        (work / "a" / "file").write_text("inside")
        (base / "outside").mkdir()
        (base / "outside" / "file").write_text("outside")
        (work / "out").symlink_to("..")
        (work / "a" / "out").symlink_to("../../outside")
        (work / "far").symlink_to(base / "outside" / "file")
        before = {key: data for key, data in tree_of(base).items() if not key.startswith("work/")}
        arguments = {
            "fs_write": {"path": path, "content": "x"},
            "fs_edit": {"path": path, "old": "side", "new": "x"},
            "fs_glob": {"pattern": path or "*"},
        }.get(name, {"path": path})
        try:
            told = asyncio.run(call(Roots(work), name, **arguments))
        except ToolError:
            told = ""
        assert told != "outside"
        after = tree_of(base)
        assert {key: data for key, data in after.items() if not key.startswith("work/")} == before
        assert not [key for key in after if key.endswith(".tmp")]


@given(LINES, LINES)
def test_c3_a_difference_holds_both_texts(before: str, after: str) -> None:
    diff = unified(before, after, "name")
    assert (diff == "") is (before == after)
    if not diff:
        return
    body = [line for line in diff.split("\n")[2:] if not line.startswith(("@@", "\\"))]
    changed = [line for line in body if line[0] in "+-"]
    assert len(changed) == sum(line[0] == "-" for line in body) + sum(line[0] == "+" for line in body)
    assert changed
    assert before.count("\n") - after.count("\n") in {
        sum(line[0] == "-" for line in body) - sum(line[0] == "+" for line in body) + by for by in (-1, 0, 1)
    }


@given(st.text("ab\n\r", max_size=30), st.text("ab\n", min_size=1, max_size=4), st.text("abc\n", max_size=4))
def test_c1_an_edit_is_a_replacement_of_the_text_with_line_feeds(text: str, old: str, new: str) -> None:
    flat = text.replace("\r\n", "\n")
    try:
        data, count = edited(text.encode(), old, new, everywhere=True)
    except ToolError:
        assert old == new or old not in flat
        return
    assert count == flat.count(old)
    # What is put in may stand behind a lone carriage return, and makes a CRLF with it then.
    if "\r" not in flat:
        assert data.decode().replace("\r\n", "\n") == flat.replace(old, new)


@given(
    st.text("ab*?[]{},/.!", max_size=20),
    st.lists(st.text("ab.", min_size=1, max_size=3), min_size=1, max_size=5),
)
def test_c1_a_glob_never_fails_on_a_path(pattern: str, parts: list[str]) -> None:
    start, rest = split_start(pattern)
    assert (
        (f"{start}/{rest}" if start else rest).replace("/./", "/").replace("//", "/").strip("/")
        == (pattern.replace("/./", "/").replace("//", "/").strip("/"))
        or "." in pattern
        or "//" in pattern
    )
    try:
        glob = Glob(rest)
    except GlobError:
        return
    assert glob.matches(parts) in {True, False}


@given(st.lists(st.text("ab.", min_size=1, max_size=3), min_size=1, max_size=5))
def test_c1_a_glob_without_magic_fits_just_its_path(parts: list[str]) -> None:
    parts = [part for part in parts if part != "."] or ["a"]
    path = "/".join(parts)
    assert Glob(f"./{path}").matches(parts)
    assert not Glob(f"./{path}").matches([*parts, "x"])
    assert Glob(parts[-1]).matches(parts)
    assert Glob("**").matches(parts)
    assert Glob(f"{parts[0]}/**").matches(parts)
