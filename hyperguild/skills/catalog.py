"""The skills on a search path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperguild.domain.text import nearest
from hyperguild.errors import SkillError
from hyperguild.skills.manifest import MANIFEST_NAME, Skill, read_skill


@dataclass(frozen=True, slots=True)
class SkillEntry:
    """A skill folder that was found, its SKILL.md not yet read.

    `root` is the folder of the search path that holds it; `shadowed` are folders of the same name further
    down the path, which are not used.
    """

    name: str
    folder: Path
    root: Path
    shadowed: tuple[Path, ...]


class SkillCatalog:
    """Finds skills by the name of their folder; the first hit on the path wins.

    The disk is read at each call, so an edited skill is seen at once. Folders whose name begins with a dot,
    and folders without a SKILL.md, are no skills. A folder of the path that does not exist holds none.
    """

    def __init__(self, search_path: Sequence[Path]) -> None:
        self.search_path = tuple(search_path)

    def entries(self) -> tuple[SkillEntry, ...]:
        """Every skill that can be used, by name; raises SkillError when a folder cannot be listed."""
        found: dict[str, SkillEntry] = {}
        for root in self.search_path:
            for folder in _skill_folders(root):
                first = found.get(folder.name)
                if first is None:
                    found[folder.name] = SkillEntry(folder.name, folder, root, ())
                elif folder.resolve() != first.folder.resolve():
                    hidden = (*first.shadowed, folder)
                    found[folder.name] = SkillEntry(first.name, first.folder, first.root, hidden)
        return tuple(found[name] for name in sorted(found))

    def names(self) -> tuple[str, ...]:
        """The names of all skills, sorted; raises SkillError when a folder cannot be listed."""
        return tuple(entry.name for entry in self.entries())

    def get(self, name: str) -> Skill:
        """Load the skill `name`.

        Raises SkillError when there is none (the hint names the nearest ones and the search path) or when its
        SKILL.md is refused; a skill of the same name further down the path is not tried then.
        """
        entries = self.entries()
        for entry in entries:
            if entry.name == name:
                return read_skill(entry.folder, entry.root)
        raise SkillError(f'there is no skill "{name}"', hint=self._hint(name, entries))

    def all(self) -> tuple[Skill, ...]:
        """Load every skill that can be loaded, by name; `broken` has the others."""
        return tuple(skill for skill in self._loaded() if isinstance(skill, Skill))

    def broken(self) -> tuple[SkillError, ...]:
        """Why each skill that `all` leaves out was refused."""
        return tuple(error for error in self._loaded() if isinstance(error, SkillError))

    def _loaded(self) -> Iterator[Skill | SkillError]:
        for entry in self.entries():
            try:
                yield read_skill(entry.folder, entry.root)
            except SkillError as exc:
                yield exc

    def _hint(self, name: str, entries: Sequence[SkillEntry]) -> str:
        if not self.search_path:
            return "no folder is searched: give --skills DIR, set $HYPERGUILD_SKILLS, or run hyperguild init"
        names = [entry.name for entry in entries]
        near = nearest(name, names)
        known = f'did you mean "{near}"? ' if near else ""
        if not near and names:
            known = f"there are {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}. "
        return f"{known}searched: {', '.join(_described(root) for root in self.search_path)}"


def _described(root: Path) -> str:
    return str(root) if root.is_dir() else f"{root} (no such folder)"


def _skill_folders(root: Path) -> list[Path]:
    """The folders in `root` that have a SKILL.md, readable or not; raises SkillError."""
    try:
        folders = sorted(root.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        hint = "make it readable, or take it off the search path"
        raise SkillError(f"the skills folder {root} cannot be listed: {exc.strerror}", hint=hint) from exc
    return [folder for folder in folders if not folder.name.startswith(".") and _has_manifest(folder)]


def _has_manifest(folder: Path) -> bool:
    """Whether there is a SKILL.md. One that cannot be looked at counts, so that loading it reports why."""
    try:
        (folder / MANIFEST_NAME).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
