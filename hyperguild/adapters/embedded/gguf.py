"""Whether a file can be a model: the head of a GGUF file."""

from __future__ import annotations

import stat
from pathlib import Path

MAGIC = b"GGUF"
VERSIONS = (2, 3)
"""Versions of the format that llama.cpp reads (ggml's docs/gguf.md; its reader refuses version 1)."""

HEAD_BYTES = 24
"""Magic, version, and the counts of tensors and of metadata: no file is shorter."""


MISSING = "does not exist"


def fault_of_gguf(path: Path) -> str | None:
    """Return what keeps the file from being a model, None where nothing in its first bytes does.

    The fault reads on from the file's name: `is a folder`, `is empty`. No more than the head is read, so a
    file that is cut off or damaged further on is not found out.
    """
    try:
        str(path).encode("utf-8")  # llama.cpp gets it as text
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            return "is a folder"
        if not stat.S_ISREG(kind):
            return "is no ordinary file"
        with path.open("rb") as stream:
            return _fault_of_head(stream.read(HEAD_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    except OSError as exc:
        return f"cannot be read: {exc.strerror or 'its name is no path'}"
    except UnicodeEncodeError:
        return "cannot be read: its name is not UTF-8"
    except ValueError:  # a NUL in the path
        return "cannot be read: its name is no path"


def _fault_of_head(head: bytes) -> str | None:
    if not head:
        return "is empty"
    if not head.startswith(MAGIC):
        return "is no GGUF file"
    if len(head) < HEAD_BYTES:
        return "is cut off in its head"
    version = int.from_bytes(head[4:8], "little")
    if version in VERSIONS:
        return None
    if int.from_bytes(head[4:8], "big") in VERSIONS:
        return "is a GGUF file for big-endian machines"
    return f"is a GGUF file of version {version}; those of version 2 and 3 can be run"
