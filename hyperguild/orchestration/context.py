"""One run: what is asked, under which ids, and what it works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hyperguild.agent.guesses import Predictor, no_predictor
from hyperguild.agent.hooks import HooksIn, no_hooks
from hyperguild.agent.source import SkillBook, ToolSource
from hyperguild.domain.chain import Chain, Model
from hyperguild.domain.limits import Limits, Standing
from hyperguild.domain.run import RunRequest
from hyperguild.inference.call import ModelCaller
from hyperguild.orchestration.emitter import Emitter
from hyperguild.orchestration.metering import Payer, RunMeter
from hyperguild.orchestration.resume import Continuation
from hyperguild.ports import Approver, Clock, EventSink, IdSource, SessionStore

NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Tools:
    """What a walk works with; all of it may be shared by concurrent walks.

    `models` finds a model that a hook names; it raises `ConfigError`. Without `skills` nothing is delegated.
    `predictors` gives who guesses the calls of a skill's attempts, None where nobody does.
    `limits` are those that all runs share; `meter` is that of the run that delegates this one.
    """

    caller: ModelCaller
    store: SessionStore
    clock: Clock
    ids: IdSource
    source: ToolSource
    hooks: HooksIn = no_hooks
    models: Callable[[str], Model] | None = None
    skills: SkillBook | None = None
    approver: Approver | None = None
    limits: Limits = NO_LIMITS
    meter: RunMeter | None = None
    predictors: Callable[[str], Predictor | None] = no_predictor


@dataclass(frozen=True, slots=True)
class RunContext:
    """One run while it is walked. The calls of `tools` are metered by its own `tools.meter`, if it has one.

    `began` is a moment of the clock's `monotonic`: that of this process, also where the run is continued.
    """

    request: RunRequest
    run_id: str
    session_id: str
    tools: Tools
    sink: EventSink
    emit: Emitter
    began: float

    @property
    def chain(self) -> Chain:
        """The chain that it is walked through."""
        return self.request.chain

    def elapsed_s(self) -> float:
        """Return how long it has been walked."""
        return self.tools.clock.monotonic() - self.began


def open_run(
    request: RunRequest, tools: Tools, sink: EventSink, continuation: Continuation | None
) -> RunContext:
    """Give a run its ids, meter and time; one that is continued keeps its id and what it has used."""
    run_id = continuation.run_id if continuation is not None else tools.ids.new_id()
    session_id = request.session_id or tools.ids.new_id()
    began = tools.clock.monotonic()
    meter = _meter(request, Payer(run_id, session_id, request.parent_run_id is not None), tools, continuation)
    if meter is not None:
        tools = replace(tools, caller=tools.caller.metered(meter), meter=meter)
    emit = Emitter(sink, tools.clock, session_id=session_id, run_id=run_id)
    return RunContext(request, run_id, session_id, tools, sink, emit, began)


def _meter(
    request: RunRequest, payer: Payer, tools: Tools, continuation: Continuation | None
) -> RunMeter | None:
    return RunMeter.of_run(
        payer,
        (request.chain.budget.tokens, 0 if continuation is None else continuation.used_tokens),
        tools.meter if payer.delegated else None,
        (tools.store.ledger, tools.limits) if tools.limits.shared else None,
        tools.ids,
        _purse(request, continuation),
    )


def _purse(request: RunRequest, continuation: Continuation | None) -> Standing | None:
    """Return the budget in USD, where two attempts may be under way that both spend of it."""
    limit = request.chain.budget.cost_usd
    if limit is None or not may_speculate(request):
        return None
    spent = 0.0 if continuation is None else continuation.used_usd
    return Standing("run", "cost_usd", limit, spent=spent)


def may_speculate(request: RunRequest) -> bool:
    """Tell whether a tier may be begun before it is known to be needed: somebody asks for it, none can write.

    What is begun so may be thrown away at any moment. Attempts that are given tools are thus left alone.
    """
    tiers = request.chain.tiers
    return (
        request.work is None
        and not request.external_tools
        and not any(tier.agent.delegate for tier in tiers)
        and any(tier.when_cold == "hedge" or tier.speculate for tier in tiers)
    )
