"""A session log to look back at: runs as a chain of tiers leaves them, and texts that want to be more."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hyperguild.adapters.clock import SystemClock, system_ids
from hyperguild.adapters.store.review import SqliteReviewStore
from hyperguild.adapters.store.sqlite import SqliteSessionStore
from hyperguild.domain.chain import LogPolicy
from hyperguild.domain.ids import Uuid7Source
from hyperguild.domain.records import Attempt, CheckResult, ErrorInfo, JudgeUse, RunResult, RunStart, Step
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.usage import Usage, total_cost_usd

SCRIPT = "<script>document.title = 'owned'</script>"
HOSTILE = (
    f"{SCRIPT}<img src=x onerror=\"document.title='owned'\">\n"
    "[a link](javascript:alert(1)) <a href='javascript:alert(2)'>click</a>\n"
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \u202egnp.exe\u202c nul\x00byte \u200bzero"
    " {{ 7 * 7 }} </pre></main>\n"
)
LONG_WORD = "x" * 400
DIFFERENT = ("def load(path):\n    f = open(path)\n    return f.read()\n", "Nothing to say.\n")
FEEDBACK = "The answer names no line of the file, and misses the file handle that load() never closes."


def backdated(moment: datetime) -> Uuid7Source:
    """Ids as they would have been drawn then: listings go by them."""
    return Uuid7Source(now_ms=lambda: int(moment.timestamp() * 1000), random_bytes=os.urandom)


class Chronicle:
    """Writes runs into a log, through the store that runs use."""

    def __init__(self, store: SqliteSessionStore) -> None:
        self._store = store

    async def run(
        self,
        attempts: Sequence[dict[str, Any]],
        *,
        task: str = "Review src/app.py.",
        skill: str = "review",
        chain: str = "code",
        at: datetime | None = None,
        status: str | None = None,
    ) -> RunResult:
        """Record a run of these attempts; a status of `running` leaves it under way.

        `said` of an attempt are messages before its answer.
        """
        began = (at or datetime.now(UTC)).replace(microsecond=0)
        ids = backdated(began)
        run_id, session_id = ids.new_id(), ids.new_id()
        lease = datetime.now(UTC) + timedelta(seconds=600)
        await self._store.start_run(
            RunStart(
                run_id=run_id,
                session_id=session_id,
                skill=skill,
                chain=chain,
                task=task,
                created_at=began,
                lease_expires_at=lease,
            )
        )
        recorded: list[Attempt] = []
        begin = began
        for position, given in enumerate(attempts):
            fields = dict(given)
            said = fields.pop("said", ())
            attempt = made_attempt(ids, position, begin, fields)
            begin += timedelta(milliseconds=attempt.duration_ms)
            recorded.append(attempt)
            steps = [] if attempt.verdict == "skip" else [_step(ids, attempt, (skill, task), said)]
            await self._store.record_attempt(run_id, attempt, steps)
        result = _result(run_id, session_id, (skill, chain), recorded, status)
        if status != "running":
            await self._store.finish_run(result, begin)
        return result


def made_attempt(ids: Uuid7Source, position: int, began: datetime, fields: dict[str, Any]) -> Attempt:
    known = {
        "attempt_id": ids.new_id(),
        "position": position,
        "model": "phi4",
        "tier": "local",
        "endpoint": "swap",
        "verdict": "accept",
        "answer": "fine",
        "finish_reason": "stop",
        "duration_ms": 900,
        "first_token_ms": 100,
        "verify_ms": 200,
        "usage": Usage(input_tokens=812, output_tokens=96),
        "started_at": began,
    }
    return Attempt.model_validate({**known, **fields})


def refused(model: str = "phi4", score: float = 0.35, **fields: Any) -> dict[str, Any]:
    """An attempt that the judge refused."""
    judge = JudgeUse(
        model="qwen3-8b", usage=Usage(input_tokens=900, output_tokens=60), accepts=False, accept_at=0.7
    )
    return {
        "model": model,
        "verdict": "escalate",
        "cause": "rejected",
        "score": score,
        "feedback": FEEDBACK,
        "answer": DIFFERENT[0],
        "verifier": judge,
        "checks": (CheckResult(kind="not_empty", passed=True), CheckResult(kind="complete", passed=True)),
        **fields,
    }


def accepted(model: str = "phi4", score: float | None = 0.9, **fields: Any) -> dict[str, Any]:
    """An attempt that was accepted; without a score nobody judged it."""
    judge = JudgeUse(
        model="qwen3-8b", usage=Usage(input_tokens=900, output_tokens=40), accepts=True, accept_at=0.7
    )
    return {"model": model, "score": score, "verifier": JudgeUse() if score is None else judge, **fields}


def failed(model: str = "phi4", **fields: Any) -> dict[str, Any]:
    """An attempt that had no answer."""
    error = ErrorInfo(kind="overloaded", message="the server is busy (503)", status=503, retryable=True)
    gone = {
        "verdict": "error",
        "cause": "overloaded",
        "answer": "",
        "verify_ms": None,
        "first_token_ms": None,
    }
    return {"model": model, "error": error, "usage": Usage(), "retries": 2, **gone, **fields}


def _step(ids: Uuid7Source, attempt: Attempt, asked: tuple[str, str], said: Sequence[dict[str, Any]]) -> Step:
    prompt = (("system", f"You are the skill {asked[0]}."), ("user", asked[1]))
    answer = {"role": "assistant", "content": attempt.answer}
    return Step(
        step_id=ids.new_id(),
        attempt_id=attempt.attempt_id,
        position=0,
        model=attempt.model,
        messages=(*({"role": role, "content": text} for role, text in prompt), *said, answer),
        usage=attempt.usage,
        duration_ms=attempt.duration_ms,
        created_at=attempt.started_at or datetime.now(UTC),
    )


def _result(
    run_id: str, session_id: str, names: tuple[str, str], attempts: list[Attempt], status: str | None
) -> RunResult:
    last = next((one for one in attempts if one.verdict == "accept"), None)
    best = last or next((one for one in reversed(attempts) if one.answer), None)
    usage = Usage()
    for one in attempts:
        usage = usage + one.whole_usage
    return RunResult.model_validate(
        {
            "run_id": run_id,
            "session_id": session_id,
            "skill": names[0],
            "chain": names[1],
            "status": status or ("accepted" if last else "exhausted"),
            "output": last.answer if last else None,
            "model": last.model if last else None,
            "tier": last.tier if last else None,
            "duration_ms": sum(one.duration_ms for one in attempts),
            "best_attempt_id": best.attempt_id if best else None,
            "usage": usage,
            "cost_usd": total_cost_usd(cost for one in attempts for cost in one.costs_usd),
            "attempts": tuple(attempts),
        }
    )


@asynccontextmanager
async def chronicle(path: Path) -> AsyncGenerator[Chronicle, None]:
    """Open a log to write runs into, as a process that runs skills does."""
    store = await SqliteSessionStore.open(path, scrubber=Scrubber(), log=LogPolicy(), clock=SystemClock())
    try:
        yield Chronicle(store)
    finally:
        await store.aclose()


@asynccontextmanager
async def review_store(
    path: Path, kind: type[SqliteReviewStore] = SqliteReviewStore
) -> AsyncGenerator[SqliteReviewStore, None]:
    """Open a log to look back at, and to label."""
    clock = SystemClock()
    store = await kind.open(path, scrubber=Scrubber(), clock=clock, ids=system_ids(clock), read_only=False)
    try:
        yield store
    finally:
        await store.aclose()


async def small_log(path: Path) -> dict[str, RunResult]:
    """Fill a log with a few runs of every kind; return them by what they are."""
    day = timedelta(days=1)
    now = datetime.now(UTC)
    async with chronicle(path) as log:
        cloud = {"tier": "subagent", "endpoint": "anthropic", "cost_usd": 0.0123, "verify_ms": None}
        return {
            "old": await log.run([accepted(answer="A summary.")], skill="summarize", at=now - 3 * day),
            "hostile": await log.run(
                [refused(answer=HOSTILE, feedback=HOSTILE, model="<b>phi4</b>"), accepted(answer=LONG_WORD)],
                task=f"{HOSTILE} {LONG_WORD}",
                at=now - 2 * day,
            ),
            "exhausted": await log.run([failed(), refused("qwen-coder-32b")], at=now - day),
            "escalated": await log.run(
                [
                    refused(load_ms=3900, duration_ms=5230, warm_state="cold"),
                    failed("qwen-coder-32b", duration_ms=400),
                    accepted("claude-sonnet-4-6", None, answer=DIFFERENT[0] + DIFFERENT[1], **cloud),
                ],
                at=now - timedelta(hours=1),
            ),
        }


async def many_runs(path: Path, count: int, seed: int = 7) -> None:
    """Fill a log with runs over two weeks, as three skills on two chains might leave it."""
    draw = random.Random(seed)  # noqa: S311  # figures to look at
    now = datetime.now(UTC)
    tasks = {
        "review": "Review the change to `src/billing/invoice.py`: VAT is rounded per line, not per invoice.",
        "commit-message": "Write a commit message for: retry cut-off uploads, three times at most.",
        "summarize": "Summarize the minutes of the platform meeting: decisions, owners, dates.",
    }
    async with chronicle(path) as log:
        for index in range(count):
            skill = draw.choice([*tasks, "review"])
            chain = "code" if skill == "review" else "default"
            at = now - timedelta(minutes=(count - index) * 14 * 24 * 60 / count)
            await log.run(_way(draw, chain), task=tasks[skill], skill=skill, chain=chain, at=at)


def _way(draw: random.Random, chain: str) -> list[dict[str, Any]]:
    tiers = ["phi4", "qwen-coder-32b"] if chain == "code" else ["phi4"]
    way: list[dict[str, Any]] = []
    for model in tiers:
        cold = draw.random() < 0.25
        times: dict[str, Any] = {
            "load_ms": draw.randint(2500, 9000) if cold else None,
            "warm_state": "cold" if cold else "ready",
            "warm_start": not cold,
            "first_token_ms": draw.randint(90, 700),
            "verify_ms": draw.randint(250, 900),
        }
        phases = (times["load_ms"] or 0) + times["first_token_ms"] + times["verify_ms"]
        spent = draw.randint(900, 9000) + phases
        score = min(max(draw.gauss(0.72, 0.2), 0.02), 0.99)
        if draw.random() < 0.05:
            way.append(failed(model, duration_ms=draw.randint(200, 2000)))
        elif score >= 0.7:
            return [
                *way,
                accepted(model, round(score, 2), duration_ms=spent, answer=_findings(draw), **times),
            ]
        else:
            way.append(refused(model, round(score, 2), duration_ms=spent, answer=_findings(draw), **times))
    usage = Usage(input_tokens=draw.randint(900, 4000), output_tokens=draw.randint(150, 900))
    cost_usd = round(usage.input_tokens * 3e-6 + usage.output_tokens * 15e-6, 6)
    cloud = {
        "tier": "subagent",
        "endpoint": "anthropic",
        "cost_usd": cost_usd,
        "usage": usage,
        "verify_ms": None,
    }
    return [*way, accepted("claude-sonnet-4-6", None, answer=_findings(draw), duration_ms=6100, **cloud)]


def _findings(draw: random.Random) -> str:
    known = [
        "- `invoice.py:41`: the total is rounded twice; round it once, at the end.",
        "- `invoice.py:58`: `load()` never closes the file; use a `with` block.",
        "- `tests/test_invoice.py`: no test has more than one line with VAT.",
        "- The name `calc2` says nothing; `line_total` would.",
    ]
    return "## Findings\n\n" + "\n".join(draw.sample(known, draw.randint(1, 4))) + "\n"


def main() -> None:
    """Write one run, as another process would: `python reviewing.py LOG TASK`."""

    async def write() -> None:
        async with chronicle(Path(sys.argv[1])) as log:
            await log.run([refused(), accepted("qwen-coder-32b")], task=sys.argv[2])

    asyncio.run(write())


if __name__ == "__main__":
    main()
