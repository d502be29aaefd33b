"""What `run` and `rerun` refuse, warn of, scrub and keep; how a run is interrupted."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hyperguild.cli.group import COMMANDS
from hyperguild.cli.interruption import ONE_PRESS_S, SIGNALS, Interruption
from hyperguild.cli.main import run_command_line
from hyperguild.simulation.process import FleetProcess

KEY = "sk-ant-api03-" + "a1B2" * 12
IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCRIPT: dict[str, Any] = {
    "models": {
        "sees": {"answers": [{"text": "a picture"}]},
        "quotes": {
            "answers": [{"error": {"status": 400, "message": f"cannot parse: {KEY} and pass-0123456789"}}]
        },
    },
}
CHAINS = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 5000}}
  guarded: {{kind: llama-swap, base_url: "{url}", redact: always, api_key_env: GUARDED_KEY}}
models:
  sees: {{endpoint: swap, vision: true}}
  quotes: {{endpoint: guarded}}
  quotes-again: {{endpoint: guarded, upstream: quotes}}
chains:
  default: {{tiers: [{{model: sees, verify: false}}]}}
  guarded: {{tiers: [{{model: quotes, verify: false}}, {{model: quotes-again, verify: false}}]}}
"""

ONE_ENDPOINT = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}"}}
models:
  sees: {{endpoint: swap}}
chains:
  default: {{tiers: [{{model: sees, verify: false}}]}}
"""
JUDGED = """\
version: 1
endpoints:
  swap: {{kind: llama-swap, base_url: "{url}", probe_timeout_ms: 5000}}
models:
  sees: {{endpoint: swap, price: {{input: 3.0, output: 15.0}}}}
  quotes: {{endpoint: swap, price: {{input: 1.0, output: 5.0}}}}
verifiers:
  default: {{judge: quotes}}
chains:
  default: [sees]
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetProcess]:
    with FleetProcess(SCRIPT) as fleet:
        yield fleet


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fleet: FleetProcess) -> Path:
    (tmp_path / "chains.yaml").write_text(CHAINS.format(url=fleet.url))
    (tmp_path / "image.png").write_bytes(IMAGE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HYPERGUILD_CONFIG", str(tmp_path / "chains.yaml"))
    monkeypatch.setenv("HYPERGUILD_SKILLS", str(Path(__file__).parents[3] / "skills"))
    monkeypatch.setenv("GUARDED_KEY", "pass-0123456789")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command; return its exit code and what it wrote on stdout and stderr."""
    code = run_command_line(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


class TestRerun:
    def test_a_run_with_images_is_not_taken_for_one_without(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = run(capsys, "run", "explain", "what is it?", "-f", "image.png")
        assert (code, out) == (0, "a picture\n"), err
        code, out, err = run(capsys, "rerun", "last")
        assert (code, out) == (2, "")
        assert err.startswith("error: that run had 1 image, which the log does not keep (")
        _, out, _ = run(capsys, "sessions", "export", "last")
        assert json.loads(out)["images"] == 1

    def test_placeholders_are_not_sent_in_place_of_keys(
        self, capsys: pytest.CaptureFixture[str], fleet: FleetProcess
    ) -> None:
        task = f"why is {KEY} refused, and pass-0123456789, and {KEY}?"
        assert run(capsys, "run", "explain", task, "-f", "image.png", "-f", "image.png")[0] == 0
        fleet.reset()
        code, out, err = run(capsys, "rerun", "last")
        assert (code, out) == (2, "")
        assert "error: that run had 2 images, which the log does not keep; " in err
        assert "the stored task has placeholders for: anthropic, GUARDED_KEY (" in err
        assert fleet.requests() == []

    def test_any_other_task_is_run_again(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(capsys, "run", "explain", "[secret: not one]")[0] == 0
        code, out, err = run(capsys, "rerun", "last")
        assert (code, out) == (0, "a picture\n"), err

    def test_a_chain_that_is_gone_is_not_replaced_in_silence(
        self, capsys: pytest.CaptureFixture[str], folder: Path
    ) -> None:
        config = folder / "chains.yaml"
        before = config.read_text()
        config.write_text(before + "  former: {tiers: [{model: sees, verify: false}]}\n")
        assert run(capsys, "run", "explain", "x", "--chain", "former")[0] == 0
        assert "warning" not in run(capsys, "rerun", "last")[2]
        config.write_text(before)
        code, out, err = run(capsys, "rerun", "last")
        assert (code, out) == (0, "a picture\n"), err
        assert err.splitlines()[0] == 'warning: chain "former" is not in chains.yaml; walking "default"'
        _, _, err = run(capsys, "rerun", "last", "--chain", "default")
        assert "warning" not in err


class TestOptions:
    @pytest.mark.parametrize("option", ["--max-cost", "--deadline"])
    @pytest.mark.parametrize("value", ["nan", "inf", "-1", "much"])
    def test_limits_are_finite_numbers(
        self, capsys: pytest.CaptureFixture[str], fleet: FleetProcess, option: str, value: str
    ) -> None:
        fleet.reset()
        for command in (("run", "explain", "x"), ("rerun", "last")):
            code, out, err = run(capsys, *command, option, value)
            assert (code, out) == (2, "")
            assert err.startswith(f"error: Invalid value for '{option}': ")
        assert fleet.requests() == []

    def test_history_says_what_it_needs(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "needs --session" in " ".join(run(capsys, "run", "--help")[1].split())
        assert "hyperguild rerun last --from" in run(capsys, "rerun", "--help")[1]

    def test_a_model_that_is_perhaps_misspelt_is_asked_for_with_a_warning(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        warning = 'warning: "seees" is not in chains.yaml; did you mean "sees"? asking swap for it'
        path = ("--config", "chains.yaml")
        code, _, err = run(capsys, *path, "run", "explain", "x", "--model", "sees")
        assert (code, "warning" in err) == (0, False)
        Path("chains.yaml").write_text(ONE_ENDPOINT.format(url="http://127.0.0.1:9"))
        _, _, err = run(capsys, *path, "run", "explain", "x", "--model", "seees")
        assert err.splitlines()[0] == warning
        assert "seees" in err.splitlines()[1], "it is asked for all the same"
        _, _, err = run(capsys, *path, "run", "explain", "x", "--model", "quite-another")
        assert "warning" not in err


class TestDebug:
    def test_the_traceback_comes_first_and_the_code_stays(self, capsys: pytest.CaptureFixture[str]) -> None:
        for arguments, code in (
            (("run", "nosuchskill", "x"), 3),
            (("rerun", "nosuchrun"), 2),
            (("run", "explain", "x", "--chain", "guarded"), 1),
        ):
            plain = run(capsys, *arguments)
            debug = run(capsys, "--debug", *arguments)
            assert (plain[0], debug[0]) == (code, code)
            assert "Traceback" not in plain[2]
            assert "Traceback (most recent call last):" in debug[2]
            assert debug[2].splitlines()[-1] == plain[2].splitlines()[-1]

    def test_an_internal_error_is_5_with_and_without(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(COMMANDS, "broken", ("json", "no_such_name", ""))
        plain, debug = run(capsys, "broken"), run(capsys, "--debug", "broken")
        assert (plain[0], debug[0]) == (5, 5)
        assert plain[2].startswith("error: internal error: AttributeError: ")
        assert debug[2].startswith("Traceback (most recent call last):")
        assert debug[2].endswith(plain[2])


class TestDryRun:
    def test_the_judge_has_a_row_with_its_part_of_the_cost(
        self, capsys: pytest.CaptureFixture[str], fleet: FleetProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fleet.reset()
        Path("chains.yaml").write_text(JUDGED.format(url=fleet.url))
        plan = json.loads(run(capsys, "run", "explain", "x", "--dry-run", "--json")[1])
        [judge], [tier] = plan["judges"], plan["tiers"]
        assert (judge["model"], judge["warm_state"]) == ("quotes", "cold")
        assert 0 < judge["max_cost_usd"] < tier["max_cost_usd"]
        _, out, _ = run(capsys, "run", "explain", "x", "--dry-run")
        row = next(line for line in out.splitlines() if line.split()[:2] == ["quotes", "judge"])
        assert row.split()[2] == "cold"
        assert row.endswith(f"${judge['max_cost_usd']:.4f}")
        monkeypatch.setenv("COLUMNS", "40")
        _, out, _ = run(capsys, "run", "explain", "x", "--dry-run")
        assert max(map(len, out.splitlines())) <= 40
        assert "1 sees" in out.splitlines()
        assert "tier judge · state cold" in out


class TestWhatIsSaid:
    def test_a_server_that_quotes_a_key_does_not_bring_it_on_the_screen(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, err = run(capsys, "run", "explain", "x", "--chain", "guarded")
        assert (code, out) == (1, "")
        [error] = [line for line in err.splitlines() if line.startswith("error: ")]
        assert "cannot parse: [secret:anthropic] and [" in error
        assert KEY not in err
        assert "pass-0123456789" not in err


class TestInterruption:
    @pytest.fixture(autouse=True)
    def _handlers(self) -> Iterator[None]:
        before = [(number, signal.getsignal(number)) for number in SIGNALS]
        yield
        for number, handler in before:
            signal.signal(number, handler)

    @pytest.mark.parametrize("number", SIGNALS)
    def test_the_first_signal_cancels_and_others_are_ignored(self, number: int) -> None:
        wound_up = []

        async def work(interruption: Interruption) -> None:
            with interruption.cancels_this_task():
                try:
                    signal.raise_signal(number)
                    await asyncio.sleep(60)
                finally:
                    signal.raise_signal(number)
                    await asyncio.sleep(0.01)
                    signal.raise_signal(number)
                    wound_up.append(True)

        with Interruption() as interruption, pytest.raises(asyncio.CancelledError):
            asyncio.run(work(interruption))
        signal.raise_signal(number)
        assert wound_up == [True]
        assert interruption.begun

    def test_where_nothing_is_to_be_cancelled_it_is_ctrl_c_as_ever(self) -> None:
        now = [0.0]
        with Interruption(lambda: now[0]):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            now[0] += ONE_PRESS_S
            signal.raise_signal(signal.SIGINT)

    def test_without_a_signal_all_is_as_it_was(self) -> None:
        before = [signal.getsignal(number) for number in SIGNALS]
        with Interruption() as interruption:
            assert [signal.getsignal(number) for number in SIGNALS] != before
        assert not interruption.begun
        assert [signal.getsignal(number) for number in SIGNALS] == before

    def test_what_is_ignored_stays_ignored(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with Interruption():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
