"""The heads of model files, and how much memory there is."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from hyperguild.adapters.embedded.gguf import fault_of_gguf
from hyperguild.cli.examine_embedded import available_bytes, size_in_words


def head(version: int, order: str = "<") -> bytes:
    return b"GGUF" + struct.pack(f"{order}IQQ", version, 0, 0)


@pytest.mark.parametrize("content", [head(2), head(3), head(3) + b"more"])
def test_a_file_that_can_be_a_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    assert fault_of_gguf(path) is None


@pytest.mark.parametrize(
    ("order", "fault"), [("LITTLE", None), ("BIG", "is a GGUF file for big-endian machines")]
)
def test_files_of_the_formats_own_library(tmp_path: Path, order: str, fault: str | None) -> None:
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "llama", endianess=gguf.GGUFEndian[order])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert fault_of_gguf(path) == fault


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (b"GG", "is no GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is no GGUF file"),
        (head(3)[:7], "is cut off in its head"),
        (head(3)[:-1], "is cut off in its head"),
        (head(1), "is a GGUF file of version 1; those of version 2 and 3 can be run"),
        (head(4), "is a GGUF file of version 4; those of version 2 and 3 can be run"),
        (head(3, ">"), "is a GGUF file for big-endian machines"),
    ],
)
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    assert fault_of_gguf(path) == fault


def test_what_is_no_file(tmp_path: Path) -> None:
    assert fault_of_gguf(tmp_path / "none.gguf") == "does not exist"
    (tmp_path / "file").touch()
    assert fault_of_gguf(tmp_path / "file" / "below") == "does not exist"
    assert fault_of_gguf(tmp_path) == "is a folder"
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    assert fault_of_gguf(pipe) == "is no ordinary file"
    assert fault_of_gguf(tmp_path / "a\0b") == "cannot be read: its name is no path"
    loop = tmp_path / "loop.gguf"
    loop.symlink_to(loop)
    assert fault_of_gguf(loop) == "cannot be read: Too many levels of symbolic links"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(head(3))
    path.chmod(0)
    assert fault_of_gguf(path) == "cannot be read: Permission denied"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MemTotal:       8000 kB\nMemFree: 1 kB\nMemAvailable:    2048 kB\n", 2048 * 1024),
        ("MemTotal:       8000 kB\n", None),
        ("MemAvailable: käse", None),
    ],
)
def test_memory_that_is_free(tmp_path: Path, text: str, expected: int | None) -> None:
    path = tmp_path / "meminfo"
    path.write_text(text, encoding="utf-8")
    assert available_bytes(path) == expected


def test_memory_where_the_system_does_not_say(tmp_path: Path) -> None:
    assert available_bytes(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("size", "words"),
    [(10, "1 kB"), (999_000, "999 kB"), (2_219_072, "2.2 MB"), (4_900_000_000, "4.9 GB")],
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert size_in_words(size) == words
