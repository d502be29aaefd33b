"""The pure parts of `scripts/bench quality`. The benches are no package: they are found by their folder."""

from __future__ import annotations

import importlib
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hyperguild.domain.records import Attempt, ErrorInfo, RunResult

BENCHES = Path(__file__).parents[3] / "scripts" / "benches"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the benches by its name."""
    monkeypatch.syspath_prepend(str(BENCHES))
    return importlib.import_module


@pytest.fixture
def figures(load: Any) -> Any:
    return load("quality_figures")


@pytest.fixture
def report(load: Any, figures: Any) -> Any:
    """Ten prompts. Alone, the weak model is right on six, the strong one on nine."""
    truths = [f"t{number}" for number in range(10)]
    weak = [truth if number < 6 else "wrong" for number, truth in enumerate(truths)]
    strong = [truth if number != 8 else "wrong too" for number, truth in enumerate(truths)]
    # 0.5: prompt 5 is refused though right, 6 accepted though wrong; 0.9 refuses 6 as well.
    refused = {0.5: {5, 7, 8, 9}, 0.9: {5, 6, 7, 8, 9}}
    chains = {
        at: [
            figures.Outcome(
                truth, weak[number], strong[number] if number in ones else weak[number], number in ones, 0.1
            )
            for number, truth in enumerate(truths)
        ]
        for at, ones in refused.items()
    }

    def alone(answers: list[str]) -> list[Any]:
        return [figures.Outcome(truth, said, said) for truth, said in zip(truths, answers, strict=True)]

    return load("quality_report").report_of(("small", alone(weak)), ("large", alone(strong)), chains)


def test_a_chain_is_counted_against_the_truth(report: Any, figures: Any) -> None:
    share = figures.Share
    assert (report.weak, report.strong) == (share(6, 10), share(9, 10))
    assert report.chains[0.5] == figures.ChainFigures(share(8, 10), share(4, 10), share(1, 4), share(1, 6))
    assert report.chains[0.9] == figures.ChainFigures(share(9, 10), share(5, 10), share(0, 4), share(1, 6))


def test_a_perfect_verifier_escalates_just_the_wrong_ones(report: Any, figures: Any) -> None:
    share = figures.Share
    assert report.perfect == figures.ChainFigures(share(9, 10), share(4, 10), share(0, 4), share(0, 6))


def test_a_perfect_verifier_can_beat_the_strong_model(figures: Any) -> None:
    weak = [figures.Outcome("a", "a", "a"), figures.Outcome("b", "x", "x")]
    strong = [figures.Outcome("a", "x", "x"), figures.Outcome("b", "b", "b")]
    assert figures.right_answers(strong) == figures.Share(1, 2)
    assert figures.perfect_figures(weak, strong).right == figures.Share(2, 2)


def test_escalating_by_lot_lies_on_the_line_between_the_models(report: Any, figures: Any) -> None:
    assert report.by_lot(0.0) == pytest.approx(0.6)
    assert report.by_lot(0.4) == pytest.approx(0.72)
    assert report.by_lot(1.0) == pytest.approx(0.9)
    # the README of the models: 79.8 % at 23.7 %
    assert figures.random_accuracy(0.747, 0.962, 0.237) == pytest.approx(0.798, abs=5e-4)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_those_of_the_literature(
    figures: Any, hits: int, total: int, low: float, high: float
) -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    assert figures.Share(hits, total).interval == pytest.approx((low, high), abs=5e-5)


def test_nothing_of_nothing_says_nothing(figures: Any) -> None:
    assert figures.Share(0, 0).value == 0
    assert figures.Share(0, 0).interval == (0, 1)


def test_walks_that_disagree_are_counted_and_change_the_digest(figures: Any) -> None:
    assert figures.differing([["a", "b", "c"], ["a", "x", "c"], ["a", "b", "y"]]) == 2
    walk = [figures.Outcome("a", "a", "a", False, 0.95)]
    other = [figures.Outcome("a", "a", "a", False, 0.90)]
    assert figures.digest([walk]) == figures.digest([list(walk)])
    assert figures.digest([walk]) != figures.digest([other])


def test_walks_of_other_prompts_are_refused(figures: Any) -> None:
    one = figures.Outcome("a", "a", "a")
    with pytest.raises(ValueError, match="zip"):
        figures.perfect_figures([one], [one, one])


def test_the_table_can_be_pasted(load: Any, report: Any) -> None:
    lines = load("quality_report").as_markdown(report).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "small alone",
        "chain, accept_at 0.5",
        "chain, accept_at 0.9",
        "chain, a perfect verifier",
        "large alone",
    ]
    cells = [cell.strip() for cell in lines[3].split("|")[2:-1]]
    assert cells == ["80.0 % (49.0-94.3)", "40.0 %", "25.0 % (1 of 4)", "16.7 % (1 of 6)", "72.0 %"]


def test_labels_of_near_points_do_not_touch(load: Any) -> None:
    spread_out = load("quality_chart").spread_out
    wanted = [80.0, 110.0, 112.0, 115.0, 119.0, 300.0]
    placed = spread_out(wanted, 19)
    assert all(below - above >= 19 - 1e-9 for above, below in pairwise(placed))
    assert placed[-1] == 300.0
    assert spread_out([10.0, 40.0], 19) == [10.0, 40.0]


def test_the_chart_has_a_mark_for_every_row(load: Any, report: Any) -> None:
    svg = load("quality_chart").chart(report)
    root = ET.fromstring(svg)  # noqa: S314  # our own text
    name = "{http://www.w3.org/2000/svg}"
    kinds = [mark.get("class") for mark in root.iter(f"{name}circle")]
    assert sorted(kind or "" for kind in kinds) == ["alone", "alone", "chain", "chain"]
    texts = [text.text for text in root.iter(f"{name}text")]
    assert {"accept_at 0.5: 80.0 %", "a perfect verifier: 90.0 %", "small alone: 60.0 %"} <= set(texts)
    assert not re.search(r"nan|inf", svg)


def attempt(position: int, **more: Any) -> Attempt:
    fields = {"attempt_id": f"a{position}", "position": position, "model": f"m{position}", "endpoint": "here"}
    return Attempt.model_validate({**fields, "tier": "local", **more})


def run(*attempts: Attempt, **more: Any) -> RunResult:
    fields = {"run_id": "r", "session_id": "s", "skill": "iso-date", "chain": "at-0.7", "status": "accepted"}
    return RunResult.model_validate({**fields, "attempts": attempts, **more})


REFUSED = attempt(0, verdict="escalate", cause="rejected", score=0.2, answer="2024-03-04")
CUT_OFF = attempt(1, verdict="escalate", cause="truncated", answer="2024-03-030303")
BROKEN = attempt(1, verdict="error", cause="server", error=ErrorInfo(kind="server", message="it crashed"))


def test_an_escalated_run_is_counted(load: Any, figures: Any) -> None:
    quality = load("quality")
    accepted = attempt(1, verdict="accept", answer="2024-03-03")
    counted = quality.outcome(
        quality.Prompt("3 March 2024", "2024-03-03"), run(REFUSED, accepted, output="2024-03-03")
    )
    assert counted == figures.Outcome("2024-03-03", "2024-03-04", "2024-03-03", True, 0.2)


def test_an_exhausted_run_is_a_wrong_answer(load: Any, figures: Any) -> None:
    quality = load("quality")
    counted = quality.outcome(
        quality.Prompt("3 March 2024", "2024-03-03"), run(REFUSED, CUT_OFF, status="exhausted")
    )
    assert counted == figures.Outcome("2024-03-03", "2024-03-04", "", True, 0.2)


@pytest.mark.parametrize(
    "attempts",
    [
        (REFUSED, BROKEN),
        (BROKEN, attempt(1, verdict="accept", answer="2024-03-03")),
        (attempt(0, verdict="escalate", cause="verifier_error"), attempt(1, verdict="accept")),
        (attempt(0, verdict="skip", cause="cold"), attempt(1, verdict="accept")),
    ],
)
def test_a_run_with_an_error_gives_no_figure(load: Any, attempts: tuple[Attempt, ...]) -> None:
    quality = load("quality")
    with pytest.raises(quality.BenchError, match="3 March 2024"):
        quality.outcome(quality.Prompt("3 March 2024", "2024-03-03"), run(*attempts, output="2024-03-03"))
