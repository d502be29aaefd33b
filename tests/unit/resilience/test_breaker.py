"""When a breaker opens, half-opens and closes; and that no order of events leaves it inconsistent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hyperguild.resilience.breaker import (
    ENDPOINT_POLICY,
    MODEL_POLICY,
    RECENT_MAX,
    Breaker,
    BreakerPolicy,
)


def failed(breaker: Breaker, times: int, now: float = 0.0) -> Breaker:
    for _ in range(times):
        breaker = breaker.failed(now, MODEL_POLICY, probe=False)
    return breaker


def opened(now: float = 0.0) -> Breaker:
    return failed(Breaker(), MODEL_POLICY.failures, now)


def test_it_opens_on_failures_in_a_row() -> None:
    four = failed(Breaker(), 4)
    assert four.state(0.0) == "closed"
    assert failed(four, 1).state(0.0) == "open"
    assert failed(four.succeeded(0.0, MODEL_POLICY, probe=False), 4).state(0.0) == "closed"


def test_who_refuses_a_request_and_its_retries_is_down() -> None:
    breaker = Breaker()
    for _ in range(3):
        assert breaker.admits(0.0)
        breaker = breaker.failed(0.0, ENDPOINT_POLICY, probe=False)
    assert not breaker.admits(0.0)


def test_failures_of_long_ago_are_not_in_a_row() -> None:
    late = MODEL_POLICY.window_s + 1
    breaker = failed(failed(Breaker(), 4), 1, late)
    assert (breaker.state(late), breaker.failures) == ("closed", 1)


def test_it_opens_on_a_share_of_failures() -> None:
    breaker = Breaker()
    for number in range(MODEL_POLICY.share_of):
        assert breaker.state(number) == "closed"
        bad = number % 2 == 1
        breaker = (
            breaker.failed(number, MODEL_POLICY, probe=False)
            if bad
            else breaker.succeeded(number, MODEL_POLICY, probe=False)
        )
    assert breaker.state(MODEL_POLICY.share_of) == "open"


def test_one_probe_at_a_time_when_the_time_is_up() -> None:
    breaker = opened()
    assert not breaker.admits(29.9)
    assert breaker.state(30.0) == "half_open"
    probed = breaker.entered(30.0)
    assert not probed.admits(30.0)
    assert probed.left().admits(30.0), "a probe that was cancelled has said nothing"


def test_a_probe_that_went_well_closes_it() -> None:
    closed = opened().entered(30.0).succeeded(31.0, MODEL_POLICY, probe=True)
    assert closed == Breaker()


def test_each_probe_that_fails_doubles_the_time_up_to_a_limit() -> None:
    breaker, now, spans = opened(), 0.0, []
    for _ in range(7):
        assert breaker.open_until is not None
        spans.append(breaker.open_until - now)
        now = breaker.open_until
        breaker = breaker.entered(now).failed(now, MODEL_POLICY, probe=True)
    assert spans == [30, 60, 120, 240, 300, 300, 300]
    assert breaker.since == 0.0


def test_requests_from_before_it_opened_change_nothing() -> None:
    breaker = opened()
    assert breaker.succeeded(1.0, MODEL_POLICY, probe=False) is breaker
    assert breaker.failed(1.0, MODEL_POLICY, probe=False) is breaker


def test_it_rests_for_as_long_as_it_was_told_and_many_who_are_told_do_not_add_up() -> None:
    breaker = Breaker().rested(0.0, 120.0).rested(1.0, 60.0)
    assert (breaker.open_until, breaker.openings) == (120.0, 1)
    assert breaker.rested(2.0, 300.0).open_until == 302.0


def test_a_clock_that_is_set_back_does_not_keep_it_open() -> None:
    assert opened(1000.0).state(1010.0) == "open"
    assert opened(1000.0).state(10.0) == "half_open"


def test_it_can_be_made_due() -> None:
    assert opened().due(1.0).admits(1.0)
    assert Breaker().due(1.0) == Breaker()


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ok", "fail", "rest", "cancel", "due"]),
        st.floats(-5, 400, allow_nan=False),
        st.integers(0, 3),
    ),
    max_size=80,
)


@given(EVENTS, st.integers(1, 6), st.floats(0.1, 1.0), st.integers(2, 12))
def test_no_order_of_events_leaves_it_inconsistent(
    events: list[tuple[str, float, int]], failures: int, share: float, share_of: int
) -> None:
    policy = BreakerPolicy(failures=failures, share=share, share_of=share_of)
    breaker, now = Breaker(), 1000.0
    under_way: list[bool] = []  # whether each is a probe
    for what, passed_s, which in events:
        now += passed_s
        before = breaker
        if what == "ask":
            if breaker.admits(now):
                under_way.append(breaker.state(now) == "half_open")
                breaker = breaker.entered(now)
            else:
                assert breaker.state(now) == "open" or breaker.probing
        elif what == "due":
            breaker = breaker.due(now)
            assert breaker.state(now) != "open"
        elif under_way:
            probe = under_way.pop(which % len(under_way))
            if what == "ok":
                breaker = breaker.succeeded(now, policy, probe=probe)
                assert not probe or breaker.state(now) == "closed"
            elif what == "fail":
                breaker = breaker.failed(now, policy, probe=probe)
                assert not probe or breaker.state(now) == "open"
            elif what == "rest":
                breaker = breaker.rested(now, 60.0)
                assert breaker.state(now) == "open"
            elif probe:
                breaker = breaker.left()
            if before.open_until is not None and not probe and what != "rest":
                assert breaker == before
        times = (breaker.since, breaker.opened_at, breaker.open_until)
        assert all(time is None for time in times) or all(time is not None for time in times)
        assert breaker.open_until is not None or not breaker.probing
        assert len(breaker.recent) <= RECENT_MAX
        assert (breaker.openings > 0) == (breaker.open_until is not None)
        if breaker.open_until is not None:
            # However it came to be open, it does not stay so.
            assert breaker.state(breaker.open_until) == "half_open"
        assert breaker.failures < failures or breaker.open_until is not None
