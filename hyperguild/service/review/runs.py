"""The page of a run, the queue of what to review, and the labels that both take."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hyperguild.domain.review import LabelValue
from hyperguild.review.queue import in_order
from hyperguild.service.review.desk import desk_of
from hyperguild.service.review.difference import difference
from hyperguild.service.review.filters import read_query
from hyperguild.service.review.listings import listing
from hyperguild.service.review.run_view import AttemptView, RunView

MAX_FORM_BYTES = 64 * 1024
MAX_NOTE_CHARS = 4000
CANDIDATES = 100
"""Of each kind, asked of the log for the queue."""

_VALUES: dict[str, LabelValue | None] = {"good": "good", "bad": "bad", "none": None}
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


async def run_page(request: Request) -> Response:
    """Show a run; with `?from=1&to=2`, the difference of those attempts' answers, too."""
    desk = desk_of(request)
    view = await desk.run(request.path_params["run_id"])
    if view is None:
        raise HTTPException(404, "There is no such run.")
    chosen = _chosen(view, request)
    compared = None if chosen is None else difference(chosen[0].attempt.answer, chosen[1].attempt.answer)
    ends = chosen or (view.answered[:1] + view.answered[-1:])
    return desk.page(request, "run.html", run=view, compared=compared, sides=[one.number for one in ends])


async def queue_page(request: Request) -> Response:
    """Show the attempt that teaches most of those the reviewer has not labelled; `?at=3` passes over 3."""
    desk = desk_of(request)
    query = read_query(request.query_params)
    candidates = await desk.store.to_review(query.wanted, reviewer=desk.reviewer, limit=CANDIDATES)
    ordered = in_order(candidates)
    at = min(_whole_number(request.query_params.get("at", "0")), len(ordered))
    view, attempt = None, None
    if at < len(ordered):
        view = await desk.run(ordered[at].run_id)
        if view is not None:
            attempt = next(one for one in view.attempts if one.attempt.attempt_id == ordered[at].attempt_id)
    return await listing(request, "queue.html", query, at=at, waiting=len(ordered), run=view, view=attempt)


async def label_attempt(request: Request) -> Response:
    """Take a label and go back to where it was given: the run's page, or on in the queue."""
    desk = desk_of(request)
    form = await _form(request)
    value = form.get("value", "")
    if value not in _VALUES:
        raise HTTPException(400, "A label is good, bad or none.")
    note = form.get("note", "").strip()[:MAX_NOTE_CHARS]
    attempt_id = await desk.store.resolve_attempt(request.path_params["attempt_id"])
    await desk.store.label(attempt_id, _VALUES[value], reviewer=desk.reviewer, note=note)
    return RedirectResponse(_back(request, form), 303)


def _back(request: Request, form: dict[str, str]) -> str:
    base = request.scope.get("root_path", "")
    run_id, number = form.get("run", ""), _whole_number(form.get("number", "0"))
    if _ID.fullmatch(run_id):
        return f"{base}/runs/{run_id}#attempt-{number}"
    at = _whole_number(form.get("at", "0"))
    given = parse_qs(form.get("query", ""))
    return f"{base}/review?{urlencode({**given, 'at': at}, doseq=True)}"


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form, each once; 413 for one that nobody typed."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(413, "That is too much for a label.")
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise HTTPException(400, "That is no label.") from None
    return {name: values[-1] for name, values in fields.items()}


def _chosen(view: RunView, request: Request) -> tuple[AttemptView, AttemptView] | None:
    """Return the two attempts that are to be compared, or None."""
    numbers = [_whole_number(request.query_params.get(name, "0")) for name in ("from", "to")]
    by_number = {one.number: one for one in view.answered}
    if any(number not in by_number for number in numbers):
        return None
    return by_number[numbers[0]], by_number[numbers[1]]


def _whole_number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 9 else 0
