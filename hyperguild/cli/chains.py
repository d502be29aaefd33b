"""`hyperguild chains`: list, show, check, schema."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat, json_text, print_json
from hyperguild.errors import ConfigError

GROUP_EPILOG = """\b
Examples:
  hyperguild chains list
  hyperguild chains show code
  hyperguild chains check
  hyperguild chains schema > chains.schema.json

chains.yaml is that of --config, else of $HYPERGUILD_CONFIG, else the one in
this folder or a parent, else the one in $XDG_CONFIG_HOME/hyperguild.
These commands read only: nothing is run, nothing is sent.
"""

LIST_EPILOG = """\b
Examples:
  hyperguild chains list
  hyperguild chains list --json | jq -r '.[] | select(.default).name'

--json prints an array of objects with name, default, tiers (names of
models), verifier, budget (cost_usd, seconds, attempts, tokens; null is no
limit) and skills (those that chains.yaml gives this chain).
"""

SHOW_EPILOG = """\b
Examples:
  hyperguild chains show                 the default chain
  hyperguild chains show code
  hyperguild chains show code --json | jq '.tiers[] | {model, when_cold}'

--json prints one object; its keys are those of chains.yaml.
"""

CHECK_EPILOG = """\b
Examples:
  hyperguild chains check
  hyperguild chains check team/chains.yaml
  hyperguild chains check --json | jq -r '.[] | "\\(.line): \\(.message)"'

Exit codes: 0 no problems, 3 the file is refused.

--json prints an array of objects with file, line, column, path and message.
"""

SCHEMA_EPILOG = """\b
Examples:
  hyperguild chains schema > chains.schema.json

\b
Then let this be the first line of chains.yaml; editors with the YAML
language server (VS Code, Neovim, Helix, Zed, Emacs …) complete and check it:
  # yaml-language-server: $schema=chains.schema.json
"""


@click.group(epilog=GROUP_EPILOG)
def chains() -> None:
    """List, show and check chains; print the schema of chains.yaml."""


@chains.command("list", epilog=LIST_EPILOG, short_help="List the chains, with tiers, verifier and budget.")
@click.option("--json", "as_json", is_flag=True, help="Print an array.")
@click.pass_obj
def list_chains(settings: Settings, /, *, as_json: bool) -> None:
    """List the chains: their tiers, their verifier, their budget, and who uses them."""
    from hyperguild.cli.chain_page import fill_list, listed_chain  # noqa: PLC0415  # start-up
    from hyperguild.cli.page import Page  # noqa: PLC0415

    configuration = settings.load(trusted=False)
    listed = [listed_chain(configuration, chain) for chain in configuration.chains.values()]
    if as_json:
        print_json(listed)
        return
    page = Page.for_stdout(settings.env)
    fill_list(page, listed)
    page.print()


@chains.command(epilog=SHOW_EPILOG, short_help="Show a chain with every default filled in.")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_obj
def show(settings: Settings, /, name: str | None, *, as_json: bool) -> None:
    """Show a chain as it is walked: every name resolved, every default filled in.

    Without NAME, the chain of skills that have none of their own.
    """
    from hyperguild.cli.chain_page import chain_object, chain_to_show, fill_page  # noqa: PLC0415  # start-up
    from hyperguild.cli.page import Page  # noqa: PLC0415

    configuration = settings.load(trusted=False)
    shown = chain_object(configuration, chain_to_show(configuration, name), settings.env)
    if as_json:
        print_json(shown)
        return
    page = Page.for_stdout(settings.env)
    fill_page(page, shown)
    page.print()


@chains.command(epilog=CHECK_EPILOG, short_help="Report everything that is wrong with chains.yaml.")
@click.argument("path", metavar="[PATH]", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print an array of problems.")
@click.pass_obj
def check(settings: Settings, /, path: Path | None, *, as_json: bool) -> None:
    """Report everything that is wrong with chains.yaml, one problem a line: FILE:LINE:COLUMN: PATH: MESSAGE.

    PATH is checked instead of the file that would be used.
    """
    try:
        configuration = (settings if path is None else dataclasses.replace(settings, config=path)).load(
            trusted=False
        )
    except ConfigError as error:
        if not error.problems:
            if path is not None:  # that named the file, and not --config
                raise ConfigError(error.message) from error
            raise
        if as_json:
            print_json([dataclasses.asdict(problem) for problem in error.problems])
        else:
            click.echo("\n".join(flat(str(problem)) for problem in error.problems))
        # The problems are this command's output: the error does not carry them once more.
        raise ConfigError(error.message, hint="mend what the lines above name") from error
    if as_json:
        print_json([])
        return
    chains_found = _count(len(configuration.chains), "chain")
    models_found = _count(len(configuration.models), "model")
    click.echo(flat(f"{_short(configuration.path)}: {chains_found}, {models_found}, no problems"))


@chains.command(epilog=SCHEMA_EPILOG)
def schema() -> None:
    """Print the JSON Schema of chains.yaml, for editors."""
    from hyperguild.config.json_schema import chains_json_schema  # noqa: PLC0415  # start-up

    click.echo(json_text(chains_json_schema(), indent=2))


def _short(path: Path) -> str:
    """Return the path as seen from the working folder, where it lies below that."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
