"""From what a server answered to the fitting `ModelError`, with a message a person can act on.

Everything here is pure. Decided here, since the same request would fare no better: a start that failed, a
health check that timed out and output that the server could not parse are not retryable, nor is an account
without credit; a crash, an unload and a dead peer are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hyperguild.adapters.wire.complaint import Complaint, read_complaint
from hyperguild.adapters.wire.peer import Peer
from hyperguild.adapters.wire.retry_after import retry_after_s
from hyperguild.adapters.wire.wording import shown_url
from hyperguild.domain.chain import Endpoint
from hyperguild.errors import (
    AuthError,
    BadRequestError,
    ConcurrencyLimitError,
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
            ConcurrencyLimitError,
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
            f"the server of {model} could not parse what the model wrote{_with_tools(peer)}{case.quoted}",
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


def _with_tools(peer: Peer) -> str:
    return f" with {peer.tools} tool{'' if peer.tools == 1 else 's'} on offer" if peer.tools else ""


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
