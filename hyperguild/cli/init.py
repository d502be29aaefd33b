"""`hyperguild init`."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hyperguild.cli.options import Settings
from hyperguild.errors import UsageError

if TYPE_CHECKING:
    # Start-up counts: these are imported only when the command runs.
    from hyperguild.adapters.probes import EndpointInventory
    from hyperguild.cli.init_file import Answers
    from hyperguild.cli.page import Page
    from hyperguild.config.configuration import Configuration

INIT_EPILOG = """\b
Examples:
  hyperguild init
  hyperguild init --llama-swap http://192.168.1.20:8080 --api-key-env LLAMA_SWAP_KEY
  hyperguild init --yes --order phi4,qwen-coder-32b --judge qwen3-8b --cloud none

Without a terminal, or with --yes, nothing is asked.
"""


@click.command(epilog=INIT_EPILOG)
@click.option(
    "--llama-swap", "url", metavar="URL", help="The llama-swap server; http://127.0.0.1:8080, if not given."
)
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
@click.option(
    "--cloud", type=click.Choice(["anthropic", "openai", "none"]), help="Tier after the local ones."
)
@click.option("--cloud-model", metavar="NAME", help="Model of the cloud tier.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing; take for granted what is not given.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def init(settings: Settings, /, output: Path, *, yes: bool, force: bool, **wishes: str | None) -> None:
    """Write chains.yaml and skills for your servers.

    Lists the models of a llama-swap server, asks in what order to try them, which one judges their answers,
    and what cloud model comes last. Skill folders that are there already are kept.
    """
    from hyperguild.cli.init_dialog import Wishes, ask_all, find_server  # noqa: PLC0415  # start-up
    from hyperguild.cli.page import Page  # noqa: PLC0415

    if not force and (output.exists() or output.is_symlink()):
        raise UsageError(
            f"{output} is there already", hint="--force replaces it, --output names another file"
        )
    asked = Wishes(asks=sys.stdin.isatty() and not yes, **wishes)
    inventory = find_server(asked, settings.env)
    answers = ask_all(asked, inventory, settings.env)
    configuration = _write(output, answers, settings.env, force=force)
    page = Page.for_stdout(settings.env)
    _tell_file(page, output, answers)
    _copy_skills(page, output.parent / "skills")
    _tell_trust(page, output, configuration, settings.env)
    _tell_keys(page, configuration, settings.env)
    if inventory is not None:
        _tell_evictions(page, answers, inventory)
    _tell_next(page, output)
    page.print()


def _write(output: Path, answers: Answers, env: Mapping[str, str], *, force: bool) -> Configuration:
    """Write the file, once it is known to be accepted. Raises `UsageError` where that cannot be done."""
    from hyperguild.cli.init_file import chains_yaml  # noqa: PLC0415  # start-up
    from hyperguild.config.loader import load_config_text  # noqa: PLC0415

    text = chains_yaml(answers)
    configuration = load_config_text(text, output, env)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # "x": another process may have written one since it was looked for.
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}", hint="see --output") from error
    return configuration


def _tell_file(page: Page, output: Path, answers: Answers) -> None:
    from hyperguild.cli.init_file import cloud_name  # noqa: PLC0415  # start-up

    names = [*answers.order, *([cloud_name(answers)] if answers.cloud is not None else [])]
    judged = f"; {answers.judge} judges the local ones" if answers.judge is not None else ""
    page.add(("wrote ", ""), (str(output), "bold"), (f": {', then '.join(names)}{judged}", ""), hang=2)
    if answers.judge in answers.order:
        told = f"{answers.judge} judges its own answers, too; another model would be stricter (--judge NAME)"
        page.add(("· ", "cyan"), (told, ""), hang=2)


def _copy_skills(page: Page, target: Path) -> None:
    """Copy the skills of the package; those of the same name that are there are left as they are."""
    from hyperguild.skills import bundled_skills_dir  # noqa: PLC0415  # start-up

    copied: list[str] = []
    kept: list[str] = []
    for source in sorted(bundled_skills_dir().iterdir()):
        if not (source / "SKILL.md").is_file():
            continue
        folder = target / source.name
        if folder.exists() or folder.is_symlink():
            kept.append(source.name)
            continue
        try:
            shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__"))
        except (OSError, shutil.Error) as error:
            raise UsageError(f"the skill {source.name} cannot be copied to {folder}: {error}") from error
        copied.append(source.name)
    if copied:
        page.add(("copied to ", ""), (str(target), "bold"), (f": {', '.join(copied)}", ""), hang=2)
    if kept:
        page.add(("kept, as they were there: ", ""), (", ".join(kept), ""), hang=2)


def _tell_trust(page: Page, output: Path, configuration: Configuration, env: Mapping[str, str]) -> None:
    """Record what needs trust as trusted: who has the file written has chosen it."""
    from hyperguild.config.trust import TrustStore  # noqa: PLC0415  # start-up

    if configuration.powers:
        TrustStore.of_user(env).trust(output, configuration.powers)
        page.add((f"trusted: it {'; '.join(power.what for power in configuration.powers)}", ""), hang=2)


def _tell_keys(page: Page, configuration: Configuration, env: Mapping[str, str]) -> None:
    for endpoint in configuration.endpoints.values():
        variable = endpoint.key.env if endpoint.key is not None else None
        if variable is not None and not env.get(variable):
            told = f" is not set: until it is, {endpoint.name} models are errors and the others work"
            page.add(("! ", "yellow"), (variable, "bold"), (told, ""), hang=2)


def _tell_evictions(page: Page, answers: Answers, inventory: EndpointInventory) -> None:
    """Say how judge and workers are kept from evicting each other, where they may."""
    from hyperguild.cli.diagnosis import hosted_id, stay_together  # noqa: PLC0415  # start-up
    from hyperguild.cli.init_file import group_snippet  # noqa: PLC0415

    judge = None if answers.judge is None else hosted_id(inventory, answers.judge)
    workers = [name for name in answers.order if hosted_id(inventory, name) and name != judge]
    if judge is None or not workers:
        return
    page.gap()
    if all(stay_together(inventory, judge, worker) for worker in workers):
        page.add((f"{judge} stays loaded beside the models that it judges.", ""))
        return
    told = (
        f"Unless llama-swap is told otherwise it keeps one model loaded at a time: the judge {judge} and "
        f"{', '.join(workers)} evict each other at every answer. If they fit into memory together, add "
        "this to its configuration:"
    )
    page.add(
        ("! ", "yellow"),
        (told, ""),
        hang=2,
    )
    page.gap()
    for line in group_snippet((judge, *workers)).split("\n"):
        page.row((f"    {line}", ""))


def _tell_next(page: Page, output: Path) -> None:
    from hyperguild.config.locate import FILE_NAME  # noqa: PLC0415  # start-up

    is_found = output.resolve() == Path.cwd().resolve() / FILE_NAME
    command = "hyperguild" if is_found else f"hyperguild --config {shlex.quote(str(output))}"
    page.gap()
    page.add(("Next:", "bold"))
    page.row((f"  {command} doctor", "cyan"), ("                  what is reachable and loaded", "dim"))
    page.row((f"  {command} run review -f FILE", "cyan"), ("      review a file", "dim"))
