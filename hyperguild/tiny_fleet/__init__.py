"""Three tiny language models that run anywhere, with a chain and a skill for them: data, but for this file.

README.md beside it says what they are. `hyperguild demo` walks the chain.
"""

from pathlib import Path


def tiny_fleet_dir() -> Path:
    """Return the folder that holds the models, `chains.yaml`, `cloud.yaml` and `skills/`."""
    return Path(__file__).resolve().parent
