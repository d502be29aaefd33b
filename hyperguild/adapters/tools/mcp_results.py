"""What a model is told of a tool's result. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from mcp import types

from hyperguild.domain.text import encodable, one_line

TEXT_MAX_CHARS = 4 * 1024 * 1024
"""More of one result is not kept: what a model sees of it, and what is filed for it, is far less anyway."""

_NAME_MAX_CHARS = 200


def result_text(result: types.CallToolResult) -> str:
    """Return the text parts joined, all other parts named by type and size; JSON where there is no text.

    A text resource counts as text. Structured content repeats the text as a rule, and is left out then.
    """
    parts = list(_parts(result.content))
    if result.structured_content is not None and not any(_has_text(block) for block in result.content):
        parts.append(json.dumps(result.structured_content, ensure_ascii=False))
    text = encodable("\n".join(parts))
    if len(text) > TEXT_MAX_CHARS:
        return f"{text[:TEXT_MAX_CHARS]}\n[cut: {len(text) - TEXT_MAX_CHARS} more characters]"
    return text or "[no content]"


def _has_text(block: types.ContentBlock) -> bool:
    if isinstance(block, types.EmbeddedResource):
        return isinstance(block.resource, types.TextResourceContents)
    return isinstance(block, types.TextContent)


def _parts(content: list[types.ContentBlock]) -> Iterator[str]:
    for block in content:
        match block:
            case types.TextContent(text=text):
                yield text
            case types.ImageContent(mime_type=kind, data=data):
                yield _named("image", kind, _decoded_bytes(data))
            case types.AudioContent(mime_type=kind, data=data):
                yield _named("audio", kind, _decoded_bytes(data))
            case types.ResourceLink(uri=uri, mime_type=kind, size=size):
                yield _named(f"resource {uri}", kind, size)
            case types.EmbeddedResource(resource=types.TextResourceContents(text=text)):
                yield text
            case types.EmbeddedResource(resource=types.BlobResourceContents() as blob):
                yield _named(f"resource {blob.uri}", blob.mime_type, _decoded_bytes(blob.blob))


def _named(what: str, kind: str | None, size_bytes: int | None) -> str:
    size = None if size_bytes is None else f"{size_bytes} bytes"
    return f"[{', '.join(one_line(part, _NAME_MAX_CHARS) for part in (what, kind, size) if part)}]"


def _decoded_bytes(data: str) -> int:
    return len(data.rstrip("=")) * 3 // 4
