"""Which tools of the provider's own go with a request, and which of ours run some of them. Pure."""

from __future__ import annotations

from typing import Any

from hyperguild.domain.messages import ModelRequest


def definitions(request: ModelRequest) -> list[dict[str, Any]]:
    """Return the provider's tools as they stand in the request, beside ours.

    One that a tool of ours runs goes only where that tool is offered, in its place: what the model may not
    do under our name it may not do under another.
    """
    if not request.provider_tools:
        return []
    offered = {spec.name for spec in request.tools}
    return [
        dict(tool.definition)
        for tool in request.model.provider_tools
        if tool.runner is None or tool.runner in offered
    ]


def runners(request: ModelRequest) -> dict[str, str]:
    """Return our tools that run a tool of the provider's in this request, by that one's name."""
    if not request.provider_tools:
        return {}
    offered = {spec.name for spec in request.tools}
    return {
        tool.name: tool.runner
        for tool in request.model.provider_tools
        if tool.runner in offered and tool.runner
    }
