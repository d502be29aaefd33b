"""C7, and the library's tools: plain async functions, offered and called by their type hints."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from hyperguild.adapters.tools.functions import FunctionTool, function_tools, tool
from hyperguild.agent.toolbox import GrantedBarrier
from hyperguild.domain.tools import ToolError
from hyperguild.errors import UsageError
from hyperguild.ports import Tool, ToolContext


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    number: int = 1


class Closed:
    """A barrier that nothing passes."""

    async def passed(self) -> None:
        raise ToolError("not now")


def granted() -> ToolContext:
    return ToolContext(GrantedBarrier(), list[str]().append)


async def order(
    what: Annotated[str, Field(description="What to order.")],
    color: Color,
    to: list[Address],
    speed: Literal["slow", "fast"] = "slow",
    day: date | None = None,
    tags: set[str] = set(),  # noqa: B006
) -> str:
    """Order something
    for somebody.

    This is for people.
    """
    return f"{what} {color.name} {to[0].street} {to[0].number} {speed} {day!r} {sorted(tags)}"


async def called(one: FunctionTool[..., Any], context: ToolContext | None = None, **arguments: Any) -> str:
    return await one.run(arguments, context or granted())


async def refusal(one: FunctionTool[..., Any], **arguments: Any) -> str:
    with pytest.raises(ToolError) as caught:
        await called(one, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_schema_comes_from_the_type_hints() -> None:
    spec = tool(order, effect="write").spec
    assert (spec.name, spec.description) == ("order", "Order something for somebody.")
    assert (spec.effect, spec.category, spec.source) == ("write", "meta", "library")
    street = {"type": "string"}
    assert spec.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["what", "color", "to"],
        "properties": {
            "what": {"type": "string", "description": "What to order."},
            "color": {"type": "string", "enum": ["red", "blue"]},
            "to": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"street": street, "number": {"type": "integer", "default": 1}},
                    "required": ["street"],
                },
            },
            "speed": {"type": "string", "enum": ["slow", "fast"], "default": "slow"},
            "day": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": None},
            "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        },
    }


async def test_arguments_are_converted() -> None:
    said = await called(
        tool(order), what="tea", color="red", to=[{"street": "Elm"}], day="2026-01-02", tags=["b", "a"]
    )
    assert said == "tea RED Elm 1 slow datetime.date(2026, 1, 2) ['a', 'b']"


async def test_c5_arguments_that_do_not_fit_are_told_in_one_line() -> None:
    said = await refusal(tool(order), what=1, color="green", to=[{}], other=True)
    for part in ("what: ", "color: ", "to.0.street: ", "other: "):
        assert part in said


async def test_names_that_python_objects_have_are_names_like_others() -> None:
    @tool
    async def odd(json: str, schema: int, model_config: bool, _x: int = 3, copy: str = "c") -> str:
        """Try."""
        return f"{json} {schema} {model_config} {_x} {copy}"

    assert await called(odd, json="j", schema=1, model_config=True) == "j 1 True 3 c"


async def test_a_parameter_name_that_providers_refuse_gets_another() -> None:
    @tool
    async def measure(größe: int) -> int:  # noqa: PLC2401
        """Measure."""
        return größe

    (name,) = measure.spec.parameters["properties"]
    assert name.isascii()
    assert await measure.run({name: 4}, granted()) == "4"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("as it is\n", "as it is\n"),
        (None, "done"),
        ({"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}'),
        (Address(street="Elm"), '{"street":"Elm","number":1}'),
        ([date(2026, 1, 2), True], '["2026-01-02",true]'),
    ],
)
async def test_results_are_told_as_text(value: object, told: str) -> None:
    @tool
    async def give() -> object:
        """Give."""
        return value

    assert await called(give) == told


async def test_the_context_is_passed_and_no_part_of_the_schema() -> None:
    offered: list[str] = []

    @tool(effect="write")
    async def save(text: str, context: ToolContext) -> None:
        """Save."""
        context.offer(f"saved {text}")
        await context.barrier.passed()

    assert set(save.spec.parameters["properties"]) == {"text"}
    assert await called(save, ToolContext(GrantedBarrier(), offered.append), text="it") == "done"
    assert offered == ["saved it"]
    with pytest.raises(ToolError, match="not now"):
        await called(save, ToolContext(Closed(), offered.append), text="it")


async def test_a_function_that_changes_things_waits_for_the_barrier() -> None:
    done: list[str] = []

    async def touch() -> None:
        """Touch."""
        done.append("touched")

    closed = ToolContext(Closed(), done.append)
    for changing in (tool(touch), tool(touch, effect="write")):
        with pytest.raises(ToolError, match="not now"):
            await called(changing, closed)
    assert done == []
    await called(tool(touch, effect="read"), closed)
    assert done == ["touched"]


async def test_a_tool_is_still_the_function() -> None:
    @tool(name="other", description="Double it.", exclusive=True, stop_after=True, deferred=True)
    async def double(number: int) -> int:
        return 2 * number

    assert await double(4) == 8
    spec = double.spec
    assert (spec.name, spec.description, spec.effect) == ("other", "Double it.", "exec")
    assert spec.exclusive
    assert spec.stop_after
    assert spec.deferred
    as_port: Tool = double
    assert as_port.spec is spec


async def test_a_method_is_a_tool() -> None:
    class Shop:
        def __init__(self) -> None:
            self.sold: list[str] = []

        async def sell(self, what: str) -> str:
            """Sell it."""
            self.sold.append(what)
            return "sold"

    shop = Shop()
    assert await called(tool(shop.sell), what="tea") == "sold"
    assert shop.sold == ["tea"]


async def test_cancelling_cancels_the_function() -> None:
    ended = asyncio.Event()

    @tool
    async def wait() -> None:
        """Wait."""
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(called(wait))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def plain(text: str) -> str:
    """Be plain."""
    return text


async def bare(text) -> str:  # type: ignore[no-untyped-def]
    """Be bare."""
    return str(text)


async def several(*texts: str) -> None:
    """Take several."""


async def named(**texts: str) -> None:
    """Take named ones."""


async def by_place(text: str, /) -> None:
    """Take it by its place."""


async def silent(text: str) -> None:
    pass


async def strange(connection: asyncio.Event) -> None:
    """Take what no model can give."""


async def shell(command: str) -> None:
    """Be named as ours."""


@pytest.mark.parametrize(
    ("function", "terms", "why"),
    [
        (plain, {}, "async function"),
        (bare, {}, "text has no type hint"),
        (several, {}, "by name"),
        (named, {}, "by name"),
        (by_place, {}, "by name"),
        (silent, {}, "docstring"),
        (strange, {}, "Event"),
        (shell, {}, "built-in"),
        (order, {"name": "two words"}, "64 letters"),
        (order, {"name": "select_category"}, "built-in"),
        (order, {"effect": "reads"}, "effect is one of"),
        (order, {"colour": "red"}, "takes no colour"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_where_it_is_defined(
    function: Callable[..., Any], terms: dict[str, Any], why: str
) -> None:
    with pytest.raises(TypeError, match=why):
        tool(function, **terms)


def test_a_type_hint_that_cannot_be_found_is_refused() -> None:
    class Local(BaseModel):
        text: str

    async def local(one: Local) -> None:
        """Take one."""

    with pytest.raises(TypeError, match="type hint cannot be resolved"):
        tool(local)


def test_two_tools_of_one_name_are_refused() -> None:
    assert [one.spec.name for one in function_tools([order, tool(silent, description="Nothing.")])] == [
        "order",
        "silent",
    ]
    with pytest.raises(UsageError, match="two tools are named order"):
        function_tools([order, tool(silent, name="order", description="Nothing.")])
