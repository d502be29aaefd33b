"""fs_glob and fs_grep over real folders."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from file_tools import call

from hyperguild.adapters.tools import searching, tree
from hyperguild.adapters.tools.matches import MATCHES_MAX
from hyperguild.adapters.tools.path_pattern import Glob, GlobError, split_start
from hyperguild.adapters.tools.roots import Roots
from hyperguild.domain.tools import ToolError


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    for name, text in {
        "README.md": "# Title\nneedle in the readme\n",
        "src/main.py": "import os\n\ndef main():\n    return needle\n",
        "src/app/view.py": "class View:\n    pass\n",
        "src/app/view.js": "needle()\r\n",
        "tests/test_main.py": "def test(): ...\n",
        ".github/workflows/ci.yml": "on: push\n",
        ".git/config": "needle\n",
        "node_modules/x/index.js": "needle\n",
        "env/pyvenv.cfg": "home = /usr\n",
        "env/lib/site.py": "needle\n",
        "target/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n",
        "target/debug/out.txt": "needle\n",
    }.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    (work / "src" / "logo.png").write_bytes(b"\x89PNG\r\n\0needle")
    (work / "src" / "linked").symlink_to("app")
    (work / "src" / "link.py").symlink_to("main.py")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.py").write_text("needle\n")
    (work / "out").symlink_to("../outside")
    (work / "out.py").symlink_to("../outside/secret.py")
    return work


@pytest.fixture
def roots(work: Path) -> Roots:
    return Roots(work)


def files(told: str) -> list[str]:
    return [line for line in told.split("\n") if not line.startswith("[")]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.py", ["out.py", "src/link.py", "src/main.py", "src/app/view.py", "tests/test_main.py"]),
        ("./*.py", ["out.py"]),
        ("src/*.py", ["src/link.py", "src/main.py"]),
        ("src/**/*.py", ["src/link.py", "src/main.py", "src/app/view.py"]),
        ("src/**.js", ["src/app/view.js"]),
        ("**/view.*", ["src/app/view.js", "src/app/view.py"]),
        ("{src,tests}/**/*.{py,js}", [
            "src/link.py", "src/main.py", "src/app/view.js", "src/app/view.py", "tests/test_main.py",
        ]),
        ("**/ci.yml", [".github/workflows/ci.yml"]),
        ("src/app/", ["src/app/view.js", "src/app/view.py"]),
        ("src/app/view.py", ["src/app/view.py"]),
        ("src/app/../main.p[xy]", ["src/main.py"]),
        ("s?c/[!l]*.py", ["src/main.py"]),
        ("node_modules/**", ["node_modules/x/index.js"]),
        ("skill:/**", ["skill:/SKILL.md"]),
        ("view", []),
    ],
)  # fmt: skip
async def test_c1_glob(work: Path, tmp_path: Path, pattern: str, found: list[str]) -> None:
    (tmp_path / "skill").mkdir()
    (tmp_path / "skill" / "SKILL.md").touch()
    roots = Roots(work, read_only={"skill:/": tmp_path / "skill"})
    assert files(await call(roots, "fs_glob", pattern=pattern)) == found


async def test_c1_glob_from_a_folder(roots: Roots, work: Path) -> None:
    assert files(await call(roots, "fs_glob", pattern="*.py", path="src/app")) == ["src/app/view.py"]
    assert files(await call(roots, "fs_glob", pattern="app/*.py", path="src/")) == ["src/app/view.py"]
    assert files(await call(roots, "fs_glob", pattern=f"{work}/src/app/*.py", path="src")) == [
        "src/app/view.py"
    ]
    assert files(await call(roots, "fs_glob", pattern="*.py", path="src/linked")) == ["src/app/view.py"]
    assert await call(roots, "fs_glob", pattern="*.rs", path="src") == "[no file fits *.rs]"


async def test_c1_a_search_says_what_it_left_out(roots: Roots) -> None:
    told = await call(roots, "fs_glob", pattern="**")
    assert "[not searched: env, node_modules, target; name one as path to do so]" in told
    assert not [name for name in files(told) if name.startswith((".git/", "env/", "target/", "node_modules"))]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("*/../x", "`..` cannot stand behind a wildcard"),
        ("../*", "outside the work directory"),
        ("/etc/*", "outside the work directory"),
        ("out/*", "outside the work directory"),
        ("nowhere/*", "nowhere does not exist"),
        ("x" * 2_000, "longer than 1000"),
        ("{a,b}" * 10, "more than 64 patterns"),
        ("README.md/*", "is a file, not a folder"),
    ],
)
async def test_c1_glob_refuses(roots: Roots, pattern: str, why: str) -> None:
    with pytest.raises(ToolError, match=why):
        await call(roots, "fs_glob", pattern=pattern)


async def test_c1_glob_is_bounded(roots: Roots, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(searching.FILES_SHOWN_MAX + 10):
        (work / "tests" / f"{number:04}.txt").touch()
    told = (await call(roots, "fs_glob", pattern="*.txt")).split("\n")
    assert told[0] == "tests/0000.txt"
    assert told[searching.FILES_SHOWN_MAX] == "[200 of 210 files; narrow the pattern]"
    monkeypatch.setattr(tree.Tree.__init__, "__kwdefaults__", {"entries_max": 20})
    assert "stopped after" in await call(roots, "fs_glob", pattern="*.nothing")


@pytest.mark.timeout(20)
def test_c1_a_malicious_glob_takes_little_time() -> None:
    assert not Glob("*a" * 400 + "b").matches(["a" * 255] * 10)
    assert not Glob("**/a*/" * 100 + "b").matches(["aa"] * 500)


@pytest.mark.parametrize(
    ("pattern", "start", "rest"),
    [
        ("*.py", "", "*.py"),
        ("a", "", "a"),
        ("a/b", "a", "./b"),
        ("a/b/*.py", "a/b", "./*.py"),
        ("a/**/b", "a", "**/b"),
        ("/a/*", "/a", "./*"),
        ("/*", "/", "./*"),
        ("a{b/c,d}/e", "", "a{b/c,d}/e"),
    ],
)
def test_c1_where_a_pattern_begins(pattern: str, start: str, rest: str) -> None:
    assert split_start(pattern) == (start, rest)


def test_c1_braces_are_bounded() -> None:
    with pytest.raises(GlobError):
        Glob("{" * 5 + ",".join("a" * 80) + "}" * 5)


async def test_c1_grep_tells_file_line_and_text(roots: Roots) -> None:
    told = await call(roots, "fs_grep", pattern="needle")
    assert files(told) == [
        "README.md:2: needle in the readme",
        "src/main.py:4:     return needle",
        "src/app/view.js:1: needle()",
    ]
    assert "not searched: env" in told


async def test_c1_grep_in_a_file_a_folder_or_some_files(roots: Roots) -> None:
    assert (
        await call(roots, "fs_grep", pattern="need.e", path="src/main.py")
        == "src/main.py:4:     return needle"
    )
    assert (
        await call(roots, "fs_grep", pattern="needle", path="src/link.py")
        == "src/main.py:4:     return needle"
    )
    told = await call(roots, "fs_grep", pattern="needle", path="src", glob="*.js")
    assert told == "src/app/view.js:1: needle()"
    assert await call(roots, "fs_grep", pattern="needle", glob="src/**/*.js") == told + (
        "\n[not searched: env, node_modules, target; name one as path to do so]"
    )
    assert await call(roots, "fs_grep", pattern="needle", path="src", glob="app/*.{js,py}") == told
    assert files(await call(roots, "fs_grep", pattern="needle", path=".git")) == [".git/config:1: needle"]
    assert await call(roots, "fs_grep", pattern="nothing", path="src") == (
        "[no line fits nothing (3 files searched)]"
    )
    with pytest.raises(ToolError, match="outside"):
        await call(roots, "fs_grep", pattern="needle", path="out.py")
    with pytest.raises(ToolError, match="nowhere does not exist"):
        await call(roots, "fs_grep", pattern="needle", path="nowhere")


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        (r"^\s*def", [3]),
        (r"(?i)IMPORT", [1]),
        (r"os$", [1]),
        (r"\A\s+return", [4]),
        (r"(?<=return )needle\Z", [4]),
        (r"(?!.*os)i.*", [3]),  # ma(in)
        (r"m.*+\(", []),
        (r"\s+", [1, 3, 4]),
        (r"import[^x]*main", []),  # a match lies within one line
        (r"(?:main|os)", [1, 3]),
        (r"^$", [2]),
    ],
)
async def test_c1_grep_looks_at_each_line_by_itself(roots: Roots, pattern: str, lines: list[int]) -> None:
    told = files(await call(roots, "fs_grep", pattern=pattern, path="src/main.py"))
    assert [int(line.split(":")[1]) for line in told] == lines


async def test_c1_grep_shows_lines_around(roots: Roots, work: Path) -> None:
    (work / "a").write_text("".join(f"{n}\n" for n in "abcdefgXhXijklmnoX"))
    assert (await call(roots, "fs_grep", pattern="X", path="a", context=1)).split("\n") == [
        "a-7- g",
        "a:8: X",
        "a-9- h",
        "a:10: X",
        "a-11- i",
        "--",
        "a-17- o",
        "a:18: X",
    ]
    told = await call(roots, "fs_grep", pattern="^needle|main", context=1, glob="{README.md,main.py}")
    assert files(told) == [
        "README.md-1- # Title",
        "README.md:2: needle in the readme",
        "--",
        "src/main.py-2- ",
        "src/main.py:3: def main():",
        "src/main.py-4-     return needle",
    ]


async def test_c1_grep_is_bounded(roots: Roots, work: Path) -> None:
    (work / "many").write_text("X\n" * 1_000)
    told = (await call(roots, "fs_grep", pattern="X", path="many")).split("\n")
    assert len(told) == MATCHES_MAX + 1
    assert told[-1].startswith("[only the first 100 matches are shown; narrow the pattern")
    (work / "wide").write_text(("-" * 5_000 + "X" + "-" * 5_000 + "\n") * 80)
    told = (await call(roots, "fs_grep", pattern="X", path="wide")).split("\n")
    assert all("X" in line and len(line) < 330 for line in told[:-1])
    assert len("\n".join(told)) < 16 * 1024
    assert "only the first" in told[-1]


async def test_c1_grep_passes_over_what_is_too_large(
    roots: Roots, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "SEARCHED_BYTES_MAX", 100)
    (work / "src" / "large").write_text("needle " * 100)
    told = await call(roots, "fs_grep", pattern="needle", path="src")
    assert "src/large" not in told
    assert "[1 large files were not searched]" in told


@pytest.mark.parametrize("pattern", ["foo(", "[a", "*x", "(?P<a", "x{2,1}"])
async def test_c5_a_bad_expression_is_told_with_its_plain_form(roots: Roots, pattern: str) -> None:
    with pytest.raises(ToolError, match=r"no regular expression: .*as plain text it would be"):
        await call(roots, "fs_grep", pattern=pattern)
    with pytest.raises(ToolError, match="longer than"):
        await call(roots, "fs_grep", pattern="x" * 2_000)


@pytest.mark.timeout(30)
async def test_c1_a_malicious_expression_ends_in_time(roots: Roots, work: Path) -> None:
    (work / "a").write_text("a" * 40 + "!\n")
    with pytest.raises(ToolError, match="took more than 1 s; simplify the pattern"):
        await call(roots, "fs_grep", pattern="^(a|a)*$", path="a")


@pytest.mark.timeout(60)
async def test_a4_a_cancelled_search_ends_its_thread(roots: Roots, work: Path) -> None:
    for number in range(200):
        (work / "src" / f"{number}.txt").write_text("xy" * 100_000)
    task = asyncio.create_task(call(roots, "fs_grep", pattern="(x|y)*z", path="src"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Returns only when all threads are done.
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_c1_grep_agrees_with_the_real_one(roots: Roots, work: Path) -> None:
    argv = ["grep", "-rnE", "--include=*.py", "(im|re)[a-z]+", "src", "tests"]
    real = subprocess.run(argv, cwd=work, capture_output=True, text=True, check=True).stdout  # noqa: ASYNC221
    told = files(await call(roots, "fs_grep", pattern="(im|re)[a-z]+", glob="{src,tests}/**/*.py"))
    assert sorted(line.replace(": ", ":", 1) for line in told) == sorted(real.splitlines())
