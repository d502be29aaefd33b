"""What these tests run on: models in the package, one of random weights, and llama.cpp to run them."""

from __future__ import annotations

from pathlib import Path

import pytest
from real.fleet import iso_date_chains_text
from real.make_gguf import make_gguf

from hyperguild.adapters.embedded.process import is_installed

INSTALL = "needs real inference: pip install 'hyperguild[dev]' (or: pip install xllamacpp gguf)"


@pytest.fixture(scope="session", autouse=True)
def llama_cpp() -> None:
    """Skip, and say why, where there is no llama.cpp."""
    if not is_installed():
        pytest.skip(INSTALL)


@pytest.fixture(scope="session")
def random_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights, which talks without an end."""
    pytest.importorskip("gguf", reason=INSTALL)
    return make_gguf(tmp_path_factory.mktemp("random-model") / "random.gguf")


@pytest.fixture(scope="session")
def iso_date_chains() -> str:
    """A chains.yaml: the apprentice, then the journeyman, both judged; `strict` keeps no refused answer."""
    return iso_date_chains_text()
