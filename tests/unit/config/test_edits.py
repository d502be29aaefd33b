from __future__ import annotations

import difflib
import textwrap

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.config.edits import EditError, with_accept_at

HEAD = """\
# my chains
version: 1
endpoints: {swap: {kind: llama-swap, base_url: "http://127.0.0.1:9"}}
verifiers:
"""
TAIL = """\
chains:
  default: [phi4]   # the only one
"""


def edited(verifiers: str, verifier: str = "default", accept_at: float = 0.83) -> str:
    """Return the lines of a diff, less its head and context."""
    text = HEAD + verifiers + TAIL
    new = with_accept_at(text, verifier, accept_at)
    assert new.startswith(HEAD)
    assert new.endswith(TAIL)
    lines = difflib.unified_diff(text.splitlines(), new.splitlines(), n=0, lineterm="")
    return "\n".join(line for line in lines if line[:2] not in {"--", "++", "@@"})


@pytest.mark.parametrize(
    ("before", "diff"),
    [
        (
            "  default: {judge: qwen3-8b}   # short\n",
            (
                "-  default: {judge: qwen3-8b}   # short\n"
                "+  default: {judge: {model: qwen3-8b, accept_at: 0.83}}   # short"
            ),
        ),
        (
            "  default:\n    judge: 'qwen3-8b' # why\n",
            "-    judge: 'qwen3-8b' # why\n+    judge: {model: 'qwen3-8b', accept_at: 0.83} # why",
        ),
        (
            "  default: {judge: [a, b], checks: [{kind: not_empty}]}\n",
            (
                "-  default: {judge: [a, b], checks: [{kind: not_empty}]}\n"
                "+  default: {judge: {model: [a, b], accept_at: 0.83}, checks: [{kind: not_empty}]}"
            ),
        ),
        (
            "  default: {judge: {model: a}}\n",
            "-  default: {judge: {model: a}}\n+  default: {judge: {model: a, accept_at: 0.83}}",
        ),
        (
            "  default: {judge: {model: a, accept_at: 0.7, votes: 3}}\n",
            (
                "-  default: {judge: {model: a, accept_at: 0.7, votes: 3}}\n"
                "+  default: {judge: {model: a, accept_at: 0.83, votes: 3}}"
            ),
        ),
        (
            "  default:\n    judge:\n      model: a   # small\n      # so\n      accept_at:  .7  # try\n",
            "-      accept_at:  .7  # try\n+      accept_at:  0.83  # try",
        ),
        (
            "  default:\n    judge:\n      model: a   # small\n      votes: 3\n",
            "+      accept_at: 0.83",
        ),
        (
            "  default:\n    judge:\n      # first\n      model:\n        - a\n        - b\n      votes: 3\n",
            "+      accept_at: 0.83",
        ),
        (
            "  default:\n    judge:\n      - a  # one\n      - b\n    checks: [{kind: complete}]\n",
            "+      accept_at: 0.83\n+      model:",
        ),
        (
            "  default:\n    judge:\n    - a\n    - b\n",
            "-    - a\n-    - b\n+      accept_at: 0.83\n+      model:\n+      - a\n+      - b",
        ),
        (
            "  default:\n    judge: qwen {8b}, new\n",
            '-    judge: qwen {8b}, new\n+    judge: {model: "qwen {8b}, new", accept_at: 0.83}',
        ),
        (
            "  default:\n    judge: {\n      model: a,\n    }\n",
            "-      model: a,\n+      model: a, accept_at: 0.83,",
        ),
        (
            "  default: {judge: {<<: &b {votes: 3, accept_at: 0.2}, model: a}}\n",
            (
                "-  default: {judge: {<<: &b {votes: 3, accept_at: 0.2}, model: a}}\n"
                "+  default: {judge: {<<: &b {votes: 3, accept_at: 0.2}, model: a, accept_at: 0.83}}"
            ),
        ),
    ],
)
def test_one_value_changes_and_the_rest_stays(before: str, diff: str) -> None:
    assert edited(before) == diff
    once = with_accept_at(HEAD + before + TAIL, "default", 0.83)
    assert with_accept_at(once, "default", 0.83) == once
    assert yaml.safe_load(once)["verifiers"]["default"]["judge"]["accept_at"] == 0.83


def test_the_verifier_that_is_named_is_edited() -> None:
    two = "  default: {judge: a}\n  strict: {judge: a}\n"
    assert edited(two, "strict") == ("-  strict: {judge: a}\n+  strict: {judge: {model: a, accept_at: 0.83}}")


def test_line_ends_stay_what_they_are() -> None:
    text = (HEAD + "  default:\n    judge:\n      model: a\n      votes: 3\n" + TAIL).replace("\n", "\r\n")
    new = with_accept_at(text, "default", 0.83)
    assert new.replace("\r\n", "").count("\n") == 0
    assert "      model: a\r\n      accept_at: 0.83\r\n      votes: 3\r\n" in new


def test_an_end_without_a_line_feed() -> None:
    text = "version: 1\nverifiers:\n  default:\n    judge:\n      model: a"
    assert yaml.safe_load(with_accept_at(text, "default", 0.5))["verifiers"]["default"]["judge"] == {
        "model": "a",
        "accept_at": 0.5,
    }


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("  base: &base {judge: a}\n  default: *base\n", "default is an alias"),
        ("  base: {judge: &one {model: a}}\n  default: {judge: *one}\n", "judge is an alias"),
        ("  base: {judge: a}\n  default: {judge: &one {model: a}}\n", "judge has an anchor"),
        ("  base: &base {judge: a}\n  default: {<<: *base}\n", "judge comes from elsewhere"),
        (
            "  default: {judge: {model: a, accept_at: &at 0.7}}\n  b: {judge: {model: a, accept_at: *at}}\n",
            "accept_at is an alias",
        ),
        (
            "  b: {judge: {model: a, accept_at: &at 0.7}}\n  default: {judge: {model: a, accept_at: *at}}\n",
            "accept_at is an alias",
        ),
        ("  default: {judge: &a qwen}\n  b: {judge: *a}\n", "judge has an anchor"),
    ],
)
def test_what_would_change_more_than_that_is_refused(before: str, why: str) -> None:
    with pytest.raises(EditError, match=why):
        with_accept_at(HEAD + before + TAIL, "default", 0.83)


NAMES = st.just("a") | st.lists(st.sampled_from(["a", "b c"]), min_size=1, max_size=3)
JUDGES = NAMES | st.fixed_dictionaries(
    {"model": NAMES},
    optional={
        "accept_at": st.sampled_from([0, 0.25, 1]),
        "votes": st.just(3),
        "rubric": st.sampled_from(["short", "two\nlines: {a}", "# none", "x " * 100]),
    },
)


@given(
    st.dictionaries(
        st.sampled_from(["default", "strict", "on"]), st.fixed_dictionaries({"judge": JUDGES}), min_size=1
    ),
    st.booleans() | st.none(),
    st.integers(0, 100),
)
def test_whatever_yaml_writes_is_edited(verifiers: dict[str, object], flow: bool | None, step: int) -> None:
    """PyYAML's own ways to write a document; nothing is refused, and nothing else changes."""
    text = HEAD + textwrap.indent(yaml.safe_dump(verifiers, default_flow_style=flow), "  ") + TAIL
    for name in verifiers:
        new = yaml.safe_load(with_accept_at(text, name, step / 100))
        old = yaml.safe_load(text)
        judge = old["verifiers"][name]["judge"]
        kept = judge if isinstance(judge, dict) else {"model": judge}
        old["verifiers"][name]["judge"] = {**kept, "accept_at": step / 100}
        assert new == old
