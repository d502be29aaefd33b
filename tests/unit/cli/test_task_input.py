"""Where a task comes from."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import pytest

from hyperguild.attachments import MAX_FILE_BYTES
from hyperguild.cli.task_input import read_task
from hyperguild.domain.task import Task
from hyperguild.errors import UsageError

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def read(argument: str | None, files: Sequence[str] = (), *, stdin: bytes | None = None) -> Task:
    """Read with standard input as given; None is a terminal, which must not be read."""

    def stdin_bytes() -> bytes:
        assert stdin is not None, "a terminal was read"
        return stdin

    return read_task(argument, files, stdin_is_terminal=stdin is None, read_stdin=stdin_bytes)


def test_the_argument_is_the_task_even_when_something_is_piped_in() -> None:
    assert read("do it", stdin=b"not this").text == "do it"


def test_standard_input_is_the_task_when_asked_for_or_when_there_is_no_other() -> None:
    assert read("-", stdin=b"from the pipe\n").text == "from the pipe"
    assert read(None, stdin=b"from the pipe\n").text == "from the pipe"


def test_standard_input_can_be_a_file() -> None:
    task = read("summarize", ["-"], stdin=b"piped")
    assert task.text == "summarize"
    assert [(file.name, file.text) for file in task.files] == [("stdin", "piped")]
    assert read(None, ["-"], stdin=b"piped").files[0].text == "piped"


def test_empty_files_are_no_task(tmp_path: Path) -> None:
    empty = tmp_path / "empty.py"
    empty.write_text("\n")
    for arguments in ((None, [str(empty)], None), ("", [str(empty), "-"], b"")):
        with pytest.raises(UsageError, match="no task given"):
            read(arguments[0], arguments[1], stdin=arguments[2])
    assert read("why is it empty?", [str(empty)]).text == "why is it empty?"
    assert len(read(None, [str(empty), "-"], stdin=b"piped").files) == 2


def test_standard_input_that_cannot_be_read_is_a_usage_error() -> None:
    def broken() -> bytes:
        raise OSError(9, "Bad file descriptor")

    for argument, files in (("-", []), ("x", ["-"])):
        with pytest.raises(UsageError, match="cannot read standard input: Bad file descriptor"):
            read_task(argument, files, stdin_is_terminal=False, read_stdin=broken)


def test_it_is_read_only_once() -> None:
    with pytest.raises(UsageError, match="only once"):
        read("-", ["-"], stdin=b"x")
    with pytest.raises(UsageError, match="only once"):
        read("x", ["-", "-"], stdin=b"x")


def test_files_follow_the_task_named_and_fenced(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_bytes(b"\xef\xbb\xbfcode:\n```\nx\n```\n")
    task = read("look", [str(path)])
    rendered = task.rendered()
    assert rendered.startswith("look\n\n")
    assert f"\n\nFile: {path}\n<file " in rendered
    assert ">\ncode:\n```\nx\n```\n\n</file " in rendered
    assert rendered == task.rendered()


def test_images_are_told_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "shot.bin"
    path.write_bytes(PNG)
    (image,) = read("what is this?", [str(path)]).images
    assert image.media_type == "image/png"
    assert base64.b64decode(image.data_base64) == PNG


@pytest.mark.parametrize("stdin", [b"", b" \n", None])
def test_no_task_is_refused(stdin: bytes | None) -> None:
    with pytest.raises(UsageError, match="no task"):
        read("" if stdin is None else None, stdin=stdin)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(b"ab\xff\xfe")
    with pytest.raises(UsageError, match="neither UTF-8 text nor"):
        read("x", [str(path)])


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read("x", [str(tmp_path / "missing")])
    with pytest.raises(UsageError, match="cannot read"):
        read("x", [str(tmp_path)])


def test_huge_files_are_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(UsageError, match="larger than"):
        read("x", [str(path)])
