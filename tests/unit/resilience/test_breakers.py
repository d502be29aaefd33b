"""The breakers of a process: what counts, who is kept back, and what other processes are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from builders import cloud_model, local_model

from hyperguild.domain.breakers import BreakerRecord
from hyperguild.domain.chain import Endpoint, Model
from hyperguild.errors import (
    TREATMENT,
    AuthError,
    BadRequestError,
    BreakerOpenError,
    ConcurrencyLimitError,
    ConnectError,
    ContextOverflowError,
    ErrorKind,
    ModelError,
    ModelTimeoutError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    QueueFullError,
    RateLimitError,
    ServerError,
    StoreError,
)
from hyperguild.resilience.breaker import MODEL_POLICY
from hyperguild.resilience.breakers import Breakers, endpoint_key

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MODEL = local_model("phi4")
BESIDE = local_model("qwen")


class Clock:
    """A clock that the test sets."""

    time = NOON

    def monotonic(self) -> float:
        return self.time.timestamp()

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Kept:
    """A store that several processes share; it counts what is written."""

    def __init__(self) -> None:
        self.records: dict[str, BreakerRecord] = {}
        self.writes = 0
        self.broken = False

    async def breakers(self) -> list[BreakerRecord]:
        return list(self.records.values())

    async def keep_breakers(self, records: Sequence[BreakerRecord], gone: Sequence[str]) -> None:
        if self.broken:
            raise StoreError("full")
        self.writes += 1
        for key in gone:
            self.records.pop(key, None)
        self.records |= {record.key: record for record in records}


def end(breakers: Breakers, error: ModelError | None, model: Model = MODEL) -> None:
    """Make one request that ends so, without a retry."""
    with breakers.enter(model) as passage:
        if error is None:
            passage.succeeded()
        else:
            passage.failed(error, retried=False)


def failing(error: ModelError, times: int = 5, model: Model = MODEL) -> Breakers:
    breakers = Breakers(Clock())
    for _ in range(times):
        end(breakers, error, model)
    return breakers


def test_the_table_has_every_kind_of_error() -> None:
    assert set(TREATMENT) == set(get_args(ErrorKind))


@pytest.mark.parametrize(
    "error",
    [
        ModelTimeoutError("no first token", retryable=True),
        ServerError("boom", status=500),
        ServerError("could not start", status=500, retryable=False),
        OverloadedError("no room", status=503),
        ProtocolError("broke off", retryable=True),
    ],
    ids=lambda error: f"{error.kind}-{error}",
)
def test_five_failures_keep_the_model_back_and_no_other(error: ModelError) -> None:
    assert failing(error, 4).refusal(MODEL) is None
    breakers = failing(error)
    assert breakers.refusal(MODEL) is not None
    assert breakers.refusal(BESIDE) is None
    with pytest.raises(BreakerOpenError) as caught:
        breakers.enter(MODEL)
    assert (caught.value.model, caught.value.endpoint) == (MODEL.name, MODEL.endpoint.name)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "error",
    [
        ModelTimeoutError("not loaded within 300 s"),
        AuthError("no key"),
        AuthError("refused", status=401),
        NotFoundError("no such model", status=404),
        BadRequestError("bad", status=400),
        ContextOverflowError("too long", status=400),
        ProtocolError("empty"),
        ConcurrencyLimitError("at its limit", status=429, retry_after_s=1),
        QueueFullError("the line is full", retryable=False),
    ],
    ids=lambda error: f"{error.kind}-{error}",
)
def test_what_says_nothing_of_the_servers_health_does_not_count(error: ModelError) -> None:
    assert failing(error, 20).refusal(MODEL) is None


def test_an_endpoint_that_is_down_is_down_for_all_its_models() -> None:
    breakers = failing(ConnectError("nothing listens"), 3)
    why = breakers.refusal(BESIDE)
    assert why is not None
    for word in (f"endpoint '{MODEL.endpoint.name}'", "12:00:00 UTC", "connect", "nothing listens", "30 s"):
        assert word in why
    assert breakers.refusal(cloud_model()) is None


def test_models_without_a_server_of_their_own_do_not_share_its_faults() -> None:
    here = Endpoint("here", "embedded")
    broken, well = (replace(local_model(name), endpoint=here, gguf=Path(f"{name}.gguf")) for name in "ab")
    breakers = Breakers(Clock())
    for _ in range(MODEL_POLICY.failures):
        assert breakers.refusal(broken) is None
        with breakers.enter(broken) as passage:
            passage.failed(ConnectError("its port is taken"), retried=False)
    assert breakers.refusal(broken) is not None
    assert breakers.refusal(well) is None


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RateLimitError("slow down", status=429, retry_after_s=42), 42),
        (RateLimitError("slow down", status=429), 300),
        (RateLimitError("slow down in the stream"), 300),
        (OverloadedError("overloaded", status=529), 300),
        (OverloadedError("overloaded", status=503, retry_after_s=7), 7),
    ],
)
def test_who_asks_for_quiet_gets_it_for_as_long(error: ModelError, seconds: float) -> None:
    clock = Clock()
    breakers = Breakers(clock)
    end(breakers, error)
    clock.time += timedelta(seconds=seconds - 0.01)
    assert breakers.refusal(MODEL) is not None
    clock.time += timedelta(seconds=0.02)
    assert breakers.refusal(MODEL) is None


def test_a_limit_that_is_waited_out_within_the_attempt_counts_for_nothing() -> None:
    breakers = Breakers(Clock())
    for _ in range(10):
        with breakers.enter(MODEL) as passage:
            assert passage.failed(RateLimitError("x", status=429, retry_after_s=1), retried=True)
            assert passage.failed(OverloadedError("x", status=503), retried=True)
            passage.succeeded()
    assert breakers.refusal(MODEL) is None


def test_nothing_is_sent_again_once_it_has_opened() -> None:
    breakers = failing(ServerError("boom", status=500), 4)
    with breakers.enter(MODEL) as passage:
        assert not passage.failed(ServerError("boom", status=500), retried=True)


def test_one_request_probes_and_the_others_are_told_so() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    for _ in range(3):
        end(breakers, ConnectError("nothing listens"))
    clock.time += timedelta(seconds=31)
    with breakers.enter(MODEL):
        why = breakers.refusal(BESIDE)
        assert why is not None
        assert "under way" in why
    assert breakers.refusal(BESIDE) is None, "a probe that was cancelled says nothing"
    with breakers.enter(MODEL) as passage:
        assert not passage.failed(ConnectError("nothing listens"), retried=True)
        assert breakers.refusal(BESIDE) is not None
    clock.time += timedelta(seconds=61)
    end(breakers, None)
    assert breakers.refusal(BESIDE) is None


def test_a_server_that_answers_with_an_error_is_not_down() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    for _ in range(3):
        end(breakers, ConnectError("nothing listens"))
    clock.time += timedelta(seconds=31)
    end(breakers, ServerError("boom", status=500))
    assert breakers.refusal(BESIDE) is None


def test_who_is_asked_for_by_name_is_tried_once() -> None:
    breakers = failing(ServerError("boom", status=500))
    breakers.let_try([MODEL])
    end(breakers, ServerError("boom", status=500))
    assert breakers.refusal(MODEL) is not None


async def test_the_next_process_knows_and_successes_are_not_written() -> None:
    store = Kept()
    here, there = Breakers(Clock()), Breakers(Clock())
    for _ in range(20):
        end(here, None)
        await here.save(store)
    assert store.writes == 0
    for _ in range(3):
        end(here, ConnectError("nothing listens"))
        await here.save(store)
    assert store.writes == 3
    await there.load(store)
    assert there.refusal(MODEL) == here.refusal(MODEL) is not None
    end(here, None, cloud_model())
    await here.save(store)
    assert store.writes == 3


async def test_a_success_takes_the_failures_back_everywhere() -> None:
    store, clock = Kept(), Clock()
    here, there = Breakers(clock), Breakers(clock)
    for _ in range(3):
        end(here, ConnectError("nothing listens"))
    await here.save(store)
    await there.load(store)
    clock.time += timedelta(seconds=31)
    end(there, None)
    await there.save(store)
    assert store.records == {}
    clock.time += timedelta(seconds=-5)
    await here.load(store)
    assert here.refusal(MODEL) is None


async def test_what_could_not_be_stored_is_stored_the_next_time() -> None:
    store = Kept()
    breakers = failing(ServerError("boom", status=500))
    store.broken = True
    with pytest.raises(StoreError):
        await breakers.save(store)
    await breakers.load(store)
    assert breakers.refusal(MODEL) is not None, "what is stored is older"
    store.broken = False
    await breakers.save(store)
    assert len(store.records) == 1


def test_endpoints_share_a_breaker_where_they_share_an_address_or_a_program() -> None:
    def key(name: str, kind: Any, **fields: Any) -> str:
        return endpoint_key(Endpoint(name, kind, **fields))

    url, argv = "http://localhost:8080/v1", ("ask", "--fast")
    assert key("a", "openai", base_url=url) == key("b", "openai", base_url=f"{url}/")
    assert (
        key("a", "command", argv=argv) == key("b", "command", argv=argv) != key("a", "command", argv=("ask",))
    )
    assert key("a", "embedded") != key("b", "embedded"), "each has processes of its own"
