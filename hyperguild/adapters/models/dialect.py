"""What both HTTP protocols have in common: a stream of events, or one JSON document, becomes stream parts."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from httpx_sse import ServerSentEvent

from hyperguild.adapters.models.sse import BARE, COMMENT, events
from hyperguild.adapters.wire.complaint import complaint_of, is_error
from hyperguild.adapters.wire.exchange import Answer
from hyperguild.adapters.wire.http_errors import error_from_stream
from hyperguild.adapters.wire.peer import Peer
from hyperguild.domain.messages import Finish, FinishReason, KeepAlive, StreamPart
from hyperguild.errors import ModelError, ProtocolError

_QUOTED_CHARS = 120


class Dialect(Protocol):
    """Reads one protocol's answer; a new one for each answer. Pure: no I/O.

    Both methods raise `ModelError` for what the protocol does not allow.
    """

    @property
    def finish(self) -> FinishReason | None:
        """The finish reason, once it has been said."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the stream has said that it is over."""
        ...

    def take(self, data: str) -> list[StreamPart]:
        """Take the data of one event; return its parts, without `Finish`."""
        ...

    def take_whole(self, document: Mapping[str, Any]) -> list[StreamPart]:
        """Take a whole answer, from a server that does not stream; return its parts, without `Finish`."""
        ...


async def read_answer(answer: Answer, dialect: Dialect) -> AsyncGenerator[StreamPart, None]:
    """Yield the parts of an answer, `Finish` last.

    Raises `ProtocolError` (retryable) for one that ends before it says that and why it is over, and for what
    is neither a stream nor JSON.
    """
    if answer.content_type == "text/event-stream":
        async with aclosing(events(answer)) as stream:
            async for event in stream:
                for part in take_event(event, dialect, answer.peer):
                    yield part
                if dialect.ended:
                    break
        yield Finish(finished(dialect, answer.peer))
        await answer.drain()
    elif answer.content_type.endswith(("/json", "+json")):
        for part in dialect.take_whole(
            parse_object((await answer.whole()).decode("utf-8", "replace"), answer.peer)
        ):
            yield part
        if dialect.finish is None:
            raise answer.peer.error(
                ProtocolError, f"{answer.peer.who} gives no finish reason", retryable=True
            )
        yield Finish(dialect.finish)
    else:
        raise await _no_answer(answer)


def take_event(event: ServerSentEvent, dialect: Dialect, peer: Peer) -> list[StreamPart]:
    """Return the parts of one event. Raises `ModelError`."""
    if event.event == COMMENT:
        return [KeepAlive()]
    if event.event == BARE:
        return _take_bare(event.data, peer)
    return dialect.take(event.data)


def finished(dialect: Dialect, peer: Peer) -> FinishReason:
    """Return the finish reason of a stream that has ended; raise `ProtocolError` where it broke off."""
    if dialect.finish is None:
        message = f"the stream of {peer.who} ended without a finish reason: the model may have crashed"
        raise peer.error(ProtocolError, message, retryable=True)
    if not dialect.ended:
        message = f"the stream of {peer.who} ended before its last event"
        raise peer.error(ProtocolError, message, retryable=True)
    return dialect.finish


def parse_object(data: str, peer: Peer) -> dict[str, Any]:
    """Parse a JSON object; raise the error that it is, or `ProtocolError` (retryable) for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as exc:
        message = f"{peer.who} sends broken JSON: {data[:_QUOTED_CHARS]}"
        raise peer.error(ProtocolError, message, retryable=True) from exc
    if not isinstance(value, dict):
        message = f"{peer.who} sends no JSON object: {data[:_QUOTED_CHARS]}"
        raise peer.error(ProtocolError, message, retryable=True)
    if is_error(value):
        raise error_from_stream(peer, complaint_of(value))
    return value


def misshapen(peer: Peer, what: str) -> ModelError:
    """Return the error for an answer whose JSON is not of the protocol's form."""
    return peer.error(ProtocolError, f"{peer.who} breaks its protocol: {what}", retryable=True)


def _take_bare(line: str, peer: Peer) -> list[StreamPart]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return []  # the format says to ignore such lines
    if isinstance(value, dict) and (is_error(value) or "message" in value):
        raise error_from_stream(peer, complaint_of(value))
    return []


async def _no_answer(answer: Answer) -> ModelError:
    peer, body = answer.peer, (await answer.beginning()).decode("utf-8", "replace")
    kind = answer.content_type or "no content type"
    return peer.error(
        ProtocolError,
        f"{peer.who} answers with {kind} instead of a stream of events: {body[:_QUOTED_CHARS]}",
        hint="is base_url that of the API, and not of a web page?",
    )
