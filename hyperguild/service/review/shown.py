"""Puts values on a page: text as text, figures in words. Model text is never markup."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from hyperguild.domain.message_lines import call_line, message_title
from hyperguild.domain.outcomes import CAUSES, outcome, reason
from hyperguild.domain.phases import NAMES
from hyperguild.domain.telling import ago, dollars, local_time, seconds
from hyperguild.domain.text import clipped, one_line, revealed, revealed_parts
from hyperguild.domain.usage import Usage
from hyperguild.review.intervals import Rate
from hyperguild.service.review.findings import finding_text

MAX_CHARS = 100_000
"""Of one text on a page; browsers lay out more only slowly. The terminal shows it whole."""


@cache
def environment() -> Environment:
    """Return the templates' environment: what is put in is escaped, and what cannot be seen written out.

    There is one: to compile the templates takes longer than all else that a page does.
    """
    made = Environment(
        loader=PackageLoader("hyperguild.service.review"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_seen,
    )
    made.filters.update(
        ago=ago,
        call_line=call_line,
        clipped=clipped,
        dollars=dollars,
        finding=finding_text,
        json=_json,
        local_time=local_time,
        message_title=message_title,
        one_line=one_line,
        outcome=outcome,
        percent=percent,
        rate=rate,
        reason=reason,
        seconds=seconds,
        shown=shown,
        tokens=tokens,
        when=when,
    )
    made.globals.update(CAUSES=CAUSES, PHASES=NAMES)
    return made


def shown(text: str, limit: int = MAX_CHARS) -> Markup:
    """Return text for the body of a page: what a terminal would act on, or hides, stands out as an escape."""
    cut = text[:limit].replace("\r\n", "\n")
    pieces = [
        Markup('<span class="unseen">{}</span>').format(part) if index % 2 else escape(part)
        for index, part in enumerate(revealed_parts(cut))
    ]
    if len(text) > limit:
        more = Markup('<span class="cut">… {} more characters: the terminal shows them all</span>')
        pieces.append(more.format(f"{len(text) - limit:,}"))
    return Markup("").join(pieces)


def percent(share: float | None) -> str:
    """Return a share of 1 as `37 %`, with a decimal where it is small; a dash for None."""
    if share is None:
        return "–"
    return f"{share:.1%}".replace("%", " %") if 0 < share < 0.1 else f"{share:.0%}".replace("%", " %")


def rate(value: Rate) -> str:
    """Return a share with its interval: `83 % (61–94 %) of 18`."""
    if value.share is None:
        return "none to count"
    return f"{value.share:.0%} ({100 * value.low:.0f}–{value.high:.0%}) of {value.of}".replace("%", " %")


def tokens(usage: Usage) -> str:
    """Return the tokens in and out: `1,204 (900 cached) → 88 tokens`."""
    cached = f" ({usage.cached_input_tokens:,} cached)" if usage.cached_input_tokens else ""
    return f"{usage.input_tokens:,}{cached} → {usage.output_tokens:,} tokens"


def when(moment: datetime, now: datetime) -> Markup:
    """Return a moment as how long ago it was, with its date and time for who points at it."""
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(), local_time(moment), ago(moment, now)
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _seen(value: Any) -> Any:
    """Make what is put into a page seen, wherever it is put: attributes have no room for `shown`'s spans."""
    return revealed(value) if isinstance(value, str) and not isinstance(value, Markup) else value
