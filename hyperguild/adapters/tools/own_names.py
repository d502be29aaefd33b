"""Names of tools that nobody else may give to theirs."""

from __future__ import annotations

from typing import Final

from hyperguild.agent.routing import LOAD, SELECT
from hyperguild.skills.tool_names import NATIVE_TOOLS

OWN_NAMES: Final = NATIVE_TOOLS | {SELECT, LOAD}
"""The built-in tools, and those of the loop itself."""
