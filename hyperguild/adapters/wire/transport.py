"""The one place where HTTP connections are opened.

httpx's own pool is quick to import and fine where few requests run; its cost grows with the square of the
concurrency. `aiohttp_transport` (the extra `fast`) is for many requests at once. Tests mount routers through
the same factory.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import anyio.abc  # noqa: F401  # httpx would import it in its first request, within that request's time limit
import httpx

from hyperguild.adapters.wire.wording import one_line, shown_url
from hyperguild.domain.chain import Endpoint
from hyperguild.errors import BadRequestError, ConnectError, ModelError

TransportFactory = Callable[[Endpoint], httpx.AsyncBaseTransport | None]
"""Makes the transport of an endpoint's client; None stands for httpx's own."""


def plain_transport(endpoint: Endpoint) -> httpx.AsyncBaseTransport | None:
    """Use httpx's own transport, with the proxies of the environment."""
    del endpoint
    return None


def aiohttp_transport(endpoint: Endpoint) -> httpx.AsyncBaseTransport | None:
    """Use aiohttp's connections, for many requests at once; proxies of the environment hold here too.

    Raises `ConnectError`, not retryable, where the extra `fast` is not installed.
    """
    try:
        # an optional extra: nobody else pays for its import
        from hyperguild.adapters.wire.aiohttp_transport import open_aiohttp  # noqa: PLC0415
    except ImportError as exc:
        raise ConnectError(
            "the aiohttp transport is asked for and not installed",
            hint="pip install 'hyperguild[fast]'",
            retryable=False,
            endpoint=endpoint.name,
        ) from exc
    base_url = endpoint.base_url or ""
    return open_aiohttp(base_url, tls_context(endpoint), trust_env=not is_loopback(base_url))


def open_http(endpoint: Endpoint, transport_factory: TransportFactory) -> httpx.AsyncClient:
    """Make the endpoint's client. Nothing is connected yet; close it with `aclose`.

    Connecting is limited by `connect_timeout_s`; reading has no limit, since a model may load for minutes:
    limits belong to the caller. Redirects are not followed (a key must not travel), and loopback addresses
    are never asked through a proxy. Raises `ModelError`, not retryable, for a `ca_file`, a header or a proxy
    that cannot be used.
    """
    base_url = endpoint.base_url or ""
    trust_env = not is_loopback(base_url)
    try:
        return httpx.AsyncClient(
            headers=_headers(endpoint),
            verify=tls_context(endpoint),
            transport=transport_factory(endpoint),
            timeout=httpx.Timeout(None, connect=endpoint.connect_timeout_s),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=endpoint.max_concurrency),
            follow_redirects=False,
            trust_env=trust_env,
        )
    except (ValueError, ImportError, httpx.InvalidURL) as exc:
        raise ConnectError(
            one_line(f"the proxy that the environment names cannot be used: {exc}"),
            hint="look at HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, or except the host with NO_PROXY",
            retryable=False,
            endpoint=endpoint.name,
        ) from exc


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return what certificates of the endpoint are checked against: `ca_file` alone, else the public ones."""
    if endpoint.ca_file is not None:
        try:
            return ssl.create_default_context(cafile=str(endpoint.ca_file))
        except OSError as exc:  # ssl.SSLError is one
            raise ConnectError(
                one_line(f"ca_file {endpoint.ca_file} cannot be used: {exc.strerror or exc}"),
                hint="ca_file names a file of certificates in PEM form",
                retryable=False,
                endpoint=endpoint.name,
            ) from exc
    if urlsplit(endpoint.base_url or "").scheme == "https":
        return httpx.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; loading the public ones takes 30 ms


def is_loopback(url: str) -> bool:
    """Return whether the URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def api_root(endpoint: Endpoint) -> str:
    """Return the URL that paths are put behind: no slash at its end, and no `/v1` but for kind `openai`."""
    root = (endpoint.base_url or "").rstrip("/")
    return root if endpoint.kind == "openai" else root.removesuffix("/v1")


def auth_headers(endpoint: Endpoint, key: str | None) -> dict[str, str]:
    """Return the headers that carry the key in the way of the endpoint's kind."""
    headers = {"anthropic-version": "2023-06-01"} if endpoint.kind == "anthropic" else {}
    if key is not None:
        if endpoint.kind == "anthropic":
            headers["x-api-key"] = key
        else:
            headers["Authorization"] = f"Bearer {key}"
    # the endpoint's own headers come last: whoever writes one means it
    own = {name.lower() for name in endpoint.headers}
    return {name: value for name, value in headers.items() if name.lower() not in own}


def _headers(endpoint: Endpoint) -> list[tuple[bytes, bytes]]:
    headers = {"user-agent": "hyperguild", "accept-encoding": "identity", **endpoint.headers}
    try:
        return [(name.encode("ascii"), _sendable(value).encode("latin-1")) for name, value in headers.items()]
    except UnicodeEncodeError as exc:
        error: ModelError = BadRequestError(
            f"a header of endpoint '{endpoint.name}' holds characters that HTTP cannot carry",
            hint=f"look at `headers` of the endpoint at {shown_url(endpoint.base_url or '')}",
            endpoint=endpoint.name,
        )
        raise error from exc


def _sendable(value: str) -> str:
    if any(char in value for char in "\r\n\0"):
        raise UnicodeEncodeError("latin-1", value, 0, 1, "line breaks end a header")
    return value
