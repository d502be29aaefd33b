from __future__ import annotations

import json
import os
import pty
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from hyperguild.cli.main import run_command_line
from hyperguild.config.loader import load_config
from hyperguild.config.locate import find_config
from hyperguild.config.trust import TrustStore, require_trust
from hyperguild.simulation.process import FleetProcess

MODELS: dict[str, Any] = {
    "phi-4-q4": {"aliases": ["phi4"]},
    "qwen-coder-32b": {},
    "qwen3-8b": {},
    "nomic-embed-text": {},
}

BUNDLED = {"commit-message", "debug", "explain", "review", "summarize", "write-tests"}


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetProcess]:
    with FleetProcess() as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fleet: FleetProcess) -> None:
    for name in ("HYPERGUILD_CONFIG", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "SWAP_KEY", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    fleet.script({"models": MODELS})
    fleet.reset()


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def init(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command_line(["init", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def chain_of(path: str = "chains.yaml") -> list[str]:
    configuration = load_config(Path(path), os.environ)
    return [tier.model.name for tier in configuration.chain_for("review").tiers]


def judge_of(path: str = "chains.yaml") -> str:
    judge = load_config(Path(path), os.environ).verifiers["default"].judge
    assert judge is not None
    return judge.models[0].name


def test_without_a_terminal_the_servers_chat_models_become_the_chain(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = init(capsys, "--llama-swap", fleet.url)
    assert (code, err) == (0, "")
    assert chain_of() == ["phi-4-q4", "qwen-coder-32b"]
    assert judge_of() == "qwen3-8b"
    assert {folder.name for folder in Path("skills").iterdir()} == BUNDLED
    assert "wrote chains.yaml" in out
    assert "hyperguild doctor" in out
    assert "hyperguild run review -f FILE" in out
    assert "judges its own answers" not in out


def test_the_only_model_judges_itself_and_that_is_told(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.script({"models": {"phi": {}}})
    _, out, _ = init(capsys, "--llama-swap", fleet.url)
    assert (chain_of(), judge_of()) == (["phi"], "phi")
    assert "judges its own answers" in out


def test_the_judge_that_was_named_does_not_work_itself(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    init(capsys, "--llama-swap", fleet.url, "--judge", "phi4")
    assert (chain_of(), judge_of()) == (["qwen-coder-32b", "qwen3-8b"], "phi-4-q4")


@pytest.mark.parametrize("key", ["sk-abcdef0123456789", "hunter2-hunter2", ""])
def test_a_key_in_place_of_its_variable_is_refused_and_not_repeated(
    key: str, fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = init(capsys, "--llama-swap", fleet.url, "--api-key-env", key)
    assert (code, out) == (2, "")
    assert "name of an environment variable" in err
    assert not key or key not in err
    assert not Path("chains.yaml").exists()


def test_judge_and_workers_that_may_evict_each_other_are_told_how_not_to(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = init(capsys, "--llama-swap", fleet.url, "--order", "phi4", "--judge", "qwen3-8b")
    assert "evict each other" in out
    assert "swap: false" in out
    assert "members: [qwen3-8b, phi-4-q4]" in out


def test_models_that_are_loaded_at_once_need_no_group(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    members = ["phi-4-q4", "qwen3-8b"]
    fleet.script({"models": MODELS, "groups": {"both": {"members": members, "swap": False}}})
    load(fleet, members)
    _, out, _ = init(capsys, "--llama-swap", fleet.url, "--order", "phi4", "--judge", "qwen3-8b")
    assert "evict" not in out
    assert "qwen3-8b stays loaded" in out


def load(fleet: FleetProcess, models: Sequence[str]) -> None:
    for model in models:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        httpx.post(f"{fleet.url}/v1/chat/completions", json=body, timeout=30).raise_for_status()


def test_no_model_is_loaded(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    init(capsys, "--llama-swap", fleet.url)
    assert all(model["loads"] == 0 for model in fleet.state()["models"].values())


def test_flags_choose_order_judge_and_cloud(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = init(
        capsys, "--llama-swap", fleet.url, "--yes", "--order", "qwen-coder-32b,phi4", "--judge", "qwen3-8b",
        "--cloud", "openai", "--cloud-model", "gpt-5",
    )  # fmt: skip
    assert code == 0
    assert chain_of() == ["qwen-coder-32b", "phi-4-q4", "gpt-5"]
    assert judge_of() == "qwen3-8b"
    assert "OPENAI_API_KEY is not set" in out


def test_the_key_in_the_environment_chooses_the_cloud(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-not-a-real-one")
    _, out, _ = init(capsys, "--llama-swap", fleet.url, "--order", "phi4")
    assert chain_of() == ["phi-4-q4", "claude-sonnet-4-6"]
    assert "is not set" not in out
    assert "sk-ant-not-a-real-one" not in out + Path("chains.yaml").read_text(encoding="utf-8")


def test_odd_names_of_models_come_through(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["hf.co/x:Q4 #1", "yes", "{a: b}", "it's"]
    fleet.script({"models": {name: {} for name in names}})
    code, _, _ = init(capsys, "--llama-swap", fleet.url)
    assert code == 0
    assert sorted([*chain_of(), judge_of()]) == sorted(names)


def test_a_file_that_is_there_is_kept(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    Path("chains.yaml").write_text("mine", encoding="utf-8")
    code, out, err = init(capsys, "--llama-swap", fleet.url)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "--force" in err
    assert Path("chains.yaml").read_text(encoding="utf-8") == "mine"
    assert not Path("skills").exists()
    assert init(capsys, "--llama-swap", fleet.url, "--force")[0] == 0
    assert "phi-4-q4" in chain_of()


def test_skills_that_are_there_are_kept(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    mine = Path("skills/review/SKILL.md")
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    _, out, _ = init(capsys, "--llama-swap", fleet.url)
    assert mine.read_text(encoding="utf-8") == "mine"
    assert Path("skills/debug/SKILL.md").is_file()
    assert "kept, as they were there: review" in out


def test_another_file_is_named_in_the_next_commands(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = init(capsys, "--llama-swap", fleet.url, "--output", "deep/my chains.yaml")
    assert code == 0
    assert "phi-4-q4" in chain_of("deep/my chains.yaml")
    assert Path("deep/skills/review/SKILL.md").is_file()
    assert "hyperguild --config 'deep/my chains.yaml' doctor" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--order", "phi5"], 'did you mean "phi4"?'),
        (["--judge", "qwen3-9b"], 'did you mean "qwen3-8b"?'),
        (["--llama-swap", "ftp://x"], "must begin with http"),
        (["--cloud", "none", "--cloud-model", "x"], "exclude each other"),
    ],
)
def test_what_the_command_line_gets_wrong(
    arguments: list[str], says: str, fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = init(capsys, "--llama-swap", fleet.url, *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert not Path("chains.yaml").exists()


def test_places_that_cannot_be_written(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("mine", encoding="utf-8")
    code, _, err = init(capsys, "--llama-swap", fleet.url, "--output", "file/chains.yaml")
    assert code == 2
    assert "cannot be written" in err
    Path("skills").write_text("mine", encoding="utf-8")
    code, _, err = init(capsys, "--llama-swap", fleet.url)
    assert code == 2
    assert "cannot be copied" in err
    assert err.count("\n") == 1


def test_a_server_that_is_down_is_one_error_with_remedies(
    closed_port: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-not-a-real-one")
    code, out, err = init(capsys, "--llama-swap", closed_port)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert closed_port in err
    assert "start llama-swap" in err
    assert not Path("chains.yaml").exists()


def test_no_models_and_no_cloud_is_an_error(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.script({"models": {"bge-m3": {}}})
    code, _, err = init(capsys, "--llama-swap", fleet.url)
    assert code == 3
    assert "--cloud" in err


def test_without_local_models_the_chain_is_the_cloud(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.script({"models": {"bge-m3": {}}})
    assert init(capsys, "--llama-swap", fleet.url, "--cloud", "anthropic")[0] == 0
    assert chain_of() == ["claude-sonnet-4-6"]
    code, _, err = init(capsys, "--llama-swap", fleet.url, "--cloud", "anthropic", "--judge", "x", "--force")
    assert code == 2
    assert "nothing to judge" in err


def test_a_server_with_a_key(
    fleet: FleetProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.script({"models": MODELS, "api_keys": {"llama_swap": ["swap-key-0123456789"]}})
    code, _, err = init(capsys, "--llama-swap", fleet.url)
    assert code == 3
    assert "--api-key-env NAME" in err
    code, _, err = init(capsys, "--llama-swap", fleet.url, "--api-key-env", "SWAP_KEY")
    assert code == 3
    assert "SWAP_KEY is not set" in err
    monkeypatch.setenv("SWAP_KEY", "wrong-key-0123456789")
    code, _, err = init(capsys, "--llama-swap", fleet.url, "--api-key-env", "SWAP_KEY")
    assert code == 3
    assert "refuses the API key" in err
    assert "wrong-key" not in err
    monkeypatch.setenv("SWAP_KEY", "swap-key-0123456789")
    assert init(capsys, "--llama-swap", fleet.url, "--api-key-env", "SWAP_KEY")[0] == 0
    endpoint = load_config(Path("chains.yaml"), os.environ).endpoints["swap"]
    assert endpoint.key is not None
    assert endpoint.key.env == "SWAP_KEY"


def test_what_init_writes_is_trusted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The wildcard address is no loopback address, and reaches this machine all the same.
    monkeypatch.setenv("SWAP_KEY", "swap-key-0123456789")
    with FleetProcess({"models": {"phi": {}}}, host="0.0.0.0") as everywhere:
        url = f"http://0.0.0.0:{everywhere.url.rpartition(':')[2]}"
        code, out, _ = init(capsys, "--llama-swap", url, "--api-key-env", "SWAP_KEY")
    assert code == 0
    assert "trusted: it sends the key of SWAP_KEY" in out
    found = find_config(None, os.environ, Path.cwd())
    configuration = load_config(found.path, os.environ)
    assert configuration.powers
    require_trust(found, configuration, TrustStore.of_user(os.environ))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.skipif(not is_free(8080), reason="something listens on llama-swap's own port")
def test_without_any_server_a_cloud_key_is_enough(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = init(capsys)
    assert code == 3
    assert "ANTHROPIC_API_KEY" in err
    assert "--llama-swap URL" in err
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-real-one")
    code, out, err = init(capsys)
    assert code == 0
    assert "no llama-swap" in err
    assert chain_of() == ["gpt-5-mini"]
    assert "evict" not in out


class Terminal:
    """A command at a pseudo-terminal, spoken to as a person does: an answer for each question."""

    def __init__(self, arguments: Sequence[str], env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hyperguild", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | {"COLUMNS": "100", "TERM": "dumb"} | env,
            start_new_session=True,
        )
        os.close(slave)
        self.said = ""

    def answer(self, question: str, text: str) -> None:
        begin = len(self.said)
        while question not in self.said[begin:]:
            assert self._read(), f"no question {question!r}, but: {self.said}"
        os.write(self._master, f"{text}\n".encode())

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._master)
        return self._process.wait(30)

    def _read(self) -> bool:
        assert select.select([self._master], [], [], 60)[0], self.said
        try:
            chunk = os.read(self._master, 65536)
        except OSError:
            return False
        self.said += chunk.decode(errors="replace").replace("\r\n", "\n")
        return bool(chunk)


def test_at_a_terminal_a_person_is_asked(fleet: FleetProcess) -> None:
    fleet.script({"models": MODELS, "peers": {"big": {"models": ["llama-405b"]}}})
    terminal = Terminal(["init", "--llama-swap", fleet.url], {})
    terminal.answer("cheapest first", "nonsense")
    terminal.answer("cheapest first", "phi4, 4")
    terminal.answer("Cloud tier", "anthropic")
    terminal.answer("Its model", "")
    terminal.answer("Judge", "qwen3-8b")
    assert terminal.end() == 0
    assert 'no model "nonsense"' in terminal.said
    assert "also called phi4" in terminal.said
    assert "not for chat" in terminal.said
    assert "on another server" in terminal.said
    assert chain_of() == ["phi-4-q4", "qwen-coder-32b", "claude-sonnet-4-6"]
    assert judge_of() == "qwen3-8b"


def test_at_a_terminal_empty_answers_take_what_is_proposed(fleet: FleetProcess) -> None:
    terminal = Terminal(["init", "--llama-swap", fleet.url], {"OPENAI_API_KEY": "sk-not-a-real-one"})
    for question in ("cheapest first", "Cloud tier", "Its model", "Judge"):
        terminal.answer(question, "")
    assert terminal.end() == 0
    assert chain_of() == ["phi-4-q4", "qwen-coder-32b", "gpt-5-mini"]


def test_at_a_terminal_yes_asks_nothing(fleet: FleetProcess) -> None:
    terminal = Terminal(["init", "--yes", "--llama-swap", fleet.url], {})
    assert terminal.end() == 0
    assert "Judge of" not in terminal.said
    assert len(chain_of()) == 2


def test_what_is_written_works_with_doctor(fleet: FleetProcess, capsys: pytest.CaptureFixture[str]) -> None:
    init(capsys, "--llama-swap", fleet.url)
    assert run_command_line(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert {finding["area"] for finding in findings} >= {"chains.yaml", "skills", "endpoint swap"}
