"""The ASGI application: reads a request, records it, hands it to its face and notices when its client
goes.
"""

import asyncio
import traceback
from collections.abc import Iterable

from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from hyperguild.simulation.control import ControlFace
from hyperguild.simulation.exchange import Exchange, Handler, request_headers
from hyperguild.simulation.faces.anthropic import AnthropicFace
from hyperguild.simulation.faces.llama_swap import LlamaSwapFace
from hyperguild.simulation.faces.openai import OpenAIFace
from hyperguild.simulation.fleet import Fleet
from hyperguild.simulation.journal import Journal, Record

PLAIN = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}


class FleetApp:
    """The whole fleet as one ASGI application."""

    def __init__(self, fleet: Fleet) -> None:
        self._journal = fleet.journal
        self._unseen = Journal(lambda: 0)
        self._faces = [
            ("control", _routes(ControlFace(fleet).routes())),
            ("openai", _routes(OpenAIFace(fleet).routes())),
            ("anthropic", _routes(AnthropicFace(fleet).routes())),
            ("llama_swap", _routes(LlamaSwapFace(fleet).routes())),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        body = await _body(receive)
        face, handler = self._find(scope)
        journal = self._unseen if face == "control" else self._journal
        record = journal.open(face, scope["method"], scope["path"], request_headers(scope))
        exchange = Exchange(scope, body or b"", send, journal, record)
        if body is None:
            _finish(journal, record, exchange, disconnected=True)
            return
        disconnected = False
        try:
            disconnected = await _until_done_or_gone(handler, exchange, receive)
        except Exception as exc:
            record.error_message = repr(exc)
            traceback.print_exc()  # a mistake of our own: the server below answers 500 and tells nobody
            raise
        finally:
            _finish(journal, record, exchange, disconnected=disconnected)

    def _find(self, scope: Scope) -> tuple[str, Handler]:
        """The face and the handler of a request; what no face knows is llama-swap's to refuse."""
        allowed: set[str] = set()
        for face, routes in self._faces:
            for route, handler in routes:
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope["path_params"] = found["path_params"]
                    return face, handler
                if match is Match.PARTIAL:
                    allowed |= route.methods or set()
        return "llama_swap", _wrong_method(allowed) if allowed else _not_found


def _routes(rows: Iterable[tuple[str, list[str], Handler]]) -> list[tuple[Route, Handler]]:
    return [(Route(path, _NeverCalled(), methods=methods), handler) for path, methods, handler in rows]


class _NeverCalled:
    """Starlette's routes are used for matching alone."""

    __name__ = "matched"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


async def _not_found(exchange: Exchange) -> None:
    await exchange.respond(404, b"404 page not found\n", PLAIN)


def _wrong_method(allowed: set[str]) -> Handler:
    async def refuse(exchange: Exchange) -> None:
        headers = {"allow": ", ".join(sorted(allowed)), **PLAIN}
        await exchange.respond(405, b"Method Not Allowed\n", headers)

    return refuse


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None when the client left before it was sent."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _until_done_or_gone(handler: Handler, exchange: Exchange, receive: Receive) -> bool:
    """Run the handler and cancel it when the client goes; true when that happened before the answer was
    complete.
    """
    work = asyncio.ensure_future(handler(exchange))
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        disconnected = gone.done() and not work.done() and not exchange.ended
        if disconnected:
            work.cancel()
        await asyncio.wait({work})
        if not work.cancelled():
            work.result()
        return disconnected
    finally:
        work.cancel()
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _finish(journal: Journal, record: Record, exchange: Exchange, *, disconnected: bool) -> None:
    record.finished_ms = journal.now_ms()
    if record.outcome is not None:
        return
    if disconnected:
        record.outcome = "client_disconnected"
    elif exchange.ended and (record.status or 500) < 400:
        record.outcome = "completed"
    else:
        record.outcome = "error"
