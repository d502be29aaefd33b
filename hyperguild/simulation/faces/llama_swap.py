"""llama-swap's API: chat completions that wait for their model, and what it tells and does about its
models.
"""

import asyncio
import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

from hyperguild.simulation.chat import ChatDialect, Flavour
from hyperguild.simulation.exchange import Exchange, Handler, Headers
from hyperguild.simulation.faces.llama_swap_status import (
    LoadingChatter,
    activity,
    event_stream,
    go_json,
    listed_models,
    running_models,
    swap_error,
)
from hyperguild.simulation.fleet import Fleet
from hyperguild.simulation.pool import LoadFailedError
from hyperguild.simulation.rules import Prompt, prompt_of
from hyperguild.simulation.script import Peer
from hyperguild.simulation.streaming import Stage, play
from hyperguild.simulation.swap import ConcurrencyLimitError, Ticket

JSON = {"content-type": "application/json"}
TEXT = {"content-type": "text/plain; charset=utf-8"}
EVENT_STREAM = {"content-type": "text/event-stream", "cache-control": "no-cache", "connection": "keep-alive"}


@dataclass(frozen=True, slots=True)
class Target:
    """A model that a request goes to, and the name its server is asked for."""

    model_id: str
    asked_as: str


class LlamaSwapFace:
    """Handlers of the routes at `/`; they answer, and return nothing."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def routes(self) -> list[tuple[str, list[str], Handler]]:
        """Path, methods and handler of everything it serves."""
        return [
            ("/health", ["GET"], self.health),
            ("/server/{rest:path}", ["GET"], self.own_server),
            *(
                (path, methods, self._guarded(handler))
                for path, methods, handler in (
                    ("/v1/chat/completions", ["POST"], self.chat),
                    ("/v1/models", ["GET"], self.models),
                    ("/running", ["GET"], self.running),
                    ("/upstream/{rest:path}", ["GET", "POST"], self.upstream),
                    ("/api/models/unload", ["POST"], self.unload_all),
                    ("/api/models/unload/{model:path}", ["POST"], self.unload_one),
                    ("/unload", ["GET"], self.unload_quietly),
                    ("/api/version", ["GET"], self.version),
                    ("/api/events", ["GET"], self.events),
                    ("/api/metrics/activity", ["GET"], self.activity),
                    ("/api/performance", ["GET"], self.performance),
                    ("/metrics", ["GET"], self.metrics),
                )
            ),
        ]

    # -- chat

    async def chat(self, exchange: Exchange) -> None:
        """A chat completion: waits for the model, then plays its scripted answer, error or fault."""
        is_json = "application/json" in exchange.headers.get("content-type", "")
        payload = exchange.json_object() if is_json else None
        name = payload.get("model") if payload else None
        if payload is None or not isinstance(name, str) or not name:
            await swap_error(exchange, 404, "no model id could be identified", "not_found")
            return
        exchange.record.body = payload
        exchange.record.model = name
        target = self._find(name)
        if target is None:
            await swap_error(exchange, 404, "no router for requested model", "not_found")
        elif isinstance(target, Peer):
            address = target.proxy.removeprefix("http://")
            message = f"peer proxy error: dial tcp {address}: connect: connection refused"
            await swap_error(exchange, 502, message, "bad_gateway")
        else:
            await self._serve(exchange, target, payload)

    async def _serve(self, exchange: Exchange, target: Target, payload: dict[str, Any] | None) -> None:
        """Wait for the model and let it answer; without a payload it is another path of the model server."""
        pool = self._fleet.pool
        exchange.record.model = target.model_id
        self._tell_inflight(exchange, "upsert")
        try:
            ticket = pool.submit(target.model_id)
        except ConcurrencyLimitError:
            await swap_error(exchange, 429, "Too many requests", "concurrency_limit", {"retry-after": "1"})
            self._tell_over(exchange)
            return
        exchange.on_start = lambda headers: self._tell_inflight(exchange, "upsert", headers)
        try:
            if await self._loaded(exchange, ticket, payload):
                await self._generate(exchange, ticket, target, payload)
        finally:
            if ticket.phase in ("queued", "loading"):
                exchange.record.phase = "queued" if ticket.phase == "queued" else "loading"
            pool.release(ticket)
            self._tell_over(exchange)

    async def _loaded(self, exchange: Exchange, ticket: Ticket, payload: dict[str, Any] | None) -> bool:
        """Wait for the model; false when it did not come up and the client was told so."""
        model = self._fleet.script.models[ticket.model]
        chatter = None
        if (
            ticket.phase != "serving"
            and model.send_loading_state
            and payload
            and payload.get("stream") is True
        ):
            chatter = LoadingChatter(exchange, self._fleet.pace, ticket.model)
        try:
            if chatter is None:
                await self._fleet.pool.granted(ticket)
            else:
                await exchange.start(200, EVENT_STREAM)
                await chatter.until(self._fleet.pool.granted(ticket))
        except LoadFailedError as failed:
            exchange.record.phase = "loading"
            await swap_error(exchange, 500, f"unspecific error: {failed}", "internal_error")
            return False
        return True

    async def _generate(
        self, exchange: Exchange, ticket: Ticket, target: Target, payload: dict[str, Any] | None
    ) -> None:
        """Let the model server answer; if it goes away meanwhile, end as llama-swap's proxy does."""
        pool = self._fleet.pool
        try:
            async with asyncio.timeout(None) as life:
                pool.on_kill(ticket, lambda: life.reschedule(0))
                await asyncio.sleep(0)  # a kill that came before is felt here
                if payload is None:
                    await self._other_path(exchange, target)
                else:
                    await self._chat_answer(exchange, target, payload)
        except TimeoutError:
            if exchange.ended:
                return
            exchange.record.outcome = "crashed"
            if exchange.started:
                await exchange.end()
            else:
                exchange.record.error_message = "502 Bad Gateway"
                await exchange.respond(502, b"", {})

    async def _chat_answer(self, exchange: Exchange, target: Target, payload: dict[str, Any]) -> None:
        model = self._fleet.script.models[target.model_id]
        prompt = prompt_of(payload, exchange.headers)
        if model.context is not None and prompt.tokens > model.context:
            await self._too_long(exchange, prompt, model.context)
            return
        flavour: Flavour = "bare" if model.bare else "llama_cpp"
        created = int(self._fleet.wall())
        dialect = ChatDialect(flavour, target.asked_as, payload, exchange.record.seq, created)
        reply = self._fleet.reply("llama_swap", target.model_id, model, prompt, payload)
        stage = Stage(exchange, dialect, self._fleet.pace, lambda: self._crash(target.model_id), {})
        await play(stage, reply, stream=prompt.stream)

    async def _crash(self, model: str) -> None:
        self._fleet.pool.crash(model)
        await asyncio.Event().wait()  # the crash ends this request too

    async def _too_long(self, exchange: Exchange, prompt: Prompt, context: int) -> None:
        message = (
            f"request ({prompt.tokens} tokens) exceeds the available context size ({context} tokens), "
            "try increasing it"
        )
        sizes = {"n_prompt_tokens": prompt.tokens, "n_ctx": context}
        error = {"code": 400, "message": message, "type": "exceed_context_size_error", **sizes}
        exchange.record.error_message = message
        await exchange.respond_json(400, {"error": error})

    # -- the model server's own paths

    async def upstream(self, exchange: Exchange) -> None:
        """A path of a model's own server: loads the model, unless the path is to be ignored while it is
        cold.
        """
        found = self._split_upstream(exchange.params["rest"])
        if found is None:
            await swap_error(exchange, 404, "model not found", "not_found")
            return
        model_id, path = found
        ignored = any(re.search(pattern, path) for pattern in self._fleet.script.upstream_ignore_paths)
        if ignored and self._fleet.pool.machine.state(model_id) != "ready":
            message = f"model {model_id} is not loaded; path matches upstream.ignorePaths"
            await swap_error(exchange, 409, message, "conflict")
            return
        payload = exchange.json_object() if path == "/v1/chat/completions" else None
        asked_as = str(payload.get("model", model_id)) if payload else model_id
        exchange.record.body = payload
        exchange.scope["upstream_path"] = path
        await self._serve(exchange, Target(model_id, asked_as), payload)

    def _split_upstream(self, rest: str) -> tuple[str, str] | None:
        parts = rest.split("/")
        for count in range(len(parts), 0, -1):
            model_id = self._model_id("/".join(parts[:count]))
            if model_id is not None:
                return model_id, "/" + "/".join(parts[count:])
        return None

    async def _other_path(self, exchange: Exchange, target: Target) -> None:
        path = exchange.scope["upstream_path"]
        name = self._fleet.script.models[target.model_id].name or target.model_id
        await exchange.respond_json(
            200, {"status": "ok"} if path == "/health" else {"path": path, "name": name}
        )

    async def own_server(self, exchange: Exchange) -> None:
        """A model's own server, as it is reached without llama-swap: where `proxy` says /server/MODEL.

        It loads nothing; while the model is not ready there is nobody at that address.
        """
        model_id, _, path = exchange.params["rest"].partition("/")
        model = self._fleet.script.models.get(model_id)
        if model is None or self._fleet.pool.machine.state(model_id) != "ready":
            await exchange.cut()
        elif path == "v1/models":
            meta = {"n_ctx_train": 32768} | ({} if model.context is None else {"n_ctx": model.context})
            row = {"id": f"{model_id}.gguf", "object": "model", "owned_by": "llamacpp", "meta": meta}
            await exchange.respond_json(200, {"object": "list", "data": [row]})
        elif path == "props" and model.context is not None:
            settings = {"n_ctx": model.context}
            await exchange.respond_json(200, {"total_slots": 1, "default_generation_settings": settings})
        else:
            await exchange.respond_json(404, {"error": {"code": 404, "message": "File Not Found"}})

    # -- what it tells

    async def health(self, exchange: Exchange) -> None:
        """The proxy lives; needs no key."""
        await exchange.respond(200, b"OK", TEXT)

    async def models(self, exchange: Exchange) -> None:
        """Everything configured, loaded or not."""
        await go_json(exchange, 200, listed_models(self._fleet))

    async def running(self, exchange: Exchange) -> None:
        """Everything that is not stopped."""
        await go_json(exchange, 200, {"running": running_models(self._fleet)})

    async def version(self, exchange: Exchange) -> None:
        """The version that the fleet was measured against."""
        await go_json(exchange, 200, {"build_date": "unknown", "commit": "0bdb3720", "version": "v250-5"})

    async def events(self, exchange: Exchange) -> None:
        """Server-sent events, until the client goes."""
        await exchange.start(200, EVENT_STREAM)
        await event_stream(exchange, self._fleet)

    async def activity(self, exchange: Exchange) -> None:
        """The latest requests to models, newest first."""
        await go_json(exchange, 200, activity(self._fleet, exchange.scope["query_string"].decode()))

    async def performance(self, exchange: Exchange) -> None:
        """Switched off, as it is by default."""
        await go_json(exchange, 503, {"enabled": False})

    async def metrics(self, exchange: Exchange) -> None:
        """Switched off, as it is by default."""
        await exchange.respond(503, b"# performance monitor not available\n", TEXT)

    # -- unloading

    async def unload_all(self, exchange: Exchange) -> None:
        """Stop every model."""
        await self._unload(list(self._fleet.script.models))
        await go_json(exchange, 200, {"msg": "ok"})

    async def unload_quietly(self, exchange: Exchange) -> None:
        """The older way to stop every model."""
        await self._unload(list(self._fleet.script.models))
        await exchange.respond(200, b"OK", TEXT)

    async def unload_one(self, exchange: Exchange) -> None:
        """Stop one model, named or by an alias."""
        model_id = self._model_id(exchange.params["model"])
        if model_id is None:
            await swap_error(exchange, 404, "model not found", "not_found")
            return
        await self._unload([model_id])
        await exchange.respond(200, b"OK", TEXT)

    async def _unload(self, models: list[str]) -> None:
        pool = self._fleet.pool
        for model in models:
            pool.unload(model)
        for model in models:
            await pool.stopped(model)

    # -- names and keys

    def _model_id(self, name: str) -> str | None:
        models = self._fleet.script.models
        if name in models:
            return name
        return next((model_id for model_id, model in models.items() if name in model.aliases), None)

    def _find(self, name: str) -> Target | Peer | None:
        script = self._fleet.script
        model_id = self._model_id(name)
        if model_id is not None:
            return Target(model_id, script.models[model_id].use_model_name or name)
        selector = script.selectors.get(name)
        if selector is not None:
            states = self._fleet.pool.machine.states()
            ready = (target for target in selector.targets if states[target] == "ready")
            chosen = next(ready, selector.targets[0])
            return Target(chosen, script.models[chosen].use_model_name or chosen)
        for peer_id, peer in script.peers.items():
            if name.removeprefix(f"{peer_id}/") in peer.models:
                return peer
        return None

    def _guarded(self, handler: Handler) -> Handler:
        async def with_key(exchange: Exchange) -> None:
            keys = self._fleet.script.api_keys.llama_swap
            if keys and not set(keys) & set(_keys_given(exchange)):
                message = "unauthorized: invalid or missing API key"
                realm = {"www-authenticate": 'Basic realm="llama-swap"'}
                await swap_error(exchange, 401, message, "unauthorized", realm)
            else:
                await handler(exchange)

        return with_key

    def _tell_inflight(self, exchange: Exchange, operation: str, headers: Headers | None = None) -> None:
        self._fleet.tell("inflight", (operation, exchange.record, headers or {}))

    def _tell_over(self, exchange: Exchange) -> None:
        self._fleet.tell("activity", {"id": exchange.record.seq})
        self._tell_inflight(exchange, "remove")


def _keys_given(exchange: Exchange) -> list[str]:
    scheme, _, value = exchange.headers.get("authorization", "").partition(" ")
    given = [exchange.headers.get("x-api-key", "")]
    if scheme.lower() == "bearer":
        given.append(value)
    elif scheme.lower() == "basic":
        try:
            given.append(base64.b64decode(value).decode().partition(":")[2])
        except (binascii.Error, UnicodeDecodeError):
            return given
    return given
