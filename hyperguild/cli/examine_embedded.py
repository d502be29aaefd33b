"""Looks at what `hyperguild doctor` reports on embedded endpoints: extra, model files, memory, keeper."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hyperguild.adapters.embedded.gguf import fault_of_gguf
from hyperguild.adapters.embedded.keeper_client import keeper_status
from hyperguild.adapters.embedded.location import keeper_folder
from hyperguild.adapters.embedded.process import INSTALL_HINT, is_installed
from hyperguild.adapters.embedded.spec import ServerSpec, spec_of
from hyperguild.cli.diagnosis import Finding, Use, judged_on
from hyperguild.cli.kept_models import keeper_in_words
from hyperguild.config.configuration import Configuration
from hyperguild.domain.chain import Endpoint, Model
from hyperguild.errors import ModelError

MEMINFO = Path("/proc/meminfo")
"""Where Linux says how much memory is free; elsewhere it is not looked at."""


def embedded_findings(
    configuration: Configuration, endpoint: Endpoint, uses: Sequence[Use], *, meminfo: Path = MEMINFO
) -> Iterator[Finding]:
    """Yield what there is to say of an embedded endpoint and its models; nothing is loaded for it."""
    area = f"endpoint {endpoint.name}"
    yield _of_extra(area, endpoint)
    free = available_bytes(meminfo)
    for use in uses:
        yield from _of_file(area, use, free)
    yield from _of_evictions(area, configuration, endpoint)


async def keeper_finding(endpoint: Endpoint, env: Mapping[str, str]) -> Finding:
    """Return how the keeper of an endpoint with `keep: true` is, or what is in its way; none is started."""
    area = f"endpoint {endpoint.name}"
    folder = keeper_folder(env)
    try:
        status = await keeper_status(folder)
        if status is not None:
            return Finding(area, "ok", f"keeper: {keeper_in_words(status)}")
        folder.check()
    except ModelError as error:
        return Finding(area, "error", error.message, error.hint or "set `keep: false` on the endpoint")
    return Finding(area, "ok", "keeper: none runs; the first command that needs one starts it")


def available_bytes(meminfo: Path) -> int | None:
    """Return how much memory programs can still have, None where the system does not say."""
    try:
        found = re.search(r"^MemAvailable:\s*([0-9]+) kB$", meminfo.read_text("ascii"), re.MULTILINE)
    except (OSError, ValueError):
        return None
    return None if found is None else int(found[1]) * 1024


def size_in_words(size: int) -> str:
    """Return a number of bytes in kB, MB or GB."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(round(size / 1e3), 1)} kB"


def _of_extra(area: str, endpoint: Endpoint) -> Finding:
    if not is_installed():
        return Finding(area, "error", "llama.cpp, which runs the models, is not installed", INSTALL_HINT)
    loaded = endpoint.engine.max_loaded
    limit = "one model" if loaded == 1 else f"up to {loaded} models"
    return Finding(area, "ok", f"runs models itself, {limit} at a time")


def _of_file(area: str, use: Use, free: int | None) -> Iterator[Finding]:
    path = use.model.gguf
    if path is None:  # the configuration refuses it
        return
    fault = fault_of_gguf(path)
    if fault is not None:
        remedy = f"correct gguf of models.{use.model.name}, or put the model file there"
        yield Finding(area, "error", f"{use.model.name}: {path} {fault} ({use.words})", remedy)
        return
    size = path.stat().st_size
    yield Finding(area, "ok", f"{use.model.name}: {path}, {size_in_words(size)} ({use.words})")
    if free is not None and size > free:
        yield Finding(
            area,
            "warning",
            f"{use.model.name}: its file has {size_in_words(size)}, and {size_in_words(free)} of memory "
            "are free: it will be slow, or not load at all",
            "end other programs, or take a smaller model, or a smaller quantization of this one",
        )


def _of_evictions(area: str, configuration: Configuration, endpoint: Endpoint) -> Iterator[Finding]:
    """Yield whether judges and the workers they judge evict each other; a tier and its judge need two places.

    Models that share a file and a window share a place, too.
    """
    judged = judged_on(configuration, endpoint, _same_server())
    if not judged:
        return
    pairs = [f"the judge {judge} and what it judges ({', '.join(them)})" for judge, them in judged.items()]
    if endpoint.engine.max_loaded == 1:
        yield Finding(
            area,
            "warning",
            f"{', and '.join(pairs)} evict each other at every answer: max_loaded is 1",
            f"if they fit into memory together, set `max_loaded: 2` on endpoint '{endpoint.name}'",
        )
        return
    for judge, workers in judged.items():
        yield Finding(
            area, "ok", f"the judge {judge} stays loaded beside what it judges ({', '.join(workers)})"
        )


def _same_server() -> Callable[[Model], str]:
    """Return what names a model by the first one that was asked about and has the same server."""
    names: dict[ServerSpec, str] = {}
    return lambda model: names.setdefault(spec_of(model), model.name)
