"""What `models` lists: the models of chains.yaml, and what the endpoints say of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len

from hyperguild.adapters.embedded.gguf import fault_of_gguf
from hyperguild.adapters.embedded.process import INSTALL_HINT, is_installed
from hyperguild.adapters.probes import EndpointInventory, ListedModel, take_inventory
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.cli.chain_page import money, price_object
from hyperguild.cli.page import Page, Part
from hyperguild.config.configuration import Configuration
from hyperguild.config.wording import did_you_mean, quoted
from hyperguild.domain.chain import Endpoint, Model
from hyperguild.domain.records import WarmState
from hyperguild.domain.text import one_line
from hyperguild.domain.usage import Price
from hyperguild.errors import ModelError

SHOWN_UNCONFIGURED = 30
"""Models outside chains.yaml that are shown unasked; a cloud account has a hundred."""

COLUMNS = ("endpoint", "model", "state", "per M tokens", "used by")
STATE_STYLES = {"ready": "green", "starting": "cyan", "cold": "", "unknown": "yellow"}
ASKED = ("llama-swap", "openai", "anthropic")
"""Kinds of endpoints that tell what they have."""


@dataclass(frozen=True, slots=True)
class Inventories:
    """What the endpoints said, by name; errors, in words, of those that said nothing or cannot run models.

    By the names of embedded models: `faults` of their files, in words, and `states` of those that are loaded.
    """

    found: Mapping[str, EndpointInventory] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, WarmState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model of chains.yaml, or (`name` None) one that only its endpoint knows.

    `listed` is None where the endpoint did not say; of an embedded model it tells whether its file can be
    used. `chains` has it as a tier, `judges` as the judge. `breaker` is what keeps it from being asked, as
    JSON; `out` says so in words.
    """

    endpoint: str
    name: str | None
    upstream: str
    state: WarmState | None
    listed: bool | None
    price: Price | None = None
    local: bool = False
    chains: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    breaker: dict[str, Any] | None = None
    out: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something worth saying of an endpoint; an error where what it has, or could run, is not to be had."""

    endpoint: str
    text: str
    is_error: bool


async def take_inventories(
    configuration: Configuration, env: Mapping[str, str], states: Mapping[str, WarmState] | None = None
) -> Inventories:
    """Ask all HTTP endpoints at once what they have; an endpoint that fails becomes an error in words.

    Each is given 10 s. Of embedded models the files are looked at; `states`, by the models' names, are those
    of the ones that some process has loaded. Cancelling ends all requests, and key commands under way.
    """
    keys = KeyRing(env)
    asked = [endpoint for endpoint in configuration.endpoints.values() if endpoint.kind in ASKED]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {endpoint.name: group.create_task(_ask(endpoint, keys)) for endpoint in asked}
    finally:
        await keys.aclose()
    answers = {name: task.result() for name, task in tasks.items()}
    return Inventories(
        found={name: answer for name, answer in answers.items() if isinstance(answer, EndpointInventory)},
        errors={
            **{name: _in_words(answer) for name, answer in answers.items() if isinstance(answer, ModelError)},
            **_without_library(configuration),
        },
        faults=_file_faults(configuration),
        states=states or {},
    )


def remarks_of(configured: Sequence[ModelRow], inventories: Inventories) -> Iterator[Remark]:
    """Yield why endpoints could not be asked, what is not asked for a while, and which models they lack."""
    for name, error in inventories.errors.items():
        yield Remark(name, error, is_error=True)
    for endpoint, words in dict.fromkeys((row.endpoint, row.out) for row in configured if row.out):
        yield Remark(endpoint, f"{words} (`hyperguild models reset`: at once)", is_error=False)
    for row in configured:
        fault = inventories.faults.get(row.name or "")
        inventory = inventories.found.get(row.endpoint)
        if fault is not None:
            yield Remark(row.endpoint, fault, is_error=True)
        # Clouds answer to names that they do not list; llama-swap lists all but hidden models.
        elif row.listed is False and row.state is not None and inventory is not None:
            near = did_you_mean(row.upstream, [model.id for model in inventory.models])
            text = f"lists no {quoted(row.upstream)}{near or '; it is misspelt, or hidden there'}"
            yield Remark(row.endpoint, text, is_error=False)


def rows_of(configuration: Configuration, inventories: Inventories) -> list[ModelRow]:
    """Return the models of chains.yaml, endpoint by endpoint, then those that only the endpoints know."""
    configured: list[ModelRow] = []
    others: list[ModelRow] = []
    for endpoint in configuration.endpoints.values():
        inventory = inventories.found.get(endpoint.name)
        models = [model for model in configuration.models.values() if model.endpoint.name == endpoint.name]
        configured += [_configured(configuration, model, inventories) for model in models]
        if inventory is not None:
            others += _others(inventory, [model.upstream for model in models])
    return [*configured, *others]


def as_object(row: ModelRow) -> dict[str, Any]:
    """Return a row as JSON."""
    return {
        "endpoint": row.endpoint,
        "model": row.name,
        "upstream": row.upstream,
        "state": row.state,
        "configured": row.name is not None,
        "listed": row.listed,
        "chains": list(row.chains),
        "judges": list(row.judges),
        "aliases": list(row.aliases),
        "price": price_object(row.price),
        "breaker": row.breaker,
    }


def fill_page(page: Page, rows: Sequence[ModelRow], inventories: Inventories, *, every: bool) -> None:
    """Put the rows on the page; of models outside chains.yaml no more than 30, unless `every`."""
    configured = [row for row in rows if row.name is not None]
    others = [row for row in rows if row.name is None]
    shown = others if every else others[:SHOWN_UNCONFIGURED]
    _add_table(page, [_cells(row) for row in configured])
    remarks = list(remarks_of(configured, inventories))
    if remarks:
        page.gap()
    for remark in remarks:
        style = "red" if remark.is_error else "yellow"
        page.add((remark.endpoint, "bold"), (f": {remark.text}", style), hang=2)
    if not shown:
        return
    page.gap()
    page.add(("not in chains.yaml", "bold"))
    _add_table(page, [_dimmed(_cells(row)) for row in shown], header=False)
    if len(shown) < len(others):
        page.add((f"… {len(others) - len(shown)} more (--all)", "dim"))


async def _ask(endpoint: Endpoint, keys: KeyRing) -> EndpointInventory | ModelError:
    try:
        return await take_inventory(endpoint, keys)
    except ModelError as error:
        return error


def _in_words(error: ModelError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _without_library(configuration: Configuration) -> dict[str, str]:
    """Return the embedded endpoints that can run nothing, each with why."""
    if is_installed():
        return {}
    told = f"llama.cpp, which runs its models, is not installed ({INSTALL_HINT})"
    return {name: told for name, endpoint in configuration.endpoints.items() if endpoint.kind == "embedded"}


def _file_faults(configuration: Configuration) -> dict[str, str]:
    """Return what is wrong with the files of embedded models, by the models' names."""
    faults: dict[str, str] = {}
    for model in configuration.models.values():
        fault = None if model.gguf is None else fault_of_gguf(model.gguf)
        if fault is not None:
            faults[model.name] = f"the file of {quoted(model.name)}, {model.gguf}, {fault}"
    return faults


def _configured(configuration: Configuration, model: Model, inventories: Inventories) -> ModelRow:
    inventory = inventories.found.get(model.endpoint.name)
    found = None if inventory is None else _find(inventory.models, model.upstream)
    embedded = model.endpoint.kind == "embedded"
    state: WarmState | None = None
    if embedded:
        state = inventories.states.get(model.name, "cold")
    elif model.endpoint.loads_models and inventory is None:
        state = "unknown"
    elif model.endpoint.loads_models:
        # What the server does not list may be hidden; unless it runs, asking for it loads it.
        state = "cold" if found is None else found.state or "unknown"
    listed = None if inventory is None else found is not None
    return ModelRow(
        endpoint=model.endpoint.name,
        name=model.name,
        upstream=model.upstream,
        state=state,
        listed=model.name not in inventories.faults if embedded else listed,
        price=model.price,
        local=model.label == "local",
        chains=_chains_with(configuration, model.name),
        judges=_judged_by(configuration, model.name),
        aliases=() if found is None else found.aliases,
    )


def _find(models: Sequence[ListedModel], name: str) -> ListedModel | None:
    """Return what a name stands for: an id, else an alias, else the bare name of what a peer hosts."""
    for model in models:
        if model.id == name:
            return model
    for model in models:
        if name in model.aliases or (model.kind == "peer" and model.id.partition("/")[2] == name):
            return model
    return None


def _others(inventory: EndpointInventory, upstreams: Sequence[str]) -> Iterator[ModelRow]:
    """Yield what no upstream name stands for; rows of mere aliases are left out, their models have them."""
    used = {found.id for found in (_find(inventory.models, name) for name in upstreams) if found is not None}
    for model in inventory.models:
        used |= set(model.targets) if model.kind == "alias" and model.id in used else set()
    ids = {model.id for model in inventory.models}
    for model in inventory.models:
        alias_of_listed = model.kind == "alias" and ids.issuperset(model.targets)
        if model.id not in used and not alias_of_listed:
            yield ModelRow(
                endpoint=inventory.endpoint,
                name=None,
                upstream=model.id,
                state=model.state,
                listed=True,
                aliases=model.aliases,
            )


def _chains_with(configuration: Configuration, name: str) -> tuple[str, ...]:
    every = configuration.chains.values()
    return tuple(chain.name for chain in every if any(tier.model.name == name for tier in chain.tiers))


def _judged_by(configuration: Configuration, name: str) -> tuple[str, ...]:
    """Return the chains in which the model judges; not those of which no tier is verified."""
    return tuple(
        chain.name
        for chain in configuration.chains.values()
        if chain.verifier is not None
        and chain.verifier.judge is not None
        and any(model.name == name for model in chain.verifier.judge.models)
        and any(tier.verify for tier in chain.tiers)
    )


def _cells(row: ModelRow) -> list[Part]:
    known_as = row.name or row.upstream
    also = [] if f"/{known_as}".endswith(f"/{row.upstream}") else [row.upstream]
    also += [alias for alias in row.aliases if alias not in {known_as, row.upstream}]
    model = f"{known_as} ({', '.join(also)})" if also else known_as
    state = row.state or "–"
    uses = [", ".join(row.chains)] if row.chains else []
    uses += [f"judge of {', '.join(row.judges)}"] if row.judges else []
    used_by = "; ".join(uses) or ("–" if row.name is not None else "")
    return [
        (one_line(row.endpoint, 24), ""),
        (one_line(model, 48), "" if row.name is None else "bold"),
        (state, STATE_STYLES.get(state, "dim")),
        (_price_text(row), ""),
        (used_by, ""),
    ]


def _price_text(row: ModelRow) -> str:
    if row.price is not None:
        return f"{money(row.price.input)} / {money(row.price.output)}"
    if row.name is None:
        return ""
    return "free" if row.local else "unknown"


def _dimmed(cells: Sequence[Part]) -> list[Part]:
    return [(text, "dim") for text, _ in cells]


def _add_table(page: Page, rows: Sequence[Sequence[Part]], *, header: bool = True) -> None:
    """Add aligned rows, the last column cut to the page; where there is little room, rows of their own."""
    if page.narrow:
        for endpoint, model, state, price, used_by in rows:
            page.add(model, ("  ", ""), state, hang=2)
            parts = [part for part in (endpoint, price, used_by) if part[0]]
            page.flow([[part] for part in parts], " · ", indent=2)
        return
    table = [[(name, "dim") for name in COLUMNS], *rows] if header else list(rows)
    widths = [max(cell_len(row[column][0]) for row in table) for column in range(len(COLUMNS) - 1)]
    for row in table:
        parts = []
        for (text, style), width in zip(row, widths, strict=False):
            parts += [(text, style), (" " * (width - cell_len(text) + 2), "")]
        last, style = row[-1]
        room = page.width - sum(widths) - 2 * len(widths) if page.wraps else len(last)
        page.row(*parts, (one_line(last, max(room, 10)), style))
