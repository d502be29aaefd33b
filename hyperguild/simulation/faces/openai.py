"""The OpenAI API: chat completions and the list of models."""

from hyperguild.simulation.chat import ChatDialect, openai_error
from hyperguild.simulation.exchange import Exchange, Handler
from hyperguild.simulation.fleet import Fleet
from hyperguild.simulation.rules import prompt_of
from hyperguild.simulation.streaming import Stage, play

INVALID = "invalid_request_error"


class OpenAIFace:
    """Handlers of /openai/v1; they answer, and return nothing."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def routes(self) -> list[tuple[str, list[str], Handler]]:
        """Path, methods and handler of everything it serves."""
        return [
            ("/openai/v1/chat/completions", ["POST"], self.chat),
            ("/openai/v1/models", ["GET"], self.models),
        ]

    async def models(self, exchange: Exchange) -> None:
        """The scripted models."""
        if await self._refused(exchange):
            return
        created = int(self._fleet.wall())
        rows = [
            {"id": name, "object": "model", "created": created, "owned_by": "openai"}
            for name in self._fleet.script.openai.models
        ]
        await exchange.respond_json(200, {"object": "list", "data": rows})

    async def chat(self, exchange: Exchange) -> None:
        """A chat completion; scripted errors and faults among them."""
        if await self._refused(exchange):
            return
        payload = exchange.json_object()
        if payload is None:
            await self._error(exchange, 400, "We could not parse the JSON body of your request.", INVALID)
            return
        name = payload.get("model")
        exchange.record.model = name if isinstance(name, str) else None
        exchange.record.body = payload
        model = self._fleet.script.openai.models.get(name) if isinstance(name, str) else None
        if not isinstance(name, str):
            await self._error(exchange, 400, "you must provide a model parameter", INVALID)
        elif model is None:
            message = f"The model `{name}` does not exist or you do not have access to it."
            await self._error(exchange, 404, message, INVALID, "model_not_found")
        elif not isinstance(payload.get("messages"), list) or not payload["messages"]:
            message = "Invalid 'messages': empty array. Expected an array with minimum length 1."
            await self._error(exchange, 400, message, INVALID, "empty_array")
        else:
            prompt = prompt_of(payload, exchange.headers)
            if model.context is not None and prompt.tokens > model.context:
                message = (
                    f"This model's maximum context length is {model.context} tokens. However, your messages "
                    f"resulted in {prompt.tokens} tokens. Please reduce the length of the messages."
                )
                await self._error(exchange, 400, message, INVALID, "context_length_exceeded")
                return
            dialect = ChatDialect("openai", name, payload, exchange.record.seq, int(self._fleet.wall()))
            reply = self._fleet.reply("openai", name, model, prompt, payload)
            stage = Stage(exchange, dialect, self._fleet.pace, exchange.cut, _request_id(exchange))
            await play(stage, reply, stream=prompt.stream)

    async def _refused(self, exchange: Exchange) -> bool:
        keys = self._fleet.script.api_keys.openai
        given = exchange.headers.get("authorization", "").removeprefix("Bearer ")
        if not keys or given in keys:
            return False
        if given:
            message, code = f"Incorrect API key provided: {given[:3]}***.", "invalid_api_key"
        else:
            message, code = "You didn't provide an API key.", "invalid_api_key"
        await self._error(exchange, 401, message, INVALID, code)
        return True

    async def _error(
        self, exchange: Exchange, status: int, message: str, kind: str, code: str | None = None
    ) -> None:
        exchange.record.error_message = message
        param = "messages" if code in ("context_length_exceeded", "empty_array") else None
        await exchange.respond_json(status, openai_error(message, kind, code, param), _request_id(exchange))


def _request_id(exchange: Exchange) -> dict[str, str]:
    return {"x-request-id": f"req_{exchange.record.seq}"}
