"""Checks that run a program: real ones."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from hyperguild.domain.chain import CommandCheck
from hyperguild.domain.records import CheckResult
from hyperguild.errors import VerifierError
from hyperguild.verification.checks import run_check
from hyperguild.verification.subject import Subject


def program(folder: Path, body: str, name: str = "scripts/check") -> CommandCheck:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return CommandCheck(argv=(name,), folder=folder, timeout_s=30)


async def run(check: CommandCheck, answer: str = "the answer") -> CheckResult:
    return await run_check(check, Subject("skill", "task", answer, "stop"))


def runs(pid: int) -> bool:
    """Return whether a process runs; a zombie that nobody has collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not (status.exists() and "\nState:\tZ" in status.read_text())


def written_pid(folder: Path) -> int | None:
    path = folder / "pid"
    return int(path.read_text()) if path.exists() and path.read_text().endswith("\n") else None


async def gone(pid: int) -> bool:
    """Return whether a process ends within ten seconds."""
    for _ in range(1_000):
        if not runs(pid):
            return True
        await asyncio.sleep(0.01)
    return False


async def grandchild(folder: Path) -> int:
    """Return the pid that the program writes down, within ten seconds."""
    for _ in range(1_000):
        pid = written_pid(folder)
        if pid is not None:
            return pid
        await asyncio.sleep(0.01)
    pytest.fail("no grandchild was started")


async def test_the_answer_comes_on_stdin_and_exit_0_passes(tmp_path: Path) -> None:
    check = program(tmp_path, "import sys; sys.exit(sys.stdin.read() != 'größer\\n?')")
    assert (await run(check, "größer\n\ud800")).passed
    assert not (await run(check, "other")).passed


async def test_the_tail_of_both_outputs_is_the_feedback(tmp_path: Path) -> None:
    check = program(
        tmp_path,
        "import sys\nprint('x' * 100_000, flush=True)\n"
        "print('\\x1b[31mline 3: missing heading\\x07', file=sys.stderr)\nsys.exit(1)",
    )
    message = (await run(check)).message
    assert message.endswith("xxx\nline 3: missing heading")
    assert message.startswith("…x")
    assert len(message) == 1_000


async def test_a_failure_without_words_names_the_exit(tmp_path: Path) -> None:
    assert (await run(program(tmp_path, "raise SystemExit(3)"))).message == (
        "scripts/check exited with 3 and said nothing"
    )
    killed = program(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert (await run(killed)).message == "scripts/check was killed by SIGKILL and said nothing"


async def test_a_program_need_not_read_its_input(tmp_path: Path) -> None:
    assert (await run(program(tmp_path, "import sys; sys.stdin.close()"), "x" * 5_000_000)).passed


async def test_it_runs_in_the_folder_with_a_reduced_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-made-up")
    monkeypatch.setenv("LC_TIME", "C")
    check = program(tmp_path, "import os; print(os.getcwd(), sorted(os.environ)); raise SystemExit(1)")
    message = (await run(check)).message
    assert tmp_path.name in message.split(" [")[0]
    assert "'PATH'" in message
    assert "'LC_TIME'" in message
    assert "ANTHROPIC" not in message


async def test_a_bare_name_is_looked_up_in_path_and_arguments_pass(tmp_path: Path) -> None:
    check = CommandCheck(argv=("grep", "-q", "needle; true"), folder=tmp_path)
    assert (await run(check, "a needle; true")).passed
    assert not (await run(check, "needle")).passed


async def test_what_cannot_run_is_a_fault_of_the_check(tmp_path: Path) -> None:
    with pytest.raises(VerifierError, match=r"check command not found: .*scripts/none"):
        await run(CommandCheck(argv=("scripts/none",), folder=tmp_path))
    with pytest.raises(VerifierError, match="check command not found: no-such-program"):
        await run(CommandCheck(argv=("no-such-program",), folder=tmp_path))
    with pytest.raises(VerifierError, match="no folder"):
        await run(CommandCheck(argv=("true",), folder=tmp_path / "none"))
    (tmp_path / "plain").write_text("text")
    with pytest.raises(VerifierError, match="not executable"):
        await run(CommandCheck(argv=("./plain",), folder=tmp_path))
    (tmp_path / "odd").write_text("#!/no/such/interpreter\n")
    (tmp_path / "odd").chmod(0o700)
    with pytest.raises(VerifierError, match="cannot be run"):
        await run(CommandCheck(argv=("./odd",), folder=tmp_path))


GRANDCHILD = (
    "import pathlib, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "pathlib.Path('pid').write_text(f'{child.pid}\\n')\n"
)


async def test_time_up_kills_the_whole_group(tmp_path: Path) -> None:
    check = program(tmp_path, GRANDCHILD + "print('still busy', flush=True)\ntime.sleep(600)")
    result = await run(CommandCheck(argv=check.argv, folder=tmp_path, timeout_s=2))
    assert result.message == "scripts/check was not done after 2 s; it said: still busy"
    assert await gone(await grandchild(tmp_path))


async def test_cancelling_kills_the_whole_group(tmp_path: Path) -> None:
    task = asyncio.create_task(run(program(tmp_path, GRANDCHILD + "time.sleep(600)")))
    pid = await grandchild(tmp_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(pid)


async def test_what_a_program_leaves_behind_is_killed_and_not_waited_for(tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        result = await run(program(tmp_path, GRANDCHILD + "print('done')\nraise SystemExit(1)"))
    assert result.message == "done"
    assert await gone(await grandchild(tmp_path))


async def test_a_daemon_that_keeps_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    daemon = GRANDCHILD.replace("sleep(600)'])", "sleep(600)'], start_new_session=True)")
    async with asyncio.timeout(20):
        result = await run(program(tmp_path, daemon))
    assert result.passed
    pid = await grandchild(tmp_path)
    assert runs(pid)
    os.kill(pid, signal.SIGKILL)
