"""`run --continue` and the files of tools: what is refused before anything runs, and in which words."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.cli.main import run_command_line
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import RunResult, RunStart, RunStatus
from hyperguild.domain.secrets import Scrubber

NOW = datetime.now(UTC)
CHAINS = """\
version: 1
endpoints:
  swap: {kind: llama-swap, base_url: "http://127.0.0.1:9"}
models:
  phi4: {endpoint: swap}
chains:
  default: {tiers: [{model: phi4, verify: false}]}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYPERGUILD_DB", str(tmp_path / "sessions.db"))
    monkeypatch.setenv("HYPERGUILD_CONFIG", str(tmp_path / "chains.yaml"))
    (tmp_path / "chains.yaml").write_text(CHAINS, encoding="utf-8")
    return tmp_path


def logged(folder: Path, status: RunStatus, content: Any = "full", **fields: Any) -> RunResult:
    """Put a run on record that ended so."""
    result = RunResult(
        run_id=f"01a1ff6d-0000-7000-8000-00000000{len(status):04x}",
        session_id="01a1ff6d-0000-7000-8000-0000000000aa",
        skill="review",
        chain="default",
        status=status,
        **fields,
    )

    async def add() -> None:
        store = await SqliteSessionStore.open(
            folder / "sessions.db",
            scrubber=Scrubber(),
            log=LogPolicy(content=content),
            clock=SystemClock(),
        )
        start = RunStart(
            run_id=result.run_id,
            session_id=result.session_id,
            skill=result.skill,
            chain=result.chain,
            task="x",
            options={"prompt": {"system": "x", "history": []}, "chain": {}},
            created_at=NOW,
            lease_expires_at=NOW + timedelta(hours=1),
        )
        await store.start_run(start)
        if status != "running":
            await store.finish_run(result, NOW)
        await store.aclose()

    asyncio.run(add())
    return result


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run_command_line(["run", *arguments])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("error: ") == 1
    return code, captured.err.removeprefix("error: ")


@pytest.mark.parametrize(
    "given",
    [
        ["review"],
        ["review", "x"],
        ["-f", "chains.yaml"],
        ["--model", "phi4"],
        ["--chain", "default"],
        ["--local"],
        ["--workdir", "."],
        ["--allow-path", "."],
        ["--tools", "fs_read"],
        ["--permission-mode", "plan"],
        ["--session", "last", "--history"],
        ["--external-tools", "t.json"],
        ["--private"],
        ["--dry-run"],
    ],
)
def test_what_would_make_it_another_run_is_refused(
    capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    code, err = said(capsys, "--continue", *given)
    name = given[-1] if given[-1] == "--history" else given[0] if given[0].startswith("-") else "SKILL"
    name = {"-f": "--file"}.get(name, name)
    assert (code, err.partition("\n")[0].startswith(f"--continue takes no {name}")) == (2, True)


def test_a_new_run_has_a_skill_and_waits_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys)[1].startswith("Missing argument 'SKILL'.")
    assert said(capsys, "review", "x", "--tool-results", "r.json")[1].startswith(
        "--tool-results needs --continue"
    )


def test_h2_where_nothing_is_unfinished(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert said(capsys, "--continue")[1].startswith("no session log yet")
    logged(folder, "accepted")
    code, err = said(capsys, "--continue")
    assert (code, err.startswith("the session has no unfinished run")) == (2, True)


def test_h2_a_run_without_its_content_is_refused(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    logged(folder, "cancelled", content="metadata")
    code, err = said(capsys, "--continue")
    assert (code, err.startswith("what was said in that run was not stored")) == (2, True)


def test_h2_a_run_whose_skill_is_gone_is_refused(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    result = logged(folder, "cancelled")
    code, err = said(capsys, "--session", result.session_id[-8:], "--continue")
    assert (code, err.startswith('there is no skill "review"')) == (3, True)


PENDING = ({"id": "call_1", "name": "weather", "arguments": {"city": "Oslo"}},)


@pytest.mark.parametrize(
    ("status", "fields", "hint"),
    [
        ("cancelled", {}, r"go on +hyperguild run --session 000000aa --continue\n"),
        (
            "awaiting_tools",
            {"pending_tool_calls": PENDING},
            r"(?s)waits for +weather \(call_1\).*--session 000000aa --continue --tool-results FILE\n",
        ),
        ("accepted", {}, None),
        ("running", {}, None),
    ],
)
def test_sessions_show_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], folder: Path, status: Any, fields: dict[str, Any], hint: str | None
) -> None:
    logged(folder, status, **fields)
    assert run_command_line(["sessions", "show", "last"]) == 0
    out = capsys.readouterr().out
    assert re.search(hint, out) if hint else "--continue" not in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "t.json is not JSON"),
        ("{}", "external tools are a JSON array"),
        ("[1]", "an external tool is not described as one"),
        ('[{"name": "a", "parametres": {}}]', "an external tool is not described as one"),
        ('[{"name": "a b"}]', '"a b" cannot be the name of a tool'),
        ('[{"name": "a", "description": 1}]', "the external tool a is not described as one"),
        ('[{"name": "a", "parameters": {"type": "string"}}]', "the parameters of a are no JSON Schema"),
        (
            '[{"name": "a", "parameters": {"type": "object", "properties": 1}}]',
            "the parameters of a are no JSON Schema",
        ),
        ('[{"name": "a"}, {"name": "a"}]', "there are two external tools a"),
    ],
)
def test_c9_external_tools_that_are_none_are_refused(
    capsys: pytest.CaptureFixture[str], folder: Path, text: str, message: str
) -> None:
    (folder / "t.json").write_text(text, encoding="utf-8")
    code, err = said(capsys, "review", "x", "--external-tools", "t.json")
    assert (code, err.startswith(message)) == (2, True), err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "r.json is not JSON"),
        ("{}", "tool results are a JSON array"),
        ("[{}]", "a tool result is not one"),
        ('[{"id": "a", "content": 1}]', "a tool result is not one"),
        ('[{"id": "a", "content": "", "is_error": 1}]', "a tool result is not one"),
        (
            json.dumps([{"id": "a", "content": ""}, {"tool_call_id": "a", "content": ""}]),
            "there are two results of the call a",
        ),
    ],
)
def test_c9_results_that_are_none_are_refused(
    capsys: pytest.CaptureFixture[str], folder: Path, text: str, message: str
) -> None:
    (folder / "r.json").write_text(text, encoding="utf-8")
    code, err = said(capsys, "--continue", "--tool-results", "r.json")
    assert (code, err.startswith(message)) == (2, True), err


def test_c9_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, err = said(capsys, "review", "x", "--external-tools", "gone.json")
    assert (code, err.startswith("cannot read gone.json")) == (2, True)
