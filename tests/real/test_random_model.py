"""A real llama.cpp server and a model of random weights: what does not depend on sense."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from real.fleet import Seen, busy_slots, open_bench, serving
from real.make_gguf import CONTEXT, make_gguf

from hyperguild.adapters.embedded.host import Served
from hyperguild.domain.records import ChainExhaustedError
from hyperguild.verification.subject import Subject
from hyperguild.verification.verifier import Verifier
from hyperguild.verification.watch import VerifierWatch

IDLE_WITHIN_S = 2.0


NARROW_TOKENS = 512


def chains_over(gguf: Path, *, noise: Served | None = None, narrow: Served | None = None) -> str:
    """Return a chains.yaml over the random model: embedded, or over HTTP where there are servers of it."""
    noise_url, narrow_url = (
        f"{served.url}/v1" if served else "http://127.0.0.1:9" for served in (noise, narrow)
    )
    return f"""\
version: 1
endpoints:
  here:   {{kind: embedded}}
  noise:  {{kind: openai, base_url: "{noise_url}", api_key_env: NOISE_KEY}}
  narrow: {{kind: openai, base_url: "{narrow_url}", api_key_env: NARROW_KEY}}
models:
  brief:   {{endpoint: here, gguf: "{gguf}", context_window: {CONTEXT}, max_output_tokens: 64}}
  endless: {{endpoint: here, gguf: "{gguf}", context_window: {CONTEXT}}}
  served:  {{endpoint: noise, upstream: random}}
  cramped: {{endpoint: narrow, upstream: random, max_output_tokens: 16}}
verifiers:
  default: {{judge: endless}}
chains:
  stream: [brief]
  long: [served]
  overflow: [cramped, {{model: brief, verify: false}}]
  locked: [cramped]
"""


def test_the_model_is_the_same_each_time(random_gguf: Path, tmp_path: Path) -> None:
    again = make_gguf(tmp_path / "again.gguf").read_bytes()
    assert again == random_gguf.read_bytes()
    assert len(again) < 500_000
    assert make_gguf(tmp_path / "other.gguf", seed=1).read_bytes() != again


async def test_streams_text_usage_and_the_reason_of_its_end(random_gguf: Path, tmp_path: Path) -> None:
    sink = Seen()
    async with open_bench(tmp_path, chains_over(random_gguf)) as bench:
        with pytest.raises(ChainExhaustedError) as refused:
            await bench.run("say something", chain="stream", sink=sink)
        stored = await bench.last()
    (attempt,) = refused.value.result.attempts
    assert len(sink.texts()) > 8
    assert attempt.answer == "".join(sink.texts())
    assert attempt.finish_reason == "length"
    assert attempt.cause == "truncated"
    # It is cut off at its limit, continued twice, and cut off again.
    assert [step.usage.output_tokens for step in stored.steps] == [64, 64, 64]
    assert attempt.usage.output_tokens == 3 * 64
    # A byte is a token: the prompt is the template's two lines, "assistant: " and the token of the beginning.
    sent = stored.steps[0].messages[:2]
    lines = "".join(f"{message['role']}: {message['content']}\n" for message in sent)
    assert stored.steps[0].usage.input_tokens == len(lines.encode()) + len("assistant: ") + 1
    assert attempt.first_token_ms is not None
    assert 0 <= attempt.first_token_ms < attempt.duration_ms
    assert stored.result.attempts[0].answer == attempt.answer
    assert sum(step.usage.input_tokens for step in stored.steps) == attempt.usage.input_tokens


async def test_a_grammar_makes_even_noise_a_verdict(random_gguf: Path, tmp_path: Path) -> None:
    warnings: list[str] = []
    watch = VerifierWatch(
        on_check=lambda _result: None,
        on_judge_loading=lambda _model, _loading: None,
        on_judge_use=lambda _use: None,
        on_warning=warnings.append,
    )
    async with open_bench(tmp_path, chains_over(random_gguf)) as bench:
        verifier = Verifier(bench.guild.caller, bench.guild.ids)
        spec = bench.configuration.verifiers["default"]
        verdicts = [
            await verifier.verify(spec, Subject("Be kind.", f"task {n}", f"answer {n * n}", "stop"), watch)
            for n in range(10)
        ]
    assert warnings == []
    for verdict in verdicts:
        assert verdict.cause in {None, "rejected"}  # and never `verifier_error`
        assert verdict.warning is None
        assert verdict.score is not None
        assert 0 <= verdict.score <= 1
        assert verdict.judge.model == "endless"
        assert verdict.judge.usage.output_tokens > 0


async def test_a_real_overflow_goes_to_the_next_tier(random_gguf: Path, tmp_path: Path) -> None:
    task = "a long story " * 60
    async with (
        serving(random_gguf, context_tokens=NARROW_TOKENS) as narrow,
        open_bench(tmp_path, chains_over(random_gguf, narrow=narrow), NARROW_KEY=narrow.key) as bench,
    ):
        with pytest.raises(ChainExhaustedError) as refused:
            await bench.run(task, chain="overflow")
        stored = await bench.last()
    first, second = refused.value.result.attempts
    assert first.error is not None
    assert (first.verdict, first.cause) == ("error", "context_overflow")
    assert (first.error.kind, first.error.status, first.error.retryable) == ("context_overflow", 400, False)
    assert first.retries == 0
    # The window, and the prompt that did not fit: the second tier counted the same one.
    assert str(NARROW_TOKENS) in first.error.message
    counted = next(step.usage for step in stored.steps if step.attempt_id == second.attempt_id)
    assert str(counted.input_tokens) in first.error.message
    assert second.usage.input_tokens > NARROW_TOKENS
    assert second.model == "brief"
    assert second.answer
    assert [attempt.cause for attempt in stored.result.attempts] == ["context_overflow", "truncated"]


async def test_a_client_that_leaves_frees_its_slot(random_gguf: Path, tmp_path: Path) -> None:
    sink = Seen()
    async with (
        asyncio.timeout(30),
        serving(random_gguf, context_tokens=CONTEXT) as noise,
        open_bench(tmp_path, chains_over(random_gguf, noise=noise), NOISE_KEY=noise.key) as bench,
    ):
        run = asyncio.create_task(bench.run("never stop", chain="long", sink=sink))
        await sink.speaking.wait()
        # It speaks before it has finished; left alone, it would go on for half a minute.
        assert await asyncio.to_thread(busy_slots, noise) == 1
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await assert_idle(noise)
        stored = await bench.last()
    assert stored.result.status == "cancelled"
    (attempt,) = stored.result.attempts
    assert (attempt.verdict, attempt.cause) == ("error", "cancelled")
    assert attempt.error is not None
    assert attempt.error.kind == "cancelled"
    assert attempt.answer == "".join(sink.texts())
    assert attempt.answer


@pytest.mark.parametrize(("key", "status"), [("a-wrong-key-0001", 401), (None, None)])
async def test_a_wrong_key_and_a_missing_one(
    random_gguf: Path, tmp_path: Path, key: str | None, status: int | None
) -> None:
    env = {} if key is None else {"NARROW_KEY": key}
    async with (
        serving(random_gguf, context_tokens=NARROW_TOKENS) as narrow,
        open_bench(tmp_path, chains_over(random_gguf, narrow=narrow), **env) as bench,
    ):
        with pytest.raises(ChainExhaustedError) as refused:
            await bench.run("let me in", chain="locked")
    (attempt,) = refused.value.result.attempts
    assert attempt.error is not None
    assert (attempt.error.kind, attempt.error.status, attempt.retries) == ("auth", status, 0)
    assert "NARROW_KEY" in attempt.error.message
    assert key is None or key not in attempt.error.message


async def assert_idle(served: Served) -> None:
    async with asyncio.timeout(IDLE_WITHIN_S):
        # Asking is all there is: the server tells nobody when a slot becomes free.
        while await asyncio.to_thread(busy_slots, served):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
