"""Processes that are killed, forked from one that has imported the product already.

`Victims` is the tests' side; run as a program, this is the server. Asked for a victim, it forks one, kills it
(SIGKILL) after a time and tells what the victim had said by then.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

WALKS_AT_ONCE = 4
IMPORTED = (
    "hyperguild.adapters.models.openai_compatible",
    "hyperguild.adapters.store.sqlite",
    "hyperguild.library.guild",
)


class Victims:
    """Starts and kills. Close it when the tests are over."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill_one(self, what: str, place: Path, *, after_s: float, word: str | None = None) -> list[str]:
        """Return the lines that a victim said until it was killed, each one whole.

        `what` it does: `walks`, `upgrades` or `repairs`. The time counts from its start, or from its first
        `word`.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        request = {"what": what, "place": str(place), "after_s": after_s, "word": word}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        said: list[str] = json.loads(self._server.stdout.readline())
        return said

    def close(self) -> None:
        """End the server."""
        self._server.communicate(timeout=60)


async def _walks(chains: Path) -> None:
    """Run skills for ever, several at once; say what is acknowledged, as soon as it is."""
    from hyperguild import AttemptFinished, Event, Guild, RunFinished, RunStarted  # noqa: PLC0415

    def tell(event: Event) -> None:
        match event:
            case RunStarted():
                _say(f"run {event.run_id}")
            case AttemptFinished():
                _say(f"attempt {event.attempt.attempt_id}")
            case RunFinished():
                _say(f"end {event.run_id}")

    async def one_after_the_other(guild: Guild) -> None:
        while True:
            await guild.run("review", "the task", on_event=tell)

    async with Guild.from_config(chains) as guild, asyncio.TaskGroup() as group:
        for _ in range(WALKS_AT_ONCE):
            group.create_task(one_after_the_other(guild))


def _upgrades(folder: Path) -> None:
    """Bring every log of a folder up to date; say which is."""
    from hyperguild.adapters.store.connection import open_for_writing  # noqa: PLC0415

    for path in sorted(folder.glob("*.db")):
        open_for_writing(path, program_version="2.0").close()
        _say(path.name)


def _repairs(folder: Path) -> None:
    """Repair every log of a folder; say which is."""
    from hyperguild.adapters.store.repair import repair  # noqa: PLC0415

    for path in sorted(folder.glob("*.db")):
        repair(path, program_version="2.0", now=datetime.now(UTC), sleep=lambda _seconds: None)
        _say(path.name)


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def _kill_one(request: Mapping[str, Any]) -> list[str]:
    ours, theirs = os.pipe()
    victim = os.fork()
    if victim == 0:
        os.close(ours)
        os.dup2(theirs, 1)
        place = Path(request["place"])
        match request["what"]:
            case "walks":
                asyncio.run(_walks(place))
            case "upgrades":
                _upgrades(place)
            case _:
                _repairs(place)
        os._exit(0)
    os.close(theirs)
    said = bytearray()
    while request["word"] is not None and request["word"].encode() not in said:
        read = os.read(ours, 4096)
        if not read:
            break
        said += read
    time.sleep(request["after_s"])
    os.kill(victim, signal.SIGKILL)
    os.waitpid(victim, 0)
    with os.fdopen(ours, "rb") as rest:
        said += rest.read()
    return said.decode().rpartition("\n")[0].splitlines()


def _serve() -> None:
    for name in IMPORTED:
        import_module(name)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_kill_one(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
