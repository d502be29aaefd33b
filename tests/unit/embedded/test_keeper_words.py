"""How commands tell of the keeper."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hyperguild import __version__
from hyperguild.adapters.embedded.keeper_wire import HeldModel, KeeperStatus
from hyperguild.cli.kept_models import Kept, stop_in_words, stop_objects
from hyperguild.cli.page import Page
from hyperguild.domain.records import WarmState


def held(
    name: str = "a.gguf", state: WarmState = "ready", users: int = 0, idle_s: float = 12.4, ttl_s: float = 300
) -> HeldModel:
    return HeldModel("here", Path("/m") / name, 4096, 1, state, users, idle_s, ttl_s)


def status(*models: HeldModel, version: str = __version__) -> KeeperStatus:
    return KeeperStatus(4711, version, datetime(2024, 2, 29, tzinfo=UTC), models)


def line(kept: Kept) -> str:
    page = Page(width=200, wraps=False, styled=False)
    kept.add_to(page)
    return "\n".join(row.plain for row in page.lines)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (held(), "a.gguf (idle 12 s, leaves in 4 min 48 s)"),
        (held(idle_s=0.2, ttl_s=60), "a.gguf (idle 0 s, leaves in 60 s)"),
        (held(idle_s=61, ttl_s=60), "a.gguf (idle 61 s, leaves in 0 s)"),
        (held(users=1), "a.gguf (in use)"),
        (held(users=3), "a.gguf (in use by 3 requests)"),
        (held(state="starting"), "a.gguf (loading)"),
        (held(state="cold"), "a.gguf (leaving)"),
        (held("\x1b[31mred.gguf"), "red.gguf (idle 12 s, leaves in 4 min 48 s)"),
    ],
)
def test_the_line_of_a_keeper(model: HeldModel, told: str) -> None:
    assert line(Kept(status(model))) == f"keeper: process 4711, holds {told}"


def test_the_line_of_several_models_and_of_none() -> None:
    two = status(held(users=1), held("b.gguf", "starting"))
    assert line(Kept(two)) == "keeper: process 4711, holds a.gguf (in use), b.gguf (loading)"
    assert line(Kept(status())) == "keeper: process 4711, holds no model"


def test_another_version_is_named() -> None:
    assert line(Kept(status(version="0.0.9"))) == "keeper: process 4711 of hyperguild 0.0.9, holds no model"


def test_without_a_keeper_there_is_no_line() -> None:
    assert line(Kept()) == ""
    assert line(Kept(error="the keeper does not answer")) == "the keeper does not answer"


def test_what_stopping_came_to() -> None:
    assert stop_in_words(None) == "no keeper is running"
    assert stop_in_words(status()) == "stopped the keeper, process 4711; it held no model"
    busy = status(held(users=1), held("b.gguf"))
    assert (
        stop_in_words(busy)
        == "stopped the keeper, process 4711; unloaded a.gguf, b.gguf; 1 request broke off"
    )
    assert stop_objects(None) == stop_objects(status()) == []
    assert stop_objects(status(held())) == [
        {
            "endpoint": "here",
            "file": "/m/a.gguf",
            "context_tokens": 4096,
            "slots": 1,
            "state": "ready",
            "users": 0,
            "idle_s": 12.4,
            "ttl_s": 300,
        }
    ]
