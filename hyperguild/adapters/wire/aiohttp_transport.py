"""aiohttp's connections behind httpx's interface: needs the extra `fast`."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport


class _Transport(AiohttpTransport):
    """Maps what httpx-aiohttp lets through: aiohttp's own errors for answers that are no HTTP."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send; raise errors of httpx alone."""
        if request.url.userinfo:  # httpx has made a header of it; aiohttp refuses to see both
            request.url = request.url.copy_with(userinfo=b"")
        try:
            return await super().handle_async_request(request)
        except aiohttp.ClientError as exc:
            raise httpx.RemoteProtocolError(str(exc), request=request) from exc


def open_aiohttp(base_url: str, tls: ssl.SSLContext, *, trust_env: bool) -> httpx.AsyncBaseTransport:
    """Make the transport; its session opens with the first request, in the loop that sends it.

    With `trust_env` it goes through the proxy that the environment names for the URL; raises `ValueError` for
    one that is not HTTP. (aiohttp's own `trust_env` would also send passwords of ~/.netrc.)
    """

    def open_session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=tls, limit=0)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    return _Transport(verify=tls, client=open_session, proxy=_proxy_for(base_url) if trust_env else None)


def _proxy_for(base_url: str) -> httpx.Proxy | None:
    target, proxies = urlsplit(base_url), getproxies()
    url = proxies.get(target.scheme) or proxies.get("all")
    if not url or proxy_bypass(target.hostname or ""):
        return None
    proxy = httpx.Proxy(url if "://" in url else f"http://{url}")
    if proxy.url.scheme not in {"http", "https"}:
        raise ValueError(f"the aiohttp transport knows no {proxy.url.scheme} proxies")
    return proxy
