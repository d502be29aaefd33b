"""A git directory of our own beside somebody's repository: what files are, byte for byte, as git trees.

It borrows the repository's objects and writes its own; its configuration and its attributes, which go before
all others, are ours. So nothing converts what it reads (no line ends, filters, key words, encodings), no
program runs along, and nothing of the user's is written, whatever the files of the work tree say.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hyperguild.adapters.tools.git import Git, users_git
from hyperguild.adapters.tools.repository import Repository

_ATTRIBUTES = "* -text !eol !crlf !filter !ident !working-tree-encoding !diff !merge !whitespace\n"
_FIXED = {
    "bare": "false",
    "hookspath": "/dev/null",
    "attributesfile": "/dev/null",
    "fsmonitor": "false",
    "untrackedcache": "false",
    "autocrlf": "false",
}


@dataclass(frozen=True, slots=True)
class Shadow:
    """Our git directory `folder`, for the repository `of`; `env` is the whole environment."""

    folder: Path
    of: Repository
    env: Mapping[str, str]

    def make(self, settings: Mapping[str, str]) -> None:
        """Make it, with the user's index and ignore rules, and their `core` settings. Raises `OSError`."""
        for name in ("objects/info", "refs", "info"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "HEAD").write_text("ref: refs/heads/none\n")
        (self.folder / "config").write_bytes(os.fsencode(_configuration(self.of, settings, self.env)))
        (self.folder / "info" / "attributes").write_text(_ATTRIBUTES)
        (self.folder / "objects" / "info" / "alternates").write_bytes(
            os.fsencode(_quoted(self.of.objects) + "\n")
        )
        exclude = Path(self.of.common) / "info" / "exclude"
        if exclude.is_file():
            shutil.copyfile(exclude, self.folder / "info" / "exclude")
        copy_index(self.of, self.folder)

    def git(self, work: Path) -> Git:
        """Return git over this directory and the files in `work`."""
        places = {"GIT_DIR": str(self.folder), "GIT_WORK_TREE": str(work)}
        # No configuration but its own.
        return users_git(self.env, work).at(
            work, **places, GIT_CONFIG_NOSYSTEM="1", HOME=str(self.folder), XDG_CONFIG_HOME=str(self.folder)
        )

    async def present(self, work: Path) -> list[bytes]:
        """Return the files that git tracks in `work`, there or not, and the others that it does not ignore.

        A folder among them is a submodule. Raises `GitError` and `OSError`.
        """
        tracked = (await self.git(work).run("ls-files", "-z", "--cached")).split(b"\0")
        return [*dict.fromkeys(one for one in tracked if one), *await self._untracked(work)]

    async def snapshot(self, work: Path) -> str:
        """Return the tree of what is in `work`, and take it into the index. Raises `GitError` and `OSError`.

        Left out are ignored files, submodules and empty folders. A repository within, which git does not
        track, is taken for a folder of files.
        """
        git = self.git(work)
        await _look_at_all(git, work)
        await git.run("update-index", "-q", "--ignore-submodules", "--refresh", also_ok=1)
        told = await git.run("diff-files", "-z", "--name-status", "--no-renames", "--ignore-submodules=all")
        fields = told.split(b"\0")
        changed = dict(zip(fields[1::2], fields[0::2], strict=False))  # of an unmerged file the last word
        gone = [name for name, status in changed.items() if status == b"D" or _absent(work, name)]
        there = [*(changed.keys() - set(gone)), *await self._untracked(work)]
        await _update_index(git, "--force-remove", names=gone)
        await _update_index(git, "--add", "--remove", "--replace", names=there)
        return await git.text("write-tree", "--missing-ok")

    async def commit(self, tree: str, parent: str | None, message: str, at: int) -> str:
        """Return a commit of a tree, made at `at`, in seconds since 1970. Raises `GitError` and `OSError`."""
        who = {
            f"GIT_{role}_{field}": value
            for role in ("AUTHOR", "COMMITTER")
            for field, value in (
                ("NAME", "hyperguild"),
                ("EMAIL", "hyperguild@localhost"),
                ("DATE", f"{at} +0000"),
            )
        }
        git = self.git(self.folder).at(self.folder, **who)
        parents = () if parent is None else ("-p", parent)
        return await git.text("commit-tree", tree, *parents, stdin=os.fsencode(message))

    async def pack(self, commit: str) -> bytes:
        """Return what a commit is made of and the repository lacks. Raises `GitError` and `OSError`."""
        base = "" if self.of.head is None else f"^{self.of.head}\n"
        return await self.git(self.folder).run(
            "pack-objects", "-q", "--revs", "--local", "--stdout", stdin=f"{commit}\n{base}".encode()
        )

    async def patch(self, before: str, after: str) -> bytes:
        """Return what leads from one tree to another, binary files too. Raises `GitError` and `OSError`."""
        options = ("-r", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")
        return await self.git(self.folder).run("diff-tree", *options, before, after)

    async def changed(self, before: str, after: str) -> list[bytes]:
        """Return the files in which two trees differ. Raises `GitError` and `OSError`."""
        options = ("-r", "-z", "--name-only", "--no-renames")
        listed = await self.git(self.folder).run("diff-tree", *options, before, after)
        return [name for name in listed.split(b"\0") if name]

    async def _untracked(self, work: Path, *, within: bool = False) -> list[bytes]:
        git = self.git(work)
        if within:  # our index knows the names of another folder
            git = git.at(work, GIT_INDEX_FILE=str(self.folder / "no-index"))
        listed = await git.run("ls-files", "-z", "--others", "--exclude-standard")
        names: list[bytes] = []
        for name in listed.split(b"\0"):
            if name.endswith(b"/"):  # a repository within: git names only its folder
                inner = await self._untracked(work / os.fsdecode(name), within=True)
                names += [name + one for one in inner]
            elif name:
                names.append(name)
        return names


def copy_index(repository: Repository, folder: Path) -> None:
    """Copy the user's index to `folder`; where there is none, nothing is staged. Raises `OSError`."""
    index = Path(repository.index)
    if index.is_file():
        for shared in index.parent.glob("sharedindex.*"):
            shutil.copyfile(shared, folder / shared.name)
        shutil.copyfile(index, folder / "index")


async def _look_at_all(git: Git, work: Path) -> None:
    """Have git look also at files that it was told to take for unchanged, or for left out of the folder."""
    listed = (await git.run("ls-files", "-v", "-z", "--cached")).split(b"\0")
    tagged = [(entry[:1], entry[2:]) for entry in listed if entry]
    unchanged = [name for tag, name in tagged if tag.islower()]
    left_out = [name for tag, name in tagged if tag in b"Ss" and not _absent(work, name)]
    await _update_index(git, "--no-assume-unchanged", names=unchanged)
    await _update_index(git, "--no-skip-worktree", names=left_out)


async def _update_index(git: Git, *options: str, names: Iterable[bytes]) -> None:
    listed = b"".join(name + b"\0" for name in names)
    if listed:
        await git.run("update-index", *options, "-z", "--stdin", stdin=listed)


def _absent(work: Path, name: bytes) -> bool:
    return not os.path.lexists(os.path.join(os.fsencode(work), name))  # noqa: PTH118  # bytes


def _configuration(repository: Repository, settings: Mapping[str, str], env: Mapping[str, str]) -> str:
    base = env.get("XDG_CONFIG_HOME") or os.path.join(env.get("HOME", "/"), ".config")  # noqa: PTH118
    ignored = {"excludesfile": f"{base}/git/ignore"}
    other = repository.object_format != "sha1"
    core = {"repositoryformatversion": "1" if other else "0", **ignored, **settings, **_FIXED}
    lines = ["[core]", *(f"\t{name} = {_quoted(value)}" for name, value in core.items())]
    if other:
        lines += ["[extensions]", f"\tobjectformat = {repository.object_format}"]
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """Quote a path as git does, in its configuration and its lists of folders."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
