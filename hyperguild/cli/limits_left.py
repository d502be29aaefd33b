"""What is left of the limits that runs share, for commands that only look."""

from __future__ import annotations

from hyperguild.cli.diagnosis import Finding
from hyperguild.cli.log_reading import open_log
from hyperguild.cli.options import Settings
from hyperguild.config.configuration import Configuration
from hyperguild.domain.limits import Standing
from hyperguild.errors import StoreError

AREA = "limits"


async def standings_now(
    settings: Settings, configuration: Configuration, session_ref: str | None = None
) -> tuple[Standing, ...]:
    """Return how the limits stand that a run would meet: of the day, and of that session or of a new one.

    Nothing is spent where there is no log yet. No log is opened where nothing has to be looked up. Raises
    `StoreError`, and `UsageError` for a session that the log does not have.
    """
    limits, path = configuration.limits, settings.db_file()
    unspent = tuple(Standing(*each) for each in limits.each())
    if session_ref is None and (not limits.day or not path.is_file() or path.stat().st_size == 0):
        return unspent
    async with open_log(settings) as store:
        session_id = None if session_ref is None else await store.resolve_session(session_ref)
        standings = await store.ledger.standings(session_id, limits)
    if session_id is not None:
        return standings
    return (*(one for one in unspent if one.scope == "session"), *standings)


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
        standings = [one for one in await standings_now(settings, configuration) if one.scope == "day"]
    except StoreError as error:
        return [Finding(AREA, "error", error.message, error.hint)]
    for standing in standings:
        if standing.left > 0:
            findings.append(Finding(AREA, "ok", standing.text))
        else:
            remedy = f"raise limits.day.{standing.unit}, or wait for the next day (UTC)"
            findings.append(Finding(AREA, "warning", standing.text, remedy))
    return findings
