"""The index of words in tasks and answers: FTS5 tables beside the log's own, kept by triggers.

It holds no texts, only words and the `text_id` of the task or answer that has them, and it can be made anew
from the log at any time: where it is missing, `keep_index` makes it. Words are as `unicode61` cuts them:
letters and digits, case and accents folded, and `_`, so that `snake_case` is one word; `Class.method` is two,
in this order. Ideographs, kana and hangul stand in no words that a rule could cut out: each of their
characters is a word, and several in a row are looked for in that order.

Besides the words each text has marks: skill, chain, year, month and day; an answer its model and verdict.
Filters are looked up with the words then, and not text by text.

Versions of SQLite before 3.42 leave words of deleted texts in the file until the parts of the index are
merged: `purge` does that, after `note_deleted`. Newer ones overwrite them at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

TABLE = "texts_index"

CUT = "\u200b"
"""Put around characters that are words of their own; no letter, of no width, and taken out of excerpts."""

SINGLE = "⺀-⻿々-〇ぁ-ヿㄅ-ㄯㄱ-ㆎㇰ-ㇿ㐀-䶿一-鿿ꥠ-ꥼ가-힣豈-﫿𠀀-𳎯"
"""Ranges of characters that are words of their own, as GLOB and regular expressions write them."""

MARK = "__"
"""What every mark begins with, for it to stand apart from words."""

_AT_LEAST = "⺀-\uffff𠀀-𿿽"
"""One range for all of them and more, that is found faster."""

TASK_MARK = f"{MARK}k"

TOKENIZE = "tokenize=\"unicode61 remove_diacritics 2 tokenchars '_'\""
"""How FTS5 cuts words, as an option of its tables."""

_SECURE_DELETE = (3, 42, 0)
_PURGE = "purge texts"
_PAGES, _PROGRESS = 64, 2
_PIECE = 64
"""Characters that are taken apart one by one: finding the nth of a text means reading all before it."""

_NAMES = tuple(
    f"{TABLE}_{table}_{event}"
    for table in ("runs", "attempts")
    for event in ("new", "changing", "changed", "gone")
)


def mark(kind: str, value: str) -> str:
    """Return the word that marks texts of this skill (`s`), chain (`c`), model (`m`) or verdict (`v`)."""
    return f"{MARK}{kind}{value.encode().hex()}"


def is_kept(connection: sqlite3.Connection, *, anew: bool = False) -> bool:
    """Tell whether `keep_index` would do nothing."""
    return not anew and len(_made(connection)) == (len(_NAMES) if has_fts5(connection) else 0)


def keep_index(connection: sqlite3.Connection, *, anew: bool = False) -> None:
    """Make the index where it is missing, or in any case; take its triggers away where SQLite has no FTS5.

    Without FTS5 the log can be written, but not searched; the next program that has it makes the index anew.
    """
    if is_kept(connection, anew=anew):
        return
    for name in _made(connection):
        connection.execute(f"DROP TRIGGER {name}")
    if not has_fts5(connection):
        return
    connection.execute(f"DROP TABLE IF EXISTS {TABLE}")
    connection.execute("DROP VIEW IF EXISTS texts")
    _number(connection)
    connection.execute(
        f"CREATE VIEW texts (text_id, body, marks) AS {_texts_of_runs()} UNION ALL {_texts_of_attempts()}"
    )
    connection.execute(
        f"CREATE VIRTUAL TABLE {TABLE} USING fts5(body, marks, content='texts', content_rowid='text_id',"
        f" columnsize=0, {TOKENIZE})"
    )
    if sqlite3.sqlite_version_info >= _SECURE_DELETE:
        connection.execute(f"INSERT INTO {TABLE} ({TABLE}, rank) VALUES ('secure-delete', 1)")
    connection.execute(f"INSERT INTO {TABLE} ({TABLE}) VALUES ('rebuild')")
    for statement in (*_triggers("runs", "task"), *_triggers("attempts", "answer")):
        connection.execute(statement)


def note_deleted(connection: sqlite3.Connection) -> None:
    """Take note that texts were deleted whose words `purge` has to overwrite."""
    if sqlite3.sqlite_version_info < _SECURE_DELETE and has_index(connection):
        connection.execute("INSERT OR IGNORE INTO upkeep (task) VALUES (?)", (_PURGE,))


def purge(connection: sqlite3.Connection, expired: Callable[[], bool] = lambda: False) -> bool:
    """Overwrite the words of deleted texts, until that is done or `expired`; then the next call goes on.

    Return whether it is done.

    Takes a minute for a million texts.
    """
    pending = connection.execute("SELECT 1 FROM upkeep WHERE task = ?", (_PURGE,)).fetchone() is not None
    if not pending or not has_index(connection):
        return True
    while not expired():
        before = connection.total_changes
        connection.execute(f"INSERT INTO {TABLE} ({TABLE}, rank) VALUES ('merge', ?)", (-_PAGES,))
        # So FTS5 says that there is nothing more to merge (sqlite.org/fts5, "the merge command").
        if connection.total_changes - before < _PROGRESS:
            connection.execute("DELETE FROM upkeep WHERE task = ?", (_PURGE,))
            return True
    return False


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Tell whether this SQLite can search."""
    return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None


def has_index(connection: sqlite3.Connection) -> bool:
    """Tell whether the log can be searched here and now."""
    return has_fts5(connection) and len(_made(connection)) == len(_NAMES)


def _made(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    return [name for (name,) in found if name in _NAMES]


def _number(connection: sqlite3.Connection) -> None:
    """Number the texts that have no number yet, oldest first, after those that have one."""
    connection.execute(
        "CREATE TEMP TABLE unnumbered AS"
        f" SELECT {_NEXT} - 1 + row_number() OVER (ORDER BY at, run_id, kind, number) AS text_id,"
        " kind, number"
        " FROM (SELECT created_at AS at, run_id, 0 AS kind, rowid AS number FROM runs"
        "  WHERE text_id IS NULL AND task <> ''"
        "  UNION ALL SELECT run_created_at, run_id, 1, rowid FROM attempts"
        "  WHERE text_id IS NULL AND answer <> '')"
    )
    connection.execute("CREATE UNIQUE INDEX temp.unnumbered_number ON unnumbered (kind, number)")
    for kind, table in enumerate(("runs", "attempts")):
        connection.execute(
            f"UPDATE {table} SET text_id = numbered.text_id FROM temp.unnumbered AS numbered"
            f" WHERE numbered.kind = {kind} AND numbered.number = {table}.rowid"
        )
    connection.execute("DROP TABLE temp.unnumbered")


_NEXT = (
    "(SELECT 1 + max(coalesce((SELECT max(text_id) FROM runs WHERE text_id > 0), 0),"
    " coalesce((SELECT max(text_id) FROM attempts WHERE text_id > 0), 0)))"
)


def _texts_of_runs() -> str:
    return (
        f"SELECT text_id, {_words('task')}, {_marks('created_at')} || ' {TASK_MARK}'"
        " FROM runs WHERE text_id IS NOT NULL"
    )


def _texts_of_attempts() -> str:
    own = f" || ' {MARK}m' || hex(model) || ' {MARK}v' || hex(verdict)"
    return (
        f"SELECT text_id, {_words('answer')}, {_marks('run_created_at')}{own}"
        " FROM attempts WHERE text_id IS NOT NULL"
    )


def _marks(at: str) -> str:
    times = "".join(f" || ' {MARK}t' || replace(substr({at}, 1, {length}), '-', '')" for length in (4, 7, 10))
    return f"'{MARK}s' || hex(skill) || ' {MARK}c' || hex(chain){times}"


def _words(column: str) -> str:
    """Return the text as it is indexed. In plain SQL, so that any SQLite tool may write to the log."""
    # Bytes are counted first: GLOB takes longer than all else, and most texts are ASCII.
    # Then what has such characters is halved and halved again: `substr` reads all before what it cuts out.
    return f"""
    CASE WHEN {_has_singles(column)} THEN (
        WITH RECURSIVE
        pieces (place, piece, is_cut) AS (
            SELECT 1, {column}, length({column}) > {_PIECE}
            UNION ALL
            SELECT place + half * (length(piece) / 2),
                CASE half WHEN 0 THEN substr(piece, 1, length(piece) / 2)
                    ELSE substr(piece, length(piece) / 2 + 1) END,
                length(piece) > {2 * _PIECE}
            FROM pieces, (SELECT 0 AS half UNION ALL SELECT 1)
            WHERE is_cut AND {_has_singles("piece")}
        ),
        characters (place, number, character, piece) AS (
            SELECT place, 1, substr(piece, 1, 1), piece FROM pieces
            WHERE NOT is_cut AND {_has_singles("piece")}
            UNION ALL
            SELECT place, number + 1, substr(piece, number + 1, 1), piece FROM characters
            WHERE number < length(piece)
        )
        SELECT group_concat(part, '') FROM (
            SELECT place, number,
                CASE WHEN character GLOB '[{SINGLE}]' THEN '{CUT}' || character || '{CUT}' ELSE character END
                AS part
            FROM characters
            UNION ALL SELECT place, 0, piece FROM pieces WHERE NOT {_has_singles("piece")}
            ORDER BY place, number
        )
    ) ELSE {column} END"""


def _has_singles(text: str) -> str:
    return f"(length(CAST({text} AS BLOB)) > length({text}) AND {text} GLOB '*[{_AT_LEAST}]*')"


def _triggers(table: str, column: str) -> tuple[str, ...]:
    new, changing, changed, gone = (name for name in _NAMES if name.startswith(f"{TABLE}_{table}_"))
    add = (
        f"UPDATE {table} SET text_id = {_NEXT}"
        f" WHERE rowid = new.rowid AND text_id IS NULL AND {column} <> '';"
        f" INSERT INTO {TABLE} (rowid, body, marks) SELECT text_id, body, marks FROM texts"
        f" WHERE text_id = (SELECT text_id FROM {table} WHERE rowid = new.rowid);"
    )
    take_out = (
        f"INSERT INTO {TABLE} ({TABLE}, rowid, body, marks)"
        " SELECT 'delete', text_id, body, marks FROM texts WHERE text_id = old.text_id;"
    )
    numbered = "WHEN old.text_id IS NOT NULL"
    return (
        f"CREATE TRIGGER {new} AFTER INSERT ON {table} WHEN new.{column} <> '' BEGIN {add} END",
        # Texts do not change; where a person takes one out with another tool, its words go, too.
        f"CREATE TRIGGER {changing} BEFORE UPDATE OF {column} ON {table} {numbered} BEGIN {take_out} END",
        f"CREATE TRIGGER {changed} AFTER UPDATE OF {column} ON {table} BEGIN {add} END",
        f"CREATE TRIGGER {gone} BEFORE DELETE ON {table} {numbered} BEGIN {take_out} END",
    )
