"""Any sequence of requests, loads, ends and departures: nobody is forgotten, no place is given twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hyperguild.adapters.embedded.residency import Grant, Move, Residence, Start, Stop, Waiter, next_move
from hyperguild.adapters.embedded.spec import ServerSpec

SPECS = [
    ServerSpec(Path(f"/{name}.gguf"), 512, slots) for name, slots in (("a", 1), ("b", 2), ("c", 1), ("d", 3))
]
specs = st.sampled_from(SPECS)


class Residency(RuleBasedStateMachine):
    """Carries out moves as the engine does, while the world does what it likes in between."""

    @initialize(max_loaded=st.integers(1, 4), max_users=st.integers(1, 4))
    def begin(self, max_loaded: int, max_users: int) -> None:
        self.max_loaded, self.max_users = max_loaded, max_users
        self.residents: dict[ServerSpec, Residence] = {}
        self.waiters: list[Waiter] = []
        self.tickets = 0
        self.now = 0.0
        self.served: list[int] = []
        self.swaps = 0

    @rule(spec=specs)
    def ask(self, spec: ServerSpec) -> None:
        self.tickets += 1
        self.waiters.append(Waiter(self.tickets, spec))
        self.proceed()

    @rule(spec=specs, max_loaded=st.integers(1, 4), max_users=st.integers(1, 4))
    def ask_with_other_settings(self, spec: ServerSpec, max_loaded: int, max_users: int) -> None:
        self.max_loaded, self.max_users = max_loaded, max_users
        self.ask(spec)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.waiters:
            self.waiters.remove(data.draw(st.sampled_from(self.waiters)))
            self.proceed()

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """One thing of those that are under way comes to its end."""
        if ends := self.possible_ends():
            self.end(data.draw(st.sampled_from(ends)))

    @rule(spec=specs)
    def crash(self, spec: ServerSpec) -> None:
        residence = self.residents.get(spec)
        if residence is not None and residence.users == 0:
            del self.residents[spec]
            self.proceed()

    @rule()
    def everything_ends(self) -> None:
        """When all that is under way ends, one after the other, everybody has been served."""
        bound = 20 * (len(self.waiters) + len(self.residents) + 1)
        while self.waiters:
            ends = self.possible_ends()
            assert ends, f"{self.waiters} wait, and nothing is under way: {self.residents}"
            self.end(ends[0])
            bound -= 1
            assert bound > 0, "it goes round in circles"

    @invariant()
    def no_more_places_than_there_are(self) -> None:
        if hasattr(self, "residents"):
            staying = {spec: one for spec, one in self.residents.items() if one.phase != "stopping"}
            if len(staying) > self.max_loaded:  # there may have been more places
                wanted = {waiter.spec for waiter in self.waiters}
                assert all(one.users or spec in wanted for spec, one in staying.items())
            assert all(one.users <= spec.slots for spec, one in self.residents.items())
            assert self.move() is None

    def possible_ends(self) -> list[tuple[str, ServerSpec]]:
        ends = [
            ({"starting": "loaded", "stopping": "gone", "ready": "done"}[one.phase], spec)
            for spec, one in self.residents.items()
            if one.phase != "ready" or one.users
        ]
        return sorted(ends, key=lambda end: (end[0], end[1].gguf))

    def end(self, what: tuple[str, ServerSpec]) -> None:
        self.now += 1
        kind, spec = what
        one = self.residents[spec]
        if kind == "gone":
            del self.residents[spec]
        elif kind == "loaded":
            self.residents[spec] = replace(one, phase="ready", used_at=self.now, batch_end=self.tickets + 1)
        else:
            self.residents[spec] = replace(one, users=one.users - 1, used_at=self.now)
        self.proceed()

    def move(self) -> Move | None:
        return next_move(self.residents, self.waiters, max_loaded=self.max_loaded, max_users=self.max_users)

    def proceed(self) -> None:
        while (move := self.move()) is not None:
            match move:
                case Grant(ticket):
                    (waiter,) = [one for one in self.waiters if one.ticket == ticket]
                    self.waiters.remove(waiter)
                    self.served.append(ticket)
                    one = self.residents[waiter.spec]
                    assert one.phase == "ready"
                    assert sum(other.users for other in self.residents.values()) < self.max_users
                    self.residents[waiter.spec] = replace(one, users=one.users + 1, used_at=self.now)
                case Start(spec):
                    assert spec not in self.residents
                    assert len(self.residents) < self.max_loaded
                    self.residents[spec] = Residence("starting", 0, self.now)
                    self.swaps += 1
                case Stop(spec):
                    one = self.residents[spec]
                    assert one.users == 0
                    assert one.phase != "stopping"
                    self.residents[spec] = replace(one, phase="stopping")


TestResidency = Residency.TestCase
TestResidency.settings = settings(max_examples=80, stateful_step_count=50)

A, B = ServerSpec(Path("/a.gguf"), 512), ServerSpec(Path("/b.gguf"), 512)
C = ServerSpec(Path("/c.gguf"), 512)


def test_a_later_request_for_the_loaded_model_stays_behind_one_that_needs_its_place() -> None:
    loaded = {A: Residence("ready", 0, 0.0, batch_end=3)}
    waiters = [Waiter(3, B), Waiter(4, A)]
    assert next_move(loaded, waiters, max_loaded=1, max_users=8) == Stop(A)


def test_its_batch_is_served_before_it_leaves() -> None:
    loaded = {A: Residence("ready", 0, 0.0, batch_end=5)}
    waiters = [Waiter(3, B), Waiter(4, A)]
    assert next_move(loaded, waiters, max_loaded=1, max_users=8) == Grant(4)


def test_where_there_is_room_nobody_waits_for_anybody() -> None:
    loaded = {A: Residence("ready", 0, 0.0, batch_end=1)}
    assert next_move(loaded, [Waiter(3, B), Waiter(4, A)], max_loaded=2, max_users=8) == Start(B)
    both = {**loaded, B: Residence("starting", 0, 0.0)}
    assert next_move(both, [Waiter(3, B), Waiter(4, A)], max_loaded=2, max_users=8) == Grant(4)


def test_the_least_recently_used_model_leaves() -> None:
    loaded = {A: Residence("ready", 0, 2.0), B: Residence("ready", 0, 1.0)}
    assert next_move(loaded, [Waiter(9, C)], max_loaded=2, max_users=8) == Stop(B)


def test_a_model_at_work_does_not_leave() -> None:
    loaded = {A: Residence("ready", 0, 2.0), B: Residence("ready", 1, 1.0)}
    assert next_move(loaded, [Waiter(9, C)], max_loaded=2, max_users=8) == Stop(A)
    assert next_move({B: loaded[B]}, [Waiter(9, C)], max_loaded=1, max_users=8) is None


def test_a_load_that_nobody_waits_for_is_given_up_for_another() -> None:
    loading = {A: Residence("starting", 0, 0.0)}
    assert next_move(loading, [Waiter(2, B)], max_loaded=1, max_users=8) == Stop(A)
    assert next_move(loading, [Waiter(1, A), Waiter(2, B)], max_loaded=1, max_users=8) is None


def test_one_place_coming_free_is_enough_for_one() -> None:
    state = {A: Residence("stopping", 0, 0.0), B: Residence("ready", 0, 0.0)}
    assert next_move(state, [Waiter(2, C)], max_loaded=2, max_users=8) is None


def test_where_fewer_places_are_left_idle_models_leave_and_nobody_has_to_wait_for_that() -> None:
    loaded = {A: Residence("ready", 0, 1.0), B: Residence("ready", 1, 0.0), C: Residence("ready", 0, 2.0)}
    assert next_move(loaded, [], max_loaded=3, max_users=8) is None
    assert next_move(loaded, [], max_loaded=2, max_users=8) == Stop(A)
    assert next_move(loaded, [Waiter(9, A)], max_loaded=1, max_users=8) == Grant(9)
    leaving = {**loaded, A: Residence("stopping", 0, 1.0)}
    assert next_move(leaving, [], max_loaded=2, max_users=8) is None
    assert next_move(leaving, [], max_loaded=1, max_users=8) == Stop(C)
