"""A model's load, as one call sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hyperguild.inference.events import CallObserver, Loading
from hyperguild.inference.limits import CallTimer


class Load:
    """Begins at most once and ends at most once, and tells the observer of both.

    `asked` is set once the model has been asked for: before, nothing can be loaded for it. `now` is the clock
    of the timer, in seconds; `on_limit_moved` is called when another time limit holds.
    """

    def __init__(
        self,
        timer: CallTimer,
        observe: CallObserver,
        now: Callable[[], float],
        on_limit_moved: Callable[[], None],
    ) -> None:
        self.asked = asyncio.Event()
        self._timer = timer
        self._observe = observe
        self._now = now
        self._on_limit_moved = on_limit_moved

    @property
    def under_way(self) -> bool:
        """Whether the model is being loaded."""
        return self._timer.phase == "loading"

    def ask(self) -> None:
        """Note that the model was asked for, by the request itself or ahead of it."""
        if not self.asked.is_set():
            self._timer.asked_at = self._now()
            self.asked.set()

    def suspect(self) -> None:
        """Give the model the time to load: nobody knows whether it has to."""
        if self._timer.phase == "first_token":
            self._timer.suspect(self._now())
            self._on_limit_moved()

    def clear(self) -> None:
        """Note that a suspected model is loaded."""
        if self._timer.phase == "suspected":
            self._timer.ready(self._now())
            self._on_limit_moved()

    def begin(self) -> None:
        """Note that the model is not ready. After the first token that can no longer be."""
        if self._timer.phase in {"queued", "suspected", "first_token"}:
            self._timer.load(self._now())
            self._on_limit_moved()
            self.tick()

    def tick(self) -> None:
        """Tell how long it has taken so far, if it goes on."""
        if self.under_way:
            self._observe(Loading(self._timer.waited_ms(self._now()), loaded=False))

    def end(self) -> None:
        """Note that the model is ready: a probe said so, or it has begun to answer."""
        if self.under_way:
            waited_ms = self._timer.waited_ms(self._now())
            self._timer.ready(self._now())
            self._on_limit_moved()
            self._observe(Loading(waited_ms, loaded=True))
