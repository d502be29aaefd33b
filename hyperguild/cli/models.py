"""`hyperguild models`."""

from __future__ import annotations

import asyncio

import click

from hyperguild.cli.options import Settings
from hyperguild.cli.output import print_json
from hyperguild.domain.text import one_line

EPILOG = """\b
Examples:
  hyperguild models
  hyperguild models --all
  hyperguild models --json | jq -r '.[] | select(.state == "ready").upstream'

States, of models on llama-swap and of embedded ones: ready (loaded),
starting, cold (asking it loads it), unknown (the server did not say).
Elsewhere there are none: –.

--json prints an array of objects with endpoint, model (its name in
chains.yaml, else null), upstream (what the endpoint calls it), state,
configured (chains.yaml has it), listed (the endpoint names it, or the file of
an embedded model can be used; null where it was not asked or did not answer),
chains (whose tiers it is in), judges (the chains it judges in), aliases and
price (USD per million tokens). Endpoints that cannot be reached, and files
that cannot be used, are named on stderr.
"""


@click.command(epilog=EPILOG)
@click.option("--all", "every", is_flag=True, help="List every model that the endpoints have.")
@click.option("--json", "as_json", is_flag=True, help="Print an array.")
@click.pass_obj
def models(settings: Settings, /, *, every: bool, as_json: bool) -> None:
    """List endpoints and models, and which are loaded. Nothing is loaded by it.

    First the models of chains.yaml, then others that the endpoints have. An endpoint that cannot be reached
    is named with the reason, and so is the file of an embedded model that cannot be used.
    """
    from hyperguild.cli.model_table import (  # noqa: PLC0415
        as_object,
        fill_page,
        remarks_of,
        rows_of,
        take_inventories,
    )
    from hyperguild.cli.page import Page  # noqa: PLC0415  # start-up

    configuration = settings.load()
    inventories = asyncio.run(take_inventories(configuration, settings.env))
    rows = rows_of(configuration, inventories)
    if as_json:
        for remark in remarks_of(rows, inventories):
            if remark.is_error:
                click.echo(f"warning: {remark.endpoint}: {one_line(remark.text, 400)}", err=True)
        print_json([as_object(row) for row in rows])
        return
    page = Page.for_stdout(settings.env)
    fill_page(page, rows, inventories, every=every)
    page.print()
