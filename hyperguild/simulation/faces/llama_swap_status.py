"""What llama-swap says about itself: its error bodies, lists, events, activity and the chatter while it
loads.
"""

import asyncio
import json
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from hyperguild.simulation.exchange import Exchange, Headers
from hyperguild.simulation.fleet import Fleet
from hyperguild.simulation.journal import Record
from hyperguild.simulation.pace import Pace

ERROR_TYPES = {"unauthorized": "authentication_error", "concurrency_limit": "rate_limit_error"}
FIRST_PROXY_PORT = 5800
RULER = "━━━━━"
CHATTER_MESSAGE = "Please hold while we justify this electricity bill to accounting"
CHATTER_WIDTH = 5
"""llama-swap sends its loading text in pieces of five characters."""


async def go_json(exchange: Exchange, status: int, value: object) -> None:
    """Answer as Go's JSON encoder writes: compact, with a line end."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    await exchange.respond(status, body, {"content-type": "application/json"})


async def swap_error(
    exchange: Exchange, status: int, message: str, code: str, headers: dict[str, str] | None = None
) -> None:
    """Answer with llama-swap's error body; in a stream that began, as a bare line that ends it."""
    exchange.record.error_message = message
    kind = ERROR_TYPES.get(code, "server_error" if status >= 500 else "invalid_request_error")
    error = {"message": message, "type": kind, "param": None, "code": code}
    body = json.dumps({"src": "llama-swap", "error": error}, separators=(",", ":")).encode()
    if exchange.started:
        exchange.record.outcome = "error"
        await exchange.end(body)
    elif "text/plain" in exchange.headers.get("accept", ""):
        plain = {"content-type": "text/plain; charset=utf-8", **(headers or {})}
        await exchange.respond(status, f"llama-swap: {message}".encode(), plain)
    else:
        await exchange.respond(status, body, {"content-type": "application/json", **(headers or {})})


# -- lists


def running_models(fleet: Fleet) -> list[dict[str, Any]]:
    """The rows of /running: every model that is not stopped, sorted by its id."""
    rows = []
    for index, (name, model) in enumerate(fleet.script.models.items()):
        state = fleet.pool.machine.state(name)
        if state != "stopped":
            port = FIRST_PROXY_PORT + index
            row: dict[str, Any] = {
                "model": name,
                "state": state,
                "cmd": model.cmd or f"llama-server --port {port} -m {name}.gguf",
            }
            row |= {"proxy": model.proxy or f"http://127.0.0.1:{port}", "ttl": int(model.ttl_s)}
            rows.append({**row, "name": model.name, "description": model.description})
    return sorted(rows, key=lambda row: str(row["model"]))


def listed_models(fleet: Fleet) -> dict[str, Any]:
    """The body of /v1/models: models that are not unlisted, aliases if wanted, selectors and peers."""
    created = int(fleet.wall())
    loaded = {name for name, state in fleet.pool.machine.states().items() if state != "stopped"}
    rows = []
    for name, extra, is_loaded in _listed(fleet, loaded):
        row = {"id": name, "object": "model", "created": created, "owned_by": "llama-swap", **extra}
        rows.append({**row, "status": {"value": "loaded" if is_loaded else "unloaded"}})
    return {"data": sorted(rows, key=lambda row: str(row["id"])), "object": "list"}


def _listed(fleet: Fleet, loaded: set[str]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    script = fleet.script
    for name, model in script.models.items():
        if model.unlisted:
            continue
        shown = {
            key: text for key, text in (("name", model.name), ("description", model.description)) if text
        }
        aliases = {"aliases": list(model.aliases)} if model.aliases else {}
        yield name, {**shown, "meta": {"llamaswap": {**aliases, "type": "model"}}}, name in loaded
        for alias in model.aliases if script.list_aliases else ():
            yield alias, {**shown, "meta": {"llamaswap": {"modelID": name, "type": "alias"}}}, name in loaded
    for name, selector in script.selectors.items():
        meta = {"strategy": selector.strategy, "targets": list(selector.targets), "type": "selector"}
        yield name, {"meta": {"llamaswap": meta}}, bool(loaded & set(selector.targets))
    for peer_id, peer in script.peers.items():
        for model_name in peer.models:
            meta = {"peerID": peer_id, "type": "peer"}
            shown = {"name": f"{peer_id}: {model_name}"}
            yield f"{peer_id}/{model_name}", {**shown, "meta": {"llamaswap": meta}}, False


def activity(fleet: Fleet, query: str) -> dict[str, Any]:
    """A page of the requests to models that are over, newest first."""
    asked = parse_qs(query)
    limit, page = (_positive(asked.get(key), default) for key, default in (("limit", 25), ("page", 1)))
    done = [
        r for r in fleet.journal.records() if r.face == "llama_swap" and r.finished_ms is not None and r.model
    ]
    newest_first = done[::-1]
    shown = [_activity_row(fleet, record) for record in newest_first[(page - 1) * limit : page * limit]]
    pages = -(-len(done) // limit)
    return {"data": shown, "page": page, "limit": limit, "total": len(done), "total_pages": pages}


def _positive(values: list[str] | None, default: int) -> int:
    text = (values or [""])[0]
    return int(text) if text.isdigit() and int(text) > 0 else default


def _activity_row(fleet: Fleet, record: Record) -> dict[str, Any]:
    counts = ("cache_tokens", "draft_tokens", "draft_acc_tokens", "input_tokens", "output_tokens")
    row = {
        "id": record.seq,
        "timestamp": _timestamp(fleet, record),
        "model": record.model,
        "req_path": record.path,
        "resp_content_type": record.content_type,
        "resp_status_code": record.status or 0,
        "tokens": dict.fromkeys((*counts, "prompt_per_second", "tokens_per_second"), 0),
        "duration_ms": (record.finished_ms or 0) - record.started_ms,
        "has_capture": True,
    }
    error = {"error_msg": record.error_message} if record.error_message else {}
    metadata = {"metadata": {"fifo_priority": "0"}} if record.phase == "generating" else {}
    return {**row, **error, **metadata}


def _timestamp(fleet: Fleet, record: Record) -> str:
    age_s = (fleet.journal.now_ms() - record.started_ms) / 1000
    return datetime.fromtimestamp(fleet.wall() - age_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- events


async def event_stream(exchange: Exchange, fleet: Fleet) -> None:
    """Send the first payloads, then every change, until the client goes (cancellation)."""
    changes: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def listener(kind: str, data: object) -> None:
        changes.put_nowait((kind, _status_rows(fleet) if kind == "modelStatus" else data))

    fleet.listeners.add(listener)
    try:
        await exchange.write(_event("logData", {"source": "proxy", "data": "simulated fleet\n"}))
        await exchange.write(_event("modelStatus", _status_rows(fleet)))
        session_headers = ["X-Session-ID", "X-Litellm-Session-Id"]
        await exchange.write(_event("uiConfig", {"activity": {"session_id": session_headers}}))
        await exchange.write(_event("profileChanged", {"active": None}))
        await exchange.write(_event("inflight", {"operation": "snapshot"}))
        while True:
            kind, data = await changes.get()
            if kind == "inflight":
                data = _inflight(fleet, *data)
            await exchange.write(_event(kind, data))
    finally:
        fleet.listeners.discard(listener)


def _event(kind: str, data: object) -> bytes:
    inner = json.dumps(data, separators=(",", ":"))
    outer = json.dumps({"type": kind, "data": inner}, separators=(",", ":"))
    return f"event:message\ndata:{outer}\n\n".encode()


def _inflight(fleet: Fleet, operation: str, record: Record, headers: Headers) -> dict[str, Any]:
    if operation == "remove":
        return {"operation": operation, "id": str(record.seq)}
    request: dict[str, Any] = {
        "id": str(record.seq),
        "timestamp": _timestamp(fleet, record),
        "model": record.model,
        "req_path": record.path,
        "method": record.method,
        "req_headers": _go_names(record.headers),
        "remote_ip": "127.0.0.1",
        "resp_headers": _go_names(headers),
        "resp_bytes": record.bytes_sent,
        "elapsed_ms": fleet.journal.now_ms() - record.started_ms,
    }
    return {"operation": operation, "request": request}


def _go_names(headers: Headers) -> dict[str, str]:
    return {name.title(): value for name, value in headers.items()}


def _status_rows(fleet: Fleet) -> list[dict[str, Any]]:
    rows = []
    for name, model in sorted(fleet.script.models.items()):
        row: dict[str, Any] = {"id": name, "name": model.name, "description": model.description}
        row |= {"state": fleet.pool.machine.state(name), "unlisted": model.unlisted, "peerID": ""}
        rows.append({**row, **({"aliases": list(model.aliases)} if model.aliases else {})})
    for peer_id, peer in fleet.script.peers.items():
        for model_name in peer.models:
            row = {
                "id": f"{peer_id}/{model_name}",
                "name": "",
                "description": "",
                "state": "",
                "unlisted": False,
            }
            rows.append({**row, "peerID": peer_id})
    return rows


# -- loading


class LoadingChatter:
    """llama-swap's `sendLoadingState`: reasoning text that fills a stream while its model loads."""

    def __init__(self, exchange: Exchange, pace: Pace, model: str) -> None:
        self._exchange = exchange
        self._pace = pace
        self._model = model

    async def until(self, loaded: Coroutine[Any, Any, None]) -> None:
        """Chatter until `loaded` is done; raises what it raises. Cancellation ends both."""
        began = self._pace.now()
        await self._say(RULER, "\n", f"llama-swap loading model: {self._model}", "\n", "\n")
        load = asyncio.ensure_future(loaded)
        dots = 0
        try:
            while not (await asyncio.wait({load}, timeout=self._pace.real_s(1.0)))[0]:
                await self._say(*([CHATTER_MESSAGE, " "] if dots == 0 else []), ".")
                dots += 1
            took = f"Done! ({self._pace.now() - began:.2f}s)"
            await self._say(*(["\n"] if dots else []), took, "\n", RULER, "\n", " ", "\n")
            await load
        finally:
            load.cancel()

    async def _say(self, *texts: str) -> None:
        for text in texts:
            for at in range(0, len(text), CHATTER_WIDTH):
                delta = {"reasoning_content": text[at : at + CHATTER_WIDTH]}
                chunk = json.dumps({"choices": [{"delta": delta}]}, separators=(",", ":"), ensure_ascii=False)
                await self._exchange.write(f"data: {chunk}\n\n".encode())
