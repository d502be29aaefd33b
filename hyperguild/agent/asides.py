"""Other models that are asked within an attempt: by its hooks, and for tasks that it delegates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hyperguild.agent.summarising import StepBudget
from hyperguild.agent.transcript import repaired
from hyperguild.agent.watch import KeptStep, LoopWatch
from hyperguild.domain.chain import Model, RetryPolicy, TimeLimits
from hyperguild.domain.messages import Completion, FinishReason, Message, ModelRequest, UsageReport
from hyperguild.domain.records import ModelUse
from hyperguild.domain.usage import Usage, total_cost_usd
from hyperguild.errors import BudgetRefusedError, UsageError
from hyperguild.inference.call import ModelCaller
from hyperguild.inference.events import CallEvent
from hyperguild.ports import Clock, IdSource


@dataclass(frozen=True, slots=True)
class AsideTools:
    """What asking others takes. `models` finds a model by name; it raises `ConfigError`."""

    caller: ModelCaller
    clock: Clock
    ids: IdSource
    watch: LoopWatch
    models: Callable[[str], Model] | None


@dataclass(frozen=True, slots=True)
class AsideTerms:
    """The bounds: `limits` and `cost_left_usd` give those of the moment; no cost limit is None."""

    retries: RetryPolicy
    limits: Callable[[], TimeLimits]
    cost_left_usd: Callable[[], float | None]


class Asides:
    """Asks others within the budget of one attempt; `uses` is what that has taken."""

    def __init__(self, tools: AsideTools, terms: AsideTerms, steps: StepBudget) -> None:
        self._tools = tools
        self._terms = terms
        self._steps = steps
        self.uses: list[ModelUse] = []

    @property
    def cost_usd(self) -> float | None:
        """What all of them cost; None where that is not known of one."""
        return total_cost_usd(use.cost_usd for use in self.uses)

    def add(self, use: ModelUse) -> None:
        """Count what was used on behalf of the attempt; of one model and purpose that is one entry."""
        for place, before in enumerate(self.uses):
            if (before.model, before.purpose) == (use.model, use.purpose):
                cost_usd = total_cost_usd([before.cost_usd, use.cost_usd])
                use = before.model_copy(update={"usage": before.usage + use.usage, "cost_usd": cost_usd})
                self.uses[place] = use
                return
        self.uses.append(use)

    async def generate(self, name: str, messages: Sequence[Message]) -> Completion:
        """Ask another model for a hook: that costs a step, and has its place in the log.

        Raises as `hooks.Control.generate` does. Cancelling stops the model; what it used is counted.
        """
        if self._tools.models is None:
            raise UsageError("no other models can be asked here")
        model = self._tools.models(name)
        sent = repaired(messages, self._tools.ids.new_id)
        left = self._terms.cost_left_usd()
        worst = model.worst_cost_usd(sum(message.estimated_tokens() for message in sent))
        if left is not None and worst is not None and worst > left:
            raise UsageError(f"the budget of the run does not allow asking {name}")
        if not self._steps.left:
            raise UsageError(f"the attempt has no step left to ask {name} with")
        try:
            return await self._ask(model, sent)
        except BudgetRefusedError as refused:
            raise UsageError(refused.message) from refused

    async def _ask(self, model: Model, sent: tuple[Message, ...]) -> Completion:
        tools, clock = self._tools, self._tools.clock
        position, began, began_at = self._steps.take(), clock.monotonic(), clock.now()
        usage = Usage()

        def observe(event: CallEvent) -> None:
            nonlocal usage
            if isinstance(event, UsageReport):
                usage = event.usage

        answer: tuple[Message, ...] = ()
        finish_reason: FinishReason | None = None
        try:
            completion = await tools.caller.complete(
                ModelRequest(model, sent),
                self._terms.limits(),
                retry=self._terms.retries,
                warm_state=await tools.caller.warm_state(model),
                observe=observe,
            )
            usage, finish_reason = completion.usage, completion.finish_reason
            answer = (Message("assistant", completion.text),)
            return completion
        finally:
            cost_usd = model.cost_usd(usage)
            self.uses.append(ModelUse(model=model.name, purpose="hook", usage=usage, cost_usd=cost_usd))
            kept = KeptStep(
                position,
                (*sent, *answer),
                usage,
                duration_ms=round((clock.monotonic() - began) * 1000),
                began_at=began_at,
                anew=True,
                kind="aside",
                model=model.name,
                finish_reason=finish_reason,
            )
            await tools.watch.keep(kept)
