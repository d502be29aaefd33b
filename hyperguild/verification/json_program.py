"""A program that validates JSON against a JSON Schema; it needs nothing of hyperguild.

It runs in a process of its own, since that can be killed: a schema's regular expressions can take
exponential time, holding the interpreter's lock. It reads `{"text", "schema", "cpu_s"}` as JSON on stdin and
prints one line of JSON: `{"faults": [...]}`, empty where all is well, or `{"broken_schema": "..."}`.
Importing it runs nothing; `json_faults` is pure.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import resource
import sys
import warnings
from typing import Any, NoReturn

import jsonschema
from jsonschema import validators
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing.exceptions import Unresolvable

FAULTS_MAX = 5
FAULT_CHARS_MAX = 180
"""So that five faults and a heading fit into the 1,000 characters of a check's message."""


class BrokenSchemaError(Exception):
    """The schema is at fault, not the document."""


def json_faults(text: str, schema: Any) -> list[str]:
    """Return what is wrong with a JSON document, at most `FAULTS_MAX` faults, each with its JSON path.

    The draft is the one `$schema` names, else 2020-12; `format` is an annotation only, as that draft has it.
    References that lead out of the schema are never fetched. Raises `BrokenSchemaError`.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_number, parse_float=_finite)
    except RecursionError:
        return ["it is nested too deeply"]
    except ValueError as error:
        return [_clip(f"it is not JSON: {error}")]
    kind = validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
        # The registry holds the drafts' own schemas alone, and fetches nothing, which the default does.
        errors = kind(schema, registry=REGISTRY).iter_errors(document)
        return [
            _clip(f"{fault.json_path}: {fault.message}") for fault in itertools.islice(errors, FAULTS_MAX)
        ]
    except jsonschema.SchemaError as error:
        raise BrokenSchemaError(_clip(f"{error.json_path}: {error.message}")) from error
    except Unresolvable as error:
        raise BrokenSchemaError(_clip(f"$ref {error.ref} leads nowhere, and nothing is fetched")) from error
    except re.error as error:
        raise BrokenSchemaError(_clip(f"the regular expression {error.pattern!r}: {error}")) from error
    except RecursionError:
        return ["it is nested too deeply for its schema"]
    except OverflowError:
        return ["it holds a number that is too large"]


def main() -> None:
    """Do the job on stdin."""
    job = json.load(sys.stdin)
    # The parent kills this process when time is up; this holds where the parent has been killed itself.
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_s"], job["cpu_s"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            report: dict[str, Any] = {"faults": json_faults(job["text"], job["schema"])}
        except BrokenSchemaError as error:
            report = {"broken_schema": str(error)}
    sys.stdout.write(json.dumps(report) + "\n")


def _refuse_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _clip(text: str) -> str:
    """Keep both ends of a long fault: the reason stands behind the offending value."""
    if len(text) <= FAULT_CHARS_MAX:
        return text
    head = FAULT_CHARS_MAX // 3
    return f"{text[:head]}…{text[head + 1 - FAULT_CHARS_MAX :]}"


if __name__ == "__main__":
    main()
