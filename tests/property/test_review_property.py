"""Pages of the log hold what a naive reader finds, whatever the filter, in the same order, each once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_logs import (
    BEGIN,
    CHAINS,
    MODELS,
    SKILLS,
    STATUSES,
    VERDICTS,
    WORDS,
    LogClock,
    LogWriter,
    all_of,
    attempt_fits,
    has_words,
    open_review,
    run_fits,
)

from hyperguild.domain.review import ReviewFilter

RUNS = 40


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> LogWriter:
    writer = LogWriter(tmp_path_factory.mktemp("log") / "sessions.db", LogClock())
    asyncio.run(writer.write(RUNS))
    writer.clock.time += timedelta(hours=1)
    return writer


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.one_of(st.just(()), st.lists(st.sampled_from(values), max_size=2).map(tuple))


def cost() -> st.SearchStrategy[float | None]:
    return st.sampled_from((None, None, 0.0, 0.25, 0.6))


@st.composite
def filters(draw: st.DrawFn) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "skills": draw(some(SKILLS)),
        "chains": draw(some(CHAINS)),
        "statuses": draw(some((*STATUSES, "running", "interrupted"))),
        "models": draw(some(tuple(name for name, _ in MODELS))),
        "tiers": draw(some(("local", "subagent"))),
        "verdicts": draw(some(VERDICTS)),
        "labels": draw(some(("good", "bad", "disputed", "none"))),
        "min_cost_usd": draw(cost()),
        "max_cost_usd": draw(cost()),
    }
    kept = draw(st.sets(st.sampled_from(sorted(fields)), max_size=3))
    return {name: fields[name] for name in kept}


@st.composite
def wholes(draw: st.DrawFn, log: LogWriter) -> ReviewFilter:
    fields = draw(filters())
    times = st.one_of(
        st.none(),
        st.sampled_from([run.start.created_at for run in log.ran]),
        st.integers(0, 1200).map(lambda hours: BEGIN + timedelta(hours=hours)),
    )
    sessions = sorted({run.start.session_id for run in log.ran})
    return ReviewFilter(
        **fields,
        since=draw(times),
        until=draw(times),
        session_id=draw(st.one_of(st.none(), st.none(), st.sampled_from(sessions))),
    )


@given(data=st.data(), limit=st.integers(3, 9))
def test_pages_hold_what_fits(log: LogWriter, data: st.DataObject, limit: int) -> None:
    wanted = data.draw(wholes(log))

    async def look() -> tuple[list[str], ...]:
        store = await open_review(log.path, log.clock)
        try:
            sessions = await all_of(store.sessions, wanted, limit=limit)
            runs = await all_of(store.runs, wanted, limit=limit)
            attempts = await all_of(store.attempts, wanted, limit=limit)
            facts = [fact.run_id async for batch in store.run_facts(wanted) for fact in batch]
        finally:
            await store.aclose()
        return (
            [session.session_id for session in sessions],
            [run.run_id for run in runs],
            [attempt.attempt_id for attempt in attempts],
            facts,
        )

    sessions, runs, attempts, facts = asyncio.run(look())
    newest = sorted(log.ran, key=lambda run: (run.start.created_at, run.start.run_id), reverse=True)
    fitting = [run for run in newest if run_fits(wanted, run)]
    assert runs == [run.start.run_id for run in fitting]
    assert facts == runs[::-1]
    assert sessions == list(dict.fromkeys(run.start.session_id for run in fitting))
    assert attempts == [
        one.attempt.attempt_id
        for run in newest
        for one in reversed(run.attempts)
        if attempt_fits(wanted, run, one)
    ]


@given(
    data=st.data(), words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=2), limit=st.integers(1, 9)
)
def test_words_are_found_with_filters(
    log: LogWriter, data: st.DataObject, words: list[str], limit: int
) -> None:
    query = " ".join(words)
    wanted = data.draw(wholes(log)).model_copy(update={"text": query})

    async def look() -> tuple[list[Any], ...]:
        store = await open_review(log.path, log.clock)
        try:
            return (
                [(hit.run_id, hit.attempt_id) for hit in await all_of(store.search, wanted, limit=limit)],
                [run.run_id for run in await all_of(store.runs, wanted, limit=limit)],
                [one.attempt_id for one in await all_of(store.attempts, wanted, limit=limit)],
                [one.session_id for one in await all_of(store.sessions, wanted, limit=limit)],
                [fact.run_id async for batch in store.run_facts(wanted) for fact in batch],
            )
        finally:
            await store.aclose()

    hits, runs, attempts, sessions, facts = asyncio.run(look())
    texts: list[tuple[str, str | None]] = []
    for run in log.ran:
        if run_fits(wanted, run) and has_words(run.start.task, query):
            texts.append((run.start.run_id, None))
        texts += [
            (run.start.run_id, one.attempt.attempt_id)
            for one in run.attempts
            if attempt_fits(wanted, run, one) and has_words(one.attempt.answer, query)
        ]
    assert hits == texts[::-1]
    having = [
        run
        for run in log.ran
        if has_words(run.start.task, query)
        or any(has_words(one.attempt.answer, query) for one in run.attempts)
    ]
    fitting = [run for run in having if run_fits(wanted, run)]
    assert runs == [run.start.run_id for run in fitting][::-1]
    assert facts == runs[::-1]
    assert len(sessions) == len(set(sessions))
    assert set(sessions) == {run.start.session_id for run in fitting}
    assert len(attempts) == len(set(attempts))
    assert set(attempts) == {
        one.attempt.attempt_id
        for run in having
        for one in run.attempts
        if attempt_fits(wanted, run, one)
        and (has_words(run.start.task, query) or has_words(one.attempt.answer, query))
    }
