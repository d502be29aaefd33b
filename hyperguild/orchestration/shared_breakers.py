"""Breakers as a run shares them with other runs: through the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hyperguild.errors import StoreError
from hyperguild.orchestration.context import RunContext
from hyperguild.orchestration.emitter import Emitter
from hyperguild.ports import BreakerStore


class SharedBreakers:
    """Who failed before, in whatever run. Where the log fails, a run does without, and warns once."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._breakers = run.tools.caller.breakers

    async def load(self) -> None:
        """Learn what other runs know. Of a run that insists each tier may be tried, whatever that is."""
        await self._kept(self._breakers.load, self._run.emit)
        if self._run.request.insist:
            self._breakers.let_try(tier.model for tier in self._run.chain.tiers)

    async def save(self, emit: Emitter) -> None:
        """Let other runs know what this one has learned."""
        await self._kept(self._breakers.save, emit)

    def why_not(self) -> dict[str, str]:
        """Return, by model of the chain, why some are not asked for a while."""
        models = [tier.model for tier in self._run.chain.tiers]
        return {model.name: why for model in models if (why := self._breakers.refusal(model))}

    async def _kept(self, action: Callable[[BreakerStore], Awaitable[None]], emit: Emitter) -> None:
        try:
            await action(self._run.tools.store)
        except StoreError as error:
            # They save time; a run that has to do without them is as good.
            emit.warn_once(f"who failed before is not known to other runs: {error.message}")
