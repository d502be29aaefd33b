"""The sandbox of shell commands: where it is found, and what it holds back."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from file_tools import names_in
from shells import becomes, found, sh, working_sandbox

from hyperguild.adapters.tools import sandbox as module
from hyperguild.adapters.tools.sandbox import Bounds, NoSandbox, Sandbox, SandboxFinder, find_sandbox
from hyperguild.adapters.tools.shell import ShellTool

ASK = """
import asyncio, json, os
from hyperguild.adapters.tools.sandbox import find_sandbox
found = asyncio.run(find_sandbox(os.environ))
print(json.dumps([type(found).__name__, found.line]))
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    found()  # once, outside of the event loop
    (tmp_path / "work").mkdir()
    return tmp_path.resolve()


@pytest.fixture
def work(base: Path) -> Path:
    return base / "work"


def shell(bounds: Bounds, home: Path | None = None) -> ShellTool:
    sandbox = working_sandbox()
    if home is not None:
        sandbox = Sandbox(sandbox.program, (home,))
    return ShellTool(bounds, sandbox, {**os.environ, **({"HOME": str(home)} if home else {})})


def stand_in(folder: Path, body: str) -> dict[str, str]:
    """Put a program named bwrap into a folder of its own; return the environment that finds it."""
    folder.mkdir()
    path = folder / "bwrap"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


# -- finding it --


async def test_c1_not_installed_is_said_with_the_remedy(tmp_path: Path) -> None:
    found = await find_sandbox({"PATH": str(tmp_path)})
    assert isinstance(found, NoSandbox)
    assert found.line == "shell commands run without a sandbox: bubblewrap is not installed"
    assert found.remedy.startswith("apt-get install bubblewrap")


async def test_c1_installed_but_not_working_is_said_with_the_reason(tmp_path: Path) -> None:
    said = "bwrap: No permissions to create new namespace"
    found = await find_sandbox(stand_in(tmp_path / "bin", f"echo '{said}' >&2; exit 1"))
    assert isinstance(found, NoSandbox)
    assert found.reason == f"bubblewrap is installed but does not work here ({said})"
    assert "kernel.apparmor_restrict_unprivileged_userns" in found.remedy
    silent = await find_sandbox(stand_in(tmp_path / "other", "exit 4"))
    assert isinstance(silent, NoSandbox)
    assert silent.reason.endswith("(it ended with exit code 4)")


async def test_c1_one_that_cannot_be_executed_is_none(tmp_path: Path) -> None:
    env = stand_in(tmp_path / "bin", "")
    (tmp_path / "bin" / "bwrap").write_text("#!/no/such/interpreter\n")
    found = await find_sandbox(env)
    assert isinstance(found, NoSandbox)
    assert "No such file" in found.reason


async def test_c1_one_that_hangs_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_LIMIT_S", 0.2)
    found = await find_sandbox(stand_in(tmp_path / "bin", "exec sleep 615.5"))
    assert isinstance(found, NoSandbox)
    assert found.reason.endswith("(it did not end within 0.2 s)")
    assert await becomes(0, "615.5")


async def test_c1_it_is_looked_for_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    finder = SandboxFinder(stand_in(tmp_path / "bin", f"echo asked >> {log}; exit 1"))
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(finder.find()) for _ in range(3)]
    assert len({task.result() for task in asked}) == 1
    assert log.read_text() == "asked\n"


async def test_c1_a_search_that_was_cancelled_is_done_again(tmp_path: Path) -> None:
    go, begun = tmp_path / "go", tmp_path / "begun"
    body = f"echo > {begun}; while ! [ -e {go} ]; do sleep 0.01; done"
    finder = SandboxFinder(stand_in(tmp_path / "bin", body))
    first = asyncio.create_task(finder.find())
    for _ in range(1_000):
        if begun.exists():
            break
        await asyncio.sleep(0.01)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go.touch()
    assert isinstance(await finder.find(), Sandbox)


def test_c1_bubblewrap_without_namespaces_is_noticed() -> None:
    """Within a sandbox that forbids another one, as in many containers."""
    outer = [working_sandbox().program, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    outer += ["--unshare-all", "--unshare-user", "--disable-userns"]
    if subprocess.run([*outer, sys.executable, "-c", ""], check=False, capture_output=True).returncode:
        pytest.skip("this bubblewrap knows no --disable-userns, or Python does not run in it")
    done = subprocess.run([*outer, sys.executable, "-c", ASK], check=True, capture_output=True, timeout=60)
    kind, line = json.loads(done.stdout)
    assert kind == "NoSandbox"
    assert "does not work here (bwrap: " in line


def test_c1_a_working_one_is_said() -> None:
    assert working_sandbox().line.startswith("shell commands run in a sandbox (/")


# -- the words before a command --


def test_c1_the_whole_file_system_is_no_bound(tmp_path: Path) -> None:
    for bounds in (Bounds(Path("/")), Bounds(tmp_path, allowed=(Path("/"),))):
        with pytest.raises(ValueError, match="the whole file system is writable"):
            Sandbox("bwrap", ()).argv(bounds)


def test_c1_the_network_is_shared_only_where_allowed(tmp_path: Path) -> None:
    assert "--share-net" not in Sandbox("bwrap", ()).argv(Bounds(tmp_path))
    assert "--share-net" in Sandbox("bwrap", ()).argv(Bounds(tmp_path, network=True))


# -- what it holds back --


async def test_c1_only_the_work_directory_is_writable(base: Path, work: Path) -> None:
    (base / "other").mkdir()
    tool = shell(Bounds(work, readable=(base / "other",)))
    result = await sh(tool, f"touch made; touch /etc/made /usr/made {base}/other/made; echo $?")
    assert result.count("Read-only file system") == 3
    assert result.endswith("\n1")
    assert names_in(base) == ["other", "work", "work/made"]


async def test_c1_allowed_folders_are_writable(base: Path, work: Path) -> None:
    (base / "more").mkdir()
    (base / "link").symlink_to(base / "more")
    tool = shell(Bounds(work, allowed=(base / "link",)))
    assert await sh(tool, f"touch {base}/more/made") == "exit code 0, no output"
    assert (base / "more" / "made").exists()


async def test_c1_what_is_readable_is_seen_below_tmp(base: Path, work: Path) -> None:
    (base / "skill").mkdir()
    (base / "skill" / "script").write_text("hello")
    assert await sh(shell(Bounds(work, readable=(base / "skill",))), f"cat {base}/skill/script") == (
        "exit code 0\nhello"
    )
    assert (await sh(shell(Bounds(work)), f"cat {base}/skill/script")).startswith("exit code 1\n")


async def test_c1_temporary_files_are_its_own(base: Path, work: Path) -> None:
    (base / "scratch").mkdir()
    emptied, kept = shell(Bounds(work)), shell(Bounds(work, scratch=base / "scratch"))
    for tool, left in ((emptied, False), (kept, True)):
        assert (await sh(tool, "echo 1 > /tmp/a; mktemp")).startswith("exit code 0\n/tmp/")
        assert (await sh(tool, "cat /tmp/a")).startswith(f"exit code {0 if left else 1}\n")
    assert (base / "scratch" / "a").read_text() == "1\n"


async def test_c1_there_is_no_network_unless_allowed(work: Path) -> None:
    reached = 0

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal reached
        reached += 1
        writer.write(b"hello\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        command = f"cat < /dev/tcp/127.0.0.1/{port}"
        assert "Connection refused" in await sh(shell(Bounds(work)), command)
        assert reached == 0
        assert await sh(shell(Bounds(work, network=True)), command) == "exit code 0\nhello"


async def test_c1_no_other_process_is_seen_and_none_is_left(work: Path) -> None:
    tool = shell(Bounds(work))
    result = await sh(tool, "setsid sleep 616.5 & ls /proc | grep -c '^[0-9]'; cat /proc/1/environ | wc -c")
    code, count, _ = result.split("\n")
    assert code == "exit code 0"
    assert int(count) < 10
    assert str(os.getpid()) not in (await sh(tool, "ls /proc")).split()
    assert await becomes(0, "616.5")


async def test_c5_what_left_the_group_is_killed_with_the_rest(work: Path) -> None:
    task = asyncio.create_task(sh(shell(Bounds(work)), "setsid -f setsid sleep 617.5; sleep 617.5"))
    assert await becomes(2, "617.5")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await becomes(0, "617.5")


async def test_c1_even_root_has_no_capabilities(work: Path) -> None:
    result = await sh(shell(Bounds(work)), "grep CapEff /proc/self/status; mount -o remount,rw,bind /")
    assert "CapEff:\t0000000000000000" in result
    assert not result.startswith("exit code 0")
    assert "exit code 0" not in await sh(shell(Bounds(work)), "unshare -Urm mount -o remount,rw,bind /")


async def test_c1_sockets_of_the_machine_are_out_of_sight(work: Path) -> None:
    seen = await sh(
        shell(Bounds(work)), "find /run /var/tmp -mindepth 1 -not -path '/run/current-system*'; true"
    )
    assert seen == "exit code 0, no output"


async def test_c3_secrets_at_home_are_hidden(base: Path, work: Path) -> None:
    home = base / "home"
    secrets = (".ssh/id_ed25519", ".aws/credentials", ".config/gh/hosts.yml", ".npmrc", "server.key")
    more = (".bash_history", ".docker/config.json", "kept.txt", ".gitconfig", ".config/app/settings")
    for name in (*secrets, *more, "private/letter"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(f"content of {name}\n")
    (home / "vault").mkdir()
    (home / "vault" / "key").write_text("content of a link\n")
    (home / ".gnupg").symlink_to(home / "vault")
    tool = shell(Bounds(work, readable=(home,), hidden=(home / "private",)), home)
    result = await sh(tool, "cd; grep -rh content . ; cat .npmrc && ls -A .ssh private vault")
    assert sorted(line for line in result.split("\n") if "content" in line) == [
        "content of .config/app/settings",
        "content of .gitconfig",
        "content of kept.txt",
    ]
    assert result.endswith(".ssh:\n\nprivate:\n\nvault:")


async def test_c3_a_folder_that_the_user_opened_is_not_hidden(base: Path, work: Path) -> None:
    (base / "home" / ".aws").mkdir(parents=True)
    (base / "home" / ".aws" / "config").write_text("region")
    tool = shell(Bounds(work, allowed=(base / "home" / ".aws",)), base / "home")
    assert await sh(tool, "cat ~/.aws/config") == "exit code 0\nregion"


async def test_c3_what_lies_around_an_opened_folder_stays_hidden(base: Path, work: Path) -> None:
    for name in ("state/mine", "state/shown", "state/others"):
        (base / name).mkdir(parents=True)
        (base / name / "file").write_text(f"{name}\n")
    (base / "state" / "log").write_text("the log\n")
    state = base / "state"
    bounds = Bounds(state / "mine", readable=(state / "shown",), hidden=(state,))
    result = await sh(shell(bounds), "ls ..; cat file ../shown/file; echo new | tee made ../shown/made >&2")
    assert result.startswith("exit code 1\nmine\nshown\nstate/mine\nstate/shown\n")
    assert "Read-only file system" in result
    assert (state / "mine" / "made").read_text() == "new\n"


async def test_c3_hooks_and_configuration_of_git_are_kept_and_git_works(work: Path) -> None:
    (work / "chains.yaml").write_text("version: 1\n")
    for command in (
        ["git", "init", "-q"],
        ["git", "config", "user.email", "a@b"],
        ["git", "config", "user.name", "a"],
    ):
        subprocess.run(command, cwd=work, check=True)  # noqa: ASYNC221
    (work / ".git" / "hooks").mkdir(exist_ok=True)
    tool = shell(Bounds(work))
    result = await sh(
        tool,
        "echo evil > .git/hooks/pre-commit; echo evil >> .git/config; echo evil >> chains.yaml;"
        " rm chains.yaml; git add -A && git commit -qm first && git log --format=%s",
    )
    assert result.startswith("exit code 0\n")
    assert result.endswith("\nfirst")
    assert not (work / ".git" / "hooks" / "pre-commit").exists()
    assert "evil" not in (work / ".git" / "config").read_text()
    assert (work / "chains.yaml").read_text() == "version: 1\n"


@pytest.mark.parametrize("where", ["folder", "pointer", "view"])
async def test_c3_no_other_repository_is_put_in_gits_place(base: Path, work: Path, where: str) -> None:
    """Git would run what its configuration names, the next time that somebody asks it anything."""
    real = work if where == "folder" else base / "real"
    subprocess.run(["git", "init", "-q", str(real)], check=True)  # noqa: ASYNC221
    (real / ".git" / "hooks").mkdir(exist_ok=True)
    if where == "pointer":
        (work / ".git").write_text(f"gitdir: {real}/.git\n")
    elif where == "view":
        (work / ".git").mkdir()
        (work / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
        (work / ".git" / "commondir").write_text(f"{real}/.git\n")
    tool = shell(Bounds(work, readable=(real,)))
    await sh(
        tool,
        f"mkdir evil; cp -r {real}/.git/* evil/; echo $PWD/evil > .git/commondir;"
        " printf '[core]\\n\\tfsmonitor = touch ran\\n' >> evil/config; mv .git moved; cp -rT evil .git",
    )
    assert (work / "evil" / "config").exists()
    subprocess.run(["git", "status"], cwd=work, check=True)  # noqa: ASYNC221
    assert not (work / "ran").exists()
    assert not (work / "moved").exists()


async def test_c1_a_link_in_place_of_gits_folder_opens_nothing(base: Path, work: Path) -> None:
    (base / "outside" / "hooks").mkdir(parents=True)
    tool = shell(Bounds(work, readable=(base / "outside",)))
    await sh(tool, f"ln -s {base}/outside .git; ln -s {base}/outside chains.yaml")
    result = await sh(
        tool, "echo evil > .git/hooks/pre-commit; echo evil > .git/made; echo evil > chains.yaml/x"
    )
    assert result.count("Read-only file system") == 3
    assert [path.name for path in (base / "outside").rglob("*")] == ["hooks"]


@pytest.mark.parametrize("inner_first", [True, False])
async def test_c1_a_link_in_place_of_a_writable_folder_opens_nothing(
    base: Path, *, inner_first: bool
) -> None:
    for folder in ("open/inner", "outside"):
        (base / folder).mkdir(parents=True)
    inner, outer = base / "open" / "inner", base / "open"
    work, allowed = (inner, outer) if inner_first else (outer, inner)
    tool = shell(Bounds(work, allowed=(allowed,), readable=(base / "outside",)))
    swapped = await sh(tool, f"cd {outer}; mv inner moved; ln -s {base}/outside inner")
    assert swapped == "exit code 0, no output"
    assert "Read-only file system" in await sh(tool, f"touch {inner}/made")
    assert names_in(base / "outside") == []


async def test_c3_what_is_kept_cannot_be_moved_out_of_the_way(work: Path) -> None:
    working_sandbox()
    for name in (".git/hooks/pre-commit", "tools/own/guard.py", "other.py"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("kept")
    tool = shell(Bounds(work, kept=(work / "tools/own/guard.py", work / "other.py", work / "gone.py")))
    await sh(
        tool,
        "mv .git moved; mv tools moved; mv tools/own moved; mv other.py moved; rm -rf tools .git other.py;"
        " ln -sf x other.py; echo x > tools/own/guard.py; echo x > tools/own/new.py; echo x > gone.py",
    )
    for name in (".git/hooks/pre-commit", "tools/own/guard.py", "other.py"):
        assert (work / name).read_text() == "kept"
    assert (work / "tools/own/new.py").read_text() == "x\n"
