"""Every way in which a server fails gives the right kind, a message to act on, and the next tier's answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from walking import walked

from hyperguild.domain.records import Attempt
from hyperguild.simulation.process import FleetProcess

ANSWER = "a long enough answer for a stream of several pieces"
CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 2000}}
  claude: {{kind: anthropic, base_url: "{url}/anthropic"}}
  gpt: {{kind: openai, base_url: "{url}/openai/v1"}}
models:
  first: {{endpoint: {endpoint}, upstream: {upstream}}}
  cloudy: {{endpoint: swap}}
  last: {{endpoint: claude}}
chains:
  default:
    tiers:
      - {{model: first, tier: managed, retries: 0, {tier}}}
      - last
"""
RETRIED = {"retries": 1, "retry_wait_max_s": 1}


async def failed_first(
    fleet: FleetProcess, folder: Path, script: dict[str, Any], *, endpoint: str = "swap", **options: Any
) -> Attempt:
    """Script the fleet, walk, and return the first attempt; the last tier must have answered."""
    script.setdefault("anthropic", {"models": {}})["models"]["last"] = {"answers": [{"text": "saved"}]}
    fleet.script(script)
    fleet.reset()
    config = CHAINS.format(
        url=fleet.url,
        endpoint=endpoint,
        upstream=options.get("upstream", "m"),
        tier=options.get("tier", "timeout_s: 20"),
    )
    result = await walked(config, folder)
    assert (result.status, result.output, result.model) == ("accepted", "saved", "last")
    first = result.attempts[0]
    assert first.verdict == "error"
    assert first.error is not None
    assert first.cause == first.error.kind
    assert len(first.error.message) > 15
    assert "\n" not in first.error.message
    return first


def model(**fields: Any) -> dict[str, Any]:
    return {"models": {"m": {"answers": [{"text": ANSWER}], **fields}}}


def rule(**fields: Any) -> dict[str, Any]:
    return model(answers=[fields])


LLAMA_SWAP_ROWS: list[Any] = [
    pytest.param({}, "not_found", 404, "m", id="unknown model"),
    pytest.param(model(start="fail"), "server", 500, "exited", id="start fails"),
    pytest.param(
        model(start="never", health_check_timeout_s=0.3), "server", 500, "health", id="never healthy"
    ),
    pytest.param(rule(fault="crash_before"), "server", 502, "crash", id="crash during the request"),
    pytest.param(rule(text=ANSWER, fault="crash_during"), "protocol", None, "end", id="crash in mid-stream"),
    pytest.param(
        model(start="fail", send_loading_state=True), "server", None, "exited", id="failed start, chatty"
    ),
    pytest.param(rule(error={"status": 500, "message": "upstream boom"}), "server", 500, "boom", id="500"),
    pytest.param(rule(error={"status": 503, "message": "no room"}), "overloaded", 503, "", id="503"),
    pytest.param(rule(error={"status": 400, "message": "bad"}), "bad_request", 400, "bad", id="400"),
    pytest.param(model(context=4), "context_overflow", 400, "4", id="context overflow"),
    pytest.param({**model(), "api_keys": {"llama_swap": ["k"]}}, "auth", 401, "key", id="401"),
    pytest.param(rule(text=ANSWER, fault="no_finish"), "protocol", None, "finish", id="no finish reason"),
    pytest.param(rule(text=ANSWER, fault="no_done"), "protocol", None, "", id="no [DONE]"),
    pytest.param(rule(text=ANSWER, fault="truncated_json"), "protocol", None, "", id="truncated JSON"),
    pytest.param(rule(text=ANSWER, fault="invalid_utf8"), "protocol", None, "", id="invalid UTF-8"),
    pytest.param(rule(fault="html"), "protocol", None, "html", id="an HTML page"),
    pytest.param(rule(fault="wrong_content_type"), "protocol", None, "", id="wrong content type"),
    pytest.param(rule(fault="empty_200"), "protocol", None, "", id="empty 200"),
    pytest.param(rule(text=ANSWER, fault="reset"), "connect", None, "", id="reset"),
    pytest.param(rule(text=""), "protocol", None, "empty", id="empty answer"),
    pytest.param(
        rule(text="", reasoning="hm", finish_reason="length"),
        "protocol",
        None,
        "reasoning",
        id="only thoughts",
    ),
]


@pytest.mark.parametrize(("script", "kind", "status", "words"), LLAMA_SWAP_ROWS)
async def test_llama_swap_row(
    fleet: FleetProcess, tmp_path: Path, script: dict[str, Any], kind: str, status: int | None, words: str
) -> None:
    first = await failed_first(fleet, tmp_path, dict(script))
    assert first.error is not None
    assert (first.error.kind, first.error.status) == (kind, status), first.error.message
    assert words.lower() in first.error.message.lower()


async def test_a_dead_peer(fleet: FleetProcess, tmp_path: Path) -> None:
    first = await failed_first(
        fleet, tmp_path, {"peers": {"deadpeer": {"models": ["cloudy"]}}}, upstream="cloudy"
    )
    assert first.error is not None
    assert (first.error.kind, first.error.status) == ("server", 502)
    assert "peer" in first.error.message


async def test_unloaded_while_loading(fleet: FleetProcess, tmp_path: Path, until: Any) -> None:
    walking = asyncio.create_task(failed_first(fleet, tmp_path, model(load_s=30)))
    await asyncio.to_thread(until, lambda: fleet.state()["models"].get("m", {}).get("state") == "starting")
    await asyncio.to_thread(fleet.reset)
    first = await walking
    assert first.error is not None
    assert first.error.kind in {"server", "connect", "protocol"}, first.error
    assert first.error.retryable


async def test_a5_the_concurrency_limit_is_waited_for(fleet: FleetProcess, tmp_path: Path) -> None:
    limited = {"status": 429, "code": "concurrency_limit", "message": "Too many requests"}
    script = model(answers=[{"error": limited, "times": 1}, {"text": "patience"}])
    fleet.script(script)
    config = CHAINS.format(url=fleet.url, endpoint="swap", upstream="m", tier="timeout_s: 20")
    result = await walked(config.replace("retries: 0", "retries: 1"), tmp_path)
    assert result.output == "patience"
    assert result.attempts[0].retries == 1
    impatient = "timeout_s: 20, first_token_timeout_s: 1.5"
    again = await failed_first(fleet, tmp_path, rule(error=limited), tier=impatient)
    assert again.error is not None
    assert again.retries >= 1, "that is no retry, of which this tier has none"
    assert (again.error.kind, again.error.status) == ("rate_limit", 429)


ANTHROPIC_ROWS = [
    (401, "authentication_error", "auth"),
    (400, "invalid_request_error", "bad_request"),
    (413, "request_too_large", "context_overflow"),
    (429, "rate_limit_error", "rate_limit"),
    (500, "api_error", "server"),
    (529, "overloaded_error", "overloaded"),
]


@pytest.mark.parametrize(("status", "type_", "kind"), ANTHROPIC_ROWS)
async def test_anthropic_row(fleet: FleetProcess, tmp_path: Path, status: int, type_: str, kind: str) -> None:
    error = {"status": status, "type": type_, "message": "said by the provider"}
    script = {"anthropic": {"models": {"m": {"answers": [{"error": error}]}}}}
    first = await failed_first(fleet, tmp_path, script, endpoint="claude")
    assert first.error is not None
    assert (first.error.kind, first.error.status) == (kind, status)
    assert "said by the provider" in first.error.message


async def test_anthropic_overflow_is_told_from_other_bad_requests(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    script: dict[str, Any] = {"anthropic": {"models": {"m": {"context": 4, "answers": [{"text": "x"}]}}}}
    first = await failed_first(fleet, tmp_path, script, endpoint="claude")
    assert first.error is not None
    assert (first.error.kind, first.error.status) == ("context_overflow", 400)


async def test_an_error_in_an_anthropic_stream(fleet: FleetProcess, tmp_path: Path) -> None:
    error = {"status": 529, "type": "overloaded_error", "message": "busy", "in_stream": True}
    script = {"anthropic": {"models": {"m": {"answers": [{"error": error}]}}}}
    first = await failed_first(fleet, tmp_path, script, endpoint="claude")
    assert first.error is not None
    assert first.error.kind == "overloaded"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"status": 401, "code": "invalid_api_key"}, "auth"),
        ({"status": 404, "code": "model_not_found"}, "not_found"),
        ({"status": 429, "code": "rate_limit_exceeded"}, "rate_limit"),
        ({"status": 400, "code": "context_length_exceeded"}, "context_overflow"),
    ],
)
async def test_openai_row(fleet: FleetProcess, tmp_path: Path, error: dict[str, Any], kind: str) -> None:
    script = {"openai": {"models": {"m": {"answers": [{"error": {"message": "said", **error}}]}}}}
    first = await failed_first(fleet, tmp_path, script, endpoint="gpt")
    assert first.error is not None
    assert first.error.kind == kind


async def test_a_server_that_is_down(fleet: FleetProcess, tmp_path: Path) -> None:
    config = CHAINS.format(url=fleet.url, endpoint="swap", upstream="m", tier="timeout_s: 20").replace(
        f'swap: {{kind: llama-swap, base_url: "{fleet.url}"',
        'swap: {kind: llama-swap, base_url: "http://127.0.0.1:9"',
    )
    fleet.script({"anthropic": {"models": {"last": {"answers": [{"text": "saved"}]}}}})
    result = await walked(config, tmp_path)
    first = result.attempts[0]
    assert result.output == "saved"
    assert first.warm_state == "unknown"
    assert first.error is not None
    assert first.error.kind == "connect"
    assert first.error.retryable


async def test_b1_a_load_that_takes_too_long(fleet: FleetProcess, tmp_path: Path) -> None:
    first = await failed_first(fleet, tmp_path, model(load_s=30), tier="load_timeout_s: 0.3")
    assert first.error is not None
    assert first.error.kind == "timeout"
    assert "not loaded" in first.error.message
    assert first.warm_state == "cold"


@pytest.mark.parametrize(
    ("fault", "tier", "words"),
    [
        ("hang", "first_token_timeout_s: 0.3, load_timeout_s: 0.3", "first token"),
        ("slow_headers", "first_token_timeout_s: 0.3, load_timeout_s: 0.3", "first token"),
        ("stall_after_first", "silence_timeout_s: 0.3", "silent"),
    ],
)
async def test_b1_b2_a_server_that_stalls(
    fleet: FleetProcess, tmp_path: Path, fault: str, tier: str, words: str
) -> None:
    first = await failed_first(fleet, tmp_path, rule(text=ANSWER, fault=fault), tier=tier)
    assert first.error is not None
    assert first.error.kind == "timeout"
    assert words in first.error.message


async def test_what_is_cut_off_escalates_and_is_never_accepted(fleet: FleetProcess, tmp_path: Path) -> None:
    script = rule(text="half an ans", finish_reason="length")
    script["anthropic"] = {"models": {"last": {"answers": [{"text": "saved"}]}}}
    fleet.script(script)
    config = CHAINS.format(url=fleet.url, endpoint="swap", upstream="m", tier="timeout_s: 20")
    result = await walked(config, tmp_path)
    first = result.attempts[0]
    assert (first.verdict, first.cause, first.finish_reason) == ("escalate", "truncated", "length")
    assert result.output == "saved"


async def test_cold_tiers_are_skipped_where_asked_but_never_the_last(
    fleet: FleetProcess, tmp_path: Path
) -> None:
    first = "{{model: first, when_cold: skip}}"
    config = (
        CHAINS[: CHAINS.index("chains:")]
        + f"chains:\n  default: {{{{verifier: v, tiers: [{first}, last]}}}}\n"
    )
    config += "verifiers:\n  v: {{checks: [{{kind: not_empty}}]}}\n"
    script = model(load_s=0.1)
    script["anthropic"] = {"models": {"last": {"answers": [{"text": "saved"}]}}}
    fleet.script(script)
    filled = config.format(url=fleet.url, endpoint="swap", upstream="m")
    result = await walked(filled, tmp_path)
    assert (result.attempts[0].verdict, result.attempts[0].cause) == ("skip", "cold")
    assert "cold" in result.attempts[0].feedback
    alone = await walked(filled.replace(", last]", "]"), tmp_path)
    assert (alone.status, alone.attempts[0].warm_state) == ("accepted", "cold")
    warm = await walked(filled, tmp_path)
    assert (warm.model, warm.attempts[0].warm_state, warm.attempts[0].warm_start) == ("first", "ready", True)
