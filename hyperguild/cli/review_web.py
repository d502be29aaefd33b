"""`hyperguild review --web`: serves the review pages to the browser of this machine."""

from __future__ import annotations

import asyncio
import secrets
import webbrowser
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.adapters.store.review import SqliteReviewStore
from hyperguild.cli.options import Settings
from hyperguild.cli.review_log import secrets_of
from hyperguild.cli.streams import say
from hyperguild.config.configuration import Configuration
from hyperguild.errors import ConfigError
from hyperguild.review.savings import last_tiers
from hyperguild.review.tuning import threshold_now
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


def serve_review(settings: Settings, options: WebOptions, reviewer: str) -> None:
    """Serve the pages until Ctrl-C; labels are the reviewer's.

    A session log that is not there yet is made. Raises `UsageError` where the address cannot be had, and
    `StoreError`.
    """
    asyncio.run(_serve(settings, options, reviewer))


async def _serve(settings: Settings, options: WebOptions, reviewer: str) -> None:
    clock = SystemClock()
    listener = listen(options.host, options.port)
    token = secrets.token_urlsafe(24)
    try:
        store = await SqliteReviewStore.open(
            settings.db_file(),
            scrubber=secrets_of(settings),
            clock=clock,
            ids=system_ids(clock),
            read_only=False,
        )
    except BaseException:
        listener.close()
        raise
    try:
        configured = _configuration(settings)
        app = review_app(
            store,
            clock=clock,
            reviewer=reviewer,
            last_tiers=last_tiers(configured.chains.values()) if configured else None,
            now_of=partial(threshold_now, configured) if configured else None,
        )
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


def _configuration(settings: Settings) -> Configuration | None:
    """Return chains.yaml, or None where it cannot be read: then prices and thresholds on record must do."""
    try:
        return settings.load(trusted=False)
    except ConfigError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
