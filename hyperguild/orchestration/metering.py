"""What the calls of one run may spend: reserved before each request, settled after it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from hyperguild.agent.gauge import TokenGauge
from hyperguild.domain.chain import Model
from hyperguild.domain.limits import Amount, Limits, Refusal, Standing
from hyperguild.domain.messages import ModelRequest
from hyperguild.domain.usage import Usage, estimate_tokens
from hyperguild.errors import BudgetRefusedError, StoreError
from hyperguild.orchestration.remedies import remedy
from hyperguild.ports import IdSource, Ledger
from hyperguild.resilience.budget import Account

IMAGE_TOKENS = 1600
"""What one image takes at most, about: Anthropic's figure for the largest that is not scaled down."""


@dataclass(frozen=True, slots=True)
class Payer:
    """The run that pays. `delegated`: its attempts are part of another run's, and count nowhere else."""

    run_id: str
    session_id: str
    delegated: bool = False


class RunMeter:
    """Watches over the calls of one run; implements `ports.Meter`.

    Its own tokens and those of the run that delegated it are kept in this process; what runs share is in the
    ledger, where there are such limits. `refusals` are those of the run's own calls.
    """

    def __init__(
        self, payer: Payer, accounts: tuple[Account, ...], shared: tuple[Ledger, Limits] | None, ids: IdSource
    ) -> None:
        self._payer = payer
        self._accounts = accounts
        self._shared = shared
        self._ids = ids
        self._uncounted = Amount()
        self._unsettled: dict[str, Amount] = {}
        self._on_record: set[str] = set()
        self.refusals: list[Refusal] = []

    @classmethod
    def of_run(
        cls,
        payer: Payer,
        tokens: tuple[int | None, int],
        parent: Self | None,
        shared: tuple[Ledger, Limits] | None,
        ids: IdSource,
        usd: Standing | None = None,
    ) -> Self | None:
        """Return the meter of a run; None where nothing limits it that a meter watches over.

        `tokens` are the limit of its budget (None: no limit) and what it has used of it before. `usd` is its
        budget in USD, where attempts that are under way at once have to share it.
        """
        limit, used = tokens
        limits = () if limit is None else (Standing("run", "tokens", limit, spent=used),)
        together = (*limits, *(() if usd is None else (usd,)))
        own = (Account(together),) if together else ()
        accounts = (*own, *(() if parent is None else parent._accounts))  # noqa: SLF001 - one of its kind
        return cls(payer, accounts, shared, ids) if accounts or shared is not None else None

    def begin_attempt(self, *, beside: bool = False) -> None:
        """Take note that the next call is the first of an attempt; `beside`: of one more."""
        before = self._uncounted.attempts if beside else 0
        self._uncounted = Amount() if self._payer.delegated else Amount(attempts=before + 1)

    def count(self, usage: Usage) -> None:
        """Count what was used for the run in an earlier process, and is part of no attempt on record yet.

        The ledger knows of it.
        """
        for account in self._accounts:
            account.count(Amount(tokens=usage.tokens))

    async def standings(self, *, between: bool = True) -> tuple[Standing, ...]:
        """Return how every limit stands now that concerns the run, but those in USD of runs alone.

        These are known from the attempts. `between` attempts: those that were made are on record. Raises
        `StoreError`.
        """
        own = tuple(
            standing
            for account in self._accounts
            for standing in account.standings
            if standing.unit != "cost_usd"
        )
        if self._shared is None:
            return own
        ledger, limits = self._shared
        if between and not self._payer.delegated:  # what is delegated is on record with its parent's attempt
            self._on_record = set(self._unsettled)
        await self._settle_the_rest()
        shared = await ledger.standings(self._payer.session_id, limits)
        return (*own, *(one for one in shared if one.unit != "attempts" or not self._payer.delegated))

    @asynccontextmanager
    async def spending(self, request: ModelRequest, used: Callable[[], Usage]) -> AsyncGenerator[None, None]:
        """Reserve what the request may take at most, while the block sends it; then settle what it `used`.

        Entering raises `BudgetRefusedError` where a limit does not allow it, and `StoreError`. Where the
        settling fails, the reservation stands in full until it can be settled with the run's next one, or by
        the next look at the standings.
        """
        key, attempts = self._ids.new_id(), self._uncounted.attempts
        self._uncounted = Amount()  # at once: another attempt may make its first call meanwhile
        ask = most(request, attempts)
        asked: list[Account] = []
        in_ledger = counted = False
        spent = Amount()
        try:
            for account in self._accounts:
                self._check(account.reserve(key, ask))
                asked.append(account)
            if self._shared is not None and _takes_of(ask, self._shared[1]):
                ledger, limits = self._shared
                await self._settle_the_rest()
                in_ledger = True  # a reservation may be made though its caller was cancelled
                refused = await ledger.reserve(self._payer.run_id, key, ask, limits)
                in_ledger = refused is None
                self._check(refused)
            counted = True
            try:
                yield
            finally:
                usage = used()
                spent = Amount(request.model.cost_usd(usage), usage.tokens, attempts)
        finally:
            if not counted:
                self._uncounted = Amount(attempts=self._uncounted.attempts + attempts)
            for account in asked:
                account.settle(key, spent)
            if in_ledger:
                await self._settle(key, spent)

    async def _settle_the_rest(self) -> None:
        """Settle what could not be settled before, as far as that goes now."""
        for key in tuple(self._unsettled):
            spent = self._unsettled.pop(key, None)
            if spent is not None and not await self._settle(key, spent):
                return

    async def _settle(self, key: str, spent: Amount) -> bool:
        """Settle a reservation in the ledger; where the log cannot be written, later: return whether it was.

        Not so where the caller is cancelled: the log goes on with what it has begun.
        """
        if self._shared is not None:
            try:
                await self._shared[0].settle(key, self._payer.run_id, spent, on_record=key in self._on_record)
            except StoreError:
                self._unsettled[key] = spent
                return False
        return True

    def _check(self, refused: Refusal | None) -> None:
        if refused is not None:
            self.refusals.append(refused)
            raise BudgetRefusedError(refused.text("this call"), hint=remedy(refused))


def _takes_of(ask: Amount, limits: Limits) -> bool:
    """Tell whether a limit bounds what is asked for: a free call needs no reservation where money has one."""
    return any(ask.of(unit) != 0 for _, unit, _ in limits.each())


def most(request: ModelRequest, attempts: int = 0) -> Amount:
    """Return the most that a request may take: its prompt as estimated, and its longest answer."""
    prompt = TokenGauge().estimate(request.messages, request.tools)
    prompt += IMAGE_TOKENS * sum(len(message.images) for message in request.messages)
    if request.response_schema is not None:
        prompt += estimate_tokens(str(request.response_schema))
    output = request.model.most_output_tokens
    return Amount(most_usd(request.model, prompt, output), prompt + output, attempts)


def most_usd(model: Model, prompt_tokens: int, output_tokens: int) -> float | None:
    """Return the most that a call may cost in USD, written to a cache or not; None: nobody knows."""
    usage = Usage(input_tokens=prompt_tokens, output_tokens=output_tokens)
    plain = model.cost_usd(usage)
    written = model.cost_usd(usage.model_copy(update={"cache_write_tokens": prompt_tokens}))
    return None if plain is None or written is None else max(plain, written)
