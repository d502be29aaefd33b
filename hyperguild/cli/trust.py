"""`hyperguild trust`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hyperguild.cli.options import Settings
from hyperguild.cli.output import print_json
from hyperguild.errors import TrustError, UsageError

if TYPE_CHECKING:
    # Start-up counts: these are imported only by the command that needs them.
    from hyperguild.cli.page import Page
    from hyperguild.config.configuration import Configuration
    from hyperguild.config.trust import TrustStore

EPILOG = """\b
Examples:
  hyperguild trust                    the chains.yaml of this folder
  hyperguild trust clone/chains.yaml
  hyperguild trust --yes              for scripts: shows, does not ask
  hyperguild trust --list
  hyperguild trust --revoke clone/chains.yaml

A chains.yaml that is merely found, in this folder or one above it, may
neither run programs nor send keys to strangers before you trust it. Just
those parts are recorded: other edits ask nothing, a change of them asks
again. A program is trusted by its name and arguments; what stands in a
script can change without being asked about.

\b
Exit codes: 0 trusted, or nothing to trust; 2 nobody to ask; 3 refused.

--list --json prints an array of objects with path, exists and powers.
"""


@click.command(epilog=EPILOG)
@click.argument("path", metavar="[PATH]", required=False, type=click.Path(path_type=Path))
@click.option("--yes", "-y", is_flag=True, help="Trust it without asking.")
@click.option("--list", "listing", is_flag=True, help="List the files that are trusted.")
@click.option("--revoke", is_flag=True, help="Trust the file no more.")
@click.option("--json", "as_json", is_flag=True, help="With --list: print an array.")
@click.pass_obj
def trust(
    settings: Settings, /, path: Path | None, *, yes: bool, listing: bool, revoke: bool, as_json: bool
) -> None:
    """Show what a chains.yaml runs and which keys it sends where; record that it may.

    PATH is a file, or a folder that holds chains.yaml; without it, the file that would be used.
    """
    from hyperguild.config.trust import TrustStore  # noqa: PLC0415  # start-up

    if sum((listing, revoke, yes)) > 1:
        raise UsageError("--list, --revoke and --yes exclude each other")
    if listing and path is not None:
        raise UsageError("--list takes no path")
    if as_json and not listing:
        raise UsageError("--json goes with --list")
    store = TrustStore.of_user(settings.env)
    if listing:
        _list(settings, store, as_json=as_json)
    elif revoke:
        _revoke(_file(settings, path), store)
    else:
        _trust(settings, _file(settings, path), store, yes=yes)


def _file(settings: Settings, path: Path | None) -> Path:
    """Return the absolute path of the file that is meant."""
    from hyperguild.config.locate import FILE_NAME, find_config  # noqa: PLC0415  # start-up

    if path is None:
        return find_config(settings.config, settings.env, Path.cwd()).path
    absolute = Path.cwd() / path
    return absolute / FILE_NAME if absolute.is_dir() else absolute


def _trust(settings: Settings, file: Path, store: TrustStore, *, yes: bool) -> None:
    from hyperguild.cli.page import Page  # noqa: PLC0415  # start-up
    from hyperguild.config.loader import load_config  # noqa: PLC0415
    from hyperguild.config.trust import digest_of  # noqa: PLC0415
    from hyperguild.config.wording import printable  # noqa: PLC0415

    # What is shown is what is recorded: the file is read once.
    configuration = load_config(file, settings.env)
    shown = printable(str(file))
    if not configuration.powers:
        what = "runs no programs, sends no keys to strangers and lets no model act unasked"
        click.echo(f"{shown} {what}: there is nothing to trust")
        return
    trusted = store.is_trusted(file, digest_of(configuration.powers))
    page = Page.for_stdout(settings.env)
    _fill_page(page, configuration, () if trusted else store.trusted_files().get(str(file.resolve()), ()))
    page.print()
    if trusted:
        click.echo("It is trusted already.")
        return
    if not yes:
        _ask(shown)
    store.trust(file, configuration.powers)
    click.echo("It is trusted now.")


def _fill_page(page: Page, configuration: Configuration, before: tuple[str, ...]) -> None:
    """Put what needs trust on the page; what is new since it was last trusted (`before`) is marked."""
    from hyperguild.config.wording import printable  # noqa: PLC0415  # start-up

    powers = configuration.powers
    page.add((printable(str(configuration.path)), "bold"))
    page.label_width = max(len(power.path) for power in powers) + 2
    beside = page.label_width <= page.width // 2
    for power in powers:
        new = bool(before) and power.what not in before
        what = (power.what, "yellow")
        if beside:
            page.fact(power.path, what, *([("  (new)", "bold")] if new else []), indent=2)
        else:
            page.add((power.path, "dim"), ("  (new)" if new else "", "bold"), indent=2)
            page.add(what, indent=2 + page.indent)


def _ask(shown: str) -> None:
    """Return if somebody says yes. Raises `TrustError`, and `UsageError` where nobody can be asked."""
    # Both must be the terminal: nobody may agree to what went into a pipe.
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("there is no terminal to ask on", hint="look at what is shown, then add --yes")
    if not click.confirm("Trust it to do that?", default=False):
        raise TrustError(f"{shown} is not trusted")


def _revoke(file: Path, store: TrustStore) -> None:
    from hyperguild.config.wording import printable  # noqa: PLC0415  # start-up

    shown = printable(str(file))
    if not store.revoke(file):
        raise UsageError(f"{shown} was not trusted", hint="`hyperguild trust --list` shows what is")
    click.echo(f"{shown} is trusted no more")


def _list(settings: Settings, store: TrustStore, *, as_json: bool) -> None:
    from hyperguild.cli.page import Page  # noqa: PLC0415  # start-up
    from hyperguild.config.wording import printable  # noqa: PLC0415

    files = [
        {"path": path, "exists": Path(path).is_file(), "powers": list(powers)}
        for path, powers in store.trusted_files().items()
    ]
    if as_json:
        print_json(files)
        return
    if not files:
        click.echo("no file is trusted yet", err=True)
        return
    page = Page.for_stdout(settings.env)
    for path, powers in store.trusted_files().items():
        gone = "" if Path(path).is_file() else "  (gone)"
        page.add((printable(path), "bold"), (gone, "dim"))
        for what in powers:
            page.add((printable(what), ""), indent=page.indent, hang=2)
    page.print()
