"""A small MCP server made with the official package: `python mcp_server.py stdio|http [many] [token=T]`.

Over HTTP it prints its port as the first line.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import uvicorn
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PIXELS = b"\x89PNG" + b"\0" * 96


class Label(BaseModel):
    """A label of an issue."""

    name: str = Field(description="Name of the label, as shown in the list of labels")
    color: str | None = Field(default=None, description="Color in hexadecimal, without a leading #")


Owner = Annotated[str, Field(description="Account that owns the repository, without the leading @")]
Repo = Annotated[str, Field(description="Name of the repository, without the owner and without .git")]
Number = Annotated[int, Field(ge=1, description="Number of the issue or pull request in its repository")]
Page = Annotated[int, Field(ge=1, description="Page of the results, from 1")]
PerPage = Annotated[int, Field(ge=1, le=100, description="Results per page, at most 100")]
State = Annotated[Literal["open", "closed", "all"], Field(description="Only those in this state")]
Branch = Annotated[str, Field(description="Branch, tag or commit; the default branch where it is not given")]


def get_one(owner: Owner, repo: Repo, number: Number) -> str:
    return f"{owner}/{repo}#{number}"


def list_many(
    owner: Owner,
    repo: Repo,
    state: State = "open",
    sort: Annotated[Literal["created", "updated", "comments"], Field(description="Order")] = "created",
    page: Page = 1,
    per_page: PerPage = 30,
) -> str:
    return f"{owner}/{repo} {state} {sort} {page} {per_page}"


def create_one(
    owner: Owner,
    repo: Repo,
    title: Annotated[str, Field(description="Title, in one line")],
    body: Annotated[str, Field(description="Text, in Markdown")] = "",
    labels: Annotated[list[Label] | None, Field(description="Labels to set; missing ones are made")] = None,
    assignees: Annotated[list[str] | None, Field(description="Accounts it is assigned to")] = None,
) -> str:
    return f"{owner}/{repo} {title} {body} {labels} {assignees}"


def touch_file(
    owner: Owner,
    repo: Repo,
    path: Annotated[str, Field(description="Path of the file from the root of the repository")],
    content: Annotated[str, Field(description="The whole new text of the file")] = "",
    message: Annotated[str, Field(description="Message of the commit")] = "",
    branch: Branch = "",
    sha: Annotated[str | None, Field(description="Blob that is replaced; needed where it exists")] = None,
) -> str:
    return f"{owner}/{repo} {path} {content} {message} {branch} {sha}"


def search(
    query: Annotated[str, Field(description="What to look for, in the syntax of the search page")],
    sort: Annotated[
        str | None, Field(description="Field to order by; best match where it is not given")
    ] = None,
    order: Annotated[Literal["asc", "desc"], Field(description="Direction of the order")] = "desc",
    page: Page = 1,
    per_page: PerPage = 30,
) -> str:
    return f"{query} {sort} {order} {page} {per_page}"


SHAPES: Mapping[Callable[..., str], tuple[str, str]] = {
    get_one: (
        "get_issue get_pull_request get_pull_request_diff get_pull_request_status get_release get_discussion",
        "Get the details of one item of a repository: its title, text, author, state, labels and times.",
    ),
    list_many: (
        "list_issues list_pull_requests list_commits list_branches list_releases list_tags list_workflows",
        "List the items of a repository, newest first unless told otherwise. Results come in pages.",
    ),
    create_one: (
        "create_issue create_pull_request create_release create_discussion create_milestone create_review",
        "Create an item in a repository. The account needs the right to write to it; returns its address.",
    ),
    touch_file: (
        "create_or_update_file delete_file get_file_contents push_files create_branch merge_branch",
        "Work on a file of a repository on a branch, as one commit. The branch has to exist.",
    ),
    search: (
        "search_code search_issues search_repositories search_users search_commits",
        "Search everything the account may see. At most 1,000 results can be had, in pages.",
    ),
}


def add_many(server: MCPServer) -> None:
    """Add 30 tools such as a code host's server has."""
    for function, (names, description) in SHAPES.items():
        for name in names.split():
            server.add_tool(function, name=name, description=description)


def add_few(server: MCPServer) -> None:
    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def echo(text: str) -> str:
        """Return the text."""
        return text

    @server.tool()
    def fail() -> str:
        """Fail."""
        raise ToolError("no such record")

    @server.tool()
    async def slow(folder: str) -> str:
        """Take very long; leaves a file when it begins and another when it is cancelled."""
        try:
            (Path(folder) / "began").touch()
            await anyio.sleep(600)
        except anyio.get_cancelled_exc_class():
            (Path(folder) / "cancelled").touch()
            raise
        return "done"

    @server.tool()
    def big(size: int) -> str:
        """Return so many characters."""
        return "x" * size

    @server.tool()
    def image() -> Image:
        """Return a picture."""
        return Image(data=PIXELS, format="png")

    @server.tool()
    def crash() -> str:
        """End the server."""
        print("out of luck", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(3)

    @server.tool()
    def about() -> str:
        """Say what this process is."""
        return json.dumps({"pid": os.getpid(), "cwd": str(Path.cwd()), "env": dict(os.environ)})

    @server.tool()
    async def grow(ctx: Context) -> str:
        """Add a tool."""
        server.add_tool(get_one, name="grown")
        await ctx.notify_tools_changed()
        return "grown"


def serve_http(server: MCPServer, token: str | None) -> None:
    inner = server.streamable_http_app()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if token is not None and scope["type"] == "http" and headers.get(b"x-token") != token.encode():
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await inner(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)  # noqa: T201
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


def main(how: str, *options: str) -> None:
    server = MCPServer("small")
    if "many" in options:
        add_many(server)
    else:
        add_few(server)
    if how == "stdio":
        server.run("stdio")
    else:
        given = dict(option.split("=") for option in options if "=" in option)
        serve_http(server, given.get("token"))


if __name__ == "__main__":
    main(*sys.argv[1:])
