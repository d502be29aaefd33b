from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from damaged_logs import make_log, pages_of, spoil

from hyperguild.adapters.probes import EndpointInventory, ListedModel
from hyperguild.adapters.store.connection import open_for_writing
from hyperguild.adapters.store.migrations import MIGRATIONS
from hyperguild.cli.diagnosis import look_up
from hyperguild.cli.main import run_command_line
from hyperguild.simulation.process import FleetProcess

MODELS: dict[str, Any] = {"phi-4-q4": {"aliases": ["phi4"]}, "qwen-coder-32b": {}, "qwen3-8b": {}}
KEY = "swap-key-0123456789"
Findings = list[dict[str, str]]


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetProcess]:
    with FleetProcess() as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fleet: FleetProcess) -> None:
    for name in ("HYPERGUILD_CONFIG", "HYPERGUILD_SKILLS", "HYPERGUILD_DB", "CLOUD_KEY", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    skill = tmp_path / "skills" / "review" / "SKILL.md"
    skill.parent.mkdir(parents=True)
    skill.write_text("---\nname: review\ndescription: Reviews.\n---\nReview it.\n", encoding="utf-8")
    fleet.script({"models": MODELS})
    fleet.reset()


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def write(url: str, **sections: Any) -> None:
    document: dict[str, Any] = {
        "version": 1,
        "endpoints": {"swap": {"kind": "llama-swap", "base_url": url}},
        "verifiers": {"default": {"judge": "phi-4-q4"}},
        "chains": {"default": ["phi-4-q4"]},
    }
    Path("chains.yaml").write_text(yaml.safe_dump(document | sections, sort_keys=False), encoding="utf-8")


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str, warning: str = "") -> tuple[int, Findings]:
    code = run_command_line([*arguments, "doctor", "--json"])
    captured = capsys.readouterr()
    assert captured.err.startswith(warning) if warning else captured.err == ""
    findings: Findings = json.loads(captured.out)
    for finding in findings:
        assert set(finding) == {"area", "level", "message", "remedy"}
        assert finding["level"] in {"ok", "note"} or finding["remedy"], finding
    assert code == (1 if at_level(findings, "error") else 0)
    return code, findings


def at_level(findings: Findings, level: str) -> list[str]:
    return [finding["message"] for finding in findings if finding["level"] == level]


def load(fleet: FleetProcess, models: Sequence[str]) -> None:
    for model in models:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        httpx.post(f"{fleet.url}/v1/chat/completions", json=body, timeout=30).raise_for_status()


def test_a_sound_set_up_has_no_problems(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    write(fleet.url)
    load(fleet, ["phi-4-q4"])
    code, findings = doctor(capsys)
    assert code == 0
    assert {finding["level"] for finding in findings if finding["area"] != "tools"} == {"ok"}
    told = "\n".join(finding["message"] for finding in findings)
    assert "found at" in told
    assert "valid: 1 endpoint, 1 model, 1 chain (default)" in told
    assert "needs no trust" in told
    assert "phi-4-q4: loaded (tier of default; judge of default)" in told
    assert "sessions.db" in told


def test_the_report_has_a_heading_for_each_area_and_counts_the_problems(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(fleet.url, chains={"default": ["phi-4-q4", "qwen-coder-33b"]})
    assert run_command_line(["doctor"]) == 1
    out = capsys.readouterr().out
    for heading in ("chains.yaml", "skills", "session log", "endpoint swap"):
        assert heading in out.splitlines()
    assert "  ✗ qwen-coder-33b" in out
    assert "    → " in out
    assert out.splitlines()[-1] == "1 error"
    monkeypatch.setenv("COLUMNS", "60")
    run_command_line(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 60


def test_nothing_is_called_or_loaded(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    write(fleet.url, chains={"default": ["phi4", "qwen-coder-32b"]})
    doctor(capsys)
    assert {request["method"] for request in fleet.requests()} == {"GET"}
    assert not any("upstream" in request["path"] for request in fleet.requests())
    assert all(model["loads"] == 0 for model in fleet.state()["models"].values())


def test_a_cold_model_is_told_and_is_no_problem(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    write(fleet.url)
    _, findings = doctor(capsys)
    assert any("phi-4-q4: not loaded" in message for message in at_level(findings, "ok"))


def test_an_alias_is_a_note_that_names_the_model(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    write(fleet.url, chains={"default": ["phi4"]})
    code, findings = doctor(capsys)
    assert code == 0
    assert at_level(findings, "note") == ["phi4: phi4 is an alias there, of phi-4-q4"]


def test_a_model_that_is_not_listed_is_an_error_with_the_nearest_name(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    write(fleet.url, chains={"default": ["qwen-coder-33b"]})
    code, findings = doctor(capsys)
    assert code == 1
    (message,) = at_level(findings, "error")
    assert 'did you mean "qwen-coder-32b"?' in message


def test_a_server_that_is_down(closed_port: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(closed_port)
    code, findings = doctor(capsys)
    assert code == 1
    (problem,) = [finding for finding in findings if finding["level"] == "error"]
    assert problem["area"] == "endpoint swap"
    assert "nothing listens" in problem["message"]
    assert "start llama-swap" in problem["remedy"]


@pytest.mark.parametrize("named", [(), ("--config", "chains.yaml")])
def test_a_secret_in_an_address_is_not_shown(
    named: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_KEY", "hunter2-hunter2")
    key = {} if named else {"api_key_env": "CLOUD_KEY"}
    endpoint = {"kind": "llama-swap", "base_url": "http://${CLOUD_KEY}.invalid:1", **key}
    write("", endpoints={"swap": endpoint})
    code, findings = doctor(capsys, *named)
    assert code == 1
    assert "${CLOUD_KEY}.invalid" in json.dumps(findings)
    assert "hunter2" not in json.dumps(findings)


def test_an_endpoint_that_nothing_uses_is_no_error(
    fleet: FleetProcess, closed_port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spare = {"kind": "openai", "base_url": f"{closed_port}/v1"}
    write(fleet.url, endpoints={"swap": {"kind": "llama-swap", "base_url": fleet.url}, "spare": spare})
    code, findings = doctor(capsys)
    assert code == 0
    (message,) = at_level(findings, "warning")
    assert "no chain uses it" in message


@pytest.mark.parametrize(
    ("key", "says"),
    [(None, "SWAP_KEY is not set"), ("wrong-key-0123456789", "refuses the API key"), (KEY, None)],
)
def test_keys_are_told_by_name_and_never_shown(
    key: str | None,
    says: str | None,
    fleet: FleetProcess,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet.script({"models": MODELS, "api_keys": {"llama_swap": [KEY]}})
    monkeypatch.delenv("SWAP_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("SWAP_KEY", key)
    write(
        fleet.url,
        endpoints={"swap": {"kind": "llama-swap", "base_url": fleet.url, "api_key_env": "SWAP_KEY"}},
    )
    code, findings = doctor(capsys)
    told = json.dumps(findings)
    assert "$SWAP_KEY" in told
    assert key is None or key not in told
    assert code == (0 if says is None else 1)
    assert says is None or says in at_level(findings, "error")[0]


CLOUD = {"kind": "anthropic", "base_url": "https://api.anthropic.com", "api_key_env": "CLOUD_KEY"}


@pytest.mark.parametrize(
    ("sections", "level"),
    [
        ({"chains": {"default": ["phi-4-q4", "claude-x"]}}, "warning"),
        ({"chains": {"default": ["phi-4-q4", "claude-x"], "cloud": ["claude-x"]}}, "error"),
        (
            {
                "chains": {"default": ["phi-4-q4", "claude-x"]},
                "verifiers": {"default": {"judge": ["claude-x"]}},
            },
            "error",
        ),
    ],
)
def test_a_cloud_key_that_chains_can_do_without_is_a_warning(
    sections: dict[str, Any], level: str, fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints = {"swap": {"kind": "llama-swap", "base_url": fleet.url}, "anthropic": CLOUD}
    write(fleet.url, endpoints=endpoints, **sections)
    code, findings = doctor(capsys)
    assert code == (1 if level == "error" else 0)
    (message,) = at_level(findings, level)
    assert message.startswith("no API key for endpoint 'anthropic': $CLOUD_KEY is not set")
    assert ("; its tiers are passed over" in message) == (level == "warning")


def test_a_key_that_is_wanted_and_not_there(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.script({"models": MODELS, "api_keys": {"llama_swap": [KEY]}})
    write(fleet.url)
    code, findings = doctor(capsys)
    assert code == 1
    assert "wants an API key" in at_level(findings, "error")[0]
    assert "api_key_env" in json.dumps(findings)


def test_judge_and_workers_that_may_evict_each_other(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        fleet.url,
        chains={"default": ["phi4", "qwen3-8b"], "code": ["qwen-coder-32b"]},
        verifiers={"default": {"judge": "qwen3-8b"}},
    )
    code, findings = doctor(capsys)
    assert code == 0
    (warning,) = [finding for finding in findings if finding["level"] == "warning"]
    assert "qwen3-8b" in warning["message"]
    assert "ignore this if they are in one group already" in warning["message"]
    snippet = yaml.safe_load(warning["remedy"].split("\n", 1)[1])
    group = snippet["groups"]["hyperguild"]
    assert group == {"swap": False, "members": ["qwen3-8b", "phi-4-q4", "qwen-coder-32b"]}


def test_several_judges_are_one_warning_with_one_group(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        fleet.url,
        chains={"default": ["phi4"], "code": {"tiers": ["qwen-coder-32b"], "verifier": "strict"}},
        verifiers={"default": {"judge": "qwen3-8b"}, "strict": {"judge": "phi4"}},
    )
    _, findings = doctor(capsys)
    (warning,) = [finding for finding in findings if finding["level"] == "warning"]
    assert "the judge qwen3-8b and what it judges (phi-4-q4), and the judge phi-4-q4" in warning["message"]
    group = yaml.safe_load(warning["remedy"].split("\n", 1)[1])["groups"]["hyperguild"]
    assert group["members"] == ["qwen3-8b", "phi-4-q4", "qwen-coder-32b"]


def test_the_advised_group_makes_the_warning_go_away(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    members = ["qwen3-8b", "phi-4-q4"]
    fleet.script({"models": MODELS, "groups": {"hyperguild": {"swap": False, "members": members}}})
    load(fleet, members)
    write(fleet.url, chains={"default": ["phi4"]}, verifiers={"default": {"judge": "qwen3-8b"}})
    _, findings = doctor(capsys)
    assert at_level(findings, "warning") == []
    assert "the judge qwen3-8b stays loaded beside phi-4-q4" in at_level(findings, "ok")


@pytest.mark.parametrize(
    "sections",
    [
        {"verifiers": {"default": {"judge": "phi4"}}},  # an alias of the worker itself
        {"verifiers": {"default": {"judge": {"model": ["qwen3-8b", "phi-4-q4"], "prefer": "warm"}}}},
        {"verifiers": {"default": {"checks": [{"kind": "not_empty"}]}}},
    ],
)
def test_where_no_judge_evicts_a_worker(
    sections: dict[str, Any], fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    write(fleet.url, **sections)
    assert at_level(doctor(capsys)[1], "warning") == []


def test_a_judge_on_another_server_evicts_nobody(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints = {name: {"kind": "llama-swap", "base_url": fleet.url} for name in ("one", "two")}
    write(
        fleet.url,
        endpoints=endpoints,
        verifiers={"default": {"judge": "two/qwen3-8b"}},
        chains={"default": ["one/phi-4-q4"]},
    )
    assert at_level(doctor(capsys)[1], "warning") == []


class _SlowLlamaSwap(http.server.BaseHTTPRequestHandler):
    """Answers as llama-swap does, after 0.3 s."""

    def do_GET(self) -> None:
        time.sleep(0.3)
        documents = {"/running": {"running": []}, "/v1/models": {"data": [{"id": "phi-4-q4"}]}}
        body = json.dumps(documents.get(self.path)).encode()
        self.send_response(200 if self.path in documents else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


def test_a_slow_probe(capsys: pytest.CaptureFixture[str]) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _SlowLlamaSwap) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        write(f"http://127.0.0.1:{server.server_port}")
        try:
            code, findings = doctor(capsys)
        finally:
            server.shutdown()
    assert code == 0
    (message,) = at_level(findings, "warning")
    assert "probe_timeout_ms is 200" in message


def test_a_server_that_is_no_llama_swap(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    write(f"{fleet.url}/openai/v1")
    code, findings = doctor(capsys)
    assert code == 1
    assert at_level(findings, "error")


def test_a_cloud_model_without_a_price_and_one_that_is_not_listed(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.script({"models": MODELS, "openai": {"models": {"gpt-5": {}}}})
    monkeypatch.setenv("CLOUD_KEY", "sk-not-a-real-one")
    cloud = {"kind": "openai", "base_url": f"{fleet.url}/openai/v1", "api_key_env": "CLOUD_KEY"}
    tiers = [{"model": name, "tier": "managed"} for name in ("cloud/gpt-5", "cloud/gpt-6")]
    models = {"cloud/gpt-5": {"endpoint": "cloud", "upstream": "gpt-5", "price": {"input": 1, "output": 2}}}
    write(
        fleet.url,
        endpoints={"cloud": cloud},
        models=models,
        chains={"default": {"tiers": tiers}},
        verifiers={"none": {"checks": [{"kind": "not_empty"}]}},
    )
    code, findings = doctor(capsys)
    assert code == 0
    assert any("cloud/gpt-5: listed" in message for message in at_level(findings, "ok"))
    (unlisted,) = at_level(findings, "warning")
    assert 'lists no model gpt-6; did you mean "gpt-5"?' in unlisted
    (note,) = at_level(findings, "note")
    assert "cloud/gpt-6: has no price" in note


def test_programs_that_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("plain").write_text("no program", encoding="utf-8")
    checks = [{"kind": "command", "argv": [name]} for name in ("./no-such-check", "./plain", "true")]
    write(
        "http://unused",
        endpoints={"tool": {"kind": "command", "argv": ["no-such-program", "{model}"]}},
        verifiers={"default": {"checks": checks}},
        chains={"default": ["claude-x"]},
    )
    code, findings = doctor(capsys, "--config", "chains.yaml")
    assert code == 1
    errors = at_level(findings, "error")
    assert len(errors) == 3
    assert any("not on PATH: no-such-program" in message for message in errors)
    assert any("no-such-check" in message for message in errors)
    assert any("plain is not executable" in message for message in errors)


def test_hooks_are_looked_at_and_not_run(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(fleet.url, hooks={"pre_tool": [["./guard"]], "stop": [["sh", "-c", "touch ran"], ["no-such-hook"]]})
    Path("guard").write_text("#!/bin/sh\n", encoding="utf-8")
    Path("guard").chmod(0o700)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    code, findings = doctor(capsys, "--config", "../chains.yaml")
    assert code == 1
    ours = [(one["area"], one["level"]) for one in findings if one["area"].startswith("hook ")]
    assert ours == [("hook pre_tool", "ok"), ("hook stop", "ok"), ("hook stop", "error")]
    assert not list(tmp_path.rglob("ran"))


def test_mcp_servers_are_looked_at_and_not_started(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_TOKEN", "hunter2hunter2")
    write(
        fleet.url,
        mcp_servers={
            "there": {"argv": ["sh", "-c", "touch started"]},
            "absent": {"argv": ["no-such-program"]},
            "nowhere": {"argv": ["sh"], "cwd": "no-such-folder"},
            "remote": {"url": "http://127.0.0.1:9/${MCP_TOKEN}/mcp"},
        },
    )
    code, findings = doctor(capsys, "--config", "chains.yaml")
    assert code == 1
    ours = {one["area"]: one for one in findings if one["area"].startswith("MCP server ")}
    assert [(one["level"]) for one in ours.values()] == ["ok", "error", "error", "ok"]
    assert ours["MCP server there"]["message"].endswith("/sh")
    assert ours["MCP server absent"]["message"] == "not on PATH: no-such-program"
    assert "no-such-folder is not there" in ours["MCP server nowhere"]["message"]
    assert ours["MCP server remote"]["message"] == "is at http://127.0.0.1:9/${MCP_TOKEN}/mcp; not asked"
    assert not Path("started").exists()


def test_a_file_that_nobody_trusts_runs_and_sends_nothing(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sh", "-c", "touch ran; echo key-0123456789"]
    write(
        fleet.url,
        endpoints={"swap": {"kind": "llama-swap", "base_url": fleet.url, "api_key_cmd": command}},
    )
    code, findings = doctor(capsys)
    assert code == 1
    assert any("is not trusted" in message for message in at_level(findings, "error"))
    assert "hyperguild trust" in json.dumps(findings)
    assert not Path("ran").exists()
    assert fleet.requests() == []
    assert run_command_line(["trust", "--yes", "chains.yaml"]) == 0
    capsys.readouterr()
    code, findings = doctor(capsys)
    assert code == 0
    assert Path("ran").exists()
    assert any(message.startswith("trusted: it runs") for message in at_level(findings, "ok"))


def test_a_refused_file_is_reported_as_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    Path("chains.yaml").write_text("version: 1\nchanes: {}\n", encoding="utf-8")
    assert run_command_line(["doctor", "--json"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert 'chains.yaml:2:1: chanes: unknown key; did you mean "chains"?' in captured.err
    Path("chains.yaml").unlink()
    assert run_command_line(["doctor"]) == 3
    assert "hyperguild init" in capsys.readouterr().err
    for arguments, hint in (
        (["--config", "typo.yaml", "doctor"], " (named by --config)"),
        (["--config", "typo.yaml", "chains", "list"], " (named by --config)"),
        (["chains", "check", "typo.yaml"], ""),
        (["trust", "typo.yaml"], ""),
    ):
        assert run_command_line(arguments) == 3
        assert capsys.readouterr().err.endswith(
            f"typo.yaml cannot be read: No such file or directory{hint}\n"
        )


def test_skills_that_are_broken_missing_or_not_there(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    write(fleet.url, skills={"reviev": {"chain": "default"}})
    broken = Path("skills/broken/SKILL.md")
    broken.parent.mkdir()
    broken.write_text("---\nname: other\ndescription: Breaks.\n---\nBody.\n", encoding="utf-8")
    _, findings = doctor(capsys)
    assert any("differs from the folder" in message for message in at_level(findings, "error"))
    assert any("names the skill reviev" in message for message in at_level(findings, "warning"))
    assert "did you mean review?" in json.dumps(findings)
    write(fleet.url)
    for folder in ("broken", "review"):
        Path("skills", folder, "SKILL.md").unlink()
    _, findings = doctor(capsys)
    assert any("no skills in" in message for message in at_level(findings, "error"))


def test_the_session_log(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    write(fleet.url)
    log = Path("log.db")
    open_for_writing(log, program_version="1").close()
    _, findings = doctor(capsys, "--db", "log.db")
    assert any(f"log.db, version {len(MIGRATIONS)}" in message for message in at_level(findings, "ok"))
    connection = sqlite3.connect(log)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    _, findings = doctor(capsys, "--db", "log.db")
    assert any("has version 99" in message for message in at_level(findings, "error"))
    connection = sqlite3.connect(log)
    connection.execute("PRAGMA user_version = 0")
    connection.close()
    before = log.read_bytes()
    _, findings = doctor(capsys, "--db", "log.db")
    assert any("of an older version" in message for message in at_level(findings, "note"))
    assert log.read_bytes() == before
    log.write_text("this is no database, and long enough to be told from one", encoding="utf-8")
    _, findings = doctor(capsys, "--db", "log.db", warning="warning: it is not known who")
    assert any("not an SQLite file" in message for message in at_level(findings, "error"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_session_log_that_cannot_be_made(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    write(fleet.url)
    Path("locked").mkdir(mode=0o500)
    _, findings = doctor(capsys, "--db", "locked/log.db")
    assert any("cannot be made" in message for message in at_level(findings, "error"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_session_log_where_even_root_may_not_write(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    write(fleet.url)
    _, findings = doctor(capsys, "--db", "/proc/hyperguild/log.db")
    assert any("cannot be made: /proc cannot be" in message for message in at_level(findings, "error"))


def test_a_folder_in_place_of_the_session_log(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    write(fleet.url)
    Path("folder").mkdir()
    _, findings = doctor(capsys, "--db", "folder")
    assert any("folder is a folder" in message for message in at_level(findings, "error"))
    _, findings = doctor(capsys, "--db", "folder/deep/log.db")
    assert any("none yet" in message for message in at_level(findings, "ok"))
    assert list(Path("folder").iterdir()) == []


def test_names_are_looked_up_as_the_server_does() -> None:
    own = ListedModel("phi-4-q4", "model", "ready", aliases=("phi4",))
    alias_row = ListedModel("phi4", "alias", "ready", targets=("phi-4-q4",))
    peer = ListedModel("big/llama", "peer", None)
    inventory = EndpointInventory("swap", None, (own, alias_row, peer))
    found = {name: look_up(inventory, name) for name in ("phi-4-q4", "phi4", "llama", "big/llama", "phi")}
    assert {name: known and (known.model.id, known.alias) for name, known in found.items()} == {
        "phi-4-q4": ("phi-4-q4", False),
        "phi4": ("phi-4-q4", True),
        "llama": ("big/llama", False),
        "big/llama": ("big/llama", False),
        "phi": None,
    }


def test_c1_it_says_whether_shell_commands_run_in_a_sandbox(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("http://127.0.0.1:9")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    _, findings = doctor(capsys)
    (bare,) = [one for one in findings if one["area"] == "tools"]
    assert (bare["level"], bare["remedy"] is None) == ("note", False)
    assert bare["message"] == "shell commands run without a sandbox: bubblewrap is not installed"


def test_a_log_that_is_damaged_inside(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write(fleet.url)
    path = make_log(tmp_path / "log.db")
    _, findings = doctor(capsys, "--db", "log.db")
    assert not [one for one in findings if one["area"] == "session log" and one["level"] == "error"]
    spoil(path, pages_of(path, "attempts")[3])
    _, findings = doctor(capsys, "--db", "log.db")
    (found,) = [one for one in findings if one["area"] == "session log"]
    assert found["level"] == "error"
    assert "is damaged" in found["message"]
    assert "hyperguild sessions repair" in found["remedy"]


def test_a_log_that_cannot_be_read_does_not_pass_for_one_in_which_all_is_well(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write(fleet.url)
    (tmp_path / "log.db").write_bytes(b"no database" * 100)
    for command in (["models"], ["doctor"]):
        run_command_line(["--db", "log.db", *command])
        err = capsys.readouterr().err
        assert err.startswith("warning: it is not known who is not asked for a while: the session log "), err
        assert err.count("\n") == 1


def test_a_disk_with_little_room(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(fleet.url)
    make_log(tmp_path / "log.db")
    usage = shutil.disk_usage(tmp_path)._replace(free=70_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    _, findings = doctor(capsys, "--db", "log.db")
    (found,) = [one for one in findings if one["area"] == "session log" and one["level"] == "warning"]
    assert "has room for 70 kB more" in found["message"]
