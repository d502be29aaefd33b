from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperguild.cli.main import run_command_line
from hyperguild.simulation.process import FleetProcess

SCRIPT: dict[str, Any] = {
    "groups": {"all": {"swap": False, "members": ["phi-4-q4", "qwen", "judge"]}},
    "models": {
        "phi-4-q4": {"aliases": ["phi4", "phi"], "answers": [{"text": "x"}]},
        "phi4-mini": {"answers": [{"text": "x"}]},
        "qwen": {"answers": [{"text": "x"}]},
        "judge": {"answers": [{"text": "x"}]},
    },
    "anthropic": {"models": {"claude-sonnet-4-6": {"answers": [{"text": "x"}]}}},
}
CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}"}}
  cloud: {{kind: anthropic, base_url: "{url}/anthropic", api_key_env: CLOUD_KEY}}
  claude: {{kind: command, argv: [claude, "{{model}}"]}}
models:
  small: {{endpoint: swap, upstream: phi}}
  spare: {{endpoint: swap, upstream: qwen, price: {{input: 0.1, output: 0.25}}}}
  sonnet: {{endpoint: cloud, upstream: claude-sonnet-4-6, price: {{input: 3.0, output: 15.0}}}}
verifiers: {{default: {{judge: judge}}, other: {{judge: spare}}}}
chains:
  default: [small, sonnet]
  code: [small, claude/opus]
  unjudged: {{verifier: other, tiers: [sonnet]}}
"""


@pytest.fixture(scope="module")
def shared_fleet() -> Iterator[FleetProcess]:
    with FleetProcess(SCRIPT) as fleet:
        yield fleet


@pytest.fixture
def fleet(shared_fleet: FleetProcess) -> FleetProcess:
    shared_fleet.script(SCRIPT)
    shared_fleet.reset()
    return shared_fleet


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HYPERGUILD_CONFIG", str(tmp_path / "chains.yaml"))
    monkeypatch.setenv("CLOUD_KEY", "made-up-cloud-key-0123456789")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def chains_file(tmp_path: Path, fleet: FleetProcess) -> Path:
    return write(tmp_path, CHAINS.format(url=fleet.url))


def write(folder: Path, text: str) -> Path:
    path = folder / "chains.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(fleet: FleetProcess, model: str) -> None:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}]}).encode()
    request = urllib.request.Request(  # noqa: S310  # our own http address
        fleet.url + "/v1/chat/completions", data=body, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  # likewise
        answer.read()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command_line(["models", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def objects(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    code, out, _ = run(capsys, "--json")
    assert code == 0
    return {row["model"] or row["upstream"]: row for row in json.loads(out)}


def test_the_table(chains_file: Path, fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    load(fleet, "qwen")
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "endpoint  model                       state  per M tokens    used by",
        "swap      small (phi, phi4)           cold   free            default, code",
        "swap      spare (qwen)                ready  $0.10 / $0.25   –",
        "swap      judge                       cold   free            judge of default, code",
        "cloud     sonnet (claude-sonnet-4-6)  –      $3.00 / $15.00  default, unjudged",
        "claude    claude/opus                 –      unknown         code",
        "",
        "not in chains.yaml",
        "swap  phi4-mini  cold",
    ]


def test_where_every_model_is_configured_nothing_follows(
    tmp_path: Path, fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CHAINS.format(url=fleet.url).replace(
        "models:\n", "models:\n  mini: {endpoint: swap, upstream: phi4-mini}\n"
    )
    write(tmp_path, text)
    _, out, _ = run(capsys)
    assert len(out.splitlines()) == 7
    assert "not in chains.yaml" not in out


def test_json(chains_file: Path, fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    load(fleet, "phi-4-q4")
    rows = objects(capsys)
    assert rows["small"] == {
        "endpoint": "swap",
        "model": "small",
        "upstream": "phi",
        "state": "ready",
        "configured": True,
        "listed": True,
        "chains": ["default", "code"],
        "judges": [],
        "aliases": ["phi4", "phi"],
        "price": None,
        "breaker": None,
    }
    assert rows["sonnet"]["price"] == {
        "input": 3.0,
        "output": 15.0,
        "cached_input": None,
        "cache_write": None,
    }
    assert (rows["sonnet"]["state"], rows["sonnet"]["listed"]) == (None, True)
    assert (rows["claude/opus"]["state"], rows["claude/opus"]["listed"]) == (None, None)
    assert (rows["judge"]["chains"], rows["judge"]["judges"]) == ([], ["default", "code"])
    mini = rows["phi4-mini"]
    assert (mini["model"], mini["configured"], mini["state"]) == (None, False, "cold")


def test_nothing_is_loaded_by_it(
    chains_file: Path, fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys)
    asked = {(request["method"], request["path"]) for request in fleet.requests()}
    assert {method for method, _ in asked} == {"GET"}
    assert ("GET", "/running") in asked
    assert ("GET", "/anthropic/v1/models") in asked
    assert all(model["loads"] == 0 for model in fleet.state()["models"].values())


def test_an_endpoint_that_is_down_is_named_and_the_rest_shown(
    tmp_path: Path, fleet: FleetProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLOUD_KEY")
    there = f'{{kind: llama-swap, base_url: "{fleet.url}"}}'
    down = '{kind: llama-swap, base_url: "http://127.0.0.1:9"}'
    text = CHAINS.format(url=fleet.url).replace(f"swap: {there}", f"swap: {down}\n  up: {there}")
    write(tmp_path, text.replace("judge: judge", "judge: up/judge"))
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].split()[:4] == ["swap", "small", "(phi)", "unknown"]
    assert ["up", "up/judge", "cold", "free"] in [line.split()[:4] for line in lines]
    assert any(line.startswith("swap: ") and "http://127.0.0.1:9" in line for line in lines)
    assert any(line.startswith("cloud: ") and "CLOUD_KEY" in line for line in lines)
    code, out, err = run(capsys, "--json")
    assert code == 0
    assert {row["upstream"]: row["listed"] for row in json.loads(out)}["phi"] is None
    assert [line.split(": ")[:2] for line in err.splitlines()] == [["warning", "swap"], ["warning", "cloud"]]


def test_a_model_that_llama_swap_does_not_list_is_named(
    tmp_path: Path, fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CHAINS.format(url=fleet.url).replace("upstream: phi}", "upstream: phi4-mni}")
    write(tmp_path, text)
    _, out, _ = run(capsys)
    assert 'swap: lists no "phi4-mni"; did you mean "phi4-mini"?' in out
    rows = objects(capsys)
    assert (rows["small"]["listed"], rows["small"]["state"]) == (False, "cold")
    write(tmp_path, text.replace("phi4-mni", "zzz"))
    _, out, _ = run(capsys)
    assert 'swap: lists no "zzz"; it is misspelt, or hidden there' in out


def test_of_many_models_thirty_are_shown(
    chains_file: Path, fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    many = {f"extra-{number}": {"answers": [{"text": "x"}]} for number in range(40)}
    fleet.script({**SCRIPT, "models": {**SCRIPT["models"], **many}})
    _, out, _ = run(capsys)
    head, _, tail = out.partition("not in chains.yaml\n")
    assert "extra" not in head
    assert len(tail.splitlines()) == 31
    assert tail.splitlines()[-1] == "… 11 more (--all)"
    _, out, _ = run(capsys, "--all")
    assert out.count("extra-") == 40
    assert "more" not in out
    assert len(objects(capsys)) == 46


def test_on_a_narrow_page_each_model_has_rows_of_its_own(
    chains_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    code, out, _ = run(capsys)
    assert code == 0
    assert "small (phi, phi4)  cold\n  swap · free · default, code\n" in out
    assert max(len(line) for line in out.splitlines()) <= 40


def test_a_long_list_of_chains_is_cut_to_the_page(
    tmp_path: Path, fleet: FleetProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    more = "".join(f"  chain-number-{number}: [small]\n" for number in range(20))
    write(tmp_path, CHAINS.format(url=fleet.url) + more)
    _, out, _ = run(capsys)
    assert max(len(line) for line in out.splitlines()) <= 100
    assert out.splitlines()[1].endswith("…")


def test_nothing_is_sent_for_a_file_that_nobody_trusts(
    chains_file: Path,
    fleet: FleetProcess,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HYPERGUILD_CONFIG")
    code, out, err = run(capsys)
    assert (code, out) == (3, "")
    assert "is not trusted" in err
    assert fleet.requests() == []


def test_what_a_server_says_cannot_act_on_the_terminal(
    chains_file: Path, fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.script({**SCRIPT, "models": {**SCRIPT["models"], "\x1b[31mred": {"answers": [{"text": "x"}]}}})
    _, out, _ = run(capsys)
    assert "red" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("group", ["models", "sessions", "chains", "skills"])
def test_a_list_of_commands_breaks_no_sentence_off(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line([group, "--help"]) == 0
    commands = capsys.readouterr().out.partition("Commands:\n")[2].partition("\n\n")[0]
    assert commands
    assert "..." not in commands


def test_a_log_that_cannot_be_read_is_not_said_to_be_well(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "log.db"
    assert run_command_line(["--db", str(log), "models", "reset"]) == 0
    assert not log.exists()
    log.write_text("no database, and long enough for the header of one to be looked for in it. " * 20)
    capsys.readouterr()
    assert run_command_line(["--db", str(log), "models", "reset"]) == 5
    assert "sessions repair" in capsys.readouterr().err
