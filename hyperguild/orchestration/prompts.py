"""What the tiers of a run are told: the task, and of what was refused before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hyperguild.domain.chain import Tier
from hyperguild.domain.messages import Message
from hyperguild.domain.records import Attempt
from hyperguild.domain.run import RunRequest
from hyperguild.domain.usage import CHARS_PER_TOKEN
from hyperguild.orchestration.context import RunContext
from hyperguild.orchestration.feedback import disarmed, fold, nonce_for


class Prompts:
    """The prompts of one run. `task` is its task as text, `task_tokens` estimates the prompt with no more."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self.task = run.request.task.rendered()
        self.task_tokens = tokens_of(prompt(run.request, self.task))

    def of_tier(self, tier: Tier, attempts: Sequence[Attempt]) -> tuple[Message, ...]:
        """Return the prompt of a tier after these attempts; feedback leaves room in its window."""
        policy, tools = self._run.chain.feedback, self._run.tools
        window = tools.caller.known_window(tier.model)
        if window is not None:
            room = max(window - self.task_tokens, 0) * CHARS_PER_TOKEN // 2
            policy = replace(policy, max_chars=min(policy.max_chars, room))
        # A nonce of its own each time: an earlier model has seen the one in its own prompt.
        nonce = nonce_for(self.task, attempts, tools.ids.nonce)
        told = disarmed(self.task, attempts) if tier.model.label == "local" else attempts
        return prompt(self._run.request, fold(self.task, told, policy, nonce))


def prompt(request: RunRequest, task: str) -> tuple[Message, ...]:
    """Return the prompt of a request whose task is told in these words."""
    return (
        Message("system", request.system_prompt),
        *request.history,
        Message("user", task, request.task.images),
    )


def tokens_of(prompt: Sequence[Message]) -> int:
    """Estimate how many tokens a prompt has."""
    return sum(message.estimated_tokens() for message in prompt)
