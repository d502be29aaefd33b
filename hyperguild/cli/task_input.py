"""Reads the task: an argument, standard input, attached files and images."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

from hyperguild.domain.messages import Image
from hyperguild.domain.task import AttachedFile, Task
from hyperguild.errors import UsageError

MAX_FILE_BYTES = 20 * 1024 * 1024
"""Larger than any model's window by far; a mistake such as attaching a core dump stops here."""

IMAGE_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
"""How image files begin, for the types that both wire protocols take. WebP is told by its RIFF header."""


def read_task(
    argument: str | None, files: Sequence[str], *, stdin_is_terminal: bool, read_stdin: Callable[[], bytes]
) -> Task:
    """Return the task. Standard input is read at most once, for the task or for one `-f -`.

    Raises `UsageError` where there is no task (empty files are none), a file cannot be read, is
    too large, or is not text.
    """
    if (argument == "-" and "-" in files) or files.count("-") > 1:
        raise UsageError("standard input can be read only once", hint="use `-` for the task or for one file")
    reads_task = argument == "-" or (argument is None and not stdin_is_terminal and "-" not in files)
    text = _text("standard input", _standard_input(read_stdin)) if reads_task else argument or ""
    attached: list[AttachedFile] = []
    images: list[Image] = []
    for name in files:
        data = _standard_input(read_stdin) if name == "-" else _read(Path(name))
        media_type = _image_type(data)
        if media_type is None:
            attached.append(AttachedFile("stdin" if name == "-" else name, _text(name, data)))
        else:
            images.append(Image(media_type, base64.b64encode(data).decode("ascii")))
    if not text.strip() and not images and not any(file.text.strip() for file in attached):
        raise UsageError(
            "no task given", hint="give it as an argument, on standard input, or attach files with -f"
        )
    return Task(text.rstrip("\n") if reads_task else text, tuple(attached), tuple(images))


def _standard_input(read_stdin: Callable[[], bytes]) -> bytes:
    try:
        return read_stdin()
    except OSError as exc:
        raise UsageError(f"cannot read standard input: {exc.strerror or exc}") from exc


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MiB")
        return path.read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror or exc}") from exc


def _text(name: str, data: bytes) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{name} is larger than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise UsageError(
            f"{name} is neither UTF-8 text nor a PNG, JPEG, GIF or WebP image (byte {exc.start})"
        ) from exc


def _image_type(data: bytes) -> str | None:
    for magic, media_type in IMAGE_MAGIC.items():
        if data.startswith(magic):
            return media_type
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None
