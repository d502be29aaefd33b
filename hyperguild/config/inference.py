"""Models that a file names without declaring them, and what a model counts as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hyperguild.config.hosts import is_private, origin_of
from hyperguild.config.wording import listed, quoted
from hyperguild.domain.chain import Endpoint, EndpointKind, Model, TierLabel


class InferenceError(ValueError):
    """No endpoint follows from the name; the message says what to add."""


def infer_model(name: str, endpoints: Mapping[str, Endpoint]) -> Model:
    """Return the model of a name that is not declared.

    `claude-*` belongs to the one `anthropic` endpoint or, without any, the one `command` endpoint;
    `NAME/model`, with NAME an endpoint, to that endpoint; any other name to the one `llama-swap` endpoint.
    Raises `InferenceError` where there is no such endpoint, or more than one, and where it is embedded: no
    model file follows from a name.
    """
    head, slash, rest = name.partition("/")
    if name.startswith("claude-"):
        endpoint = _only(name, endpoints.values(), ("anthropic", "command"))
    elif slash and head in endpoints:
        if not rest:
            raise InferenceError(f"names no model after {quoted(name)}")
        endpoint = endpoints[head]
        if endpoint.kind == "embedded":
            raise InferenceError(
                f"no model file follows from {quoted(name)}, and endpoint {quoted(head)} is embedded; "
                f"add models: {{{quoted(name)}: {{endpoint: {quoted(head)}, gguf: …}}}}"
            )
    else:
        endpoint = _only(name, endpoints.values(), ("llama-swap",))
    upstream = rest if slash and endpoint.name == head else name
    return Model(name=name, endpoint=endpoint, upstream=upstream, label=label_of(name, endpoint))


def label_of(name: str, endpoint: Endpoint) -> TierLabel:
    """Return what a model counts as where neither its entry nor a tier says otherwise.

    Kind `command` or `anthropic`, or a name `claude-*`: subagent. Kind `llama-swap` or `embedded`, or an
    endpoint on this machine or a private network (`hosts.is_private`): local. Else managed.
    """
    if endpoint.kind in {"command", "anthropic"} or name.startswith("claude-"):
        return "subagent"
    if endpoint.kind in {"llama-swap", "embedded"}:
        return "local"
    return "local" if endpoint.base_url and is_private(origin_of(endpoint.base_url)[1]) else "managed"


def _only(name: str, endpoints: Iterable[Endpoint], kinds: tuple[EndpointKind, ...]) -> Endpoint:
    every = list(endpoints)
    for kind in kinds:
        fitting = [endpoint for endpoint in every if endpoint.kind == kind]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            names = listed(quoted(endpoint.name) for endpoint in fitting)
            raise InferenceError(f"{quoted(name)} could be of endpoint {names}; say which: {_remedy(name)}")
    raise InferenceError(
        f"model {quoted(name)} is not under models, and there is no {listed(kinds)} endpoint that it could "
        f"be of; add one, or {_remedy(name)}"
    )


def _remedy(name: str) -> str:
    return f"models: {{{quoted(name)}: {{endpoint: …}}}}"
