"""Whether the process of a run is still there."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_STATE, _START_TIME = 0, 19
"""Fields of /proc/PID/stat after the command's closing parenthesis (proc(5): fields 3 and 22)."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told apart from later ones of the same number.

    `started` names its pid namespace and its start time in clock ticks since boot, both from /proc; None
    where there is no /proc.
    """

    pid: int
    host: str
    started: str | None

    @classmethod
    def own(cls) -> ProcessId:
        """Identify this process."""
        pid = os.getpid()
        return cls(pid=pid, host=socket.gethostname(), started=_started(pid))

    def is_gone(self) -> bool:
        """Tell whether it has surely ended; False where that cannot be seen from here.

        Processes of other hosts, and of other containers that share the host's name, cannot be seen.
        """
        if self.host != socket.gethostname():
            return False
        if self.started is not None and not self.started.startswith(f"{_namespace()} "):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        started = _started(self.pid)
        return _is_zombie(self.pid) or (None not in (started, self.started) and started != self.started)


def _namespace() -> str | None:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def _stat(pid: int) -> list[str]:
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return line.rpartition(")")[2].split()


def _started(pid: int) -> str | None:
    fields = _stat(pid)
    return f"{_namespace()} {fields[_START_TIME]}" if len(fields) > _START_TIME else None


def _is_zombie(pid: int) -> bool:
    return _stat(pid)[_STATE : _STATE + 1] in (["Z"], ["X"])
