from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from hyperguild.cli.main import run_command_line
from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config
from hyperguild.config.trust import TrustStore, digest_of

POWERFUL = """\
version: 1
endpoints:
  claude: {kind: command, argv: [claude, -p, --model, "{model}"]}
  box: {kind: openai, base_url: "http://box.example.com/v1", api_key_env: BOX_KEY}
chains: {default: [claude-opus]}
"""
HARMLESS = """\
version: 1
endpoints: {anthropic: {kind: anthropic, base_url: "https://api.anthropic.com", api_key_env: KEY}}
chains: {default: [claude-opus]}
"""
RUNS = "  endpoints.claude.argv      runs: claude -p --model '{model}'"
SENDS = "  endpoints.box.api_key_env  sends the key of BOX_KEY to http://box.example.com:80"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HYPERGUILD_CONFIG", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store() -> TrustStore:
    return TrustStore.of_user(os.environ)


def write(folder: Path, text: str = POWERFUL) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "chains.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command_line(["trust", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def is_trusted(store: TrustStore, path: Path) -> bool:
    configuration: Configuration = load_config(path, os.environ)
    return store.is_trusted(path, digest_of(configuration.powers))


def at_terminal(*arguments: str, typed: str, cwd: Path) -> tuple[int, str]:
    """Run the command with a terminal for stdin, stdout and stderr; type; return exit code and screen."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "hyperguild", "trust", *arguments],
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as process:
        os.close(theirs)
        os.write(ours, typed.encode())
        screen = b""
        while True:
            try:
                screen += os.read(ours, 4096)
            except OSError:  # the last one at the terminal has left
                break
        os.close(ours)
        code = process.wait(timeout=60)
    return code, screen.decode().replace("\r\n", "\n")


def test_yes_shows_and_records(tmp_path: Path, capsys: pytest.CaptureFixture[str], store: TrustStore) -> None:
    path = write(tmp_path)
    code, out, err = run(capsys, "--yes")
    assert (code, err) == (0, "")
    assert out.splitlines() == [str(path), RUNS, SENDS, "It is trusted now."]
    assert is_trusted(store, path)


def test_without_a_terminal_nothing_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], store: TrustStore
) -> None:
    path = write(tmp_path)
    code, out, err = run(capsys)
    assert code == 2
    assert RUNS in out
    assert err == "error: there is no terminal to ask on (look at what is shown, then add --yes)\n"
    assert not is_trusted(store, path)


@pytest.mark.parametrize("typed", ["n\n", "\n"])
def test_no_is_the_default_answer(tmp_path: Path, store: TrustStore, typed: str) -> None:
    path = write(tmp_path)
    code, screen = at_terminal(typed=typed, cwd=tmp_path)
    assert code == 3
    assert " ".join(SENDS.split()) in " ".join(screen.split())
    assert "Trust it to do that? [y/N]:" in screen
    assert f"error: {path} is not trusted" in screen
    assert not is_trusted(store, path)


def test_yes_at_the_terminal_records(tmp_path: Path, store: TrustStore) -> None:
    path = write(tmp_path)
    code, screen = at_terminal(typed="y\n", cwd=tmp_path)
    assert code == 0
    assert "It is trusted now." in screen
    assert is_trusted(store, path)


def test_what_was_trusted_lets_commands_run_and_a_change_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path)
    assert run_command_line(["run", "nothing", "x"]) == 3
    assert "hyperguild trust" in capsys.readouterr().err
    assert run(capsys, "-y")[0] == 0
    run_command_line(["run", "nothing", "x"])
    assert "not trusted" not in capsys.readouterr().err
    write(tmp_path, POWERFUL.replace("-p,", "-p, --verbose,"))
    run_command_line(["run", "nothing", "x"])
    assert f"{path} is not trusted" in capsys.readouterr().err


def test_asked_again_it_says_so_and_marks_what_is_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    run(capsys, "--yes")
    code, out, _ = run(capsys)
    assert (code, out.splitlines()[-1]) == (0, "It is trusted already.")
    assert "(new)" not in out
    write(tmp_path, POWERFUL.replace("-p,", "-p, --verbose,"))
    code, out, _ = run(capsys)
    assert code == 2
    lines = out.splitlines()
    assert lines[1].endswith("runs: claude -p --verbose --model '{model}'  (new)")
    assert lines[2] == SENDS


def test_a_file_without_powers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, HARMLESS)
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    what = "runs no programs, sends no keys to strangers and lets no model act unasked"
    assert out == f"{path} {what}: there is nothing to trust\n"
    assert not (tmp_path / "state").exists()


def test_a_path_may_be_a_file_or_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], store: TrustStore
) -> None:
    path = write(tmp_path / "clone")
    assert run(capsys, "clone", "--yes")[0] == 0
    assert is_trusted(store, path)
    other = write(tmp_path / "other")
    assert run(capsys, "other/chains.yaml", "--yes")[0] == 0
    assert is_trusted(store, other)


def test_a_refused_file_is_not_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, POWERFUL + "foo: 1\n")
    code, _, err = run(capsys, "--yes")
    assert code == 3
    assert "foo: unknown key" in err
    assert not (tmp_path / "state").exists()


def test_on_a_narrow_page_powers_stand_below_their_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    write(tmp_path)
    _, out, _ = run(capsys)
    assert "  endpoints.claude.argv\n    runs: claude -p --model '{model}'\n" in out


def test_a_program_cannot_hide_behind_terminal_escapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, POWERFUL.replace("[claude, -p,", '["\\e[2Kevil\\u202e", -p,'))
    _, out, _ = run(capsys)
    assert "\\x1b[2Kevil\\u202e" in out
    assert "\x1b" not in out


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--list")
    assert (code, out, err) == (0, "", "no file is trusted yet\n")
    assert run(capsys, "--list", "--json") == (0, "[]\n", "")
    kept, gone = write(tmp_path / "a"), write(tmp_path / "b")
    run(capsys, "a", "--yes")
    run(capsys, "b", "--yes")
    gone.unlink()
    code, out, _ = run(capsys, "--list")
    assert code == 0
    what = ["    runs: claude -p --model '{model}'", f"    {SENDS.rpartition('  ')[2]}"]
    assert out.splitlines() == [str(kept), *what, f"{gone}  (gone)", *what]
    _, out, _ = run(capsys, "--list", "--json")
    listed = json.loads(out)
    assert [(file["path"], file["exists"]) for file in listed] == [(str(kept), True), (str(gone), False)]
    assert listed[0]["powers"] == [line.strip() for line in what]


def test_revoke(tmp_path: Path, capsys: pytest.CaptureFixture[str], store: TrustStore) -> None:
    path, other = write(tmp_path / "a"), write(tmp_path / "b")
    run(capsys, "a", "--yes")
    run(capsys, "b", "--yes")
    assert run(capsys, "--revoke", "a") == (0, f"{path} is trusted no more\n", "")
    assert not is_trusted(store, path)
    assert is_trusted(store, other)
    code, out, err = run(capsys, "--revoke", "a")
    assert (code, out) == (2, "")
    assert f"{path} was not trusted" in err


def test_a_file_that_is_gone_can_be_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a")
    run(capsys, "a", "--yes")
    (tmp_path / "a" / "chains.yaml").unlink()
    assert run(capsys, "--revoke", "a/chains.yaml")[0] == 0
    assert json.loads(run(capsys, "--list", "--json")[1]) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--list", "--revoke"], "exclude each other"),
        (["--yes", "--revoke"], "exclude each other"),
        (["--list", "a"], "--list takes no path"),
        (["--json"], "--json goes with --list"),
    ],
)
def test_options_that_contradict(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_a_record_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    run(capsys, "--yes")
    record = tmp_path / "state" / "hyperguild" / "trusted.json"
    record.write_text('{"version": 1, "files": {"/x": {"digest": "d", "powers": 5}}}')
    code, out, _ = run(capsys, "--list")
    assert (code, out) == (0, "/x  (gone)\n")
    record.write_text("[]")
    code, out, err = run(capsys, "--list")
    assert (code, out) == (3, "")
    assert "is not a record of trusted files" in err


def test_nothing_to_find(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys)
    assert code == 3
    assert "no chains.yaml" in err
