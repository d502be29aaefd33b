"""Checks over arbitrary answers: they never raise, and they agree with what they claim to apply."""

from __future__ import annotations

import ast
import asyncio
import json
import warnings
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyperguild.domain.chain import (
    Check,
    CommandCheck,
    CompleteCheck,
    JsonSchemaCheck,
    LengthCheck,
    NotEmptyCheck,
    PythonSyntaxCheck,
    RegexCheck,
)
from hyperguild.domain.records import CheckResult
from hyperguild.domain.text import cleaned, clipped, clipped_tail
from hyperguild.verification.checks import run_check, run_checks
from hyperguild.verification.fences import fenced_blocks, less_code_fence
from hyperguild.verification.json_program import json_faults
from hyperguild.verification.python_program import python_faults
from hyperguild.verification.subject import Subject

ANY_TEXT = st.text(st.characters())  # lone surrogates included
CODE = st.text(st.sampled_from("xy=1+():[]{}\n \t'\"#\\@,.-*`~\0if def"), max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def refuse(name: str) -> None:
    raise ValueError(name)


def run(check: Check, answer: str) -> CheckResult:
    return asyncio.run(run_check(check, Subject("skill", "task", answer, "stop")))


@given(ANY_TEXT, st.integers(0, 20) | st.none(), st.integers(0, 20) | st.none())
def test_length_is_exact(answer: str, least: int | None, most: int | None) -> None:
    expected = (least is None or len(answer) >= least) and (most is None or len(answer) <= most)
    assert run(LengthCheck(min_chars=least, max_chars=most), answer).passed is expected


@given(ANY_TEXT)
def test_not_empty_is_what_strip_says(answer: str) -> None:
    assert run(NotEmptyCheck(), answer).passed is (answer.strip() != "")


@given(ANY_TEXT | CODE)
def test_an_expression_matches_or_does_not(answer: str) -> None:
    found = run(RegexCheck(r"^\s*[x(]+"), answer).passed
    refused = run(RegexCheck(r"^\s*[x(]+", expect="no_match"), answer).passed
    assert found is not refused


@given(CODE | ANY_TEXT)
@example("def f(\n")
@example("x = 1\n")
@example("(" * 300)
@example("'\\d'")
def test_python_agrees_with_ast(source: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(source)
            parses = True
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            parses = False
        assert (python_faults([source]) == []) is parses


@given(JSON)
def test_json_fits_its_own_const_and_no_other(document: object) -> None:
    text = json.dumps(document)
    assert json_faults(text, {"const": document}) == []
    assert len(json_faults(text, {"not": {"const": document}})) == 1


@given(ANY_TEXT | st.text(st.sampled_from('{}[]",:01e.-truefalsn \n')))
def test_what_is_not_json_is_refused(text: str) -> None:
    try:
        json.loads(text, parse_constant=refuse)
        reads = True
    except (ValueError, RecursionError):
        reads = False
    assert (json_faults(text, True) == []) is (reads and "inf" not in repr(json.loads(text)))


@settings(max_examples=15, deadline=None)
@given(ANY_TEXT | CODE)
@example("\ud800```python\n\x00")
@example('{"a": "\\ud800"}')
def test_no_answer_makes_a_check_raise(answer: str) -> None:
    checks = (
        NotEmptyCheck(),
        CompleteCheck(),
        RegexCheck(r"(?i)\bx+$"),
        LengthCheck(1, 10),
        JsonSchemaCheck({"type": "object", "additionalProperties": {"type": "integer"}}),
        PythonSyntaxCheck(),
        CommandCheck(argv=("grep", "-q", "x"), folder=Path(__file__).parent),
    )
    report = asyncio.run(run_checks(checks, Subject("skill", "task", answer, "stop"), lambda _: None))
    assert report.fault is None
    assert [result.kind for result in report.results] == [check.kind for check in checks]
    for result in report.results:
        assert result.passed == (not result.message)
        assert len(result.message) <= 1_000
        result.message.encode()


@given(ANY_TEXT, st.integers(2, 50))
def test_clipping_and_cleaning_keep_their_bounds(text: str, limit: int) -> None:
    assert len(clipped(text, limit)) <= limit
    assert len(clipped_tail(text, limit)) <= limit
    clean = cleaned(text)
    assert cleaned(clean) == clean
    assert all(character.isprintable() or character in "\n\t" or ord(character) > 159 for character in clean)


@given(ANY_TEXT.filter(lambda text: "```" not in text))
def test_a_fenced_text_comes_out_of_its_fence(text: str) -> None:
    assert less_code_fence(f"```json\n{text}\n```") == text
    body = f"{text}\n".replace("\r\n", "\n")
    assert [(block.language, block.text) for block in fenced_blocks(f"```py\n{text}\n```")] == [("py", body)]
