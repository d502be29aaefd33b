"""The deterministic checks, but for commands."""

from __future__ import annotations

from typing import Any

import pytest

from hyperguild.domain.chain import (
    Check,
    CompleteCheck,
    JsonSchemaCheck,
    LengthCheck,
    NotEmptyCheck,
    PythonSyntaxCheck,
    RegexCheck,
)
from hyperguild.domain.messages import FinishReason
from hyperguild.domain.records import CheckResult
from hyperguild.errors import VerifierError
from hyperguild.verification.checks import run_check, run_checks
from hyperguild.verification.subject import Subject


def subject(answer: str, finish_reason: FinishReason = "stop") -> Subject:
    return Subject(skill_prompt="skill", task="task", answer=answer, finish_reason=finish_reason)


async def message(check: Check, answer: str) -> str:
    """Run a check; return its message, which is empty exactly where it passes."""
    result = await run_check(check, subject(answer))
    assert result.kind == check.kind
    assert result.passed == (not result.message)
    assert len(result.message) <= 1_000
    return result.message


@pytest.mark.parametrize(("answer", "passes"), [("x", True), ("", False), (" \n\t\u00a0", False)])
async def test_not_empty(answer: str, passes: bool) -> None:
    assert (await message(NotEmptyCheck(), answer) == "") is passes


@pytest.mark.parametrize(
    ("reason", "passes"),
    [("stop", True), ("other", True), ("tool_calls", True), ("length", False), ("content_filter", False)],
)
async def test_complete(reason: FinishReason, passes: bool) -> None:
    result = await run_check(CompleteCheck(), subject("x", reason))
    assert result.passed is passes
    assert (f"finish reason: {reason}" in result.message) is not passes


async def test_length_bounds_are_inclusive() -> None:
    check = LengthCheck(min_chars=2, max_chars=3)
    assert [bool(await message(check, "ä" * count)) for count in range(1, 5)] == [True, False, False, True]
    assert await message(check, "abcd") == "the answer has 4 characters; it must have at most 3"


async def test_regex_searches_all_lines() -> None:
    assert await message(RegexCheck("^## "), "intro\n## Findings") == ""
    assert await message(RegexCheck("^## "), "# Findings") == (
        "something in the answer must match the regular expression ^## , and nothing does"
    )
    refuses = RegexCheck(r"TODO\b", expect="no_match")
    assert await message(refuses, "all done") == ""
    assert (await message(refuses, "a\nb TODO c")).startswith("line 2 of the answer matches")


async def test_a_regex_that_explodes_is_a_failed_check() -> None:
    found = await message(RegexCheck(r"^(?:(a|aa|aaa)+)+x(?<=b)"), "a" * 50_000 + "b")
    assert "took more than 1 s" in found


async def test_a_broken_regex_is_a_fault_of_the_check() -> None:
    with pytest.raises(VerifierError, match="is refused"):
        await run_check(RegexCheck("("), subject("x"))


OBJECT_SCHEMA = {
    "type": "object",
    "properties": {"files": {"type": "array", "items": {"type": "object", "required": ["name"]}}},
    "required": ["files"],
}


@pytest.mark.parametrize(
    "answer", ['{"files": []}', '```json\n{"files": [{"name": 1}]}\n```', '\n```\n{"files": []}\n```\n']
)
async def test_json_that_fits(answer: str) -> None:
    assert await message(JsonSchemaCheck(OBJECT_SCHEMA), answer) == ""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("", "it is not JSON: Expecting value: line 1 column 1"),
        ('Here it is: {"files": []}', "it is not JSON"),
        ('```json\n{"files": []}\n```\nDone.', "it is not JSON"),
        ('{"files": [{}, {"name": 1}, 3]}', "$.files[0]: 'name' is a required property"),
        ('{"files": [{}, {"name": 1}, 3]}', "$.files[2]: 3 is not of type 'object'"),
        ('{"files": NaN}', "NaN is no number of JSON"),
        ('{"files": 1e999}', "a number is too large"),
        ('{"files": ' + "9" * 5_000 + "}", "it is not JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
async def test_json_that_does_not_fit(answer: str, said: str) -> None:
    assert said in await message(JsonSchemaCheck(OBJECT_SCHEMA), answer)


async def test_json_faults_are_few_and_short() -> None:
    found = await message(JsonSchemaCheck({"items": {"type": "string"}}), str([[1] * 1_000] * 20))
    lines = found.splitlines()
    assert len(lines) == 6
    assert lines[1].startswith("$[0]: [1, 1")
    assert lines[1].endswith("is not of type 'string'")


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objekt"}, "objekt"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "nothing is fetched"),
        ({"$ref": "#/$defs/missing"}, "leads nowhere"),
        ({"pattern": "("}, "is not a 'regex'"),
        (
            {"$schema": "http://json-schema.org/draft-04/schema#", "patternProperties": {"(": {}}},
            "the regular expression '('",
        ),
    ],
)
async def test_a_broken_schema_is_a_fault_of_the_check(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(VerifierError, match="is refused") as raised:
        await run_check(JsonSchemaCheck(schema), subject('{"x": 1}'))
    assert said in raised.value.message


async def test_schemas_of_other_drafts_and_boolean_ones() -> None:
    draft_4 = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "maximum": 3,
        "exclusiveMaximum": True,
    }
    assert await message(JsonSchemaCheck(draft_4), "2") == ""
    assert "3 is greater than or equal to" in await message(JsonSchemaCheck(draft_4), "3")
    assert await message(JsonSchemaCheck(True), "3") == ""
    assert "False schema" in await message(JsonSchemaCheck(False), "3")
    meta = {"$ref": "https://json-schema.org/draft/2020-12/schema"}
    assert await message(JsonSchemaCheck(meta), '{"type": "string"}') == ""


async def test_a_schema_that_recurs_without_end_is_a_failed_check() -> None:
    assert "too deeply" in await message(JsonSchemaCheck({"$ref": "#"}), "{}")


async def test_a_pattern_that_explodes_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperguild.verification.checks.PARSE_TIMEOUT_S", 2.0)
    check = JsonSchemaCheck({"pattern": r"^(\w+\s?)+$"})
    assert "too much time" in await message(check, '"' + "a" * 100 + '!"')


@pytest.mark.parametrize(
    "answer",
    [
        "x = 1",
        "",
        "Use this:\n```python\ndef f():\n    return 1\n```\nand ```(``` inline.",
        "```py\nreturn 3\n```",
        "1. First:\n   ```python\n   if x:\n       y()\n   ```\n",
        "````python\ns = '''\n```\n'''\n````",
        "```bash\nif [ -f x ]; then\n```\n~~~Python\nx = 1\n~~~",
        "```python\nprint('\\d', 1 is 1)\n```",
        "```\nx = 1\n```",
        "```python\r\nx = 1\r\n```\r\n",
    ],
)
async def test_python_that_parses(answer: str) -> None:
    assert await message(PythonSyntaxCheck(), answer) == ""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Here is the code.", "line 1: invalid syntax"),
        ("```python\nx = 1\ndef f(:\n    pass\n```", "line 2: invalid syntax: def f(:"),
        ("```python\nx = 1\n```\n```py\ny = \n```", "block 2, line 1: invalid syntax: y ="),
        ("```python\nx = (", "line 1: '(' was never closed"),
        ("x\0", "null bytes"),
        ("x = '\ud800'", "surrogates not allowed"),
        ("-" * 100_000 + "1", "nested too deeply"),
        ("a" + ".b" * 100_000, "nested too deeply"),
    ],
)
async def test_python_that_does_not_parse(answer: str, said: str) -> None:
    assert said in await message(PythonSyntaxCheck(), answer)


async def test_all_checks_run_and_each_is_told() -> None:
    told: list[CheckResult] = []
    checks = (NotEmptyCheck(), RegexCheck("("), LengthCheck(min_chars=5), CompleteCheck())
    report = await run_checks(checks, subject("abc"), told.append)
    assert tuple(told) == report.results
    assert [result.passed for result in report.results] == [True, False, False, True]
    assert [result.kind for result in report.failures] == ["length"]
    assert report.fault is not None
    assert report.results[1].message == f"the check is at fault: {report.fault.message}"
