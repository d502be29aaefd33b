"""Reads files of recorded runs: our own exports, and RouteLLM's responses. Nothing is made up."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import ValidationError

from hyperguild.domain.ids import Uuid7Source
from hyperguild.domain.records import Attempt, RunResult, StoredRun
from hyperguild.domain.review import ImportedRun, Label, LabelValue
from hyperguild.errors import UsageError
from hyperguild.review.import_checks import check_run

Format = Literal["routellm", "jsonl"]

RESPONSE = "_response"
"""RouteLLM's files have a column `prompt`, and for each model M the columns `M` (True or False: whether its
answer is right) and `M_response`."""

REVIEWER = "routellm"
CHAIN = "imported"
ENDPOINT = "imported"
_RIGHT: Mapping[str, LabelValue] = {"True": "good", "False": "bad"}


@dataclass(frozen=True, slots=True)
class RouteLlmTerms:
    """How a file of RouteLLM's becomes runs.

    `names` are other names for its models, `left_out` prompts that are passed over. Runs are dated `now`.
    """

    skill: str = "gsm8k"
    names: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()


def format_of(path: Path) -> Format:
    """Tell a file's format by its first line. Raises `UsageError` where it is neither, or cannot be read."""
    with _opened(path) as file:
        first = file.readline()
    if first.lstrip("\ufeff").startswith(("prompt,", '"prompt",')):
        return "routellm"
    if first.lstrip().startswith("{"):
        return "jsonl"
    raise UsageError(
        f"{path}:1: neither a run of `sessions export` nor the header of RouteLLM's responses",
        hint="say which it is with --format",
    )


def exported_runs(path: Path) -> Iterator[ImportedRun]:
    """Yield the runs of a file of `sessions export --format jsonl`, as they were, with their labels.

    Raises `UsageError` that names file and line where one is none.
    """
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield _run_of(json.loads(line))
            except (ValueError, TypeError, RecursionError) as error:
                raise UsageError(
                    f"{path}:{number}: no run of `sessions export`: {_in_words(error)}",
                    hint="nothing of this file was imported",
                ) from error


def routellm_runs(path: Path, terms: RouteLlmTerms, now: datetime) -> Iterator[ImportedRun]:
    """Yield a run for each prompt and model, labelled by the reviewer `routellm`, in the file's order.

    The ends of ids are made of the content alone, so that the same run is known again. Tokens, times and
    cost are not in such a file, and stay unknown. Raises `UsageError` that names file and line.
    """
    ids = _ContentIds(now)
    with _opened(path) as file:
        rows = csv.reader(file, strict=True)
        try:
            columns = _columns(next(rows, []), terms)
            for row in rows:
                if not row:
                    continue
                yield from _answers(row, columns, terms, ids)
        except (csv.Error, ValueError) as error:
            raise UsageError(
                f"{path}:{rows.line_num}: {error}", hint="nothing of this file was imported"
            ) from error


def left_out_prompts(path: Path) -> frozenset[str]:
    """Return the prompts that a file lists: `eval_prompt` of JSON Lines. Raises `UsageError`."""
    found = set()
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                found.add(str(json.loads(line)["eval_prompt"]))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise UsageError(f"{path}:{number}: no JSON object with an eval_prompt") from error
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where things stand in a row: the prompt, and of each model the label and the answer."""

    width: int
    prompt: int
    models: tuple[tuple[str, int, int], ...]


class _ContentIds:
    """Ids of one moment that follow each other, and end in a digest of what they are for."""

    def __init__(self, now: datetime) -> None:
        self._digest = b""
        moment_ms = int(now.timestamp() * 1000)
        self._source = Uuid7Source(lambda: moment_ms, lambda count: self._digest[:count])
        self.now = now
        self.session_id = self.new("session", now.isoformat())

    def new(self, *content: str) -> str:
        """Return the next id."""
        self._digest = hashlib.sha256(json.dumps(content).encode()).digest()
        return self._source.new_id()


def _columns(header: Sequence[str], terms: RouteLlmTerms) -> _Columns:
    names = [name.lstrip("\ufeff") for name in header]
    models = [name.removesuffix(RESPONSE) for name in names if name.endswith(RESPONSE)]
    found = [name for name in models if name in names]
    if "prompt" not in names or not found or len(set(names)) < len(names):
        raise ValueError(f"the header needs a column prompt, and for a model M the columns M and M{RESPONSE}")
    unknown = sorted(set(terms.names) - set(found))
    if unknown:
        raise ValueError(f"--rename: no model {unknown[0]!r} here; there are {', '.join(found)}")
    return _Columns(
        len(names),
        names.index("prompt"),
        tuple(
            (terms.names.get(name, name), names.index(name), names.index(name + RESPONSE)) for name in found
        ),
    )


def _answers(
    row: Sequence[str], columns: _Columns, terms: RouteLlmTerms, ids: _ContentIds
) -> Iterator[ImportedRun]:
    if len(row) != columns.width:
        raise ValueError(f"{len(row)} cells, and the header has {columns.width}")
    prompt = row[columns.prompt]
    if prompt in terms.left_out:
        return
    for model, right_at, answer_at in columns.models:
        value = _RIGHT.get(row[right_at])
        if value is None:
            raise ValueError(f"{row[right_at]!r} is neither True nor False")
        yield _labelled_run(prompt, model, row[answer_at], value, terms.skill, ids)


def _labelled_run(
    prompt: str, model: str, answer: str, value: LabelValue, skill: str, ids: _ContentIds
) -> ImportedRun:
    attempt_id = ids.new("attempt", skill, model, prompt, answer)
    attempt = Attempt(
        attempt_id=attempt_id,
        position=0,
        model=model,
        tier="managed",
        endpoint=ENDPOINT,
        verdict="accept",
        answer=answer,
        cost_usd=None,
        started_at=ids.now,
    )
    result = RunResult(
        run_id=ids.new("run", skill, model, prompt, answer),
        session_id=ids.session_id,
        skill=skill,
        chain=CHAIN,
        status="accepted",
        output=answer,
        model=model,
        tier="managed",
        best_attempt_id=attempt_id,
        cost_usd=None,
        attempts=(attempt,),
    )
    label = Label(
        label_id=ids.new("label", attempt_id, value),
        attempt_id=attempt_id,
        reviewer=REVIEWER,
        value=value,
        created_at=ids.now,
    )
    return ImportedRun(
        StoredRun(result=result, task=prompt, created_at=ids.now, finished_at=ids.now), (label,)
    )


def _run_of(record: Any) -> ImportedRun:
    """Build the run of an exported object. Raises `ValueError` and `TypeError`."""
    if not isinstance(record, dict):
        raise TypeError("not a JSON object")
    fields = dict(record)
    labels = tuple(Label.model_validate(one) for one in fields.pop("labels", []))
    result = RunResult.model_validate(
        {name: fields.pop(name) for name in RunResult.model_fields if name in fields}
    )
    run = StoredRun.model_validate({**fields, "result": result})
    own = {attempt.attempt_id for attempt in result.attempts}
    strange = [label.attempt_id for label in labels if label.attempt_id not in own]
    if strange:
        raise ValueError(f"a label is of the attempt {strange[0]}, which is not of this run")
    imported = ImportedRun(run, labels)
    check_run(imported)
    return imported


def _in_words(error: Exception) -> str:
    """Return one line on what is wrong, without the text that is."""
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """Open a text file, packed by gzip or not. Raises `UsageError` where it cannot be read."""
    if path.exists() and not path.is_file():
        # Its format is found first, then its faults: it is read more than once.
        raise UsageError(f"{path} is no regular file", hint="write what it gives to one, and import that")
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            source: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            # newline="": line ends within cells are csv's own matter.
            with io.TextIOWrapper(source, encoding="utf-8", newline="") as file:
                yield file
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{path} cannot be read: {said}") from error
