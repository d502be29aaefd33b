"""A model's load, as one call sees it."""

from __future__ import annotations

from collections.abc import Callable

from hyperguild.inference.events import CallObserver, Loading
from hyperguild.inference.limits import CallTimer


class Load:
    """Begins at most once and ends at most once, and tells the observer of both.

    `now` is the clock of the timer, in seconds; `on_limit_moved` is called when another time limit holds.
    """

    def __init__(
        self,
        timer: CallTimer,
        observe: CallObserver,
        now: Callable[[], float],
        on_limit_moved: Callable[[], None],
    ) -> None:
        self._timer = timer
        self._observe = observe
        self._now = now
        self._on_limit_moved = on_limit_moved

    @property
    def under_way(self) -> bool:
        """Whether the model is being loaded."""
        return self._timer.phase == "loading"

    def begin(self) -> None:
        """Note that the model is not ready. After the first token that can no longer be."""
        if self._timer.phase == "first_token":
            self._timer.load(self._now())
            self._on_limit_moved()

    def tick(self) -> None:
        """Tell how long it has taken so far."""
        self._tell(loaded=False)

    def end(self) -> None:
        """Note that the model is ready: a probe said so, or it has begun to answer."""
        if self.under_way:
            self._timer.ready(self._now())
            self._on_limit_moved()
            self._tell(loaded=True)

    def _tell(self, *, loaded: bool) -> None:
        waited_ms = round((self._now() - self._timer.started_at) * 1000)
        self._observe(Loading(waited_ms, loaded=loaded))
