"""SKILL.md under generated input: only SkillError escapes, and what is well formed survives unchanged."""

import tempfile
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.skills import Skill, SkillCatalog, check_catalog, read_skill
from hyperguild.skills.allowed_tools import parse_allowed_tools

NAMES = st.from_regex(r"[a-z0-9]{1,12}(-[a-z0-9]{1,12}){0,3}", fullmatch=True)
TEXT = st.characters(exclude_categories=("Cc", "Cs"))
TOOLS = {
    "Read": "fs_read",
    "grep_search": "fs_grep",
    "Bash": "shell",
    "Bash(git add:*, git rm:*)": "shell",
    "Edit(src/**)": "fs_edit",
    "mcp__a__b": "a_b",
}
FRAGMENTS = st.sampled_from(
    (
        *(
            "---",
            "...",
            "\n",
            "\r\n",
            "\t",
            ": ",
            "- ",
            "? ",
            "# ",
            "&a ",
            "*a",
            "!!int ",
            "<<: ",
            "%YAML 9.9",
        ),
        *("[", "]", "{", "}", "'", '"', "|", ">", "=", "~", "@", "`", "\\U00110000"),
        *("\x00", "\x85", "\ufeff", "\u2028", "word", "é", "references/a.md"),
        *("name: ", "description: ", "allowed-tools: ", "metadata:\n  ", "Bash(git:*)"),
    )
)


def load(data: bytes, name: str = "sample") -> Skill:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / name).mkdir()
        (root / name / "SKILL.md").write_bytes(data)
        return read_skill(root / name, root)


def load_or_refuse(data: bytes) -> None:
    """Load, and check, whatever it is; anything but SkillError fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "sample").mkdir()
        (root / "sample" / "SKILL.md").write_bytes(data)
        catalog = SkillCatalog([root])
        findings = check_catalog(catalog)
        for error in catalog.broken():
            assert error.problem is not None
            assert error.hint
            assert [(found.severity, found.line) for found in findings] == [("error", error.problem.line)]
        assert all(skill.body for skill in catalog.all())
        assert len(catalog.all()) + len(catalog.broken()) == 1
        assert all(found.line >= 1 for found in findings)


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_a_skill_error(data: bytes) -> None:
    load_or_refuse(data)


@given(st.binary(max_size=120))
def test_random_frontmatter_bytes_raise_nothing_but_a_skill_error(head: bytes) -> None:
    load_or_refuse(b"---\n" + head + b"\n---\nDo it.\n")


@given(st.lists(FRAGMENTS, max_size=20).map("".join))
def test_random_yaml_raises_nothing_but_a_skill_error(head: str) -> None:
    load_or_refuse(f"---\n{head}\n---\nDo it.\n".encode())


@given(st.lists(FRAGMENTS, max_size=20).map("".join), st.sampled_from(["name: a: b", 'x: "', "y: [a] [b]"]))
def test_random_yaml_in_a_file_that_needs_recovery_raises_nothing_but_a_skill_error(
    head: str, line: str
) -> None:
    load_or_refuse(f"---\n{line}\n{head}\n---\nDo it.\n".encode())


def has_visible_edges(body: str) -> bool:
    """Blank lines before and white space after the body are not part of it."""
    return bool(body.split("\n", 1)[0].strip()) and body == body.rstrip()


@given(
    name=NAMES,
    description=st.text(TEXT, min_size=1).map(str.strip).filter(bool),
    body=st.text(TEXT | st.just("\n"), min_size=1).filter(has_visible_edges),
    crlf=st.booleans(),
    mark=st.booleans(),
)
def test_a_well_formed_manifest_survives(
    name: str, description: str, body: str, crlf: bool, mark: bool
) -> None:
    head = yaml.safe_dump({"name": name, "description": description}, allow_unicode=True, width=10**6)
    text = f"---\n{head}---\n{body}\n"
    text = text.replace("\n", "\r\n") if crlf else text
    skill = load(("\ufeff" * mark + text).encode(), name)
    assert (skill.name, skill.declared_name, skill.description, skill.body) == (name, name, description, body)


@given(
    first=st.sampled_from("aZé中Я9"),
    rest=st.text(
        st.sampled_from("ab é中:'\"`[]{},&*!|>%@-?=") | st.characters(categories=("L", "N", "P"))
    ).filter(lambda text: "#" not in text),
)
def test_an_unquoted_description_is_what_the_line_says(first: str, rest: str) -> None:
    description = (first + rest).strip()
    skill = load(f"---\nname: sample\ndescription: {description}\nlicense: MIT\n---\nDo it.\n".encode())
    assert (skill.description, skill.license) == (description, "MIT")


@given(st.text(), st.text(st.sampled_from("$ARGUMENTS _x\\1")))
def test_the_prompt_is_the_body_with_the_task_in_place(task: str, body: str) -> None:
    skill = load(f"---\nname: sample\n---\nx{body}".encode())
    if "$ARGUMENTS" not in skill.body:
        assert skill.system_prompt(task) == skill.body
    assert load(b"---\nname: sample\n---\n<$ARGUMENTS>").system_prompt(task) == f"<{task}>"


@given(st.text())
def test_any_allowed_tools_text_can_be_read(text: str) -> None:
    allowed = parse_allowed_tools(text)
    assert len(set(allowed.tools)) == len(allowed.tools)
    assert {pattern.tool for pattern in allowed.patterns} <= set(allowed.tools)


@given(
    st.lists(st.sampled_from(sorted(TOOLS)), min_size=1),
    st.sampled_from([" ", ",", ", ", "  ", ",\n"]),
)
def test_the_separator_of_tools_does_not_matter(words: list[str], separator: str) -> None:
    allowed = parse_allowed_tools(separator.join(words))
    assert allowed == parse_allowed_tools(" ".join(words))
    assert set(allowed.tools) == {TOOLS[word] for word in words}
    assert allowed.faults == ()
