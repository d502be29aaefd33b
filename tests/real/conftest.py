"""The servers of these tests: each is started once, when the first test needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from real.fleet import API_KEY, MODELS, Server, serving
from real.make_gguf import CONTEXT, make_gguf

INSTALL = "needs real inference: pip install 'hyperguild[dev]' (or: pip install xllamacpp gguf)"

StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start a server that lives until the end of the session."""
    pytest.importorskip("xllamacpp", reason=INSTALL)
    logs = tmp_path_factory.mktemp("llama-server-logs")
    with ExitStack() as stack:

        def start(gguf: Path, *, ctx: int = 512, api_key: str | None = None) -> Server:
            log = logs / f"{gguf.stem}-{ctx}.log"
            return stack.enter_context(serving(gguf, log, ctx=ctx, api_key=api_key))

        yield start


@pytest.fixture(scope="session")
def random_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gguf", reason=INSTALL)
    return make_gguf(tmp_path_factory.mktemp("random-model") / "random.gguf")


@pytest.fixture(scope="session")
def noise(start_server: StartServer, random_gguf: Path) -> Server:
    """The random model, with room for a judge's frame."""
    return start_server(random_gguf, ctx=CONTEXT)


@pytest.fixture(scope="session")
def narrow(start_server: StartServer, random_gguf: Path) -> Server:
    """The random model with a window of 512 tokens; it wants `API_KEY`."""
    return start_server(random_gguf, ctx=512, api_key=API_KEY)


@pytest.fixture(scope="session")
def apprentice(start_server: StartServer) -> Server:
    """A small model that often errs."""
    return start_server(MODELS / "apprentice.gguf")


@pytest.fixture(scope="session")
def journeyman(start_server: StartServer) -> Server:
    """A larger model that seldom errs."""
    return start_server(MODELS / "journeyman.gguf")


@pytest.fixture(scope="session")
def judge(start_server: StartServer) -> Server:
    """A model that says whether an answer is right, and what is wrong with it."""
    return start_server(MODELS / "judge.gguf")


@pytest.fixture(scope="session")
def iso_date_chains(apprentice: Server, judge: Server, journeyman: Server) -> str:
    """A chains.yaml: the apprentice, then the journeyman, both judged; `strict` keeps no refused answer."""
    return f"""\
version: 1
endpoints:
  apprentice: {{kind: openai, base_url: "{apprentice.url}/v1"}}
  journeyman: {{kind: openai, base_url: "{journeyman.url}/v1"}}
  judge:      {{kind: openai, base_url: "{judge.url}/v1"}}
models:
  apprentice: {{endpoint: apprentice, max_output_tokens: 24}}
  journeyman: {{endpoint: journeyman, max_output_tokens: 24}}
  judge:      {{endpoint: judge}}
verifiers:
  default:
    checks:
      - {{kind: regex, pattern: "^([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|invalid)$"}}
    judge: judge
chains:
  default: {{tiers: [apprentice, journeyman], on_exhausted: best}}
  strict: [apprentice, journeyman]
"""
