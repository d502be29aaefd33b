"""Executes what the answers of an attempt call for: routed, under hooks, watched by the detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hyperguild.agent.ahead import StepAhead
from hyperguild.agent.detectors import Detectors, Trip
from hyperguild.agent.routing import SELECT, ToolRouting
from hyperguild.agent.speculation import EarlyCalls
from hyperguild.agent.steering import Steering
from hyperguild.agent.toolbox import Batch, Toolbox
from hyperguild.agent.transcript import with_own_ids, with_sendable_names
from hyperguild.agent.watch import CallBegan, CallEnded, LoopWatch
from hyperguild.domain.messages import Completion
from hyperguild.domain.tools import ToolCall, ToolResult
from hyperguild.ports import IdSource


@dataclass(frozen=True, slots=True)
class Guesses:
    """What of an attempt is begun on guesses: calls, and steps. None: nothing."""

    early: EarlyCalls | None = None
    ahead: StepAhead | None = None


class Acting:
    """Carries out the calls of one attempt, one batch after the other."""

    def __init__(
        self,
        toolbox: Toolbox,
        routing: ToolRouting,
        steering: Steering,
        detectors: Detectors,
        watch: LoopWatch,
        ids: IdSource,
        guesses: Guesses,
    ) -> None:
        self._toolbox = toolbox
        self._routing = routing
        self._steering = steering
        self._detectors = detectors
        self._watch = watch
        self._ids = ids
        self._early, self._ahead = guesses.early, guesses.ahead
        self._call_ids: set[str] = set()

    def calls_of(self, completion: Completion, known_ids: set[str]) -> tuple[tuple[ToolCall, ...], bool]:
        """Return the whole calls of an answer under ids of their own, and whether one was cut off.

        `known_ids` are those of the transcript: hooks bring some, and attempts that are continued.
        """
        calls = completion.tool_calls
        cut_off = completion.finish_reason == "length" and _is_cut_off(calls[-1])
        whole = calls[:-1] if cut_off else calls
        self._call_ids |= known_ids
        own = with_sendable_names(with_own_ids(whole, self._call_ids, self._ids.new_id))
        self._call_ids |= {call.id for call in own}
        return own, cut_off

    async def execute(self, calls: Sequence[ToolCall], offered: Sequence[str]) -> tuple[Batch, Trip | None]:
        """Execute the calls, but for those that the routing answers itself; return the first trip, too.

        Cancelling stops the tools; `so_far` then has what they brought.
        """
        category = self._routing.category
        answered = self._routing.take(calls, offered)
        batch = await self._toolbox.execute(
            calls, offered, self._see, self._steering, answered, self._early, self._offer
        )
        moved = self._routing.category != category
        return batch, None if batch.pending else self._look_at(calls, batch.results, moved=moved)

    def so_far(self, calls: Sequence[ToolCall]) -> Sequence[ToolResult]:
        """Return a result for each of the calls, an error for those that were interrupted."""
        return self._toolbox.so_far(calls)

    def _offer(self, call_id: str, text: str) -> None:
        if self._ahead is not None:
            self._ahead.offer(call_id, text)

    def _see(self, seen: ToolCall | ToolResult) -> None:
        if self._ahead is not None and isinstance(seen, ToolResult):
            self._ahead.came(seen)
        self._watch.observe(CallBegan(seen) if isinstance(seen, ToolCall) else CallEnded(seen))

    def _look_at(
        self, calls: Sequence[ToolCall], results: Sequence[ToolResult], *, moved: bool
    ) -> Trip | None:
        """Let the detectors see every result; return the first trip.

        Going to another category (`moved`) and back again is how a small model works, and no repeated call.
        """
        trips = []
        for call, result in zip(calls, results, strict=True):
            if moved and call.name == SELECT:
                continue
            spec = self._toolbox.spec(call.name)
            ran = result.started_at is not None
            trips.append(self._detectors.result(call, result, effect=spec.effect if spec and ran else None))
        return next((trip for trip in trips if trip is not None), None)


def _is_cut_off(call: ToolCall) -> bool:
    """Return whether the last call of an answer that was cut off is not whole: its object is not closed."""
    return call.arguments is None or not call.raw.strip()
