"""Whether a model is loaded, and what an endpoint has."""

from __future__ import annotations

from hyperguild.adapters.probes.inventory import EndpointInventory, ListedModel, take_inventory
from hyperguild.adapters.probes.llama_swap import LlamaSwapProbe

__all__ = ["EndpointInventory", "ListedModel", "LlamaSwapProbe", "take_inventory"]
