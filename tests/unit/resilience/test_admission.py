"""Whose turn it is: in order, bounded, and never lost, whoever leaves."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from hyperguild.resilience.admission import Admission, Ticket


def test_turns_go_in_order() -> None:
    line = Admission(1, 10)
    first, second, third = Ticket("m"), Ticket("m"), Ticket("m")
    assert all(line.join(one) for one in (first, second, third))
    assert line.holds(first)
    assert line.leave(first) == [second]
    assert line.leave(second) == [third]


def test_a_model_that_is_full_keeps_nobody_else_back() -> None:
    line = Admission(2, 10)
    small, next_small, other = Ticket("small", 1), Ticket("small", 1), Ticket("other")
    assert all(line.join(one) for one in (small, next_small, other))
    assert line.holds(other)
    assert line.leave(other) == []
    assert line.leave(small) == [next_small]


def test_a_full_line_refuses_and_one_who_leaves_it_makes_room() -> None:
    line = Admission(1, 1)
    holder, waiter, late = Ticket("m"), Ticket("m"), Ticket("m")
    assert line.join(holder)
    assert line.join(waiter)
    assert not line.join(late)
    assert line.leave(waiter) == []
    assert line.join(late)
    assert line.leave(holder) == [late]


@given(
    st.integers(1, 4),
    st.integers(0, 5),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)),
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", "leave"]), st.integers(0, 20)), max_size=60),
)
def test_no_turn_is_lost_and_none_is_given_twice(
    limit: int, max_queue: int, limits: dict[str, int], events: list[tuple[str, int]]
) -> None:
    line = Admission(limit, max_queue)
    holding: list[Ticket] = []
    waiting: list[Ticket] = []
    for what, which in events:
        if what == "leave":
            there = holding + waiting
            if not there:
                continue
            gone = there[which % len(there)]
            (holding if gone in holding else waiting).remove(gone)
            for ticket in line.leave(gone):
                waiting.remove(ticket)
                holding.append(ticket)
        else:
            ticket = Ticket(what, limits.get(what))
            if line.join(ticket):
                (holding if line.holds(ticket) else waiting).append(ticket)
            else:
                assert len(waiting) == max_queue
        used = Counter(ticket.model for ticket in holding)
        assert (line.holding, line.waiting) == (len(holding), len(waiting))
        assert len(holding) <= limit
        assert all(used[model] <= most for model, most in limits.items())
        for ticket in waiting:  # nobody waits for a turn that could be had
            full = ticket.limit is not None and used[ticket.model] >= ticket.limit
            assert full or len(holding) == limit
