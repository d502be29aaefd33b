"""`shell`: runs a command in the work directory, in a sandbox where there is one."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import shutil
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperguild.adapters.tools.sandbox import Bounds, NoSandbox, Sandbox, openings
from hyperguild.domain.text import cleaned, clipped, one_line
from hyperguild.domain.tools import ToolError, ToolSpec
from hyperguild.ports import ToolContext
from hyperguild.programs.environment import NETWORK, TOOLCHAINS, reduced_environment
from hyperguild.programs.run import OutputLimit, ProgramEnd, run_program

HISTORY_MAX = 200
"""So many commands are remembered, the newest ones: a summary shows far fewer."""

COMMAND_CHARS_MAX = 500
"""Of each this much is remembered."""


@dataclass(frozen=True, slots=True)
class ShellLimits:
    """How long a command may run, and how much of its output is kept: half its beginning, half its end.

    `timeout_s` should be below the limit that the toolbox sets for every tool, which loses the output. What
    is kept may be far more than fits into a window: the toolbox stores it and shows the model the ends.
    """

    timeout_s: float = 110.0
    output_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CommandRun:
    """A command that was run, clipped. `exit_code` is None where it was stopped before its end."""

    command: str
    exit_code: int | None


class ShellTool:
    """The tool `shell`.

    A command is run by bash, or by sh where there is no bash: models write bash. It has a new shell each
    time, in the work directory, in a session of its own, nothing to read, and of the environment what
    `reduced_environment` lists. Its process group ends with it, and when it is cancelled or its time is up;
    in a sandbox everything that it has started does.

    Any exit code is a result, not an error: tests that fail and searches that find nothing are what a model
    wants to know, and an error mark would tell it that the tool is broken. The first line is `exit code N`,
    for a command killed by a signal 128 and its number. An error is a command that was refused, could not be
    started, or was stopped when its time was up.
    """

    def __init__(
        self,
        bounds: Bounds,
        sandbox: Sandbox | NoSandbox,
        env: Mapping[str, str],
        limits: ShellLimits | None = None,
    ) -> None:
        self._bounds = bounds.resolved()
        self._sandbox = sandbox
        self._limits = limits or ShellLimits()
        self._environment = _environment(env, network=bounds.network or isinstance(sandbox, NoSandbox))
        self._shell = shutil.which("bash", path=self._environment["PATH"]) or "/bin/sh"
        self._history: deque[CommandRun] = deque(maxlen=HISTORY_MAX)

    @property
    def spec(self) -> ToolSpec:
        """How it is offered; says what the sandbox withholds, so that no step is spent on finding out."""
        return ToolSpec(
            "shell",
            f"Run a command with {Path(self._shell).name} in the work directory; returns its exit code and"
            " output. Each call is a new shell: `cd` and variables do not last, background programs end with"
            f" it. There is no input to read.{self._withheld()}",
            {
                "type": "object",
                "properties": {
                    "command": {"type": "string", "minLength": 1},
                    "timeout_s": {
                        "type": "number",
                        "exclusiveMinimum": 0,
                        "description": f"at most {self._limits.timeout_s:g}, the default",
                    },
                },
                "required": ["command"],
                "additionalProperties": False,
            },
            effect="exec",
            category="exec",
        )

    @property
    def history(self) -> tuple[CommandRun, ...]:
        """The commands that were run, oldest first."""
        return tuple(self._history)

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """See `Tool.run`. Awaits the barrier before anything is started."""
        command = str(arguments["command"])
        self._refuse()
        await context.barrier.passed()
        limit_s = self._limits.timeout_s
        asked_s = arguments.get("timeout_s", limit_s)
        timeout_s: float = asked_s if 0 < asked_s < limit_s else limit_s
        half = self._limits.output_bytes // 2
        left_open = () if isinstance(self._sandbox, NoSandbox) else openings(self._bounds)
        try:
            end = await run_program(
                [*self._prefix(), self._shell, "-c", command],
                stdin=None,
                folder=self._bounds.work,
                environment=self._environment,
                timeout_s=timeout_s,
                keep=OutputLimit(head_bytes=half, tail_bytes=half),
            )
        except OSError as error:  # too long, the folder is gone, no processes left
            raise ToolError(f"the command cannot be started: {error.strerror or error}") from error
        except ValueError as error:  # a NUL, a lone surrogate, no bounds
            raise ToolError(f"the command cannot be started: {one_line(str(error), 200)}") from error
        except asyncio.CancelledError:
            self._remember(command, None)
            raise
        finally:
            for path in left_open:
                _remove(path)
        exit_code = _shell_code(end.exit_code)
        self._remember(command, exit_code)
        output = _output(end)
        if exit_code is None:
            until_then = f"; its output until then:\n{output}" if output else " and had printed nothing"
            raise ToolError(f"the command was stopped after {timeout_s:g} s{until_then}")
        return f"exit code {exit_code}\n{output}" if output else f"exit code {exit_code}, no output"

    def _refuse(self) -> None:
        """Raise `ToolError` where a command must be confined and cannot be."""
        if isinstance(self._sandbox, NoSandbox) and self._bounds.allowed:
            raise ToolError(
                "shell is refused: paths were allowed for this run (--allow-path), and without a sandbox"
                f" a command reaches all others too. {self._sandbox.reason}; remedy: {self._sandbox.remedy}"
            )

    def _prefix(self) -> list[str]:
        """Return what confines a command. Raises `ValueError` where that is impossible."""
        return [] if isinstance(self._sandbox, NoSandbox) else self._sandbox.argv(self._bounds)

    def _withheld(self) -> str:
        if isinstance(self._sandbox, NoSandbox):
            return ""
        kept = "" if self._bounds.scratch is not None else " (emptied after each call)"
        folders = ["the work directory", *map(str, self._bounds.allowed), f"/tmp{kept}"]  # noqa: S108 - the sandbox's own
        return f" Only {', '.join(folders)} can be written.{'' if self._bounds.network else ' No network.'}"

    def _remember(self, command: str, exit_code: int | None) -> None:
        self._history.append(CommandRun(clipped(command, COMMAND_CHARS_MAX), exit_code))


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _environment(env: Mapping[str, str], *, network: bool) -> dict[str, str]:
    """Return what a command sees. A proxy's address that holds a password is left out."""
    passed = reduced_environment(env, TOOLCHAINS | NETWORK if network else TOOLCHAINS)
    secret = [name for name in passed if name in NETWORK and "@" in passed[name]]
    for name in secret:
        del passed[name]
    return {"PATH": os.defpath, **passed, "TERM": "dumb"}


def _shell_code(exit_code: int | None) -> int | None:
    """Return an exit code as shells give it, also for the shell itself."""
    return 128 - exit_code if exit_code is not None and exit_code < 0 else exit_code


def _output(end: ProgramEnd) -> str:
    """Return the output as text: what is no UTF-8 replaced, nothing left that a terminal would act on."""
    if not end.left_out:
        return cleaned((end.head + end.output).decode("utf-8", "replace")).rstrip()
    # Characters that the cuts went through are left out with the rest.
    head = codecs.getincrementaldecoder("utf-8")("replace").decode(end.head)
    tail = end.output
    while tail and tail[0] & 0xC0 == 0x80 and len(end.output) - len(tail) < 3:
        tail = tail[1:]
    note = f"[{end.left_out:,} bytes left out]"
    return f"{cleaned(head).rstrip()}\n{note}\n{cleaned(tail.decode('utf-8', 'replace')).strip()}"
