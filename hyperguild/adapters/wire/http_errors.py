"""From what a server or the network did to the fitting `ModelError`, with a message a person can act on.

Everything here is pure. Decided here, since the same request would fare no better: a start that failed, a
health check that timed out and output that the server could not parse are not retryable, nor is an account
without credit; a crash, an unload and a dead peer are.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from hyperguild.adapters.wire.complaint import Complaint, read_complaint
from hyperguild.adapters.wire.retry_after import retry_after_s
from hyperguild.adapters.wire.wording import one_line, shown_url
from hyperguild.domain.chain import Endpoint
from hyperguild.errors import (
    AuthError,
    BadRequestError,
    ConnectError,
    ContextOverflowError,
    ModelError,
    ModelTimeoutError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    ServerError,
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is spoken to: what error messages name. `model` is None where the endpoint itself is asked.

    `upstream` is the model's name at the endpoint; `secrets` are cut out of whatever is quoted.
    """

    endpoint: Endpoint
    model: str | None = None
    upstream: str = ""
    secrets: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The endpoint's address, without credentials."""
        return shown_url(self.endpoint.base_url or "")

    @property
    def who(self) -> str:
        """The server in words."""
        kind = {"llama-swap": "llama-swap", "anthropic": "the Anthropic API"}.get(
            self.endpoint.kind, "the server"
        )
        return f"{kind} at {self.url}"

    def error(
        self, cls: type[ModelError], message: str, *, hint: str | None = None, **fields: Any
    ) -> ModelError:
        """Make an error that names model and endpoint, its texts cleaned and free of secrets.

        `fields` are `status`, `retryable` and `retry_after_s`.
        """
        return cls(
            one_line(message, secrets=self.secrets),
            hint=None if hint is None else one_line(hint, secrets=self.secrets),
            model=self.model,
            endpoint=self.endpoint.name,
            **fields,
        )


@dataclass(frozen=True, slots=True)
class _Case:
    """One error to be named: `status` is HTTP's, `effective` the one that counts (the body may know it)."""

    peer: Peer
    said: Complaint
    status: int | None
    effective: int
    retry_after: float | None = None

    def error(
        self, cls: type[ModelError], message: str, hint: str | None = None, **fields: Any
    ) -> ModelError:
        return self.peer.error(
            cls, message, hint=hint, status=self.status, **{"retry_after_s": self.retry_after, **fields}
        )

    @property
    def quoted(self) -> str:
        """`(401): what it said`, or as much of that as there is."""
        number = f" ({self.status})" if self.status is not None else ""
        return f"{number}: {self.said.text}" if self.said.text else number


_STATUS_OF_TYPE = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "unauthorized": 401,
    "permission_error": 403,
    "billing_error": 402,
    "insufficient_quota": 402,
    "not_found_error": 404,
    "model_not_found": 404,
    "not_found": 404,
    "timeout_error": 504,
    "request_too_large": 413,
    "exceed_context_size_error": 413,
    "context_length_exceeded": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "concurrency_limit": 429,
    "overloaded_error": 529,
    "unavailable_error": 503,
    "invalid_request_error": 400,
}
"""What an error means where its status does not say: in the middle of a stream, or in an answer with 200."""


def error_from_response(peer: Peer, status: int, headers: Mapping[str, str], body: bytes) -> ModelError:
    """Name the error that an HTTP answer with this status (not 200) stands for.

    `headers` must be looked up in lower case; `body` is its beginning.
    """
    said = read_complaint(body)
    if said.names("invalid_api_key", "insufficient_quota") and status < 500:
        effective = _STATUS_OF_TYPE[said.code if said.code in _STATUS_OF_TYPE else said.kind]
    else:
        effective = status
    case = _Case(peer, said, status, effective, retry_after_s(headers))
    if 300 <= status < 400:
        return case.error(
            ProtocolError,
            f"{peer.who} answers {status}, a redirect to {shown_url(headers.get('location', 'nowhere'))}",
            "redirects are not followed, so that keys stay where they belong: put that address into base_url",
            retryable=False,
        )
    return _named(case)


def error_from_stream(peer: Peer, said: Complaint) -> ModelError:
    """Name an error that came inside an answer that had begun with 200."""
    effective = said.status or _STATUS_OF_TYPE.get(said.code) or _STATUS_OF_TYPE.get(said.kind) or 500
    return _named(_Case(peer, said, None, effective))


def _named(case: _Case) -> ModelError:
    if _is_overflow(case):
        return _overflow(case)
    by_status: dict[int, Callable[[_Case], ModelError]] = {
        401: _unauthorized,
        402: _out_of_credit,
        403: _forbidden,
        404: _not_found,
        408: _timed_out,
        429: _too_many,
        503: _overloaded,
        529: _overloaded,
    }
    name = by_status.get(case.effective)
    if name is not None:
        return name(case)
    return _server_failed(case) if case.effective >= 500 else _bad_request(case)


_OVERFLOW_PHRASES = (
    "prompt is too long",
    "maximum context length",
    "available context size",
    "context size has been exceeded",
    "context length exceeded",
    "exceeds the context length",
    "exceed context limit",
    "input is too long",
    "input is too large",
    "too many tokens",
)


def _is_overflow(case: _Case) -> bool:
    if case.effective == 413 or case.said.names(
        "exceed_context_size_error", "context_length_exceeded", "request_too_large"
    ):
        return True
    return case.effective in {400, 422, 500} and case.said.says(*_OVERFLOW_PHRASES)


def _overflow(case: _Case) -> ModelError:
    said, window = case.said, case.said.window
    figures = (
        f": {said.prompt_tokens} tokens, its window holds {window}" if said.prompt_tokens and window else None
    )
    return case.error(
        ContextOverflowError,
        f"the prompt is too long for '{case.peer.upstream}'{figures or case.quoted}",
        "shorten the task, or give the chain a model with a larger window (llama.cpp: -c, per slot)",
    )


def _unauthorized(case: _Case) -> ModelError:
    endpoint = case.peer.endpoint
    if endpoint.key is None:
        return case.error(
            AuthError,
            f"{case.peer.who} wants an API key, and endpoint '{endpoint.name}' has none{case.quoted}",
            f"give endpoint '{endpoint.name}' an api_key_env, api_key_file or api_key_cmd in chains.yaml",
        )
    return case.error(
        AuthError,
        f"{case.peer.who} refuses the API key{case.quoted}",
        f"the key comes from {key_origin(endpoint)}",
    )


def key_origin(endpoint: Endpoint) -> str:
    """Say where the endpoint's key is read from."""
    key = endpoint.key
    if key is None:
        return "nowhere"
    if key.env is not None:
        return f"${key.env}"
    return f"the file {key.file}" if key.file is not None else "api_key_cmd"


def _forbidden(case: _Case) -> ModelError:
    return case.error(
        AuthError,
        f"{case.peer.who} does not allow this{case.quoted}",
        f"see what the key from {key_origin(case.peer.endpoint)} may use",
    )


def _out_of_credit(case: _Case) -> ModelError:
    return case.error(
        RateLimitError,
        f"the account at {case.peer.url} is out of credit or quota{case.quoted}",
        "add credit, or raise the account's limit; waiting does not help",
        retryable=False,
    )


def _not_found(case: _Case) -> ModelError:
    said, peer = case.said, case.peer
    if said.says("no model id could be identified"):
        return case.error(BadRequestError, f"{peer.who} could not read the request{case.quoted}")
    unknown_model = said.says(
        "no router for requested model", "real modelid", "try pulling it", "does not exist"
    )
    named = peer.upstream and said.says("model") and peer.upstream.lower() in said.text.lower()
    if unknown_model or named or said.names("model_not_found") or peer.endpoint.kind == "anthropic":
        return case.error(
            NotFoundError,
            f"{peer.who} knows no model '{peer.upstream}'{case.quoted}",
            "`hyperguild models` lists the names it knows; `upstream` in chains.yaml sets the one to ask for",
        )
    versioned = " It usually ends in /v1." if peer.endpoint.kind == "openai" else ""
    return case.error(
        NotFoundError, f"{peer.who} has no such path{case.quoted}", f"is base_url right?{versioned}"
    )


def _timed_out(case: _Case) -> ModelError:
    return case.error(ModelTimeoutError, f"{case.peer.who} gave up waiting{case.quoted}", retryable=True)


def _too_many(case: _Case) -> ModelError:
    if case.said.names("insufficient_quota", "billing_error"):
        return _out_of_credit(case)
    if case.said.names("concurrency_limit"):
        return case.error(
            RateLimitError,
            f"{case.peer.who} has as many requests for '{case.peer.upstream}' as its concurrencyLimit allows"
            f"{case.quoted}",
            "raise concurrencyLimit in llama-swap's configuration, or lower max_concurrency of the endpoint",
        )
    return case.error(RateLimitError, f"{case.peer.who} has had too many requests{case.quoted}")


def _overloaded(case: _Case) -> ModelError:
    return case.error(OverloadedError, f"{case.peer.who} is overloaded{case.quoted}")


def _server_failed(case: _Case) -> ModelError:
    said, peer = case.said, case.peer
    model = f"'{peer.upstream}'"
    if said.says("exited prematurely", "unable to start", "failed to start"):
        return case.error(
            ServerError,
            f"{peer.who} could not start {model}{case.quoted}",
            f"its command ends at once: see {peer.url}/logs and the model's `cmd`",
            retryable=False,
        )
    if said.says("health check timed out"):
        return case.error(
            ServerError,
            f"{model} did not become healthy in time{case.quoted}",
            "raise healthCheckTimeout in llama-swap's configuration, or see its log for what takes so long",
            retryable=False,
        )
    if said.says("model unloaded"):
        return case.error(ServerError, f"{model} was unloaded while it was loading{case.quoted}")
    if said.says("peer proxy error"):
        return case.error(
            ServerError,
            f"{peer.who} cannot reach the peer that hosts {model}{case.quoted}",
            "start that peer, or correct `peers` in llama-swap's configuration",
        )
    if said.says("does not match the expected", "parse tool call", "failed to parse"):
        return case.error(
            ServerError,
            f"the server of {model} could not parse what the model wrote{case.quoted}",
            "the chat template may not fit the model: see --jinja and --chat-template of llama.cpp",
            retryable=False,
        )
    if case.effective == 502 and not said.text:
        return case.error(
            ServerError,
            f"{model} crashed or was unloaded during the request (502, without a word from {peer.who})",
            "the log of the model server says why; out of memory is the usual reason",
        )
    return case.error(ServerError, f"{peer.who} failed{case.quoted}")


_BAD_REQUEST_HINTS = (
    (
        ("json_schema", "response_format", "output_config"),
        "set `json_schema: false` on the model in chains.yaml",
    ),
    (
        ("temperature", "top_p", "top_k"),
        "this model does not take that sampling parameter: leave it out of `params`",
    ),
    (("max_tokens", "max_completion_tokens"), "see max_output_tokens of the model in chains.yaml"),
    (("image", "multimodal", "mmproj"), "set `vision: false` on the model in chains.yaml"),
)


def _bad_request(case: _Case) -> ModelError:
    if case.said.says("credit balance is too low"):
        return _out_of_credit(case)
    if case.said.says("could not find real modelid"):  # llama-swap before it had error objects
        return _not_found(case)
    hint = next((hint for words, hint in _BAD_REQUEST_HINTS if case.said.says(*words)), None)
    return case.error(BadRequestError, f"{case.peer.who} refuses the request{case.quoted}", hint)


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
