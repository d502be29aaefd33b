"""Makes room in the window: old results shrink, then older messages are summarised by the same model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hyperguild.agent.compaction import SUMMARY_TIMEOUT_S, Plan
from hyperguild.agent.conversation import Conversation
from hyperguild.agent.gauge import TokenGauge
from hyperguild.agent.shrink import SHRINK_AT, Shrinker
from hyperguild.agent.watch import Compacted, KeptStep, LoopWatch
from hyperguild.domain.chain import Model, RetryPolicy, TimeLimits
from hyperguild.domain.messages import Message, ModelRequest, UsageReport
from hyperguild.domain.tools import ToolSpec
from hyperguild.domain.usage import Usage
from hyperguild.errors import BudgetRefusedError, ModelError
from hyperguild.inference.call import ModelCaller
from hyperguild.inference.events import CallEvent
from hyperguild.ports import Clock, IdSource


@dataclass(slots=True)
class StepBudget:
    """The model calls of one attempt, whatever they are for."""

    most: int
    used: int = 0

    @property
    def left(self) -> int:
        """How many more there may be."""
        return max(self.most - self.used, 0)

    def take(self) -> int:
        """Count one more; return its number, from 0."""
        self.used += 1
        return self.used - 1


@dataclass(frozen=True, slots=True)
class SummaryTerms:
    """Who summarises, and when: `compact_at` is a share of the window; `limits` gives those of the moment."""

    model: Model
    compact_at: float
    retry: RetryPolicy
    limits: Callable[[], TimeLimits]


@dataclass(frozen=True, slots=True)
class SummaryTools:
    """What a summariser works with."""

    caller: ModelCaller
    clock: Clock
    ids: IdSource
    watch: LoopWatch


class Summariser:
    """Keeps one conversation within the window of its model; `spent` is what its summaries have used."""

    def __init__(
        self, terms: SummaryTerms, tools: SummaryTools, conversation: Conversation, steps: StepBudget
    ) -> None:
        self._terms = terms
        self._tools = tools
        self._conversation = conversation
        self._steps = steps
        self._shrinker = Shrinker()
        self._under_way, self._last_usage, self._past = Usage(), Usage(), Usage()
        self.gauge = TokenGauge()
        self.failed = False

    @property
    def spent(self) -> Usage:
        """What summaries have used, the one under way included."""
        return self._past + self._under_way

    def view(self) -> tuple[Message, ...]:
        """Return the messages as they are sent."""
        return self._shrinker.view(self._conversation.messages)

    def estimate(self, tools: Sequence[ToolSpec]) -> int:
        """Return about how many tokens the next prompt has."""
        return self.gauge.estimate(self.view(), tools)

    def forget(self) -> None:
        """Begin anew: the messages have been replaced."""
        self._shrinker.forget()

    async def make_room(self, tools: Sequence[ToolSpec]) -> bool:
        """Shrink or summarise what is old, where the next prompt would fill too much of the window.

        Returns whether the model was asked for a summary, in vain or not.
        """
        if not self._conversation.since:
            return False  # the model has not answered yet: its server has nothing to say of its window
        window = await self._tools.caller.window(self._terms.model)
        if window is None:
            return False
        if self._terms.model.label == "local" and self.estimate(tools) > window * SHRINK_AT:
            self._shrinker.move(self._conversation.messages)
        used = self._steps.used
        full = self._terms.compact_at < 1 and self.estimate(tools) > window * self._terms.compact_at
        if full and not self.failed:
            await self.summarise()
        return self._steps.used > used

    async def summarise(self) -> bool:
        """Replace older messages by a summary; return whether that was done.

        It costs a step, and the last step of an attempt is never spent on it. No step may be open. Cancelling
        stops the model and leaves everything as it was.
        """
        chosen = self._conversation.plan()
        if chosen is None or self._steps.left < 2:
            return False
        clock = self._tools.clock
        began, began_at = clock.monotonic(), clock.now()
        position = self._steps.take()
        summary = await self._ask(chosen)
        if summary is None:
            return False
        compacted = self._conversation.compact(chosen, summary, self._tools.ids.nonce)
        self._shrinker.forget()
        self._tools.watch.observe(Compacted(len(chosen.old)))
        await self._tools.watch.keep(
            KeptStep(
                position,
                compacted,
                self._last_usage,
                duration_ms=round((clock.monotonic() - began) * 1000),
                began_at=began_at,
                anew=True,
                kind="summary",
                model=self._terms.model.name,
                finish_reason="stop",
            )
        )
        return True

    async def _ask(self, chosen: Plan) -> str | None:
        """Return the summary, None where there is none to be had; what it used is counted either way."""

        def observe(event: CallEvent) -> None:
            if isinstance(event, UsageReport):
                self._under_way = event.usage

        terms, limits = self._terms, self._terms.limits()
        try:
            completion = await self._tools.caller.complete(
                ModelRequest(terms.model, chosen.request(self._tools.ids.nonce)),
                replace(limits, total_s=min(limits.total_s, SUMMARY_TIMEOUT_S)),
                retry=replace(terms.retry, retries=0),
                warm_state=None,
                observe=observe,
            )
        except (ModelError, BudgetRefusedError) as error:
            failure = error.message
        else:
            self._under_way = completion.usage
            if completion.text.strip() and completion.finish_reason == "stop":
                return completion.text.strip()
            failure = f"it ended with {completion.finish_reason}"
        finally:
            self._last_usage, self._under_way = self._under_way, Usage()
            self._past += self._last_usage
        self.failed = True
        self._tools.watch.observe(Compacted(0, failure))
        return None
