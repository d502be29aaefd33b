"""Where the keeper of a user is found."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hyperguild.config.locate import user_folder
from hyperguild.domain.text import one_line
from hyperguild.errors import ConnectError
from hyperguild.private_folder import make_private

PROTOCOL = 1
"""Raised with every change after which an older client and a newer keeper misunderstand each other."""

SOCKET_PATH_MAX_BYTES = 103
"""Longer names of Unix sockets are refused by the kernel: macOS takes 103 bytes and a NUL, Linux 107."""

PATH_SHOWN_CHARS = 300


@dataclass(frozen=True, slots=True)
class KeeperFolder:
    """The folder of a keeper, which no other user may enter: who can open the socket gets models' keys.

    Each protocol has files of its own. `lock` is locked by the keeper as long as it lives, and holds the
    id of its process; what goes wrong in it stands in `log`.
    """

    path: Path

    @property
    def socket(self) -> Path:
        """Where the keeper listens."""
        return self.path / f"keeper-{PROTOCOL}.sock"

    @property
    def lock(self) -> Path:
        """What makes the keeper the only one."""
        return self.path / f"keeper-{PROTOCOL}.lock"

    @property
    def log(self) -> Path:
        """What the keeper tells of itself."""
        return self.path / f"keeper-{PROTOCOL}.log"

    def exists(self) -> bool:
        """Return whether the folder is there. Raises `ConnectError` where it may not be used."""
        try:
            status = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as exc:
            raise self._refused(f"cannot be looked at: {exc.strerror or exc}") from exc
        if not stat.S_ISDIR(status.st_mode):
            raise self._refused("is no folder")
        if status.st_uid != os.geteuid():
            raise self._refused("belongs to another user")
        if status.st_mode & 0o077:
            raise self._refused("can be entered by other users", f"chmod 700 {_shown(self.path)}")
        return True

    def make(self) -> None:
        """Make the folder where it is not there.

        Raises `ConnectError` where that fails, or the folder may not be used.
        """
        if self.exists():
            return
        try:
            make_private(self.path)
        except OSError as exc:
            raise self._refused(f"cannot be made: {exc.strerror or exc}") from exc
        self.exists()

    def check(self) -> None:
        """Look whether a keeper could be started here; nothing is made.

        Raises `ConnectError` for what can be seen without trying.
        """
        if not self.exists():
            above = next((parent for parent in self.path.parents if parent.exists()), self.path)
            if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
                raise self._refused(f"cannot be made: {_shown(above)} cannot be written to")
            return
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise self._refused("cannot be written to", f"chmod 700 {_shown(self.path)}")
        for file in (self.lock, self.log):
            if file.exists() and not (file.is_file() and os.access(file, os.R_OK | os.W_OK)):
                raise self._refused(f"has a {file.name} that cannot be written to", f"remove {_shown(file)}")

    def is_kept(self) -> bool:
        """Return whether a keeper lives, or one has just begun to."""
        try:
            with self.lock.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass  # there is no lock: nobody has ever been here
        return False

    def keeper_pid(self) -> int | None:
        """Return the id of the keeper's process.

        None where none lives, it has only just begun to, or its disk was full then.
        """
        if self.is_kept():
            with suppress(OSError, ValueError):
                return int(self.lock.read_text(encoding="ascii"))
        return None

    def _refused(self, why: str, hint: str | None = None) -> ConnectError:
        message = f"the keeper's folder, {_shown(self.path)}, {why}"
        return ConnectError(
            message, hint=hint or "mend that, or set `keep: false` on the endpoint", retryable=False
        )


def keeper_folder(env: Mapping[str, str]) -> KeeperFolder:
    """Return the folder of this user's keeper; nothing is made.

    In `$XDG_RUNTIME_DIR` where that is a folder of the user's, else in the folder for state; where its path
    is too long for a socket, in the folder for temporary files, under a name made from the path and the
    user's id. `env` is the environment.
    """
    runtime = Path(env.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and _is_ours(runtime):
        folder = KeeperFolder(runtime / "hyperguild")
    else:
        folder = KeeperFolder(user_folder(env, "XDG_STATE_HOME", ".local/state") / "keeper")
    if _fits(folder):
        return folder
    digest = hashlib.sha256(os.fsencode(folder.path)).hexdigest()[:12]
    name = f"hyperguild-{os.geteuid()}-{digest}"
    temporary = Path(env.get("TMPDIR", ""))
    short = KeeperFolder(temporary / name)
    if temporary.is_absolute() and _fits(short):
        return short
    return KeeperFolder(Path("/tmp") / name)  # noqa: S108  # refused where it is not the user's own


def _shown(path: Path) -> str:
    return one_line(str(path), PATH_SHOWN_CHARS)


def _is_ours(folder: Path) -> bool:
    """Return whether it is a folder of the user's: after `su`, the variable may name another's."""
    try:
        status = folder.stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _fits(folder: KeeperFolder) -> bool:
    return len(os.fsencode(folder.socket)) <= SOCKET_PATH_MAX_BYTES
