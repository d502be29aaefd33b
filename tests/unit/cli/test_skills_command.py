from __future__ import annotations

import json
from pathlib import Path

import pytest

from hyperguild.cli.main import run_command_line


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HYPERGUILD_SKILLS", "HYPERGUILD_CONFIG", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def write_skill(
    root: Path, name: str, *, head: str | None = None, body: str = "Do it well.", extra: str = ""
) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    head = f"name: {name}\ndescription: Does {name}. Use when asked.\n{extra}" if head is None else head
    (folder / "SKILL.md").write_text(f"---\n{head}---\n{body}\n", encoding="utf-8")
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command_line(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list_names_each_skill_and_what_it_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_skill(tmp_path / "s", "review")
    write_skill(tmp_path / "s", "explain")
    code, out, err = run(capsys, "--skills", "s", "skills", "list")
    assert code == 0
    assert out.splitlines() == ["explain  Does explain.", "review   Does review."]
    assert err == ""


def test_list_on_a_narrow_page_puts_descriptions_below(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    write_skill(tmp_path / "s", "review", head=f"name: review\ndescription: {'word ' * 20}\n")
    code, out, _ = run(capsys, "--skills", "s", "skills", "list")
    assert code == 0
    assert out.splitlines()[0] == "review"
    assert max(len(line) for line in out.splitlines()) <= 40
    assert out.count("word") == 20


def test_list_as_json_is_an_array_with_the_broken_and_the_shadowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_skill(tmp_path / "a", "review")
    hidden = write_skill(tmp_path / "b", "review")
    write_skill(tmp_path / "b", "empty", body="")
    path = f"{tmp_path / 'a'}:{tmp_path / 'b'}"
    code, out, _ = run(capsys, "--skills", str(tmp_path / "a"), "skills", "list", "--json")
    assert [skill["name"] for skill in json.loads(out)] == ["review"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERGUILD_SKILLS", path)
        code, out, _ = run(capsys, "skills", "list", "--json")
    assert code == 0
    empty, review = json.loads(out)
    assert (empty["name"], review["name"]) == ("empty", "review")
    assert "the body is empty" in empty["error"]
    assert review["error"] is None
    assert review["description"] == "Does review. Use when asked."
    assert review["shadowed"] == [str(hidden)]


def test_list_shows_a_skill_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_skill(tmp_path / "s", "empty", body="")
    code, out, _ = run(capsys, "--skills", "s", "skills", "list")
    assert code == 0
    assert "cannot be used" in out


def test_no_skills_at_all_says_where_was_looked(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--skills", "nowhere", "skills", "list")
    assert (code, out) == (2, "")
    assert err.startswith("error: --skills nowhere: no such folder (")
    Path("nowhere").mkdir()
    code, out, err = run(capsys, "--skills", "nowhere", "skills", "list")
    assert (code, out) == (0, "")
    assert "nowhere" in err
    assert "hyperguild init" in err
    assert run(capsys, "skills", "list", "--json")[1] == "[]\n"


def test_skills_beside_chains_yaml_are_found_and_the_file_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chains.yaml").write_text("{not: [valid", encoding="utf-8")
    write_skill(tmp_path / "skills", "review")
    code, out, _ = run(capsys, "skills", "list")
    assert (code, out) == (0, "review  Does review.\n")


def test_show_prints_head_and_body(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_skill(
        tmp_path / "s",
        "review",
        body="# How\n\n[bold]Do[/bold] $ARGUMENTS\x1b[31m now",
        extra='license: MIT\nallowed-tools: "Read Bash(git:*)"\n',
    )
    code, out, _ = run(capsys, "--skills", "s", "skills", "show", "review")
    assert code == 0
    head, _, body = out.partition("\n\n")
    assert "Does review. Use when asked." in head
    assert "license         MIT" in head
    assert "(git:*)" in head
    assert body == "# How\n\n[bold]Do[/bold] $ARGUMENTS now\n"


def test_show_as_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_skill(tmp_path / "s", "review")
    code, out, _ = run(capsys, "--skills", "s", "skills", "show", "review", "--json")
    shown = json.loads(out)
    assert code == 0
    assert (shown["name"], shown["body"], shown["allowed_tools"]) == ("review", "Do it well.", None)


def test_an_unknown_skill_is_refused_with_the_nearest_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_skill(tmp_path / "s", "review")
    for command in ("show", "check"):
        code, out, err = run(capsys, "--skills", "s", "skills", command, "reviw")
        assert (code, out) == (3, "")
        assert err.startswith('error: there is no skill "reviw" (did you mean "review"?')
        assert err.count("\n") == 1


def test_check_without_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_skill(tmp_path / "s", "review")
    write_skill(tmp_path / "s", "explain")
    assert run(capsys, "--skills", "s", "skills", "check") == (0, "2 skills checked, no findings\n", "")
    assert run(capsys, "--skills", "s", "skills", "check", "review", "--json") == (0, "[]\n", "")


def test_check_with_warnings_alone_succeeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_skill(tmp_path / "s", "review", extra="surprise: 1\n")
    code, out, err = run(capsys, "--skills", "s", "skills", "check")
    assert (code, err) == (0, "")
    finding, summary = out.splitlines()
    assert finding.startswith("s/review/SKILL.md:4: warning: ")
    assert summary == "1 skill checked, 1 warning"


def test_check_with_an_error_exits_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_skill(tmp_path / "s", "review", head="name: other\ndescription: x\n")
    write_skill(tmp_path / "s", "fine", extra="surprise: 1\n")
    code, out, err = run(capsys, "--skills", "s", "skills", "check")
    assert code == 3
    assert [line.split(":")[:3] for line in out.splitlines()] == [
        ["s/fine/SKILL.md", "4", " warning"],
        ["s/review/SKILL.md", "2", " error"],
    ]
    assert err.startswith("error: 2 skills checked, 1 error ")
    code, out, _ = run(capsys, "--skills", "s", "skills", "check", "review", "--json")
    assert code == 3
    [finding] = json.loads(out)
    assert (finding["line"], finding["severity"]) == (2, "error")


def test_check_names_only_what_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_skill(tmp_path / "s", "broken", body="")
    write_skill(tmp_path / "s", "fine")
    assert run(capsys, "--skills", "s", "skills", "check", "fine", "fine")[:2] == (
        0,
        "1 skill checked, no findings\n",
    )


def test_every_command_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["skills"], ["skills", "list"], ["skills", "show"], ["skills", "check"]):
        code, out, _ = run(capsys, *arguments, "--help")
        assert code == 0
        assert "Examples:\n    hyperguild " in out
