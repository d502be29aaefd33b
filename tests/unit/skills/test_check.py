"""What `skills check` says about a skill."""

from pathlib import Path

import pytest

from hyperguild.skills import Finding, SkillCatalog, bundled_skills_dir, check_catalog, check_skill

GOOD = "name: sample\ndescription: Does it."


def findings(root: Path, head: str, body: str = "Do it.", name: str = "sample") -> list[tuple[int, str, str]]:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SKILL.md").write_bytes(f"---\n{head}\n---\n{body}\n".encode())
    found = check_skill(folder, root)
    assert all(finding.path == str(folder / "SKILL.md") for finding in found)
    return [(finding.line, finding.severity, finding.message) for finding in found]


def test_a_good_skill_has_no_findings(tmp_path: Path) -> None:
    head = f"{GOOD}\nlicense: MIT\ncompatibility: git\nmetadata:\n  a: b\nallowed-tools: Read Bash(git:*)"
    assert findings(tmp_path, head) == []


@pytest.mark.parametrize(
    ("head", "line", "severity", "says"),
    [
        ("description: Does it.", 1, "error", "name is missing"),
        ("name: sample", 1, "error", "description is missing"),
        ("name: sample\ndescription:", 3, "error", "description is missing"),
        ("description: Does it.\nname: other", 3, "error", 'found as "sample"'),
        ("name: Sample_1\ndescription: Does it.", 2, "error", "not made of"),
        ("name: -sample\ndescription: Does it.", 2, "error", "not made of"),
        ("name: sam--ple\ndescription: Does it.", 2, "error", "not made of"),
        (f"name: {'a' * 65}\ndescription: Does it.", 2, "error", "65 characters"),
        (f"name: sample\ndescription: {'d' * 1025}", 3, "error", "1,025 characters"),
        (f"{GOOD}\ncompatibility: {'c' * 501}", 4, "error", "501 characters"),
        (f"{GOOD}\nlicense: [MIT]", 4, "error", "license is not text"),
        (f"{GOOD}\nmetadata: text", 4, "error", "metadata is not a mapping"),
        (f"{GOOD}\nmetadata: {{tags: [a]}}", 4, "warning", "metadata.tags"),
        (f"{GOOD}\nversion: 1.0", 4, "warning", '"version" is not a key of the format'),
        (f"{GOOD}\nallowed-tools:", 4, "warning", "allowed-tools is empty"),
        (f"{GOOD}\nallowed-tools: Bash(git:*", 4, "error", "lacks its closing bracket"),
        (f"{GOOD}\nallowed-tools: Read)", 4, "error", "closes a bracket"),
        (f"{GOOD}\nallowed-tools: (git) Read", 4, "error", "no tool"),
        (f"{GOOD}\nallowed-tools: Read WebFetch", 4, "warning", '"WebFetch" is not a tool'),
        (f"{GOOD}\nallowed-tools: {{a: b}}", 4, "error", "neither text nor a list"),
        ("name: sample\ndescription: Use when: x", 3, "warning", "not valid YAML"),
        ("- name", 2, "error", "not a mapping"),
    ],
)
def test_reports_each_fault_with_its_line(
    tmp_path: Path, head: str, line: int, severity: str, says: str
) -> None:
    matching = [found for found in findings(tmp_path, head) if says in found[2]]
    assert [(found[0], found[1]) for found in matching] == [(line, severity)]


def test_limits_are_inclusive(tmp_path: Path) -> None:
    name = "a" * 64
    head = f"name: {name}\ndescription: {'d' * 1024}\ncompatibility: {'c' * 500}"
    assert findings(tmp_path, head, body="x" * 20_000, name=name) == []


def test_an_mcp_tool_is_no_fault(tmp_path: Path) -> None:
    assert findings(tmp_path, f"{GOOD}\nallowed-tools: mcp__db__query mcp__web") == []


def test_warns_of_a_long_body(tmp_path: Path) -> None:
    ((line, severity, message),) = findings(tmp_path, GOOD, body="x" * 20_001)
    assert (line, severity) == (5, "warning")
    assert "5,001 tokens" in message


def test_notes_a_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "SKILL.md").write_bytes(f"\ufeff---\n{GOOD}\r\n---\nDo it.\n".encode())
    found = check_skill(folder, tmp_path)
    assert [(f.line, f.severity) for f in found] == [(1, "warning"), (3, "warning")]
    assert "byte-order mark" in found[0].message
    assert "CRLF" in found[1].message


def test_reports_links_to_files_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "sample" / "references").mkdir(parents=True)
    (tmp_path / "sample" / "references" / "there.md").write_text("x", encoding="utf-8")
    body = "\n".join(
        [
            "See [one](references/there.md#part) and `references/there.md`.",
            "See [two](references/gone.md), again [two](./references/gone.md).",
            "Read references/also-gone.md. Run [it](scripts/gone.sh).",
            "See [three](references/../../outside.md) and [web](https://example.org/references/x.md).",
            f"[long](references/{'x' * 300})",
        ]
    )
    assert findings(tmp_path, GOOD, body) == [
        (6, "warning", "references/gone.md does not exist"),
        (7, "warning", "scripts/gone.sh does not exist"),
        (7, "warning", "references/also-gone.md does not exist"),
        (8, "error", "references/../../outside.md leaves the skill's folder"),
        (9, "warning", f"references/{'x' * 300} cannot be looked at"),
    ]


def test_reports_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (finding,) = check_skill(tmp_path / "none", tmp_path)
    assert (finding.line, finding.severity) == (1, "error")
    assert "cannot be read" in finding.message


def test_a_catalog_reports_shadowed_skills(tmp_path: Path) -> None:
    for root in ("a", "b"):
        findings(tmp_path / root, GOOD)
    path = tmp_path / "a" / "sample" / "SKILL.md"
    shadow = tmp_path / "b" / "sample"
    assert check_catalog(SkillCatalog([tmp_path / "a", tmp_path / "b"])) == [
        Finding(str(path), 1, "warning", f"it shadows {shadow}, which is not used")
    ]


def test_a_finding_reads_as_one_line() -> None:
    assert str(Finding("a/SKILL.md", 3, "error", "name is missing")) == "a/SKILL.md:3: error: name is missing"


def test_the_skills_of_the_package_have_no_findings() -> None:
    assert check_catalog(SkillCatalog([bundled_skills_dir()])) == []


def test_the_skills_of_the_package_leave_a_small_window_room() -> None:
    for skill in SkillCatalog([bundled_skills_dir()]).all():
        assert 300 <= len(skill.body.split()) <= 700, skill.name
        assert skill.license == "MIT"
        assert "Use when" in skill.description
