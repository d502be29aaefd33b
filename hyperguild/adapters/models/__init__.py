"""Clients for models: one class for each protocol, `open_client` to pick the fitting one."""

from __future__ import annotations

from hyperguild.adapters.models.anthropic import AnthropicClient
from hyperguild.adapters.models.command import CommandClient
from hyperguild.adapters.models.openai_compatible import OpenAICompatibleClient
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.transport import TransportFactory, plain_transport
from hyperguild.domain.chain import Endpoint
from hyperguild.ports import ModelClient

__all__ = ["AnthropicClient", "CommandClient", "OpenAICompatibleClient", "open_client"]


def open_client(
    endpoint: Endpoint, *, keys: KeyRing, transport_factory: TransportFactory = plain_transport
) -> ModelClient:
    """Return the client for an endpoint's kind; nothing is read, connected or run before a stream.

    Share one `keys` among all clients and probes. Raises `ValueError` for kind `embedded`: it has no client.
    """
    match endpoint.kind:
        case "llama-swap" | "openai":
            return OpenAICompatibleClient(endpoint, keys, transport_factory)
        case "anthropic":
            return AnthropicClient(endpoint, keys, transport_factory)
        case "command":
            return CommandClient(endpoint, keys)
        case "embedded":
            raise ValueError("no client answers for kind 'embedded'")
