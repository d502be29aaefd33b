"""Looks at everything that `hyperguild doctor` reports on. No model is called or loaded by it."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import sqlite3
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
from hyperguild.cli.diagnosis import (
    Finding,
    Use,
    eviction_findings,
    hosted_id,
    model_findings,
    price_finding,
    unknown_skills,
    unused_endpoint,
    uses_of,
)
from hyperguild.cli.options import Settings
from hyperguild.config.configuration import Configuration
from hyperguild.config.locate import FoundConfig
from hyperguild.config.trust import TrustStore, require_trust
from hyperguild.domain.chain import CommandCheck, Endpoint, VerifierSpec
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


async def examine(settings: Settings, found: FoundConfig, configuration: Configuration) -> list[Finding]:
    """Return every finding, section by section. Endpoints are asked at once, each for some 20 s at most.

    Where the file is not trusted, no endpoint is asked: that could run programs, or send keys.
    """
    file_findings, trusted = _of_file(settings, found, configuration)
    findings = [*file_findings, *_of_skills(settings, configuration), *_of_log(settings)]
    for verifier in configuration.verifiers.values():
        findings += _of_checks(verifier, settings)
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
    """Examines endpoints, all of them at once if asked to; keys are read once each."""

    def __init__(self, settings: Settings, configuration: Configuration) -> None:
        self._settings = settings
        self._configuration = configuration
        self._keys = KeyRing(settings.env)
        self._uses = uses_of(configuration)
        self._clock = SystemClock()

    async def aclose(self) -> None:
        await self._keys.aclose()

    async def examine(self, endpoint: Endpoint) -> list[Finding]:
        uses = self._uses.get(endpoint.name, [])
        findings = [finding async for finding in self._findings(endpoint, uses)]
        return findings if uses else [unused_endpoint(finding) for finding in findings]

    async def _findings(self, endpoint: Endpoint, uses: list[Use]):  # type: ignore[no-untyped-def]
        raise NotImplementedError
