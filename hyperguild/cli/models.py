"""`hyperguild models`."""

from __future__ import annotations

import asyncio

import click

from hyperguild.cli.options import Settings
from hyperguild.cli.output import flat, print_json
from hyperguild.domain.text import one_line

EPILOG = """\b
Examples:
  hyperguild models
  hyperguild models --all
  hyperguild models --json | jq -r '.[] | select(.state == "ready").upstream'
  hyperguild models stop                  unload what the keeper holds
  hyperguild models reset                 ask again what failed too often

States, of models on llama-swap and of embedded ones: ready (loaded),
starting, cold (asking it loads it), unknown (the server did not say).
Elsewhere there are none: –. Embedded models are loaded by each command for
itself, unless their endpoint has `keep: true`: then a keeper, a process of
its own, holds them loaded until nobody has used them for `ttl_s`.

--json prints an array of objects with endpoint, model (its name in
chains.yaml, else null), upstream (what the endpoint calls it), state,
configured (chains.yaml has it), listed (the endpoint names it, or the file of
an embedded model can be used; null where it was not asked or did not answer),
chains (whose tiers it is in), judges (the chains it judges in), aliases,
price (USD per million tokens) and breaker (null; or why the model is not asked
for a while: endpoint, model, null where it is the whole endpoint, failures,
since, open_until, error_kind and error). Endpoints that cannot be reached or
cannot run models, and files that cannot be used, are named on stderr.
"""


@click.group(epilog=EPILOG, invoke_without_command=True)
@click.option("--all", "every", is_flag=True, help="List every model that the endpoints have.")
@click.option("--json", "as_json", is_flag=True, help="Print an array.")
@click.pass_context
def models(ctx: click.Context, /, *, every: bool, as_json: bool) -> None:
    """List endpoints and models, and which are loaded. Nothing is loaded by it.

    First the models of chains.yaml, then others that the endpoints have. An endpoint that cannot be reached,
    or cannot run models, is named with the reason, and so is the file of an embedded model that cannot be
    used.
    """
    if ctx.invoked_subcommand is not None:
        if every or as_json:
            raise click.UsageError(f"options of `{ctx.invoked_subcommand}` stand behind it", ctx)
        return
    _list(ctx.ensure_object(Settings), every=every, as_json=as_json)


def _list(settings: Settings, *, every: bool, as_json: bool) -> None:
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.cli.breakers import open_breakers, with_breakers  # noqa: PLC0415
    from hyperguild.cli.kept_models import look_at_keeper  # noqa: PLC0415
    from hyperguild.cli.model_table import (  # noqa: PLC0415
        as_object,
        fill_page,
        remarks_of,
        rows_of,
        take_inventories,
    )
    from hyperguild.cli.page import Page  # noqa: PLC0415

    configuration = settings.load()
    kept = asyncio.run(look_at_keeper(configuration, settings.env))
    inventories = asyncio.run(take_inventories(configuration, settings.env, kept.states))
    rows = with_breakers(
        rows_of(configuration, inventories), configuration, open_breakers(settings), SystemClock().now()
    )
    if as_json:
        for remark in remarks_of(rows, inventories):
            if remark.is_error:
                click.echo(flat(f"warning: {remark.endpoint}: {one_line(remark.text, 400)}"), err=True)
        if kept.error is not None:
            click.echo(f"warning: {one_line(kept.error, 400)}", err=True)
        print_json([as_object(row) for row in rows])
        return
    page = Page.for_stdout(settings.env)
    fill_page(page, rows, inventories, every=every)
    kept.add_to(page)
    page.print()


STOP_EPILOG = """\b
Examples:
  hyperguild models stop
  hyperguild models stop --json | jq -r '.[].file'

--json prints an array of the models that were unloaded: objects with
endpoint, file, context_tokens, slots, state, users (requests that it was
answering), idle_s and ttl_s.

Exit codes: 0, also where no keeper runs; 5 where it does not answer.
"""


@models.command(epilog=STOP_EPILOG, short_help="Unload what the keeper holds, and end it.")
@click.option("--json", "as_json", is_flag=True, help="Print an array.")
@click.pass_obj
def stop(settings: Settings, /, *, as_json: bool) -> None:
    """Unload the models that are held loaded between commands, and end the keeper that holds them.

    Requests that they are answering break off. Whatever needs a keeper after that starts a new one: the next
    command, and a run under way that tries again.
    """
    from hyperguild.cli.kept_models import stop_in_words, stop_objects, stopped_keeper  # noqa: PLC0415

    status = asyncio.run(stopped_keeper(settings.env))
    if as_json:
        print_json(stop_objects(status))
    else:
        click.echo(stop_in_words(status))


RESET_EPILOG = """\b
Examples:
  hyperguild models reset                 everything that is not asked now
  hyperguild models reset swap            an endpoint, and its models
  hyperguild models reset phi4            a model, and its endpoint

--json prints an array of what was closed: objects with endpoint, model (null
for the whole endpoint), failures, since, open_until, error_kind and error.
"""


@models.command(epilog=RESET_EPILOG, short_help="Ask again at once what failed too often.")
@click.argument("name", required=False, metavar="[ENDPOINT|MODEL]")
@click.option("--json", "as_json", is_flag=True, help="Print an array.")
@click.pass_obj
def reset(settings: Settings, /, *, name: str | None, as_json: bool) -> None:
    """Have endpoints and models asked again that failed too often just now.

    They are tried again by themselves after a while; this is for when you have mended them. Runs that are
    under way in other processes take note with their next run.
    """
    from hyperguild.cli.breakers import breaker_object, reset_breakers, reset_in_words  # noqa: PLC0415

    closed = asyncio.run(reset_breakers(settings, name))
    if as_json:
        print_json([breaker_object(record) for record in closed])
    else:
        click.echo(flat(reset_in_words(closed)))
