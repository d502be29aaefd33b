"""Finds texts by their words: what a person typed becomes a query of FTS5, and its hits are read in pieces.

Words are cut and folded as `search_index` says. What is no word is left out: no character of a query has a
meaning but `"` around words in their order and `*` at the end of a beginning.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from hyperguild.adapters.store.filters import Conditions
from hyperguild.adapters.store.search_index import (
    CUT,
    MARK,
    SINGLE,
    TABLE,
    TASK_MARK,
    TOKENIZE,
    has_fts5,
    has_index,
    mark,
)
from hyperguild.domain.review import ReviewFilter
from hyperguild.errors import StoreError, UsageError

MOST_WORDS = 300
"""Words that one beginning may stand for: each is looked up."""

MOST_TERMS = 50
"""Words and quoted texts of one query."""

MOST_IN_ALL = 300
"""Words of one query, those in quoted texts counted singly: each is looked for at places of others."""

_WINDOW = 1 << 16
"""Texts that FTS5 looks through at a time; it cannot be interrupted meanwhile."""

_SINGLY = 32
_EXCERPT_WORDS = 32
_EXCERPT_FROM = 300_000
"""Characters of a text, its first, in which the place to show is looked for."""

_PIECE, _OVERLAP = 2000, 200
"""Characters that `snippet` is given at a time: it compares all places of the words with each other."""

_BEGIN, _END = "\x01", "\x02"
_PIECES = f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.pieces USING fts5(body, {TOKENIZE})"
_SNIPPET = (
    f"SELECT snippet(pieces, 0, '{_BEGIN}', '{_END}', '…', {_EXCERPT_WORDS}) FROM temp.pieces"
    " WHERE pieces MATCH ?"
)
_TEXT = (
    "SELECT substr(task, 1, :length) FROM runs WHERE text_id = :text_id"
    " UNION ALL SELECT substr(answer, 1, :length) FROM attempts WHERE text_id = :text_id"
)
_TERM = re.compile(r'"([^"]*)(?:"|$)|([^\s"]+)')
_WORD = re.compile(r"\w+")
_SINGLE = re.compile(f"([{SINGLE}])")


@dataclass(frozen=True, slots=True)
class Passed:
    """No hit, but so far it was looked: everything from here on is older."""

    text_id: int


@dataclass(frozen=True, slots=True)
class TextQuery:
    """What is looked for: `words` as an FTS5 expression, `marks` as one that narrows it down.

    `any_word` is what an excerpt shows: each place of one of the words.
    """

    words: str
    any_word: str
    marks: str = ""

    @property
    def expression(self) -> str:
        """Both, for MATCH."""
        return f"{self.words} AND {self.marks}" if self.marks else self.words

    def hits(self, connection: sqlite3.Connection, newest: int | None) -> Iterator[int | Passed]:
        """Yield the ids of texts that have it, newest first, beginning at `newest` (None: at the last)."""
        high = _last_text(connection) if newest is None else newest
        while high > 0:
            low = max(high - _WINDOW, 0)
            found = connection.execute(
                f"SELECT rowid FROM {TABLE} WHERE {TABLE} MATCH ? AND rowid > ? AND rowid <= ?"
                " ORDER BY rowid DESC",
                (self.expression, low, high),
            )
            for (text_id,) in found:
                yield text_id
            yield Passed(low + 1)
            high = low

    def among(self, connection: sqlite3.Connection, text_ids: Sequence[int]) -> Iterator[int | Passed]:
        """Yield those of a few texts (newest first) that have it."""
        for number, text_id in enumerate(text_ids, start=1):
            if self.is_in(connection, text_id):
                yield text_id
            elif number % _SINGLY == 0:
                yield Passed(text_id)

    def is_in(self, connection: sqlite3.Connection, text_id: int) -> bool:
        """Tell whether a text has the words."""
        query = f"SELECT 1 FROM {TABLE} WHERE {TABLE} MATCH ? AND rowid = ?"
        return connection.execute(query, (self.words, text_id)).fetchone() is not None

    def excerpt(self, connection: sqlite3.Connection, text_id: int) -> tuple[str, ...]:
        """Return the part of a text around what was found, in turns: around, found, around, …

        Its beginning, where nothing is found in the first `_EXCERPT_FROM` characters.
        """
        row = connection.execute(_TEXT, {"text_id": text_id, "length": _EXCERPT_FROM}).fetchone()
        whole = "" if row is None or row[0] is None else str(row[0])
        connection.execute(_PIECES)
        for start in range(0, max(len(whole), 1), _PIECE - _OVERLAP):
            piece = _SINGLE.sub(rf"{CUT}\1{CUT}", whole[start : start + _PIECE])
            connection.execute("DELETE FROM temp.pieces")
            connection.execute("INSERT INTO temp.pieces (body) VALUES (?)", (piece,))
            found = connection.execute(_SNIPPET, (self.any_word,)).fetchone()
            if found is not None:
                before = "…" if start and not found[0].startswith("…") else ""
                text = before + str(found[0]).replace(CUT, "")
                # Characters in a row that are words of their own were found as one.
                return tuple(re.split(f"[{_BEGIN}{_END}]", text.replace(_END + _BEGIN, "")))
        return (" ".join(whole[:_PIECE].split()[:_EXCERPT_WORDS]),)


def text_query(connection: sqlite3.Connection, wanted: ReviewFilter, *, of_texts: bool) -> TextQuery:
    """Return what `wanted.text` asks for. Raises `UsageError` for a bad query, `StoreError` without an index.

    `of_texts`: the answers that are found have to be of the wanted models and verdicts themselves; else those
    may be of other attempts of their runs.
    """
    _require_index(connection)
    given = list(_terms(wanted.text))
    if not given:
        raise UsageError(f"no word to look for in {wanted.text[:80]!r}", hint="give letters or digits")
    if len(given) > MOST_TERMS:
        raise UsageError(f"{len(given)} words to look for", hint=f"give at most {MOST_TERMS}, or quote them")
    in_all = sum(len(_WORD.findall(words)) for words, _ in given)
    if in_all > MOST_IN_ALL:
        raise UsageError(f"{in_all} words to look for", hint=f"give at most {MOST_IN_ALL}")
    terms = [_phrase(connection, *term) for term in given]
    return TextQuery(
        words=f"(body : ({' AND '.join(terms)}))",
        any_word=" OR ".join(terms),
        marks=" AND ".join(_marks(connection, wanted, of_texts=of_texts)),
    )


def add_text(connection: sqlite3.Connection, fits: Conditions, table: str, wanted: ReviewFilter) -> None:
    """Add that the text is found as pages find it: in a run's texts, or an attempt's answer or task."""
    if not wanted.text.strip():
        return
    has_it = f"text_id IN (SELECT rowid FROM {TABLE} WHERE {TABLE} MATCH ?)"
    other = "attempts" if table == "runs" else "runs"
    expression = text_query(connection, wanted, of_texts=False).expression
    fits.add(
        f"({table}.{has_it} OR {table}.run_id IN (SELECT run_id FROM {other} WHERE {has_it}))",
        expression,
        expression,
    )


def _require_index(connection: sqlite3.Connection) -> None:
    if not has_fts5(connection):
        raise StoreError(
            f"the SQLite {sqlite3.sqlite_version} of this Python cannot search: it was built without FTS5",
            hint="run hyperguild with a Python whose SQLite has it, such as those of python.org",
        )
    if not has_index(connection):
        raise StoreError(
            "the session log has no index of its words: it was last written by a program without FTS5",
            hint="the next `hyperguild run` makes one",
        )


def _terms(text: str) -> Iterator[tuple[str, bool]]:
    """Yield words and quoted words as they were given, and whether they are a beginning."""
    for quoted, bare in _TERM.findall(text.replace("\0", " ")):
        words = _SINGLE.sub(r" \1 ", quoted or bare)
        if any(_is_of_word(character) for character in words):
            yield words.strip(), bare.endswith("*") and _is_of_word(bare.rstrip("*")[-1:])


def _is_of_word(character: str) -> bool:
    # What unicode61 takes for parts of words: letters, numbers, private use.
    return character == "_" or (bool(character) and unicodedata.category(character)[0] in "LN")


def _phrase(connection: sqlite3.Connection, words: str, is_beginning: bool) -> str:
    if not is_beginning:
        return _quoted(words)
    match = re.search(r"\w+\**$", words)
    beginning = "" if match is None else _folded(match[0].rstrip("*"))
    if match is None or _SINGLE.search(beginning):
        return _quoted(words)
    before = words[: match.start()]
    found = _words_from(connection, beginning)
    # A beginning of no word is looked for as a word: it is not there either.
    return f"({' OR '.join(_quoted(before + word) for word in found or [beginning])})"


def _words_from(connection: sqlite3.Connection, beginning: str) -> list[str]:
    """Return the words of the log that begin so.

    FTS5 would read all places of all of them before it named the first text; this names them alone.
    """
    connection.execute(
        f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.words USING fts5vocab('main', '{TABLE}', 'instance')"
    )
    found: list[str] = []
    query, last = "SELECT term FROM temp.words WHERE term >= ? LIMIT 1", beginning
    while True:
        row = connection.execute(query, (last,)).fetchone()
        if row is None or not row[0].startswith(beginning):
            return found
        if not row[0].startswith(MARK):
            found.append(row[0])
        if len(found) > MOST_WORDS:
            raise UsageError(
                f"more than {MOST_WORDS} words of the log begin with {beginning!r}", hint="give more letters"
            )
        last = row[0] + "\x01"


def _folded(word: str) -> str:
    """Fold case and accents as unicode61 does with `remove_diacritics 2`."""
    plain = unicodedata.normalize("NFD", word.lower())
    return unicodedata.normalize("NFC", "".join(one for one in plain if unicodedata.category(one) != "Mn"))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', " ") + '"'


def _marks(connection: sqlite3.Connection, wanted: ReviewFilter, *, of_texts: bool) -> Iterator[str]:
    for kind, values in (("s", wanted.skills), ("c", wanted.chains)):
        if values:
            yield _any_of([mark(kind, value) for value in values])
    if wanted.since is not None or wanted.until is not None:
        row = connection.execute(
            "SELECT (SELECT min(created_at) FROM runs), (SELECT max(created_at) FROM runs)"
        ).fetchone()
        if row[0] is not None:
            earliest, latest = (datetime.fromisoformat(at).date() for at in row)
            times = _times(wanted.since, wanted.until, earliest=earliest, latest=latest)
            yield _any_of([f"{MARK}t{time}" for time in times])
    own = [
        _any_of([mark(kind, value) for value in values])
        for kind, values in (("m", wanted.models), ("v", wanted.verdicts))
        if values
    ]
    if of_texts and own:
        yield f"({_any_of([TASK_MARK])} OR ({' AND '.join(own)}))"


def _any_of(marks: Sequence[str]) -> str:
    return f"(marks : ({' OR '.join(map(_quoted, marks))}))"


def _times(since: datetime | None, until: datetime | None, *, earliest: date, latest: date) -> list[str]:
    """Return years, months and days (`2026`, `202601`, `20260131`) that hold all between, of the log's."""
    first = earliest if since is None else max(since.astimezone(UTC).date(), earliest)
    end = latest if until is None else min(until.astimezone(UTC).date(), latest)
    found = []
    day = first
    while day <= end:
        next_year, next_month = (
            date(day.year + 1, 1, 1),
            (day.replace(day=1) + timedelta(days=32)).replace(day=1),
        )
        if (day.month, day.day) == (1, 1) and next_year <= end:
            found.append(f"{day:%Y}")
            day = next_year
        elif day.day == 1 and next_month <= end:
            found.append(f"{day:%Y%m}")
            day = next_month
        else:
            found.append(f"{day:%Y%m%d}")
            day += timedelta(days=1)
    return found or [f"{end:%Y%m%d}"]


def _last_text(connection: sqlite3.Connection) -> int:
    row = connection.execute(
        "SELECT max(coalesce((SELECT max(text_id) FROM runs WHERE text_id > 0), 0),"
        " coalesce((SELECT max(text_id) FROM attempts WHERE text_id > 0), 0))"
    ).fetchone()
    return int(row[0])
