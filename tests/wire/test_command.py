"""Programs as models: real ones, started and ended for real."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from wire_support import ask, error_of, model_on, parts_of

from hyperguild.adapters.models import command as command_module
from hyperguild.adapters.models import open_client
from hyperguild.adapters.models.command import program_environment, prompt_text
from hyperguild.adapters.wire import program as program_module
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.program import only_zombies
from hyperguild.adapters.wire.transport import plain_transport
from hyperguild.domain.chain import Endpoint, KeySource
from hyperguild.domain.messages import (
    Finish,
    Image,
    Message,
    ModelRequest,
    Sent,
    StreamPart,
    TextDelta,
    UsageReport,
)
from hyperguild.domain.usage import Usage
from hyperguild.errors import AuthError, BadRequestError, CommandError

Script = Callable[..., Endpoint]

RING = KeyRing(
    {"PATH": os.environ["PATH"], "HOME": "/home/me", "LC_ALL": "C.UTF-8", "OPENAI_API_KEY": "sk-other-one"}
)


@pytest.fixture
def program(tmp_path: Path) -> Script:
    """Make an endpoint that runs a Python script."""

    def make(text: str, *arguments: str, **fields: Any) -> Endpoint:
        path = tmp_path / "program.py"
        path.write_text("import json, os, signal, subprocess, sys, time\n" + text)
        return Endpoint("claude", "command", argv=(sys.executable, str(path), *arguments), **fields)

    return make


async def answer(request: ModelRequest) -> list[StreamPart]:
    return await parts_of(request, plain_transport, RING)


def text_of(parts: list[StreamPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextDelta))


async def first_text(parts: AsyncGenerator[StreamPart, None]) -> str:
    assert await anext(parts) == Sent()
    first = await anext(parts)
    assert isinstance(first, TextDelta)
    return first.text


async def first_numbers(parts: AsyncGenerator[StreamPart, None]) -> list[int]:
    return [int(word) for word in (await first_text(parts)).split()]


async def test_text_is_the_answer(program: Script) -> None:
    endpoint = program("print(sys.argv[1:], sys.stdin.read())", "--model", "{model}", "{model}-x; $HOME")
    request = ask(
        model_on(endpoint, "sonnet"), messages=(Message("system", "Be brief."), Message("user", "Hé"))
    )

    parts = await answer(request)

    assert text_of(parts) == "['--model', 'sonnet', 'sonnet-x; $HOME'] Be brief.\n\nHé\n"
    assert parts[-1] == Finish("stop")


async def test_text_comes_as_it_is_printed(program: Script, tmp_path: Path) -> None:
    go = tmp_path / "go"
    endpoint = program(
        "print('first', flush=True)\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "print('second', flush=True)\n"
    )
    client = open_client(endpoint, keys=RING)

    async with aclosing(client.stream(ask(model_on(endpoint)))) as parts, asyncio.timeout(30):
        assert await anext(parts) == Sent()
        assert await anext(parts) == TextDelta("first\n")
        go.touch()
        assert [part async for part in parts] == [TextDelta("second\n"), Finish("stop")]


async def test_json_with_a_result(program: Script) -> None:
    report = {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": "The answer",
        "stop_reason": "max_tokens",
        "total_cost_usd": 0.1,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 10,
            "cache_read_input_tokens": 20,
            "output_tokens": 5,
        },
    }

    assert await answer(ask(model_on(program(f"print(json.dumps({report!r}, indent=1))")))) == [
        Sent(),
        TextDelta("The answer"),
        UsageReport(Usage(input_tokens=33, output_tokens=5, cached_input_tokens=20, cache_write_tokens=10)),
        Finish("length"),
    ]


LOG = [
    {"type": "system", "subtype": "init", "session_id": "x"},
    {"type": "assistant", "message": {"role": "assistant", "content": [{"type": "text", "text": "Hm"}]}},
    {"type": "result", "subtype": "success", "is_error": False, "result": "An early one"},
    {"type": "result", "subtype": "success", "is_error": False, "result": "The answer"},
    {"type": "system", "subtype": "status"},
]


@pytest.mark.parametrize(
    "written", ["json.dumps(log)", "json.dumps(log, indent=1)", "'[', json.dumps(log)[1:]"]
)
async def test_a_json_list_of_messages_ends_in_a_result(program: Script, written: str) -> None:
    endpoint = program(f"log = {LOG!r}\nprint({written}, sep='\\n')")

    assert await answer(ask(model_on(endpoint))) == [Sent(), TextDelta("The answer"), Finish("stop")]


@pytest.mark.parametrize(
    "printed",
    [
        '{"accept": true, "score": 1}',
        "{not json",
        "  \n",
        "",
        '{"result": 3}',
        "[",
        "[]",
        "[1, 2]",
        "[note] see [{",
        '[{"result": "x"}]',
        '[{"name": "parse", "result": "pass"}, {"name": "write", "result": "fail"}]',
        '[{"type": "unit", "result": "pass"}, {"result": "fail"}]',
        json.dumps(LOG[:2]),
        json.dumps(LOG)[:-1],
    ],
)
async def test_any_other_text_is_the_answer_as_it_stands(program: Script, printed: str) -> None:
    parts = await answer(ask(model_on(program(f"sys.stdout.write({printed!r})"))))

    assert text_of(parts) == printed
    assert parts[-1] == Finish("stop")


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"is_error": True, "result": "Invalid API key"}, "the program reports an error: Invalid API key"),
        ({"type": "result", "subtype": "error_max_turns"}, "the program reports an error: error_max_turns"),
        (
            [*LOG[:2], {"type": "result", "subtype": "error_max_turns", "is_error": True}],
            "the program reports an error: error_max_turns",
        ),
    ],
)
async def test_a_reported_error(program: Script, report: object, message: str) -> None:
    error = await error_of(ask(model_on(program(f"print(json.dumps({report!r}))"))), plain_transport, RING)

    assert type(error) is CommandError
    assert error.message == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sys.exit('first line\\n\\x1b[31mlast line')", "exit code 1: first line last line"),
        ("print('said on stdout'); sys.exit(3)", "exit code 3: said on stdout"),
        ("print(json.dumps({'is_error': True, 'result': 'log in'})); sys.exit(1)", "exit code 1: log in"),
        ("sys.exit(7)", "exit code 7: it said nothing"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "exit code -9"),
        ("sys.stderr.write('x' * 100000 + 'the end'); sys.exit(1)", "xthe end"),
    ],
)
async def test_a_failed_program(program: Script, text: str, message: str) -> None:
    error = await error_of(ask(model_on(program(text))), plain_transport, RING)

    assert type(error) is CommandError
    assert not error.retryable
    assert error.status is None
    assert message in error.message


async def test_a_program_that_is_not_there() -> None:
    endpoint = Endpoint("claude", "command", argv=("no-such-program-here", "-p"))

    error = await error_of(ask(model_on(endpoint)), plain_transport, RING)

    assert error.message == "the program 'no-such-program-here' is not there"
    assert error.hint == "install it, or correct argv of endpoint 'claude'"


async def test_a_program_that_may_not_be_run(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    endpoint = Endpoint("claude", "command", argv=(str(tmp_path / "data"),))

    assert "may not be run" in (await error_of(ask(model_on(endpoint)), plain_transport, RING)).message


async def test_an_argument_that_no_program_can_get(program: Script) -> None:
    error = await error_of(ask(model_on(program("", "{model}"), "a\0b")), plain_transport, RING)

    assert "cannot be started" in error.message


async def test_what_is_not_utf8_is_replaced(program: Script) -> None:
    parts = await answer(ask(model_on(program(r"sys.stdout.buffer.write(b'a\xffb\xe4\xb8')"))))

    assert text_of(parts) == "a\ufffdb\ufffd"


async def test_characters_cut_between_two_writes_stay_whole(program: Script) -> None:
    endpoint = program(
        "for byte in '世界'.encode():\n"
        "    sys.stdout.buffer.write(bytes([byte])); sys.stdout.flush(); time.sleep(0.01)"
    )

    assert text_of(await answer(ask(model_on(endpoint)))) == "世界"


async def test_a_program_that_does_not_read_its_input(program: Script) -> None:
    parts = await answer(ask(model_on(program("os.close(0); print('ok')")), "x" * 1_000_000))

    assert text_of(parts) == "ok\n"


async def test_output_without_end_is_cut_off(program: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_module, "OUTPUT_MAX_BYTES", 100_000)
    endpoint = program("while True: sys.stdout.write('x' * 10000)")

    error = await error_of(ask(model_on(endpoint)), plain_transport, RING)

    assert type(error) is CommandError
    assert "printed more than 100000 bytes" in error.message


def alive(pid: int) -> bool:
    """Return whether a process runs; one that is dead and not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until_dead(pid: int) -> None:
    async with asyncio.timeout(30):
        while alive(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
WITH_CHILD = (
    "child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
    "print(child.pid, os.getpid(), flush=True)\n"
    "{then}"
)


@pytest.mark.parametrize(
    ("child", "then"),
    [
        pytest.param("import time; time.sleep(600)", "time.sleep(600)", id="waits"),
        pytest.param(
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
            "time.sleep(600)",
            id="stubborn-grandchild",
        ),
        pytest.param("import time; time.sleep(600)", STUBBORN + "time.sleep(600)", id="stubborn"),
        pytest.param("import time; time.sleep(600)", "", id="leader-gone-pipe-held-by-grandchild"),
    ],
)
@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_the_whole_process_group_ends(
    program: Script, monkeypatch: pytest.MonkeyPatch, child: str, then: str, way: str
) -> None:
    monkeypatch.setattr(program_module, "KILL_GRACE_S", 0.3)
    endpoint = program(WITH_CHILD.format(child=child, then=then))
    client = open_client(endpoint, keys=RING)
    told: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()

    async def read() -> None:
        async with aclosing(client.stream(ask(model_on(endpoint)))) as parts:
            told.set_result(await first_numbers(parts))
            if way == "close":
                await asyncio.sleep(0.3)
                return
            async for _ in parts:
                pass

    reading = asyncio.create_task(read())
    async with asyncio.timeout(30):
        pids = await told
        assert alive(pids[0])
        if way == "cancel":
            await asyncio.sleep(0.3)
            reading.cancel()
        await asyncio.wait([reading])
    assert reading.cancelled() is (way == "cancel")
    for pid in pids:
        await until_dead(pid)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Make this process the heir of orphans, as a PID 1 that never collects them is."""
    if sys.platform != "linux":
        pytest.skip("only Linux lets a process inherit orphans")
    prctl, set_child_subreaper = ctypes.CDLL(None).prctl, 36
    assert prctl(set_child_subreaper, 1, 0, 0, 0) == 0
    yield
    assert prctl(set_child_subreaper, 0, 0, 0, 0) == 0


@pytest.mark.usefixtures("uncollected")
async def test_orphans_that_nobody_collects_do_not_hold_the_end_up(
    program: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_module, "KILL_GRACE_S", 600)
    endpoint = program(WITH_CHILD.format(child="import time; time.sleep(600)", then="time.sleep(600)"))

    async with asyncio.timeout(60):
        async with aclosing(open_client(endpoint, keys=RING).stream(ask(model_on(endpoint)))) as parts:
            grandchild, leader = await first_numbers(parts)

    assert not only_zombies(os.getpgid(0))
    assert os.getpgid(grandchild) == leader, "it was collected: the test shows nothing"
    assert os.waitpid(grandchild, os.WNOHANG) == (grandchild, signal.SIGTERM)  # noqa: ASYNC222 - it is dead


async def test_a_program_may_tidy_up(program: Script, tmp_path: Path) -> None:
    tidied = tmp_path / "tidied"
    endpoint = program(
        f"def tidy(*_):\n    open({str(tidied)!r}, 'w').close(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, tidy)\nprint('ready', flush=True)\ntime.sleep(600)\n"
    )

    async with aclosing(open_client(endpoint, keys=RING).stream(ask(model_on(endpoint)))) as parts:
        await first_text(parts)

    assert tidied.exists()


async def test_the_environment_is_reduced(program: Script) -> None:
    endpoint = program("print(json.dumps([dict(os.environ)]))")

    [seen] = json.loads(text_of(await answer(ask(model_on(endpoint)))))

    assert seen["HOME"] == "/home/me"
    assert seen["LC_ALL"] == "C.UTF-8"
    assert "OPENAI_API_KEY" not in seen


def test_only_the_endpoints_own_key_is_passed_on() -> None:
    env = {
        "PATH": "/bin",
        "XDG_RUNTIME_DIR": "/run",
        "OPENAI_API_KEY": "a",
        "ANTHROPIC_API_KEY": "b",
        "EDITOR": "vi",
    }
    base = {"PATH": "/bin", "XDG_RUNTIME_DIR": "/run"}

    def passed(source: KeySource | None, key: str | None) -> dict[str, str]:
        return program_environment(env, Endpoint("x", "command", argv=("x",), key=source), key)

    assert passed(None, None) == base
    assert passed(KeySource(env="ANTHROPIC_API_KEY"), "b") == {**base, "ANTHROPIC_API_KEY": "b"}
    assert passed(KeySource(file=Path("key")), "c") == {**base, "HYPERGUILD_API_KEY": "c"}


async def test_an_unset_key_starts_nothing(program: Script, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    endpoint = program(f"open({str(ran)!r}, 'w')", key=KeySource(env="MISSING"))

    error = await error_of(ask(model_on(endpoint)), plain_transport, RING)

    assert type(error) is AuthError
    assert not ran.exists()


async def test_a_program_gets_the_key_that_a_command_prints(program: Script) -> None:
    key = KeySource(command=(sys.executable, "-c", "print('sk-of-the-command')"))
    endpoint = program("print(os.environ['HYPERGUILD_API_KEY'])", key=key)

    assert text_of(await answer(ask(model_on(endpoint)))) == "sk-of-the-command\n"


async def test_a_key_command_that_fails_starts_nothing(program: Script, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    key = KeySource(command=(sys.executable, "-c", "import sys; sys.exit('locked')"))
    endpoint = program(f"open({str(ran)!r}, 'w')", key=key)

    error = await error_of(ask(model_on(endpoint)), plain_transport, RING)

    assert type(error) is AuthError
    assert error.message.endswith("failed with exit code 1: locked")
    assert not ran.exists()


async def test_pictures_are_refused(program: Script) -> None:
    request = ask(model_on(program("")), messages=(Message("user", "x", (Image("image/png", "QUJD"),)),))

    assert type(await error_of(request, plain_transport, RING)) is BadRequestError


async def test_no_more_programs_at_once_than_max_concurrency(program: Script, tmp_path: Path) -> None:
    endpoint = program(
        f"lock = {str(tmp_path / 'lock')!r}\n"
        "os.close(os.open(lock, os.O_CREAT | os.O_EXCL))\ntime.sleep(0.05)\nos.unlink(lock)\n"
        "print('alone')\n",
        max_concurrency=1,
    )
    client = open_client(endpoint, keys=RING)

    async def one() -> str:
        return text_of([part async for part in client.stream(ask(model_on(endpoint)))])

    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(one()) for _ in range(3)]

    assert [task.result() for task in answers] == ["alone\n"] * 3


def test_the_layout_of_a_conversation() -> None:
    system = (Message("system", "Be brief."), Message("system", "Be kind."))

    assert prompt_text((*system, Message("user", "Hi"))) == "Be brief.\n\nBe kind.\n\nHi"
    assert (
        prompt_text((*system, Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Go")))
        == "Be brief.\n\nBe kind.\n\nUser:\nHi\n\nAssistant:\nYes?\n\nUser:\nGo"
    )


async def test_a_stray_that_left_the_group_does_not_hold_the_stream(
    program: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_module, "KILL_GRACE_S", 0.3)
    stray = "import time; print('up', flush=True); time.sleep(600)"
    endpoint = program(
        f"child = subprocess.Popen([sys.executable, '-c', {stray!r}], start_new_session=True,"
        " stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\ntime.sleep(600)"
    )

    async with asyncio.timeout(30):
        async with aclosing(open_client(endpoint, keys=RING).stream(ask(model_on(endpoint)))) as parts:
            [stray_pid] = await first_numbers(parts)
        os.kill(stray_pid, signal.SIGKILL)
        await until_dead(stray_pid)
