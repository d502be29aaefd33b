"""Carries out `sessions prune`, and says what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hyperguild.cli.options import Settings
from hyperguild.cli.review_log import open_review
from hyperguild.domain.review import Pruned


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be deleted, as `ReviewStore.prune` takes it."""

    older_than: datetime
    keep_labelled: bool
    skills: tuple[str, ...]


async def pruned(settings: Settings, wish: Wish, *, dry_run: bool) -> Pruned:
    """Delete, or count, what is wished. Raises `UsageError` where there is no log, and `StoreError`."""
    async with open_review(settings, writing=not dry_run) as store:
        return await store.prune(
            wish.older_than, keep_labelled=wish.keep_labelled, skills=wish.skills, dry_run=dry_run
        )


def told(found: Pruned) -> str:
    """Return what was or would be deleted, in one line."""
    what = f"{_counted(found.runs, 'run')} with {_counted(found.attempts, 'attempt')}"
    if found.sessions:
        what += f", and {_counted(found.sessions, 'session')} of which nothing is left"
    stay = "stays" if found.kept == 1 else "stay"
    kept = f"; {_counted(found.kept, 'run')} of that age {stay}, labelled or under way" if found.kept else ""
    if not found.runs:
        return f"nothing to delete{kept}"
    return f"{'would delete' if found.dry_run else 'deleted'} {what}{kept}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
