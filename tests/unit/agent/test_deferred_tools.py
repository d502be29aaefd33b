"""C8: deferred tools are offered by name alone until a model loads them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hyperguild.agent.routing import LINE_CHARS, LISTED_CHARS, LOAD, SELECT, ToolRouting
from hyperguild.domain.tools import ToolCall, ToolSpec


def spec(name: str, description: str = "", **fields: Any) -> ToolSpec:
    return ToolSpec(name, description, {"type": "object"}, "read", **{"category": "meta", **fields})


LOOK = spec("look", "Looks.", category="read")
GET = spec("hub_get", "Gets one issue. It takes a number.", deferred=True)
LIST = spec("hub_list", "Lists issues\nin pages.", deferred=True)
FIND = spec("hub_find", "Finds issues.", category="search", deferred=True)
CATALOGUE = (LOOK, GET, LIST, FIND)


def call(name: str, id_: str = "c", **arguments: Any) -> ToolCall:
    return ToolCall(id_, name, arguments)


def offered(routing: ToolRouting) -> list[str]:
    return [tool.name for tool in routing.offer()[0]]


def loader(routing: ToolRouting) -> dict[str, Any]:
    (found,) = [tool for tool in routing.offer()[0] if tool.name == LOAD]
    names: dict[str, Any] = found.parameters["properties"]["names"]
    return names


def take(routing: ToolRouting, *calls: ToolCall) -> list[tuple[str, bool]]:
    return [(result.text, result.is_error) for result in routing.take(calls, offered(routing))]


def test_c8_deferred_tools_are_listed_by_name_and_first_sentence() -> None:
    routing = ToolRouting(CATALOGUE, two_stage=False)
    assert offered(routing) == ["look", LOAD]
    assert loader(routing)["items"]["enum"] == ["hub_get", "hub_list", "hub_find"]
    assert loader(routing)["description"].splitlines() == [
        "hub_get: Gets one issue.",
        "hub_list: Lists issues",
        "hub_find: Finds issues.",
    ]


def test_c8_where_none_is_deferred_nothing_is_to_be_loaded() -> None:
    assert offered(ToolRouting((LOOK,), two_stage=False)) == ["look"]


def test_c8_what_was_loaded_is_offered_from_the_next_step_on() -> None:
    routing = ToolRouting(CATALOGUE, two_stage=False)
    step = (call(LOAD, "1", names=["hub_get"]), call("hub_get", "2"), call("look", "3"))
    assert take(routing, *step) == [
        (f"tools now: look, hub_get, {LOAD}", False),
        ("hub_get can be called from the next step on", True),
    ]
    assert offered(routing) == ["look", "hub_get", LOAD]
    assert loader(routing)["items"]["enum"] == ["hub_list", "hub_find"]
    assert take(routing, call("hub_get")) == []
    assert take(routing, call(LOAD, names=["hub_list", "hub_find"])) == [
        ("tools now: look, hub_get, hub_list, hub_find", False)
    ]
    assert offered(routing) == ["look", "hub_get", "hub_list", "hub_find"]


def test_c8_what_is_not_loaded_is_refused_with_the_way_to_it() -> None:
    routing = ToolRouting(CATALOGUE, two_stage=False)
    ((text, is_error),) = take(routing, call("hub_get"))
    assert is_error
    assert f"load it first with {LOAD}" in text
    assert "hub_get" not in offered(routing)


@pytest.mark.parametrize("names", [["hub_gt"], ["look"], [3], [], None, "hub_get", {"hub_get": 1}])
def test_c8_an_unknown_name_is_an_error_that_lists_the_known_ones(names: Any) -> None:
    routing = ToolRouting(CATALOGUE, two_stage=False)
    ((text, is_error),) = take(routing, call(LOAD, names=names))
    assert is_error
    assert "hub_get, hub_list, hub_find" in text
    assert offered(routing) == ["look", LOAD]


def test_c8_known_names_are_loaded_beside_unknown_ones() -> None:
    routing = ToolRouting(CATALOGUE, two_stage=False)
    ((text, is_error),) = take(routing, call(LOAD, names=["nope", "hub_get"]))
    assert (is_error, "nope" in text) == (True, True)
    assert offered(routing) == ["look", "hub_get", LOAD]


def test_c8_arguments_that_are_no_object_quote_the_parser() -> None:
    routing = ToolRouting(CATALOGUE, two_stage=False)
    assert take(routing, ToolCall("c", LOAD, None, "{", "it is not closed")) == [("it is not closed", True)]


def test_c8_in_two_stages_they_count_in_their_category_and_are_loaded_there() -> None:
    routing = ToolRouting(CATALOGUE, two_stage=True)
    assert offered(routing) == [SELECT]
    assert take(routing, call("hub_get")) == []  # the toolbox says that it is not available in this step
    assert take(routing, call(SELECT, category="meta")) == [(f"tools now: {LOAD}, {SELECT}", False)]
    assert loader(routing)["items"]["enum"] == ["hub_get", "hub_list"]
    ((_, is_error),) = take(routing, call(LOAD, names=["hub_find"]))
    assert is_error
    take(routing, call(LOAD, names=["hub_get"]))
    assert offered(routing) == ["hub_get", LOAD, SELECT]
    take(routing, call(SELECT, category="read"))
    assert offered(routing) == ["look", SELECT]
    take(routing, call(SELECT, category="meta"))
    assert offered(routing) == ["hub_get", LOAD, SELECT]


def test_c8_beside_the_choice_of_a_category_nothing_is_loaded() -> None:
    routing = ToolRouting(CATALOGUE, two_stage=True)
    take(routing, call(SELECT, category="meta"))
    told = take(routing, call(LOAD, "1", names=["hub_get"]), call(SELECT, "2", category="meta"))
    assert [is_error for _, is_error in told] == [True, False]
    assert offered(routing) == [LOAD, SELECT]


def test_c8_an_attempt_that_is_continued_has_loaded_what_it_had() -> None:
    calls = [call(SELECT, category="read"), call(SELECT, category="meta"), call(LOAD, names=["hub_get"])]
    routing = ToolRouting(CATALOGUE, two_stage=True)
    routing.recall(calls)
    assert offered(routing) == ["hub_get", LOAD, SELECT]
    routing = ToolRouting(CATALOGUE, two_stage=False)
    routing.recall(calls)
    assert offered(routing) == ["look", "hub_get", LOAD]


def test_c8_beside_an_exclusive_tool_nothing_is_loaded() -> None:
    routing = ToolRouting((*CATALOGUE, spec("ask", exclusive=True)), two_stage=False)
    assert take(routing, call(LOAD, "1", names=["hub_get"]), call("ask", "2")) == []
    assert "hub_get" not in offered(routing)


def test_c8_the_list_of_many_tools_is_bounded() -> None:
    many = [spec(f"hub_{number}", "word " * 100, deferred=True) for number in range(30)]
    assert max(map(len, loader(ToolRouting(many, two_stage=False))["description"].splitlines())) == LINE_CHARS
    more = [spec(f"hub_{number}", "word " * 100, deferred=True) for number in range(200)]
    described = loader(ToolRouting(more, two_stage=False))["description"]
    assert len(described) <= LISTED_CHARS + len(more)
    assert all(f"hub_{number}: w" in described for number in range(200))


def test_c8_schemas_that_wait_save_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    def tools(*, deferred: bool) -> list[ToolSpec]:
        fields = {
            "owner": {"type": "string", "description": "Account that owns the repository, without the @"},
            "repo": {"type": "string", "description": "Name of the repository, without the owner"},
            "number": {"type": "integer", "minimum": 1, "description": "Number of the issue"},
            "page": {"type": "integer", "minimum": 1, "description": "Page of the results, from 1"},
        }
        schema = {"type": "object", "properties": fields, "required": ["owner", "repo"]}
        about = "Reads one thing of a repository, as JSON. What it has no permission for is left out."
        return [
            ToolSpec(f"github_get_thing_{number}", about, schema, "read", source="github", deferred=deferred)
            for number in range(30)
        ]

    def tokens(routing: ToolRouting) -> int:
        sent = [[tool.name, tool.description, dict(tool.parameters)] for tool in routing.offer()[0]]
        return len(json.dumps(sent)) // 4

    whole = tokens(ToolRouting(tools(deferred=False), two_stage=False))
    waiting = ToolRouting(tools(deferred=True), two_stage=False)
    before = tokens(waiting)
    waiting.load(call(LOAD, names=["github_get_thing_3"]))
    after = tokens(waiting)
    with capsys.disabled():
        print(  # noqa: T201 - the figures are to be seen
            f"\n30 tools: {whole} tokens; deferred: {before}, with one of them loaded: {after}"
        )
    assert before < whole / 3
    assert after < whole / 3
