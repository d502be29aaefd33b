"""GET requests for JSON, to endpoints that list what they have."""

from __future__ import annotations

import json

from hyperguild.adapters.wire.exchange import Exchanger
from hyperguild.errors import ModelError, ProtocolError


async def get_json(exchanger: Exchanger, url: str) -> object:
    """Return the JSON at a URL. Raises `ModelError`: `ProtocolError` for what is no JSON."""
    async with exchanger.send("GET", url) as answer:
        body = await answer.whole()
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as exc:
            said = body[:120].decode("utf-8", "replace")
            message = f"{answer.peer.who} answers with {answer.content_type or 'no content type'}: {said}"
            error: ModelError = answer.peer.error(
                ProtocolError, message, hint="is base_url that of the API, and not of a web page?"
            )
            raise error from exc
