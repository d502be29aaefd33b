"""The JSON Schema by which editors complete and check chains.yaml."""

from __future__ import annotations

from typing import Any

from hyperguild.config.schema import ChainsFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def chains_json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of the file as it is written: short forms included.

    What needs more than the shape (references, environment, prices under a budget) only loading tells.
    """
    return {"$schema": DIALECT, **ChainsFile.model_json_schema(mode="validation")}
