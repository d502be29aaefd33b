"""SKILL.md as found in the wild: what is tolerated, what is kept, what is refused."""

import os
from pathlib import Path

import pytest

from hyperguild.errors import SkillError
from hyperguild.skills import Skill, ToolPattern, read_skill
from hyperguild.skills.frontmatter import MAX_FILE_BYTES, MAX_FRONTMATTER_CHARS


def write(root: Path, text: str | bytes, name: str = "sample") -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SKILL.md").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def load(root: Path, text: str | bytes, name: str = "sample") -> Skill:
    return read_skill(write(root, text, name), root)


def refused(root: Path, text: str | bytes) -> SkillError:
    with pytest.raises(SkillError) as caught:
        load(root, text)
    return caught.value


def with_keys(*lines: str) -> str:
    return "\n".join(["---", "name: sample", "description: Does it.", *lines, "---", "Do it.", ""])


def test_reads_every_key_of_the_format(tmp_path: Path) -> None:
    skill = load(
        tmp_path,
        with_keys(
            "license: MIT",
            "compatibility: Needs git",
            "metadata:",
            "  author: somebody",
            "  version: 1.0",
            "allowed-tools: Read Grep",
        ),
    )
    assert skill == Skill(
        name="sample",
        declared_name="sample",
        description="Does it.",
        body="Do it.",
        folder=tmp_path / "sample",
        path=tmp_path / "sample" / "SKILL.md",
        license="MIT",
        compatibility="Needs git",
        metadata={"author": "somebody", "version": "1.0"},
        allowed_tools=("fs_read", "fs_grep"),
        allowed_tool_patterns=(),
        extra={},
    )


def test_optional_keys_may_be_absent(tmp_path: Path) -> None:
    skill = load(tmp_path, with_keys())
    assert (skill.license, skill.compatibility, skill.allowed_tools) == (None, None, None)
    assert (dict(skill.metadata), dict(skill.extra)) == ({}, {})


def test_tolerates_a_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    text = with_keys("license: MIT").replace("Do it.", "One.\n\nTwo.").replace("\n", "\r\n")
    skill = load(tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert (skill.description, skill.license, skill.body) == ("Does it.", "MIT", "One.\n\nTwo.")


@pytest.mark.parametrize(
    "description",
    [
        "Use when: the user asks",
        "Formats: json, yaml: both. Use for: all",
        '"Quoted" word first',
        "'single' word first",
        "[brackets] [twice]",
        "{a} then {b}",
        "`code` first",
        "@mention first",
        "%percent first",
        "*emphasis* first",
        "**bold** first",
        "ends in a colon:",
        "& more",
        "Prüft Änderungen: 変更を確認, проверка",
        '"never closed',
    ],
)
def test_takes_a_description_that_yaml_refuses_as_it_is_written(tmp_path: Path, description: str) -> None:
    skill = load(tmp_path, f"---\nname: sample\ndescription: {description}\nlicense: MIT\n---\nDo it.\n")
    assert (skill.description, skill.declared_name, skill.license) == (description, "sample", "MIT")


def test_joins_the_continuation_lines_of_a_description_that_yaml_refuses(tmp_path: Path) -> None:
    head = "name: sample\ndescription: Does it.\n  Use when: asked\n# a comment\nlicense: MIT"
    skill = load(tmp_path, f"---\n{head}\n---\nDo it.\n")
    assert (skill.description, skill.license) == ("Does it. Use when: asked", "MIT")


def test_reads_block_scalars(tmp_path: Path) -> None:
    skill = load(tmp_path, "---\nname: sample\ndescription: >-\n  One: two\n  three\n---\nDo it.\n")
    assert skill.description == "One: two three"


@pytest.mark.parametrize("word", ["yes", "123", "1.0", "2024-13-45", "0x1F", "on", "=", "1:20"])
def test_scalars_stay_the_text_that_was_written(tmp_path: Path, word: str) -> None:
    skill = load(tmp_path, f"---\nname: {word}\ndescription: {word}\nversion: {word}\n---\nDo it.\n", word)
    assert (skill.declared_name, skill.description, skill.extra["version"]) == (word, word, word)


def test_keeps_unknown_keys(tmp_path: Path) -> None:
    skill = load(
        tmp_path,
        with_keys("user-invocable: true", "argument-hint: [file] [more]", "hooks:", "  - a: 1", "effort:"),
    )
    assert skill.extra == {
        "user-invocable": "true",
        "argument-hint": "[file] [more]",
        "hooks": [{"a": "1"}],
        "effort": None,
    }


def test_a_name_that_differs_is_found_under_its_folder(tmp_path: Path) -> None:
    skill = load(tmp_path, with_keys(), name="other")
    assert (skill.name, skill.declared_name) == ("other", "sample")


@pytest.mark.parametrize("head", ["license: MIT", "name:\ndescription: ~", "name: [a]\ndescription: {b: c}"])
def test_without_name_and_description_it_still_runs(tmp_path: Path, head: str) -> None:
    skill = load(tmp_path, f"---\n{head}\n---\nDo it.\n")
    assert (skill.name, skill.declared_name, skill.description) == ("sample", None, "")


def test_metadata_that_is_not_text_is_kept_as_json(tmp_path: Path) -> None:
    skill = load(tmp_path, with_keys("metadata: {tags: [ä, b], empty: }"))
    assert skill.metadata == {"tags": '["ä", "b"]', "empty": ""}
    assert load(tmp_path, with_keys("metadata: text")).extra == {"metadata": "text"}


@pytest.mark.parametrize(
    ("value", "tools", "patterns"),
    [
        ("Read Grep", ("fs_read", "fs_grep"), ()),
        ("Read, Edit, Bash", ("fs_read", "fs_edit", "shell"), ()),
        ("[Read, Write]", ("fs_read", "fs_write"), ()),
        ("\n  - Read\n  - LS", ("fs_read", "fs_ls"), ()),
        ("Bash(agent-browser:*)", ("shell",), (ToolPattern("shell", "agent-browser:*"),)),
        ("Bash(git: *), Read", ("shell", "fs_read"), (ToolPattern("shell", "git: *"),)),
        ("[Bash(git add:*, git rm:*)]", ("shell",), (ToolPattern("shell", "git add:*, git rm:*"),)),
        ("Bash(git:*) Bash", ("shell",), ()),
        ("Bash(a (b) c) Glob", ("shell", "fs_glob"), (ToolPattern("shell", "a (b) c"),)),
        ("Bash(git:* Read", ("shell",), (ToolPattern("shell", "git:* Read"),)),
        ("Read read_file ReadFile", ("fs_read",), ()),
        ("mcp__github__get_issue mcp__db", ("github_get_issue", "db_*"), ()),
        ("WebFetch", ("WebFetch",), ()),
        ("*", ("*",), ()),
        ('""', (), ()),
        ("", (), ()),
        ("[]", (), ()),
    ],
)
def test_reads_every_shape_of_allowed_tools(
    tmp_path: Path, value: str, tools: tuple[str, ...], patterns: tuple[ToolPattern, ...]
) -> None:
    skill = load(tmp_path, with_keys(f"allowed-tools: {value}"))
    assert (skill.allowed_tools, skill.allowed_tool_patterns) == (tools, patterns)


@pytest.mark.parametrize("value", ["{Read: yes}", "[[Read]]", "[Read: x]", "[Read, Grep"])
def test_refuses_a_tool_limit_that_it_cannot_read(tmp_path: Path, value: str) -> None:
    error = refused(tmp_path, with_keys(f"allowed-tools: {value}"))
    assert error.problem is not None
    assert error.problem.line >= 4


def test_the_body_may_hold_rulers_and_begin_indented(tmp_path: Path) -> None:
    skill = load(tmp_path, "---\nname: sample\n--- \n\n \n    code\n\n---\n\nend \n\n")
    assert skill.body == "    code\n\n---\n\nend"


def test_arguments_in_the_body_stand_for_the_task(tmp_path: Path) -> None:
    skill = load(
        tmp_path, "---\nname: sample\n---\nDo $ARGUMENTS, then $ARGUMENTS; not $ARGUMENTS_2 or $1.\n"
    )
    assert skill.system_prompt(r"a\1 $ARGUMENTS") == (
        r"Do a\1 $ARGUMENTS, then a\1 $ARGUMENTS; not $ARGUMENTS_2 or $1."
    )
    assert skill.system_prompt("") == "Do , then ; not $ARGUMENTS_2 or $1."


@pytest.mark.parametrize(("length", "tokens"), [(1, 1), (4, 1), (5, 2), (400, 100)])
def test_estimates_tokens_from_characters(tmp_path: Path, length: int, tokens: int) -> None:
    assert load(tmp_path, f"---\nname: sample\n---\n{'x' * length}\n").estimated_tokens == tokens


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "no frontmatter"),
        ("Do it.\n", 1, "no frontmatter"),
        ("---\nname: sample\nDo it.\n", 1, "not closed"),
        ("---\n---\nDo it.\n", 2, "empty"),
        ("---\n- name\n---\nDo it.\n", 2, "not a mapping"),
        ("---\njust text\n---\nDo it.\n", 2, "not a mapping"),
        ("---\nname: sample\n---\n \n\n", 3, "body is empty"),
        ("---\nname: sample\n---", 3, "body is empty"),
        ("---\nname: a\nname: b\n---\nDo it.\n", 3, "duplicate"),
        ("---\nname: a\ndescription: b: c\nname: b\n---\nDo it.\n", 4, "duplicate"),
        ("---\nname: a\nmetadata:\n  a: b: c\n---\nDo it.\n", 4, "not valid YAML"),
        ("---\nname: a\n[x]: b\n---\nDo it.\n", 3, "key"),
        ("---\n? [x]\n: b\n---\nDo it.\n", 2, "key"),
        ("---\nname: a\na: &x [1]\nb: *x\n---\nDo it.\n", 4, "aliases"),
        ("---\nname: a\ndescription: *x\n---\nDo it.\n", 3, "aliases"),
        (f"---\nname: a\nx: {'[' * 40}{']' * 40}\n---\nDo it.\n", 3, "deeper"),
        (f"---\nname: a\nx: {'[' * 15000}\n---\nDo it.\n", 3, "deeper"),
        (f"---\nname: {'a' * MAX_FRONTMATTER_CHARS}\n---\nDo it.\n", 2, "characters"),
        ("---\nname: a\ndescription: \x1b[31mred\n---\nDo it.\n", 3, "does not allow"),
        ('---\nname: a\ndescription: "\\e[31mred"\n---\nDo it.\n', 3, "U+001B"),
        ('---\nname: a\ndescription: "\\ud800"\n---\nDo it.\n', 3, "U+D800"),
        ("---\n\tname: a\n---\nDo it.\n", 2, "not valid YAML"),
        (b"---\nname: a\n---\nDo \xff it.\n", 4, "UTF-8"),
        (b"\xff\xfe-\x00-\x00", 1, "UTF-8"),
        ("---\nname: a\n---\n" + "x" * MAX_FILE_BYTES, 1, "bytes"),
    ],
)
def test_refuses_what_cannot_be_used_and_says_where(
    tmp_path: Path, text: str | bytes, line: int, says: str
) -> None:
    error = refused(tmp_path, text)
    assert error.problem is not None
    assert (error.problem.line, error.exit_code) == (line, 3)
    assert says in error.problem.message
    assert error.message.startswith(f"{tmp_path / 'sample' / 'SKILL.md'}:{line}:")
    assert error.hint


def test_an_escape_beyond_unicode_is_not_an_internal_error(tmp_path: Path) -> None:
    skill = load(tmp_path, '---\nname: sample\ndescription: "\\U00110000"\n---\nDo it.\n')
    assert skill.description == '"\\U00110000"'


def test_tags_construct_nothing(tmp_path: Path) -> None:
    skill = load(tmp_path, with_keys("x: !!python/object/apply:os.mkdir [made]", "y: !!int text"))
    assert skill.extra == {"x": ["made"], "y": "text"}
    assert not Path("made").exists()


def test_names_the_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SkillError, match=r"SKILL\.md:1:1: cannot be read: No such file"):
        read_skill(tmp_path / "none", tmp_path)


def test_refuses_what_is_not_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "folder" / "SKILL.md").mkdir(parents=True)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "SKILL.md")
    for name in ("folder", "pipe"):
        with pytest.raises(SkillError, match="not a regular file"):
            read_skill(tmp_path / name, tmp_path)


def test_refuses_links_that_leave_the_skills_folder(tmp_path: Path) -> None:
    root = tmp_path / "skills"
    inside, outside = write(root, with_keys(), "inside"), write(tmp_path / "skills-2", with_keys(), "outside")
    (root / "by-folder").symlink_to(outside)
    (root / "by-file").mkdir()
    (root / "by-file" / "SKILL.md").symlink_to(outside / "SKILL.md")
    (root / "kept").symlink_to(inside)
    (root / "loop").symlink_to(root / "loop")
    assert read_skill(root / "kept", root).name == "kept"
    for name in ("by-folder", "by-file"):
        with pytest.raises(SkillError, match="leaves the skills folder"):
            read_skill(root / name, root)
    with pytest.raises(SkillError, match="cannot be read"):
        read_skill(root / "loop", root)


def test_the_skills_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / "real", with_keys())
    (tmp_path / "skills").symlink_to(tmp_path / "real")
    assert read_skill(tmp_path / "skills" / "sample", tmp_path / "skills").body == "Do it."
