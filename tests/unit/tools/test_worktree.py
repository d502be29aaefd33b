"""Worktrees of attempts, over real repositories: what arrives, what is kept, what is never touched."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from shells import sh, working_sandbox
from worktrees import ORIGIN, Repo, listing, new_repo

from hyperguild.adapters.tools.repository import KEPT_MOST
from hyperguild.adapters.tools.sandbox import Bounds, Sandbox
from hyperguild.adapters.tools.shell import ShellTool
from hyperguild.domain.agent import WorkOrder
from hyperguild.errors import UsageError


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = new_repo(tmp_path)
    repo.write("a.txt", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n")
    repo.write("sub/b.txt", "b\n")
    repo.write(".gitignore", "*.log\nbuild/\n")
    repo.commit()
    return repo


@pytest.fixture
def sandbox() -> Sandbox:
    return working_sandbox()


async def attempt(
    repo: Repo, change: Callable[[Path], object], *, accepted: bool = True, order: WorkOrder | None = None
) -> tuple[str, ...]:
    """Make a change in a worktree of its own, and settle it; return all warnings."""
    async with repo.worktrees.open(order or repo.order, ORIGIN) as worktree:
        change(worktree.order.folder)
        warnings = (*worktree.warnings, *await worktree.settle(accepted))
    assert repo.places() == []
    return warnings


def write(name: str, content: str = "changed\n") -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return change


async def test_a_worktree_holds_the_files_as_they_are_now(repo: Repo) -> None:
    repo.write("a.txt", "not committed\n")
    repo.write("staged.txt", "staged\n")
    repo.git("add", "staged.txt")
    repo.write("staged.txt", "staged, then changed\n")
    repo.write("new/file.txt")
    repo.write("new/private.txt").chmod(0o600)
    (repo.top / "sub" / "b.txt").unlink()
    repo.write("noise.log")
    before = repo.own_state()
    async with repo.worktrees.open(repo.order, ORIGIN) as worktree:
        seen = listing(worktree.order.folder)
        expected = listing(repo.top)
        del expected[b"noise.log"]
        assert seen == expected
        assert worktree.order.folder.name == "repo"
        (place,) = repo.places()
        assert {path.stat().st_mode & 0o777 for path in (repo.state, place)} == {0o700}
    assert repo.own_state() == before
    assert repo.places() == []
    assert repo.kept() == []


async def test_commands_in_it_see_history_and_what_is_staged(repo: Repo) -> None:
    repo.write("a.txt", "staged\n")
    repo.git("add", "a.txt")
    repo.write("sub/b.txt", "not staged\n")
    asked = (
        ("status", "--porcelain"),
        ("diff",),
        ("diff", "--staged"),
        ("log", "--format=%H %s"),
        ("rev-parse", "main"),
    )
    async with repo.worktrees.open(repo.order, ORIGIN) as worktree:
        there = Repo(worktree.order.folder, repo.state, repo.env)
        assert [there.git(*words) for words in asked] == [repo.git(*words) for words in asked]


async def test_what_an_accepted_attempt_changed_arrives_as_it_was(repo: Repo) -> None:
    odd = [b"with\nline feed", b"-dash", b"latin \xe9\xff", b" blank ", b'quo"te\\', "ünï".encode()]
    for name in ("gone.txt", "mode.sh", "turns/into/file.txt", "becomes-folder", "becomes-link", "old name"):
        repo.write(name, f"content of {name}\n" * 5)
    for raw in odd:
        (repo.top / os.fsdecode(b"odd-" + raw)).write_bytes(raw)
    repo.write("data.bin", bytes(range(256)) * 50)
    repo.write("dos.txt", "one\r\ntwo\r\nmixed\nno end")
    repo.write("secret.txt", "secret\n").chmod(0o600)
    (repo.top / "link").symlink_to("a.txt")
    (repo.top / "broken").symlink_to("nowhere")
    repo.commit()

    def change(folder: Path) -> None:
        (folder / "gone.txt").unlink()
        (folder / "mode.sh").chmod(0o755)
        shutil.rmtree(folder / "turns")
        (folder / "turns").write_text("a file now\n")
        (folder / "becomes-folder").unlink()
        write("becomes-folder/inside")(folder)
        (folder / "becomes-link").unlink()
        (folder / "becomes-link").symlink_to("/nowhere/at all")
        (folder / "old name").rename(folder / "new name")
        for name in odd:
            (folder / os.fsdecode(b"odd-" + name)).write_bytes(b"changed " + name)
            (folder / os.fsdecode(b"new-" + name)).write_bytes(name)
            (folder / os.fsdecode(b"empty-" + name)).write_bytes(b"")
        (folder / "data.bin").write_bytes(bytes(reversed(range(256))) * 50)
        (folder / "new.bin").write_bytes(b"\0\xff" * 999)
        (folder / "dos.txt").write_bytes(b"one\r\nTWO\r\nmixed\nno end, still")
        (folder / "secret.txt").write_text("still secret\n")
        (folder / "new-secret").write_text("new\n")
        (folder / "new-secret").chmod(0o600)
        (folder / "link").unlink()
        (folder / "link").symlink_to("sub/b.txt")
        (folder / "noise.log").write_text("ignored\n")
        (folder / "empty folder").mkdir()

    before = repo.git("ls-files", "--stage"), repo.git("for-each-ref"), repo.git("count-objects")
    async with repo.worktrees.open(repo.order, ORIGIN) as worktree:
        change(worktree.order.folder)
        expected = listing(worktree.order.folder)
        del expected[b"noise.log"]
        assert await worktree.settle(accepted=True) == ()
        assert await worktree.settle(accepted=False) == ()
    assert listing(repo.top) == expected
    assert (repo.git("ls-files", "--stage"), repo.git("for-each-ref"), repo.git("count-objects")) == before


async def test_line_ends_and_filters_are_left_alone(repo: Repo) -> None:
    """What attributes convert is worked on as it stands in the user's folder, and no filter runs."""
    repo.write(
        ".gitattributes",
        "*.bat text eol=crlf\n*.big filter=upper\n*.id ident\n*.u16 working-tree-encoding=UTF-16\n",
    )
    ran = repo.top.parent / "ran"
    for kind, program in (("clean", "tr a-z A-Z"), ("smudge", "tr A-Z a-z")):
        repo.git("config", f"filter.upper.{kind}", f"touch {ran}; {program}")
    repo.write("x.bat", b"one\r\ntwo\r\n")
    repo.write("x.big", "text\n")
    repo.write("x.id", "$Id$\n")
    repo.write("x.u16", "word\n".encode("utf-16"))
    repo.commit()
    assert ran.exists()
    ran.unlink()

    async with repo.worktrees.open(repo.order, ORIGIN) as worktree:
        folder = worktree.order.folder
        assert listing(folder) == listing(repo.top)
        (folder / "x.bat").write_bytes(b"one\r\ntwo\r\nthree\r\n")
        (folder / "x.big").write_bytes(b"text\nmore\n")
        (folder / "x.u16").write_bytes("other\n".encode("utf-16"))
        write("y.big")(folder)
        expected = listing(folder)
        assert await worktree.settle(accepted=True) == ()
    assert listing(repo.top) == expected
    assert not ran.exists()


async def test_a_refused_attempt_is_kept_under_a_ref_and_nothing_else_changes(repo: Repo) -> None:
    repo.write("a.txt", "the user's own\n")
    before, files = repo.own_state(), listing(repo.top)

    def change(folder: Path) -> None:
        write("a.txt", "the user's own\nand the attempt's\n")(folder)
        write("new.txt", "new\n")(folder)
        (folder / "sub" / "b.txt").unlink()

    (warning,) = await attempt(repo, change, accepted=False)
    (ref,) = repo.kept()
    assert warning == f"what phi4 changed was not applied, but is kept: `git -C {repo.top} show {ref}`"
    assert (repo.own_state(), listing(repo.top)) == (before, files)
    assert repo.git("diff", "--name-status", "HEAD", ref).split() == [
        "M",
        "a.txt",
        "A",
        "new.txt",
        "D",
        "sub/b.txt",
    ]
    assert "+and the attempt's" in repo.git("show", ref)
    assert "+the user's own" not in repo.git("show", ref)
    message = repo.git("log", "-1", "--format=%an%n%B", ref)
    assert message.split("\n")[:6] == [
        "hyperguild",
        "An attempt of phi4, not accepted",
        "",
        "Skill: mend",
        "Model: phi4",
        "Session: a-session",
    ]
    assert repo.git("fsck", "--no-dangling") == ""
    assert repo.git("rev-parse", f"{ref}~2") == repo.git("rev-parse", "HEAD")


async def test_an_attempt_that_changed_nothing_leaves_nothing(repo: Repo) -> None:
    objects = repo.git("count-objects")
    for accepted in (True, False):
        assert await attempt(repo, lambda folder: (folder / "a.txt").touch(), accepted=accepted) == ()
        assert await attempt(repo, write("noise.log"), accepted=accepted) == ()
    assert repo.kept() == []
    assert repo.git("count-objects") == objects


async def test_changes_are_merged_with_those_that_the_user_made_meanwhile(repo: Repo) -> None:
    def change(folder: Path) -> None:
        text = (folder / "a.txt").read_text()
        (folder / "a.txt").write_text(text.replace("one", "ONE"))
        repo.write("a.txt", text.replace("eight", "EIGHT"))
        repo.write("other.txt", "the user's\n")

    assert await attempt(repo, change) == ()
    assert (repo.top / "a.txt").read_text() == "ONE\ntwo\nthree\nfour\nfive\nsix\nseven\nEIGHT\n"
    assert (repo.top / "other.txt").read_text() == "the user's\n"


@pytest.mark.parametrize("meanwhile", ["edited", "deleted", "created"])
async def test_where_the_user_changed_the_same_all_is_kept_and_nothing_applied(
    repo: Repo, meanwhile: str
) -> None:
    def change(folder: Path) -> None:
        write("a.txt", "the attempt's\n")(folder)
        write("sub/b.txt", "the attempt's\n")(folder)
        write("new.txt", "the attempt's\n")(folder)
        if meanwhile == "edited":
            repo.write("sub/b.txt", "the user's\n")
        elif meanwhile == "deleted":
            (repo.top / "sub" / "b.txt").unlink()
        else:
            repo.write("new.txt", "the user's\n")
        seen.append(listing(repo.top))

    seen: list[dict[bytes, tuple[str, bytes]]] = []
    warning, remedy = await attempt(repo, change)
    (ref,) = repo.kept()
    assert [listing(repo.top)] == seen
    assert "could not be applied" in warning
    assert f"`git -C {repo.top} show {ref}`" in warning
    assert f"`git -C {repo.top} cherry-pick --no-commit {ref}`" in remedy
    # The command that it names does what it says.
    repo.git("stash", "-uq")
    repo.git("cherry-pick", "--no-commit", ref)
    assert (repo.top / "sub" / "b.txt").read_text() == "the attempt's\n"


async def test_the_work_directory_may_be_a_subfolder(repo: Repo) -> None:
    (repo.top / "empty").mkdir()
    order = WorkOrder(repo.top / "sub", allow_paths=(repo.top / "empty", repo.top.parent))
    async with repo.worktrees.open(order, ORIGIN) as worktree:
        folder = worktree.order.folder
        assert [path.name for path in folder.iterdir()] == ["b.txt"]
        inside, outside = worktree.order.allow_paths
        assert inside == folder.parent / "empty"
        assert outside == repo.top.parent
        write("c.txt", "c\n")(folder)
        write("d.txt", "d\n")(inside)
        assert await worktree.settle(accepted=True) == ()
    assert (repo.top / "sub" / "c.txt").read_text() == "c\n"
    assert (repo.top / "empty" / "d.txt").read_text() == "d\n"


async def test_an_ignored_work_directory_is_refused(repo: Repo) -> None:
    repo.write("build/x.txt")
    with pytest.raises(UsageError, match="git ignores this folder"):
        await attempt(repo, write("x"), order=WorkOrder(repo.top / "build"))


async def test_outside_a_repository_it_is_refused_with_a_remedy(repo: Repo) -> None:
    with pytest.raises(UsageError, match="not a git repository") as caught:
        await attempt(repo, write("x"), order=WorkOrder(repo.top.parent))
    assert "git init" in (caught.value.hint or "")


async def test_a_bare_repository_and_gits_own_folder_are_refused(repo: Repo) -> None:
    repo.git("init", "-q", "--bare", "../bare")
    for folder in (repo.top.parent / "bare", repo.top / ".git"):
        with pytest.raises(UsageError, match="work tree"):
            await attempt(repo, write("x"), order=WorkOrder(folder))


async def test_without_git_it_is_refused(repo: Repo) -> None:
    repo.env["PATH"] = str(repo.top)
    with pytest.raises(UsageError, match="needs git, which cannot be started") as caught:
        await attempt(repo, write("x"))
    assert "install git" in (caught.value.hint or "")


async def test_a_repository_without_commits_will_do(tmp_path: Path) -> None:
    repo = new_repo(tmp_path)
    repo.write("a.txt")
    assert await attempt(repo, write("b.txt", "b\n")) == ()
    assert (repo.top / "b.txt").read_text() == "b\n"
    (warning,) = await attempt(repo, write("a.txt"), accepted=False)
    (ref,) = repo.kept()
    assert ref in warning
    assert "+changed" in repo.git("show", ref)


async def test_submodules_are_left_out_and_that_is_said(repo: Repo, tmp_path: Path) -> None:
    other = new_repo(tmp_path / "other")
    other.write("lib.txt")
    other.commit()
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.top), "lib")
    repo.commit()

    def change(folder: Path) -> None:
        assert list((folder / "lib").iterdir()) == []
        write("lib/new.txt")(folder)
        write("a.txt")(folder)

    (warning,) = await attempt(repo, change)
    assert "submodules are empty" in warning
    assert (repo.top / "a.txt").read_text() == "changed\n"
    assert repo.git("status", "--porcelain") == " M a.txt\n"
    # Within the submodule it is the submodule's own repository that counts.
    assert await attempt(repo, write("lib.txt"), order=WorkOrder(repo.top / "lib")) == ()
    assert (repo.top / "lib" / "lib.txt").read_text() == "changed\n"


async def test_a_repository_within_is_a_folder_of_files(repo: Repo, tmp_path: Path) -> None:
    repo.write("inner/old.txt", "old\n")
    repo.write("inner/.gitignore", "*.tmp\n")
    repo.write("inner/x.tmp")
    subprocess.run(["git", "init", "-q"], cwd=repo.top / "inner", env=repo.env, check=True)  # noqa: ASYNC221
    ran = tmp_path / "ran"

    def change(folder: Path) -> None:
        assert sorted(path.name for path in (folder / "inner").iterdir()) == [".gitignore", "old.txt"]
        write("inner/old.txt", "new\n")(folder)
        # One that a tool has made, with a trap in it.
        write("made/a.txt", "one\n")(folder)
        write("made/deeper/b.txt", "two\n")(folder)
        for name in ("made", "made/deeper"):
            for words in (["init", "-q"], ["config", "core.fsmonitor", f"touch {ran}; false"]):
                subprocess.run(["git", *words], cwd=folder / name, env=repo.env, check=True)

    assert await attempt(repo, change) == ()
    assert (repo.top / "inner" / "old.txt").read_text() == "new\n"
    assert (repo.top / "made" / "a.txt").read_text() == "one\n"
    assert (repo.top / "made" / "deeper" / "b.txt").read_text() == "two\n"
    assert not (repo.top / "made" / ".git").exists()
    assert not ran.exists()


async def test_no_program_of_the_repository_or_of_the_attempt_runs(repo: Repo) -> None:
    ran = repo.top.parent / "ran"
    trap = f"touch {ran}; false"
    for name in (
        *(
            "core.fsmonitor",
            "diff.external",
            "filter.trap.clean",
            "filter.trap.smudge",
            "filter.trap.process",
        ),
        *("diff.trap.textconv", "diff.trap.command", "gpg.program", "core.pager", "core.editor"),
    ):
        repo.git("config", name, trap)
    repo.git("config", "commit.gpgSign", "true")
    hooks = repo.top / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-commit", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\n{trap}\n")
        (hooks / name).chmod(0o755)

    def change(folder: Path) -> None:
        write(".gitattributes", "* filter=trap diff=trap\n")(folder)
        write("a.txt")(folder)
        shutil.rmtree(folder / ".git")
        subprocess.run(["git", "init", "-q"], cwd=folder, env=repo.env, check=True)
        subprocess.run(["git", "config", "core.fsmonitor", trap], cwd=folder, env=repo.env, check=True)

    (warning,) = await attempt(repo, change, accepted=False)
    assert await attempt(repo, change) == ()
    assert "kept" in warning
    assert not ran.exists()
    assert (repo.top / "a.txt").read_text() == "changed\n"


@pytest.mark.parametrize(
    "way",
    [
        "linked",
        "split index",
        "merging",
        "sha256",
        "intent to add",
        "shallow",
        "sparse",
        "unchanged",
        "odd path",
    ],
)
async def test_repositories_in_unusual_states(repo: Repo, tmp_path: Path, way: str) -> None:
    if way == "linked":
        repo.git("worktree", "add", "-q", "../linked")
        repo = Repo(repo.top.parent / "linked", repo.state, repo.env)
    elif way == "split index":
        repo.git("update-index", "--split-index")
    elif way == "merging":
        repo.git("checkout", "-qb", "side")
        repo.write("a.txt", "side\n")
        repo.git("rm", "-q", "sub/b.txt")
        repo.commit()
        repo.git("checkout", "-q", "main")
        repo.write("a.txt", "main\n")
        repo.write("sub/b.txt", "main\n")
        repo.commit()
        with pytest.raises(subprocess.CalledProcessError):
            repo.git("merge", "-q", "side")
        (repo.top / "sub" / "b.txt").unlink(missing_ok=True)
    elif way == "sha256":
        shutil.rmtree(repo.top / ".git")
        repo.git("init", "-q", "-b", "main", "--object-format=sha256")
        repo.git("config", "user.name", "A User")
        repo.git("config", "user.email", "user@example.com")
        repo.commit()
    elif way == "intent to add":
        repo.write("planned.txt")
        repo.git("add", "-N", "planned.txt")
    elif way == "unchanged":
        repo.git("update-index", "--assume-unchanged", "a.txt", "sub/b.txt")
        repo.write("sub/b.txt", "not looked at\n")
    elif way == "sparse":
        repo.write("other/c.txt", "c\n")
        repo.commit()
        repo.git("sparse-checkout", "set", "--cone", "--sparse-index", "sub")
    else:
        name, options = ("clone", ["--depth", "1"]) if way == "shallow" else ('od"d \\ p\tåth', [])
        repo.git("clone", "-q", *options, f"file://{repo.top}", f"../{name}")
        repo = Repo(repo.top.parent / name, repo.state, repo.env)
    files = listing(repo.top)
    async with repo.worktrees.open(repo.order, ORIGIN) as worktree:
        assert listing(worktree.order.folder) == files
        write("new.txt", "new\n")(worktree.order.folder)
        assert await worktree.settle(accepted=True) == ()
    assert (repo.top / "new.txt").read_text() == "new\n"
    (warning,) = await attempt(repo, write("a.txt", "other\n"), accepted=False)
    (ref,) = repo.kept()
    assert ref in warning
    assert repo.git("diff", "--name-only", f"{ref}~", ref) == "a.txt\n"


async def test_ignore_rules_of_the_user_hold(repo: Repo) -> None:
    (repo.top.parent / "ignored").write_text("*.global\n")
    repo.git("config", "--global", "core.excludesFile", "~/../ignored")
    info = repo.top / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "exclude").write_text("*.own\n")
    for name in ("x.global", "x.own", "x.log"):
        repo.write(name)

    def change(folder: Path) -> None:
        assert not any((folder / name).exists() for name in ("x.global", "x.own", "x.log"))
        write("y.global")(folder)
        write("y.own")(folder)

    assert await attempt(repo, change, accepted=False) == ()
    assert repo.kept() == []


async def test_the_state_folder_may_be_in_the_repository(repo: Repo) -> None:
    repo.state = repo.top / "state" / "worktrees"

    def change(folder: Path) -> None:
        assert not (folder / "state" / "worktrees").exists()
        write("a.txt")(folder)

    assert await attempt(repo, change) == ()
    assert (repo.top / "a.txt").read_text() == "changed\n"


async def test_a_link_in_place_of_a_folder_is_not_followed(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.txt").write_text("elsewhere\n")
    shutil.rmtree(repo.top / "sub")
    (repo.top / "sub").symlink_to(tmp_path / "elsewhere")

    def change(folder: Path) -> None:
        assert (folder / "sub").is_symlink()
        (folder / "sub").unlink()
        write("sub/b.txt")(folder)

    assert await attempt(repo, change) == ()
    assert (repo.top / "sub" / "b.txt").read_text() == "changed\n"
    assert not (repo.top / "sub").is_symlink()
    assert (tmp_path / "elsewhere" / "b.txt").read_text() == "elsewhere\n"


async def test_old_and_surplus_refs_are_forgotten_when_the_next_worktree_is_made(repo: Repo) -> None:
    await attempt(repo, write("a.txt"), accepted=False)
    (first,) = repo.kept()
    repo.clock.shift_s = 13 * 86_400
    await attempt(repo, write("a.txt"), accepted=False)
    assert len(repo.kept()) == 2
    repo.clock.shift_s = 15 * 86_400
    await attempt(repo, write("noise.log"))
    (second,) = repo.kept()
    assert second != first
    for number in range(KEPT_MOST):
        repo.git("update-ref", f"refs/hyperguild/attempts/surplus-{number}", "HEAD", env={"X": "y"})
    repo.git("update-ref", "refs/hyperguild/other", "HEAD")
    repo.clock.shift_s = 0
    await attempt(repo, write("noise.log"))
    assert len(repo.kept()) == KEPT_MOST
    assert repo.git("rev-parse", "refs/hyperguild/other") == repo.git("rev-parse", "HEAD")


KILLED = """
    import asyncio, os, signal, sys
    from pathlib import Path
    from worktrees import ORIGIN, Repo

    async def main():
        repo = Repo(Path(sys.argv[1]), Path(sys.argv[2]), dict(os.environ))
        async with repo.worktrees.open(repo.order, ORIGIN) as worktree:
            (worktree.order.folder / "a.txt").write_text("of the killed one\\n")
            print("ready", flush=True)
            if sys.argv[3] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            sys.stdin.read()

    asyncio.run(main())
"""


def started(repo: Repo, what: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(repo.top), str(repo.state), what],
        env={**repo.env, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


async def test_what_a_killed_process_left_is_kept_by_the_next_and_one_in_use_is_not_touched(
    repo: Repo,
) -> None:
    living = started(repo, "wait")
    with started(repo, "kill"):
        pass
    assert len(repo.places()) == 2
    async with repo.worktrees.open(repo.order, ORIGIN) as worktree:
        (warning,) = worktree.warnings
        (ref,) = repo.kept()
        assert ref in warning
        assert "+of the killed one" in repo.git("show", ref)
        assert len(repo.places()) == 2
    assert (repo.top / "a.txt").read_text().startswith("one\n")
    living.communicate(b"")
    assert living.returncode == 0
    assert repo.places() == []
    assert len(repo.kept()) == 2


async def test_an_interrupted_attempt_is_taken_up_with_what_it_had_changed(repo: Repo) -> None:
    def change(folder: Path) -> None:
        write("a.txt", "half\n")(folder)
        (folder / "new.bin").write_bytes(b"\0\xff")

    await attempt(repo, write("a.txt", "of a refused attempt\n"), accepted=False)
    async with repo.worktrees.open(repo.order, ORIGIN) as worktree:
        change(worktree.order.folder)
    assert len(repo.kept()) == 2
    repo.write("other.txt", "the user's\n")
    seen: list[str] = []
    order = replace(repo.order, goes_on=True)
    assert await attempt(repo, lambda folder: seen.append((folder / "a.txt").read_text()), order=order) == ()
    assert seen == ["half\n"]
    assert (repo.top / "a.txt").read_text() == "half\n"
    assert (repo.top / "new.bin").read_bytes() == b"\0\xff"
    # Nothing is left to be taken up: not what was refused, nor the same again.
    assert len(repo.kept()) == 1
    await attempt(repo, lambda folder: seen.append((folder / "a.txt").read_text()), order=order)
    assert seen == ["half\n", "half\n"]


async def test_where_an_interrupted_attempt_does_not_fit_any_more_that_is_said(repo: Repo) -> None:
    async with repo.worktrees.open(repo.order, ORIGIN) as worktree:
        write("a.txt", "half\n")(worktree.order.folder)
    (ref,) = repo.kept()
    repo.write("a.txt", "the user's\n")
    (warning,) = await attempt(repo, lambda _folder: None, order=replace(repo.order, goes_on=True))
    assert warning.startswith(f"what phi4 had changed cannot be brought back: `git -C {repo.top} show {ref}`")
    assert repo.kept() == [ref]


async def test_cancelling_while_it_is_made_leaves_nothing(repo: Repo) -> None:
    for number in range(300):
        repo.write(f"many/{number}.txt")
    before = repo.own_state()

    async def open_and_wait() -> None:
        async with repo.worktrees.open(repo.order, ORIGIN):
            opened.set()
            await asyncio.sleep(60)

    opened = asyncio.Event()
    for hundredth in range(15):
        task = asyncio.create_task(open_and_wait())
        await asyncio.sleep(hundredth / 100)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert repo.places() == []
    assert repo.own_state() == before
    assert repo.kept() == []


async def test_cancelling_while_it_is_settled_lets_it_end(repo: Repo) -> None:
    for hundredth in range(6):
        async with repo.worktrees.open(repo.order, ORIGIN) as worktree:
            write("a.txt", f"{hundredth}\n")(worktree.order.folder)
            task = asyncio.create_task(worktree.settle(accepted=True))
            await asyncio.sleep(hundredth / 100)
            task.cancel()
            await asyncio.wait([task])
        assert repo.places() == []
        # A task that is cancelled before its first step has not begun: then it is put aside at the end.
        applied = (repo.top / "a.txt").read_text() == f"{hundredth}\n"
        assert applied or len(repo.kept()) == 1


async def test_changes_that_cannot_be_kept_stay_where_they_are(repo: Repo) -> None:
    async with repo.worktrees.open(repo.order, ORIGIN) as worktree:
        write("a.txt")(worktree.order.folder)
        (place,) = repo.places()
        shutil.rmtree(place / "git" / "objects")
        (warning,) = await worktree.settle(accepted=True)
    assert "could neither be applied nor kept" in warning
    assert str(worktree.order.folder) in warning
    assert (worktree.order.folder / "a.txt").read_text() == "changed\n"
    assert (repo.top / "a.txt").read_text().startswith("one\n")


async def test_in_the_sandbox_only_the_worktree_is_written_and_seen(repo: Repo, sandbox: Sandbox) -> None:
    state = repo.state.parent
    state.mkdir()
    (state / "sessions.db").write_text("the log\n")
    for folder, new in (("", "new.txt"), ("sub", "sub/new.txt")):
        async with repo.worktrees.open(WorkOrder(repo.top / folder), ORIGIN) as worktree:
            order = worktree.order
            bounds = Bounds(order.folder, readable=order.readable, hidden=(state,))
            tool = ShellTool(bounds, sandbox, repo.env)
            assert await sh(tool, "git log --format=%s && git status --porcelain") == "exit code 0\na commit"
            told = await sh(tool, "echo changed > new.txt; git status --porcelain")
            assert told == f"exit code 0\n?? {new}"
            told = await sh(
                tool,
                f"cat {state}/sessions.db; ls {state}/worktrees/*/git; echo x > {repo.top}/.git/config;"
                " git branch other; git add -A; git commit -qm x",
            )
            assert "the log" not in told
            assert "No such file" in told
            assert told.count("Read-only file system") >= 2
            await worktree.settle(accepted=False)
    assert repo.git("branch", "--format=%(refname:short)") == "main\n"
    assert len(repo.kept()) == 2


async def test_a_file_in_the_place_of_a_folder_with_ignored_files_does_not_fit(repo: Repo) -> None:
    """Nothing is applied then, not even what could be."""
    repo.write("sub/noise.log", "the user's\n")
    before = listing(repo.top)

    def change(folder: Path) -> None:
        shutil.rmtree(folder / "sub")
        write("sub")(folder)
        write("a.txt")(folder)

    kept, _ = await attempt(repo, change)
    assert "could not be applied; it is kept" in kept
    assert "sub is a folder that holds" in kept
    assert listing(repo.top) == before
    (repo.top / "sub" / "noise.log").unlink()
    (repo.top / "sub" / "empty").mkdir()
    assert "sub is a folder that holds" in (await attempt(repo, change))[0]
    (repo.top / "sub" / "empty").rmdir()
    assert await attempt(repo, change) == ()
    assert (repo.top / "sub").read_text() == "changed\n"
