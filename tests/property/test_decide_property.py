"""The policy under every history that a walk can have."""

from __future__ import annotations

from typing import Any

from builders import attempt, chain, cloud_model, local_model, tier
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.domain.chain import Budget, Chain
from hyperguild.domain.records import Attempt, ErrorInfo
from hyperguild.domain.usage import Price
from hyperguild.orchestration.decide import Accept, Decision, GiveUp, Probe, Situation, Skip, Try, decide

MODELS = st.sampled_from(
    [
        local_model("a"),
        local_model("b", context_window=50),
        cloud_model("c", price=Price(1.0, 2.0)),
        cloud_model("d"),
    ]
)


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    models = draw(st.lists(MODELS, min_size=1, max_size=5))
    tiers = [
        tier(
            position,
            model,
            attempts=draw(st.integers(1, 3)),
            when_cold=draw(st.sampled_from(["wait", "skip"])),
        )
        for position, model in enumerate(models)
    ]
    return chain(
        *tiers,
        budget=Budget(
            cost_usd=draw(st.none() | st.floats(0.001, 1)),
            seconds=draw(st.none() | st.floats(1, 100)),
            attempts=draw(st.none() | st.integers(1, 6)),
        ),
        on_exhausted=draw(st.sampled_from(["error", "best"])),
    )


def performed(decision: Try | Skip, outcome: str, score: float) -> Attempt:
    """What the walk would have recorded."""
    base: dict[str, Any] = {"position": decision.tier.position, "model": decision.tier.model.name}
    if isinstance(decision, Skip):
        return attempt(verdict="skip", **{**base, "cause": decision.cause})
    if outcome == "error":
        return attempt(verdict="error", error=ErrorInfo(kind="server", message="x"), **base)
    if outcome == "accept":
        return attempt(verdict="accept", answer="good", score=score, **base)
    cause = "verifier_error" if outcome == "unjudged" else "rejected"
    return attempt(verdict="escalate", **{**base, "cause": cause, "score": score})


@st.composite
def walks(draw: st.DrawFn) -> tuple[Chain, list[Decision], tuple[Attempt, ...]]:
    walked = draw(chains())
    attempts: tuple[Attempt, ...] = ()
    decisions: list[Decision] = []
    warm: Any = None
    elapsed = 0.0
    for _ in range(100):
        decision = decide(
            Situation(
                walked,
                attempts,
                warm_state=warm,
                task_tokens=draw(st.integers(0, 100)),
                prompt_tokens=draw(st.integers(0, 10_000)),
                elapsed_s=elapsed,
                spent_usd=sum(one.cost_usd or 0 for one in attempts),
            )
        )
        decisions.append(decision)
        match decision:
            case Probe():
                assert warm is None, "a tier is probed once"
                warm = draw(st.sampled_from(["ready", "starting", "cold", "unknown"]))
            case Try() | Skip():
                outcome = draw(st.sampled_from(["error", "accept", "refused", "unjudged"]))
                attempts += (performed(decision, outcome, draw(st.floats(0, 1))),)
                warm = None
                elapsed += draw(st.floats(0, 20))
            case _:
                return walked, decisions, attempts
    raise AssertionError("the walk does not end")


@given(walks())
def test_every_walk_ends_and_keeps_its_rules(walk: Any) -> None:
    walked, decisions, attempts = walk
    tried = [one for one in decisions if isinstance(one, Try)]
    assert len(tried) <= sum(one.attempts for one in walked.tiers)
    if walked.budget.attempts is not None:
        assert len(tried) <= walked.budget.attempts
    positions = [one.position for one in attempts]
    assert positions == sorted(positions), "a walk never goes back"
    erred: set[str] = set()
    for one in attempts:
        assert one.verdict == "skip" or one.model not in erred, "a model that erred is not tried again"
        if one.error is not None:
            erred.add(one.model)


@given(walks())
def test_the_end_fits_the_history(walk: Any) -> None:
    walked, decisions, attempts = walk
    end = decisions[-1]
    accepted = [one for one in attempts if one.verdict == "accept"]
    if isinstance(end, Accept):
        assert accepted == [end.attempt]
        assert attempts[-1] is end.attempt
        return
    assert isinstance(end, GiveUp)
    assert not accepted
    answers = [one for one in attempts if one.verdict == "escalate"]
    assert (end.best is None) == (not answers)
    if end.status == "best_effort":
        assert walked.on_exhausted == "best"
        assert end.best is not None
    if end.status == "exhausted":
        assert {one.position for one in attempts} == set(range(len(walked.tiers)))


@given(walks())
def test_deciding_is_pure(walk: Any) -> None:
    walked, _, attempts = walk
    situation = Situation(walked, attempts, warm_state="ready")
    assert decide(situation) == decide(situation)
