"""`hyperguild review --web`: serves the review pages to the browser of this machine."""

from __future__ import annotations

import asyncio
import secrets
import webbrowser
from dataclasses import dataclass
from ipaddress import ip_address

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.review import SqliteReviewStore
from hyperguild.bootstrap import system_ids
from hyperguild.cli.options import Settings
from hyperguild.cli.streams import say
from hyperguild.domain.chain import Model
from hyperguild.domain.secrets import Scrubber
from hyperguild.errors import ConfigError
from hyperguild.service.access import TOKEN, TokenGuard
from hyperguild.service.review.app import review_app
from hyperguild.service.serving import address_of, listen, serve

COMMAND = "hyperguild review --web"


@dataclass(frozen=True, slots=True)
class WebOptions:
    """Where the pages are served; `port` 0 takes a free one. `open_browser` shows them at once."""

    host: str = "127.0.0.1"
    port: int = 0
    open_browser: bool = False


def serve_review(settings: Settings, options: WebOptions, reviewer: str, scrubber: Scrubber) -> None:
    """Serve the pages until Ctrl-C; labels are the reviewer's, their notes without what the scrubber knows.

    A session log that is not there yet is made. Raises `UsageError` where the address cannot be had, and
    `StoreError`.
    """
    asyncio.run(_serve(settings, options, reviewer, scrubber))


async def _serve(settings: Settings, options: WebOptions, reviewer: str, scrubber: Scrubber) -> None:
    clock = SystemClock()
    listener = listen(options.host, options.port)
    token = secrets.token_urlsafe(24)
    try:
        store = await SqliteReviewStore.open(
            settings.db_file(), scrubber=scrubber, clock=clock, ids=system_ids(clock), read_only=False
        )
    except BaseException:
        listener.close()
        raise
    try:
        app = review_app(store, clock=clock, reviewer=reviewer, last_tiers=_last_tiers(settings))
        guarded = TokenGuard(app, token=token, command=COMMAND, hosts=[options.host])
        url = f"{address_of(listener, options.host)}/?{TOKEN}={token}"
        await serve(guarded, listener, lambda: _announce(url, options))
    finally:
        await store.aclose()


def _announce(url: str, options: WebOptions) -> None:
    if not _is_loopback(options.host):
        say(
            f"warning: {options.host} can be reached from other machines, and what they send and get is not "
            "encrypted: whoever has the address with its token reads all tasks and answers"
        )
    say(f"{url}\nCtrl-C ends it.")
    if options.open_browser and not webbrowser.open(url):
        say("no browser could be started: open the address above")


def _last_tiers(settings: Settings) -> dict[str, Model]:
    """Return the last tier's model of each chain; none where chains.yaml cannot be read."""
    try:
        chains = settings.load(trusted=False).chains
    except ConfigError:
        # The pages show the log; only what was saved cannot be told by listed prices.
        return {}
    return {name: chain.tiers[-1].model for name, chain in chains.items()}


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
