"""What is left of the limits that runs share, for commands that only look."""

from __future__ import annotations

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.cli.diagnosis import Finding
from hyperguild.cli.options import Settings
from hyperguild.config.configuration import Configuration
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.limits import Standing
from hyperguild.domain.secrets import Scrubber
from hyperguild.errors import StoreError

AREA = "limits"


async def standings_today(settings: Settings, configuration: Configuration) -> tuple[Standing, ...]:
    """Return how the limits of the day stand; nothing is spent where there is no log yet.

    Raises `StoreError`. No log is opened where there are no such limits.
    """
    limits, path = configuration.limits, settings.db_file()
    if not limits.day:
        return ()
    if not path.is_file() or path.stat().st_size == 0:
        return tuple(Standing("day", unit, limit) for unit, limit in limits.day.limits())
    store = await SqliteSessionStore.open(
        path, scrubber=Scrubber(), log=LogPolicy(), clock=SystemClock(), read_only=True
    )
    try:
        return await store.ledger.standings(None, limits)
    finally:
        await store.aclose()


async def limit_findings(
    settings: Settings, configuration: Configuration, of_log: list[Finding]
) -> list[Finding]:
    """Return a finding for each limit of the day.

    What is left is told where nothing is to be said against the log.
    """
    limits, findings = configuration.limits, []
    if len(of_log) > 1 or of_log[0].level == "error":
        # To look into a log of an older version would bring it to the newest.
        return [Finding(AREA, "ok", Standing("day", *limit).name) for limit in limits.day.limits()]
    try:
        standings = await standings_today(settings, configuration)
    except StoreError as error:
        return [Finding(AREA, "error", error.message, error.hint)]
    for standing in standings:
        if standing.left > 0:
            findings.append(Finding(AREA, "ok", standing.text))
        else:
            remedy = f"raise limits.day.{standing.unit}, or wait for the next day (UTC)"
            findings.append(Finding(AREA, "warning", standing.text, remedy))
    return findings
