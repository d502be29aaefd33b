"""The programs of docs/library.md, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hyperguild.simulation.process import FleetProcess

DOC = Path(__file__).parents[2] / "docs" / "library.md"
PROGRAM = re.compile(
    r"^## (?P<title>.+?)\n\n```python\n(?P<code>.+?)```\n\n```text\n(?P<out>.+?)```",
    re.MULTILINE | re.DOTALL,
)
CHAINS = """\
version: 1
endpoints: {{box: {{kind: openai, base_url: "{url}/openai/v1"}}}}
models: {{small-model: {{endpoint: box, context_window: 65536}}}}
chains: {{default: {{tiers: [{{model: small-model, verify: false}}]}}}}
"""
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "A run": [{"text": "Line 3 skips the last element."}],
    "Events": [{"text": "It is right."}],
    "Tools": [{"tool_calls": [{"name": "stock", "arguments": {"item": "tea"}}]}, {"text": "Yes, 3 of them."}],
    "Hooks": [
        {"tool_calls": [{"name": "order", "arguments": {"item": "tea", "number": 99}}]},
        {"text": "Ordered 5 boxes."},
        {"text": "Ordered 5 boxes. Yours, the clerk."},
    ],
}
PROGRAMS = {found["title"]: found for found in PROGRAM.finditer(DOC.read_text(encoding="utf-8"))}


def test_every_program_of_the_page_is_run() -> None:
    assert list(PROGRAMS) == list(ANSWERS)
    assert DOC.read_text(encoding="utf-8").count("```python") == len(PROGRAMS)


@pytest.mark.parametrize("title", ANSWERS)
def test_the_programs_of_the_page_do_what_it_says(
    title: str,
    fleet: FleetProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = [{**answer, "times": 1} for answer in ANSWERS[title]]
    fleet.script({"openai": {"models": {"small-model": {"answers": answers}}}})
    fleet.reset()
    (tmp_path / "chains.yaml").write_text(CHAINS.format(url=fleet.url), encoding="utf-8")
    (tmp_path / "app.py").write_text("print(1)\n", encoding="utf-8")
    for skill in ("review", "clerk"):
        (tmp_path / "skills" / skill).mkdir(parents=True)
        manifest = tmp_path / "skills" / skill / "SKILL.md"
        manifest.write_text(f"---\nname: {skill}\ndescription: It helps.\n---\nBe brief.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYPERGUILD_DB", str(tmp_path / "sessions.db"))
    monkeypatch.delenv("HYPERGUILD_SKILLS", raising=False)
    program = PROGRAMS[title]
    exec(compile(program["code"], f"{DOC.name}: {title}", "exec"), {"__name__": "__main__"})  # noqa: S102
    assert capsys.readouterr().out == program["out"]
    requests = [one["body"] for one in fleet.requests() if one["path"].endswith("/chat/completions")]
    told = [one["content"] for one in requests[-1]["messages"] if one["role"] == "tool"]
    assert told == {"Tools": ['{"item":"tea","left":3}'], "Hooks": ["ordered 5 of tea"]}.get(title, [])
