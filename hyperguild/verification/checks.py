"""The deterministic checks: free, and run before a judge is asked."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex

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
from hyperguild.domain.text import cleaned, clipped, clipped_tail, encodable
from hyperguild.errors import VerifierError
from hyperguild.programs.environment import MEASURING, PYTHON, TOOLCHAINS, WORKDIR, reduced_environment
from hyperguild.programs.find import ProgramNotFound, find_program
from hyperguild.programs.run import OutputLimit, run_program
from hyperguild.verification.fences import fenced_blocks, less_code_fence
from hyperguild.verification.subject import Subject

MESSAGE_CHARS_MAX = 1_000
REGEX_TIMEOUT_S = 1.0
PARSE_TIMEOUT_S = 10.0
"""Time for parsing an answer in a process of its own, most of which is room for a busy machine."""

QUOTED_CHARS_MAX = 200
PYTHON_LANGUAGES = frozenset({"python", "py", "python3", "py3"})
CUT_OFF = frozenset({"length", "content_filter"})


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What all checks found: `results` in their order, `failures` those that refuse the answer.

    `fault` is set where a check is itself at fault, so that no answer could pass it; its result is among
    `results`, as failed, and not among `failures`.
    """

    results: tuple[CheckResult, ...]
    failures: tuple[CheckResult, ...]
    fault: VerifierError | None = None


async def run_checks(
    checks: Sequence[Check], subject: Subject, on_result: Callable[[CheckResult], None]
) -> CheckReport:
    """Run all checks, in order, and tell each result as it comes. Cancelling kills a running program."""
    results: list[CheckResult] = []
    failures: list[CheckResult] = []
    fault: VerifierError | None = None
    for check in checks:
        try:
            result = await run_check(check, subject)
            if not result.passed:
                failures.append(result)
        except VerifierError as error:
            fault = fault or error
            message = clipped(f"the check is at fault: {error.message}", MESSAGE_CHARS_MAX)
            result = CheckResult(kind=check.kind, passed=False, message=message)
        results.append(result)
        on_result(result)
    return CheckReport(tuple(results), tuple(failures), fault)


async def run_check(check: Check, subject: Subject) -> CheckResult:
    """Run one check. A failure's message tells a model what to do, in at most 1,000 characters.

    Raises `VerifierError` where the check is itself at fault: no answer could pass it.
    """
    message = await _fault(check, subject)
    return CheckResult(
        kind=check.kind, passed=not message, message=clipped(cleaned(message), MESSAGE_CHARS_MAX)
    )


async def _fault(check: Check, subject: Subject) -> str:
    """Return why the check fails, empty where it passes."""
    match check:
        case NotEmptyCheck():
            fault = "" if subject.answer.strip() else "the answer is empty"
        case CompleteCheck():
            fault = _cut_off(subject)
        case RegexCheck():
            fault = await asyncio.to_thread(_regex_fault, check, subject.answer)
        case LengthCheck():
            fault = _length_fault(check, subject.answer)
        case JsonSchemaCheck():
            fault = await _json_fault(check, subject.answer)
        case PythonSyntaxCheck():
            fault = await _python_fault(subject.answer)
        case CommandCheck():
            fault = await _command_fault(check, subject)
    return fault


def _cut_off(subject: Subject) -> str:
    if subject.finish_reason not in CUT_OFF:
        return ""
    return f"the answer was cut off before its end (finish reason: {subject.finish_reason}); give all of it"


def _length_fault(check: LengthCheck, answer: str) -> str:
    if check.min_chars is not None and len(answer) < check.min_chars:
        return f"the answer has {len(answer)} characters; it must have at least {check.min_chars}"
    if check.max_chars is not None and len(answer) > check.max_chars:
        return f"the answer has {len(answer)} characters; it must have at most {check.max_chars}"
    return ""


def _regex_fault(check: RegexCheck, answer: str) -> str:
    shown = clipped(check.pattern, QUOTED_CHARS_MAX)
    try:
        # `concurrent` lets go of the interpreter's lock, so that the event loop runs on meanwhile.
        pattern = regex.compile(check.pattern, regex.MULTILINE)
        found = pattern.search(answer, timeout=REGEX_TIMEOUT_S, concurrent=True)
    except regex.error as error:
        raise VerifierError(f"the regular expression {shown} is refused: {error}") from error
    except TimeoutError:
        return f"searching for the regular expression {shown} took more than {REGEX_TIMEOUT_S:g} s"
    if check.expect == "match":
        unmet = f"something in the answer must match the regular expression {shown}, and nothing does"
        return "" if found else unmet
    if found is None:
        return ""
    line = answer.count("\n", 0, found.start()) + 1
    match = clipped(found.group(), QUOTED_CHARS_MAX)
    return f"line {line} of the answer matches the regular expression {shown}, but must not: {match}"


async def _json_fault(check: JsonSchemaCheck, answer: str) -> str:
    job = {"text": less_code_fence(answer), "schema": check.schema}
    faults = await _parse("json_program.py", job)
    return "\n".join(["the answer must be JSON alone, and valid by its schema:", *faults]) if faults else ""


async def _python_fault(answer: str) -> str:
    blocks = [block.text for block in fenced_blocks(answer) if block.language in PYTHON_LANGUAGES]
    faults = await _parse("python_program.py", {"sources": blocks or [less_code_fence(answer)]})
    return "\n".join(["the Python of the answer cannot be parsed:", *faults]) if faults else ""


async def _parse(program: str, job: Mapping[str, Any]) -> list[str]:
    """Run one of the parsers beside this module; return its faults. Raises `VerifierError`."""
    folder = Path(__file__).parent
    try:
        end = await run_program(
            # -P: a module beside the program must not stand in for one of the library.
            [sys.executable, "-P", str(folder / program)],
            stdin=json.dumps({**job, "cpu_s": math.ceil(PARSE_TIMEOUT_S)}, default=dict).encode(),
            folder=folder,
            environment=reduced_environment(os.environ, TOOLCHAINS | PYTHON, MEASURING),
            timeout_s=PARSE_TIMEOUT_S,
            keep=OutputLimit(tail_bytes=32_768),
        )
    except OSError as error:  # no processes or descriptors left
        raise VerifierError(f"{program} cannot be run: {error}") from error
    if end.exit_code is None or end.exit_code < 0:  # time was up, or the C stack was
        return ["that takes too much time or memory"]
    if end.exit_code:
        raise VerifierError(f"{program} failed: {clipped_tail(_readable(end.output), 500)}")
    report = json.loads(end.output.splitlines()[-1])
    if "broken_schema" in report:
        raise VerifierError(f"the JSON Schema of a check is refused: {report['broken_schema']}")
    faults: list[str] = report["faults"]
    return faults


async def _command_fault(check: CommandCheck, subject: Subject) -> str:
    environment = reduced_environment(os.environ)
    if subject.folder is not None:
        environment[WORKDIR] = str(subject.folder)
    try:
        program = find_program(check.argv[0], check.folder, environment.get("PATH", os.defpath))
        end = await run_program(
            [str(program), *check.argv[1:]],
            stdin=encodable(subject.answer).encode(),
            folder=check.folder,
            environment=environment,
            timeout_s=check.timeout_s,
            keep=OutputLimit(tail_bytes=4 * MESSAGE_CHARS_MAX),
        )
    except ProgramNotFound as error:  # a check that cannot run refuses every answer
        raise VerifierError(f"check command {error}", hint=error.hint) from error
    except (OSError, ValueError) as error:  # no interpreter, wrong format, null bytes in argv
        raise VerifierError(f"check command cannot be run: {check.argv[0]}: {error}") from error
    if end.exit_code == 0:
        return ""
    said = clipped_tail(_readable(end.output), MESSAGE_CHARS_MAX)
    if end.exit_code is None:
        return _headed(f"{check.argv[0]} was not done after {check.timeout_s:g} s", said)
    return said or f"{check.argv[0]} {end.in_words()} and said nothing"


def _readable(output: bytes) -> str:
    return cleaned(output.decode("utf-8", "replace")).strip()


def _headed(head: str, said: str) -> str:
    if not said:
        return head
    return f"{head}; it said: {clipped_tail(said, MESSAGE_CHARS_MAX - len(head) - len('; it said: '))}"
