"""What the commands that look at the set-up say of embedded endpoints. No model is loaded by any of them."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from keeping import keeper_home

from hyperguild.cli.diagnosis import never_warm, uses_of
from hyperguild.cli.dry_run import _evicts
from hyperguild.cli.examine_embedded import embedded_findings
from hyperguild.cli.examine_library import library_findings
from hyperguild.cli.main import run_command_line
from hyperguild.cli.model_table import rows_of, take_inventories
from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config
from hyperguild.domain.chain import Endpoint, EngineSettings, Model

SIZES = {"apprentice": 258_816, "journeyman": 2_219_072, "judge": 3_074_752}
HEAD = b"GGUF" + (3).to_bytes(4, "little") + bytes(16)
Findings = list[dict[str, str]]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HYPERGUILD_CONFIG", "HYPERGUILD_SKILLS", "HYPERGUILD_DB", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    skill = tmp_path / "skills" / "review" / "SKILL.md"
    skill.parent.mkdir(parents=True)
    skill.write_text("---\nname: review\ndescription: Reviews.\n---\nReview it.\n", encoding="utf-8")
    for name, size in SIZES.items():
        (tmp_path / f"{name}.gguf").write_bytes(HEAD + bytes(size - len(HEAD)))
    # The library is not used, only looked for and imported by a child: these tests need no wheel of it.
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    library = tmp_path / "library" / "xllamacpp"
    library.mkdir(parents=True)
    (library / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(library.parent))
    monkeypatch.setenv("PYTHONPATH", str(library.parent))


def write(here: dict[str, Any] | None = None, **sections: Any) -> None:
    document: dict[str, Any] = {
        "version": 1,
        "endpoints": {"here": {"kind": "embedded", **(here or {})}},
        "models": {name: {"endpoint": "here", "gguf": f"{name}.gguf"} for name in SIZES},
        "verifiers": {"default": {"judge": "judge"}},
        "chains": {"default": ["apprentice", "journeyman"]},
    }
    Path("chains.yaml").write_text(yaml.safe_dump(document | sections, sort_keys=False), encoding="utf-8")


def configured() -> Configuration:
    return load_config(Path.cwd() / "chains.yaml", os.environ)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command_line(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def doctor(capsys: pytest.CaptureFixture[str]) -> tuple[int, Findings]:
    code, out, err = run(capsys, "doctor", "--json")
    assert err == ""
    findings: Findings = [finding for finding in json.loads(out) if finding["area"] == "endpoint here"]
    for finding in findings:
        assert finding["level"] in {"ok", "note"} or finding["remedy"], finding
    return code, findings


def at_level(findings: Findings, level: str) -> list[str]:
    return [finding["message"] for finding in findings if finding["level"] == level]


class TestDoctor:
    def test_a_sound_set_up(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        write({"max_loaded": 2})
        code, findings = doctor(capsys)
        assert code == 0
        assert {finding["level"] for finding in findings} == {"ok"}
        assert at_level(findings, "ok") == [
            "runs models itself, up to 2 models at a time",
            f"apprentice: {tmp_path}/apprentice.gguf, 259 kB (tier of default)",
            f"journeyman: {tmp_path}/journeyman.gguf, 2.2 MB (tier of default)",
            f"judge: {tmp_path}/judge.gguf, 3.1 MB (judge of default)",
            "the judge judge stays loaded beside what it judges (apprentice, journeyman)",
        ]

    def test_the_extra_is_not_installed(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
        write({"max_loaded": 2})
        code, findings = doctor(capsys)
        assert code == 1
        (error,) = [finding for finding in findings if finding["level"] == "error"]
        assert error["message"] == "llama.cpp, which runs the models, is not installed"
        assert error["remedy"] == "pip install 'hyperguild[embedded]'"
        assert len(at_level(findings, "ok")) == 4

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ('raise ImportError("libgomp.so.1: no such file")\n', "ImportError: libgomp.so.1: no such file"),
            ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n", "the process crashed (SIGILL)"),
            ("raise SystemExit(2)\n", "ended by itself (exit code 2)"),
        ],
        ids=["import error", "crash", "mute"],
    )
    def test_a_library_that_cannot_be_loaded(
        self, text: str, fault: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        (tmp_path / "library" / "xllamacpp" / "__init__.py").write_text(text, encoding="utf-8")
        write({"max_loaded": 2})
        code, findings = doctor(capsys)
        assert code == 1
        (error,) = [finding for finding in findings if finding["level"] == "error"]
        assert error["message"] == (
            f"llama.cpp, which runs the models, is installed and cannot be loaded: {fault}"
        )
        assert "pip install --force-reinstall xllamacpp" in error["remedy"]

    async def test_a_library_that_is_never_done_loading(self, tmp_path: Path) -> None:
        library = tmp_path / "library" / "xllamacpp" / "__init__.py"
        library.write_text("import time\ntime.sleep(600)\n", encoding="utf-8")
        (finding,) = await library_findings("here", os.environ, limit_s=0.5)
        assert finding.message.endswith("cannot be loaded: it was not done after 0.5 s")

    def test_a_tier_that_is_skipped_by_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        skipped = {"model": "apprentice", "when_cold": "skip", "verify": False}
        write(chains={"default": [skipped, {"model": "journeyman", "verify": False}]}, verifiers={})
        code, findings = doctor(capsys)
        assert code == 0
        (warning,) = [finding for finding in findings if finding["level"] == "warning"]
        assert warning["message"] == (
            "apprentice: is never asked in the chain default: its when_cold is skip, and each command begins "
            "with no model loaded"
        )
        assert "`keep: true` on endpoint 'here'" in warning["remedy"]

    @pytest.mark.parametrize(
        ("here", "tiers"),
        [
            ({"keep": True}, [("apprentice", "skip", True), ("journeyman", "wait", True)]),
            ({}, [("journeyman", "wait", True), ("apprentice", "skip", True)]),  # the last one is not skipped
            ({}, [("journeyman", "wait", True), ("judge", "skip", True), ("apprentice", "wait", True)]),
            ({}, [("judge", "wait", False), ("judge", "skip", False), ("apprentice", "wait", False)]),
            ({}, [("apprentice", "hedge", True), ("journeyman", "wait", True)]),
        ],
        ids=["keep", "last", "loaded as judge", "loaded as tier", "hedge"],
    )
    def test_a_tier_that_may_be_warm(self, here: dict[str, Any], tiers: list[tuple[str, str, bool]]) -> None:
        chain = [{"model": model, "when_cold": cold, "verify": verify} for model, cold, verify in tiers]
        write({"max_loaded": 2, **here}, chains={"default": chain})
        assert list(never_warm(configured(), configured().endpoints["here"])) == []

    def test_files_that_are_missing_or_damaged(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        write({"max_loaded": 2})
        Path("apprentice.gguf").unlink()
        Path("judge.gguf").write_text("<html>", encoding="utf-8")
        code, findings = doctor(capsys)
        assert code == 1
        assert at_level(findings, "error") == [
            f"apprentice: {tmp_path}/apprentice.gguf does not exist (tier of default)",
            f"judge: {tmp_path}/judge.gguf is no GGUF file (judge of default)",
        ]

    def test_an_endpoint_that_nothing_uses_is_no_error(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
        write(chains={"default": [{"model": "claude/x", "verify": False}]}, verifiers={})
        document = yaml.safe_load(Path("chains.yaml").read_text())
        document["endpoints"]["claude"] = {"kind": "command", "argv": ["true"]}
        Path("chains.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        assert run(capsys, "trust", "--yes", "chains.yaml")[0] == 0
        code, findings = doctor(capsys)
        assert code == 0
        (message,) = at_level(findings, "warning")
        assert message.endswith("is not installed; no chain uses it")

    def test_judge_and_workers_that_evict_each_other(self, capsys: pytest.CaptureFixture[str]) -> None:
        write()
        code, findings = doctor(capsys)
        assert code == 0
        (warning,) = [finding for finding in findings if finding["level"] == "warning"]
        assert warning["message"] == (
            "the judge judge and what it judges (apprentice, journeyman) evict each other at every answer: "
            "max_loaded is 1"
        )
        assert "`max_loaded: 2` on endpoint 'here'" in warning["remedy"]

    @pytest.mark.parametrize(
        "sections",
        [
            {"verifiers": {"default": {"checks": [{"kind": "not_empty"}]}}},
            {"chains": {"default": [{"model": "apprentice", "verify": False}]}},
            {"chains": {"default": ["judge"]}},
            {"verifiers": {"default": {"judge": "apprentice"}}, "chains": {"default": ["same"]}},
            {
                "verifiers": {
                    "default": {"judge": {"model": ["judge", "apprentice", "journeyman"], "prefer": "warm"}}
                }
            },
        ],
    )
    def test_where_no_judge_evicts_a_worker(
        self, sections: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        write(**sections)
        document = yaml.safe_load(Path("chains.yaml").read_text())
        document["models"]["same"] = {**document["models"]["apprentice"], "params": {"temperature": 0}}
        Path("chains.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        _, findings = doctor(capsys)
        assert at_level(findings, "warning") == []
        assert not any("stays loaded" in message for message in at_level(findings, "ok"))

    def test_a_judge_on_another_endpoint_evicts_nobody(self, capsys: pytest.CaptureFixture[str]) -> None:
        write()
        document = yaml.safe_load(Path("chains.yaml").read_text())
        document["endpoints"]["there"] = {"kind": "embedded"}
        document["models"]["judge"]["endpoint"] = "there"
        Path("chains.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        assert at_level(doctor(capsys)[1], "warning") == []

    @pytest.mark.parametrize(("available_kb", "warned"), [(1000, True), (100_000, False)])
    def test_a_file_that_is_bigger_than_the_free_memory(
        self, tmp_path: Path, available_kb: int, warned: bool
    ) -> None:
        write({"max_loaded": 2})
        meminfo = tmp_path / "meminfo"
        meminfo.write_text(f"MemTotal: 9 kB\nMemAvailable:  {available_kb} kB\n", encoding="utf-8")
        configuration = configured()
        uses = uses_of(configuration)["here"]
        findings = list(
            embedded_findings(configuration, configuration.endpoints["here"], uses, meminfo=meminfo)
        )
        warnings = [finding.message for finding in findings if finding.level == "warning"]
        told = [message.partition(": ")[0] for message in warnings]
        assert told == (["journeyman", "judge"] if warned else [])
        assert not warned or "2.2 MB, and 1.0 MB of memory are free" in warnings[0]

    def test_nothing_is_loaded(self, capsys: pytest.CaptureFixture[str]) -> None:
        write()
        doctor(capsys)
        assert "xllamacpp" not in sys.modules


class TestDoctorOnTheKeeper:
    @pytest.fixture(autouse=True)
    def _runtime(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        with keeper_home() as (folder, env):
            self.folder = folder
            for name, value in env.items():
                monkeypatch.setenv(name, value)
            yield

    def of_keeper(self, capsys: pytest.CaptureFixture[str], **here: Any) -> tuple[int, Findings]:
        write({"max_loaded": 2, **here})
        code, findings = doctor(capsys)
        return code, [finding for finding in findings if "keeper" in finding["message"]]

    def test_none_runs_and_none_is_started(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.of_keeper(capsys) == (0, [])
        code, (finding,) = self.of_keeper(capsys, keep=True)
        assert (code, finding["level"]) == (0, "ok")
        assert finding["message"] == "keeper: none runs; the first command that needs one starts it"
        assert not self.folder.path.exists()

    def test_a_folder_that_others_may_enter(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder.path.mkdir()
        self.folder.path.chmod(0o755)
        assert self.of_keeper(capsys) == (0, [])
        code, (finding,) = self.of_keeper(capsys, keep=True)
        assert (code, finding["level"]) == (1, "error")
        assert finding["message"].endswith("can be entered by other users")
        assert finding["remedy"] == f"chmod 700 {self.folder.path}"

    def test_a_log_that_is_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder.make()
        self.folder.log.mkdir()
        code, (finding,) = self.of_keeper(capsys, keep=True)
        assert (code, finding["level"]) == (1, "error")
        assert "has a keeper-1.log that cannot be written to" in finding["message"]
        self.folder.log.rmdir()

    @pytest.mark.parametrize(
        ("speech", "message"),
        [
            (
                (
                    b'{"type": "hello", "version": "9", "pid": 7}\n{"type": "status", "status": {"pid": 7, '
                    b'"version": "9", "started_at": "2024-02-29T00:00:00Z", "models": []}}\n'
                ),
                "keeper: process 7 of hyperguild 9, holds no model",
            ),
            (b"220 mail\n", "a message to or from the keeper was not understood"),
            (b'{"type": "stop"}\n', "what listens in the keeper's place is no keeper"),
        ],
    )
    def test_what_listens_is_asked(
        self, speech: bytes, message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder.make()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.folder.socket))
            listener.listen()
            threading.Thread(target=speak, args=(listener, speech)).start()
            code, (finding,) = self.of_keeper(capsys, keep=True)
        assert finding["message"] == message
        assert (code, finding["level"]) in {(0, "ok"), (1, "error")}
        assert (code == 0) is message.startswith("keeper: process 7")


def speak(listener: socket.socket, speech: bytes) -> None:
    """Say the same to whoever comes first, and wait until it hangs up."""
    visitor, _ = listener.accept()
    with visitor:
        visitor.sendall(speech)
        while visitor.recv(4096):
            pass


class TestModels:
    def test_the_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        write()
        code, out, err = run(capsys, "models")
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            "endpoint  model       state  per M tokens  used by",
            "here      apprentice  cold   free          default",
            "here      journeyman  cold   free          default",
            "here      judge       cold   free          judge of default",
        ]

    def test_the_extra_is_not_installed(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
        write()
        told = "here: llama.cpp, which runs its models, is not installed (pip install 'hyperguild[embedded]')"
        code, out, err = run(capsys, "models")
        assert (code, err) == (0, "")
        assert told in " ".join(out.split())
        code, out, err = run(capsys, "models", "--json")
        assert (code, err, len(json.loads(out))) == (0, f"warning: {told}\n", 3)

    def test_a_file_that_cannot_be_used_is_named(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        write()
        Path("journeyman.gguf").unlink()
        fault = f'here: the file of "journeyman", {tmp_path}/journeyman.gguf, does not exist'
        code, out, err = run(capsys, "models")
        assert (code, err) == (0, "")
        # The path may be as long as it likes: the page wraps it.
        assert "".join(fault.split()) in "".join(out.split())
        code, out, err = run(capsys, "models", "--json")
        assert (code, err) == (0, f"warning: {fault}\n")
        rows = {row["model"]: row for row in json.loads(out)}
        assert {name: row["listed"] for name, row in rows.items()} == {
            "apprentice": True,
            "journeyman": False,
            "judge": True,
        }
        assert {row["state"] for row in rows.values()} == {"cold"}

    async def test_states_that_the_caller_knows_are_shown(self) -> None:
        write()
        configuration = configured()
        inventories = await take_inventories(configuration, {}, {"judge": "ready", "apprentice": "starting"})
        assert (inventories.found, inventories.errors) == ({}, {})
        assert {row.name: row.state for row in rows_of(configuration, inventories)} == {
            "apprentice": "starting",
            "journeyman": "cold",
            "judge": "ready",
        }


def embedded(name: str, *, max_loaded: int = 1, file: str = "", endpoint: str = "here") -> Model:
    engine = EngineSettings(max_loaded=max_loaded)
    host = Endpoint(endpoint, "embedded", engine=engine)
    return Model(name, host, name, "local", context_window=64, gguf=Path(file or name))


def on_swap(name: str, endpoint: str = "swap") -> Model:
    return Model(name, Endpoint(endpoint, "llama-swap", "http://127.0.0.1:1"), name, "local")


class TestDryRun:
    def test_cold_models_take_nobodys_place(self, capsys: pytest.CaptureFixture[str]) -> None:
        write()
        code, out, err = run(capsys, "run", "review", "x", "--dry-run", "--json")
        assert (code, err) == (0, "")
        plan = json.loads(out)
        assert [(row["warm_state"], row["swap"]) for row in plan["tiers"]] == [("cold", False)] * 2
        assert [(row["warm_state"], row["swap"]) for row in plan["judges"]] == [("cold", False)]
        assert "xllamacpp" not in sys.modules

    @pytest.mark.parametrize(
        ("model", "ready", "evicts"),
        [
            (embedded("a"), [], False),
            (embedded("a"), [embedded("b")], True),
            (embedded("a"), [embedded("b", endpoint="there")], False),
            (embedded("a"), [on_swap("b")], False),
            (embedded("a", max_loaded=2), [embedded("b", max_loaded=2)], False),
            (
                embedded("a", max_loaded=2),
                [embedded("b", max_loaded=2), embedded("c", max_loaded=2)],
                True,
            ),
            (
                embedded("a", max_loaded=2),
                [embedded("b", max_loaded=2, file="f"), embedded("c", max_loaded=2, file="f")],
                False,
            ),
            (on_swap("a"), [on_swap("b")], True),
            (on_swap("a"), [on_swap("b", "other")], False),
            (on_swap("a"), [embedded("b")], False),
        ],
    )
    def test_a_swap_is_within_one_endpoint(self, model: Model, ready: Sequence[Model], evicts: bool) -> None:
        assert _evicts(model, ready) is evicts
