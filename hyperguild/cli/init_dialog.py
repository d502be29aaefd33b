"""Where the answers of `hyperguild init` come from: the command line, the server, a person at a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import click

from hyperguild.adapters.probes import EndpointInventory, take_inventory
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.cli.diagnosis import look_up
from hyperguild.cli.init_choices import (
    choosable,
    cloud_of,
    default_judge,
    default_order,
    default_provider,
    is_for_chat,
    parse_model,
    parse_order,
)
from hyperguild.cli.init_file import CLOUD_MODELS, SWAP, Answers, Cloud, Server
from hyperguild.cli.output import flat
from hyperguild.config.hosts import fault_of_url
from hyperguild.config.wording import is_variable_name
from hyperguild.domain.chain import Endpoint, KeySource
from hyperguild.errors import AuthError, ConfigError, ModelError, UsageError

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8080"
"""Where llama-swap listens if it is not told otherwise."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says; None: not said."""

    url: str | None
    api_key_env: str | None
    order: str | None
    judge: str | None
    cloud: str | None
    cloud_model: str | None
    asks: bool


def find_server(asked: Wishes, env: Mapping[str, str]) -> EndpointInventory | None:
    """Return what the server has; None where nobody named one and a cloud chain can be written without it.

    Raises `ConfigError` with remedies where neither is to be had, `UsageError` for flags that cannot be.
    """
    if asked.api_key_env is not None and not is_variable_name(asked.api_key_env):
        raise UsageError(
            "--api-key-env takes the name of an environment variable, not the key itself",
            hint="such as --api-key-env LLAMA_SWAP_KEY",
        )
    cloud = cloud_of(asked.cloud, asked.cloud_model, env)
    try:
        return asyncio.run(_inventory(asked, env))
    except ModelError as error:
        named = asked.url or asked.api_key_env or asked.order or asked.judge
        if cloud is None or named or isinstance(error, AuthError):
            raise _no_server(asked, error) from error
        click.echo(flat(f"no llama-swap: {error.message}"), err=True)
    if asked.asks:
        click.confirm(f"Write a chain of the cloud model {cloud.model} alone?", default=True, abort=True)
    else:
        told = f"the chain has the cloud model {cloud.model} alone; --llama-swap URL names a server"
        click.echo(flat(told), err=True)
    return None


async def _inventory(asked: Wishes, env: Mapping[str, str]) -> EndpointInventory:
    key = KeySource(env=asked.api_key_env) if asked.api_key_env else None
    keys = KeyRing(env)
    try:
        return await take_inventory(Endpoint(SWAP, "llama-swap", address_of(asked.url), key=key), keys)
    finally:
        await keys.aclose()


def address_of(url: str | None) -> str:
    """Return the address of the server; without a scheme it is one of http. Raises `UsageError`."""
    address = DEFAULT_URL if url is None else url if "://" in url else f"http://{url}"
    fault = fault_of_url(address)
    if fault is not None:
        raise UsageError(f"--llama-swap {fault}", hint=f"such as {DEFAULT_URL}")
    return address.rstrip("/")


def _no_server(asked: Wishes, error: ModelError) -> ConfigError:
    if isinstance(error, AuthError):
        if asked.api_key_env is None:
            hint = "export its key, and name the variable with --api-key-env NAME"
        else:
            hint = f"export {asked.api_key_env}=…, with one of the apiKeys of llama-swap's configuration"
        return ConfigError(error.message, hint=hint)
    remedies = "start llama-swap, or name where it is with --llama-swap URL"
    if asked.url is None:
        remedies += "; for a chain of cloud models alone export ANTHROPIC_API_KEY or OPENAI_API_KEY"
    return ConfigError(error.message, hint=remedies)


def ask_all(asked: Wishes, inventory: EndpointInventory | None, env: Mapping[str, str]) -> Answers:
    """Return what to write: what was said, what a person answers, what is taken for granted."""
    if inventory is None:
        return Answers(None, (), None, cloud_of(asked.cloud, asked.cloud_model, env))
    order = _order(asked, inventory)
    cloud = _cloud(asked, env)
    if not order and cloud is None:
        raise ConfigError(
            "the server has no model that answers questions, and there is no cloud model",
            hint="name models with --order, or a cloud with --cloud",
        )
    judge = _judge(asked, inventory, order, cloud)
    server = Server(address_of(asked.url), asked.api_key_env) if order else None
    return Answers(server, order, judge, cloud)


def _order(asked: Wishes, inventory: EndpointInventory) -> tuple[str, ...]:
    if asked.order is not None:
        return parse_order(asked.order, inventory)
    models = choosable(inventory)
    judge = look_up(inventory, asked.judge.strip()) if asked.judge is not None else None
    proposed = default_order(models, asked.judge if judge is None else judge.model.id)
    if not asked.asks or not models:
        return proposed
    _list_models(asked, inventory)
    numbers = [str(number) for number, model in enumerate(models, 1) if model.id in proposed]
    return _prompt(
        "Models to try, cheapest first (numbers or names)",
        ",".join(numbers) or None,
        lambda text: parse_order(text, inventory),
    )


def _list_models(asked: Wishes, inventory: EndpointInventory) -> None:
    models = choosable(inventory)
    version = f" {inventory.version}" if inventory.version else ""
    click.echo(flat(f"llama-swap{version} at {address_of(asked.url)} has:"))
    width = max(len(model.id) for model in models)
    words = {"ready": "loaded", "starting": "loading", "cold": "not loaded"}
    for number, model in enumerate(models, 1):
        remarks = ["on another server" if model.kind == "peer" else words.get(model.state or "", "")]
        remarks += [f"also called {', '.join(model.aliases)}"] if model.aliases else []
        remarks += [] if is_for_chat(model) else ["not for chat, by its name"]
        click.echo(flat(f"  {number:>2}  {model.id:<{width}}  {'; '.join(filter(None, remarks))}").rstrip())
    click.echo()


def _cloud(asked: Wishes, env: Mapping[str, str]) -> Cloud | None:
    provider = asked.cloud
    if provider is None and asked.cloud_model is None and asked.asks:
        provider = click.prompt(
            "Cloud tier after them",
            type=click.Choice(["anthropic", "openai", "none"]),
            default=default_provider(env) or "none",
        )
    cloud = cloud_of(provider, asked.cloud_model, env)
    if cloud is None or asked.cloud_model is not None or not asked.asks:
        return cloud
    return _prompt(
        "Its model", CLOUD_MODELS[cloud.provider], lambda text: cloud_of(cloud.provider, text.strip(), env)
    )


def _judge(
    asked: Wishes, inventory: EndpointInventory, order: Sequence[str], cloud: Cloud | None
) -> str | None:
    def read(text: str) -> str:
        is_cloud = cloud is not None and text.strip() == cloud.model
        return text.strip() if is_cloud else parse_model(text, inventory)

    if not order:
        if asked.judge is not None:
            raise UsageError("--judge has nothing to judge: no local model is in the chain")
        return None
    if asked.judge is not None:
        return read(asked.judge)
    proposed = default_judge(choosable(inventory), order)
    return _prompt("Judge of their answers", proposed, read) if asked.asks else proposed


def _prompt(question: str, default: str | None, read: Callable[[str], T]) -> T:
    """Ask until `read` takes the answer; its `UsageError` is shown."""

    def take(text: str) -> T:
        try:
            return read(text)
        except UsageError as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise click.BadParameter(flat(f"{error.message}{hint}")) from error

    answer: T = click.prompt(question, default=default, value_proc=take)
    return answer
