"""The edits of chains.yaml that `calibrate` proposes: as a diff, and carried out."""

from __future__ import annotations

import codecs
import difflib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperguild.config.configuration import Configuration
from hyperguild.config.edits import EditError, with_accept_at
from hyperguild.errors import ConfigError
from hyperguild.review.calibration import Calibration
from hyperguild.review.tuning import Tuning, tunings


@dataclass(frozen=True, slots=True)
class Edits:
    """What should stand in the file at `path`, `before` and `after` without a byte order mark.

    `refused` says why the edit of a verifier has to be made by hand.
    """

    path: Path
    before: str
    after: str
    tunings: tuple[Tuning, ...]
    refused: dict[str, str]

    @property
    def changes(self) -> bool:
        """Whether the file is to be changed."""
        return self.before != self.after

    def diff(self) -> list[str]:
        """Return the lines of a unified diff, as `patch` takes it."""
        before, after = self.before.splitlines(), self.after.splitlines()
        return list(difflib.unified_diff(before, after, str(self.path), str(self.path), lineterm=""))

    def write(self) -> None:
        """Put the new text in the file's place, whole or not at all; it keeps its permissions.

        Raises `ConfigError`, also where somebody has changed the file meanwhile.
        """
        target = self.path.resolve()
        temporary: Path | None = None
        try:
            content = target.read_bytes()
            mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
            if content != mark + self.before.encode():
                raise ConfigError(f"{self.path} was changed meanwhile", hint="run the command again")
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            temporary = Path(name)
            with os.fdopen(handle, "wb") as stream:
                stream.write(mark + self.after.encode())
                stream.flush()
                os.fsync(stream.fileno())
            shutil.copymode(target, temporary)
            temporary.replace(target)
        except OSError as exc:
            raise ConfigError(f"{self.path} cannot be written: {exc.strerror}") from exc
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)


def proposed_edits(
    configuration: Configuration, chosen: Sequence[Calibration], every: Sequence[Calibration]
) -> Edits:
    """Return the edits that the chosen calibrations come to. Raises `ConfigError`."""
    path = configuration.path
    try:
        before = path.read_bytes().removeprefix(codecs.BOM_UTF8).decode()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read") from exc
    found = tunings(configuration, chosen, every)
    after, refused = before, {}
    for tuning in found:
        if tuning.accept_at == tuning.now:
            continue
        try:
            after = with_accept_at(after, tuning.verifier, tuning.accept_at)
        except EditError as error:
            refused[tuning.verifier] = str(error)
    return Edits(path, before, after, found, refused)
