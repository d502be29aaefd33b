"""Calls a model: probes, streams, watches the load, retries."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import Callable, Coroutine, Mapping
from contextlib import closing
from typing import Any

from hyperguild.domain.chain import Model, RetryPolicy, TimeLimits
from hyperguild.domain.messages import Completion, ModelRequest, UsageReport
from hyperguild.domain.records import WarmState
from hyperguild.domain.usage import Usage
from hyperguild.errors import BudgetRefusedError, ConcurrencyLimitError, ModelError
from hyperguild.inference.background import background
from hyperguild.inference.collect import LoadWatch, collect
from hyperguild.inference.events import CallEvent, CallObserver, Reset
from hyperguild.inference.limits import CallTimer
from hyperguild.inference.loading import Load
from hyperguild.ports import Clock, Meter, ModelClient, WarmProbe, WindowSource
from hyperguild.resilience.breakers import Breakers, Passage
from hyperguild.resilience.retry import retrying

LOADING_TICK_S = 1.0
"""How often a load that goes on is told of."""

UNKNOWN_LOOK_EVERY_S = 1.0
"""How often a server that does not tell what it has loaded is asked again, until the first token."""

LOOK_EVERY_S = {"llama-swap": 2.0, "embedded": 0.02}
"""A model that was ready but says nothing for so long may have been evicted meanwhile: look again. Asking
llama-swap costs a request, asking our own engine next to nothing."""


class ModelCaller:
    """Makes model calls over the clients of all endpoints, past the breakers. Share it freely.

    `breakers` are shared by all callers of the process, if there are several; else it has its own.
    """

    def __init__(
        self,
        clients: Mapping[str, ModelClient],
        probe: WarmProbe,
        clock: Clock,
        random_share: Callable[[], float],
        windows: WindowSource | None = None,
        breakers: Breakers | None = None,
    ) -> None:
        self._clients = clients
        self._probe = probe
        self._clock = clock
        self._random_share = random_share
        self._windows = windows
        self.breakers = breakers or Breakers(clock)
        self._meter: Meter | None = None

    def metered(self, meter: Meter) -> ModelCaller:
        """Return a caller that does the same, and lets the meter watch over what each request may spend."""
        caller = copy.copy(self)
        caller._meter = meter  # noqa: SLF001 - one of its kind
        return caller

    async def window(self, model: Model) -> int | None:
        """Return how many tokens one request may have: the server's own figure, else the configured one.

        None where neither is known. Ask once the model has answered: one that is not loaded has no figure.
        Loads nothing, takes at most `probe_timeout_ms`, and never raises.
        """
        own = None if self._windows is None else await self._windows.window(model)
        return own or model.context_window

    def known_window(self, model: Model) -> int | None:
        """Return the same from what is known by now, without asking."""
        own = None if self._windows is None else self._windows.known(model)
        return own or model.context_window

    async def warm_state(self, model: Model) -> WarmState | None:
        """Return whether the model is loaded; None where that has no meaning. Never raises.

        A server that is not asked for answers is not asked for this either.
        """
        if model.endpoint.loads_models and self.breakers.refusal(model) is not None:
            return "unknown"
        return await self._probed(model)

    async def complete(
        self,
        request: ModelRequest,
        limits: TimeLimits,
        *,
        retry: RetryPolicy,
        warm_state: WarmState | None,
        observe: CallObserver,
    ) -> Completion:
        """Ask for one completion and wait for its end; `limits.total_s` bounds all tries together.

        `warm_state` is what a probe said just now. Raises `ModelError`, and of a metered caller what
        `Meter.spending` does, but for a retry that it refuses: the error that called for it. Cancelling drops
        the connection. Where the breaker of the endpoint or the model is open, nobody is asked:
        `BreakerOpenError`.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        tries = _Tries(observe)
        if request.model.endpoint.kind == "command":
            # A program may say nothing until its end: only the whole has a limit.
            limits = dataclasses.replace(limits, first_token_s=limits.total_s, silence_s=limits.total_s)
        ends_at = began + limits.total_s
        with self.breakers.enter(request.model) as passage:
            controller = retrying(
                retry,
                random_share=self._random_share,
                sleep=self._clock.sleep,
                time_left_s=lambda: ends_at - loop.time(),
                room_for_s=limits.first_token_s,
                on_error=lambda error, may_retry: tries.fail(error, passage, may_retry=may_retry),
            )
            try:
                async for attempt in controller:
                    with attempt:
                        timer = CallTimer(limits, started_at=loop.time(), total_ends_at=ends_at)
                        completion = await self._try(request, timer, tries, warm_state)
            except BudgetRefusedError as refused:
                if tries.failed is None:
                    raise
                passage.gave_up(tries.failed)
                raise tries.failed from refused
            passage.succeeded()
        return dataclasses.replace(
            completion,
            usage=tries.spent + completion.usage,
            duration_ms=round((loop.time() - began) * 1000),
        )

    async def _try(
        self, request: ModelRequest, timer: CallTimer, tries: _Tries, warm_state: WarmState | None
    ) -> Completion:
        """Ask once; `warm_state` is that before the first try. Raises as `collect` does, and the meter."""
        model = request.model
        state = warm_state if tries.retries == 0 else await self._probed(model)
        call = collect(
            self._clients[model.endpoint.name].stream(request),
            timer,
            tries.observe,
            watch_load=self._load_watch(model, state),
            split_reasoning=model.label == "local",
        )
        return await self._within_limits(request, tries, call)

    async def _probed(self, model: Model) -> WarmState | None:
        return await self._probe.state(model) if model.endpoint.loads_models else None

    async def _within_limits(
        self, request: ModelRequest, tries: _Tries, call: Coroutine[Any, Any, Completion]
    ) -> Completion:
        """Make the call, if the meter lets it; raises what that does."""
        if self._meter is None:
            return await call
        with closing(call):  # it may never be made
            async with self._meter.spending(request, lambda: tries.current):
                return await call

    def _load_watch(self, model: Model, state: WarmState | None) -> LoadWatch:
        async def watch(load: Load) -> None:
            if state is None:
                return
            await load.asked.wait()
            seen = state
            every_s = LOOK_EVERY_S[model.endpoint.kind]
            # An embedded model that is cold waits for its place. Only when its turn has come is it being
            # loaded, which may be at once.
            embedded = model.endpoint.kind == "embedded"
            settled, pause_s = ({"ready", "cold"}, 0.0) if embedded else ({"ready"}, every_s)
            while seen in settled:
                await self._clock.sleep(pause_s)
                pause_s, seen = every_s, await self._probe.state(model)
                if seen == "unknown":
                    return
            if seen == "unknown":
                load.suspect()
                while (seen := await self._probe.state(model)) == "unknown":
                    await self._clock.sleep(UNKNOWN_LOOK_EVERY_S)
            if seen == "ready":
                load.clear()
                return
            load.begin()
            if self._windows is not None:
                self._windows.forget(model)
            async with background(self._tick(load)):
                await self._probe.wait_ready(model)
            load.end()

        return watch

    async def _tick(self, load: Load) -> None:
        while load.under_way:
            await self._clock.sleep(LOADING_TICK_S)
            load.tick()


class _Tries:
    """Counts retries, and what failed tries used; `failed` is the error of the last of them."""

    def __init__(self, observe: CallObserver) -> None:
        self._observe = observe
        self.current = Usage()
        self.failed: ModelError | None = None
        self.retries = 0
        self.spent = Usage()

    def observe(self, event: CallEvent) -> None:
        if isinstance(event, UsageReport):
            self.current = event.usage
            event = UsageReport(self.spent + event.usage)
        self._observe(event)

    def fail(self, error: ModelError, passage: Passage, *, may_retry: bool) -> bool:
        """Take the error of a try; return whether there is another."""
        may_retry = passage.failed(error, retried=may_retry) and may_retry
        if may_retry:
            self._begin_anew(error)
        return may_retry

    def _begin_anew(self, error: ModelError) -> None:
        self.retries += 1
        self.failed = error
        self.spent, self.current = self.spent + self.current, Usage()
        self._observe(Reset(error.message, began=not isinstance(error, ConcurrencyLimitError)))
