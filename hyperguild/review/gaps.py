"""What real calls could add to the record, and what they would cost at most. Pure, but for the stand-in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from hyperguild.domain.chain import Chain, Endpoint, Tier
from hyperguild.domain.messages import Finish, FinishReason, ModelRequest, Sent, StreamPart, TextDelta
from hyperguild.domain.secrets import placeholders
from hyperguild.domain.usage import Price, total_cost_usd
from hyperguild.orchestration.decide import worst_cost_usd
from hyperguild.review.recollection import REPLAY_CHAIN, Answer, KnownTask
from hyperguild.review.replay import Path

STANDING_IN = Endpoint("recorded", "command")
"""In place of a model's own endpoint where its recorded answer is given to the judge."""


@dataclass(frozen=True, slots=True)
class Want:
    """What is missing of a task at a tier: an answer, or (`answer` set) a judgement of that one."""

    task: KnownTask
    tier: Tier
    answer: Answer | None = None

    @property
    def key(self) -> tuple[str, str | None, str, str | None]:
        """What is asked, so that nothing is asked twice."""
        said = None if self.answer is None else self.answer.text
        return (self.task.skill, self.task.text, self.tier.model.name, said)

    def chain(self, chain: Chain, left_usd: float) -> Chain:
        """Return the chain that fetches it: this tier alone, verified as in the chain it is of."""
        model = self.tier.model
        if self.answer is not None:
            model = replace(model, endpoint=STANDING_IN, price=Price(0.0, 0.0), context_window=None)
        tier = replace(self.tier, position=0, attempts=1, model=model)
        budget = chain.budget.tightened(cost_usd=left_usd)
        return replace(chain, name=REPLAY_CHAIN, tiers=(tier,), budget=budget, on_exhausted="error")


def wants(
    tasks: Sequence[KnownTask], chain: Chain, paths: Sequence[tuple[Path, ...]]
) -> tuple[list[Want], int]:
    """Return what to ask for next, and how many tasks cannot be asked about.

    Those are tasks that the log did not keep, or not whole: secrets in them are placeholders there.
    """
    found: dict[tuple[str, str | None, str, str | None], Want] = {}
    unasked = 0
    for task, ways in zip(tasks, paths, strict=True):
        gaps = [path.gap for path in ways if path.gap is not None]
        if gaps and (task.text is None or placeholders(task.text)):
            unasked += 1
            continue
        for gap in gaps:
            answer = gap.answer if gap.kind == "judgement" else None
            want = Want(task, chain.tiers[gap.position], answer)
            if gap.kind in {"answer", "text", "judgement"} and (answer is None or answer.text is not None):
                found[want.key] = want
    return list(found.values()), unasked


def at_most_usd(chain: Chain, asked: Iterable[Want], prompt_tokens: Callable[[Want], int]) -> float | None:
    """Return what these and all tiers after them may cost at most in USD; None where a price is missing."""
    return total_cost_usd(
        None if cost is None else cost * tier.attempts
        for want in asked
        for tier in chain.tiers[want.tier.position :]
        for cost in [worst_cost_usd(chain, tier, prompt_tokens(want))]
    )


class RecordedClient:
    """A `ModelClient` that gives a recorded answer again, at once."""

    def __init__(self, text: str, finish: FinishReason) -> None:
        self._text = text
        self._finish = finish

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:  # noqa: ARG002  # port
        """Give the answer, whatever the request."""
        yield Sent()
        yield TextDelta(self._text)
        yield Finish(self._finish)

    async def aclose(self) -> None:
        """Nothing is open."""
