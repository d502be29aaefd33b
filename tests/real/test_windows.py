"""G1 over real llama.cpp servers: what they say of their window is what the step is recorded with."""

from __future__ import annotations

from pathlib import Path

import pytest
from real.fleet import MODELS, open_bench, serving

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.probes.windows import ServerWindows, local_server
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.domain.chain import Endpoint, Model

TRAINED_WITH = 512
"""Tokens: the package's models know no more, whatever a server is told."""


@pytest.mark.parametrize(("told", "slots", "window"), [(256, 2, 256), (2048, 1, TRAINED_WITH)])
async def test_g1_a_real_server_tells_the_window_of_a_slot(told: int, slots: int, window: int) -> None:
    async with serving(MODELS / "apprentice.gguf", context_tokens=told, slots=slots) as served:
        endpoint = Endpoint(
            "here",
            "openai",
            f"{served.url}/v1",
            headers={"Authorization": f"Bearer {served.key}"},
            probe_timeout_ms=20_000,
        )
        windows = ServerWindows(KeyRing({}), SystemClock(), {"openai": local_server})
        assert await windows.window(Model("m", endpoint, "m", "local", context_window=9999)) == window


CUT_OFF = f"""\
version: 1
endpoints: {{here: {{kind: embedded, threads: 1, probe_timeout_ms: 20000}}}}
models:
  apprentice: {{endpoint: here, gguf: "{MODELS}/apprentice.gguf", context_window: 2048, max_output_tokens: 2}}
chains: {{default: {{tiers: [{{model: apprentice, verify: false}}], on_exhausted: best}}}}
"""


async def test_g1_a_step_is_recorded_with_the_embedded_models_own_window(tmp_path: Path) -> None:
    async with open_bench(tmp_path, CUT_OFF) as bench:
        result = await bench.result("3 March 2021")
        first, *later = (await bench.stored(result)).steps
    assert first.context_limit == 2048  # nobody had answered yet
    assert later  # an answer of two tokens is cut off, and continued
    assert {step.context_limit for step in later} == {TRAINED_WITH}
