"""The load and evict rules as a state machine, driven by a clock of the test's own."""

import math
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hyperguild.simulation.swap import (
    EXITED,
    UNLOADED,
    ConcurrencyLimitError,
    GroupRule,
    HostedModel,
    SwapMachine,
    Ticket,
)

DEFAULT = {"default": GroupRule()}


def one_at_a_time(**specs: Any) -> SwapMachine:
    """Models of the default group; the values are load times, or specs."""
    models = {
        name: HostedModel("default", **spec)
        if isinstance(spec, dict)
        else HostedModel("default", load_s=spec)
        for name, spec in specs.items()
    }
    return SwapMachine(models, DEFAULT)


def phases(*tickets: Ticket) -> list[str]:
    return [ticket.phase for ticket in tickets]


def test_a_cold_model_loads_and_then_serves_everyone_who_waited() -> None:
    machine = one_at_a_time(a=2.0)
    first = machine.submit("a", 0.0)
    second = machine.submit("a", 1.0)
    assert (phases(first, second), machine.state("a")) == (["loading", "loading"], "starting")
    assert machine.next_due() == 2.0
    machine.advance(1.99)
    assert machine.state("a") == "starting"
    machine.advance(2.0)
    assert phases(first, second) == ["serving", "serving"]
    assert machine.loads("a") == 1


def test_another_model_waits_for_those_in_flight_then_evicts() -> None:
    machine = one_at_a_time(a=1.0, b=1.0)
    busy = machine.submit("a", 0.0)
    machine.advance(1.0)
    waiting = machine.submit("b", 2.0)
    machine.advance(50.0)
    assert (waiting.phase, machine.states()) == ("queued", {"a": "ready", "b": "stopped"})
    machine.release(busy, 60.0)
    assert (waiting.phase, machine.states()) == ("loading", {"a": "stopped", "b": "starting"})


def test_requests_for_the_loaded_model_overtake_the_queue() -> None:
    machine = one_at_a_time(a=0.0, b=0.0)
    first = machine.submit("a", 0.0)
    waiting = machine.submit("b", 1.0)
    overtaking = machine.submit("a", 2.0)
    assert phases(waiting, overtaking) == ["queued", "serving"]
    machine.release(first, 3.0)
    assert phases(waiting) == ["queued"]
    machine.release(overtaking, 4.0)
    assert phases(waiting) == ["serving"]


def test_a_queued_request_whose_client_leaves_is_removed_and_nothing_is_evicted_for_it() -> None:
    machine = one_at_a_time(a=0.0, b=0.0)
    busy = machine.submit("a", 0.0)
    waiting = machine.submit("b", 1.0)
    machine.release(waiting, 2.0)
    machine.release(busy, 3.0)
    assert machine.states() == {"a": "ready", "b": "stopped"}
    assert machine.waiting() == []


def test_a_load_goes_on_when_its_only_client_leaves() -> None:
    machine = one_at_a_time(a=3.0)
    machine.release(machine.submit("a", 0.0), 1.0)
    machine.advance(3.0)
    assert machine.state("a") == "ready"


def test_a_load_is_not_broken_off_for_another_model() -> None:
    machine = one_at_a_time(a=3.0, b=1.0)
    machine.release(machine.submit("a", 0.0), 0.5)
    waiting = machine.submit("b", 1.0)
    assert machine.states() == {"a": "starting", "b": "stopped"}
    machine.advance(3.0)
    assert (machine.state("a"), waiting.phase) == ("stopped", "loading")


def test_the_queue_is_served_in_the_order_of_asking() -> None:
    machine = one_at_a_time(a=0.0, b=0.0, c=0.0)
    busy = machine.submit("a", 0.0)
    for_b, for_c, more_b = (machine.submit(model, 1.0) for model in "bcb")
    machine.release(busy, 2.0)
    assert phases(for_b, for_c, more_b) == ["serving", "queued", "serving"]


def test_a_shared_group_holds_its_members_together() -> None:
    models = {"a": HostedModel("pool"), "b": HostedModel("pool"), "c": HostedModel("default")}
    machine = SwapMachine(models, {**DEFAULT, "pool": GroupRule(swap=False)})
    held = [machine.submit("a", 0.0), machine.submit("b", 0.0)]
    assert phases(*held) == ["serving", "serving"]
    outsider = machine.submit("c", 1.0)
    machine.release(held[0], 2.0)
    assert (outsider.phase, machine.state("a")) == ("queued", "ready")
    machine.release(held[1], 3.0)
    assert machine.states() == {"a": "stopped", "b": "stopped", "c": "ready"}


def test_a_persistent_group_stays_and_one_that_is_not_exclusive_evicts_nobody() -> None:
    models = {"judge": HostedModel("judges"), "a": HostedModel("default"), "b": HostedModel("default")}
    machine = SwapMachine(models, {**DEFAULT, "judges": GroupRule(exclusive=False, persistent=True)})
    for model in ("a", "judge", "b"):
        machine.release(machine.submit(model, 0.0), 0.0)
    assert machine.states() == {"judge": "ready", "a": "stopped", "b": "ready"}


def test_a_model_that_conflicts_with_nothing_does_not_wait_behind_one_that_does() -> None:
    models = {"judge": HostedModel("judges"), "a": HostedModel("default"), "b": HostedModel("default")}
    machine = SwapMachine(models, {**DEFAULT, "judges": GroupRule(exclusive=False, persistent=True)})
    machine.submit("a", 0.0)
    assert machine.submit("b", 1.0).phase == "queued"
    assert machine.submit("judge", 2.0).phase == "serving"


def test_a_cold_model_waits_behind_one_that_asked_earlier_and_would_evict_it() -> None:
    models = {"a": HostedModel("pool"), "b": HostedModel("pool"), "c": HostedModel("default")}
    machine = SwapMachine(models, {**DEFAULT, "pool": GroupRule(swap=False)})
    busy = machine.submit("a", 0.0)
    for_c, for_b = machine.submit("c", 1.0), machine.submit("b", 2.0)
    assert phases(for_c, for_b) == ["queued", "queued"]
    machine.release(busy, 3.0)
    assert phases(for_c, for_b) == ["serving", "queued"]


def test_stopping_takes_its_time_and_a_new_request_waits_for_its_end() -> None:
    machine = one_at_a_time(a={"stop_s": 2.0}, b={})
    machine.release(machine.submit("a", 0.0), 0.0)
    for_b = machine.submit("b", 1.0)
    assert (machine.state("a"), for_b.phase) == ("stopping", "queued")
    again = machine.submit("a", 1.5)
    machine.advance(3.0)
    assert phases(for_b, again) == ["serving", "queued"]


def test_the_concurrency_limit_counts_waiting_requests() -> None:
    machine = one_at_a_time(a={"load_s": 5.0, "concurrency_limit": 2})
    first = machine.submit("a", 0.0)
    machine.submit("a", 0.0)
    with pytest.raises(ConcurrencyLimitError):
        machine.submit("a", 1.0)
    machine.release(first, 2.0)
    assert machine.submit("a", 3.0).phase == "loading"


def test_ttl_counts_from_the_last_request() -> None:
    machine = one_at_a_time(a={"ttl_s": 10.0})
    machine.release(machine.submit("a", 0.0), 5.0)
    long_one = machine.submit("a", 14.0)
    machine.advance(100.0)
    assert machine.state("a") == "ready"
    machine.release(long_one, 100.0)
    machine.advance(109.9)
    assert machine.state("a") == "ready"
    machine.advance(110.0)
    assert machine.state("a") == "stopped"


@pytest.mark.parametrize(
    ("spec", "fails_at", "reason"),
    [
        ({"start": "fail", "load_s": 0.5}, 0.5, EXITED),
        ({"start": "never", "health_check_timeout_s": 15.0}, 15.0, "health check timed out after 15s"),
        ({"load_s": 200.0}, 120.0, "health check timed out after 120s"),
    ],
)
def test_failed_loads(spec: dict[str, Any], fails_at: float, reason: str) -> None:
    machine = one_at_a_time(a=spec)
    ticket = machine.submit("a", 0.0)
    assert machine.next_due() == fails_at
    machine.advance(fails_at)
    assert (ticket.phase, ticket.reason, machine.state("a")) == ("failed", reason, "stopped")
    assert machine.submit("a", fails_at + 1).phase == "loading"


def test_unloading_fails_those_that_wait_and_kills_those_in_flight() -> None:
    machine = one_at_a_time(a=2.0)
    loading = machine.submit("a", 0.0)
    machine.unload("a", 1.0)
    assert (loading.phase, loading.reason) == ("failed", UNLOADED)
    serving = machine.submit("a", 2.0)
    machine.advance(4.0)
    machine.unload("a", 5.0)
    assert (serving.phase, machine.state("a"), machine.next_due()) == ("killed", "stopped", math.inf)


def test_a_crash_ends_everything_at_once_even_where_stopping_is_slow() -> None:
    machine = one_at_a_time(a={"stop_s": 5.0}, b={})
    serving = machine.submit("a", 0.0)
    waiting = machine.submit("b", 0.0)
    machine.crash("a", 1.0)
    assert phases(serving, waiting) == ["killed", "serving"]


@pytest.mark.parametrize(
    ("load_s", "ready_at"), [(0.0, 0.25), (0.25, 0.25), (0.3, 1.25), (3.0, 3.25), (3.3, 4.25)]
)
def test_exact_loads_are_seen_at_the_health_checks_only(load_s: float, ready_at: float) -> None:
    machine = SwapMachine({"a": HostedModel("default", load_s=load_s)}, DEFAULT, exact_loads=True)
    machine.submit("a", 0.0)
    assert machine.next_due() == ready_at


MODELS = {
    "a": HostedModel("default", load_s=2.0, stop_s=1.0),
    "b": HostedModel("default", load_s=1.0, ttl_s=3.0, concurrency_limit=3),
    "c": HostedModel("default", load_s=0.5, start="fail"),
    "p": HostedModel("pool", load_s=1.0),
    "q": HostedModel("pool", load_s=0.0, stop_s=0.5),
    "j": HostedModel("judges", load_s=1.0),
}
GROUPS = {
    "default": GroupRule(),
    "pool": GroupRule(swap=False),
    "judges": GroupRule(exclusive=False, persistent=True),
}


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order, what llama-swap promises holds."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = SwapMachine(MODELS, GROUPS)
        self.now = 0.0
        self.open: list[Ticket] = []

    @rule(model=st.sampled_from(sorted(MODELS)))
    def submit(self, model: str) -> None:
        serving, waiting = self.machine.counts(model)
        try:
            self.open.append(self.machine.submit(model, self.now))
        except ConcurrencyLimitError:
            assert serving + waiting == MODELS[model].concurrency_limit

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        ticket = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.machine.release(ticket, self.now)

    @rule(duration_s=st.sampled_from([0.25, 1.0, 5.0]))
    def wait(self, duration_s: float) -> None:
        self.now += duration_s
        self.machine.advance(self.now)

    @rule(model=st.sampled_from(sorted(MODELS)))
    def unload(self, model: str) -> None:
        self.machine.unload(model, self.now)

    @rule(model=st.sampled_from(sorted(MODELS)))
    def crash(self, model: str) -> None:
        self.machine.crash(model, self.now)

    @invariant()
    def no_two_that_exclude_each_other_are_loaded(self) -> None:
        loaded = [name for name, state in self.machine.states().items() if state != "stopped"]
        for one in loaded:
            for other in self.machine.evicts(one):
                assert other not in loaded or one not in self.machine.evicts(other)

    @invariant()
    def only_a_ready_model_serves(self) -> None:
        for ticket in self.open:
            if ticket.phase == "serving":
                assert self.machine.state(ticket.model) == "ready"
            if ticket.phase == "loading":
                assert self.machine.state(ticket.model) == "starting"

    @invariant()
    def nothing_due_is_left_undone(self) -> None:
        assert self.machine.next_due() > self.now

    def teardown(self) -> None:
        """Nobody is forgotten: when those in service leave, everybody is served or refused in the end."""
        for _ in range(200):
            for ticket in [ticket for ticket in self.open if ticket.phase not in ("queued", "loading")]:
                self.open.remove(ticket)
                self.machine.release(ticket, self.now)
            self.now += 1.0
            self.machine.advance(self.now)
        assert self.open == []


AnyHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyHistory = AnyHistory.TestCase
