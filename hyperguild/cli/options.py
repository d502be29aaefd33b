"""What every command starts from: the global options, and the objects they lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Start-up counts: pydantic and the rest are imported only by commands that need them.
    from hyperguild.config.configuration import Configuration
    from hyperguild.skills.catalog import SkillCatalog


@dataclass(frozen=True, slots=True)
class Settings:
    """The global options and the environment. `env` is a copy: nothing here reads `os.environ`."""

    env: Mapping[str, str]
    config: Path | None = None
    skills_dir: Path | None = None
    db: Path | None = None
    log_level: str = "warning"
    log_format: str = "human"
    debug: bool = False

    def load(self, *, trusted: bool = True) -> Configuration:
        """Find, read and check chains.yaml.

        Raises `ConfigError`, and `TrustError` where it was discovered, has powers and nobody trusts it;
        `trusted=False` leaves that last check out, for commands that only read.
        """
        from hyperguild.config.loader import load_config  # noqa: PLC0415  # start-up
        from hyperguild.config.locate import find_config  # noqa: PLC0415
        from hyperguild.config.trust import TrustStore, require_trust  # noqa: PLC0415

        found = find_config(self.config, self.env, Path.cwd())
        configuration = load_config(found.path, self.env, found.named_by)
        if trusted:
            require_trust(found, configuration, TrustStore.of_user(self.env))
        return configuration

    def catalog(self, chains_file: Path | None) -> SkillCatalog:
        """Return the skills on the search path."""
        from hyperguild.skills.catalog import SkillCatalog  # noqa: PLC0415
        from hyperguild.skills.search_path import skill_search_path  # noqa: PLC0415

        path = skill_search_path(self.skills_dir, self.env.get("HYPERGUILD_SKILLS"), chains_file)
        return SkillCatalog(path)

    def db_file(self) -> Path:
        """Return where the session database is, or will be."""
        from hyperguild.adapters.store.location import db_path  # noqa: PLC0415

        return db_path(self.db, self.env)
