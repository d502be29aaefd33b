"""Whatever models, tools, servers, logs and files say: on a terminal it is text, and never more than that."""

from __future__ import annotations

import asyncio
import http.server
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from _pytest.capture import CaptureIO
from builders import attempt

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.cli.approval import shown
from hyperguild.cli.group import say_hyperguild_error
from hyperguild.cli.logs import open_log_sink
from hyperguild.cli.main import run_command_line
from hyperguild.cli.options import Settings
from hyperguild.cli.output import print_answer
from hyperguild.cli.sinks import JsonLines
from hyperguild.cli.view import LiveView, PlainView
from hyperguild.domain import events
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.records import CheckResult, ErrorInfo, JudgeUse, RunResult, RunStart, Step
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.tools import ToolCall, ToolSpec
from hyperguild.errors import ServerError
from hyperguild.ports import EventSink, Question

NASTY = (
    "\x1b]0;OWNED\x07a\x1b]52;c;T1dORUQ=\x07b\x1b]8;;http://evil.example\x1b\\c\x1b]8;;\x1b\\"
    "\x1b[5;41md\x1b[2J\x1b[1Ae\x9b5;41mf\x9d0;g\x9ch\x90i\x9cj\x1bPk\x1b\\l\x1bcm"
    "\u202etfel\u202c\u2066iso\u2069\u200flate\u061c n\u200bo\u2060p\ufeffq\U000e0041\U000e0042r"
    "\x00\x07\x08s\x0b\x0ct\x7fu\u2028v\u2029w\rx\r\ny "
    "[bold red]z[/bold red] :bomb: **loud** [link=x]k[/link]"
)
LINE = "\nerror: a line of its own"
FORBIDDEN = {chr(code) for code in [*range(32), *range(127, 160)]} - {"\t", "\n"} | set(
    "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
    "\u200b\u2060\ufeff\U000e0041\U000e0042"
)
OWN = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|1A|2K)|\r")
"""What our own styles and the live table send."""

ATTACKS = ("\x1b[5;41m", "\x1b[2J", "\x1b]")
NOW = datetime.now(UTC).replace(microsecond=0)


def assert_only_text(text: str) -> None:
    assert text, "there is something to look at"
    assert not [attack for attack in ATTACKS if attack in text]
    assert not set(OWN.sub("", text)) & FORBIDDEN


class Terminal:
    """Captured output that says it is a terminal."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def take(self) -> str:
        captured = self._capsys.readouterr()
        return captured.out + captured.err

    def run(self, *arguments: str) -> str:
        run_command_line(list(arguments))
        text = self.take()
        assert "internal error" not in text
        return text


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Terminal:
    # The stream itself is replaced between the set-up of a test and the test.
    monkeypatch.setattr(CaptureIO, "isatty", lambda _: True)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HYPERGUILD_DB", str(tmp_path / "sessions.db"))
    for name in ("NO_COLOR", "HYPERGUILD_CONFIG", "HYPERGUILD_SKILLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Terminal(capsys)


def run_of_evil() -> tuple[RunResult, tuple[Step, ...]]:
    refused = attempt(
        0,
        model=f"phi{NASTY}",
        feedback=NASTY + LINE,
        answer=NASTY + LINE,
        checks=[CheckResult(kind="regex", passed=False, message=NASTY + LINE)],
        verifier=JudgeUse(model=f"judge{NASTY}"),
    )
    failed = attempt(1, "error", error=ErrorInfo(kind="server", message=NASTY + LINE), feedback=NASTY)
    accepted = attempt(2, "accept", answer=NASTY)
    said = {
        "role": "assistant",
        "content": NASTY + LINE,
        "reasoning": NASTY,
        "tool_calls": [
            {"id": "c", "name": f"fs{NASTY}", "arguments": {f"path{NASTY}": NASTY, "raw": [NASTY]}}
        ],
        "sources": [{"title": NASTY, "url": NASTY}],
    }
    told = {"role": "tool", "content": NASTY + LINE, "name": NASTY, "tool_call_id": "c", "is_error": True}
    step = Step(
        step_id="s", attempt_id="attempt-0", position=0, messages=(said, told), created_at=NOW, model=NASTY
    )
    result = RunResult(
        run_id="01980000-0000-7000-8000-000000000001",
        session_id="01980000-0000-7000-8000-000000000002",
        skill=f"review{NASTY}",
        chain=f"code{NASTY}",
        status="accepted",
        output=NASTY,
        model=f"phi{NASTY}",
        tier="local",
        attempts=(refused, failed, accepted),
    )
    return result, (step,)


def record(path: Path) -> None:
    result, steps = run_of_evil()

    async def write() -> None:
        store = await SqliteSessionStore.open(path, scrubber=Scrubber(), log=LogPolicy(), clock=SystemClock())
        await store.start_run(
            RunStart(
                **result.model_dump(include={"run_id", "session_id", "skill", "chain"}),
                task=NASTY + LINE,
                created_at=NOW,
                lease_expires_at=NOW + timedelta(seconds=15),
            )
        )
        for one in result.attempts:
            await store.record_attempt(result.run_id, one, steps if one.position == 0 else ())
        await store.finish_run(result, NOW + timedelta(seconds=9))
        await store.aclose()

    asyncio.run(write())


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show",),
        ("show", "last", "--full"),
        ("show", "last", "--steps"),
        ("show", "last", "--steps", "--full"),
        ("show", "last", "--attempt", "1"),
        ("show", "--json"),
        ("list", "--json"),
        ("export", "--all"),
    ],
    ids=" ".join,
)
def test_the_session_log(arguments: tuple[str, ...], terminal: Terminal, tmp_path: Path) -> None:
    record(tmp_path / "sessions.db")
    text = terminal.run("sessions", *arguments)
    assert_only_text(text)
    if not {"--json", "--all", "--attempt"} & {*arguments}:  # an attempt's answer stands whole
        assert "error: a line of its own" not in text.splitlines(), "what is quoted is moved in"


def test_the_answer_on_a_terminal_and_in_a_pipe(
    terminal: Terminal, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    print_answer(NASTY)
    text = terminal.take()
    assert_only_text(text)
    assert "[bold red]z[/bold red] :bomb: **loud**" in text
    monkeypatch.setattr(CaptureIO, "isatty", lambda _: False)
    print_answer(NASTY)
    assert capsys.readouterr().out == NASTY + "\n"


def all_events() -> list[events.Event]:
    """One event of every type that is shown, its texts hostile."""
    result, _ = run_of_evil()
    made: list[Any] = [
        (events.AttemptStarted, {"position": 0, "model": NASTY, "tier": "local", "endpoint": NASTY}),
        (events.Probed, {"position": 0, "model": NASTY, "warm_state": "cold"}),
        (events.LoadWaiting, {"model": NASTY, "waited_ms": 1}),
        (events.LoadWaiting, {"model": NASTY, "waited_ms": 2, "loaded": True}),
        (events.LoadWaiting, {"model": NASTY, "role": "judge", "waited_ms": 2}),
        (events.StepReset, {"reason": NASTY + LINE}),
        (events.ToolCalled, {"call_id": "c", "name": NASTY, "arguments": {"command": NASTY + LINE}}),
        (events.ToolCalled, {"call_id": "d", "name": NASTY, "arguments": {NASTY: [NASTY]}}),
        (events.ToolReturned, {"call_id": "c", "name": NASTY, "is_error": True, "text": NASTY, "chars": 9}),
        (events.Warned, {"message": NASTY + LINE}),
        (events.AttemptFinished, {"attempt": result.attempts[0]}),
        (events.AttemptStarted, {"position": 1, "model": NASTY, "tier": "local", "endpoint": NASTY}),
        (events.AttemptFinished, {"attempt": result.attempts[1]}),
        (events.RunFinished, {"result": result}),
    ]
    ids = {"session_id": result.session_id, "run_id": result.run_id}
    told = []
    for number, (kind, fields) in enumerate(made):
        extra = {"attempt_id": "a", "step_id": "s"}
        wanted = {name: extra[name] for name in extra if name in kind.model_fields}
        told.append(kind(seq=number, time=NOW, **ids, **{**wanted, **fields}))
    return told


@pytest.mark.parametrize("make", [PlainView, LiveView])
def test_the_views_of_a_run(make: Callable[[], Any], terminal: Terminal) -> None:
    with make() as view:
        for event in all_events():
            view.emit(event)
    text = terminal.take()
    assert_only_text(text)
    assert "[bold red]z[/bold red] :bomb:" in text, "nothing is read as markup"
    assert not any(line.startswith("error: a line") for line in text.splitlines())


@pytest.mark.parametrize("form", ["human", "json"])
def test_the_log_on_stderr(form: str, terminal: Terminal) -> None:
    sink: EventSink | None = open_log_sink(Settings(env={}, log_level="debug", log_format=form))
    assert sink is not None
    for event in all_events():
        sink.emit(event)
    text = terminal.take()
    assert_only_text(text)
    assert "error: a line of its own" not in text.splitlines()


def test_events_as_json_lines(terminal: Terminal) -> None:
    sink = JsonLines(sys.stdout, lambda: None)
    for event in all_events():
        sink.emit(event)
    text = terminal.take()
    assert_only_text(text)
    assert [json.loads(line)["seq"] for line in text.splitlines()] == list(range(len(all_events())))


def test_a_question_shows_what_would_be_hidden() -> None:
    spec = ToolSpec("fs_write", "Writes.", {"type": "object"}, "write")
    arguments = {"path": f"a{NASTY}", f"key{NASTY}{LINE}": NASTY, "mode": [NASTY]}
    call = ToolCall("c", f"fs_write{NASTY}", arguments, "")
    text = shown(
        Question(call, spec, f"no rule{NASTY}{LINE}", f"@@ -1 +1 @@\n-a\n+if user != 'root{NASTY}':\n")
    )
    own = re.sub(r"\x1b\[(?:1|0|3[126])m", "", text)
    assert not set(own) & FORBIDDEN
    assert "\\u202etfel\\u202c" in own, "somebody who says yes has seen it"
    assert "\\u001b]0;OWNED" in own
    assert "\\udb40\\udc41" in own
    assert not any(line.startswith("error: a line") for line in own.splitlines())


def test_errors_of_servers(terminal: Terminal) -> None:
    say_hyperguild_error(ServerError(NASTY + LINE, hint=NASTY + LINE))
    text = terminal.take()
    assert_only_text(text)
    assert text.count("\n") == 1


def test_skills(terminal: Terminal, tmp_path: Path) -> None:
    hidden = NASTY.replace("\x00", "")  # refused as such
    quoted = json.dumps(hidden + LINE)
    names = {"plain": quoted, "ev\x1b[5;41mil\u202e": '"x"', "two\nerror: a line of its own": '"x"'}
    for name, description in names.items():
        folder = tmp_path / "skills" / name
        folder.mkdir(parents=True)
        head = f"name: {quoted}\ndescription: {description}\nlicense: {quoted}\n"
        head += f"metadata: {{{quoted}: {quoted}}}\n"
        (folder / "SKILL.md").write_bytes(f"---\n{head}---\n{hidden}\n".encode())
    for arguments in (
        ["list"],
        ["check"],
        ["list", "--json"],
        *(["show", name] for name in [*names, NASTY[:60]]),
    ):
        text = terminal.run("--skills", str(tmp_path / "skills"), "skills", *arguments)
        assert_only_text(text)
        if arguments[0] != "show":
            assert "error: a line of its own" not in text.splitlines()


CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}"}}
  other: {{kind: openai, base_url: "{url}/broken/v1"}}
models:
  {name}: {{endpoint: swap}}
  far: {{endpoint: other}}
verifiers: {{default: {{judge: {{model: far, rubric: {name}}}, checks: [{{kind: regex, pattern: {name}}}]}}}}
chains:
  default: [{name}, far]
"""


class Hostile(http.server.BaseHTTPRequestHandler):
    """A server whose names and complaints are attacks."""

    def do_GET(self) -> None:
        row = {
            "id": f"model{NASTY}",
            "object": "model",
            "name": NASTY,
            "description": NASTY,
            "aliases": [NASTY],
        }
        body: dict[str, Any] = {"data": [row, {**row, "id": f"b{LINE}"}], "running": [], "version": NASTY}
        status = 500 if "broken" in self.path else 200
        if status == 500:
            body = {"error": {"message": NASTY + LINE, "code": NASTY, "type": NASTY}}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        pass


@pytest.fixture
def hostile() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_models_and_doctor_and_chains(terminal: Terminal, tmp_path: Path, hostile: str) -> None:
    name = json.dumps(f"phi{NASTY}{LINE}")
    config = tmp_path / "chains.yaml"
    skill = tmp_path / "skills" / "review" / "SKILL.md"
    skill.parent.mkdir(parents=True)
    skill.write_text("---\nname: review\ndescription: Reviews.\n---\nReview it.\n", encoding="utf-8")
    commands = (
        ["models"],
        ["models", "--json"],
        ["doctor"],
        ["chains", "show"],
        ["chains", "list"],
        ["chains", "check"],
        ["run", "review", "x", "--dry-run"],
        ["run", "review", "x", "--chain", NASTY],
        ["trust", str(config)],
        ["init", "--llama-swap", hostile, "--output", str(tmp_path / "new.yaml")],
    )
    for model in (name, "phi4"):  # the first is refused, or shown
        config.write_text(CHAINS.format(url=hostile, name=model), encoding="utf-8")
        for arguments in commands:
            text = terminal.run("--config", str(config), *arguments)
            assert_only_text(text)
            assert "error: a line of its own" not in [line.strip() for line in text.splitlines()]


def test_a_file_with_a_hostile_name(terminal: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / f"ev\x1b[5;41mil\u202e{LINE.replace('/', '')}"
    folder.mkdir()
    (folder / "chains.yaml").write_text("version: 1\nchains: {default: [1]}\n", encoding="utf-8")
    for arguments in (
        ["--config", str(folder / "chains.yaml"), "chains", "check"],
        ["--config", str(folder / "none.yaml"), "chains", "list"],
        ["--db", str(folder / "x.db"), "sessions", "list"],
        ["trust", str(folder / "chains.yaml")],
        ["run", "review", "-f", str(folder / "none")],
    ):
        text = terminal.run(*arguments)
        assert_only_text(text)
        assert not any(line.startswith("error: a line of its own") for line in text.splitlines())
