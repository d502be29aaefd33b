"""`shell` over real processes, with and without a sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import tracemalloc
from pathlib import Path

import jsonschema
import pytest
from file_tools import ShutBarrier
from shells import NONE, becomes, running, sh, working_sandbox

from hyperguild.adapters.tools.sandbox import Bounds, NoSandbox, Sandbox
from hyperguild.adapters.tools.shell import HISTORY_MAX, CommandRun, ShellLimits, ShellTool
from hyperguild.domain.tools import ToolError
from hyperguild.ports import ToolContext

SPEC_CHARS_MAX = 700

Some = Sandbox | NoSandbox


@pytest.fixture(params=["alone", "sandboxed"])
def sandbox(request: pytest.FixtureRequest) -> Some:
    return NONE if request.param == "alone" else working_sandbox()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = (tmp_path / "work").resolve()
    folder.mkdir()
    return folder


@pytest.fixture
def shell(sandbox: Some, work: Path) -> ShellTool:
    return ShellTool(Bounds(work), sandbox, os.environ)


def test_c1_how_shell_is_offered(shell: ShellTool) -> None:
    spec = shell.spec
    assert (spec.name, spec.effect, spec.category) == ("shell", "exec", "exec")
    jsonschema.Draft202012Validator.check_schema(spec.parameters)
    assert len(json.dumps([spec.name, spec.description, spec.parameters])) <= SPEC_CHARS_MAX


def test_c1_the_offer_says_what_the_sandbox_withholds(work: Path, tmp_path: Path) -> None:
    sandbox = Sandbox("/usr/bin/bwrap", ())

    def offer(bounds: Bounds) -> str:
        return ShellTool(bounds, sandbox, {}).spec.description

    assert offer(Bounds(work)).endswith(
        "Only the work directory, /tmp (emptied after each call) can be written. No network."
    )
    more = offer(Bounds(work, allowed=(tmp_path,), scratch=tmp_path, network=True))
    assert more.endswith(f"Only the work directory, {tmp_path.resolve()}, /tmp can be written.")
    assert "written" not in ShellTool(Bounds(work), NONE, {}).spec.description


async def test_c1_it_runs_in_the_work_directory_and_tells_exit_code_and_output(
    shell: ShellTool, work: Path
) -> None:
    result = await sh(shell, "pwd; echo one; echo two >&2; echo three; touch made")
    assert result == f"exit code 0\n{work}\none\ntwo\nthree"
    assert (work / "made").exists()
    assert await sh(shell, "true") == "exit code 0, no output"


async def test_c1_a_failing_command_is_a_result_with_its_exit_code(shell: ShellTool) -> None:
    assert await sh(shell, "echo red; exit 3") == "exit code 3\nred"
    assert (await sh(shell, "no-such-program")).startswith("exit code 127\n")
    assert await sh(shell, "kill -9 $$") == "exit code 137, no output"


async def test_c1_models_write_bash(shell: ShellTool) -> None:
    command = 'set -o pipefail; x=(a b); [[ ${x[1]} == b ]] && echo {1..3} && false | cat <(echo "$x")'
    assert await sh(shell, command) == "exit code 1\n1 2 3\na"


async def test_c1_without_bash_there_is_sh(work: Path, tmp_path: Path) -> None:
    shell = ShellTool(Bounds(work), NONE, {"PATH": str(tmp_path)})
    assert "with sh in" in shell.spec.description
    assert await sh(shell, "echo hi") == "exit code 0\nhi"


async def test_c1_each_call_is_a_new_shell(shell: ShellTool, work: Path) -> None:
    (work / "sub").mkdir()
    await sh(shell, "cd sub; export SEEN=1; alias ll=ls; set -e")
    assert await sh(shell, "pwd; echo ${SEEN:-unset}; false; true") == f"exit code 0\n{work}\nunset"


async def test_c1_a_command_that_reads_finds_nothing_to_read(shell: ShellTool) -> None:
    result = await sh(shell, "cat; read answer; echo $?; stat -L -c %F /proc/self/fd/0; tty")
    assert result == "exit code 1\n1\ncharacter special file\nnot a tty"


async def test_c1_the_environment_is_a_list_without_secrets(sandbox: Some, work: Path) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/home/me",
        "LANG": "C.UTF-8",
        "LC_TIME": "C",
        "CARGO_HOME": "/usr/local/cargo",
        "TERM": "xterm-256color",
        "ANTHROPIC_API_KEY": "sk-made-up",
        "GITHUB_TOKEN": "ghp-made-up",
        "SSH_AUTH_SOCK": "/run/agent",
        "XDG_RUNTIME_DIR": "/run/user/0",
        "BASH_ENV": "/evil",
        "BASH_FUNC_ls%%": "() { echo evil; }",
        "PYTHONSTARTUP": "/evil",
    }
    result = await sh(ShellTool(Bounds(work), sandbox, env), "env; ls -d .")
    seen = dict(line.split("=", 1) for line in result.split("\n")[1:-1])
    assert seen.keys() <= {
        *("PATH", "HOME", "LANG", "LC_TIME", "CARGO_HOME", "TERM"),
        *("PWD", "SHLVL", "OLDPWD", "_", "TMPDIR", "XDG_CACHE_HOME"),
    }
    assert (seen["HOME"], seen["LC_TIME"], seen["CARGO_HOME"]) == ("/home/me", "C", "/usr/local/cargo")
    assert seen["TERM"] == "dumb"
    assert "evil" not in result


async def test_c1_proxies_are_told_where_there_is_a_network_but_no_passwords(work: Path) -> None:
    env = {**os.environ, "HTTPS_PROXY": "http://proxy:3128", "http_proxy": "http://me:secret@proxy:3128"}
    result = await sh(ShellTool(Bounds(work), NONE, env), "echo $HTTPS_PROXY$http_proxy")
    assert result == "exit code 0\nhttp://proxy:3128"


async def test_c1_without_a_network_no_proxy_is_told(work: Path) -> None:
    env = {**os.environ, "HTTPS_PROXY": "http://proxy:3128"}
    closed = ShellTool(Bounds(work), working_sandbox(), env)
    opened = ShellTool(Bounds(work, network=True), working_sandbox(), env)
    assert await sh(closed, "echo $HTTPS_PROXY") == "exit code 0, no output"
    assert await sh(opened, "echo $HTTPS_PROXY") == "exit code 0\nhttp://proxy:3128"


async def test_c5_when_time_is_up_the_group_is_killed_and_the_output_kept(shell: ShellTool) -> None:
    with pytest.raises(ToolError) as caught:
        await sh(shell, "echo begun; (sleep 611.5 & sleep 611.5); echo never", timeout_s=0.5)
    assert str(caught.value) == "the command was stopped after 0.5 s; its output until then:\nbegun"
    assert await becomes(0, "611.5")
    with pytest.raises(ToolError, match=r"^the command was stopped after 0.1 s and had printed nothing$"):
        await sh(shell, "sleep 600", timeout_s=0.1)
    assert [run.exit_code for run in shell.history] == [None, None]


@pytest.mark.parametrize("asked_s", [30, 10**400, float("inf"), float("nan")])
async def test_c5_no_command_gets_more_time_than_the_tool_has(work: Path, asked_s: float) -> None:
    shell = ShellTool(Bounds(work), NONE, os.environ, ShellLimits(timeout_s=0.2))
    with pytest.raises(ToolError, match=r"stopped after 0\.2 s"):
        await sh(shell, "sleep 600", timeout_s=asked_s)


async def test_c5_a_command_that_ignores_signals_is_killed(shell: ShellTool) -> None:
    with pytest.raises(ToolError, match="stopped after"):
        await sh(shell, "trap '' TERM INT HUP; sleep 612.5; sleep 612.5", timeout_s=0.3)
    assert await becomes(0, "612.5")


async def test_c5_cancelling_kills_the_group_and_is_remembered(shell: ShellTool) -> None:
    task = asyncio.create_task(sh(shell, "sleep 613.5 & sleep 613.5; echo never > late"))
    assert await becomes(2, "613.5")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await becomes(0, "613.5")
    assert shell.history == (CommandRun("sleep 613.5 & sleep 613.5; echo never > late", None),)


async def test_c1_background_processes_neither_hold_the_call_nor_outlive_it(shell: ShellTool) -> None:
    assert await sh(shell, "sleep 614.5 & (sleep 614.5 >/dev/null 2>&1 &) ; echo done") == "exit code 0\ndone"
    assert await becomes(0, "614.5")


async def test_c1_a_hundred_megabytes_stay_bounded(work: Path) -> None:
    limit = 200_000
    shell = ShellTool(Bounds(work), NONE, os.environ, ShellLimits(output_bytes=limit))
    tracemalloc.start()
    try:
        result = await sh(shell, "echo first; yes ääää | head -c 99999999; echo last")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * limit
    assert len(result.encode()) <= limit + 100
    assert result.startswith("exit code 0\nfirst\nääää\n")
    assert result.endswith("\nlast")
    assert "\n[99,800,010 bytes left out]\n" in result
    assert "\ufffd" not in result


async def test_c5_a_flood_without_end_is_stopped(shell: ShellTool) -> None:
    with pytest.raises(ToolError) as caught:
        await sh(shell, "yes", timeout_s=0.5)
    assert "bytes left out]" in str(caught.value)
    assert len(str(caught.value)) < 1_100_000


@pytest.mark.parametrize("limit", [100, 102, 104, 106])
async def test_c1_a_cut_goes_through_no_character(work: Path, limit: int) -> None:
    shell = ShellTool(Bounds(work), NONE, os.environ, ShellLimits(output_bytes=limit))
    result = await sh(shell, "printf '€%.0s' {1..500}")
    head, note, tail = result.split("\n")[1:]
    assert head + tail == "€" * len(head + tail)
    assert limit - 8 <= len((head + tail).encode()) <= limit
    assert note == f"[{1_500 - 2 * (limit // 2):,} bytes left out]"


async def test_c6_binary_output_becomes_text(shell: ShellTool) -> None:
    result = await sh(shell, "head -c 300000 /dev/urandom; echo; echo end")
    assert result.encode().decode() == result
    assert all(char.isprintable() or char in "\n\t\u2029\u2028" or ord(char) > 127 for char in result)
    assert result.endswith("end")
    assert await sh(shell, r"printf 'a\377b\0c\r\nd'") == "exit code 0\na\ufffdbc\nd"
    assert await sh(shell, r"printf '\033[31mred\033[0m\007\033]0;title\007'") == "exit code 0\nred"


async def test_i1_nothing_starts_before_the_barrier_has_been_passed(shell: ShellTool, work: Path) -> None:
    barrier = ShutBarrier()
    context = ToolContext(barrier=barrier, offer=lambda _text: None)
    task = asyncio.create_task(shell.run({"command": "touch made"}, context))
    await barrier.reached.wait()
    assert running("touch made") == []
    assert shell.history == ()
    assert not (work / "made").exists()
    barrier.opened.set()
    await task
    assert (work / "made").exists()


async def test_c5_cancelled_at_the_barrier_nothing_was_run(shell: ShellTool, work: Path) -> None:
    barrier = ShutBarrier()
    task = asyncio.create_task(shell.run({"command": "touch made"}, ToolContext(barrier, lambda _text: None)))
    await barrier.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert shell.history == ()
    assert not (work / "made").exists()


@pytest.mark.parametrize("command", ["echo \0", "echo \ud800", "x" * 3_000_000])
async def test_c5_a_command_that_cannot_be_started_is_an_error(shell: ShellTool, command: str) -> None:
    with pytest.raises(ToolError, match=r"^the command cannot be started: "):
        await sh(shell, command)
    assert shell.history == ()


async def test_c5_a_work_directory_that_is_gone_is_an_error(shell: ShellTool, work: Path) -> None:
    await asyncio.to_thread(work.rmdir)
    with pytest.raises(ToolError, match="cannot be started: No such file"):
        await sh(shell, "true")


async def test_c1_refused_where_paths_are_allowed_and_there_is_no_sandbox(work: Path, tmp_path: Path) -> None:
    shell = ShellTool(Bounds(work, allowed=(tmp_path / "more",)), NONE, os.environ)
    with pytest.raises(ToolError, match=r"--allow-path.*bubblewrap is not installed.*apt-get install"):
        await sh(shell, "touch made")
    assert not (work / "made").exists()
    assert shell.history == ()


async def test_c1_the_history_is_bounded(work: Path) -> None:
    shell = ShellTool(Bounds(work), NONE, os.environ)
    await sh(shell, "exit 2")
    await sh(shell, ": " + "x" * 10_000)
    assert shell.history[0] == CommandRun("exit 2", 2)
    assert len(shell.history[1].command) == 500
    for number in range(HISTORY_MAX):
        await sh(shell, f": {number}")
    assert len(shell.history) == HISTORY_MAX
    assert shell.history[0].command == ": 0"
