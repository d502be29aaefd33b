"""`hooks` of the raw file as the programs that are run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from hyperguild.config import schema, schema_hooks
from hyperguild.domain.hooks import CommandHook, HookKind


def resolve_hooks(raw: schema.ChainsFile) -> dict[HookKind, tuple[CommandHook, ...]]:
    """Return the hooks of each kind that has some, in the order in which they are called."""
    return {} if raw.hooks is None else dict(_by_kind(raw.hooks))


def _by_kind(raw: schema_hooks.Hooks) -> Iterator[tuple[HookKind, tuple[CommandHook, ...]]]:
    kinds: tuple[HookKind, ...] = get_args(HookKind)
    for kind in kinds:
        entries: tuple[schema_hooks.ToolHook | schema_hooks.StepHook, ...] = getattr(raw, kind)
        if entries:
            yield kind, tuple(CommandHook(**entry.model_dump()) for entry in entries)
