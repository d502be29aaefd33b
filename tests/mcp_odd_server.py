"""An MCP server that speaks the protocol by hand, to break it: `mcp_odd_server.py stdio|http MODE [NOTES]`.

It speaks the protocol of 2025-06-18, lists its tools in pages and does odd things when it is called. MODE:
`plain` · `mute` (never answers) · `dies` (at once, with words) · `babbles` (says on stdout why it cannot) ·
`stubborn` (outlives everything short of SIGKILL, as does its child; NOTES gets both process ids) · `stubborn
mute` · `cyclic` (its last page leads to itself) · `broken` (over HTTP, refuses calls with status 502).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ANYTHING = {"type": "object"}
PAGES: list[list[str]] = [
    ["echo", "about", "fail", "crash", "surrogate", "latin", "chatty"],
    ["huge_id_first", "huge_id_last", "huge_nameless", "wrong", "structured"],
    ["parts", "ask", "grow", "leave", "forget", "many words.here", "nothing"],
]
PARTS = [
    {"type": "text", "text": "before"},
    {"type": "image", "data": "AAAA", "mimeType": "image/png"},
    {"type": "audio", "data": "AAAAAA==", "mimeType": "audio/wav"},
    {"type": "resource_link", "uri": "file:///a.txt", "name": "a", "mimeType": "text/plain", "size": 7},
    {"type": "resource", "resource": {"uri": "mem://t", "text": "inside"}},
    {"type": "resource", "resource": {"uri": "mem://b", "blob": "AAAA", "mimeType": "x/y"}},
]
WHY = {"type": "text", "text": "no such record"}
HUGE = "x" * (9 * 1024 * 1024)


class OddServer:
    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.pages = [list(page) for page in PAGES]
        self.asked: Any = None

    def answer(self, message: dict[str, Any]) -> list[bytes]:
        """Return what is sent back, as lines without their ends."""
        method, key = message.get("method"), message.get("id")
        if method == "initialize":
            result: dict[str, Any] = {
                "protocolVersion": "2025-06-18",
                "serverInfo": {"name": "odd", "version": "1"},
            }
            return [answered(key, {**result, "capabilities": {"tools": {"listChanged": True}}})]
        if method == "tools/list":
            return [answered(key, self.page((message.get("params") or {}).get("cursor")))]
        if method == "tools/call":
            return self.call(key, message["params"]["name"], message["params"].get("arguments") or {})
        if method is None:  # the client answers what we asked
            code = message.get("error", {}).get("code")
            return [text_answer(self.asked, f"refused: {code}")]
        if key is not None:
            return [
                line({"jsonrpc": "2.0", "id": key, "error": {"code": -32601, "message": "no such method"}})
            ]
        return []

    def page(self, cursor: str | None) -> dict[str, Any]:
        at = int(cursor or 0)
        tools = [{"name": name, "inputSchema": ANYTHING} for name in self.pages[at]]
        last = at + 1 == len(self.pages)
        following = {"nextCursor": str(at)} if last and self.mode == "cyclic" else {"nextCursor": str(at + 1)}
        return {"tools": tools, **({} if last and self.mode != "cyclic" else following)}

    def call(self, key: Any, name: str, arguments: dict[str, Any]) -> list[bytes]:
        odd: dict[str, Callable[[], list[bytes]]] = {
            "about": lambda: [text_answer(key, json.dumps(about()))],
            "fail": lambda: [answered(key, {"content": [WHY], "isError": True})],
            "crash": crash,
            "surrogate": lambda: [answered(key, {"content": [{"type": "text", "text": "a\ud800b"}]})],
            "latin": lambda: [text_answer(key, "caf@").replace(b"@", b"\xe9")],
            "chatty": lambda: [b"INFO: about to answer", b"", b"[1, 2]", text_answer(key, "answered")],
            "huge_id_first": lambda: [line({"jsonrpc": "2.0", "id": key, "result": {"content": HUGE}})],
            "huge_id_last": lambda: [line({"result": {"content": HUGE}, "jsonrpc": "2.0", "id": key})],
            "huge_nameless": lambda: [line({"jsonrpc": "2.0", "method": "odd", "params": {"text": HUGE}})],
            "wrong": lambda: [answered(key, {"content": "not a list"})],
            "structured": lambda: [answered(key, {"content": [], "structuredContent": {"of": ["ä"]}})],
            "nothing": lambda: [answered(key, {"content": []})],
            "parts": lambda: [answered(key, {"content": PARTS})],
            "ask": lambda: self.ask(key),
            "grow": lambda: self.grow(key),
            "leave": lambda: [text_answer(key, "goodbye"), b"LEAVE"],
        }
        return odd[name]() if name in odd else [text_answer(key, json.dumps(arguments))]

    def ask(self, key: Any) -> list[bytes]:
        self.asked = key
        params = {"message": "Your name?", "requestedSchema": {"type": "object", "properties": {}}}
        return [line({"jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": params})]

    def grow(self, key: Any) -> list[bytes]:
        self.pages[-1].append("grown")
        changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        return [line(changed), text_answer(key, "grown")]


def crash() -> list[bytes]:
    print("out of luck", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(3)


def about() -> dict[str, Any]:
    return {"pid": os.getpid(), "cwd": str(Path.cwd()), "env": dict(os.environ)}


def answered(key: Any, result: dict[str, Any]) -> bytes:
    return line({"jsonrpc": "2.0", "id": key, "result": result})


def text_answer(key: Any, text: str) -> bytes:
    return answered(key, {"content": [{"type": "text", "text": text}]})


def line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def serve_stdio(server: OddServer) -> None:
    for request in sys.stdin.buffer:
        if "mute" in server.mode:
            continue
        for each in server.answer(json.loads(request)):
            if each == b"LEAVE":
                sys.exit(0)
            sys.stdout.buffer.write(each + b"\n")
            sys.stdout.buffer.flush()


def serve_http(server: OddServer) -> None:
    # imported here, so that the other face starts at once
    import uvicorn  # noqa: PLC0415
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.requests import Request  # noqa: PLC0415
    from starlette.responses import Response  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    sessions: set[str] = set()

    async def endpoint(request: Request) -> Response:
        if request.method != "POST":
            return Response(status_code=405)
        message = await request.json()
        session = request.headers.get("mcp-session-id")
        if server.mode == "broken" and message["method"] == "tools/call":
            return Response("oh no", status_code=502)
        if message["method"] == "initialize":
            session = f"s{len(sessions)}-{time.monotonic_ns()}"
            sessions.add(session)
        elif session is not None and session not in sessions:
            return Response(status_code=404)
        if "id" not in message:
            return Response(status_code=202)
        if message.get("params", {}).get("name") == "forget":
            sessions.clear()
        lines = server.answer(message)
        headers = {"mcp-session-id": session} if session else {}
        return Response(lines[-1], media_type="application/json", headers=headers)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)  # noqa: T201
        app = Starlette(routes=[Route("/mcp", endpoint, methods=["GET", "POST", "DELETE"])])
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


def main(how: str, mode: str, notes: str = "") -> None:
    if mode == "dies":
        print("first words\ncannot open the data base", file=sys.stderr)  # noqa: T201
        sys.exit(3)
    if mode == "babbles":
        print("Usage: odd FOLDER")  # noqa: T201
        sys.exit(1)
    if "stubborn" in mode:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", ignoring], stdin=subprocess.DEVNULL)
        Path(notes).write_text(f"{os.getpid()} {child.pid}")
    server = OddServer(mode)
    if how == "http":
        serve_http(server)
    else:
        serve_stdio(server)
    if "stubborn" in mode:
        time.sleep(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
