"""Fills a page from a sorted stream of candidates, and stops where that takes too long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K")

LOOKED_S = 0.04
"""How long candidates are looked at for a page that does not fill. Every page is to answer in 0.1 s."""

_MOST_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Skipped(Generic[K]):
    """No candidate, but the stream has come to this key; every candidate from here on is beyond it."""

    key: K


@dataclass(frozen=True, slots=True)
class Filled(Generic[T, K]):
    """What was found, and the key after which the next page begins; None where there is no more."""

    items: tuple[T, ...]
    after: K | None


def fill(
    candidates: Iterator[K | Skipped[K]],
    fitting: Callable[[list[K]], Iterable[tuple[K, T]]],
    limit: int,
    monotonic: Callable[[], float],
) -> Filled[T, K]:
    """Return the first `limit` of the candidates that fit; fewer where they take longer than `LOOKED_S`.

    `fitting` is given some candidates and returns those that fit, in their order, with what is to be shown.
    """
    ends_at = monotonic() + LOOKED_S
    found: list[tuple[K, T]] = []
    at_once = limit
    while True:
        batch, last, exhausted = _take(candidates, at_once, lambda: monotonic() > ends_at)
        found += fitting(batch)
        if len(found) >= limit:
            more = len(found) > limit or batch[-1] != found[-1][0] or not exhausted
            key = found[limit - 1][0]
            return Filled(tuple(item for _, item in found[:limit]), key if more else None)
        items = tuple(item for _, item in found)
        if exhausted:
            return Filled(items, None)
        if last is not None and monotonic() > ends_at:
            return Filled(items, last)
        at_once = min(at_once * 2, max(_MOST_AT_ONCE, limit))


def _take(
    candidates: Iterator[K | Skipped[K]], count: int, expired: Callable[[], bool]
) -> tuple[list[K], K | None, bool]:
    """Return up to `count` candidates, the key up to which was looked, and whether there are no more."""
    batch: list[K] = []
    last: K | None = None
    for candidate in candidates:
        if isinstance(candidate, Skipped):
            last = candidate.key
            if expired():
                return batch, last, False
            continue
        last = candidate
        batch.append(candidate)
        if len(batch) >= count:
            return batch, last, False
    return batch, last, True
