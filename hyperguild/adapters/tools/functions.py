"""Tools that are plain async functions of the calling program; their type hints make the schemas."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import (
    Any,
    Final,
    Generic,
    ParamSpec,
    TypedDict,
    TypeVar,
    Unpack,
    get_args,
    get_type_hints,
    overload,
)

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_json

from hyperguild.adapters.tools.mcp_schema import fitted
from hyperguild.adapters.tools.own_names import OWN_NAMES
from hyperguild.domain.text import one_line
from hyperguild.domain.tools import Effect, ToolCategory, ToolError, ToolSpec
from hyperguild.errors import UsageError
from hyperguild.ports import ToolContext

P = ParamSpec("P")
R = TypeVar("R")

SOURCE: Final = "library"
"""`ToolSpec.source` of these tools."""

FAULT_CHARS = 500

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what both APIs take
_TAKEN_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class ToolTerms(TypedDict, total=False):
    """How a function is offered.

    `effect`: what it can do, `read`, `write` (files) or, unless it is said, `exec` (anything). `name` and
    `description`: in place of the function's own name and the first paragraph of its docstring. `category`:
    where a small model finds it. `stop_after`: a successful result ends the attempt. `exclusive`: it may be
    called only alone. `deferred`: its schema is sent only once it has been asked for.
    """

    effect: Effect
    name: str
    description: str
    category: ToolCategory
    stop_after: bool
    exclusive: bool
    deferred: bool


class FunctionTool(Generic[P, R]):
    """A `ports.Tool` over an async function; called itself, it is that function. Made by `tool`."""

    def __init__(self, function: Callable[P, Awaitable[R]], spec: ToolSpec, parameters: _Parameters) -> None:
        functools.update_wrapper(self, function)
        self.spec = spec
        self._function: Callable[..., Awaitable[R]] = function
        self._parameters = parameters

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """Call the function as it was written."""
        return self._function(*args, **kwargs)

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Convert the arguments, call the function, and return its result as text; see `tool`.

        Raises `ToolError` for arguments that do not fit, and whatever the function raises.
        """
        converted = self._parameters.converted(arguments)
        if self._parameters.context is not None:
            converted[self._parameters.context] = context
        elif self.spec.effect != "read":
            await context.barrier.passed()
        return _told(await self._function(**converted))


@overload
def tool(function: Callable[P, Awaitable[R]], /, **terms: Unpack[ToolTerms]) -> FunctionTool[P, R]: ...


@overload
def tool(
    function: None = None, /, **terms: Unpack[ToolTerms]
) -> Callable[[Callable[P, Awaitable[R]]], FunctionTool[P, R]]: ...


def tool(function: Callable[..., Awaitable[Any]] | None = None, /, **terms: Unpack[ToolTerms]) -> Any:
    """Make a tool of an async function: `@tool`, `@tool(effect="read")` or `tool(function, effect="read")`.

    The parameters' type hints, as pydantic reads them, make the JSON Schema; `Annotated[int, Field(ge=1,
    description="…")]` says more. A parameter of the type `ToolContext` gets the context, and the model does
    not see it; a function that writes and takes none is called once its write may be made. Arguments are
    validated and converted. A `str` is told to the model as it is, None as `done`, all else as JSON. What the
    function raises is an error result; `ToolError` tells the model its message alone. Cancelling cancels it.

    Raises `TypeError` for a function that is not async, or has no description, a parameter without a type
    hint or one that cannot be given by name, and for a name that does not fit or is taken. What blocks
    belongs in a thread: `await asyncio.to_thread(...)`.
    """
    unknown = terms.keys() - ToolTerms.__annotations__.keys()
    if unknown:
        raise TypeError(f"tool() takes no {', '.join(sorted(unknown))}")
    if function is None:
        return lambda wrapped: _made(wrapped, terms)
    return _made(function, terms)


def function_tools(functions: Sequence[Callable[..., Awaitable[Any]]]) -> tuple[FunctionTool[..., Any], ...]:
    """Return the tools that the functions are, or make. Raises `UsageError` where two have one name."""
    made = tuple(one if isinstance(one, FunctionTool) else tool(one) for one in functions)
    names = [one.spec.name for one in made]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two tools are named {twice}", hint='give one another name: tool(f, name="…")')
    return made


class _Parameters:
    """What a function takes: a dataclass of its parameters, which pydantic validates."""

    def __init__(self, function: Callable[..., Awaitable[Any]], label: str) -> None:
        hints = _hints(function, label)
        fields: list[tuple[str, Any, Any]] = []
        self.context: str | None = None
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind not in _TAKEN_BY_NAME:
                raise TypeError(f"{label}: {parameter} cannot be given by name, so a model cannot give it")
            if parameter.name not in hints:
                raise TypeError(f"{label}: the parameter {parameter.name} has no type hint")
            if hints[parameter.name] is ToolContext:
                self.context = parameter.name
            else:
                fields.append((parameter.name, hints[parameter.name], _field(parameter.default)))
        config = {"__pydantic_config__": ConfigDict(extra="forbid")}
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(
                dataclasses.make_dataclass("Arguments", fields, kw_only=True, namespace=config)
            )
            fit = fitted(self._adapter.json_schema())
        except PydanticUserError as error:
            raise TypeError(f"{label}: {one_line(error.message, FAULT_CHARS)}") from error
        self.schema, self._restored = fit.parameters, fit.restored

    def converted(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments as the function takes them. Raises `ToolError` in one line."""
        try:
            # As JSON, not as Python values: that is what a date or a set can be made of in any mode.
            found = self._adapter.validate_json(json.dumps(self._restored(arguments)))
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
                for fault in error.errors(include_url=False, include_context=False, include_input=False)
            )
            raise ToolError(one_line(f"bad arguments: {faults}", FAULT_CHARS)) from error
        return dict(vars(found))


def _made(function: Callable[..., Awaitable[Any]], terms: ToolTerms) -> FunctionTool[..., Any]:
    label = getattr(function, "__qualname__", repr(function))
    if not inspect.iscoroutinefunction(function) or not (
        inspect.isfunction(function) or inspect.ismethod(function)
    ):
        raise TypeError(f"{label}: a tool is an async function (async def)")
    name = terms.get("name", function.__name__)
    if not _NAME.fullmatch(name):
        raise TypeError(f"{label}: the name {name!r} is not of 1 to 64 letters, digits, _ and -")
    if name in OWN_NAMES:
        raise TypeError(f'{label}: {name} is the name of a built-in tool; give another: tool(name="…")')
    description = terms.get("description", _first_paragraph(function))
    if not description:
        raise TypeError(f"{label}: a docstring, or description=, has to tell the model what it does")
    for key, known in (("effect", get_args(Effect)), ("category", get_args(ToolCategory))):
        if terms.get(key, known[0]) not in known:
            raise TypeError(f"{label}: {key} is one of {', '.join(known)}")
    parameters = _Parameters(function, label)
    spec = ToolSpec(
        name=name,
        description=description,
        parameters=parameters.schema,
        effect=terms.get("effect", "exec"),
        category=terms.get("category", "meta"),
        source=SOURCE,
        stop_after=terms.get("stop_after", False),
        exclusive=terms.get("exclusive", False),
        deferred=terms.get("deferred", False),
    )
    return FunctionTool(function, spec, parameters)


def _hints(function: Callable[..., Any], label: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"{label}: a type hint cannot be resolved: {error}; define the type at the top of its module"
        ) from error


def _field(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return dataclasses.field()
    if type(default).__hash__ is None:  # a dataclass refuses a default that can change
        return dataclasses.field(default_factory=lambda: default)
    return dataclasses.field(default=default)


def _first_paragraph(function: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())


def _told(value: object) -> str:
    if value is None:
        return "done"
    return value if isinstance(value, str) else to_json(value).decode()
