"""A chain as it is walked: every name resolved, every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.usage import Price, Usage

_N = TypeVar("_N", int, float)

DEFAULT_MAX_OUTPUT_TOKENS = 4096
"""What is asked for, and reserved in tokens and money, where a model has no `max_output_tokens`."""

DEFAULT_EMBEDDED_WINDOW = 4096
"""The `context_window` of an embedded model without one: what files allow is often more than memory holds."""

EndpointKind = Literal["llama-swap", "openai", "anthropic", "command", "embedded"]
TierLabel = Literal["local", "managed", "subagent"]
WhenCold = Literal["wait", "skip", "hedge"]
AnswersPolicy = Literal["none", "last", "all"]
OnExhausted = Literal["error", "best"]
OnJudgeError = Literal["escalate", "accept", "retry"]


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where an API key is read from: exactly one of an environment variable, a file or a command."""

    env: str | None = None
    file: Path | None = None
    command: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the models of an `embedded` endpoint are run.

    At most `max_loaded` models are loaded at once; one that nobody has used for `ttl_s` seconds is unloaded.
    Each answers `slots` requests at once, with `threads` threads (None: as fits the file). `keep`: a process
    of its own keeps them loaded between commands.
    """

    max_loaded: int = 1
    ttl_s: float = 300.0
    slots: int = 1
    threads: int | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server or program that hosts models. `base_url` is None for `command` and `embedded`.

    Of requests beyond `max_concurrency` up to `max_queue` wait in line; more are refused.
    `engine` is that of an `embedded` endpoint, which alone uses it.
    """

    name: str
    kind: EndpointKind
    base_url: str | None = None
    argv: tuple[str, ...] = ()
    key: KeySource | None = None
    max_concurrency: int = 8
    max_queue: int = 1000
    connect_timeout_s: float = 2.0
    probe_timeout_ms: int = 200
    ca_file: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    redact: Literal["auto", "always", "never"] = "auto"
    engine: EngineSettings = field(default_factory=EngineSettings)

    @property
    def loads_models(self) -> bool:
        """Whether its models are loaded when they are asked for, and have a warm state."""
        return self.kind in {"llama-swap", "embedded"}


@dataclass(frozen=True, slots=True)
class ProviderTool:
    """A tool that the provider defines, `definition` as its API takes it (`type`, mostly `name`).

    The provider executes it itself, or, where there is a `runner`, our tool of that name does.
    """

    definition: Mapping[str, Any]
    runner: str | None = None

    @property
    def name(self) -> str:
        """What its calls are named by."""
        return str(self.definition.get("name", ""))


@dataclass(frozen=True, slots=True)
class Model:
    """A model that answers: its name in chains.yaml, and the name its endpoint knows it by (`upstream`).

    `gguf` is the file of an embedded model; `max_concurrency` bounds its own share of the endpoint's.

    `params` holds only what was set, under hyperguild's own names: temperature, top_p, top_k,
    presence_penalty, frequency_penalty, repeat_penalty, seed, stop, reasoning_effort. `extra_body` goes into
    the request as it is. `price` None means: 0 where the tier is local, unknown elsewhere.
    """

    name: str
    endpoint: Endpoint
    upstream: str
    label: TierLabel
    context_window: int | None = None
    max_output_tokens: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    price: Price | None = None
    vision: bool = False
    tools: bool = True
    json_schema: bool = True
    gguf: Path | None = None
    provider_tools: tuple[ProviderTool, ...] = ()
    max_concurrency: int | None = None

    @property
    def most_output_tokens(self) -> int:
        """How long one answer or verdict may be, as far as limits of tokens and money are concerned."""
        return self.max_output_tokens or DEFAULT_MAX_OUTPUT_TOKENS

    def cost_usd(self, usage: Usage) -> float | None:
        """Price the usage in USD; 0 for a local model without a price, None for another: never a guess."""
        if self.price is not None:
            return self.price.cost_usd(usage)
        return 0.0 if self.label == "local" else None

    def worst_cost_usd(self, prompt_tokens: int) -> float | None:
        """Price one call at its longest answer; None as for `cost_usd`."""
        return self.cost_usd(Usage(input_tokens=prompt_tokens, output_tokens=self.most_output_tokens))


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Limits of one model call, in seconds.

    `load_s` holds until a model that is loaded on demand is ready; then `first_token_s` begins.
    """

    total_s: float = 600.0
    load_s: float = 300.0
    first_token_s: float = 60.0
    silence_s: float = 60.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Transport retries inside one attempt: how many, and the longest wait that is still waited."""

    retries: int = 2
    wait_max_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Tier:
    """A model's place in a chain. `model` carries the tier's own params, extra_body and label already.

    With `when_cold: hedge` the next tier is begun once the model was not ready for `hedge_after_s`; with
    `speculate`, while the verifier judges this one's last answer.
    """

    position: int
    model: Model
    verify: bool
    when_cold: WhenCold = "wait"
    hedge_after_s: float = 0.0
    speculate: bool = False
    attempts: int = 1
    limits: TimeLimits = field(default_factory=TimeLimits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    agent: AgentPolicy = field(default_factory=AgentPolicy)

    @property
    def probed(self) -> bool:
        """Whether its warm state can be asked for."""
        return self.model.endpoint.loads_models


@dataclass(frozen=True, slots=True)
class NotEmptyCheck:
    """The answer holds something besides white space."""

    kind: Literal["not_empty"] = "not_empty"


@dataclass(frozen=True, slots=True)
class CompleteCheck:
    """The model finished of itself; it was not cut off."""

    kind: Literal["complete"] = "complete"


@dataclass(frozen=True, slots=True)
class RegexCheck:
    """`pattern` is searched in the answer (MULTILINE), and must be found (`match`) or not (`no_match`)."""

    pattern: str
    expect: Literal["match", "no_match"] = "match"
    kind: Literal["regex"] = "regex"


@dataclass(frozen=True, slots=True)
class LengthCheck:
    """The answer has at least `min_chars` and at most `max_chars` characters."""

    min_chars: int | None = None
    max_chars: int | None = None
    kind: Literal["length"] = "length"


@dataclass(frozen=True, slots=True)
class JsonSchemaCheck:
    """The answer, less one code fence, is JSON that the schema accepts."""

    schema: Mapping[str, Any] | bool
    kind: Literal["json_schema"] = "json_schema"


@dataclass(frozen=True, slots=True)
class PythonSyntaxCheck:
    """The fenced python blocks of the answer compile; where there is none, the whole answer does."""

    kind: Literal["python_syntax"] = "python_syntax"


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """A program gets the answer on stdin; exit 0 passes, else the tail of its output is the feedback.

    Relative programs and the working directory are those of the folder of chains.yaml (`folder`).
    """

    argv: tuple[str, ...]
    folder: Path
    timeout_s: float = 30.0
    kind: Literal["command"] = "command"


Check = (
    NotEmptyCheck
    | CompleteCheck
    | RegexCheck
    | LengthCheck
    | JsonSchemaCheck
    | PythonSyntaxCheck
    | CommandCheck
)


@dataclass(frozen=True, slots=True)
class Judge:
    """The models that judge, in order of preference, and what an answer must reach.

    `models` carry the judge's own params and extra_body already.
    """

    models: tuple[Model, ...]
    accept_at: float = 0.7
    votes: int = 1
    on_error: OnJudgeError = "escalate"
    rubric: str | None = None
    prefer_warm: bool = False
    limits: TimeLimits = field(default_factory=TimeLimits)


@dataclass(frozen=True, slots=True)
class VerifierSpec:
    """Checks first, then the judge; at least one of the two."""

    name: str
    checks: tuple[Check, ...] = ()
    judge: Judge | None = None


@dataclass(frozen=True, slots=True)
class FeedbackPolicy:
    """What the next tier sees of refused attempts; `max_chars` bounds all blocks together."""

    answers: AnswersPolicy = "last"
    max_chars: int = 6000


@dataclass(frozen=True, slots=True)
class Budget:
    """What one run may spend; None is no limit. `tokens` are those in and out, of all its models together."""

    cost_usd: float | None = None
    seconds: float | None = None
    attempts: int | None = None
    tokens: int | None = None

    def tightened(self, *, cost_usd: float | None = None, seconds: float | None = None) -> Budget:
        """Return this budget with each limit no looser than the one given."""
        return self.within(Budget(cost_usd=cost_usd, seconds=seconds))

    def within(self, other: Budget) -> Budget:
        """Return this budget with each limit no looser than that of the other."""
        return Budget(
            cost_usd=_smaller(self.cost_usd, other.cost_usd),
            seconds=_smaller(self.seconds, other.seconds),
            attempts=_smaller(self.attempts, other.attempts),
            tokens=_smaller(self.tokens, other.tokens),
        )


@dataclass(frozen=True, slots=True)
class Chain:
    """Tiers in the order in which they are tried, and the rules of the walk."""

    name: str
    tiers: tuple[Tier, ...]
    verifier: VerifierSpec | None = None
    feedback: FeedbackPolicy = field(default_factory=FeedbackPolicy)
    budget: Budget = field(default_factory=Budget)
    on_exhausted: OnExhausted = "error"


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """What of a run is stored.

    `full`: everything. `metadata`: no prompts and no answers, but verdicts, feedback and messages.
    `none`: nothing that could quote the content.
    """

    content: Literal["full", "metadata", "none"] = "full"
    keep_days: int | None = 365


def _smaller(one: _N | None, other: _N | None) -> _N | None:
    given = [limit for limit in (one, other) if limit is not None]
    return min(given, default=None)
