"""The Anthropic API: messages and the list of models."""

from typing import Any

from hyperguild.simulation.exchange import Exchange, Handler
from hyperguild.simulation.fleet import Fleet
from hyperguild.simulation.messages import MessagesDialect, anthropic_error, error_type
from hyperguild.simulation.rules import prompt_of
from hyperguild.simulation.streaming import Stage, play

LISTED_SINCE = "2026-01-01T00:00:00Z"


class AnthropicFace:
    """Handlers of /anthropic/v1; they answer, and return nothing."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def routes(self) -> list[tuple[str, list[str], Handler]]:
        """Path, methods and handler of everything it serves."""
        return [
            ("/anthropic/v1/messages", ["POST"], self.messages),
            ("/anthropic/v1/models", ["GET"], self.models),
        ]

    async def models(self, exchange: Exchange) -> None:
        """The scripted models."""
        if await self._refused(exchange):
            return
        names = list(self._fleet.script.anthropic.models)
        rows = [
            {"type": "model", "id": name, "display_name": name, "created_at": LISTED_SINCE} for name in names
        ]
        page = {
            "has_more": False,
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
        }
        await exchange.respond_json(200, {"data": rows, **page}, _request_id(exchange))

    async def messages(self, exchange: Exchange) -> None:
        """A message; scripted errors and faults among them."""
        if await self._refused(exchange):
            return
        if len(exchange.body) > self._fleet.script.anthropic.max_body_bytes:
            await self._error(exchange, 413, "Request exceeds the maximum size")
            return
        payload = exchange.json_object()
        if payload is None:
            await self._error(exchange, 400, "The request body is not valid JSON")
            return
        name = payload.get("model")
        exchange.record.model = name if isinstance(name, str) else None
        exchange.record.body = payload
        problem = _problem(payload)
        model = self._fleet.script.anthropic.models.get(name) if isinstance(name, str) else None
        if problem:
            await self._error(exchange, 400, problem)
        elif model is None or not isinstance(name, str):
            await self._error(exchange, 404, f"model: {name}")
        else:
            prompt = prompt_of(payload, exchange.headers)
            if model.context is not None and prompt.tokens > model.context:
                message = f"prompt is too long: {prompt.tokens} tokens > {model.context} maximum"
                await self._error(exchange, 400, message)
                return
            dialect = MessagesDialect(name, exchange.record.seq)
            reply = self._fleet.reply("anthropic", name, model, prompt, payload)
            stage = Stage(exchange, dialect, self._fleet.pace, exchange.cut, _request_id(exchange))
            await play(stage, reply, stream=prompt.stream)

    async def _refused(self, exchange: Exchange) -> bool:
        keys = self._fleet.script.api_keys.anthropic
        given = exchange.headers.get("x-api-key")
        if keys and given not in keys:
            await self._error(exchange, 401, "invalid x-api-key" if given else "x-api-key header is required")
            return True
        if "anthropic-version" not in exchange.headers:
            await self._error(exchange, 400, "anthropic-version: header is required")
            return True
        return False

    async def _error(self, exchange: Exchange, status: int, message: str) -> None:
        exchange.record.error_message = message
        body = anthropic_error(message, error_type(status), exchange.record.seq)
        await exchange.respond_json(status, body, _request_id(exchange))


def _problem(payload: dict[str, Any]) -> str:
    if not isinstance(payload.get("model"), str):
        return "model: Field required"
    max_tokens = payload.get("max_tokens")
    if not isinstance(max_tokens, int) or max_tokens < 1:
        return "max_tokens: Field required" if max_tokens is None else "max_tokens: must be at least 1"
    messages = payload.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages: at least one message is required"
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("user", "assistant"):
            return f"messages.{index}.role: Input should be 'user' or 'assistant'"
    return _unpaired(messages)


def _unpaired(messages: list[dict[str, Any]]) -> str:
    """Say which block of a tool that the API runs itself lacks its other half.

    A call may wait for its result only in the last assistant message, with nothing behind it but results of
    the client's tools.
    """
    contents = [message.get("content") for message in messages]
    blocks = [
        (index, block)
        for index, content in enumerate(contents)
        if isinstance(content, list)
        for block in content
        if isinstance(block, dict)
    ]
    waiting: dict[str, tuple[int, str]] = {}
    for index, block in blocks:
        kind, id_ = str(block.get("type")), str(block.get("tool_use_id"))
        if kind == "server_tool_use":
            waiting[str(block.get("id"))] = index, str(block.get("name"))
        elif kind.endswith("_tool_result") and waiting.pop(id_, None) is None:
            return f"messages.{index}: unexpected `tool_use_id` found in `{kind}` blocks: {id_}"
    last = max((index for index, one in enumerate(messages) if one["role"] == "assistant"), default=-1)
    only_results = all(block.get("type") == "tool_result" for index, block in blocks if index > last)
    for id_, (index, name) in waiting.items():
        if index != last or not only_results:
            lack = f"was found without a corresponding `{name}_tool_result` block"
            return f"messages.{index}: `{name}` tool use with id `{id_}` {lack}"
    return ""


def _request_id(exchange: Exchange) -> dict[str, str]:
    return {"request-id": f"req_{exchange.record.seq}"}
