"""Looks at everything that `hyperguild doctor` reports on. No model is called or loaded by it."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from hyperguild import __version__
from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.probes import EndpointInventory, LlamaSwapProbe, take_inventory
from hyperguild.adapters.store.connection import open_for_reading, translated
from hyperguild.adapters.store.migrations import MIGRATIONS
from hyperguild.adapters.wire.http_errors import key_origin
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.cli.breakers import breaker_findings, open_breakers
from hyperguild.cli.diagnosis import (
    Finding,
    Use,
    can_do_without,
    eviction_findings,
    hosted_id,
    model_findings,
    never_warm,
    price_finding,
    unknown_skills,
    unused_endpoint,
    uses_of,
    without_secrets,
)
from hyperguild.cli.examine_embedded import embedded_findings, keeper_finding, size_in_words
from hyperguild.cli.examine_hooks import hook_findings
from hyperguild.cli.examine_library import library_findings
from hyperguild.cli.examine_mcp import server_findings
from hyperguild.cli.examine_private import private_findings
from hyperguild.cli.examine_program import program_finding
from hyperguild.cli.examine_sandbox import sandbox_finding
from hyperguild.cli.limits_left import limit_findings
from hyperguild.cli.options import Settings
from hyperguild.config.configuration import Configuration
from hyperguild.config.locate import FoundConfig
from hyperguild.config.trust import TrustStore, require_trust
from hyperguild.domain.chain import CommandCheck, Endpoint, VerifierSpec
from hyperguild.domain.text import one_line
from hyperguild.errors import (
    AuthError,
    ModelError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    SkillError,
    StoreError,
    TrustError,
)
from hyperguild.skills import check_catalog

PROBES = 3
"""A probe is slow when the fastest of so many is: one may meet a busy moment, or pay for the connection."""

PROBE_LIMIT_MS = 2000
"""A probe that takes longer is not waited for; how slow it is does not matter then."""

REPAIR = "`hyperguild sessions repair` saves what can be read"

LOOKED_THROUGH_BYTES = 100_000_000
"""Of a session log: SQLite looks one of this size through in well under a second; larger ones are not."""

LITTLE_ROOM_BYTES = 10_000_000
"""On the disk of the session log: some hundred runs, or a single one with large files."""


async def examine(settings: Settings, found: FoundConfig, configuration: Configuration) -> list[Finding]:
    """Return every finding, section by section. Endpoints are asked at once, each for some 20 s at most.

    Where the file is not trusted, no endpoint is asked: that could run programs, or send keys.
    """
    file_findings, trusted = _of_file(settings, found, configuration)
    of_log = _of_log(settings)
    findings = [*file_findings, *_of_skills(settings, configuration), *of_log]
    findings += private_findings(settings)
    findings += await limit_findings(settings, configuration, of_log)
    for verifier in configuration.verifiers.values():
        findings += _of_checks(verifier, settings)
    findings += hook_findings(configuration, settings.env)
    findings += server_findings(configuration, settings.env)
    findings.append(await sandbox_finding(settings.env))
    if not trusted:
        remedy = f"trust {configuration.path.name} first: its keys and programs are not touched before"
        return [*findings, Finding("endpoints", "note", "not asked", remedy)]
    doctor = _EndpointDoctor(settings, configuration)
    try:
        async with asyncio.TaskGroup() as group:
            reports = [
                group.create_task(doctor.examine(endpoint)) for endpoint in configuration.endpoints.values()
            ]
    finally:
        await doctor.aclose()
    return [*findings, *(finding for report in reports for finding in report.result())]


class _EndpointDoctor:
    """Examines endpoints, at once if asked to; each key is read once. Close it with `aclose`."""

    def __init__(self, settings: Settings, configuration: Configuration) -> None:
        self._env = settings.env
        self._path = settings.env.get("PATH", os.defpath)
        self._configuration = configuration
        self._keys = KeyRing(settings.env)
        self._uses = uses_of(configuration)
        self._clock = SystemClock()
        self._breakers = open_breakers(settings)

    async def aclose(self) -> None:
        """End key commands under way."""
        await self._keys.aclose()

    async def examine(self, endpoint: Endpoint) -> list[Finding]:
        """Return what there is to say of the endpoint and of the models that are used there."""
        area = f"endpoint {endpoint.name}"
        uses = self._uses.get(endpoint.name, [])
        findings = await self._of_key(area, endpoint)
        if endpoint.kind == "command":
            findings.append(program_finding(area, endpoint.argv[0], self._path))
        elif endpoint.kind == "embedded":
            findings += await library_findings(area, self._env)
            findings += embedded_findings(self._configuration, endpoint, uses)
            findings += never_warm(self._configuration, endpoint)
            if endpoint.engine.keep:
                findings.append(await keeper_finding(endpoint, self._env))
        elif all(finding.level == "ok" for finding in findings):
            findings += await self._of_server(area, endpoint, uses)
        models = [use.model for use in uses]
        findings += breaker_findings(endpoint, models, self._breakers, self._clock.now())
        findings += [finding for use in uses for finding in [price_finding(area, use)] if finding is not None]
        findings = findings if uses else [unused_endpoint(finding) for finding in findings]
        return [without_secrets(finding, endpoint.base_url or "", self._env) for finding in findings]

    async def _of_key(self, area: str, endpoint: Endpoint) -> list[Finding]:
        if endpoint.key is None:
            return []
        try:
            await self._keys.key(endpoint)
        except AuthError as error:
            if can_do_without(self._configuration, endpoint, self._env):
                message = f"{error.message}; its tiers are passed over"
                return [Finding(area, "warning", message, error.hint)]
            return [Finding(area, "error", error.message, error.hint)]
        return [Finding(area, "ok", f"has a key, from {key_origin(endpoint)}")]

    async def _of_server(self, area: str, endpoint: Endpoint, uses: list[Use]) -> list[Finding]:
        try:
            inventory = await take_inventory(endpoint, self._keys)
        except ModelError as error:
            return [_failure(area, endpoint, error)]
        version = f" {inventory.version}" if inventory.version else ""
        count = f"{len(inventory.models)} model{'' if len(inventory.models) == 1 else 's'}"
        findings = [Finding(area, "ok", f"{endpoint.kind}{version} at {endpoint.base_url} answers: {count}")]
        findings += [finding for use in uses for finding in model_findings(area, use, inventory)]
        if endpoint.kind == "llama-swap":
            findings += await self._of_probe(area, endpoint, uses, inventory)
            findings += eviction_findings(self._configuration, endpoint, inventory)
        return findings

    async def _of_probe(
        self, area: str, endpoint: Endpoint, uses: list[Use], inventory: EndpointInventory
    ) -> list[Finding]:
        """Return a warning if the server cannot say within the limit what is loaded."""
        model = next((use.model for use in uses if hosted_id(inventory, use.model.upstream)), None)
        if model is None:
            return []
        limit_ms = endpoint.probe_timeout_ms
        patient = dataclasses.replace(endpoint, probe_timeout_ms=max(limit_ms, PROBE_LIMIT_MS))
        probe = LlamaSwapProbe(self._keys, self._clock)
        fastest_ms = patient.probe_timeout_ms
        try:
            for _ in range(PROBES):
                began = self._clock.monotonic()
                await probe.state(dataclasses.replace(model, endpoint=patient))
                fastest_ms = min(fastest_ms, round((self._clock.monotonic() - began) * 1000))
                if fastest_ms < limit_ms:
                    return []
        finally:
            await probe.aclose()
        return [
            Finding(
                area,
                "warning",
                f"takes {fastest_ms} ms or more to say what is loaded, and probe_timeout_ms is {limit_ms}: "
                "its models count as unknown, and are tried whether loaded or not",
                f"raise probe_timeout_ms of endpoint '{endpoint.name}', or see what slows the server down",
            )
        ]


def _failure(area: str, endpoint: Endpoint, error: ModelError) -> Finding:
    if isinstance(error, NotFoundError) and endpoint.kind != "llama-swap":
        message = f"{error.message}: it does not list its models, so that their names cannot be checked"
        return Finding(area, "warning", message, error.hint)
    if isinstance(error, RateLimitError | OverloadedError):
        return Finding(area, "warning", error.message, error.hint or "ask again later")
    return Finding(area, "error", error.message, error.hint or "see what its own log says")


def _of_checks(verifier: VerifierSpec, settings: Settings) -> Iterator[Finding]:
    path = settings.env.get("PATH", os.defpath)
    for check in verifier.checks:
        if isinstance(check, CommandCheck):
            yield program_finding(f"verifier {verifier.name}", check.argv[0], path, check.folder)


def _of_file(
    settings: Settings, found: FoundConfig, configuration: Configuration
) -> tuple[list[Finding], bool]:
    """Return what there is to say of chains.yaml itself, and whether it may be used."""
    area = "chains.yaml"
    chains = ", ".join(configuration.chains)
    endpoints, models = len(configuration.endpoints), len(configuration.models)
    counts = f"{_count(endpoints, 'endpoint')}, {_count(models, 'model')}"
    findings = [
        Finding(area, "ok", f"found at {found.path}"),
        Finding(area, "ok", f"valid: {counts}, {_count(len(configuration.chains), 'chain')} ({chains})"),
    ]
    try:
        require_trust(found, configuration, TrustStore.of_user(settings.env))
    except TrustError as error:
        return [*findings, Finding(area, "error", error.message, error.hint)], False
    if not configuration.powers:
        how = "needs no trust: it runs no programs, and sends no key to a host that is not its provider's"
    elif not found.discovered:
        how = "needs no trust: it was named, not come upon"
    else:
        how = f"trusted: it {'; '.join(power.what for power in configuration.powers)}"
    return [*findings, Finding(area, "ok", how)], True


def _of_skills(settings: Settings, configuration: Configuration) -> list[Finding]:
    catalog = settings.catalog(configuration.path)
    try:
        names = catalog.names()
        remarks = check_catalog(catalog)
    except SkillError as error:
        return [Finding("skills", "error", error.message, error.hint)]
    searched = ", ".join(str(folder) for folder in catalog.search_path)
    if not names:
        remedy = "`hyperguild init` makes some, --skills names a folder"
        return [Finding("skills", "error", f"no skills in {searched}", remedy)]
    findings = [Finding("skills", "ok", f"{', '.join(names)}, in {searched}")]
    for remark in remarks:
        remedy = "mend the file, then `hyperguild skills check`"
        message = f"{remark.path}:{remark.line}: {remark.message}"
        findings.append(Finding("skills", remark.severity, message, remedy))
    return [*findings, *unknown_skills(configuration, names)]


def _of_log(settings: Settings) -> list[Finding]:
    area, path = "session log", settings.db_file()
    try:
        with translated(path):
            if path.is_dir():
                remedy = "name a file with --db or $HYPERGUILD_DB"
                return [Finding(area, "error", f"{path} is a folder", remedy)]
            if not path.exists() or path.stat().st_size == 0:
                return [_not_yet(area, path)]
            size = path.stat().st_size
            version = _user_version(path)
        if version >= len(MIGRATIONS):
            with translated(path), closing(open_for_reading(path, program_version=__version__)) as log:
                fault = _fault(log) if size <= LOOKED_THROUGH_BYTES else None
            if fault is not None:
                return [Finding(area, "error", f"{path} is damaged: {one_line(fault, 200)}", REPAIR)]
    except StoreError as error:
        return [Finding(area, "error", error.message, error.hint)]
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        remedy = "make the file and its folder writable, or name another file with --db or $HYPERGUILD_DB"
        return [Finding(area, "error", f"{path} cannot be written", remedy)]
    findings = [Finding(area, "ok", f"{path}, version {version}, {size_in_words(size)}, can be written")]
    room = shutil.disk_usage(path.parent).free
    if room < LITTLE_ROOM_BYTES:
        message = f"{path.parent} has room for {size_in_words(room)} more"
        findings.append(Finding(area, "warning", message, "free disk space, or use --db"))
    if version < len(MIGRATIONS):
        message = f"of an older version; the next run brings it to version {len(MIGRATIONS)}, with a backup"
        findings.append(Finding(area, "note", message))
    return findings


def _fault(log: sqlite3.Connection) -> str | None:
    """Return the first thing that SQLite finds wrong with the file; None where it is whole."""
    found = str(log.execute("PRAGMA quick_check(1)").fetchone()[0])
    return None if found == "ok" else found


def _not_yet(area: str, path: Path) -> Finding:
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        # Permissions do not tell everything: nobody can write in /proc, or on a full or read-only disk.
        tempfile.TemporaryDirectory(prefix=".hyperguild-", dir=folder).cleanup()
    except OSError as exc:
        remedy = f"make {folder} writable, or name another file with --db or $HYPERGUILD_DB"
        message = f"{path} cannot be made: {folder} cannot be written in: {exc.strerror}"
        return Finding(area, "error", message, remedy)
    return Finding(area, "ok", f"none yet; the first run makes {path}")


def _user_version(path: Path) -> int:
    """Return the version without writing to the file: opening it as the store does may migrate it."""
    with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
