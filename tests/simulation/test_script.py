"""What a script may say, and how a wrong one is refused."""

import json
from pathlib import Path

import pytest

from hyperguild.simulation.script import ScriptError, parse_script


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("modles: {}", "modles: unknown key"),
        ("models: {a: {load_s: -1}}", "models.a.load_s: "),
        ("speed: 0", "speed: "),
        ("groups: {g: {members: [nobody]}}", "groups.g: no model 'nobody'"),
        ("selectors: {s: {targets: [nobody]}}", "selectors.s: no model 'nobody'"),
        ("models: {a: {}}\ngroups: {g: {members: [a]}, h: {members: [a]}}", "groups: 'a' stands twice"),
        ("models: {a: {aliases: [b]}, b: {}}", "names: 'b' stands twice"),
        ("models: {a: {answers: [{when: {contains: x}}]}}", "a rule needs one of"),
        ("models: {a: {answers: [{text: x, judge: {accept: true, score: 1}}]}}", "exclude each other"),
        ("models: {a: {answers: [{text: x, error: {status: 500}}]}}", "not in_stream excludes text"),
        ("models: {a: {answers: [{fault: explode}]}}", "models.a.answers.0.fault: "),
        ("models: {a: {answers: [{when: {regex: '('}, text: x}]}}", "not a regular expression"),
        ("models: [", "not YAML"),
        ("- a list", "Input should be"),
    ],
)
def test_a_wrong_script_is_refused_in_one_line(script: str, complaint: str) -> None:
    with pytest.raises(ScriptError) as refused:
        parse_script(script, "fleet.yaml")
    message = str(refused.value)
    assert message.startswith("fleet.yaml: ")
    assert complaint in message
    assert "\n" not in message


def test_every_mistake_is_named() -> None:
    with pytest.raises(ScriptError, match=r"models\.a\.x: unknown key; modles: unknown key"):
        parse_script("modles: {}\nmodels: {a: {x: 1}}", "fleet.yaml")


def test_yaml_and_json_say_the_same() -> None:
    text = "models: {a: {load_s: 2, answers: [{when: {contains: x, request: 1}, text: y}]}}"
    rule = {"when": {"contains": ["x"], "request": [1]}, "text": "y"}
    as_json = json.dumps({"models": {"a": {"load_s": 2, "answers": [rule]}}})
    assert parse_script(text, "a") == parse_script(as_json, "b")
    assert parse_script("", "empty") == parse_script("{}", "empty")


def test_the_script_of_the_demo_is_a_script() -> None:
    demo = Path(__file__).parents[2] / "hyperguild" / "simulation" / "demo.yaml"
    script = parse_script(demo.read_text(encoding="utf-8"), "demo.yaml")
    assert set(script.models) == {"phi-4-q4", "qwen-coder-32b", "qwen3-8b"}
