from __future__ import annotations

from collections.abc import Sequence

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hyperguild.service.access import SAFE_HEADERS, TokenGuard

TOKEN = "sesame-opens-it"
PRIVATE = "what is private"


async def private(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{PRIVATE} {request.url.query}")


def client_of(hosts: Sequence[str] = ()) -> httpx.AsyncClient:
    app = Starlette(routes=[Route("/{path:path}", private, methods=["GET", "POST"])])
    guarded = TokenGuard(app, token=TOKEN, command="the command", hosts=hosts)
    return httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://127.0.0.1:8000")


@pytest.mark.parametrize(
    "where", ["/", "/runs/x", "/static/review.css", "/?token=", "/?token=other", "/?token=%ff"]
)
async def test_nothing_is_told_without_the_token(where: str) -> None:
    async with client_of() as client:
        answer = await client.get(where)
    assert answer.status_code == 403
    assert PRIVATE not in answer.text
    assert "the command" in answer.text
    assert SAFE_HEADERS.items() <= dict(answer.headers).items()


async def test_the_token_comes_once_in_the_address_and_then_in_a_cookie() -> None:
    async with client_of() as client:
        welcome = await client.get(f"/runs/x?a=1&token={TOKEN}&b=%26")
        assert welcome.status_code == 303
        assert welcome.headers["location"] == "/runs/x?a=1&b=%26"
        cookie = welcome.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert "hyperguild-8000=" in cookie
        answer = await client.get(welcome.headers["location"])
        assert answer.text == f"{PRIVATE} a=1&b=%26"


async def test_the_token_leads_to_no_other_host() -> None:
    async with client_of() as client:
        welcome = await client.get(f"http://127.0.0.1:8000//evil.example/?token={TOKEN}")
    assert welcome.headers["location"] == "/evil.example/"


async def test_a_token_in_the_address_changes_nothing() -> None:
    async with client_of() as client:
        answer = await client.post(f"/?token={TOKEN}", headers={"origin": "http://127.0.0.1:8000"})
    assert answer.status_code == 403


async def test_a_cookie_of_another_server_or_token_does_not_do() -> None:
    async with client_of() as client:
        for cookies in ({"hyperguild-8001": TOKEN}, {"hyperguild-8000": "other"}, {"hyperguild-8000": "ö"}):
            header = "; ".join(f"{name}={value}" for name, value in cookies.items())
            answer = await client.get("/", headers=[(b"cookie", header.encode())])
            assert answer.status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "[::1",
        "@",
    ],
)
async def test_under_another_name_it_does_not_answer(host: str) -> None:
    async with client_of() as client:
        header = {"host": host, "cookie": f"hyperguild-8000={TOKEN}"}
        answer = await client.get(f"/?token={TOKEN}", headers=header)
    assert answer.status_code == 421
    assert PRIVATE not in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "10.1.2.3", "Box:8000"]
)
async def test_its_own_names_do(host: str) -> None:
    async with client_of(hosts=["box"]) as client:
        header = {"host": host, "cookie": f"hyperguild-8000={TOKEN}"}
        answer = await client.get("/", headers=header)
    assert answer.status_code == 200
