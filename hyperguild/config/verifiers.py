"""Verifiers of the raw file as the objects that are used: their checks, their judge, their schema files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hyperguild.config import schema
from hyperguild.config.models import ModelTable, limits_of, tuned
from hyperguild.config.report import Report
from hyperguild.config.wording import DocumentPath, printable
from hyperguild.domain.chain import (
    Check,
    CommandCheck,
    CompleteCheck,
    JsonSchemaCheck,
    Judge,
    LengthCheck,
    NotEmptyCheck,
    PythonSyntaxCheck,
    RegexCheck,
    VerifierSpec,
)

MAX_SCHEMA_BYTES = 1 << 20


class SchemaFault(ValueError):
    """A JSON Schema cannot be used; the message says why."""


def resolve_verifiers(
    raw: schema.ChainsFile, table: ModelTable, report: Report, folder: Path
) -> dict[str, VerifierSpec]:
    """Return the verifiers that can be used; for the others a problem is noted."""
    resolved: dict[str, VerifierSpec] = {}
    for name, verifier in (raw.verifiers or {}).items():
        path: DocumentPath = ("verifiers", name)
        checks = [
            _check(check, (*path, "checks", index), report, folder)
            for index, check in enumerate(verifier.checks)
        ]
        judge = None if verifier.judge is None else _judge(verifier.judge, (*path, "judge"), table)
        usable = tuple(check for check in checks if check is not None)
        if len(usable) == len(checks) and (judge is None) == (verifier.judge is None):
            resolved[name] = VerifierSpec(name=name, checks=usable, judge=judge)
    return resolved


def _judge(raw: schema.Judge, path: DocumentPath, table: ModelTable) -> Judge | None:
    found = [table.model(name, (*path, "model", index)) for index, name in enumerate(raw.model)]
    models = tuple(tuned(model, raw) for model in found if model is not None)
    if len(models) < len(found):
        return None
    return Judge(
        models=models,
        accept_at=raw.accept_at,
        votes=raw.votes,
        on_error=raw.on_error,
        rubric=raw.rubric,
        prefer_warm=raw.prefer == "warm",
        limits=limits_of(raw),
    )


def _check(raw: schema.Check, path: DocumentPath, report: Report, folder: Path) -> Check | None:
    match raw:
        case schema.NotEmptyCheck():
            return NotEmptyCheck()
        case schema.CompleteCheck():
            return CompleteCheck()
        case schema.RegexCheck():
            return RegexCheck(pattern=raw.pattern, expect=raw.expect)
        case schema.LengthCheck():
            return LengthCheck(min_chars=raw.min_chars, max_chars=raw.max_chars)
        case schema.PythonSyntaxCheck():
            return PythonSyntaxCheck()
        case schema.CommandCheck():
            return CommandCheck(argv=raw.argv, folder=folder, timeout_s=raw.timeout_s)
        case schema.JsonSchemaCheck():
            try:
                return JsonSchemaCheck(schema=_json_schema(raw.schema_, folder))
            except SchemaFault as exc:
                report.add((*path, "schema"), str(exc))
                return None


def _json_schema(source: Any, folder: Path) -> dict[str, Any] | bool:
    """Return the schema that is given, or stands in the named file of the folder. Raises `SchemaFault`."""
    # Costs 70 ms to import; most files hold no such check.
    import jsonschema.exceptions  # noqa: PLC0415
    from jsonschema.validators import Draft202012Validator, validator_for  # noqa: PLC0415

    found = _read_schema(source, folder) if isinstance(source, str) else source
    if not isinstance(found, (dict, bool)):
        raise SchemaFault("is not a JSON Schema: it must be an object")
    if isinstance(found, bool):
        return found
    if not isinstance(found.get("$schema", ""), str):
        raise SchemaFault("is not a JSON Schema: $schema must be text")
    try:
        validator_for(found, default=Draft202012Validator).check_schema(found)
    except jsonschema.exceptions.SchemaError as exc:
        where = "/".join(str(part) for part in exc.absolute_path)
        at = f" at {printable(where)}" if where else ""
        raise SchemaFault(f"is not a valid JSON Schema: {exc.validator} is not met{at}") from exc
    except (RecursionError, OverflowError) as exc:
        raise SchemaFault("is not a JSON Schema that can be checked") from exc
    return found


def _read_schema(written: str, folder: Path) -> Any:
    try:
        path = (folder / written).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise SchemaFault("must stay inside the folder of chains.yaml")
        with path.open("rb") as stream:
            content = stream.read(MAX_SCHEMA_BYTES + 1)
        if len(content) > MAX_SCHEMA_BYTES:
            raise SchemaFault(f"is larger than {MAX_SCHEMA_BYTES} bytes")
        return json.loads(content)
    except OSError as exc:
        raise SchemaFault(f"cannot be read: {exc.strerror or 'no such file'}") from exc
    except RuntimeError as exc:  # a loop of symbolic links, or JSON nested without end (RecursionError)
        raise SchemaFault("cannot be read: it leads or nests without end") from exc
    except json.JSONDecodeError as exc:
        raise SchemaFault(f"is not JSON: {exc.msg} (line {exc.lineno}, column {exc.colno})") from exc
    except UnicodeDecodeError as exc:
        raise SchemaFault("is not JSON: it is not UTF-8") from exc
