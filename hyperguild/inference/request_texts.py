"""Every text of a request that a model is told, to be read and to be rewritten."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from hyperguild.domain.messages import Message, ModelRequest
from hyperguild.domain.tools import ToolCall, ToolSpec

MENDED_MAX = 256
"""Secrets of a request up to which the JSON of a call keeps the form in which the model wrote it."""

Rewrite = Callable[[str], str]


def spelled_in_json(text: str) -> str:
    """Return the text as it stands between the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


class RequestTexts:
    """The texts of one request: messages, calls and results, descriptions and schemas of tools and answers.

    Not among them: pictures, what the model wants back verbatim (what another one said so is a text), and
    what chains.yaml itself adds to the request (`params`, `extra_body`, `provider_tools`). `texts` has each
    once; `written` has the JSON of calls whose arguments are among the `texts` one by one.
    """

    def __init__(self, request: ModelRequest) -> None:
        self.request = request
        self.texts: tuple[str, ...] = tuple(dict.fromkeys(text for text in _texts(request) if text))
        calls = (call for message in request.messages for call in message.tool_calls)
        self.written = tuple(dict.fromkeys(call.raw for call in calls if call.arguments and call.raw))

    def rewritten(self, texts: Mapping[str, str], values: Mapping[str, str]) -> ModelRequest:
        """Return the request with texts replaced by others, whole; one that is not named stays.

        `values` are the pieces that were replaced in them. They are replaced in the JSON text of a call's
        arguments too, where they stand, so that all around them stays as the model wrote it.
        """

        def rewrite(text: str) -> str:
            return texts.get(text, text)

        request = self.request
        schema = request.response_schema
        return replace(
            request,
            messages=tuple(_message(one, request.model.name, rewrite, values) for one in request.messages),
            tools=tuple(_tool(spec, rewrite) for spec in request.tools),
            response_schema=None if schema is None else _rewritten(schema, rewrite),
        )


def _texts(request: ModelRequest) -> Iterator[str]:
    for message in request.messages:
        yield message.text
        if _is_of_another(message, request.model.name):
            yield from _strings(message.verbatim.content if message.verbatim else ())
        if message.result is not None:
            yield message.result.text
        for call in message.tool_calls:
            if call.arguments is None:
                yield call.raw
            yield from _strings(call.arguments)
    for spec in request.tools:
        yield spec.description
        yield from _strings(spec.parameters)
    yield from _strings(request.response_schema)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _rewritten(value: Any, rewrite: Rewrite) -> Any:
    if isinstance(value, str):
        return rewrite(value)
    if isinstance(value, Mapping):
        return {rewrite(key): _rewritten(item, rewrite) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rewritten(item, rewrite) for item in value]
    return value


def _is_of_another(message: Message, model: str) -> bool:
    """Tell whether its verbatim form is another model's: this one is told of it in words."""
    return message.verbatim is not None and message.verbatim.model != model


def _message(message: Message, model: str, rewrite: Rewrite, values: Mapping[str, str]) -> Message:
    result, verbatim = message.result, message.verbatim
    if verbatim is not None and _is_of_another(message, model):
        verbatim = replace(verbatim, content=tuple(_rewritten(verbatim.content, rewrite)))
    return replace(
        message,
        text=rewrite(message.text),
        verbatim=verbatim,
        result=None if result is None else replace(result, text=rewrite(result.text)),
        tool_calls=tuple(_call(call, rewrite, values) for call in message.tool_calls),
    )


def _call(call: ToolCall, rewrite: Rewrite, values: Mapping[str, str]) -> ToolCall:
    if call.arguments is None:
        return replace(call, raw=rewrite(call.raw))
    arguments = _rewritten(call.arguments, rewrite)
    if arguments == call.arguments:
        return call
    raw = call.raw if len(values) <= MENDED_MAX else ""
    for secret, placeholder in sorted(values.items(), key=lambda item: -len(item[0])):
        for spelling in (spelled_in_json(secret), json.dumps(secret)[1:-1]):
            raw = raw.replace(spelling, placeholder)
    if call.raw and (not raw or _object(raw) != arguments):
        raw = json.dumps(arguments, ensure_ascii=False)  # it was written in a way of its own
    return replace(call, arguments=arguments, raw=raw)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _tool(spec: ToolSpec, rewrite: Rewrite) -> ToolSpec:
    return replace(
        spec, description=rewrite(spec.description), parameters=_rewritten(spec.parameters, rewrite)
    )
