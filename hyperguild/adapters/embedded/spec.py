"""What a model server is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperguild.domain.chain import DEFAULT_EMBEDDED_WINDOW, Model

ONE_THREAD_BELOW_BYTES = 64 * 1024 * 1024
"""Threads of a smaller model wait for each other longer than they compute: one is faster. Measured with the
tiny fleet, where two threads on two busy cores were 200 times slower than one."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """One model server: two models of the same spec share it.

    `context_tokens` is the window of each of its `slots`; `threads` None: as fits the file.
    """

    gguf: Path
    context_tokens: int
    slots: int = 1
    threads: int | None = None

    @property
    def name(self) -> str:
        """A short name for messages: that of the file."""
        return self.gguf.name


def spec_of(model: Model) -> ServerSpec:
    """Return what an embedded model is served by. Raises `ValueError` where it has no file."""
    if model.gguf is None:
        raise ValueError(f"{model.name} is no embedded model: it has no gguf")
    engine = model.endpoint.engine
    window = model.context_window or DEFAULT_EMBEDDED_WINDOW
    return ServerSpec(model.gguf, window, engine.slots, engine.threads)
