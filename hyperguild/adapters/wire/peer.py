"""Who is spoken to, as errors name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hyperguild.adapters.wire.wording import one_line, shown_url
from hyperguild.domain.chain import Endpoint
from hyperguild.errors import ModelError


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is spoken to: what error messages name. `model` is None where the endpoint itself is asked.

    `upstream` is the model's name at the endpoint; `secrets` are cut out of whatever is quoted; `tools` is
    how many the model was offered.
    """

    endpoint: Endpoint
    model: str | None = None
    upstream: str = ""
    secrets: tuple[str, ...] = ()
    tools: int = 0

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
