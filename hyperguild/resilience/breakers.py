"""The breakers of one process: shared by its concurrent runs, and kept between processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from hyperguild.domain.breakers import BreakerRecord
from hyperguild.domain.chain import Endpoint, Model
from hyperguild.errors import TREATMENT, BreakerOpenError, ErrorKind, ModelError
from hyperguild.ports import BreakerStore, Clock
from hyperguild.resilience.breaker import ENDPOINT_POLICY, MODEL_POLICY, Breaker, BreakerPolicy
from hyperguild.resilience.outcome import asks_to_wait, rest_s, sign_of

KEY_DIGITS = 32
"""Of a SHA-256 in hexadecimal digits: addresses may hold credentials, and are not stored."""


def endpoint_key(endpoint: Endpoint) -> str:
    """Return what stands for the endpoint's base URL: two endpoints of one address share a breaker."""
    return _hashed(_address(endpoint))


def model_key(model: Model) -> str:
    """Return what stands for base URL and upstream model."""
    return _hashed(_address(model.endpoint), str(model.gguf or model.upstream))


@dataclass(slots=True, eq=False)
class _Entry:
    """One breaker, and what is told of it. `unsaved`: it differs from what is stored."""

    key: str
    policy: BreakerPolicy
    endpoint: str
    model: str | None
    state: Breaker = field(default_factory=Breaker)
    error_kind: ErrorKind | None = None
    error: str = ""
    stored: bool = False
    unsaved: bool = False

    def become(self, state: Breaker) -> None:
        # Successes of what is well are no news.
        before = (self.state.failures, self.state.open_until)
        self.unsaved = self.unsaved or (state.failures, state.open_until) != before
        self.state = state

    def blame(self, error: ModelError) -> None:
        self.error_kind, self.error = error.kind, error.message

    def record(self, now: datetime) -> BreakerRecord:
        state = self.state
        return BreakerRecord(
            key=self.key,
            endpoint=self.endpoint,
            model=self.model,
            failures=state.failures,
            openings=state.openings,
            since=_time(state.since),
            opened_at=_time(state.opened_at),
            open_until=_time(state.open_until),
            error_kind=self.error_kind,
            error=self.error,
            changed_at=now if state.failed_at is None else datetime.fromtimestamp(state.failed_at, UTC),
        )

    def take(self, record: BreakerRecord) -> None:
        """Become what is stored; a probe of this process goes on."""
        self.state = Breaker(
            failures=record.failures,
            failed_at=record.changed_at.timestamp(),
            openings=record.openings,
            since=_seconds(record.since),
            opened_at=_seconds(record.opened_at),
            open_until=_seconds(record.open_until),
            probing=self.state.probing and record.is_open(),
            recent=self.state.recent,
        )
        self.error_kind, self.error = record.error_kind, record.error
        self.stored = True


class Breakers:
    """All breakers of one process. Nothing here awaits but `load` and `save`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    def refusal(self, model: Model) -> str | None:
        """Return why the model would not be asked now, in words; None where it would be."""
        now = self._now_s()
        for entry in self._all_of(model):
            if not entry.state.admits(now):
                return self._words(entry)
        return None

    def again(self, model: Model) -> str | None:
        """Return when a model that would not be asked now is tried again, in words; None: it would be."""
        now = self._clock.now()
        for entry in self._all_of(model):
            if not entry.state.admits(now.timestamp()):
                return entry.record(now).again(now)
        return None

    def enter(self, model: Model) -> Passage:
        """Let one request through, to be used as a context. Raises `BreakerOpenError`.

        Where a breaker is half open, the request is its one probe until the context is left.
        """
        why = self.refusal(model)
        if why is not None:
            raise BreakerOpenError(
                why,
                hint="`hyperguild models reset` closes it at once",
                model=model.name,
                endpoint=model.endpoint.name,
            )
        now = self._now_s()
        whole, own = self._of(model)
        probes = [entry for entry in self._all_of(model) if entry.state.state(now) == "half_open"]
        for entry in probes:
            entry.state = entry.state.entered(now)
        return Passage(whole, own, probes, self._now_s)

    def let_try(self, models: Iterable[Model]) -> None:
        """Have the next request for each of the models go out, as the probe of what is open."""
        now = self._now_s()
        for model in models:
            for entry in self._all_of(model):
                entry.become(entry.state.due(now))

    async def load(self, store: BreakerStore) -> None:
        """Take over what other processes have stored; what changed here since the last `save` stays.

        What is gone from the store was reset. Raises `StoreError`.
        """
        # What changes while the store reads is newer than what it has read.
        settled = {key: entry.state for key, entry in self._entries.items() if not entry.unsaved}
        records = {record.key: record for record in await store.breakers()}
        for key, state in settled.items():
            entry = self._entries[key]
            if entry.state is not state:
                continue
            if key in records:
                entry.take(records[key])
            elif entry.stored:
                entry.state, entry.stored = Breaker(recent=state.recent), False
        for key, record in records.items():
            if key not in self._entries:
                policy = ENDPOINT_POLICY if record.model is None else MODEL_POLICY
                self._entries[key] = _Entry(key, policy, record.endpoint, record.model)
                self._entries[key].take(record)

    async def save(self, store: BreakerStore) -> None:
        """Store what has changed since the last time; nothing is written where nothing did.

        Raises `StoreError`, and tries again the next time.
        """
        changed = [entry for entry in self._entries.values() if entry.unsaved]
        if not changed:
            return
        now = self._clock.now()
        well = [entry for entry in changed if not entry.state.failures and entry.state.open_until is None]
        ill = [entry for entry in changed if entry not in well]
        for entry in changed:  # before the wait: what changes meanwhile is news
            entry.unsaved, entry.stored = False, entry in ill
        try:
            await store.keep_breakers(
                [entry.record(now) for entry in ill], gone=[entry.key for entry in well]
            )
        except BaseException:
            for entry in changed:
                entry.unsaved = True
            raise

    def _of(self, model: Model) -> tuple[_Entry | None, _Entry]:
        """Return the breaker of the model's server, and its own.

        Without an address there is no server that models share: each is a program of its own.
        """
        endpoint = model.endpoint
        own = self._entry(model_key(model), MODEL_POLICY, endpoint.name, model.name)
        if endpoint.base_url is None:
            return None, own
        return self._entry(endpoint_key(endpoint), ENDPOINT_POLICY, endpoint.name, None), own

    def _all_of(self, model: Model) -> list[_Entry]:
        return [entry for entry in self._of(model) if entry is not None]

    def _entry(self, key: str, policy: BreakerPolicy, endpoint: str, model: str | None) -> _Entry:
        if key not in self._entries:
            self._entries[key] = _Entry(key, policy, endpoint, model)
        entry = self._entries[key]
        entry.endpoint, entry.model = endpoint, model
        return entry

    def _words(self, entry: _Entry) -> str:
        now = self._clock.now()
        words = entry.record(now).words(now)
        return f"{words}, and one is under way" if entry.state.probing else words

    def _now_s(self) -> float:
        return self._clock.now().timestamp()


class Passage:
    """One request on its way through the breakers of its endpoint and its model, retries included.

    Leaving the context ends its probes; a request that was cancelled has said nothing.
    """

    def __init__(
        self, whole: _Entry | None, own: _Entry, probes: Sequence[_Entry], now_s: Callable[[], float]
    ) -> None:
        self._whole = whole
        self._own = own
        self._probes = list(probes)
        self._now_s = now_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for entry in self._probes:
            entry.state = entry.state.left()

    def succeeded(self) -> None:
        """Take note that the answer came."""
        if self._whole is not None:
            self._well(self._whole)
        self._well(self._own)

    def failed(self, error: ModelError, *, retried: bool) -> bool:
        """Take note of an error; `retried`: the request is to be sent again. Return whether it may be."""
        sign = sign_of(error)
        if sign == "none":
            return True
        if TREATMENT[error.kind].whole_endpoint and self._whole is not None:
            self._failed(self._whole, error)
        else:
            if error.status is not None and self._whole is not None:
                self._well(self._whole)  # somebody is there
            if sign == "alive":
                self._well(self._own)
            elif not (retried and asks_to_wait(error)):
                self._failed(self._own, error)
        concerned = [entry for entry in (self._whole, self._own) if entry is not None]
        return all(entry.state.open_until is None or entry in self._probes for entry in concerned)

    def gave_up(self, error: ModelError) -> None:
        """Take note that a retry does not come that `failed` was told of."""
        if asks_to_wait(error):  # others have been counted
            self.failed(error, retried=False)

    def _well(self, entry: _Entry) -> None:
        entry.become(entry.state.succeeded(self._now_s(), entry.policy, probe=self._ended_probe(entry)))

    def _failed(self, entry: _Entry, error: ModelError) -> None:
        now, rest, probe = self._now_s(), rest_s(error), self._ended_probe(entry)
        entry.blame(error)
        if rest is not None:
            entry.become(entry.state.rested(now, rest))
        else:
            entry.become(entry.state.failed(now, entry.policy, probe=probe))

    def _ended_probe(self, entry: _Entry) -> bool:
        """Return whether this was the probe of the breaker, which it is no longer."""
        if entry not in self._probes:
            return False
        self._probes.remove(entry)
        return True


def _address(endpoint: Endpoint) -> str:
    if endpoint.base_url is not None:
        return endpoint.base_url.rstrip("/")
    # Those that run models in a process of their own have nothing in common but their kind.
    return "\0".join((endpoint.kind, *(endpoint.argv or (endpoint.name,))))


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:KEY_DIGITS]


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
