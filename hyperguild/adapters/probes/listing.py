"""Reads what llama-swap says of its models: `/running` and `/v1/models`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hyperguild.domain.records import WarmState

ListedKind = Literal["model", "alias", "selector", "peer"]

LOADED_STATES: Mapping[str, WarmState] = {"ready": "ready", "starting": "starting"}
"""llama-swap's states that matter; a model in any other one (`stopping`) must be loaded again."""


class MisshapenListingError(Exception):
    """The answer is not what llama-swap gives."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of `/v1/models`. `targets` of an alias is its model, of a selector the models it picks from."""

    id: str
    kind: ListedKind
    aliases: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Names:
    """What the names of a server stand for; an exact id always stands for itself."""

    rows: Mapping[str, Listed] = field(default_factory=dict)

    def state(self, name: str, running: Mapping[str, WarmState]) -> WarmState:
        """Return the state of what `name` stands for, given what runs.

        A selector is as warm as its warmest target; what a peer hosts cannot be known from here. What the
        server does not list (a model can be unlisted) is cold unless it runs.
        """
        if name in running:
            return running[name]
        row = self.rows.get(name)
        if row is None or row.kind == "model":
            return "cold"
        if row.kind == "peer":
            return "unknown"
        states = {self._target_state(target, running) for target in row.targets}
        return next((state for state in ("ready", "starting") if state in states), "cold")

    def model_id(self, name: str) -> str:
        """Return the id that an alias stands for; any other name as it is."""
        row = self.rows.get(name)
        return row.targets[0] if row is not None and row.kind == "alias" and row.targets else name

    def _target_state(self, name: str, running: Mapping[str, WarmState]) -> WarmState:
        return running.get(name if name in running else self.model_id(name), "cold")


def read_running(document: object) -> dict[str, WarmState]:
    """Read `/running`: model id to state. Raises `MisshapenListingError`.

    Servers before v218 list ready models only and may leave `state` out; some give null for no models.
    """
    states: dict[str, WarmState] = {}
    for row in _running_rows(document):
        states[row["model"]] = LOADED_STATES.get(str(row.get("state", "ready")), "cold")
    return states


def read_addresses(document: object) -> dict[str, str]:
    """Read `/running`: id of each ready model to the address of its own server, where that is told.

    Raises `MisshapenListingError`.
    """
    rows = (row for row in _running_rows(document) if row.get("state", "ready") == "ready")
    return {row["model"]: row["proxy"] for row in rows if isinstance(row.get("proxy"), str)}


def _running_rows(document: object) -> list[dict[str, Any]]:
    if not isinstance(document, dict) or "running" not in document:
        raise MisshapenListingError("no list of running models")
    rows = document["running"]
    if rows is None:
        return []
    if not isinstance(rows, list):
        raise MisshapenListingError("`running` is no list")
    if not all(isinstance(row, dict) and isinstance(row.get("model"), str) for row in rows):
        raise MisshapenListingError("a running model without a name")
    return rows


def read_models(document: object) -> list[Listed]:
    """Read `/v1/models` of llama-swap or any server of that API. Raises `MisshapenListingError`."""
    rows = document.get("data") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise MisshapenListingError("no list of models")
    return [_listed(row) for row in rows]


def names_of(rows: Iterable[Listed]) -> Names:
    """Make the table of names. Ids come first, then aliases, then the bare names of what peers host."""
    rows = list(rows)
    table = {row.id: row for row in rows}
    for row in rows:
        for alias in row.aliases:
            table.setdefault(alias, Listed(alias, "alias", targets=(row.id,)))
    for row in rows:
        if row.kind == "peer" and row.peer:
            table.setdefault(row.id.removeprefix(f"{row.peer}/"), row)
    return Names(table)


def _listed(row: object) -> Listed:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise MisshapenListingError("a model without an id")
    meta = row.get("meta")
    about = meta.get("llamaswap") if isinstance(meta, dict) else None
    if not isinstance(about, dict):
        return Listed(row["id"], "model")
    kind = about.get("type")
    if kind == "alias":
        return Listed(row["id"], "alias", targets=_texts([about.get("modelID")]))
    if kind == "selector":
        return Listed(row["id"], "selector", targets=_texts(about.get("targets")))
    if kind == "peer":
        return Listed(row["id"], "peer", peer=str(about.get("peerID") or ""))
    return Listed(row["id"], "model", aliases=_texts(about.get("aliases")))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()
