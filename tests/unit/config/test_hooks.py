"""`hooks`: what they come to, what is refused, and that each needs trust."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from hyperguild.config.configuration import Configuration
from hyperguild.config.json_schema import chains_json_schema
from hyperguild.config.marks import read_yaml
from hyperguild.config.trust import digest_of
from hyperguild.domain.hooks import CommandHook

Load = Callable[..., Configuration]
Refuse = Callable[..., list[str]]

HEAD = """\
version: 1
endpoints: {swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}}
chains: {a: [{model: qwen, verify: false}]}
"""
SECRET = "sk-ant-hunter2hunter2"
ALL = """{
  pre_tool: [{argv: [scripts/guard, --strict], tools: [shell, "fs_*"], timeout_s: 5, fail_open: true}, [b]],
  post_tool: [{argv: [python3, mask.py], tools: fs_read}],
  before_step: [{argv: [before], on_error: abort}],
  after_step: [[after, "a b"]],
  stop: [{argv: [tests], timeout_s: 300}]}"""


def hooks(text: str) -> str:
    return f"{HEAD}hooks: {text}\n"


def valid_for_editors(text: str) -> bool:
    return jsonschema.Draft202012Validator(chains_json_schema()).is_valid(read_yaml(text).data)


@pytest.mark.parametrize("text", ["", "{}", "{pre_tool: [], stop: []}"])
def test_none_by_default(load: Load, text: str) -> None:
    configuration = load(hooks(text))
    assert configuration.hooks == {}
    assert configuration.powers == ()


def test_c7_hooks_of_every_kind_are_commands_of_chains_yaml(load: Load) -> None:
    assert load(hooks(ALL)).hooks == {
        "pre_tool": (
            CommandHook(("scripts/guard", "--strict"), ("shell", "fs_*"), timeout_s=5.0, fail_open=True),
            CommandHook(("b",), ("*",), timeout_s=30.0, fail_open=False),
        ),
        "post_tool": (CommandHook(("python3", "mask.py"), ("fs_read",)),),
        "before_step": (CommandHook(("before",), on_error="abort"),),
        "after_step": (CommandHook(("after", "a b"), on_error="ignore"),),
        "stop": (CommandHook(("tests",), timeout_s=300.0),),
    }
    assert valid_for_editors(hooks(ALL))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "hooks: must be a mapping"),
        ("{pre_tools: []}", 'hooks.pre_tools: unknown key; did you mean "pre_tool"?'),
        ("{stop: {argv: [x]}}", "hooks.stop: must be a list"),
        ("{stop: x}", "hooks.stop: must be a list"),
        ("{stop: [x]}", "hooks.stop.0: must be a list (the program and its arguments), or a mapping"),
        ("{pre_tool: [x]}", "hooks.pre_tool.0: must be a list (the program and its arguments), or a mapping"),
        ("{stop: [[]]}", "hooks.stop.0: must not be empty"),
        ("{stop: [{}]}", "hooks.stop.0.argv: required"),
        ("{stop: [{argv: x}]}", "hooks.stop.0.argv: must be a list"),
        ("{stop: [[x], [y, 1]]}",
         "hooks.stop.1.1: must be text; quote it if it looks like a number or a word such as yes"),
        ("{stop: [{agrv: [x]}]}", 'hooks.stop.0.agrv: unknown key; did you mean "argv"?'),
        ("{stop: [{argv: [x], cwd: /}]}", "hooks.stop.0.cwd: unknown key"),
        ("{stop: [{argv: [x], timeout_s: 0}]}", "hooks.stop.0.timeout_s: must be more than 0"),
        ('{stop: [["x\\0"]]}', "hooks.stop.0.0: holds a NUL or half a surrogate pair"),
        ("{stop: [{argv: [x], on_error: abrt}]}",
         'hooks.stop.0.on_error: must be ignore or abort; did you mean "abort"?'),
        ("{pre_tool: [{argv: [x], on_error: abort}]}",
         "hooks.pre_tool.0.on_error: is not a key of pre_tool hooks"),
        ("{post_tool: [{argv: [x], on_error: abort}]}",
         "hooks.post_tool.0.on_error: is not a key of post_tool hooks"),
        ("{before_step: [{argv: [x], fail_open: true}]}",
         "hooks.before_step.0.fail_open: is not a key of before_step hooks"),
        ("{after_step: [{argv: [x], tools: shell}]}",
         "hooks.after_step.0.tools: is not a key of after_step hooks"),
        ("{stop: [{argv: [x], tools: shell}]}", "hooks.stop.0.tools: is not a key of stop hooks"),
        ("{pre_tool: [{argv: [x], fail_open: 1}]}", "hooks.pre_tool.0.fail_open: must be true or false"),
        ("{pre_tool: [{argv: [x], tools: []}]}", "hooks.pre_tool.0.tools: must not be empty"),
        ("{pre_tool: [{argv: [x], tools: Bash}]}",
         'hooks.pre_tool.0.tools: no tool bears this name here; did you mean "shell"?'),
        ('{pre_tool: [{argv: [x], tools: "shell(git:*)"}]}',
         ("hooks.pre_tool.0.tools: must be the name of a tool, or a glob over names with * and ?; "
          "arguments are a matter of rules")),
    ],
)  # fmt: skip
def test_refusals(refuse: Refuse, text: str, problem: str) -> None:
    (line,) = refuse(hooks(text))
    assert line.partition(": ")[2] == problem


def test_all_at_once_each_with_its_place(refuse: Refuse) -> None:
    text = "\n  pre_tool:\n  - [a]\n  - {argv: [b], failopen: true}\n  stop:\n  - {argv: [c], tools: shell}"
    assert refuse(hooks(text)) == [
        'chains.yaml:7:17: hooks.pre_tool.1.failopen: unknown key; did you mean "fail_open"?',
        "chains.yaml:9:17: hooks.stop.0.tools: is not a key of stop hooks",
    ]


@pytest.mark.parametrize(
    "text",
    ["{stop: [[x]], prestop: []}", "{stop: [x]}", "{stop: [[]]}", "{stop: [{argv: [x], tools: shell}]}",
     "{pre_tool: [{argv: [x], on_error: abort}]}", "{pre_tool: [{argv: [x], tools: []}]}"],
)  # fmt: skip
def test_editors_refuse_what_loading_refuses(refuse: Refuse, text: str) -> None:
    assert refuse(hooks(text))
    assert not valid_for_editors(hooks(text))


@pytest.mark.parametrize("entry", [f"[x, {SECRET}]", f"{{argv: [x], api_key: {SECRET}}}"])
def test_secrets_in_clear_are_refused_and_not_repeated(refuse: Refuse, entry: str) -> None:
    (line,) = refuse(hooks(f"{{stop: [{entry}]}}"))
    assert "a secret in clear is refused" in line
    assert SECRET not in line


def test_arguments_are_taken_to_the_letter(load: Load) -> None:
    (hook,) = load(hooks('{stop: [[x, "${HOME}", "~", "$x"]]}'), HOME="/home/me").hooks["stop"]
    assert hook.argv == ("x", "${HOME}", "~", "$x")


def test_every_hook_needs_trust(load: Load) -> None:
    assert [(power.path, power.what) for power in load(hooks(ALL)).powers] == [
        ("hooks.pre_tool.0", "runs: scripts/guard --strict"),
        ("hooks.pre_tool.1", "runs: b"),
        ("hooks.post_tool.0", "runs: python3 mask.py"),
        ("hooks.before_step.0", "runs: before"),
        ("hooks.after_step.0", "runs: after 'a b'"),
        ("hooks.stop.0", "runs: tests"),
    ]
    texts = ["{stop: [[x]]}", "{stop: [[x, a b]]}", "{stop: [[x, a, b]]}", "{stop: [[x], [y]]}"]
    assert len({digest_of(load(hooks(text)).powers) for text in texts}) == len(texts)


def test_the_example_in_the_repositorys_own_file_can_be_used(load: Load) -> None:
    own = (Path(__file__).parents[3] / "chains.yaml").read_text(encoding="utf-8")
    example = own[own.index("# hooks:") :].partition("\n\n")[0]
    text = own.replace(example, "\n".join(line.removeprefix("# ") for line in example.splitlines()))
    assert valid_for_editors(text)
    assert list(load(text).hooks) == ["pre_tool", "post_tool", "after_step", "stop"]
