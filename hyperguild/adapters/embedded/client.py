"""The client for embedded models: the OpenAI-compatible one, over servers that come and go."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx

from hyperguild.adapters.embedded.host import Lease, ModelHost, Served
from hyperguild.adapters.embedded.spec import ServerSpec, spec_of
from hyperguild.adapters.models.openai_compatible import OpenAICompatibleClient
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.transport import TransportFactory, plain_transport
from hyperguild.domain.chain import Endpoint, Model
from hyperguild.domain.messages import Asked, ModelRequest, StreamPart
from hyperguild.errors import ConnectError, ContextOverflowError, ModelError, ProtocolError, ServerError


class EmbeddedClient:
    """A `ModelClient` for an endpoint of kind `embedded`."""

    def __init__(
        self,
        endpoint: Endpoint,
        host: ModelHost,
        keys: KeyRing,
        transport_factory: TransportFactory = plain_transport,
    ) -> None:
        self._endpoint = endpoint
        self._host = host
        self._keys = keys
        self._transport_factory = transport_factory
        self._clients: dict[ServerSpec, tuple[Served, OpenAICompatibleClient]] = {}

    async def server_of(self, model: Model) -> Endpoint | None:
        """Return where the server that last answered for the model is asked, None where none has."""
        known = self._clients.get(spec_of(model))
        return None if known is None else self._address(known[0])

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        """See `ModelClient.stream`. A server that crashes raises `ServerError`.

        That is retryable only where the request cannot have been the cause, because it never got there.
        """
        spec = spec_of(request.model)
        try:
            await self._keys.key(self._endpoint)  # no server wants it, but one that is not set is an error
            yield Asked()
            async with self._host.lease(spec) as lease:
                client = await self._client(spec, lease.served)
                try:
                    async with aclosing(client.stream(request)) as parts:
                        async for part in parts:
                            yield part
                except (ConnectError, ProtocolError) as error:
                    await _raise_if_crashed(request, spec, lease, error)
                    raise
        except ModelError as error:
            if isinstance(error, ContextOverflowError):
                error.hint = "raise context_window of the model in chains.yaml, if there is memory for it"
            error.model = error.model or request.model.name
            error.endpoint = error.endpoint or self._endpoint.name
            raise

    async def aclose(self) -> None:
        """Close the connections; the models are the host's. Safe to call twice."""
        clients, self._clients = self._clients, {}
        for _, client in clients.values():
            await client.aclose()

    async def _client(self, spec: ServerSpec, served: Served) -> OpenAICompatibleClient:
        """Return the client for the server; that of its predecessor is closed."""
        known = self._clients.get(spec)
        if known is not None and known[0] == served:
            return known[1]
        client = OpenAICompatibleClient(self._address(served), self._keys, self._transport_factory)
        self._clients[spec] = served, client
        if known is not None:
            await known[1].aclose()
        return client

    def _address(self, served: Served) -> Endpoint:
        return dataclasses.replace(
            self._endpoint,
            kind="openai",
            base_url=f"{served.url}/v1",
            key=None,
            # The server closes the connection after each streamed answer, though it promises to keep it: one
            # that is used again may break.
            headers={"Authorization": f"Bearer {served.key}", "Connection": "close"},
        )


async def _raise_if_crashed(request: ModelRequest, spec: ServerSpec, lease: Lease, error: ModelError) -> None:
    fate = await lease.fate()
    if fate is not None:
        message = f"the server of {request.model.name} ({spec.name}) {fate}"
        unasked = isinstance(error.__cause__, httpx.ConnectError)
        raise ServerError(message, hint="the next attempt starts it anew", retryable=unasked) from error
