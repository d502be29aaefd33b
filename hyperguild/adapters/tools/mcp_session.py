"""One session with an MCP server, in a task of its own.

The package's contexts hold cancel scopes, which have to be left in the task that entered them, the last one
first. So all of them are entered and left in one task per session that does nothing else; callers only send
requests, which is safe from any task.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import anyio
from mcp import Client, MCPError, types
from mcp.client import IncomingMessage
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from pydantic import TypeAdapter, ValidationError

from hyperguild import __version__
from hyperguild.adapters.tools.mcp_http import HttpTransport
from hyperguild.adapters.tools.mcp_results import result_text
from hyperguild.adapters.tools.mcp_stdio import StdioTransport
from hyperguild.adapters.tools.mcp_values import Answer, ListedTool, McpFault
from hyperguild.adapters.wire.wording import one_line
from hyperguild.domain.mcp import McpServer

CLOSE_LIMIT_S = 6.0
"""A server that is a program has 4 s for its end; whatever takes longer is cancelled."""

TOOLS_MAX = 1_000
"""A server that lists more is cut off: a paginator may have no end."""

_PAGES_MAX = 100
_RELISTEN_S = 5.0

for _name in (
    "mcp",
    "client",
):  # the package's loggers; without a handler Python prints their warnings on stderr
    logging.getLogger(_name).addHandler(logging.NullHandler())

_RESULT: TypeAdapter[types.CallToolResult | types.InputRequiredResult] = TypeAdapter(
    types.CallToolResult | types.InputRequiredResult
)


class McpSession:
    """See `Session`. `environment` is what a program gets besides the `env` of its server."""

    def __init__(self, server: McpServer, environment: Mapping[str, str]) -> None:
        self._server = server
        self._over = asyncio.Event()
        self._settled = asyncio.Event()
        self._why_over = "the session is closed"
        self._ended: str | None = None
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._transport: StdioTransport | HttpTransport
        if server.url is None:
            self._transport = StdioTransport(server, environment, self._over.set)
        else:
            self._transport = HttpTransport(server)
        self.tools: tuple[ListedTool, ...] = ()
        self.stale = False

    async def usable(self) -> bool:
        """See `Session.usable`."""
        if self._over.is_set():
            await self.aclose()
        return self._ended is None

    async def open(self) -> None:
        """See `Session.open`."""
        self._task = asyncio.create_task(self._live(), name=f"mcp {self._server.name}")
        try:
            async with asyncio.timeout(self._server.start_timeout_s):
                await self._settled.wait()
        except TimeoutError as exc:
            said = self._transport.said() if isinstance(self._transport, StdioTransport) else ""
            await self._cancel()
            raise McpFault(f"it did not start within {self._server.start_timeout_s:g} s{said}") from exc
        except asyncio.CancelledError:
            await self._cancel()
            raise
        if self._ended is not None:
            await asyncio.wait((self._task,))
            raise McpFault(self._ended)

    async def refresh(self) -> None:
        """See `Session.refresh`."""
        self.stale = False
        if self._client is None:
            return
        try:
            async with asyncio.timeout(self._server.start_timeout_s):
                self.tools = await _listed(self._client)
        except TimeoutError as exc:
            raise McpFault(f"no list of tools came within {self._server.start_timeout_s:g} s") from exc
        except (MCPError, ValidationError) as exc:
            raise await self._fault(exc) from exc

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        """See `Session.call`."""
        client = self._client
        if client is None or self._ended is not None:
            raise McpFault(self._ended or "it is not open")
        params = types.CallToolRequestParams(name=name, arguments=_sendable(arguments))
        self._forget_refusals()
        try:
            async with asyncio.timeout(self._server.timeout_s):
                # not `client.call_tool`: it refuses results that miss the tool's own output schema
                result = await client.session.send_request(types.CallToolRequest(params=params), _RESULT)
        except TimeoutError as exc:
            why = f"{name} did not finish within {self._server.timeout_s:g} s and was cancelled"
            raise McpFault(why) from exc
        except (MCPError, ValidationError) as exc:
            raise await self._fault(exc) from exc
        if isinstance(result, types.InputRequiredResult):
            raise McpFault(f"{name} asks its user for input, which cannot be given here")
        return Answer(result_text(result), result.is_error)

    async def aclose(self) -> None:
        """See `Session.aclose`."""
        self._over.set()
        if self._task is not None:
            if self._settled.is_set():  # else it waits for a server that nobody wants any more
                await asyncio.wait((self._task,), timeout=CLOSE_LIMIT_S)
            await self._cancel()

    async def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _live(self) -> None:
        """Hold the session open until it is over, whoever ends it."""
        try:
            async with Client(
                self._transport.connect(),
                client_info=types.Implementation(name="hyperguild", version=__version__),
                message_handler=self._hear,
                cache=None,
            ) as client:
                self.tools = await _listed(client)
                self._client = client
                self._forget_refusals()  # an older server refuses the first try of the newer protocol
                self._settled.set()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._listen, client)
                    await self._over.wait()
                    tasks.cancel_scope.cancel()
        except Exception as exc:  # noqa: BLE001  # foreign code: whatever it raises ends this session alone
            self._why_over = self._reason(exc)
        finally:
            epitaph = self._transport.epitaph() if isinstance(self._transport, StdioTransport) else None
            self._ended = self._worded(epitaph or self._why_over)
            self._client = None
            self._settled.set()

    async def _listen(self, client: Client) -> None:
        """Be told of changes where that has to be asked for: since the protocol of 2026-07-28."""
        offered = client.server_capabilities.tools
        while offered is not None and offered.list_changed:
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    self.stale = True  # what changed before is told to nobody
                    async for _ in changes:
                        self.stale = True
            except (ListenNotSupportedError, MCPError):
                return
            except SubscriptionLost:
                pass
            await anyio.sleep(_RELISTEN_S)

    async def _hear(self, message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.stale = True

    async def _fault(self, error: MCPError | ValidationError) -> McpFault:
        """Return what went wrong with a request; a session that is lost with it ends."""
        if isinstance(error, ValidationError):
            return McpFault("its answer breaks the protocol")
        transport = self._transport
        if isinstance(transport, HttpTransport) and transport.session_lost:
            self._why_over = "it has forgotten the session"
            self._over.set()
        if (error.code == types.CONNECTION_CLOSED or self._over.is_set()) and self._task is not None:
            await asyncio.wait((self._task,), timeout=CLOSE_LIMIT_S)
            if self._ended is not None:
                return McpFault(f"{self._ended}; the next call starts it again")
        return McpFault(self._worded(self._reason(error)))

    def _reason(self, error: Exception) -> str:
        if isinstance(error, ExceptionGroup):
            return self._reason(error.exceptions[0])
        if isinstance(error, ValidationError):
            return "its answer breaks the protocol"
        said = str(error) or type(error).__name__
        if not isinstance(self._transport, HttpTransport):
            return said
        if (broken := self._transport.reason(error)) is not None:
            return broken
        refused = self._transport.refused()
        return said if refused is None else f"{said} ({refused})"

    def _forget_refusals(self) -> None:
        if isinstance(self._transport, HttpTransport):
            self._transport.refusal = None

    def _worded(self, reason: str) -> str:
        return one_line(reason, secrets=(*self._server.headers.values(), *_secrets(self._server.env)))


async def _listed(client: Client) -> tuple[ListedTool, ...]:
    """Return the tools of all pages, each name once. Raises what the package raises."""
    found: dict[str, ListedTool] = {}
    cursor: str | None = None
    for _ in range(_PAGES_MAX):
        try:
            page = await client.list_tools(cursor=cursor)
        except MCPError as exc:
            if exc.code == types.METHOD_NOT_FOUND:
                break  # it has prompts or resources only
            raise
        for tool in page.tools:
            text = tool.description or tool.title or ""
            found.setdefault(tool.name, ListedTool(tool.name, text, tool.input_schema))
        previous, cursor = cursor, page.next_cursor
        if not cursor or cursor == previous or len(found) >= TOOLS_MAX:
            break
    return tuple(found.values())[:TOOLS_MAX]


def _sendable(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy without lone surrogates, which a model's JSON can hold and UTF-8 cannot."""
    text = json.dumps(dict(arguments), ensure_ascii=False)
    copy: dict[str, Any] = json.loads(text.encode("utf-8", "replace"))
    return copy


def _secrets(env: Mapping[str, str]) -> list[str]:
    words = ("KEY", "TOKEN", "SECRET", "PASS", "CREDENTIAL", "AUTH")
    return [value for name, value in env.items() if any(word in name.upper() for word in words)]
