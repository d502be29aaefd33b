from __future__ import annotations

from pathlib import Path

import pytest
from facts import judged, run_fact

from hyperguild.config.configuration import Configuration
from hyperguild.config.loader import load_config_text
from hyperguild.review.calibration import Calibrating, Calibration, Wanted
from hyperguild.review.tuning import Tuning, threshold_now, tunings

CHAINS = """
version: 1
endpoints: {swap: {kind: llama-swap, base_url: "http://127.0.0.1:9"}}
verifiers:
  default: {judge: qwen3-8b}
  strict: {judge: {model: [qwen3-8b, big], accept_at: 0.8}}
  checked: {checks: [{kind: not_empty}]}
chains:
  default: [phi4]
  code: {verifier: strict, tiers: [phi4]}
  plain: {verifier: checked, tiers: [phi4]}
skills: {review: {chain: code}, tests: {chain: code}}
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    return load_config_text(CHAINS, tmp_path / "chains.yaml", {})


def found(*parts: tuple[str, str, float], **fields: str) -> tuple[Calibration, ...]:
    """Return calibrations of (skill, chain, the score that every bad answer has)."""
    calibrating = Calibrating()
    for skill, chain, bad in parts:
        answers = [judged(0.99, "good", **fields)] * 9 + [judged(bad, "bad", **fields)] * 60
        calibrating.add(run_fact(*answers, skill=skill, chain=chain))
    return calibrating.result(Wanted(), lambda *_: 0.0)


def test_the_threshold_that_applies(configuration: Configuration) -> None:
    assert threshold_now(configuration, "qwen3-8b", ["gone", "code", "default"]) == 0.8
    assert threshold_now(configuration, "qwen3-8b", ["default"]) == 0.7
    assert threshold_now(configuration, "qwen3-8b, big", ["code"]) == 0.8
    assert threshold_now(configuration, "big", ["default", "plain"]) is None


def test_a_verifier_gets_the_highest_of_its_skills_thresholds(configuration: Configuration) -> None:
    every = found(("review", "code", 0.5), ("debug", "code", 0.9), ("commit", "default", 0.2))
    assert {one.verifier: one for one in tunings(configuration, every, every)} == {
        "strict": Tuning("strict", 0.8, 0.91, ("debug", "review"), ("tests",)),
        "default": Tuning("default", 0.7, 0.21, ("commit",), ()),
    }


def test_who_else_uses_it_is_named(configuration: Configuration) -> None:
    every = found(("review", "code", 0.5), ("debug", "code", 0.9))
    chosen = [one for one in every if one.skill == "review"]
    assert tunings(configuration, chosen, every) == (
        Tuning("strict", 0.8, 0.51, ("review",), ("debug", "tests")),
    )


def test_a_judge_that_is_no_longer_configured_changes_nothing(configuration: Configuration) -> None:
    every = found(("review", "code", 0.5), judge="gone") + found(("review", "dropped", 0.5))
    assert tunings(configuration, every, every) == ()
