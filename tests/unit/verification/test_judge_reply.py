"""Which replies are verdicts."""

from __future__ import annotations

import pytest

from hyperguild.verification.judge_reply import JudgeReply, NoVerdictError, parse_reply

GOOD = '{"accept": true, "score": 0.85, "feedback": "fine"}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"~~~\n{GOOD}\n~~~\n",
        f"<think>hm, accept?</think>\n\n{GOOD}",
        f"<think></think>\n```\n{GOOD}\n```",
        '{"feedback": "fine", "score": 0.85, "accept": true}',
    ],
)
def test_a_verdict_is_read(text: str) -> None:
    assert parse_reply(text) == JudgeReply(accept=True, score=0.85, feedback="fine")


def test_whole_numbers_are_scores() -> None:
    assert parse_reply('{"accept": false, "score": 1, "feedback": ""}').score == 1.0
    assert parse_reply('{"accept": false, "score": -0.0, "feedback": ""}').score == 0.0


def test_feedback_is_cut_and_cleaned() -> None:
    reply = parse_reply('{"accept": false, "score": 0, "feedback": "\\u001b[31m' + "x" * 700 + '"}')
    assert reply.feedback == "x" * 599 + "…"
    assert parse_reply('{"accept": false, "score": 0, "feedback": " a\\ud800\\u0007 "}').feedback == "a?"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "true",
        "[]",
        f"[{GOOD}]",
        f"{GOOD} {GOOD}",
        f"Verdict: {GOOD}",
        f"{GOOD}\nThat is my verdict.",
        f"```\n```json\n{GOOD}\n```\n```",
        f"Here:\n```json\n{GOOD}\n```",
        f"<think>{GOOD}",
        f"{GOOD[:-1]}",
        '{"accept": true, "score": 0.9}',
        '{"accept": true, "score": 0.9, "feedback": "", "why": ""}',
        '{"accept": false, "accept": true, "score": 0.9, "feedback": ""}',
        '{"accept": 1, "score": 0.9, "feedback": ""}',
        '{"accept": "true", "score": 0.9, "feedback": ""}',
        '{"accept": true, "score": true, "feedback": ""}',
        '{"accept": true, "score": "0.9", "feedback": ""}',
        '{"accept": true, "score": 1.01, "feedback": ""}',
        '{"accept": true, "score": -0.1, "feedback": ""}',
        '{"accept": true, "score": NaN, "feedback": ""}',
        '{"accept": true, "score": 1e999, "feedback": ""}',
        '{"accept": true, "score": ' + "9" * 5000 + ', "feedback": ""}',
        '{"accept": true, "score": 0.9, "feedback": null}',
        '{"verdict": ' + GOOD + "}",
        "[" * 100_000,
    ],
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(NoVerdictError):
        parse_reply(text)
