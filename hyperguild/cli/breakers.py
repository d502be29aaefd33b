"""Breakers as `models` and `doctor` show them, and how `models reset` closes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.breakers import peek_breakers
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.cli.diagnosis import Finding
from hyperguild.cli.model_table import ModelRow
from hyperguild.cli.options import Settings
from hyperguild.cli.streams import say
from hyperguild.config.configuration import Configuration
from hyperguild.config.wording import did_you_mean, quoted
from hyperguild.domain.breakers import BreakerRecord
from hyperguild.domain.chain import Endpoint, LogPolicy, Model
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.text import one_line
from hyperguild.errors import StoreError, UsageError
from hyperguild.resilience.breakers import endpoint_key, model_key

REMEDY = "mend it; `hyperguild models reset` has it asked again at once"


def open_breakers(settings: Settings) -> dict[str, BreakerRecord]:
    """Return the breakers that have opened, by their keys. Where they cannot be read, stderr says so."""
    try:
        records = peek_breakers(settings.db_file())
    except StoreError as error:
        say(f"warning: it is not known who is not asked for a while: {one_line(error.message, 400)}")
        return {}
    return {record.key: record for record in records if record.is_open()}


def refusals(settings: Settings, models: Sequence[Model]) -> dict[str, str]:
    """Return, by name, why some of the models would not be asked now, in words."""
    records, now = open_breakers(settings), SystemClock().now()
    why: dict[str, str] = {}
    for model in models:
        whole = records.get(endpoint_key(model.endpoint))
        named = None if whole is None else whole.model_copy(update={"endpoint": model.endpoint.name})
        for record in (named, _named(records.get(model_key(model)), model)):
            if record is not None and record.open_until is not None and record.open_until > now:
                why.setdefault(model.name, record.words(now))
    return why


def with_breakers(
    rows: Sequence[ModelRow],
    configuration: Configuration,
    records: Mapping[str, BreakerRecord],
    now: datetime,
) -> list[ModelRow]:
    """Return the rows, each of chains.yaml with what keeps it from being asked."""
    return [_with_breaker(row, configuration, records, now) for row in rows]


def breaker_findings(
    endpoint: Endpoint, models: Sequence[Model], records: Mapping[str, BreakerRecord], now: datetime
) -> Iterator[Finding]:
    """Yield a warning for each open breaker of the endpoint and of its models."""
    area = f"endpoint {endpoint.name}"
    whole = records.get(endpoint_key(endpoint))
    own = [_named(records.get(model_key(model)), model) for model in models]
    for record in (None if whole is None else whole.model_copy(update={"endpoint": endpoint.name}), *own):
        if record is not None:
            yield Finding(area, "warning", f"not asked for a while: {record.words(now)}", REMEDY)


async def reset_breakers(settings: Settings, name: str | None) -> list[BreakerRecord]:
    """Close the breakers of an endpoint and its models, or of a model and its endpoint; without a name all.

    Returns those that were open. Raises `UsageError` for a name that chains.yaml does not have, `StoreError`.
    """
    keys = None if name is None else _keys_of(settings.load(), name)
    path = settings.db_file()
    if not path.is_file() or path.stat().st_size == 0:
        return []
    # Not with a mere look: a log that cannot be read must not pass for one in which all is well.
    store = await SqliteSessionStore.open(
        path, scrubber=Scrubber(), log=LogPolicy(keep_days=None), clock=SystemClock()
    )
    try:
        kept = [one for one in await store.breakers() if keys is None or one.key in keys]
        if kept:
            await store.keep_breakers([], gone=[one.key for one in kept])
    finally:
        await store.aclose()
    return [one for one in kept if one.is_open()]


def reset_in_words(closed: Sequence[BreakerRecord]) -> str:
    """Say what was closed."""
    names = [f"endpoint {one.endpoint}" if one.model is None else one.model for one in closed]
    return f"asked again from now on: {', '.join(names)}" if names else "nothing was kept from being asked"


def breaker_object(record: BreakerRecord) -> dict[str, Any]:
    """Return a breaker as JSON: what it is of, since when it is open and until when, and after what."""
    return record.model_dump(mode="json", exclude={"key", "opened_at", "openings", "changed_at"})


def _with_breaker(
    row: ModelRow, configuration: Configuration, records: Mapping[str, BreakerRecord], now: datetime
) -> ModelRow:
    model = None if row.name is None else configuration.models.get(row.name)
    if model is None:
        return row
    whole = records.get(endpoint_key(model.endpoint))
    record = whole or _named(records.get(model_key(model)), model)
    if record is None:
        return row
    return dataclasses.replace(row, breaker=breaker_object(record), out=record.words(now))


def _named(record: BreakerRecord | None, model: Model) -> BreakerRecord | None:
    """Return the record under the model's name here: another chains.yaml may have another one."""
    update = {"endpoint": model.endpoint.name, "model": model.name}
    return None if record is None else record.model_copy(update=update)


def _keys_of(configuration: Configuration, name: str) -> set[str]:
    model, endpoint = configuration.models.get(name), configuration.endpoints.get(name)
    if model is None and endpoint is None:
        near = did_you_mean(name, [*configuration.endpoints, *configuration.models])
        raise UsageError(
            f"{configuration.path.name} has no endpoint or model {quoted(name)}{near}",
            hint="`hyperguild models` lists them",
        )
    keys = set() if model is None else {model_key(model), endpoint_key(model.endpoint)}
    if endpoint is not None:
        its = [one for one in configuration.models.values() if one.endpoint.name == name]
        keys |= {endpoint_key(endpoint), *(model_key(one) for one in its)}
    return keys
