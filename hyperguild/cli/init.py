"""`hyperguild init`."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hyperguild.cli.options import Settings
from hyperguild.cli.output import clean
from hyperguild.errors import AuthError, ConfigError, HyperguildError, ModelError, UsageError

if TYPE_CHECKING:
    # Start-up counts: these are imported only when the command runs.
    from hyperguild.adapters.probes import EndpointInventory
    from hyperguild.cli.init_file import Answers, Cloud
    from hyperguild.cli.page import Page
    from hyperguild.config.configuration import Configuration

DEFAULT_URL = "http://127.0.0.1:8080"
"""Where llama-swap listens if it is not told otherwise."""

INIT_EPILOG = """\b
Examples:
  hyperguild init                                       llama-swap on this machine
  hyperguild init --llama-swap http://192.168.1.20:8080 --api-key-env LLAMA_SWAP_KEY
  hyperguild init --yes --order phi4,qwen-coder-32b --judge qwen3-8b --cloud none

Without a terminal, or with --yes, nothing is asked.
"""


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


@click.command(epilog=INIT_EPILOG)
@click.option("--llama-swap", "url", metavar="URL", help=f"The llama-swap server.  [default: {DEFAULT_URL}]")
@click.option("--api-key-env", metavar="NAME", help="Environment variable that holds the server's key.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("chains.yaml"),
    show_default=True,
    help="File to write; the skills go into skills/ beside it.",
)
@click.option("--order", metavar="A,B", help="Models to try, cheapest first.")
@click.option("--judge", metavar="NAME", help="Model that judges local answers.")
@click.option("--cloud", type=click.Choice(["anthropic", "openai", "none"]), help="Tier after the local ones.")
@click.option("--cloud-model", metavar="NAME", help="Model of the cloud tier.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing; take what is not given for granted.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def init(settings: Settings, /, output: Path, *, yes: bool, force: bool, **wishes: str | None) -> None:
    """Write chains.yaml and skills for your servers.

    Lists the models of a llama-swap server, asks in what order to try them, which one judges their answers,
    and what cloud model comes last. Skill folders that are there already are kept.
    """
    from hyperguild.cli.page import Page  # noqa: PLC0415  # start-up

    if not force and (output.exists() or output.is_symlink()):
        raise UsageError(f"{output} is there already", hint="--force replaces it, --output names another file")
    asked = Wishes(asks=sys.stdin.isatty() and not yes, **wishes)
    page = Page.for_stdout(settings.env)
    inventory = _find_server(asked, settings.env)
    answers = _answers(asked, inventory, settings.env)
    configuration = _write(output, answers, settings.env, force=force)
    _tell_file(page, output, answers, configuration)
    _copy_skills(page, output.parent / "skills")
    _tell_keys(page, configuration, settings.env)
    if inventory is not None:
        _tell_evictions(page, answers, inventory)
    _tell_next(page, output)
    page.print()


def _find_server(asked: Wishes, env: Mapping[str, str]) -> EndpointInventory | None:
    """Return what the server has; None where nobody named one and a cloud chain can be written without it.

    Raises `ConfigError` with remedies where neither is to be had.
    """
    from hyperguild.cli.init_choices import cloud_of  # noqa: PLC0415  # start-up

    cloud = cloud_of(asked.cloud, asked.cloud_model, env)
    try:
        return asyncio.run(_inventory(asked, env))
    except ModelError as error:
        named = asked.url or asked.api_key_env or asked.order or asked.judge
        if cloud is None or named or isinstance(error, AuthError):
            raise _no_server(asked, error) from error
        click.echo(clean(f"no llama-swap: {error.message}"), err=True)
    if asked.asks:
        click.confirm(f"Write a chain of the cloud model {cloud.model} alone?", default=True, abort=True)
    else:
        told = f"the chain has the cloud model {cloud.model} alone; --llama-swap URL names a server"
        click.echo(clean(told), err=True)
    return None


async def _inventory(asked: Wishes, env: Mapping[str, str]) -> EndpointInventory:
    from hyperguild.adapters.probes import take_inventory  # noqa: PLC0415  # start-up
    from hyperguild.adapters.wire.keys import KeyRing  # noqa: PLC0415
    from hyperguild.cli.init_file import SWAP  # noqa: PLC0415
    from hyperguild.domain.chain import Endpoint, KeySource  # noqa: PLC0415

    key = KeySource(env=asked.api_key_env) if asked.api_key_env else None
    keys = KeyRing(env)
    try:
        return await take_inventory(Endpoint(SWAP, "llama-swap", _address(asked.url), key=key), keys)
    finally:
        await keys.aclose()


def _address(url: str | None) -> str:
    """Return the address of the server; `http://` is added where nothing else is said. Raises `UsageError`."""
    from hyperguild.config.hosts import fault_of_url  # noqa: PLC0415  # start-up

    address = DEFAULT_URL if url is None else url if "://" in url else f"http://{url}"
    fault = fault_of_url(address)
    if fault is not None:
        raise UsageError(f"--llama-swap {fault}", hint=f"such as {DEFAULT_URL}")
    return address.rstrip("/")


def _no_server(asked: Wishes, error: ModelError) -> HyperguildError:
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


def _answers(asked: Wishes, inventory: EndpointInventory | None, env: Mapping[str, str]) -> Answers:
    """Return what to write: what was said, what a person answers, what is taken for granted."""
    from hyperguild.cli.init_choices import cloud_of  # noqa: PLC0415  # start-up
    from hyperguild.cli.init_file import Answers, Server  # noqa: PLC0415

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
    server = Server(_address(asked.url), asked.api_key_env) if order else None
    return Answers(server, order, judge, cloud)


def _order(asked: Wishes, inventory: EndpointInventory) -> tuple[str, ...]:
    from hyperguild.cli.init_choices import choosable, default_order, parse_order  # noqa: PLC0415  # start-up

    if asked.order is not None:
        return parse_order(asked.order, inventory)
    models = choosable(inventory)
    proposed = default_order(models)
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
    from hyperguild.cli.init_choices import choosable, is_for_chat  # noqa: PLC0415  # start-up

    models = choosable(inventory)
    version = f" (version {inventory.version})" if inventory.version else ""
    click.echo(clean(f"llama-swap at {_address(asked.url)}{version} has:"))
    width = max(len(model.id) for model in models)
    words = {"ready": "loaded", "starting": "loading", "cold": "not loaded"}
    for number, model in enumerate(models, 1):
        remarks = ["on another server" if model.kind == "peer" else words.get(model.state or "", "")]
        remarks += [f"also called {', '.join(model.aliases)}"] if model.aliases else []
        remarks += [] if is_for_chat(model) else ["not for chat, by its name"]
        click.echo(clean(f"  {number:>2}  {model.id:<{width}}  {'; '.join(filter(None, remarks))}").rstrip())


def _cloud(asked: Wishes, env: Mapping[str, str]) -> Cloud | None:
    from hyperguild.cli.init_choices import cloud_of, default_provider  # noqa: PLC0415  # start-up
    from hyperguild.cli.init_file import CLOUD_MODELS  # noqa: PLC0415

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
    from hyperguild.cli.init_choices import choosable, default_judge, parse_model  # noqa: PLC0415  # start-up

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
