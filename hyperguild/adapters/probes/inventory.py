"""What an endpoint is and has: for `models`, `doctor` and `init`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hyperguild.adapters.probes.asking import get_json
from hyperguild.adapters.probes.listing import (
    Listed,
    ListedKind,
    MisshapenListingError,
    Names,
    names_of,
    read_models,
    read_running,
)
from hyperguild.adapters.wire.exchange import Exchanger
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.transport import TransportFactory, api_root, plain_transport
from hyperguild.adapters.wire.wording import one_line
from hyperguild.domain.chain import Endpoint
from hyperguild.domain.records import WarmState
from hyperguild.errors import ModelTimeoutError, NotFoundError, ProtocolError

INVENTORY_LIMIT_S = 10.0
"""Somebody at a terminal waits for it; a list of models takes milliseconds."""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model that an endpoint offers. `state` is None where warmth has no meaning or cannot be known."""

    id: str
    kind: ListedKind
    state: WarmState | None
    aliases: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointInventory:
    """What an endpoint has. `version` is llama-swap's, where it tells."""

    endpoint: str
    version: str | None
    models: tuple[ListedModel, ...]


async def take_inventory(
    endpoint: Endpoint, keys: KeyRing, transport_factory: TransportFactory = plain_transport
) -> EndpointInventory:
    """Ask an HTTP endpoint what it has; nothing is loaded by it.

    A llama-swap server also tells what runs, unlisted models among it. Raises the `ModelError` that says
    what is wrong: `ConnectError`, `AuthError`, `ModelTimeoutError` after 10 s, `NotFoundError` or
    `ProtocolError` where it is no such server.
    """
    exchanger = Exchanger(endpoint, keys, transport_factory)
    try:
        async with asyncio.timeout(INVENTORY_LIMIT_S):
            return await (_of_llama_swap if endpoint.kind == "llama-swap" else _of_other)(exchanger)
    except TimeoutError as exc:
        peer = exchanger.peer()
        message = f"{peer.who} did not say what it has within {INVENTORY_LIMIT_S:g} s"
        raise peer.error(ModelTimeoutError, message) from exc
    except MisshapenListingError as exc:
        peer = exchanger.peer()
        hint = f"is this an endpoint of kind '{endpoint.kind}'?"
        raise peer.error(ProtocolError, f"{peer.who} gives {exc}", hint=hint) from exc
    finally:
        await exchanger.aclose()


async def _of_llama_swap(exchanger: Exchanger) -> EndpointInventory:
    root = api_root(exchanger.endpoint)
    running = read_running(await get_json(exchanger, f"{root}/running"))
    rows = read_models(await get_json(exchanger, f"{root}/v1/models"))
    names = names_of(rows)
    listed = [_with_state(row, names, running) for row in rows]
    unlisted = [
        ListedModel(name, "model", state) for name, state in running.items() if name not in names.rows
    ]
    return EndpointInventory(exchanger.endpoint.name, await _version(exchanger, root), (*listed, *unlisted))


async def _of_other(exchanger: Exchanger) -> EndpointInventory:
    root = api_root(exchanger.endpoint)
    path = "/models" if exchanger.endpoint.kind == "openai" else "/v1/models"
    rows = read_models(await get_json(exchanger, root + path))
    models = tuple(ListedModel(row.id, "model", None) for row in rows)
    return EndpointInventory(exchanger.endpoint.name, None, models)


async def _version(exchanger: Exchanger, root: str) -> str | None:
    try:
        document = await get_json(exchanger, f"{root}/api/version")
    except (NotFoundError, ProtocolError):
        return None  # older servers do not tell
    version = document.get("version") if isinstance(document, dict) else None
    return one_line(version, limit=40) if isinstance(version, str) else None


def _with_state(row: Listed, names: Names, running: dict[str, WarmState]) -> ListedModel:
    state = None if row.kind == "peer" else names.state(row.id, running)
    return ListedModel(row.id, row.kind, state, row.aliases, row.targets)
