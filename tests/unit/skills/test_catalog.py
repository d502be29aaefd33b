"""Finding skills on a search path."""

import os
from pathlib import Path

import pytest

from hyperguild.errors import SkillError, UsageError
from hyperguild.skills import SkillCatalog, bundled_skills_dir, skill_search_path


def write(root: Path, name: str, body: str = "Do it.", head: str = "") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    frontmatter = head or f"name: {name}\ndescription: Does it."
    (folder / "SKILL.md").write_text(f"---\n{frontmatter}\n---\n{body}\n", encoding="utf-8")
    return folder


def test_lists_folders_with_a_manifest_sorted(tmp_path: Path) -> None:
    for name in ("zebra", "alpha", ".hidden"):
        write(tmp_path, name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("no skill", encoding="utf-8")
    catalog = SkillCatalog([tmp_path])
    assert catalog.names() == ("alpha", "zebra")
    assert [skill.name for skill in catalog.all()] == ["alpha", "zebra"]


def test_the_first_hit_wins_and_the_others_are_reported(tmp_path: Path) -> None:
    first, second, third = (write(tmp_path / root, "same", body=root) for root in ("a", "b", "c"))
    catalog = SkillCatalog([tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert catalog.get("same").body == "a"
    (entry,) = catalog.entries()
    assert (entry.folder, entry.root, entry.shadowed) == (first, tmp_path / "a", (second, third))


def test_one_folder_given_twice_shadows_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a", "same")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (entry,) = SkillCatalog([tmp_path / "a", tmp_path / "link"]).entries()
    assert entry.shadowed == ()


def test_a_refused_skill_does_not_give_way_to_the_one_it_shadows(tmp_path: Path) -> None:
    write(tmp_path / "a", "same", head="- broken")
    write(tmp_path / "b", "same")
    with pytest.raises(SkillError, match="not a mapping"):
        SkillCatalog([tmp_path / "a", tmp_path / "b"]).get("same")


def test_one_broken_skill_leaves_the_others_usable(tmp_path: Path) -> None:
    write(tmp_path, "good")
    write(tmp_path, "bad", head="- broken")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "SKILL.md").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    catalog = SkillCatalog([tmp_path])
    assert [skill.name for skill in catalog.all()] == ["good"]
    bad, gone, loop = catalog.broken()
    assert "not a mapping" in bad.message
    assert "cannot be read" in gone.message
    assert "cannot be read" in loop.message


def test_an_unknown_name_gets_the_nearest_one_and_the_search_path(tmp_path: Path) -> None:
    write(tmp_path, "review")
    with pytest.raises(SkillError, match='no skill "Reviwe"') as caught:
        SkillCatalog([tmp_path, tmp_path / "none"]).get("Reviwe")
    assert caught.value.hint == (
        f'did you mean "review"? searched: {tmp_path}, {tmp_path / "none"} (no such folder)'
    )


def test_an_unknown_name_far_from_all_lists_what_there_is(tmp_path: Path) -> None:
    for number in range(11):
        write(tmp_path, f"skill-{number:02}")
    with pytest.raises(SkillError) as caught:
        SkillCatalog([tmp_path]).get("qqqq")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("there are skill-00, skill-01")
    assert "skill-09, ...." in caught.value.hint


def test_an_empty_search_path_says_how_to_get_one() -> None:
    with pytest.raises(SkillError) as caught:
        SkillCatalog([]).get("review")
    assert caught.value.hint is not None
    assert "--skills DIR" in caught.value.hint


@pytest.mark.parametrize("name", ["", ".", "..", "../outside", "a/../../outside", "/etc", "a\0b", "x" * 5000])
def test_a_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    write(tmp_path, "outside")
    (tmp_path / "skills" / "a").mkdir(parents=True)
    with pytest.raises(SkillError, match="there is no skill"):
        SkillCatalog([tmp_path / "skills"]).get(name)


def test_sees_a_skill_that_was_edited(tmp_path: Path) -> None:
    folder = write(tmp_path, "live", body="before")
    catalog = SkillCatalog([tmp_path])
    assert catalog.get("live").body == "before"
    (folder / "SKILL.md").write_text("---\nname: live\n---\nafter\n", encoding="utf-8")
    assert catalog.get("live").body == "after"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o000)
    try:
        with pytest.raises(SkillError, match=r"locked cannot be listed: Permission denied"):
            SkillCatalog([locked]).names()
    finally:
        locked.chmod(0o700)


def test_a_search_folder_that_is_a_loop_of_links_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SkillError, match="loop cannot be listed"):
        SkillCatalog([tmp_path / "loop"]).names()


def test_a_file_on_the_search_path_holds_no_skills(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert SkillCatalog([tmp_path / "file"]).names() == ()


def test_search_path_is_flag_then_environment_then_beside_the_chains_file(tmp_path: Path) -> None:
    env = os.pathsep.join(["/env/one", "", "/env/two", str(tmp_path)])
    assert skill_search_path(tmp_path, env, Path("/project/chains.yaml")) == (
        tmp_path,
        Path("/env/one"),
        Path("/env/two"),
        Path("/project/skills"),
    )


@pytest.mark.parametrize(("name", "why"), [("gone", "no such folder"), ("file", "not a folder")])
def test_a_folder_that_was_named_must_be_one(name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=why) as caught:
        skill_search_path(tmp_path / name, None, None)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert skill_search_path(None, str(tmp_path / name), None) == (tmp_path / name,)


@pytest.mark.parametrize("env", [None, ""])
def test_search_path_has_nothing_implicit(env: str | None) -> None:
    assert skill_search_path(None, env, None) == ()


def test_the_package_carries_its_skills() -> None:
    names = set(SkillCatalog([bundled_skills_dir()]).names())
    assert {"review", "commit-message", "summarize", "debug", "write-tests", "explain"} <= names
