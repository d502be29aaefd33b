"""An agent loop over the simulated fleet: a scripted model behind real HTTP, real tools of these tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.adapters.models import open_client
from hyperguild.adapters.probes import LlamaSwapProbe
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.agent.hooks import NO_HOOKS, Hooks
from hyperguild.agent.loop import AgentLoop
from hyperguild.agent.resumption import Resumption
from hyperguild.agent.terms import LoopEnd, LoopRequest, LoopTools
from hyperguild.agent.toolbox import CallRules, Toolbox
from hyperguild.agent.transcript import faults
from hyperguild.agent.watch import KeptStep, LoopEvent, LoopWatch
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.chain import Endpoint, Model, RetryPolicy, TimeLimits
from hyperguild.domain.messages import Message
from hyperguild.domain.tools import Effect, ToolCall, ToolSpec
from hyperguild.errors import ConfigError
from hyperguild.inference.call import ModelCaller
from hyperguild.ports import Meter, ModelClient, ToolContext
from hyperguild.simulation.process import FleetProcess

Handler = Callable[..., Awaitable[str]]
PROMPT = (Message("system", "Use the tools."), Message("user", "Do the task."))


@dataclass(frozen=True)
class FunctionTool:
    """A tool that is a coroutine function of its arguments."""

    spec: ToolSpec
    handler: Handler

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        if self.spec.effect == "write":
            await context.barrier.passed()
        return await self.handler(**arguments)


def tool(handler: Handler, effect: Effect = "read", **fields: Any) -> FunctionTool:
    name = handler.__name__
    parameters = {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "additionalProperties": False,
    }
    category = {"read": "read", "write": "write", "exec": "exec"}[effect]
    described = {"name": name, "description": f"{name} it.", "parameters": parameters, "effect": effect}
    return FunctionTool(ToolSpec(**{**described, "category": category, **fields}), handler)


def says(text: str, **fields: Any) -> dict[str, Any]:
    """A rule that is used once."""
    return {"text": text, "times": 1, **fields}


def calls(*named: str | dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A rule that is used once and calls tools: by name, or with everything given."""
    made = [{"name": one, "arguments": {}} if isinstance(one, str) else one for one in named]
    return {"tool_calls": made, "times": 1, **fields}


async def allow(call: ToolCall, spec: ToolSpec) -> str | None:
    del call, spec
    return None


async def whole(call: ToolCall, text: str) -> str:
    del call
    return text


@dataclass
class Bench:
    """One loop: what it was told, what was kept, what happened."""

    fleet: FleetProcess
    loop: AgentLoop
    client: ModelClient
    kept: list[KeptStep] = field(default_factory=list)
    events: list[LoopEvent] = field(default_factory=list)

    async def run(self) -> LoopEnd:
        try:
            async with asyncio.timeout(30):
                return await self.loop.run()
        finally:
            await self.client.aclose()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)

    def seen(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def transcript(self) -> list[Message]:
        """What the kept steps add up to."""
        messages: list[Message] = []
        for step in self.kept:
            if step.kind == "aside":
                continue
            messages = [*([] if step.anew else messages), *step.messages]
        return messages

    def sent(self) -> list[dict[str, Any]]:
        """The bodies of the requests, oldest first."""
        paths = ("/chat/completions", "/messages")
        return [one["body"] for one in self.fleet.requests() if one["path"].endswith(paths)]

    def check(self) -> None:
        """A1, on what was stored and on what was sent."""
        assert faults(self.transcript()) == []
        for body in self.sent():
            open_calls: list[str] = []
            for message in body["messages"]:
                if message["role"] == "tool":
                    assert open_calls.pop(0) == message["tool_call_id"]
                else:
                    assert open_calls == []
                    open_calls = [call["id"] for call in message.get("tool_calls") or ()]
            assert open_calls == []


def loop_over(
    fleet: FleetProcess,
    rules: Sequence[Mapping[str, Any]],
    tools: Sequence[FunctionTool] = (),
    *,
    policy: AgentPolicy | None = None,
    limits: TimeLimits | None = None,
    toolbox_rules: CallRules | None = None,
    prompt: tuple[Message, ...] = PROMPT,
    budget: Mapping[str, Any] | None = None,
    hooks: Hooks = NO_HOOKS,
    external: Sequence[ToolSpec] = (),
    others: Mapping[str, Sequence[dict[str, Any]]] | None = None,
    resume: Resumption | None = None,
    declares_tools: bool = True,
    face: Literal["openai", "anthropic"] = "openai",
    meter: Meter | None = None,
    **model: Any,
) -> Bench:
    """Script the model `m` with these rules, in order, and return a loop that asks it."""
    models = {"m": {"answers": list(rules), **model.pop("scripted", {})}}
    models |= {name: {"answers": list(answers)} for name, answers in (others or {}).items()}
    fleet.script({face: {"models": models}})
    fleet.reset()
    endpoint = Endpoint(face, face, f"{fleet.url}/{face}{'/v1' if face == 'openai' else ''}")
    clock, keys = SystemClock(), KeyRing({})
    client = open_client(endpoint, keys=keys)
    caller = ModelCaller({face: client}, LlamaSwapProbe(keys, clock), clock, lambda: 0.0)
    caller = caller if meter is None else caller.metered(meter)
    request = LoopRequest(
        model=Model(
            **{
                "name": "m",
                "endpoint": endpoint,
                "upstream": "m",
                "label": "managed",
                "tools": declares_tools,
                **model,
            }
        ),
        prompt=prompt,
        policy=policy or AgentPolicy(),
        limits=limits or TimeLimits(),
        retry=RetryPolicy(),
        warm_state=None,
        resume=resume,
        **(budget or {}),
    )
    toolbox = Toolbox(tools, toolbox_rules or CallRules(allow, whole, timeout_s=10), clock, external)

    def find(name: str) -> Model:
        if name not in (others or {}):
            raise ConfigError(f"no model {name}")
        return replace(request.model, name=name, upstream=name)

    kept: list[KeptStep] = []
    events: list[LoopEvent] = []

    async def keep(step: KeptStep) -> None:
        kept.append(step)

    watch = LoopWatch(events.append, keep)
    tools_of_loop = LoopTools(caller, toolbox, clock, system_ids(clock), hooks, find)
    loop = AgentLoop(request, tools_of_loop, watch)
    return Bench(fleet, loop, client, kept, events)
