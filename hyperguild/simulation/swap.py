"""Which model is loaded, which request waits and which model has to go: llama-swap's scheduling as a state
machine.

It neither awaits nor reads a clock: every call is told the time (`now`, in seconds, never going back) and
first lives through what became due before it. `pool.py` gives it a clock and wakes the requests.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ModelState = Literal["stopped", "starting", "ready", "stopping"]
TicketPhase = Literal["queued", "loading", "serving", "failed", "killed", "released"]

FIRST_HEALTH_CHECK_S = 0.25
"""When llama-swap first asks a starting model for its health (facts recorded from version 250)."""
HEALTH_CHECK_EVERY_S = 1.0
"""And how often after that."""

EXITED = "upstream command exited prematurely"
UNLOADED = "group: model unloaded"


class ConcurrencyLimitError(Exception):
    """The model has as many requests, in flight and waiting, as its limit allows."""


@dataclass(frozen=True, slots=True)
class HostedModel:
    """What the machine needs to know of a model; times in seconds."""

    group: str
    load_s: float = 0.0
    stop_s: float = 0.0
    ttl_s: float = 0.0
    start: Literal["ok", "fail", "never"] = "ok"
    health_check_timeout_s: float = 120.0
    concurrency_limit: int = 10


@dataclass(frozen=True, slots=True)
class GroupRule:
    """`swap`: one member at a time. `exclusive`: loading a member evicts other groups, unless they are
    `persistent`.
    """

    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


@dataclass(eq=False, slots=True)
class Ticket:
    """One request's place: queued (for an eviction), loading, serving; then failed or killed (`reason`),
    or released.
    """

    model: str
    phase: TicketPhase = "queued"
    reason: str = ""


@dataclass(slots=True)
class _Host:
    spec: HostedModel
    state: ModelState = "stopped"
    due: float = math.inf
    loads: int = 0
    tickets: list[Ticket] = field(default_factory=list)

    def with_phase(self, *phases: TicketPhase) -> list[Ticket]:
        return [ticket for ticket in self.tickets if ticket.phase in phases]


class SwapMachine:
    """The state of every model and every request, and the rules by which they change."""

    def __init__(
        self, models: Mapping[str, HostedModel], groups: Mapping[str, GroupRule], *, exact_loads: bool = False
    ) -> None:
        self._groups = dict(groups)
        self._hosts = {name: _Host(spec) for name, spec in models.items()}
        self._exact_loads = exact_loads
        self._waiting: list[str] = []
        self._changed: list[Ticket] = []
        self.version = 0
        """Grows with every change of a model's state."""

    # -- what it tells

    def state(self, model: str) -> ModelState:
        """The state of a model; KeyError when there is none of that name."""
        return self._hosts[model].state

    def states(self) -> dict[str, ModelState]:
        """The state of every model, in the script's order."""
        return {name: host.state for name, host in self._hosts.items()}

    def loads(self, model: str) -> int:
        """How often the model was started."""
        return self._hosts[model].loads

    def counts(self, model: str) -> tuple[int, int]:
        """How many requests the model serves, and how many wait for it."""
        host = self._hosts[model]
        serving = len(host.with_phase("serving"))
        return serving, len(host.tickets) - serving

    def waiting(self) -> list[str]:
        """The models that wait for an eviction, in the order in which they were asked for."""
        return list(self._waiting)

    def next_due(self) -> float:
        """When something will next happen by itself; infinity when nothing will."""
        return min((host.due for host in self._hosts.values()), default=math.inf)

    def evicts(self, model: str) -> list[str]:
        """The models that cannot stay loaded when `model` is started, loaded now or not."""
        own = self._hosts[model].spec.group
        rule = self._groups[own]
        return [
            name
            for name, host in self._hosts.items()
            if name != model
            and (
                rule.swap
                if host.spec.group == own
                else rule.exclusive and not self._groups[host.spec.group].persistent
            )
        ]

    def take_changed(self) -> list[Ticket]:
        """The tickets that changed since the last call; they are told once."""
        changed, self._changed = self._changed, []
        return changed

    # -- what happens to it

    def submit(self, model: str, now: float) -> Ticket:
        """A request comes in; a loaded model serves it at once, whoever else waits for that model to go.

        Raises ConcurrencyLimitError.
        """
        self.advance(now)
        host = self._hosts[model]
        if len(host.tickets) >= host.spec.concurrency_limit:
            raise ConcurrencyLimitError(model)
        ticket = Ticket(model)
        host.tickets.append(ticket)
        if host.state == "ready":
            self._serve(host)
        elif host.state == "starting":
            self._move(ticket, "loading")
        else:
            if model not in self._waiting:
                self._waiting.append(model)
            self._settle(now)
        return ticket

    def release(self, ticket: Ticket, now: float) -> None:
        """The request is over, or its client has gone: a queued one is removed, a load that began goes on."""
        self.advance(now)
        host = self._hosts[ticket.model]
        if ticket not in host.tickets:
            return
        host.tickets.remove(ticket)
        ticket.phase = "released"
        self._idle(host, now)
        self._settle(now)

    def unload(self, model: str, now: float) -> None:
        """Stop the model: requests it serves are killed, those that wait for its load fail."""
        self.advance(now)
        self._unload(self._hosts[model], now)
        self._settle(now)

    def unload_all(self, now: float) -> None:
        """Stop every model."""
        self.advance(now)
        for host in self._hosts.values():
            self._unload(host, now)
        self._settle(now)

    def crash(self, model: str, now: float) -> None:
        """The model's process dies: it is stopped at once, and everything that hung on it is over."""
        self.advance(now)
        host = self._hosts[model]
        if host.state == "stopped":
            return
        self._end(host, loading=EXITED, serving="crashed")
        self._become(host, "stopped")
        self._settle(now)

    def advance(self, now: float) -> None:
        """Live through everything that is due up to `now`, each thing at its own time."""
        while (due := self.next_due()) <= now:
            for host in self._hosts.values():
                if host.due == due:
                    self._fire(host, due)
            self._settle(due)

    # -- how it does it

    def _fire(self, host: _Host, now: float) -> None:
        if host.state == "starting":
            failure = self._load_failure(host.spec)
            if failure:
                self._end(host, loading=failure, serving=failure)
                self._become(host, "stopped")
            else:
                self._become(host, "ready")
                self._serve(host)
                self._idle(host, now)
        elif host.state == "stopping":
            self._become(host, "stopped")
        else:
            self._stop(host, now)

    def _load_failure(self, spec: HostedModel) -> str:
        if spec.start == "fail":
            return EXITED
        if spec.start == "never" or self._healthy_after(spec) > spec.health_check_timeout_s:
            return f"health check timed out after {spec.health_check_timeout_s:g}s"
        return ""

    def _healthy_after(self, spec: HostedModel) -> float:
        if not self._exact_loads:
            return spec.load_s
        checks = max(0, math.ceil((spec.load_s - FIRST_HEALTH_CHECK_S) / HEALTH_CHECK_EVERY_S))
        return FIRST_HEALTH_CHECK_S + checks * HEALTH_CHECK_EVERY_S

    def _start(self, host: _Host, now: float) -> None:
        host.loads += 1
        if host.spec.start == "fail":
            takes = host.spec.load_s
        elif self._load_failure(host.spec):
            takes = host.spec.health_check_timeout_s
        else:
            takes = self._healthy_after(host.spec)
        self._become(host, "starting", now + takes)
        for ticket in host.with_phase("queued"):
            self._move(ticket, "loading")
        if host.due <= now:
            self._fire(host, now)

    def _stop(self, host: _Host, now: float) -> None:
        if host.spec.stop_s > 0:
            self._become(host, "stopping", now + host.spec.stop_s)
        else:
            self._become(host, "stopped")

    def _unload(self, host: _Host, now: float) -> None:
        if host.state in ("starting", "ready"):
            self._end(host, loading=UNLOADED, serving="unloaded")
            self._stop(host, now)

    def _end(self, host: _Host, *, loading: str, serving: str) -> None:
        for ticket in host.with_phase("loading"):
            ticket.reason = loading
            self._move(ticket, "failed")
        for ticket in host.with_phase("serving"):
            ticket.reason = serving
            self._move(ticket, "killed")
        host.tickets = host.with_phase("queued")

    def _serve(self, host: _Host) -> None:
        host.due = math.inf
        for ticket in host.with_phase("queued", "loading"):
            self._move(ticket, "serving")

    def _idle(self, host: _Host, now: float) -> None:
        if host.state == "ready" and host.spec.ttl_s > 0 and not host.tickets:
            host.due = now + host.spec.ttl_s

    def _settle(self, now: float) -> None:
        """Start what can be started, in the order of asking; what conflicts with an earlier one waits
        behind it.
        """
        blocked: list[str] = []
        for model in list(self._waiting):
            host = self._hosts[model]
            if not host.tickets:
                self._waiting.remove(model)
            elif any(self._conflict(model, earlier) for earlier in blocked) or not self._make_room(
                model, now
            ):
                blocked.append(model)
            else:
                self._waiting.remove(model)
                self._start(host, now)

    def _make_room(self, model: str, now: float) -> bool:
        """Stop what `model` evicts, if none of that is busy; true when nothing stands in its way any more."""
        loaded = [self._hosts[name] for name in self.evicts(model) if self._hosts[name].state != "stopped"]
        if any(host.state == "starting" or (host.tickets and host.state == "ready") for host in loaded):
            return False
        for host in loaded:
            if host.state == "ready":
                self._stop(host, now)
        return self._hosts[model].state == "stopped" and all(host.state == "stopped" for host in loaded)

    def _conflict(self, one: str, other: str) -> bool:
        return other in self.evicts(one) or one in self.evicts(other)

    def _become(self, host: _Host, state: ModelState, due: float = math.inf) -> None:
        host.state, host.due = state, due
        self.version += 1

    def _move(self, ticket: Ticket, phase: TicketPhase) -> None:
        ticket.phase = phase
        self._changed.append(ticket)
