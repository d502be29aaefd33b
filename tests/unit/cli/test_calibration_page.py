from __future__ import annotations

import pytest
from judged_log import JudgedLog

from hyperguild.cli.calibration_page import fill_page
from hyperguild.cli.page import Page
from hyperguild.review.calibration import Calibrating, Wanted


@pytest.fixture
def log(tmp_path_factory: pytest.TempPathFactory) -> JudgedLog:
    return JudgedLog(tmp_path_factory.mktemp("log") / "log.db")


async def told(log: JudgedLog) -> str:
    await log.written()
    calibrating = Calibrating()
    for run in await log.facts():
        calibrating.add(run)
    page = Page(width=100, wraps=True, styled=False)
    fill_page(page, calibrating.result(Wanted()), Wanted())
    return " ".join(" ".join(line.plain for line in page.lines).split())


async def test_without_labels_nothing_is_said_of_good_and_bad_ones(log: JudgedLog) -> None:
    log.run(log.judged(0.9))
    page = await told(log)
    assert "accepts 100 % of the 1 that it judged; of bad and good ones not known" in page
    assert "no answer is labelled bad: to be 95 % sure of 5 % it takes about 52" in page


async def test_one_label_is_one(log: JudgedLog) -> None:
    log.run(log.judged(0.2, "bad"))
    page = await told(log)
    assert "accepts 0 % of bad answers, 0 % of the 1 that it judged; of good ones not known" in page
    assert "one answer labelled bad is too few to be 95 % sure of 5 %: about 51 more are needed" in page
