"""From what the network did to the fitting `ModelError`, with a message a person can act on. Pure."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx

from hyperguild.adapters.wire.peer import Peer
from hyperguild.domain.chain import Endpoint
from hyperguild.errors import BadRequestError, ConnectError, ModelError, ProtocolError


def error_from_transport(
    peer: Peer, exc: httpx.RequestError | httpx.InvalidURL, *, began: bool
) -> ModelError:
    """Name a failure of the network. `began`: whether the answer's head had come."""
    if isinstance(exc, httpx.LocalProtocolError | httpx.InvalidURL | httpx.UnsupportedProtocol):
        return peer.error(
            BadRequestError,
            f"the request to {peer.url} cannot be sent: {exc}",
            hint="look at base_url and headers",
        )
    if isinstance(exc, httpx.DecodingError):
        return peer.error(
            ProtocolError, f"{peer.who} sends data that its encoding does not fit: {exc}", retryable=True
        )
    if began:
        return peer.error(
            ProtocolError,
            f"the connection to {peer.url} broke in the middle of the answer{_reason(exc)}",
            retryable=True,
        )
    return _not_connected(peer, exc)


def _not_connected(peer: Peer, exc: httpx.RequestError | httpx.InvalidURL) -> ModelError:
    causes = list(_causes(exc))
    host = httpx.URL(peer.endpoint.base_url or "").host
    if isinstance(exc, httpx.ProxyError):
        return peer.error(
            ConnectError,
            f"the proxy between here and {peer.url} refuses{_reason(exc)}",
            hint="look at HTTPS_PROXY and NO_PROXY",
        )
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return peer.error(
                ConnectError,
                f"no address is known for the host '{host}'",
                hint=f"look at base_url of endpoint '{peer.endpoint.name}', and whether there is a network",
                retryable=cause.errno == socket.EAI_AGAIN,
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            return peer.error(
                ConnectError,
                f"the certificate of {peer.url} is not trusted: {_tls_reason(cause)}",
                hint=f"name the authority's certificate as ca_file of endpoint '{peer.endpoint.name}'",
                retryable=False,
            )
        if isinstance(cause, ssl.SSLError):
            return peer.error(
                ConnectError,
                f"no TLS connection to {peer.url}: {_tls_reason(cause)}",
                hint="is https right there? a server without TLS wants http in base_url",
            )
        if isinstance(cause, ConnectionRefusedError):
            return peer.error(ConnectError, f"nothing listens at {peer.url}", hint=_start_hint(peer.endpoint))
    if isinstance(exc, httpx.TimeoutException) and any(isinstance(cause, TimeoutError) for cause in causes):
        return peer.error(
            ConnectError,
            f"could not connect to {peer.url} within {peer.endpoint.connect_timeout_s:g} s",
            hint=f"is it up? connect_timeout_s of endpoint '{peer.endpoint.name}' sets the limit",
        )
    return peer.error(
        ConnectError, f"the connection to {peer.url} broke before an answer began{_reason(exc)}"
    )


def _tls_reason(error: ssl.SSLError) -> str:
    # aiohttp's own classes of these errors lack the attributes
    return str(getattr(error, "verify_message", None) or getattr(error, "reason", None) or error)


def _start_hint(endpoint: Endpoint) -> str:
    if endpoint.kind == "llama-swap":
        return f"start llama-swap, or correct base_url of endpoint '{endpoint.name}'"
    return f"start the server, or correct base_url of endpoint '{endpoint.name}'"


def _reason(exc: Exception) -> str:
    return f": {exc}" if str(exc) else ""


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield what lies behind an error, groups (several addresses were tried) opened."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [exc]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__context__, current.__cause__, getattr(current, "os_error", None)]
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)
