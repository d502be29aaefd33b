"""Asks models to judge: fall-back between models, repair of replies, votes, what it all used."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from hyperguild.domain.chain import Judge, Model, RetryPolicy
from hyperguild.domain.fencing import unused_nonce, without_control_tokens
from hyperguild.domain.messages import Completion, Message, ModelRequest, UsageReport
from hyperguild.domain.records import JudgeUse
from hyperguild.domain.text import clipped
from hyperguild.domain.usage import Usage, total_cost_usd
from hyperguild.errors import BudgetRefusedError, ModelError, NonceError, VerifierError
from hyperguild.inference.call import ModelCaller
from hyperguild.inference.events import CallEvent, Loading
from hyperguild.ports import IdSource
from hyperguild.resilience.budget import calls_paid_for
from hyperguild.verification.judge_prompt import (
    FEEDBACK_CHARS_MAX,
    VERDICT_SCHEMA,
    judge_messages,
    repair_messages,
)
from hyperguild.verification.judge_reply import JudgeReply, NoVerdictError, parse_reply
from hyperguild.verification.subject import Subject
from hyperguild.verification.watch import VerifierWatch

LeftUsd = Callable[[], float | None]
"""Tells what verdicts may still cost at this moment; None: any sum."""


def no_limit() -> None:
    """Tell that verdicts may cost any sum."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the votes come to. `score` is their mean.

    `feedback` is that of the votes that decided; never empty where they refuse.
    """

    accepted: bool
    score: float
    feedback: str


class JudgePanel:
    """The models of one judge over one answer. `use` counts all calls, those without a verdict included.

    `erred` names the models whose calls failed in this run: they are not asked again, and new ones are added.
    A call for each vote is paid for in advance; more are made as far as `left_usd` goes.
    """

    def __init__(
        self,
        judge: Judge,
        subject: Subject,
        *,
        caller: ModelCaller,
        ids: IdSource,
        watch: VerifierWatch,
        erred: dict[str, str],
        left_usd: LeftUsd = no_limit,
    ) -> None:
        self._left_usd = left_usd
        self._beyond_plan = False
        self._erred = erred
        self._judge = judge
        self._subject = subject
        self._caller = caller
        self._ids = ids
        self._watch = watch
        self._asked: dict[str, bool] = {}  # model name -> whether it has replied, in order
        self._usage = Usage()
        self._cost_usd: float | None = 0.0

    @property
    def use(self) -> JudgeUse:
        """Who has judged so far (where nobody replied: who was asked), and what that used."""
        names = [name for name, replied in self._asked.items() if replied] or list(self._asked)
        return JudgeUse(model=", ".join(names) or None, usage=self._usage, cost_usd=self._cost_usd)

    async def decide(self) -> Judgement:
        """Let the models vote until more than half of `judge.votes` accept, or can no longer.

        Vote number i goes to model i modulo their number, with a seed of its own where there are several
        votes; where that model errs, to the next one. A model that erred is not asked again in this call.
        Raises `VerifierError` when a vote finds no model, or `BudgetRefusedError` where a limit kept one of
        them from it. Cancelling drops the call that runs.
        """
        models = await self._in_order()
        failed: dict[str, str] = {}
        needed = self._judge.votes // 2 + 1
        accepting: list[JudgeReply] = []
        refusing: list[JudgeReply] = []
        for number in range(self._judge.votes):
            first = number % len(models)
            reply = await self._vote(number, [*models[first:], *models[:first]], failed)
            (accepting if self._accepts(reply) else refusing).append(reply)
            if len(accepting) >= needed or len(refusing) > self._judge.votes - needed:
                break
        score = fmean(reply.score for reply in (*accepting, *refusing))
        if len(accepting) >= needed:
            return Judgement(accepted=True, score=score, feedback=_joined(accepting))
        return Judgement(accepted=False, score=score, feedback=_joined(refusing) or self._no_reason(refusing))

    def _accepts(self, reply: JudgeReply) -> bool:
        return reply.accept and reply.score >= self._judge.accept_at

    def _no_reason(self, refusing: Sequence[JudgeReply]) -> str:
        score = fmean(reply.score for reply in refusing)
        if score < self._judge.accept_at:
            return f"the judge gave no reason (score {score:.4g} < {self._judge.accept_at:g})"
        return f"the judge gave no reason (it did not accept, at score {score:.4g})"

    async def _in_order(self) -> Sequence[Model]:
        """Return the models as they are to be asked: loaded ones first, if that is preferred."""
        models = self._judge.models
        if not self._judge.prefer_warm or len(models) == 1:
            return models
        async with asyncio.TaskGroup() as group:
            probes = [group.create_task(self._caller.warm_state(model)) for model in models]
        ready = [probe.result() == "ready" for probe in probes]
        order = sorted(range(len(models)), key=lambda index: not ready[index])
        return [models[index] for index in order]

    async def _vote(self, number: int, models: Sequence[Model], failed: dict[str, str]) -> JudgeReply:
        refusal: BudgetRefusedError | None = None
        for model in models:
            if model.name in self._erred:
                failed.setdefault(model.name, f"failed before in this run ({self._erred[model.name]})")
            if model.name in failed:
                continue
            try:
                return await self._ask(self._voter(model, number))
            except ModelError as error:
                failed[model.name] = f"{error.kind}: {error.message}"
                self._erred[model.name] = error.kind
            except BudgetRefusedError as error:
                refusal, failed[model.name] = error, error.message
            except NoVerdictError as error:
                failed[model.name] = f"its reply is no verdict: {error}"
            self._beyond_plan = True
            if len(failed) < len(models):
                self._watch.on_warning(
                    f"judge {model.name} gave no verdict ({failed[model.name]}); asking on"
                )
        if refusal is not None:
            raise refusal
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise VerifierError(f"no judge gave a verdict: {reasons}")

    def _voter(self, model: Model, number: int) -> Model:
        """Return the model with temperature 0, whatever was configured, and a seed of its own if voting."""
        forced = {"temperature": 0}
        if self._judge.votes > 1:
            forced["seed"] = int(model.params.get("seed", 0)) + number
        body = {key: value for key, value in model.extra_body.items() if key not in forced}
        return dataclasses.replace(model, params={**model.params, **forced}, extra_body=body)

    async def _ask(self, model: Model) -> JudgeReply:
        """Ask one model, and once more if its reply is no verdict.

        Raises `ModelError`, or `NoVerdictError` for the second reply.
        """
        messages = _for_model(model, judge_messages(self._subject, self._judge.rubric, self._nonce()))
        completion = await self._complete(model, messages)
        try:
            return _verdict(completion)
        except NoVerdictError as error:
            self._beyond_plan = True
            again = repair_messages(
                self._subject,
                self._judge.rubric,
                self._nonce(completion.text),
                reply=completion.text,
                fault=error.fault,
            )
        return _verdict(await self._complete(model, _for_model(model, again)))

    def _retries(self, model: Model, messages: tuple[Message, ...]) -> RetryPolicy:
        """Return how often a call may be tried again. Raises `BudgetRefusedError` where there may be none."""
        policy = RetryPolicy()
        prompt_tokens = sum(message.estimated_tokens() for message in messages)
        worst_usd = model.worst_cost_usd(prompt_tokens)
        calls = calls_paid_for(self._left_usd(), worst_usd, policy.retries + 1)
        if calls == 0 and self._beyond_plan:
            raise BudgetRefusedError(
                f"what is left of the run's budget does not pay for {model.name} as judge"
            )
        return dataclasses.replace(policy, retries=max(calls - 1, 0))

    async def _complete(self, model: Model, messages: tuple[Message, ...]) -> Completion:
        retry = self._retries(model, messages)
        spent = Usage()

        def observe(event: CallEvent) -> None:
            nonlocal spent
            if isinstance(event, Loading):
                self._watch.on_judge_loading(model.name, event)
            elif isinstance(event, UsageReport):
                spent = event.usage

        self._asked.setdefault(model.name, False)
        try:
            completion = await self._caller.complete(
                ModelRequest(model, messages, response_schema=VERDICT_SCHEMA),
                self._judge.limits,
                retry=retry,
                warm_state=await self._caller.warm_state(model),
                observe=observe,
            )
            self._asked[model.name] = True
        finally:  # a call that failed or was cancelled is paid for, too
            self._count(model, spent)
        return completion

    def _count(self, model: Model, usage: Usage) -> None:
        self._usage += usage
        self._cost_usd = total_cost_usd((self._cost_usd, model.cost_usd(usage)))
        self._watch.on_judge_use(self.use)

    def _nonce(self, reply: str = "") -> str:
        """Draw a nonce that stands nowhere in the data. Raises `VerifierError` if none can be had."""
        subject = self._subject
        data = (subject.skill_prompt, subject.task, subject.answer, subject.changes, reply)
        try:
            return unused_nonce(self._ids.nonce, data)
        except NonceError as error:
            raise VerifierError(error.message) from error


def _for_model(model: Model, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the messages as that model may be sent them: what is judged must not end a turn."""
    if model.label != "local":
        return messages
    return tuple(dataclasses.replace(one, text=without_control_tokens(one.text)) for one in messages)


def _verdict(completion: Completion) -> JudgeReply:
    if completion.finish_reason == "length":
        raise NoVerdictError("it was cut off before its end")
    return parse_reply(completion.text)


def _joined(replies: Sequence[JudgeReply]) -> str:
    distinct = dict.fromkeys(reply.feedback for reply in replies if reply.feedback)
    return clipped("\n".join(distinct), FEEDBACK_CHARS_MAX)
