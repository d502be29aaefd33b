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

    def test_a_protection_that_is_not_there_yet_is_not_promised(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        _, _, err = run(capsys, "run", "explain", "x", "--chain", "guarded")
        warning = "warning: redact: always of endpoint guarded is not acted upon in this version"
        assert err.splitlines().count(warning) == 1
        _, _, err = run(capsys, "run", "explain", "x")
        assert "redact" not in err


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
