"""C1: names of the tools of MCP servers."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from hyperguild.adapters.tools.mcp_names import NAME_MAX_CHARS, ToolNames

SOURCES = st.lists(
    st.tuples(st.text("ab_.", min_size=1, max_size=4), st.text("ab_.é", min_size=1, max_size=4)), max_size=12
)
FIT = re.compile(r"[A-Za-z0-9_-]{1,64}")


def test_c1_mcp_names_are_server_and_tool() -> None:
    assert ToolNames().assign([("git", "log")]) == {("git", "log"): "git_log"}


def test_c1_mcp_names_have_no_dots_or_other_unfit_characters() -> None:
    given_names = ToolNames().assign([("code.host", "issues.list all/ä")])
    assert given_names["code.host", "issues.list all/ä"] == "code_host_issues_list_all__"


def test_c1_mcp_names_that_are_too_long_stay_apart() -> None:
    long = [("server", "x" * 70 + end) for end in "ab"]
    given_names = ToolNames().assign(long)
    assert len(set(given_names.values())) == 2
    assert {len(name) for name in given_names.values()} == {NAME_MAX_CHARS}


def test_c1_mcp_of_two_tools_with_one_name_the_one_that_has_it_unchanged_keeps_it() -> None:
    given_names = ToolNames().assign([("s", "a.b"), ("s", "a_b")])
    assert given_names["s", "a_b"] == "s_a_b"
    assert re.fullmatch("s_a_b_[0-9a-f]{8}", given_names["s", "a.b"])


def test_c1_mcp_two_servers_whose_tools_come_to_one_name_both_get_another() -> None:
    given_names = ToolNames().assign([("a", "b_c"), ("a_b", "c")])
    assert "a_b_c" not in given_names.values()
    assert len(set(given_names.values())) == 2


def test_c1_mcp_a_server_cannot_take_the_name_of_a_built_in_tool() -> None:
    assert ToolNames({"fs_read"}).assign([("fs", "read")])["fs", "read"] != "fs_read"


def test_c1_mcp_a_name_once_given_stays_with_its_tool() -> None:
    tool_names = ToolNames()
    first = tool_names.assign([("a_b", "c")])
    later = tool_names.assign([("a", "b_c"), ("a_b", "c")])
    assert later["a_b", "c"] == first["a_b", "c"] == "a_b_c"
    assert later["a", "b_c"] != "a_b_c"


@given(sources=SOURCES)
def test_c1_mcp_names_are_fit_unique_and_do_not_depend_on_the_order(
    sources: list[tuple[str, str]],
) -> None:
    given_names = ToolNames({"a_a"}).assign(sources)
    assert all(FIT.fullmatch(name) for name in given_names.values())
    assert len(set(given_names.values())) == len(set(sources)) == len(given_names)
    assert "a_a" not in given_names.values()
    assert ToolNames({"a_a"}).assign(reversed(sources)) == given_names
