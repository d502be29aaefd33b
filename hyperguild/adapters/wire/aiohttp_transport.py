"""aiohttp's connections behind httpx's interface: needs the extra `fast`."""

from __future__ import annotations

import ssl

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport


class _Transport(AiohttpTransport):
    """Maps what httpx-aiohttp lets through: aiohttp's own errors for answers that are no HTTP."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send; raise errors of httpx alone."""
        try:
            return await super().handle_async_request(request)
        except aiohttp.ClientError as exc:
            raise httpx.RemoteProtocolError(str(exc), request=request) from exc


def open_aiohttp(tls: ssl.SSLContext, *, trust_env: bool) -> httpx.AsyncBaseTransport:
    """Make the transport; its session opens with the first request, in the loop that sends it."""

    def open_session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=trust_env,
        )

    return _Transport(verify=tls, client=open_session)
