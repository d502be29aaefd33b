"""A key in a task, over the simulated fleet: who is told what, and what is answered and stored."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from walking import Events

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.bootstrap import open_guild
from hyperguild.config.loader import load_config_text
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import RunResult
from hyperguild.domain.run import RunRequest
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.task import Task
from hyperguild.simulation.process import FleetProcess

KEY = "made-up-cloud-key-0123456789"
PASSWORD = "hunter2-made-up"
CONFIG = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 5000}}
  cloud: {{kind: anthropic, base_url: "{url}/anthropic", api_key_env: CLOUD_KEY}}
models: {{a: {{endpoint: swap}}, last: {{endpoint: cloud}}, judge: {{endpoint: cloud, upstream: last}}}}
verifiers:
  default: {{checks: [{{kind: regex, pattern: "^OK"}}], judge: judge}}
redaction: {{patterns: [{{name: ticket, regex: 'TKT-[0-9]+'}}]}}
chains: {{default: [a, last]}}
"""


def in_database(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("s.db*"))


def told(fleet: FleetProcess, model: str) -> list[str]:
    """Return what the model was asked, each request as JSON."""
    bodies: list[Any] = [one["body"] for one in fleet.requests() if one["model"] == model]
    return [json.dumps(body) for body in bodies if body]


async def test_a_key_stays_at_home_and_the_answer_has_it(fleet: FleetProcess, tmp_path: Path) -> None:
    configuration = load_config_text(CONFIG.format(url=fleet.url), tmp_path / "chains.yaml", {})
    scrubber, events = Scrubber(), Events()
    store = await SqliteSessionStore.open(
        tmp_path / "s.db", scrubber=scrubber, log=LogPolicy(), clock=SystemClock()
    )
    task = Task(f"Is {KEY} safe?\nDB_PASSWORD={PASSWORD}\nSee TKT-123.")

    def script(local: str, cloud: str) -> None:
        fleet.script(
            {
                "groups": {"all": {"swap": False, "members": ["a"]}},
                "models": {"a": {"answers": [{"text": local}]}},
                "anthropic": {"models": {"last": {"answers": [{"text": cloud}]}}},
            }
        )

    try:
        async with open_guild(configuration, {"CLOUD_KEY": KEY}, scrubber) as guild:

            async def run() -> RunResult:
                request = RunRequest("test", "Be brief.", task, configuration.chain_for("test"))
                return await guild.run(request, store, events)

            script(f"I saw {KEY}.", "nothing")
            await run()
            at_home, away = told(fleet, "a")[0], told(fleet, "last")[0]
            placeholders = list(dict.fromkeys(re.findall(r"REDACTED_[A-Z]+_[0-9a-f]{12}", away)))
            script(f"I saw {KEY}.", f"OK {' '.join(placeholders)}")
            result = await run()
            again = told(fleet, "last")[-1]
    finally:
        await store.aclose()
    assert KEY in at_home
    assert PASSWORD in at_home
    assert [name.rpartition("_")[0] for name in placeholders] == [
        "REDACTED_SECRET",
        "REDACTED_SECRET",
        "REDACTED_TICKET",
    ]
    for secret in (KEY, PASSWORD, "TKT-123"):
        assert secret not in away + again
    assert all(name in again for name in placeholders)  # the same in the next run
    assert f"I saw {placeholders[0]}." in again  # also in what the next tier is told of an earlier answer
    assert result.output == f"OK {KEY} {PASSWORD} TKT-123"
    stored = in_database(tmp_path)
    assert KEY.encode() not in stored
    assert b"[secret:CLOUD_KEY]" in stored
    seen = [event.model_dump_json() for event in events.seen if event.type not in SEEN_BY_CALLER]
    assert not any(KEY in event for event in seen)


ACCEPTS = {"accept": True, "score": 0.9, "feedback": "fine"}
SEEN_BY_CALLER = {"text.delta", "run.finished"}
"""What the caller is answered, which is theirs as it is."""


async def test_a_judge_that_is_not_local_is_told_no_secret(fleet: FleetProcess, tmp_path: Path) -> None:
    config = CONFIG.format(url=fleet.url).replace("default: [a, last]", "default: [a]")
    configuration = load_config_text(config, tmp_path / "chains.yaml", {})
    fleet.script(
        {
            "groups": {"all": {"swap": False, "members": ["a"]}},
            "models": {"a": {"answers": [{"text": f"OK {KEY}"}]}},
            "anthropic": {"models": {"last": {"answers": [{"judge": ACCEPTS}]}}},
        }
    )
    scrubber = Scrubber()
    store = await SqliteSessionStore.open(
        tmp_path / "s.db", scrubber=scrubber, log=LogPolicy(), clock=SystemClock()
    )
    try:
        async with open_guild(configuration, {"CLOUD_KEY": KEY}, scrubber) as guild:
            request = RunRequest("test", "Be brief.", Task(f"{KEY}?"), configuration.chain_for("test"))
            result = await guild.run(request, store, Events())
    finally:
        await store.aclose()
    assert result.output == f"OK {KEY}"
    (judged,) = told(fleet, "last")
    assert KEY not in judged
    assert "OK REDACTED_SECRET_" in judged
