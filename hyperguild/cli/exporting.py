"""Carries out `sessions export`: reads the runs that are meant, and hands them to a writer of the format."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from hyperguild.cli.export_json import JsonArrayWriter, JsonLinesWriter
from hyperguild.cli.export_openai import OpenAiWriter
from hyperguild.cli.labelled import LabelledRun, with_labels
from hyperguild.cli.log_reading import chosen_runs, is_there
from hyperguild.cli.options import Settings
from hyperguild.cli.review_log import meant, open_review
from hyperguild.domain.records import StoredRun
from hyperguild.domain.review import ReviewFilter
from hyperguild.errors import UsageError
from hyperguild.ports import ReviewStore

_AT_ONCE = 500
"""Runs of which a listing is asked for at a time."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which runs are exported: those that the references mean, or without any those that fit."""

    references: Sequence[str]
    wanted: ReviewFilter


class Writer(Protocol):
    """Writes runs in one format."""

    def write(self, run: LabelledRun) -> None:
        """Take one run."""
        ...

    def finish(self) -> list[str]:
        """Write what is left; return lines for stderr."""
        ...


async def exported(settings: Settings, choice: Choice, form: str, output: Path | None) -> list[str]:
    """Write the runs to the file, or to stdout; return what is to be said on stderr.

    The file is replaced when all is written, and private to its user where it is new. Raises `UsageError` and
    `StoreError`; then, and when cancelled, what was at the file's place is still there.
    """
    async with aclosing(_runs(settings, choice)) as runs:
        first = await anext(runs, None)  # a wrong id leaves no half an export behind
        with _opened(output) as file:
            writer = _writer(form, file, choice.wanted)
            if first is not None:
                writer.write(first)
            async for run in runs:
                writer.write(run)
            return writer.finish()


def _writer(form: str, file: TextIO, wanted: ReviewFilter) -> Writer:
    match form:
        case "json":
            return JsonArrayWriter(file)
        case "openai":
            return OpenAiWriter(file, wanted)
        case "parquet":
            from hyperguild.cli.export_parquet import ParquetWriter  # noqa: PLC0415  # an optional extra

            return ParquetWriter(file.buffer)
        case _:
            return JsonLinesWriter(file)


async def _runs(settings: Settings, choice: Choice) -> AsyncGenerator[LabelledRun, None]:
    """Yield the runs that are meant, each once; those that fit oldest first."""
    if not choice.references and not is_there(settings.db_file()):
        return
    async with open_review(settings) as store:
        if choice.references:
            # All ids are looked up before anything is yielded.
            meant_runs = [run for reference in choice.references for run in await _named(store, reference)]
            for run in {run.result.run_id: run for run in meant_runs}.values():
                yield await with_labels(store, run)
            return
        for run_id in await _fitting(store, await meant(store, choice.wanted)):
            stored = await store.run(run_id)
            if stored is not None:  # it may have been pruned meanwhile
                yield await with_labels(store, stored)


async def _named(store: ReviewStore, reference: str) -> Sequence[StoredRun]:
    session_id = await store.resolve_session(reference)
    return chosen_runs(await store.session_runs(session_id), session_id, reference)


async def _fitting(store: ReviewStore, wanted: ReviewFilter) -> list[str]:
    found: list[str] = []
    after: str | None = None
    while True:
        page = await store.runs(wanted, limit=_AT_ONCE, after=after)
        found += [row.run_id for row in page.items]
        after = page.after
        if after is None:
            return found[::-1]


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """Open stdout, or a new file that takes the place of `output` when the block ends well."""
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
        Path(name).replace(output)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
