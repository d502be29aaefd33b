"""fs_read and fs_ls over real folders, and how the file tools are offered."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from file_tools import call, without_privileges

from hyperguild.adapters.tools.files import file_tools, paths_of
from hyperguild.adapters.tools.reading import LISTED_MAX, READ_CHARS, READ_LINES, FsRead
from hyperguild.adapters.tools.roots import Roots
from hyperguild.domain.tools import ToolError

SCHEMA_CHARS_MAX = 2_500
"""Of all six together: small models are sent them at every step."""


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    (tmp_path / "work" / "src").mkdir(parents=True)
    return Roots(tmp_path / "work")


@pytest.fixture
def work(roots: Roots) -> Path:
    return Path(roots.work.folder)


def test_c1_the_schemas_are_short_and_valid(roots: Roots) -> None:
    specs = {tool.spec.name: tool.spec for tool in file_tools(roots)}
    offered = [
        {"name": spec.name, "description": spec.description, "parameters": spec.parameters}
        for spec in specs.values()
    ]
    assert len(json.dumps(offered)) <= SCHEMA_CHARS_MAX
    for spec in specs.values():
        jsonschema.Draft202012Validator.check_schema(spec.parameters)
    assert {name: (spec.category, spec.effect) for name, spec in specs.items()} == {
        "fs_read": ("read", "read"),
        "fs_ls": ("read", "read"),
        "fs_glob": ("search", "read"),
        "fs_grep": ("search", "read"),
        "fs_write": ("write", "write"),
        "fs_edit": ("write", "write"),
    }


def test_c1_the_paths_of_a_call_are_known_before_it_runs(roots: Roots, tmp_path: Path) -> None:
    def relative(name: str, **arguments: object) -> list[str]:
        return [path.relative for path in paths_of(name, arguments, roots)]

    assert relative("fs_read", path="src/../a") == ["a"]
    assert relative("fs_write", path="new/a", content="x") == ["new/a"]
    assert relative("fs_edit", path="a", old="x", new="y") == ["a"]
    assert relative("fs_ls") == relative("fs_grep", pattern="x") == relative("fs_glob", pattern="*") == ["."]
    assert relative("fs_glob", pattern="src/**/*.py") == ["src"]
    assert relative("fs_glob", pattern="**", path="src") == ["src"]
    assert relative("fs_glob", pattern=f"{tmp_path}/work/src/*") == ["src"]
    assert relative("shell", command="cat /etc/passwd") == []
    assert relative("fs_read", path=3) == []
    for name, arguments in (("fs_glob", {"pattern": "/etc/*"}), ("fs_glob", {"pattern": "../*"})):
        with pytest.raises(ToolError, match="outside"):
            paths_of(name, arguments, roots)


async def test_c1_read_returns_the_text_as_it_is(roots: Roots, work: Path) -> None:
    (work / "a.py").write_text("def f():\n\treturn 'ä'\n")
    assert await call(roots, "fs_read", path="a.py") == "def f():\n\treturn 'ä'"
    assert await call(roots, "fs_read", path=f"{work}/a.py") == "def f():\n\treturn 'ä'"


async def test_c1_read_in_parts(roots: Roots, work: Path) -> None:
    (work / "a").write_text("".join(f"line {number}\n" for number in range(1, 11)))
    assert (await call(roots, "fs_read", path="a", offset=3, limit=2)).split("\n") == [
        "line 3",
        "line 4",
        "[lines 3 to 4 of 10; go on with offset 5]",
    ]
    assert await call(roots, "fs_read", path="a", offset=9) == "line 9\nline 10"
    assert await call(roots, "fs_read", path="a", offset=10, numbers=True) == "    10\tline 10"
    with pytest.raises(ToolError, match="has 10 lines; offset 11 is behind its end"):
        await call(roots, "fs_read", path="a", offset=11)


async def test_c1_read_says_how_to_go_on_in_a_long_file(roots: Roots, work: Path) -> None:
    lines = [f"line {number} " + "x" * (number % 40) for number in range(1, 5_001)]
    (work / "long").write_text("\n".join(lines))
    offset, parts = 1, []
    while True:
        told = (await call(roots, "fs_read", path="long", offset=offset)).split("\n")
        if not told[-1].startswith("["):
            break
        assert len("\n".join(told)) < 16 * 1024
        assert len(told) <= READ_LINES + 1
        offset = int(told[-1].removesuffix("]").split()[-1])
        parts += told[:-1]
    assert parts + told == lines


async def test_c1_read_of_one_endless_line_gives_its_head(roots: Roots, work: Path) -> None:
    (work / "min.js").write_text("a" * 100_000 + "\nsecond\n")
    told = await call(roots, "fs_read", path="min.js")
    assert len(told) < READ_CHARS + 300
    assert "[line 1 has 100,000 characters; its head is shown]" in told
    assert "[lines 1 to 1 of 2; go on with offset 2]" in told


async def test_c1_read_bounds_what_it_is_told_to(roots: Roots, work: Path) -> None:
    (work / "a").write_text("1234567\n" * 5)
    small = FsRead(roots, chars_max=16)
    told = small._read({"path": "a"})
    assert told == "1234567\n1234567\n[lines 1 to 2 of 5; go on with offset 3]"


async def test_c1_read_of_other_texts(roots: Roots, work: Path) -> None:
    (work / "empty").touch()
    (work / "crlf").write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    (work / "latin").write_bytes("Grüße\n".encode("latin-1"))
    (work / "feeds").write_bytes("a\x0cb\u2028c\n".encode())
    assert await call(roots, "fs_read", path="empty") == "[empty is empty]"
    assert await call(roots, "fs_read", path="crlf") == "a\nb"
    told = await call(roots, "fs_read", path="latin")
    assert told == "Gr\ufffd\ufffde\n[bytes that are not UTF-8 are shown as \ufffd]"
    assert await call(roots, "fs_read", path="feeds") == "a\x0cb\u2028c"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "a PNG image"),
        (b"\xff\xd8\xff\xe0", "a JPEG image"),
        (b"%PDF-1.7", "a PDF document"),
        (b"some\0thing", "binary data"),
        ("text".encode("utf-16"), "perhaps text in UTF-16"),
    ],
)
async def test_c1_read_refuses_what_is_no_text(roots: Roots, work: Path, head: bytes, kind: str) -> None:
    (work / "file").write_bytes(head + b"x" * 1_000)
    with pytest.raises(ToolError, match=rf"file is not text: {kind}, 1,\d\d\d bytes"):
        await call(roots, "fs_read", path="file")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("src/mian.py", "src/mian.py does not exist; did you mean src/main.py?"),
        ("SRC/main.py", "did you mean src/main.py?"),
        ("main.py", "did you mean src/main.py?"),
        ("lib/main.py", "did you mean src/main.py?"),
        ("src/zzz", "src/zzz does not exist; src holds: main.py, other.py"),
        ("src/void/zzz", "src/void is empty"),
        ("src", "src is a folder, not a file; fs_ls lists it"),
        (".", ". is a folder"),
    ],
)
async def test_c5_a_missing_file_is_told_with_what_is_near(
    roots: Roots, work: Path, path: str, said: str
) -> None:
    (work / "src" / "main.py").touch()
    (work / "src" / "other.py").touch()
    if "void" in path:
        (work / "src" / "void").mkdir()
    with pytest.raises(ToolError) as caught:
        await call(roots, "fs_read", path=path)
    assert said in str(caught.value)


async def test_c5_a_file_that_may_not_be_read(roots: Roots, work: Path) -> None:
    (work / "shut").write_text("x")
    (work / "shut").chmod(0o000)
    (work / "closed").mkdir(mode=0o000)
    (work / "unlisted").mkdir(mode=0o311)
    (work / "unlisted" / "a").write_text("inside")
    with without_privileges(work):
        for path in ("shut", "closed/a"):
            with pytest.raises(ToolError, match=f"{path}: permission denied"):
                await call(roots, "fs_read", path=path)
        assert await call(roots, "fs_read", path="unlisted/a") == "inside"
        with pytest.raises(ToolError, match="permission denied"):
            await call(roots, "fs_ls", path="unlisted")
        told = await call(roots, "fs_grep", pattern="inside")
        assert "1 files could not be read" in told
        assert "not searched: closed, unlisted" in told


async def test_c1_ls_names_everything_once(roots: Roots, work: Path) -> None:
    (work / "a b.txt").write_text("12345")
    (work / ".hidden").touch()
    (work / "link").symlink_to("src/x")
    (work / "line\nfeed").touch()
    assert (await call(roots, "fs_ls")).split("\n") == [
        ".hidden (0 bytes)",
        "a b.txt (5 bytes)",
        "line?feed (0 bytes)",
        "link -> src/x",
        "src/",
    ]
    assert await call(roots, "fs_ls", path="src") == "[src is empty]"
    assert await call(roots, "fs_ls", path="a b.txt") == "a b.txt (5 bytes)"
    with pytest.raises(ToolError, match=r"scr does not exist; did you mean src\?"):
        await call(roots, "fs_ls", path="scr")


async def test_c1_ls_is_bounded(roots: Roots, work: Path) -> None:
    for number in range(LISTED_MAX + 5):
        (work / "src" / f"{number:04}").touch()
    lines = (await call(roots, "fs_ls", path="src")).split("\n")
    assert len(lines) == LISTED_MAX + 1
    assert lines[-1] == f"[{LISTED_MAX} of {LISTED_MAX + 5} names; fs_glob finds the others]"


async def test_c6_names_that_are_no_utf8_can_be_told(roots: Roots, work: Path) -> None:
    with open(bytes(work / "src") + b"/\xff\xfe", "w") as file:  # noqa: ASYNC230, PTH123
        file.write("needle")
    for told in (
        await call(roots, "fs_ls", path="src"),
        await call(roots, "fs_glob", pattern="**"),
        await call(roots, "fs_grep", pattern="needle"),
    ):
        assert told.encode("utf-8")
        assert "??" in told
