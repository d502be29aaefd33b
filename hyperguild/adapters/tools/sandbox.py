"""The sandbox of shell commands: bubblewrap, where it is installed and works.

In it a command sees the whole machine read-only, and writes only to the work directory, to folders that the
user opened beside it, and to a `/tmp` of its own. It has no network (a loopback of its own aside), no
capabilities, even as root, and sees no process but its own, which all end with it. Out of its sight: the
secrets of the safety list in the home folder and in `/etc`, and `/run`, whose sockets (Docker, D-Bus, agents)
lead out of any sandbox.

What it does not hold back: reading what the user may read, other than those secrets; use of processor, memory
and disk within the call's time; sockets in unusual places; and what it leaves in the work directory for
others to run, git's hooks and configuration aside. A secret in the work directory stays readable there:
hiding a file that is under version control would make it look changed. Its names are the permission check's
business.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperguild.agent.safety_list import named_secrets, protected_path
from hyperguild.domain.text import one_line
from hyperguild.programs.environment import reduced_environment
from hyperguild.programs.run import OutputLimit, run_program

PROBE_LIMIT_S = 5.0
"""It takes some hundredths of a second; a machine that needs longer is taken to have no sandbox."""

REASON_CHARS_MAX = 200

_EMPTIED = ("/var/tmp", "/run", "/var/run")  # noqa: S108  # none of ours: what is hidden
_SEEN_IN_RUN = ("/run/current-system",)
"""NixOS: where programs are."""

_ALSO_HIDDEN = (
    *(".docker/run", ".docker/desktop"),  # whoever reaches Docker Desktop's socket has the machine
    *(".bash_history", ".zsh_history", ".python_history", ".psql_history", ".mysql_history"),
    *(".local/share/keyrings", ".mozilla", ".thunderbird", ".config/google-chrome", ".config/chromium"),
)
"""In a home folder, beside the safety list: what no work needs, and where secrets are by accident."""

_KEPT = (".git/hooks", ".git/config", "chains.yaml")
"""In a work directory these are not written: they decide what others run later."""

COMMONDIR = "commondir"
"""In a git directory: where its configuration is (gitrepository-layout)."""

_FLAGS = ("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL")
"""`--cap-drop`: as root bubblewrap leaves a command every capability, and with it a way to mount anew."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a command may reach. `work` and `allowed` it may write; `network`: whether it has one.

    `readable` is shown to it even below `/tmp`; `hidden` is not shown to it at all, but for what of the
    others is in it. `kept` are files that it may not write, wherever they are. `scratch` is what it sees as
    `/tmp`: None for an empty one at each call.
    """

    work: Path
    allowed: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    scratch: Path | None = None
    network: bool = False
    kept: tuple[Path, ...] = ()

    def resolved(self) -> Bounds:
        """Return the same with all paths absolute and free of links."""
        return Bounds(
            self.work.resolve(),
            tuple(path.resolve() for path in self.allowed),
            tuple(path.resolve() for path in self.readable),
            tuple(path.resolve() for path in self.hidden),
            None if self.scratch is None else self.scratch.resolve(),
            self.network,
            tuple(path.resolve() for path in self.kept),
        )


_PROBED = Bounds(Path("/var"))
"""Any folder does: nothing is written in the probe."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A bubblewrap that works here. `homes` are the folders in which secrets are hidden."""

    program: str
    homes: tuple[Path, ...]

    @property
    def line(self) -> str:
        """What `doctor` says."""
        return f"shell commands run in a sandbox ({self.program})"

    def argv(self, bounds: Bounds) -> list[str]:
        """Return the words that, put before a command, confine it to `bounds`, whose paths are resolved.

        Looks for what is to be hidden now, in a few dozen system calls. `/` as a writable folder is no bound
        at all: `ValueError`.
        """
        writable = _outermost((bounds.work, *bounds.allowed))
        kept = list(_kept(writable, bounds.kept))
        if any(path == Path("/") for path in writable):
            raise ValueError("the whole file system is writable")
        around, others = _parted((*self._secrets(), *bounds.hidden), (*writable, *bounds.readable))
        return [
            self.program,
            *_FLAGS,
            *(("--share-net",) if bounds.network else ()),
            *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
            *_temporary(bounds.scratch),
            *_run_folder(network=bounds.network),
            *_hiding(around, ()),
            *_mounts("--ro-bind-try", bounds.readable),
            *_mounts("--bind", writable),
            # What is mounted cannot be moved away to put another in its place.
            *_mounts("--bind", _around(kept, writable)),
            *_mounts("--ro-bind", kept),
            *_hiding(others, writable),
            # within the sandbox /tmp is its own
            *("--setenv", "TMPDIR", "/tmp", "--setenv", "XDG_CACHE_HOME", "/tmp/.cache"),  # noqa: S108
            *("--chdir", str(bounds.work), "--"),
        ]

    def _secrets(self) -> Iterator[Path]:
        names = (*named_secrets(), *_ALSO_HIDDEN)
        for base in (*self.homes, Path("/")):
            yield from (base / name for name in names)
        for home in self.homes:
            yield from (home / name for name in _listed(home) if protected_path(name, "read"))


@dataclass(frozen=True, slots=True)
class NoSandbox:
    """There is none: why, and what to do about it."""

    reason: str
    remedy: str

    @property
    def line(self) -> str:
        """What `doctor` says."""
        return f"shell commands run without a sandbox: {self.reason}"


async def find_sandbox(env: Mapping[str, str]) -> Sandbox | NoSandbox:
    """Return the sandbox of this machine; that it works is tried. Takes at most `PROBE_LIMIT_S`.

    `env` is the environment: the program is looked for along its PATH.
    """
    sandbox = _installed(env)
    if isinstance(sandbox, NoSandbox):
        return sandbox
    try:
        end = await run_program(
            [*sandbox.argv(_PROBED), "/bin/sh", "-c", ":"],
            stdin=None,
            folder=Path("/"),
            environment=reduced_environment(env),
            timeout_s=PROBE_LIMIT_S,
            keep=OutputLimit(tail_bytes=4_096),
        )
    except OSError as error:
        return _not_working(error.strerror or str(error))
    if end.exit_code is None:
        return _not_working(f"it did not end within {PROBE_LIMIT_S:g} s")
    if end.exit_code != 0:
        said = one_line(end.output.decode("utf-8", "replace"), REASON_CHARS_MAX)
        return _not_working(said or f"it ended with exit code {end.exit_code}")
    return sandbox


class SandboxFinder:
    """Finds the sandbox once, for all who ask."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._turn = asyncio.Lock()
        self._found: Sandbox | NoSandbox | None = None

    async def find(self) -> Sandbox | NoSandbox:
        """See `find_sandbox`. A search that is cancelled is done again for the next one who asks."""
        async with self._turn:
            if self._found is None:
                self._found = await find_sandbox(self._env)
            return self._found


def _installed(env: Mapping[str, str]) -> Sandbox | NoSandbox:
    program = shutil.which("bwrap", path=env.get("PATH", os.defpath))
    if program is not None:
        return Sandbox(os.path.abspath(program), _homes(env))  # noqa: PTH100
    if platform.system() == "Linux":
        return NoSandbox(
            "bubblewrap is not installed", "apt-get install bubblewrap (or the like: dnf, pacman, apk)"
        )
    return NoSandbox("bubblewrap is for Linux alone", "run hyperguild in a Linux container or machine")


def _not_working(said: str) -> NoSandbox:
    return NoSandbox(
        f"bubblewrap is installed but does not work here ({said})",
        "let users make namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu),"
        " kernel.unprivileged_userns_clone=1 (Debian); in a container: docker run"
        " --security-opt seccomp=unconfined --security-opt systempaths=unconfined",
    )


def _homes(env: Mapping[str, str]) -> tuple[Path, ...]:
    named = [env["HOME"]] if env.get("HOME", "").startswith("/") else []
    homes = (Path(os.path.realpath(home)) for home in (*named, os.path.expanduser("~")))  # noqa: PTH111
    return tuple(dict.fromkeys(home for home in homes if home != Path("/")))


def _outermost(paths: Sequence[Path]) -> list[Path]:
    """Leave out what lies in another: a command could put a link in its place, which a later one follows."""
    return [
        path
        for path in dict.fromkeys(paths)
        if not any(other != path and path.is_relative_to(other) for other in paths)
    ]


def _temporary(scratch: Path | None) -> tuple[str, ...]:
    temporary = os.path.realpath("/tmp")  # noqa: S108 - what is hidden, or the caller's
    return ("--tmpfs", temporary) if scratch is None else ("--bind", str(scratch), temporary)


def _run_folder(*, network: bool) -> Iterator[str]:
    for path in map(Path, _EMPTIED):
        if path.is_dir() and not path.is_symlink():
            yield from ("--tmpfs", str(path))
    resolver = os.path.realpath("/etc/resolv.conf")
    seen = (*_SEEN_IN_RUN, *((resolver,) if network and resolver.startswith("/run/") else ()))
    yield from _mounts("--ro-bind-try", map(Path, seen))


def _mounts(option: str, paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        yield from (option, str(path), str(path))


def _kept(writable: Sequence[Path], files: Iterable[Path]) -> Iterator[Path]:
    for folder in writable:
        yield from (path for path in (folder / name for name in _KEPT) if _is_own(path))
        yield from (path for path in files if path.is_relative_to(folder) and _is_own(path))
    yield from (git for git in _gits(writable) if _is_pointer(git))


def _gits(writable: Iterable[Path]) -> Iterator[Path]:
    return (git for git in (folder / ".git" for folder in writable) if _is_own(git))


def _is_pointer(git: Path) -> bool:
    """Tell whether a `.git` says that the repository is elsewhere: then nothing in it needs to be written."""
    return os.path.isfile(git) or os.path.exists(git / COMMONDIR)  # noqa: PTH110, PTH113  # never raises


def _is_own(path: Path) -> bool:
    # Through a link it is another's file, and a mount point cannot be a link.
    return os.path.exists(path) and Path(os.path.realpath(path)) == path  # noqa: PTH110  # never raises


def openings(bounds: Bounds) -> tuple[Path, ...]:
    """Return what commands must not leave behind: it would have git take its configuration from elsewhere.

    There is nothing of it yet, so nothing that could be mounted in its place. `bounds` are resolved.
    """
    folders = _outermost((bounds.work, *bounds.allowed))
    return tuple(git / COMMONDIR for git in _gits(folders) if not _is_pointer(git))


def _around(kept: Iterable[Path], writable: Sequence[Path]) -> list[Path]:
    """Return the folders around what is kept, and repositories, outermost first."""
    around = (parent for path in kept for parent in path.parents)
    within = {path for path in around if any(folder in path.parents for folder in writable)}
    return sorted(within | {git for git in _gits(writable) if not _is_pointer(git)})


def _parted(hidden: Iterable[Path], shown: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Part what is to be hidden: first what lies around something shown, which is mounted on top of it."""
    around: list[Path] = []
    others: list[Path] = []
    for path in dict.fromkeys(Path(os.path.realpath(one)) for one in hidden):
        holds = any(other != path and other.is_relative_to(path) for other in shown)
        (around if holds else others).append(path)
    return around, others


def _hiding(paths: Iterable[Path], writable: Sequence[Path]) -> Iterator[str]:
    """Cover what is there: folders with empty ones, files with an empty file that is no regular one."""
    real = dict.fromkeys(Path(os.path.realpath(path)) for path in paths)
    for path in real:
        if any(folder.is_relative_to(path) for folder in writable):
            continue  # the user opened it
        if os.path.isdir(path):  # noqa: PTH112  # never raises, as Path's does where a folder may not be entered
            yield from ("--tmpfs", str(path))
        elif os.path.exists(path):  # noqa: PTH110
            yield from ("--dev-bind", os.devnull, str(path))


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  # names
    except OSError:
        return []
