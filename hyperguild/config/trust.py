"""The record of what a person has trusted a chains.yaml to do.

A cloned repository must neither run programs nor collect keys before someone has looked at it.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hyperguild.config.configuration import Configuration
from hyperguild.config.locate import FoundConfig, user_folder
from hyperguild.config.powers import Power, digest_of, powers_of
from hyperguild.config.wording import printable
from hyperguild.errors import TrustError
from hyperguild.private_folder import make_private

__all__ = ["Power", "TrustStore", "digest_of", "powers_of", "require_trust"]


class TrustStore:
    """The record of trusted files: JSON of the form `{"version": 1, "files": {PATH: {"digest", "powers"}}}`.

    Kept for the user alone (0600, in a folder of 0700); replaced in one piece: a reader never sees half.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of_user(cls, env: Mapping[str, str]) -> TrustStore:
        """Return the user's: `$XDG_STATE_HOME/hyperguild/trusted.json`, by default under ~/.local/state."""
        return cls(user_folder(env, "XDG_STATE_HOME", ".local/state") / "trusted.json")

    def is_trusted(self, config_path: Path, digest: str) -> bool:
        """Tell whether just these powers of this file are trusted. Raises `TrustError`."""
        return bool(self._files().get(str(config_path.resolve()), {}).get("digest") == digest)

    def trust(self, config_path: Path, powers: Iterable[Power]) -> None:
        """Record the powers of a file, in place of what was trusted of it before. Raises `TrustError`."""
        every = tuple(powers)
        entry = {"digest": digest_of(every), "powers": [power.what for power in every]}
        self._replace({**self._files(), str(config_path.resolve()): entry})

    def trusted_files(self) -> dict[str, tuple[str, ...]]:
        """Return the path of every trusted file, with what it may do, in words. Raises `TrustError`."""
        return {path: _words(entry.get("powers")) for path, entry in self._files().items()}

    def revoke(self, config_path: Path) -> bool:
        """Forget a file; tell whether it was trusted. Raises `TrustError`."""
        files = self._files()
        if files.pop(str(config_path.resolve()), None) is None:
            return False
        self._replace(files)
        return True

    def _files(self) -> dict[str, Any]:
        try:
            record = json.loads(self._path.read_bytes())
            version, files = record["version"], dict(record["files"])
        except FileNotFoundError:
            return {}
        except OSError as exc:
            raise TrustError(f"{self._path} cannot be read: {exc.strerror}") from exc
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            raise self._unreadable() from exc
        if version != 1 or not all(isinstance(entry, dict) for entry in files.values()):
            raise self._unreadable()
        return files

    def _replace(self, files: Mapping[str, Any]) -> None:
        try:
            self._write(json.dumps({"version": 1, "files": files}, indent=2))
        except OSError as exc:
            raise TrustError(f"{self._path} cannot be written: {exc.strerror}") from exc

    def _unreadable(self) -> TrustError:
        return TrustError(
            f"{self._path} is not a record of trusted files",
            hint="move it away, and trust your files again with `hyperguild trust PATH`",
        )

    def _write(self, content: str) -> None:
        make_private(self._path.parent)
        # mkstemp creates with 0600
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f"{self._path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)


def _words(powers: object) -> tuple[str, ...]:
    return tuple(str(what) for what in powers) if isinstance(powers, list) else ()


def require_trust(found: FoundConfig, configuration: Configuration, store: TrustStore) -> None:
    """Return if the file may be used: it was named, has no powers, or is trusted. Raises `TrustError`."""
    powers = configuration.powers
    if not found.discovered or not powers or store.is_trusted(found.path, digest_of(powers)):
        return
    every = "; ".join(power.what for power in powers)
    raise TrustError(
        f"{printable(str(found.path))} is not trusted, and it {every}",
        hint=f"look at it, then run `hyperguild trust {shlex.quote(str(found.path))}`",
    )
