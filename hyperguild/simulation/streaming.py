"""Sends a reply over an exchange: whole or as a stream, at its pace, with its fault.

The two APIs differ in shape alone, so each is a `Dialect`: it turns a reply into frames of bytes, and
everything about time and failure is done here, once.
"""

import asyncio
import itertools
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hyperguild.simulation.exchange import Exchange
from hyperguild.simulation.pace import Pace
from hyperguild.simulation.reply import Reply
from hyperguild.simulation.script import ErrorReply

FrameKind = Literal["open", "token", "finish", "done", "crash", "stall"]
Frame = tuple[FrameKind, bytes]
"""A piece of a stream. `crash` and `stall` carry no bytes: the fault happens there."""

CONTENT_OPENS = re.compile(rb'("(?:content|text)": ")')
HTML = b"<!doctype html><html><head><title>Sign in</title></head><body>Sign in to the network</body></html>"
FLOOD = b"x" * 65_536
LONG_LINE_BYTES = 100_000_000
HUGE_ANSWER_BYTES = 1_000_000_000
SLOW_HEAD_S = 5.0
"""How long the head of a `slow_headers` answer takes when the rule names no delay."""


class Dialect(Protocol):
    """The shape one API gives to a reply; made for one request."""

    def frames(self, reply: Reply) -> Iterator[Frame]:
        """The stream of a reply, from its first event to its end mark; endless when its pieces are."""
        ...

    def whole(self, reply: Reply, *, finished: bool) -> dict[str, Any]:
        """The body of a reply that is not streamed; not `finished`: without the reason why it ended."""
        ...

    def error_body(self, error: ErrorReply) -> dict[str, Any]:
        """The body of an error answer."""
        ...

    def error_frame(self, error: ErrorReply) -> bytes:
        """An error inside a stream."""
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a reply is played: the exchange, the shape, the clock, and what it means there that the server
    crashes.

    `crash` does not return but by cancellation or an exception. `headers` go on every answer.
    """

    exchange: Exchange
    dialect: Dialect
    pace: Pace
    crash: Callable[[], Awaitable[None]]
    headers: dict[str, str]


async def play(stage: Stage, reply: Reply, *, stream: bool) -> None:
    """Send the reply; returns when the exchange is over, or when its fault breaks it off.

    Cancellation (the client has gone) stops the generation at once.
    """
    stage.exchange.record.phase = "generating"
    if reply.fault != "slow_headers":
        await stage.pace.sleep(reply.wait_s)
    if await _failed_before(stage, reply):
        return
    if reply.error is not None and not (stream and reply.error.in_stream):
        await send_error(stage, reply.error)
    elif stream:
        await _stream(stage, reply)
    else:
        await _whole(stage, reply)
    if reply.fault == "crash_after":
        await stage.crash()


async def send_error(stage: Stage, error: ErrorReply) -> None:
    """Send an error answer; a 429 says when to come back."""
    stage.exchange.record.error_message = error.message
    headers = {**stage.headers, **({"retry-after": "1"} if error.status == 429 else {})}
    for name, value in error.headers.items():
        headers.pop(name.lower(), None)
        if value is not None:
            headers[name.lower()] = value
    body = stage.dialect.error_body(error) if error.body is None else error.body
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    await stage.exchange.respond(error.status, raw, {"content-type": "application/json", **headers})


async def _failed_before(stage: Stage, reply: Reply) -> bool:
    """The faults that leave no answer, or another one; true when it was one of those."""
    exchange = stage.exchange
    match reply.fault:
        case "hang":
            await asyncio.Event().wait()
        case "crash_before":
            await stage.crash()
        case "reset":
            await exchange.cut(reset=True)
        case "html":
            await exchange.respond(200, HTML, {"content-type": "text/html; charset=utf-8"})
        case "empty_200":
            await exchange.respond(200, b"", {})
        case "empty_502":
            await exchange.respond(502, b"", {})
        case "long_line":
            await _flood(exchange, "text/event-stream", b'data: {"text": "', LONG_LINE_BYTES)
        case "huge_answer":
            await _flood(exchange, "application/json", b'{"text": "', HUGE_ANSWER_BYTES)
        case _:
            return False
    return True


async def _flood(exchange: Exchange, content_type: str, opening: bytes, size: int) -> None:
    """Send so many bytes, of which only a piece is ever held, as fast as the client takes them."""
    await exchange.start(200, {"content-type": content_type, "content-length": str(size)})
    await exchange.write(opening)
    left = size - len(opening)
    while left > len(FLOOD):
        await exchange.write(FLOOD)
        await asyncio.sleep(0)  # else a client that has gone is not noticed
        left -= len(FLOOD)
    await exchange.end(FLOOD[:left])


# -- not streamed


async def _whole(stage: Stage, reply: Reply) -> None:
    if reply.fault in ("stall_before_first", "stall_after_first", "endless"):
        await asyncio.Event().wait()
    if reply.pace:
        await stage.pace.sleep(reply.spoken / reply.pace)
    if reply.fault == "crash_during":
        await stage.crash()
    body = json.dumps(stage.dialect.whole(reply, finished=reply.fault != "no_finish")).encode()
    if reply.fault == "truncated_json":
        body = body[: len(body) // 2]
    if reply.fault == "invalid_utf8":
        body = _spoiled(body)
    headers = {**stage.headers, "content-type": _content_type(reply, "application/json")}
    await _send(stage, reply, body, headers)


async def _send(stage: Stage, reply: Reply, body: bytes, headers: dict[str, str]) -> None:
    if reply.fault != "slow_headers":
        await stage.exchange.respond(200, body, headers)
        return
    pause_s = (reply.wait_s or SLOW_HEAD_S) / 200  # a head has about 200 bytes
    await stage.exchange.respond_slowly(body, headers, lambda: stage.pace.sleep(pause_s))


def _spoiled(data: bytes) -> bytes:
    """The same with bytes in its text that are no UTF-8."""
    return CONTENT_OPENS.sub(b"\\g<1>\xff\xfe", data)


def _content_type(reply: Reply, usual: str) -> str:
    return "text/plain; charset=utf-8" if reply.fault == "wrong_content_type" else usual


# -- streamed


async def _stream(stage: Stage, reply: Reply) -> None:
    exchange = stage.exchange
    headers = {**stage.headers, "content-type": _content_type(reply, "text/event-stream")}
    frames = tampered(stage, reply)
    if reply.fault == "slow_headers":
        await _send(stage, reply, b"".join(data for _, data in frames), headers)
        return
    if not exchange.started:
        await exchange.start(200, headers)
    if reply.pace or reply.fault == "endless":
        await _paced(stage, frames, reply.pace)
    else:
        await _at_once(stage, frames)
    await exchange.end()


async def _paced(stage: Stage, frames: Iterable[Frame], pace: float) -> None:
    began = stage.pace.now()
    tokens = 0
    for kind, data in frames:
        if kind in ("crash", "stall"):
            await _break_off(stage, kind)
        if kind == "token":
            if pace:
                await stage.pace.sleep_until(began + tokens / pace)
            elif tokens % 16 == 0:
                await asyncio.sleep(0)  # endless and without a pace: let the others live
            tokens += 1
        await stage.exchange.write(data)


async def _at_once(stage: Stage, frames: Iterable[Frame]) -> None:
    for broken_off, run in itertools.groupby(frames, lambda frame: frame[0] in ("crash", "stall")):
        if broken_off:
            await _break_off(stage, next(run)[0])
        else:
            await stage.exchange.write(b"".join(data for _, data in run))


async def _break_off(stage: Stage, kind: FrameKind) -> None:
    if kind == "crash":
        await asyncio.sleep(0)  # what was written goes out before the crash
        await stage.crash()
    await asyncio.Event().wait()


def tampered(stage: Stage, reply: Reply) -> Iterator[Frame]:
    """The frames of a reply with its fault, or its error, worked into them."""
    frames: Iterator[Frame] = stage.dialect.frames(reply)
    error = reply.error
    if error is not None:
        stage.exchange.record.error_message = error.message
        said = itertools.takewhile(lambda frame: frame[0] in ("open", "token"), frames)
        return itertools.chain(said, [("token", stage.dialect.error_frame(error))])
    half = max(1, reply.spoken // 2)
    match reply.fault:
        case "no_finish":
            frames = (frame for frame in frames if frame[0] != "finish")
        case "no_done":
            frames = (frame for frame in frames if frame[0] != "done")
        case "stall_before_first":
            opened = itertools.takewhile(lambda frame: frame[0] == "open", frames)
            frames = itertools.chain(opened, [("stall", b"")])
        case "stall_after_first":
            frames = _until(frames, 1, [("stall", b"")])
        case "crash_during":
            frames = _until(frames, half, [("crash", b"")])
        case "truncated_json":
            frames = _until(frames, half, [("token", b'data: {"index": 0, "del\n\n')])
        case "invalid_utf8":
            frames = ((kind, _spoiled(data)) for kind, data in frames)
    return frames


def _until(frames: Iterator[Frame], tokens: int, then: list[Frame]) -> Iterator[Frame]:
    """The frames up to the given number of tokens, and then something else."""
    sent = 0
    for frame in frames:
        yield frame
        sent += frame[0] == "token"
        if sent == tokens:
            break
    yield from then
