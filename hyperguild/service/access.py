"""Who may talk to a server on this machine: any web page in the user's browser can try.

Three guards, each a plain ASGI application around another: `TokenGuard` lets in who knows the token that
was drawn at the start, `SameOrigin` refuses changes that another page asks for, `SafeHeaders` tells the
browser to load and run nothing but what comes from here.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import MutableHeaders, QueryParams
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "token"  # noqa: S105  # the name of a query parameter
_READING = frozenset({"GET", "HEAD"})
_CLOSED = "This page is for who started it: open the address, with its token, that `{command}` printed.\n"

SAFE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # Nothing is told to other sites. `no-referrer` would make forms send `Origin: null` to ourselves, too.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # What is shown is private: no copy of it stays in the browser.
    "cache-control": "no-store",
}


class SafeHeaders:
    """Adds `SAFE_HEADERS` to every answer, in place of what it has of them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


class SameOrigin:
    """Refuses (403) what changes something, unless a page of this same server asks for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] not in _READING and not _is_same_origin(scope):
            refusal = PlainTextResponse("Only pages of this server may ask for this.\n", 403)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


class TokenGuard:
    """Answers only to who brings the token, and under names that are this server's own.

    The token comes once in the address, `?token=…`, and from then on in a cookie that the browser sends for
    pages of this site, and where a link leads here: a terminal may be a page of another site. `hosts` are the
    names by which the server is called besides `localhost` and addresses in digits: under a name of their own
    (DNS rebinding), other sites' pages could read ours.
    `command` is named to who comes without a token.
    """

    def __init__(self, app: ASGIApp, *, token: str, command: str, hosts: Iterable[str] = ()) -> None:
        self._app = SafeHeaders(app)
        self._token = token
        self._command = command
        self._hosts = frozenset(host.lower() for host in ("localhost", *hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; of other kinds of connections, only the server's own start and end."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            answer = self._refusal_or_welcome(Request(scope))
            await (self._app if answer is None else SafeHeaders(answer))(scope, receive, send)

    def _refusal_or_welcome(self, request: Request) -> Response | None:
        """Return what is answered in the application's place; None where it answers itself."""
        if not self._is_ours(request.headers.get("host", "")):
            return PlainTextResponse("This server is not called that.\n", 421)
        cookie = f"hyperguild-{(request.scope.get('server') or ('', 0))[1]}"
        # One jar holds the cookies of all ports of a machine: each server has a name of its own.
        if self._is_token(request.cookies.get(cookie, "")):
            return None
        if request.method in _READING and self._is_token(request.query_params.get(TOKEN, "")):
            welcome = RedirectResponse(_without_token(request), 303)
            welcome.set_cookie(cookie, self._token, httponly=True, samesite="lax")
            return welcome
        return PlainTextResponse(_CLOSED.format(command=self._command), 403)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._hosts or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _without_token(request: Request) -> str:
    rest = urlencode(
        [(key, value) for key, value in QueryParams(request.url.query).multi_items() if key != TOKEN]
    )
    # A path that begins with two slashes would lead to another host.
    path = "/" + request.url.path.lstrip("/")
    return f"{path}?{rest}" if rest else path


def _is_same_origin(scope: Scope) -> bool:
    headers = Request(scope).headers
    origin, host = headers.get("origin", ""), headers.get("host", "")
    scheme, _, place = origin.partition("://")
    return scheme in {"http", "https"} and bool(host) and place.lower() == host.lower()
