from __future__ import annotations

import gzip
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hyperguild.cli.main import run_command_line

HEADER = "prompt,weak/one,strong,weak/one_response,strong_response\n"
ROWS = (
    'What is 1 + 1?,True,True,"It is 2.\n#### 2",2\n'
    "What is 2 + 2?,False,True,5,4\n"
    "What was in the training data?,True,True,a,b\n"
)
KEY = "sk-ant-api03-" + "Zq7Rv2Lp9Xw4" * 8

Import = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def run_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    def work(*arguments: str | Path, db: str = "log.db") -> tuple[int, Any, str]:
        command = ["--db", str(tmp_path / db), "sessions", "import", *map(str, arguments), "--json"]
        code = run_command_line(command)
        said = capsys.readouterr()
        return code, json.loads(said.out) if code == 0 else None, said.err

    return work


@pytest.fixture
def exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    def work(db: str = "log.db") -> str:
        assert run_command_line(["--db", str(tmp_path / db), "sessions", "export", "--all"]) == 0
        return capsys.readouterr().out

    return work


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    path = tmp_path / "responses.csv"
    path.write_text(HEADER + ROWS)
    return path


def rows_of(db: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute(query).fetchall()


def test_each_prompt_and_model_becomes_a_labelled_run(
    run_import: Import, responses: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "left.jsonl"
    listed.write_text(json.dumps({"eval_prompt": "What was in the training data?"}) + "\n")
    code, done, _ = run_import(
        responses, "--leave-out", listed, "--rename", "weak/one=weak", "--skill", "sums"
    )
    assert (code, done) == (
        0,
        [{"file": str(responses), "format": "routellm", "imported": 4, "present": 0}],
    )
    found = rows_of(
        tmp_path / "log.db",
        "SELECT r.skill, r.task, a.model, a.answer, a.label, a.cost_usd, l.reviewer, l.value"
        " FROM runs r JOIN attempts a USING (run_id) JOIN labels l USING (attempt_id) ORDER BY r.run_id",
    )
    assert found == [
        ("sums", "What is 1 + 1?", "weak", "It is 2.\n#### 2", "good", None, "routellm", "good"),
        ("sums", "What is 1 + 1?", "strong", "2", "good", None, "routellm", "good"),
        ("sums", "What is 2 + 2?", "weak", "5", "bad", None, "routellm", "bad"),
        ("sums", "What is 2 + 2?", "strong", "4", "good", None, "routellm", "good"),
    ]


def test_what_is_there_is_passed_over(run_import: Import, responses: Path) -> None:
    run_import(responses)
    assert run_import(responses)[1][0] | {"file": ""} == {
        "file": "",
        "format": "routellm",
        "imported": 0,
        "present": 6,
    }
    responses.write_text(HEADER + ROWS + "New?,True,False,x,y\n")
    assert (run_import(responses)[1][0]["imported"], run_import(responses)[1][0]["present"]) == (2, 8)


def test_packed_files_are_read_alike(run_import: Import, responses: Path, tmp_path: Path) -> None:
    packed = tmp_path / "responses.csv.gz"
    packed.write_bytes(gzip.compress(responses.read_bytes()))
    assert run_import(packed)[1][0]["imported"] == 6


@pytest.mark.parametrize(
    ("row", "line", "said"),
    [
        ("Late?,maybe,True,a,b\n", 6, "'maybe' is neither True nor False"),
        ("Late?,True,True,a\n", 6, "4 cells, and the header has 5"),
        ('Late?,True,True,a,"b\n', 6, "unexpected end of data"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_half_imported(
    run_import: Import, responses: Path, tmp_path: Path, row: str, line: int, said: str
) -> None:
    responses.write_text(HEADER + ROWS + row)
    code, _, error = run_import(responses)
    assert code == 2
    assert error == f"error: {responses}:{line}: {said} (nothing of this file was imported)\n"
    assert not (tmp_path / "log.db").exists()


def test_an_export_comes_back_whole(
    run_import: Import, exported: Callable[[str], str], responses: Path, tmp_path: Path
) -> None:
    run_import(responses)
    text = exported("log.db")
    file = tmp_path / "export.jsonl"
    file.write_text(text)
    assert run_import(file, db="other.db")[1][0]["imported"] == 6
    assert exported("other.db") == text
    assert rows_of(tmp_path / "other.db", "SELECT count(*) FROM labels") == [(6,)]
    again = run_import(file, db="other.db")[1][0]
    assert (again["imported"], again["present"]) == (0, 6)


def test_secrets_in_a_file_are_not_stored(
    run_import: Import, exported: Callable[[str], str], responses: Path, tmp_path: Path
) -> None:
    responses.write_text(HEADER + f"My key is {KEY},True,True,I see {KEY},ok\n")
    run_import(responses)
    assert KEY not in exported("log.db")
    assert KEY.encode() not in (tmp_path / "log.db").read_bytes()


def test_a_run_that_was_under_way_is_interrupted(
    run_import: Import, exported: Callable[[str], str], responses: Path, tmp_path: Path
) -> None:
    run_import(responses)
    first = json.loads(exported("log.db").splitlines()[0])
    file = tmp_path / "one.jsonl"
    file.write_text(json.dumps(first | {"status": "running", "finished_at": None, "labels": []}))
    run_import(file, db="other.db")
    back = json.loads(exported("other.db"))
    assert (back["status"], back["finished_at"], back["labels"]) == ("interrupted", None, [])


def test_runs_that_the_log_would_not_keep_are_told_of(
    run_import: Import, exported: Callable[[str], str], responses: Path, tmp_path: Path
) -> None:
    run_import(responses)
    first = json.loads(exported("log.db").splitlines()[0])
    file = tmp_path / "old.jsonl"
    file.write_text(json.dumps(first | {"created_at": "2020-01-01T00:00:00Z"}))
    _, _, said = run_import(file, db="other.db")
    assert "1 run is older than log.keep_days" in said


@pytest.mark.parametrize("line", ["{}", "[1]", "{", '{"run_id": 1}', "null"])
def test_what_is_no_run_is_refused(run_import: Import, tmp_path: Path, line: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(f"\n{line}\n")
    code, _, error = run_import(file, "--format", "jsonl")
    assert code == 2
    assert error.startswith(f"error: {file}:2: no run of `sessions export`: ")


def test_a_label_of_another_runs_attempt_is_refused(
    run_import: Import, exported: Callable[[str], str], responses: Path, tmp_path: Path
) -> None:
    run_import(responses)
    first, second, *_ = [json.loads(line) for line in exported("log.db").splitlines()]
    file = tmp_path / "mixed.jsonl"
    file.write_text(json.dumps(first | {"labels": second["labels"]}))
    assert run_import(file, db="other.db")[0] == 2


def test_an_attempt_that_another_run_has_is_named(
    run_import: Import, exported: Callable[[str], str], responses: Path, tmp_path: Path
) -> None:
    run_import(responses)
    run = json.loads(exported("log.db").splitlines()[0])
    taken = run["attempts"][0]["attempt_id"]
    file = tmp_path / "again.jsonl"
    file.write_text(json.dumps(run | {"run_id": run["run_id"][:-4] + "ffff"}))
    code, _, error = run_import(file)
    assert code == 2
    assert f"two runs have the same attempt, {taken}" in error
    assert run_import(file, db="other.db")[1][0]["imported"] == 1


def test_the_same_line_twice_is_one_run(run_import: Import, responses: Path) -> None:
    responses.write_text(HEADER + ROWS + ROWS)
    assert run_import(responses)[1][0]["imported"] == 6


def test_a_pipe_is_refused_for_it_is_read_twice(run_import: Import, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code, _, error = run_import(pipe)
    assert code == 2
    assert f"{pipe} is no regular file" in error


def test_files_that_are_neither_are_refused(run_import: Import, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello\n")
    assert run_import(file)[0] == 2
    assert run_import(tmp_path / "absent.csv")[0] == 2
    file.write_bytes(b"\x1f\x8bnot gzip at all")
    code, _, error = run_import(file)
    assert code == 2
    assert "cannot be read" in error
    file.write_bytes(b"prompt,a,a_response\n\xff\xfe,True,x\n")
    code, _, error = run_import(file)
    assert code == 2
    assert "Traceback" not in error


def test_a_model_that_the_file_does_not_have_is_not_renamed(run_import: Import, responses: Path) -> None:
    code, _, error = run_import(responses, "--rename", "gpt=x")
    assert code == 2
    assert "no model 'gpt' here; there are weak/one, strong" in error
