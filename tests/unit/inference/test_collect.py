"""Time limits and assembly of one call, over streams that take virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import looptime
import pytest
from builders import SWAP, cloud_model, local_model

from hyperguild.adapters.clock import SystemClock
from hyperguild.domain.chain import Endpoint, Model, RetryPolicy, TimeLimits
from hyperguild.domain.messages import (
    Asked,
    Completion,
    Finish,
    KeepAlive,
    Message,
    ModelRequest,
    ReasoningDelta,
    Sent,
    StreamPart,
    TextDelta,
    UsageReport,
)
from hyperguild.domain.records import WarmState
from hyperguild.domain.usage import Usage
from hyperguild.errors import (
    ConnectError,
    ModelError,
    ModelTimeoutError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from hyperguild.inference.call import ModelCaller
from hyperguild.inference.events import CallEvent, Loading, Reset, Spoke

Script = list[StreamPart | float | ModelError]


class ScriptedClient:
    """A model client whose streams are scripted: parts to yield, seconds to wait, errors to raise."""

    def __init__(self, *scripts: Script, announces: bool = True) -> None:
        self.scripts = list(scripts)
        self.announces = announces
        self.closed = 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        try:
            if self.announces:
                yield Sent()
            for item in self.scripts.pop(0):
                if isinstance(item, float):
                    await asyncio.sleep(item)
                elif isinstance(item, ModelError):
                    raise item
                else:
                    yield item
        finally:
            self.closed += 1

    async def aclose(self) -> None:
        """Nothing is open."""


class TimedProbe:
    """A model that becomes ready after a while."""

    def __init__(self, state: WarmState = "ready", ready_after_s: float = 0.0) -> None:
        self.now: WarmState = state
        self._ready_after_s = ready_after_s

    async def state(self, model: Model) -> WarmState:
        return self.now

    async def wait_ready(self, model: Model) -> None:
        await asyncio.sleep(self._ready_after_s)
        self.now = "ready"


class QuickClock(SystemClock):
    """Sleeps a hundredth of the time, so that backoffs and ticks take none."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


@pytest.fixture(autouse=True)
async def virtual_time() -> None:
    """Let waits take no time, and limits just as long as they say, however busy the machine is."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, asyncio.BaseEventLoop)
    looptime.patch_event_loop(loop)


DONE: Script = [TextDelta("yes"), UsageReport(Usage(input_tokens=3, output_tokens=1)), Finish("stop")]
Ask = Callable[..., Awaitable[Completion]]


class Bench:
    def __init__(self, *scripts: Script, probe: TimedProbe | None = None, model: Model | None = None) -> None:
        self.client = ScriptedClient(*scripts)
        self.probe = probe or TimedProbe()
        self.model = model or cloud_model()
        self.seen: list[CallEvent] = []
        name = self.model.endpoint.name
        self.caller = ModelCaller({name: self.client}, self.probe, QuickClock(), lambda: 1.0)

    @property
    def loads(self) -> list[Loading]:
        return [event for event in self.seen if isinstance(event, Loading)]

    @property
    def first_token_ms(self) -> int | None:
        return next((event.after_ms for event in self.seen if isinstance(event, Spoke)), None)

    @property
    def reasoning(self) -> str:
        return "".join(event.text for event in self.seen if isinstance(event, ReasoningDelta))

    async def ask(self, retries: int = 0, **limits: float) -> Completion:
        return await self.caller.complete(
            ModelRequest(self.model, (Message("user", "hi"),)),
            TimeLimits(**limits),
            retry=RetryPolicy(retries=retries),
            warm_state=await self.caller.warm_state(self.model),
            observe=self.seen.append,
        )


async def test_parts_become_a_completion() -> None:
    bench = Bench([KeepAlive(), ReasoningDelta("hm"), TextDelta("a"), TextDelta("b"), *DONE])
    completion = await bench.ask()
    assert (completion.text, bench.reasoning, completion.finish_reason) == ("abyes", "hm", "stop")
    assert completion.usage == Usage(input_tokens=3, output_tokens=1)
    assert not bench.loads
    assert bench.first_token_ms is not None
    assert bench.client.closed == 1


async def test_b4_think_blocks_are_reasoning_for_local_models_only() -> None:
    script: Script = [TextDelta("<think>hm</think>"), *DONE]
    local = Bench(script, model=local_model())
    assert ((await local.ask()).text, local.reasoning) == ("yes", "hm")
    cloud = await Bench(list(script)).ask()
    assert cloud.text == "<think>hm</think>yes"


async def test_b3_a_stream_without_a_finish_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="finish reason") as caught:
        await Bench([TextDelta("half")]).ask()
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("script", "limits", "message"),
    [
        ([5.0, *DONE], {"first_token_s": 0.05}, "no first token"),
        ([KeepAlive(), 0.04, KeepAlive(), 0.04, KeepAlive(), 5.0], {"first_token_s": 0.06}, "no first token"),
        ([TextDelta("a"), 5.0, *DONE], {"silence_s": 0.05}, "silent"),
        ([TextDelta("a"), 0.04] * 20 + DONE, {"total_s": 0.1, "silence_s": 0.08}, "not finished"),
    ],
)
async def test_b1_b2_each_limit_names_itself_and_closes_the_stream(
    script: Script, limits: Any, message: str
) -> None:
    bench = Bench(script)
    with pytest.raises(ModelTimeoutError, match=message):
        await bench.ask(**limits)
    assert bench.client.closed == 1


async def test_b2_pings_count_against_silence() -> None:
    script: Script = [TextDelta("a"), 0.06, KeepAlive(), 0.06, KeepAlive(), 0.06, *DONE]
    assert (await Bench(script).ask(silence_s=0.1)).text == "ayes"


async def test_b1_load_time_is_told_apart_and_has_its_own_limit() -> None:
    bench = Bench([0.15, *DONE], probe=TimedProbe("cold", 0.1), model=local_model())
    await bench.ask(first_token_s=0.12, load_s=5)
    assert bench.loads[-1].loaded
    assert not bench.loads[0].loaded
    assert bench.loads[-1].waited_ms >= 90
    assert bench.first_token_ms is not None
    assert bench.first_token_ms < bench.loads[-1].waited_ms


async def test_a_load_is_over_before_the_first_text_is_told_of() -> None:
    bench = Bench([0.02, *DONE], probe=TimedProbe("cold", 9), model=local_model())
    await bench.ask()
    kinds = [type(event).__name__ for event in bench.seen if not isinstance(event, UsageReport)]
    assert kinds[-3:] == ["Loading", "Spoke", "TextDelta"]
    assert [event.loaded for event in bench.loads].count(True) == 1


class Embedded(Bench):
    """A model of our own engine: it is loaded first, then it takes requests."""

    def __init__(self, *script: StreamPart | float | ModelError, probe: TimedProbe) -> None:
        here = Endpoint("here", "embedded")
        super().__init__(probe=probe, model=Model("tiny", here, upstream="tiny", label="local"))
        self.client.announces = False
        self.client.scripts = [list(script)]


async def test_a_model_that_loads_before_its_request_goes_out() -> None:
    bench = Embedded(Asked(), 0.15, Sent(), 0.02, *DONE, probe=TimedProbe("starting", 0.1))
    await bench.ask(first_token_s=0.1, load_s=5)
    assert [event.loaded for event in bench.loads].count(True) == 1
    assert bench.loads[-1].waited_ms >= 90
    assert bench.first_token_ms is not None
    assert bench.first_token_ms < 90  # from when the request went out


async def test_such_a_load_ends_at_the_latest_when_the_request_goes_out() -> None:
    bench = Embedded(Asked(), 0.05, Sent(), 0.1, *DONE, probe=TimedProbe("starting", 9))
    await bench.ask(load_s=5)
    assert bench.loads[-1].loaded
    assert 40 <= bench.loads[-1].waited_ms < 100


async def test_such_a_load_has_its_limit() -> None:
    bench = Embedded(Asked(), 5.0, Sent(), *DONE, probe=TimedProbe("starting", 9))
    with pytest.raises(ModelTimeoutError, match="not loaded"):
        await bench.ask(load_s=0.05, first_token_s=5)


async def test_the_turn_that_comes_after_a_load_is_not_the_models_silence() -> None:
    bench = Embedded(Asked(), 0.3, Sent(), *DONE, probe=TimedProbe("starting", 0.05))
    assert (await bench.ask(load_s=0.2, first_token_s=0.1)).text == "yes"
    assert bench.loads[-1].waited_ms < 200


async def test_a_place_that_is_lost_while_queueing_is_a_load() -> None:
    probe = TimedProbe("ready", 0.05)
    bench = Embedded(Asked(), 0.2, Sent(), *DONE, probe=probe)
    asking = asyncio.create_task(bench.ask(load_s=5))
    await asyncio.sleep(0.02)
    probe.now = "starting"
    await asking
    assert [event.loaded for event in bench.loads].count(True) == 1


async def test_waiting_for_a_place_is_no_load() -> None:
    probe = TimedProbe("cold", 0.05)
    bench = Embedded(Asked(), 0.15, Sent(), *DONE, probe=probe)
    assert (await bench.ask(load_s=0.05, first_token_s=0.1)).text == "yes"
    assert not bench.loads
    later = Embedded(Asked(), 0.2, Sent(), *DONE, probe=probe)
    asking = asyncio.create_task(later.ask(load_s=5))
    await asyncio.sleep(0.1)
    probe.now = "starting"
    await asking
    assert later.loads[-1].loaded
    assert later.loads[-1].waited_ms < 150  # from when it began, not from when it was asked for


async def test_lone_surrogates_are_replaced() -> None:
    completion = await Bench([TextDelta("a\ud800b é"), *DONE]).ask()
    assert completion.text == "a\ufffdb éyes"


async def test_b1_a_load_that_takes_too_long_is_a_timeout() -> None:
    bench = Bench([5.0, *DONE], probe=TimedProbe("cold", 9), model=local_model())
    with pytest.raises(ModelTimeoutError, match="not loaded"):
        await bench.ask(load_s=0.05)


async def test_b1_the_first_token_limit_begins_when_the_model_is_ready() -> None:
    bench = Bench([5.0, *DONE], probe=TimedProbe("starting", 0.05), model=local_model())
    with pytest.raises(ModelTimeoutError, match="no first token"):
        await bench.ask(load_s=5, first_token_s=0.05)


async def test_b1_a_ready_model_that_was_evicted_meanwhile_gets_the_time_to_load() -> None:
    probe = TimedProbe("ready", 0.1)
    bench = Bench([0.2, *DONE], probe=probe, model=local_model())
    asking = asyncio.create_task(bench.ask(first_token_s=0.15, load_s=5))
    await asyncio.sleep(0.005)
    probe.now = "cold"
    await asking
    assert bench.loads


async def test_b5_retryable_errors_are_retried_and_reset_what_was_streamed() -> None:
    half: Script = [TextDelta("ha"), UsageReport(Usage(output_tokens=2)), ServerError("boom")]
    bench = Bench(half, [ConnectError("refused")], DONE)
    completion = await bench.ask(retries=2)
    assert completion.text == "yes"
    assert [event.reason for event in bench.seen if isinstance(event, Reset)] == ["boom", "refused"]
    assert completion.usage == Usage(input_tokens=3, output_tokens=3), "failed tries are counted"


async def test_a5_retries_end() -> None:
    bench = Bench([ServerError("one")], [ServerError("two")], DONE)
    with pytest.raises(ServerError, match="two"):
        await bench.ask(retries=1)


async def test_a5_final_errors_are_not_retried() -> None:
    bench = Bench([ServerError("boom", retryable=False)], DONE)
    with pytest.raises(ServerError):
        await bench.ask(retries=2)
    assert len(bench.client.scripts) == 1


async def test_a_long_retry_after_is_not_waited_for() -> None:
    bench = Bench([RateLimitError("slow down", retry_after_s=60)], DONE)
    with pytest.raises(RateLimitError):
        await bench.ask(retries=2)
    bench = Bench([RateLimitError("slow down", retry_after_s=1)], DONE)
    assert (await bench.ask(retries=2)).text == "yes"


async def test_a5_the_total_bounds_all_tries_together() -> None:
    scripts: list[Script] = [[0.05, ServerError("boom")] for _ in range(5)]
    bench = Bench(*scripts, [5.0, *DONE])
    with pytest.raises(ServerError):
        await bench.ask(retries=9, total_s=0.12)
    assert len(bench.client.scripts) >= 3, "no try begins for which there is no time"


async def test_a4_cancelling_closes_the_stream_and_passes_through() -> None:
    bench = Bench([5.0, *DONE], probe=TimedProbe("cold", 9), model=local_model())
    asking = asyncio.create_task(bench.ask())
    await asyncio.sleep(0.02)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert bench.client.closed == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_warm_state_has_a_meaning_where_models_are_loaded_on_demand() -> None:
    assert await Bench(model=local_model()).caller.warm_state(local_model()) == "ready"
    embedded = Embedded(*DONE, probe=TimedProbe("starting"))
    assert await embedded.caller.warm_state(embedded.model) == "starting"
    assert await Bench().caller.warm_state(cloud_model()) is None
    assert SWAP.kind == "llama-swap"


async def test_waiting_for_our_own_turn_is_not_the_servers_silence() -> None:
    class Queue(ScriptedClient):
        async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
            await asyncio.sleep(0.15)
            async for part in super().stream(request):
                yield part

    bench = Bench()
    bench.client = Queue(DONE)
    bench.caller = ModelCaller({"cloud": bench.client}, bench.probe, QuickClock(), lambda: 1.0)
    assert (await bench.ask(first_token_s=0.05)).text == "yes"
    assert bench.first_token_ms is not None
    assert bench.first_token_ms < 100


async def test_b1_a_server_that_does_not_tell_is_given_the_time_to_load_and_no_load_is_claimed() -> None:
    bench = Bench([0.1, *DONE], probe=TimedProbe("unknown", 9), model=local_model())
    await bench.ask(first_token_s=0.05, load_s=5)
    assert not bench.loads
    assert bench.first_token_ms is not None
    assert bench.first_token_ms >= 90
    silent = Bench([5.0, *DONE], probe=TimedProbe("unknown", 9), model=local_model())
    with pytest.raises(ModelTimeoutError, match="no first token"):
        await silent.ask(load_s=0.05)


async def test_a_program_has_only_its_total_limit() -> None:
    program = Model("p", Endpoint("cloud", "command", argv=("x",)), upstream="p", label="subagent")
    bench = Bench([0.1, TextDelta("a"), 0.1, *DONE], model=program)
    assert (await bench.ask(first_token_s=0.02, silence_s=0.02)).text == "ayes"


async def test_no_retry_begins_that_the_time_does_not_allow() -> None:
    bench = Bench([RateLimitError("slow down", retry_after_s=3)], DONE)
    with pytest.raises(RateLimitError):
        await bench.ask(retries=2, total_s=2)
