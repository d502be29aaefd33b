from __future__ import annotations

import asyncio
import html
import re
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from reviewing import FEEDBACK, SCRIPT, chronicle, many_runs, refused, review_store, small_log
from starlette.applications import Starlette
from starlette.routing import Mount

from hyperguild.adapters.clock import SystemClock
from hyperguild.adapters.store.review import SqliteReviewStore
from hyperguild.domain.records import RunResult
from hyperguild.domain.review import Page, RunRow
from hyperguild.service.access import SAFE_HEADERS, TokenGuard
from hyperguild.service.review.app import review_app

ORIGIN = "http://127.0.0.1:8000"
Opened = Callable[[], AbstractAsyncContextManager[tuple[httpx.AsyncClient, SqliteReviewStore]]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, RunResult]]:
    path = tmp_path_factory.mktemp("log") / "sessions.db"
    return path, asyncio.run(small_log(path))


@pytest.fixture
def runs(filled: tuple[Path, dict[str, RunResult]]) -> dict[str, RunResult]:
    return filled[1]


@pytest.fixture
def opened(filled: tuple[Path, dict[str, RunResult]], tmp_path: Path) -> Opened:
    path = Path(shutil.copy(filled[0], tmp_path / "copy.db"))

    @asynccontextmanager
    async def open_pages() -> AsyncGenerator[tuple[httpx.AsyncClient, SqliteReviewStore], None]:
        async with review_store(path) as store:
            app = review_app(store, clock=SystemClock(), reviewer="ann")
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
                yield client, store

    return open_pages


def text_of(page: httpx.Response) -> str:
    """Return a page's text as a reader sees it, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.text)).split())


async def label(client: httpx.AsyncClient, attempt_id: str, value: str, **fields: str) -> httpx.Response:
    data = {"value": value, **fields}
    return await client.post(f"/attempts/{attempt_id}/label", data=data, headers={"origin": ORIGIN})


async def test_a_run_tells_why_it_escalated_what_the_judge_said_and_what_it_cost(
    opened: Opened, runs: dict[str, RunResult]
) -> None:
    async with opened() as (client, _):
        page = text_of(await client.get(f"/runs/{runs['escalated'].run_id}"))
    assert "claude-sonnet-4-6 answered, after 1 refused answer and 1 error." in page
    assert "phi4 local refused by the judge, score 0.35 of 0.70 needed" in page
    assert FEEDBACK in page
    assert "qwen3-8b : score 0.35 where 0.70 is needed; its word: refuse".replace(" :", ":") in page
    assert "error: overloaded" in page
    assert "Cost $0.0123" in page
    assert "loading 3.9 s" in page
    assert "found cold" in page


async def test_a_run_that_nobody_answered_says_so(opened: Opened, runs: dict[str, RunResult]) -> None:
    async with opened() as (client, _):
        page = text_of(await client.get(f"/runs/{runs['exhausted'].run_id}"))
    assert "no tier gave an answer that was accepted." in page
    assert "best answer" in page


async def test_what_models_and_users_write_is_text_in_listings(opened: Opened) -> None:
    async with opened() as (client, _):
        for where in ("/", "/sessions", "/?text=gnp", "/review", "/statistics?by=model&days=all"):
            only_text((await client.get(where)).text)


async def test_what_models_and_users_write_is_text_on_a_run(
    opened: Opened, runs: dict[str, RunResult]
) -> None:
    async with opened() as (client, store):
        hostile = runs["hostile"]
        await store.label(
            hostile.attempts[0].attempt_id, "bad", reviewer="<b>eve</b>", note="<script>x</script>\u202e"
        )
        page = (await client.get(f"/runs/{hostile.run_id}?from=1&to=2")).text
    only_text(page)
    for mark in ("\\u001b", "\\u202e", "\\u0000", "\\u200b", "\\u0007"):
        assert f'<span class="unseen">{mark}</span>' in page
    assert "&lt;script&gt;document.title" in page
    assert "{{ 7 * 7 }}" in page


def only_text(page: str) -> None:
    """Assert that a page has no tag, attribute or character of the hostile texts."""
    assert "<script>" not in page
    assert "<img src=x" not in page
    assert "<b>" not in page.replace("<b>0.", "").replace("<b>step", "")
    assert not re.search(r'(href|src|action)="?javascript:', page)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b]", page)
    assert page.count("</main>") == 1
    assert not re.search(r"\s(style|on\w+)=", re.sub(r"&[^;]+;", "", re.sub(r">[^<]*<", "><", page)))


FILTERED = {
    "skill=summarize": ["old"],
    "status=exhausted": ["exhausted"],
    "model=claude-sonnet-4-6": ["escalated"],
    "verdict=error": ["escalated", "exhausted"],
    "min_cost=0.01": ["escalated"],
    "max_cost=0.01&skill=review": ["exhausted", "hostile"],
    "label=good": [],
    "tier=managed": [],
    "since=2000-01-01&until=2000-01-01": [],
    "skill=summarize,review&status=exhausted,accepted&verdict=escalate": [
        "escalated",
        "exhausted",
        "hostile",
    ],
}


async def test_runs_are_filtered(opened: Opened, runs: dict[str, RunResult]) -> None:
    async with opened() as (client, _):
        for query, found in FILTERED.items():
            page = await client.get(f"/?{query}")
            assert page.status_code == 200, query
            listed = re.findall(r'id="run-([^"]+)"', page.text)
            assert listed == [runs[name].run_id for name in found], query
            assert bool(found) != ("No run fits." in page.text), query


REFUSED = {
    "/?status=odd": "no such statuses",
    "/?min_cost=lots": "no number of dollars",
    "/?max_cost=nan": "no number of dollars",
    "/?since=yesterday": "no date, as 2026-01-31",
    "/?until=9999-12-31": "no date",
    "/statistics?by=colour": "one of skill, chain",
    "/statistics?days=5": "one of 7, 30",
    "/calibration?target=2": "no share between 0.0001 and 1",
    "/calibration?target=1e-300": "no share between 0.0001 and 1",
}


async def test_a_query_that_cannot_be_meant_is_refused_in_words(opened: Opened) -> None:
    async with opened() as (client, _):
        for where, told in REFUSED.items():
            page = await client.get(where)
            assert page.status_code == 400, where
            assert told in text_of(page), where


async def test_what_is_not_there_is_not_found(opened: Opened) -> None:
    async with opened() as (client, _):
        for where in ("/runs/none", "/static/../app.py", "/static/app.py", "/nothing"):
            assert (await client.get(where)).status_code == 404, where


async def test_a_search_marks_what_it_found(opened: Opened, runs: dict[str, RunResult]) -> None:
    async with opened() as (client, _):
        page = (await client.get("/?text=summary")).text
    assert "<mark>summary</mark>" in page
    assert f"/runs/{runs['old'].run_id}#attempt-{runs['old'].attempts[0].attempt_id}" in page


async def test_pages_follow_each_other_and_hold_every_run_once(tmp_path: Path) -> None:
    await many_runs(tmp_path / "many.db", 60)
    seen: list[str] = []
    async with review_store(tmp_path / "many.db") as store:
        app = review_app(store, clock=SystemClock(), reviewer="ann")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
            where = "/?skill=review,summarize,commit-message"
            for _ in range(5):
                page = (await client.get(where)).text
                seen += re.findall(r'id="run-([^"]+)"', page)
                more = re.search(r'rel="next" href="([^"]+)"', page)
                if more is None:
                    break
                where = html.unescape(more[1])
            assert "data-live" not in page  # only the first page shows what is new
    assert len(seen) == len(set(seen)) == 60
    assert seen == sorted(seen, reverse=True)


async def test_two_answers_are_compared(opened: Opened, runs: dict[str, RunResult]) -> None:
    async with opened() as (client, _):
        page = (await client.get(f"/runs/{runs['escalated'].run_id}?from=1&to=3")).text
        same = (await client.get(f"/runs/{runs['escalated'].run_id}?from=1&to=1")).text
        none = (await client.get(f"/runs/{runs['escalated'].run_id}?from=1&to=2")).text
    assert "<ins>Nothing to say.</ins>" in page
    assert "def load(path):" in page
    assert "The answers are the same." in same
    assert 'class="diff"' not in none  # attempt 2 has no answer


async def test_a_label_is_given_changed_and_taken_back_without_scripts(
    opened: Opened, runs: dict[str, RunResult]
) -> None:
    run = runs["escalated"]
    attempt_id = run.attempts[0].attempt_id
    async with opened() as (client, store):
        given = await label(client, attempt_id, "good", note=" names <it> ", run=run.run_id, number="1")
        assert given.status_code == 303
        assert given.headers["location"] == f"/runs/{run.run_id}#attempt-1"
        page = await client.get(given.headers["location"])
        assert "good ann : names <it> just now".replace(" :", ":") in text_of(page)
        assert 'data-key="g" class="good" aria-pressed="true"' in page.text
        await label(client, attempt_id, "bad", run=run.run_id, number="1")
        await label(client, attempt_id, "none", run=run.run_id, number="1")
        history = (await store.labels([attempt_id]))[attempt_id]
    assert [(one.value, one.reviewer, one.note) for one in history] == [
        ("good", "ann", "names <it>"),
        ("bad", "ann", ""),
        (None, "ann", ""),
    ]


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"value": "great"}, 400), ({}, 400), ({"value": "good", "note": "x" * 70_000}, 413)],
)
async def test_a_form_that_no_page_sends_is_refused(
    opened: Opened, runs: dict[str, RunResult], fields: dict[str, str], status: int
) -> None:
    attempt_id = runs["escalated"].attempts[0].attempt_id
    async with opened() as (client, store):
        given = await client.post(f"/attempts/{attempt_id}/label", data=fields, headers={"origin": ORIGIN})
        assert given.status_code == status
        assert not (await store.labels([attempt_id])).get(attempt_id)


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "../x", "a/b"])
async def test_a_form_leads_nowhere_else(opened: Opened, runs: dict[str, RunResult], back: str) -> None:
    async with opened() as (client, _):
        given = await label(client, runs["escalated"].attempts[0].attempt_id, "good", run=back, query=back)
    assert given.headers["location"].startswith("/review?")


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:9999", "127.0.0.1:8000"]
)
async def test_other_pages_cannot_label(
    opened: Opened, runs: dict[str, RunResult], origin: str | None
) -> None:
    attempt_id = runs["escalated"].attempts[0].attempt_id
    headers = {} if origin is None else {"origin": origin}
    async with opened() as (client, store):
        given = await client.post(f"/attempts/{attempt_id}/label", data={"value": "good"}, headers=headers)
        assert given.status_code == 403
        assert not (await store.labels([attempt_id])).get(attempt_id)


async def test_the_queue_goes_on_when_one_is_labelled_or_passed_over(opened: Opened) -> None:
    async with opened() as (client, _):
        first = await client.get("/review")
        waiting = int(re.search(r"(\d+) to label as ann", text_of(first))[1])  # type: ignore[index]
        action = re.search(r'action="/attempts/([^/]+)/label"', first.text)
        assert action is not None
        given = await label(client, action[1], "bad", at="0", query="skill=review")
        assert given.headers["location"] == "/review?skill=review&at=0"
        second = await client.get("/review")
        assert f"{waiting - 1} to label as ann" in text_of(second)
        assert action[1] not in second.text
        passed = await client.get("/review?at=1")
        assert f"{waiting - 2} to label as ann, 1 passed over" in text_of(passed)
        assert "You passed over the rest." in (await client.get("/review?at=999")).text


async def test_calibration_and_statistics_follow_the_labels(
    opened: Opened, runs: dict[str, RunResult]
) -> None:
    async with opened() as (client, _):
        assert "No judged answer is labelled yet." in text_of(await client.get("/calibration"))
        assert "No run fits" in text_of(await client.get("/statistics?label=bad"))
        await label(client, runs["escalated"].attempts[0].attempt_id, "bad")
        await label(client, runs["hostile"].attempts[1].attempt_id, "good")
        calibration = await client.get("/calibration")
        statistics = await client.get("/statistics?label=bad")
    assert "Labelled 2 1 good, 1 bad; 2 without" in text_of(calibration)
    assert "No threshold: one answer labelled bad is too few to be 95 % sure of 5 %" in text_of(calibration)
    assert calibration.text.count('<circle class="point"') == 2
    assert "Runs 1 3 attempts" in text_of(statistics)


async def test_statistics_are_of_the_whole_whatever_they_are_by(opened: Opened) -> None:
    async with opened() as (client, _):
        for by in ("skill", "chain", "model", "tier", "day"):
            page = text_of(await client.get(f"/statistics?by={by}&days=all"))
            assert "Runs 4 8 attempts" in page
            assert f"All figures, by {by}" in page


async def test_links_lead_to_where_the_pages_are_mounted(opened: Opened, runs: dict[str, RunResult]) -> None:
    async with opened() as (_, store):
        pages = review_app(store, clock=SystemClock(), reviewer="ann")
        app = Starlette(routes=[Mount("/log", pages)])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
            page = (await client.get(f"/log/runs/{runs['escalated'].run_id}")).text
            attempt_id = runs["escalated"].attempts[0].attempt_id
            given = await client.post(
                f"/log/attempts/{attempt_id}/label",
                data={"value": "good", "run": runs["escalated"].run_id, "number": "1"},
                headers={"origin": ORIGIN},
            )
            style = await client.get("/log/static/review.css")
    links = re.findall(r'(?:href|src|action|data-events)="(/[^"]*)"', page)
    assert links
    assert all(link.startswith("/log/") for link in links)
    assert given.headers["location"].startswith("/log/runs/")
    assert style.headers["content-type"].startswith("text/css")


async def test_a_run_under_way_shows_what_its_attempts_called(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    calls = [
        {"id": "1", "name": "read_file", "arguments": {"path": "<script>a</script>\u202e"}},
        {"id": "2", "name": "shell", "arguments": None, "raw": "{<script>", "fault": "no JSON"},
    ]
    said = [
        {"role": "assistant", "content": "", "tool_calls": calls, "reasoning": "I look <script> first."},
        {"role": "tool", "content": SCRIPT, "tool_call_id": "1", "name": "read_file", "is_error": False},
    ]
    async with chronicle(path) as log:
        run = await log.run([refused(said=said)], status="running")
        async with review_store(path) as store:
            app = review_app(store, clock=SystemClock(), reviewer="ann")
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
                page = await client.get(f"/runs/{run.run_id}")
                listed = await client.get("/?status=running")
    only_text(page.text)
    assert f'id="run-{run.run_id}"' in listed.text
    told = text_of(page)
    assert "still going on; what is finished by now." in told
    assert "Time under way" in told
    assert "1 step with tool calls" in told
    assert "calls read_file path=<script>a</script>" in told
    assert "calls shell {<script>" in told
    assert "result of read_file" in told
    assert "I look <script> first." in told
    assert SCRIPT in told


async def test_a_log_without_runs_says_how_to_begin(tmp_path: Path) -> None:
    async with review_store(tmp_path / "new.db") as store:
        app = review_app(store, clock=SystemClock(), reviewer="ann")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
            for where in ("/", "/sessions", "/review", "/statistics", "/calibration"):
                page = await client.get(where)
                assert page.status_code == 200, where
                assert 'class="empty"' in page.text, where


class FaultyStore(SqliteReviewStore):
    """A store with a fault that nobody foresaw."""

    async def runs(self, *_: object, **__: object) -> Page[RunRow]:
        raise ZeroDivisionError("of <ours>")


async def test_a_fault_of_ours_is_told_in_one_line(tmp_path: Path) -> None:
    async with review_store(tmp_path / "log.db", FaultyStore) as store:
        app = TokenGuard(
            review_app(store, clock=SystemClock(), reviewer="ann"), token="t", command="the command"
        )
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, follow_redirects=True) as client:
            page = await client.get("/?token=t")
    assert page.status_code == 500
    assert "internal error: ZeroDivisionError: of <ours>" in text_of(page)
    assert SAFE_HEADERS.items() <= dict(page.headers).items()


async def test_a_log_that_cannot_be_read_is_told_in_words(tmp_path: Path) -> None:
    async with review_store(tmp_path / "gone.db") as store:
        app = review_app(store, clock=SystemClock(), reviewer="ann")
        await store.aclose()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
            page = await client.get("/")
    assert page.status_code == 503
    assert 'class="error"' in page.text
