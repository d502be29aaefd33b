"""What commands show of the keeper, the process that holds embedded models loaded between them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

from hyperguild import __version__
from hyperguild.adapters.embedded.keeper_client import (
    ANSWER_LIMIT_S,
    KeeperHost,
    keeper_status,
    stop_keeper,
)
from hyperguild.adapters.embedded.keeper_wire import HeldModel, KeeperStatus, terms_of
from hyperguild.adapters.embedded.location import KeeperFolder, keeper_folder
from hyperguild.adapters.embedded.spec import spec_of
from hyperguild.cli.page import Page
from hyperguild.config.configuration import Configuration
from hyperguild.domain.chain import Model
from hyperguild.domain.records import WarmState
from hyperguild.domain.telling import seconds
from hyperguild.domain.text import one_line
from hyperguild.errors import ModelError


@dataclass(frozen=True, slots=True)
class Kept:
    """How the keeper is (None where none runs), or why that cannot be known.

    `states` are those of the configuration's models that a keeper is for, by their names.
    """

    status: KeeperStatus | None = None
    states: Mapping[str, WarmState] = field(default_factory=dict)
    error: str | None = None

    def add_to(self, page: Page) -> None:
        """Put a line on the page, where there is something to tell."""
        if self.error is None and self.status is None:
            return
        page.gap()
        if self.error is not None:
            page.add((self.error, "red"), hang=2)
        elif self.status is not None:
            page.add(("keeper", "bold"), (f": {keeper_in_words(self.status)}", ""), hang=2)


async def look_at_keeper(configuration: Configuration, env: Mapping[str, str]) -> Kept:
    """Ask the keeper what it holds; none is started. `env` is the environment."""
    models = [model for model in configuration.models.values() if _is_kept(model)]
    folder = keeper_folder(env)
    try:
        status = await keeper_status(folder)
    except ModelError as error:
        # Who uses no keeper need not care.
        told = f"{error.message} ({error.hint})" if error.hint else error.message
        return Kept(states={model.name: "unknown" for model in models}, error=told if models else None)
    if status is None:
        return Kept()
    async with asyncio.TaskGroup() as group:
        asked = {model.name: group.create_task(_state(model, folder)) for model in models}
    return Kept(status, {name: task.result() for name, task in asked.items()})


async def stopped_keeper(env: Mapping[str, str]) -> KeeperStatus | None:
    """Stop the keeper; see `stop_keeper`. `env` is the environment."""
    return await stop_keeper(keeper_folder(env))


def keeper_in_words(status: KeeperStatus) -> str:
    """Return which process it is, its version where that is another than ours, and what it holds."""
    version = "" if status.version == __version__ else f" of hyperguild {one_line(status.version, 40)}"
    held = ", ".join(f"{_name(model)} ({_use(model)})" for model in status.models)
    return f"process {status.pid}{version}, holds {held or 'no model'}"


def stop_in_words(status: KeeperStatus | None) -> str:
    """Return what stopping came to, as a line; `status` is the one before."""
    if status is None:
        return "no keeper is running"
    held = ", ".join(_name(model) for model in status.models)
    unloaded = f"unloaded {held}" if held else "it held no model"
    users = sum(model.users for model in status.models)
    broken = f"; {users} request{'' if users == 1 else 's'} broke off" if users else ""
    return f"stopped the keeper, process {status.pid}; {unloaded}{broken}"


def stop_objects(status: KeeperStatus | None) -> list[dict[str, Any]]:
    """Return what stopping unloaded, as JSON; `status` is the one before."""
    models = () if status is None else status.models
    return [{**asdict(model), "file": str(model.file)} for model in models]


def _is_kept(model: Model) -> bool:
    return model.endpoint.kind == "embedded" and model.endpoint.engine.keep


async def _state(model: Model, folder: KeeperFolder) -> WarmState:
    async with aclosing(KeeperHost(folder, terms_of(model.endpoint), probe_timeout_s=ANSWER_LIMIT_S)) as host:
        return await host.state(spec_of(model))


def _use(model: HeldModel) -> str:
    if model.state != "ready":
        return "loading" if model.state == "starting" else "leaving"
    if model.users:
        return "in use" if model.users == 1 else f"in use by {model.users} requests"
    return f"idle {_whole(model.idle_s)}, leaves in {_whole(max(model.ttl_s - model.idle_s, 0))}"


def _name(model: HeldModel) -> str:
    return one_line(model.file.name, 60)


def _whole(time_s: float) -> str:
    return f"{time_s:.0f} s" if time_s < 120 else seconds(round(time_s) * 1000)
