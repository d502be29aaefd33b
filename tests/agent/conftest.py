"""The fleet of these tests: one process for the session, scripted anew by every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hyperguild.simulation.process import FleetProcess


@pytest.fixture(scope="session")
def fleet() -> Iterator[FleetProcess]:
    with FleetProcess({}) as running:
        yield running
