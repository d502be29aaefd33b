"""Blocks of what a provider executed itself: calls, their results, and the sources that they name. Pure.

The blocks are those of Anthropic's Messages API: a `server_tool_use` (or `mcp_tool_use`) and, under its id, a
block whose type is the tool's name and `_tool_result`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hyperguild.domain.messages import Message, Source
from hyperguild.domain.text import clipped

Block = Mapping[str, Any]

CALLS = frozenset({"server_tool_use", "mcp_tool_use"})
RESULT_SUFFIX = "_tool_result"

WORDS_CHARS = 500
"""Of one call or result told in words: what it was counts, not all that it said."""


def with_pairs(messages: Sequence[Message], model: str) -> list[Message]:
    """Return the messages with each provider's call and result that lacks its other half told in words.

    The API refuses such a block, with one exception: a call that is still under way. It stands in the last
    assistant message, and only results of our own tools may follow: the server then goes on with it.
    Messages that do not go back verbatim to the `model` are left alone.
    """
    own = {
        place: message.verbatim.content
        for place, message in enumerate(messages)
        if message.verbatim is not None and message.verbatim.model == model
    }
    paired = _paired(own.values())
    under_way = len(messages) - 1
    while under_way >= 0 and messages[under_way].result is not None:
        under_way -= 1
    mended = list(messages)
    for place, content in own.items():
        whole = tuple(
            block if _may_stand(block, paired, open_calls=place == under_way) else _told(block)
            for block in content
        )
        if whole != content:
            verbatim = messages[place].verbatim
            assert verbatim is not None  # noqa: S101 - its content is at hand
            mended[place] = replace(messages[place], verbatim=replace(verbatim, content=whole))
    return mended


def plain_text(message: Message) -> str:
    """Return the text that stands for a message where its verbatim form cannot go: to another model.

    It is the message's own; where that is empty, and no call of ours says anything either, what the provider
    executed is told in words.
    """
    if message.text.strip() or message.tool_calls or message.verbatim is None:
        return message.text
    executed = (block for block in message.verbatim.content if _is_call(block) or _is_result(block))
    return "\n".join(_words(block) for block in executed) or message.text


def sources_of(content: Iterable[Block]) -> tuple[Source, ...]:
    """Return what the blocks cite and what searches found, each address once, in order."""
    found: dict[str, Source] = {}
    for block in content:
        for named in _naming(block):
            url, title = named.get("url"), named.get("title")
            if isinstance(url, str) and url:
                found.setdefault(url, Source(url, title if isinstance(title, str) else ""))
    return tuple(found.values())


def _paired(contents: Iterable[Sequence[Block]]) -> set[str]:
    """Return the ids of calls that have their result behind them."""
    called: set[str] = set()
    paired: set[str] = set()
    for block in (block for content in contents for block in content):
        if _is_call(block):
            called.add(str(block.get("id")))
        elif _is_result(block) and str(block.get("tool_use_id")) in called:
            paired.add(str(block.get("tool_use_id")))
    return paired


def _may_stand(block: Block, paired: set[str], *, open_calls: bool) -> bool:
    if _is_call(block):
        return open_calls or str(block.get("id")) in paired
    return not _is_result(block) or str(block.get("tool_use_id")) in paired


def _is_call(block: Block) -> bool:
    return block.get("type") in CALLS


def _is_result(block: Block) -> bool:
    kind = block.get("type")
    return isinstance(kind, str) and kind.endswith(RESULT_SUFFIX)


def _told(block: Block) -> dict[str, Any]:
    return {"type": "text", "text": _words(block)}


def _words(block: Block) -> str:
    if _is_call(block):
        given = json.dumps(block.get("input") or {}, ensure_ascii=False)
        return f"[{block.get('name')} was called with {clipped(given, WORDS_CHARS)}]"
    name = str(block.get("type")).removesuffix(RESULT_SUFFIX)
    named = [f"{source.title} <{source.url}>".strip() for source in sources_of([block])]
    said = "; ".join(named) or json.dumps(block.get("content"), ensure_ascii=False)
    return f"[{name} returned: {clipped(said, WORDS_CHARS)}]"


def _naming(block: Block) -> Iterator[Block]:
    """Yield the objects of a block that name a source: citations of a text, findings of a search or fetch."""
    content = block.get("content") if _is_result(block) else block.get("citations")
    if isinstance(content, dict):
        document = content.get("content")  # a fetched page has its title inside, beside its text
        title = document.get("title") if isinstance(document, dict) else None
        yield {**({"title": title} if title else {}), **content}
    elif isinstance(content, list):
        yield from (one for one in content if isinstance(one, dict))
