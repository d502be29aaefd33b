"""The fleet itself: its script, its models' states and its journal; the faces are views of it."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from hyperguild.simulation.journal import Journal
from hyperguild.simulation.pace import Pace
from hyperguild.simulation.pool import ModelPool
from hyperguild.simulation.reply import Reply, compose
from hyperguild.simulation.rules import Prompt, RuleBook
from hyperguild.simulation.script import DEFAULT_GROUP, Answering, Script
from hyperguild.simulation.swap import GroupRule, HostedModel, SwapMachine


class Fleet:
    """Everything that lives as long as the process; `load` gives it another script.

    `wall` tells the time of day for answers that carry one, `monotonic` the time that passes.
    """

    def __init__(
        self,
        script: Script,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.wall = wall
        self._monotonic = monotonic
        self._born = monotonic()
        self.journal = Journal(lambda: int((monotonic() - self._born) * 1000))
        self.listeners: set[Callable[[str, Any], None]] = set()
        self._prepare(script)

    def _prepare(self, script: Script) -> None:
        self.script = script
        self.pace = Pace(script.speed, self._monotonic)
        self.pool = ModelPool(_machine(script), self.pace, lambda: self.tell("modelStatus", None))
        self._books = {
            (face, name): RuleBook(model.answers)
            for face, models in (
                ("llama_swap", script.models),
                ("openai", script.openai.models),
                ("anthropic", script.anthropic.models),
            )
            for name, model in models.items()
        }

    def load(self, script: Script) -> None:
        """Take another script: every model is unloaded, requests under way end as an unload ends them.

        The journal is kept.
        """
        self.pool.close()
        self._prepare(script)
        self.tell("modelStatus", None)

    def reset(self) -> None:
        """Begin again with the same script: nothing loaded, nothing remembered, every rule unused."""
        self.load(self.script)
        self.journal.forget()

    def tell(self, kind: str, data: object) -> None:
        """Tell the listeners of /api/events."""
        for listener in list(self.listeners):
            listener(kind, data)

    def asked(self, face: str, model: str) -> int:
        """How many chat requests a model was given."""
        return self._books[(face, model)].asked

    def reply(
        self, face: str, name: str, model: Answering, prompt: Prompt, limits: Mapping[str, Any]
    ) -> Reply:
        """What a model says to a prompt; `limits` is the request, for its token limit."""
        rule = self._books[(face, name)].choose(prompt)
        limit = limits.get("max_completion_tokens", limits.get("max_tokens"))
        return compose(rule, model, prompt, limit if isinstance(limit, int) and limit >= 0 else None)


def _machine(script: Script) -> SwapMachine:
    member_of = {member: name for name, group in script.groups.items() for member in group.members}
    hosted = {
        name: HostedModel(
            group=member_of.get(name, DEFAULT_GROUP),
            load_s=model.load_s,
            stop_s=model.stop_s,
            ttl_s=model.ttl_s,
            start=model.start,
            health_check_timeout_s=model.health_check_timeout_s,
            concurrency_limit=model.concurrency_limit,
        )
        for name, model in script.models.items()
    }
    groups = {
        name: GroupRule(swap=group.swap, exclusive=group.exclusive, persistent=group.persistent)
        for name, group in script.groups.items()
    }
    return SwapMachine(hosted, {DEFAULT_GROUP: GroupRule(), **groups}, exact_loads=script.exact_loads)
