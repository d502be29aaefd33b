"""`hyperguild review`."""

from __future__ import annotations

from typing import Any

import click

from hyperguild.cli.filters import FILTER_HELP, filter_options, wanted_of
from hyperguild.cli.options import Settings
from hyperguild.errors import UsageError

EPILOG = """\b
Examples:
  hyperguild review                              what teaches most, first
  hyperguild review --skill review --since 7d --limit 50
  hyperguild review --label disputed --as anna   where others disagree
  printf 'g\\nb\\ns\\nq\\n' | hyperguild review
  hyperguild review --web                        in the browser

First come answers that a label calls otherwise than the verdict, then those
of which the judge was least sure: accepted with a low score, refused with a
high one. What you labelled already is left out.

\b
Keys: g good   b bad   n note, then g or b   s skip   u undo
      o whole text   ? help   q quit
Where stdin is no terminal, each line is one of them; a note follows on its
line: n misses the file handle.

\b
{FILTER_HELP}""".replace("{FILTER_HELP}", FILTER_HELP)


@click.command(epilog=EPILOG, short_help="Label attempts one by one, the most instructive first.")
@filter_options
@click.option("--as", "reviewer", metavar="NAME", help="Who says so [default: $HYPERGUILD_REVIEWER, or you].")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Most to go through."
)
@click.option("--web", is_flag=True, help="Show the whole log in the browser, to look at and label.")
@click.option("--host", metavar="HOST", help="With --web: the address to serve at [default: 127.0.0.1].")
@click.option("--port", type=click.IntRange(0, 65535), help="With --web: the port [default: a free one].")
@click.option("--open", "open_browser", is_flag=True, help="With --web: start the browser, too.")
@click.pass_obj
def review(settings: Settings, /, reviewer: str | None, limit: int, **chosen: Any) -> None:
    """Go through attempts one by one, and say of each whether its answer is good."""
    web = {name: chosen.pop(name) for name in ("web", "host", "port", "open_browser")}
    if web.pop("web"):
        _serve(settings, reviewer, web, chosen)
        return
    if any(value not in {None, False} for value in web.values()):
        raise UsageError("--host, --port and --open go with --web")
    from hyperguild.adapters.clock import SystemClock  # noqa: PLC0415  # start-up
    from hyperguild.cli.keys import keys_of_stdin  # noqa: PLC0415
    from hyperguild.cli.reviewer import reviewer_of  # noqa: PLC0415
    from hyperguild.cli.reviewing import go_through  # noqa: PLC0415

    who = reviewer_of(reviewer, settings.env)
    go_through(settings, wanted_of(chosen, SystemClock().now()), who, limit, keys_of_stdin())


def _serve(settings: Settings, reviewer: str | None, web: dict[str, Any], chosen: dict[str, Any]) -> None:
    from hyperguild.cli.review_web import WebOptions, serve_review  # noqa: PLC0415  # start-up
    from hyperguild.cli.reviewer import reviewer_of  # noqa: PLC0415

    if any(chosen.values()):
        raise UsageError("--web shows everything: filters are on its pages")
    options = WebOptions(**{name: value for name, value in web.items() if value is not None})
    serve_review(settings, options, reviewer_of(reviewer, settings.env))
