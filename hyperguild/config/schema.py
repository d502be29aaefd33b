"""The raw form of chains.yaml. Each description becomes the help that editors show."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from hyperguild.config.schema_agent import Agent
from hyperguild.config.schema_hooks import Hooks
from hyperguild.config.schema_limits import Budget, Limits
from hyperguild.config.schema_mcp import McpServer, ServerName
from hyperguild.config.schema_parts import (
    SOME,
    Argv,
    BaseUrl,
    Count,
    Dollars,
    EndpointName,
    Entry,
    Flag,
    HeaderName,
    HeaderValue,
    Name,
    Names,
    Number,
    Pattern,
    SchemaSource,
    Seconds,
    Share,
    ShortFor,
    Stops,
    Text,
    VariableName,
    Version,
    WholeNumber,
    refused,
)
from hyperguild.config.schema_provider_tools import ProviderTools
from hyperguild.config.schema_redaction import Redaction
from hyperguild.config.schema_speculation import LikelyCall


class _AnyEndpoint(Entry):
    api_key_env: VariableName | None = Field(None, description="The environment variable that holds the key.")
    api_key_file: Text | None = Field(
        None, description="The file that holds the key; beside chains.yaml, or ~/…"
    )
    api_key_cmd: Argv | None = Field(None, description="The command (a list) that prints the key.")
    max_concurrency: Count = Field(8, description="Requests sent to this endpoint at once.")
    max_queue: Count = Field(1000, description="Requests that may wait for that; more are refused at once.")
    connect_timeout_s: Seconds = Field(2.0, description="Seconds to wait for a connection.")
    probe_timeout_ms: Count = Field(200, description="Milliseconds that asking what is loaded may cost.")
    ca_file: Text | None = Field(None, description="A PEM file of certificate authorities to trust instead.")
    headers: dict[HeaderName, HeaderValue] | None = Field(
        None, description="HTTP headers sent with every request; secrets only as ${VAR}."
    )
    redact: Literal["auto", "always", "never"] = Field(
        "auto", description="Whether secrets are taken out of prompts; auto: where a tier is not local."
    )

    @model_validator(mode="after")
    def _one_key_source(self) -> Self:
        given = [
            name for name in ("api_key_env", "api_key_file", "api_key_cmd") if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise refused(f"has {' and '.join(given)}; keep one of them")
        return self


class _HttpEndpoint(_AnyEndpoint):
    base_url: BaseUrl = Field(description="Where it is: http(s)://HOST[:PORT][/PATH]. May hold ${VAR}.")


class LlamaSwapEndpoint(_HttpEndpoint):
    """A llama-swap server: its models are loaded when asked for, and can be asked whether they are."""

    kind: Literal["llama-swap"] = Field(description="The protocol that it speaks.")


class OpenAIEndpoint(_HttpEndpoint):
    """A server of the OpenAI protocol: OpenAI, llama.cpp, Ollama, vLLM, …"""

    kind: Literal["openai"] = Field(description="The protocol that it speaks.")


class AnthropicEndpoint(_HttpEndpoint):
    """A server of the Anthropic Messages protocol."""

    kind: Literal["anthropic"] = Field(description="The protocol that it speaks.")


class CommandEndpoint(_AnyEndpoint):
    """A program that gets the prompt on standard input and prints the answer."""

    kind: Literal["command"] = Field(description="The protocol that it speaks.")
    argv: Argv = Field(description="The program and its arguments, as a list; {model} stands for the model.")


class EmbeddedEndpoint(_AnyEndpoint):
    """Models in GGUF files, run by hyperguild itself: each is loaded when asked for, and can be evicted.

    Needs the extra hyperguild[embedded].
    """

    kind: Literal["embedded"] = Field(description="The protocol that it speaks.")
    max_loaded: Count = Field(
        1, description="Models loaded at once; the least recently used one makes room for another."
    )
    ttl_s: Seconds = Field(300.0, description="Seconds without use after which a model is unloaded.")
    slots: Annotated[WholeNumber, Field(ge=1, le=256)] = Field(  # llama.cpp's own bound
        1, description="Requests that a model answers at once, each with its whole context_window."
    )
    threads: Annotated[WholeNumber, Field(ge=1, le=512)] | None = Field(  # llama.cpp's own bound
        None, description="Threads of each model; as many as fit the file, if not given."
    )
    keep: Flag = Field(
        False, description="Whether a process of its own keeps models loaded between commands, for ttl_s."
    )


Endpoint = Annotated[
    LlamaSwapEndpoint | OpenAIEndpoint | AnthropicEndpoint | CommandEndpoint | EmbeddedEndpoint,
    Field(discriminator="kind"),
]


class Params(Entry):
    """Sampling parameters; what is not set is left to the server."""

    temperature: Annotated[Number, Field(ge=0, le=2)] | None = Field(None, description="0 to 2.")
    top_p: Share | None = Field(None, description="0 to 1.")
    top_k: Annotated[WholeNumber, Field(ge=0)] | None = Field(None, description="0 or more; 0 is off.")
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = Field(None, description="-2 to 2.")
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = Field(None, description="-2 to 2.")
    repeat_penalty: Annotated[Number, Field(gt=0)] | None = Field(None, description="llama.cpp's; 1 is off.")
    seed: WholeNumber | None = Field(None, description="For answers that can be had again.")
    stop: Stops | None = Field(None, description="A text, or a list of texts, at which the answer ends.")
    reasoning_effort: Text | None = Field(None, description="As the server names it: low, medium, high, …")


class Price(Entry):
    """USD per million tokens."""

    input: Dollars = Field(description="Input tokens.")
    output: Dollars = Field(description="Output tokens.")
    cached_input: Dollars | None = Field(None, description="Input tokens read from the cache; else as input.")
    cache_write: Dollars | None = Field(None, description="Input tokens written to the cache; else as input.")


class _Tunable(Entry):
    params: Params | None = Field(None, description="Sampling parameters.")
    extra_body: dict[str, Any] | None = Field(None, description="Goes into the request as it is.")


TierLabel = Literal["local", "managed", "subagent"]


class Model(_Tunable):
    """A model that an endpoint hosts."""

    endpoint: Name = Field(description="The endpoint that hosts it.")
    upstream: Text | None = Field(
        None, description="What the endpoint calls it; its name here, if not given."
    )
    tier: TierLabel | None = Field(
        None, description="What it counts as in every chain; if not given, that follows from its endpoint."
    )
    context_window: Count | None = Field(
        None, description="Tokens of prompt and answer together; 4096, if not given for an embedded model."
    )
    max_output_tokens: Count | None = Field(None, description="Tokens of the answer.")
    max_concurrency: Count | None = Field(
        None, description="Requests sent to this model at once; no limit but its endpoint's, if not given."
    )
    price: Price | None = Field(
        None, description="USD per million tokens; a local model without one costs 0."
    )
    vision: Flag = Field(False, description="Whether it can be shown images.")
    tools: Flag = Field(True, description="Whether it can call tools.")
    json_schema: Flag = Field(True, description="Whether its answer can be bound to a JSON Schema.")
    gguf: Text | None = Field(
        None,
        description="The model file, of models on an embedded endpoint alone; beside chains.yaml, or ~/…",
    )
    provider_tools: ProviderTools = Field(
        (), description="Tools of the provider's own, such as its web search, that the model may use."
    )


class NotEmptyCheck(Entry):
    """The answer holds something."""

    kind: Literal["not_empty"] = Field(description="What is checked.")


class CompleteCheck(Entry):
    """The answer was finished, not cut off."""

    kind: Literal["complete"] = Field(description="What is checked.")


class RegexCheck(Entry):
    """A pattern is found in the answer, or is not."""

    kind: Literal["regex"] = Field(description="What is checked.")
    pattern: Pattern = Field(description="Searched for; ^ and $ are those of a line.")
    expect: Literal["match", "no_match"] = Field(
        "match", description="Whether it must be found, or must not."
    )


class LengthCheck(Entry):
    """The answer is neither too short nor too long."""

    kind: Literal["length"] = Field(description="What is checked.")
    min_chars: Annotated[WholeNumber, Field(ge=0)] | None = Field(None, description="At least this many.")
    max_chars: Count | None = Field(None, description="At most this many.")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min_chars is None and self.max_chars is None:
            raise refused("needs min_chars or max_chars")
        if self.min_chars is not None and self.max_chars is not None and self.min_chars > self.max_chars:
            raise refused("has a min_chars above its max_chars: no answer could pass")
        return self


class JsonSchemaCheck(Entry):
    """The answer is JSON that a JSON Schema accepts."""

    kind: Literal["json_schema"] = Field(description="What is checked.")
    schema_: SchemaSource = Field(
        alias="schema", description="A file beside chains.yaml, or the schema itself."
    )


class PythonSyntaxCheck(Entry):
    """The python code in the answer compiles."""

    kind: Literal["python_syntax"] = Field(description="What is checked.")


class CommandCheck(Entry):
    """A program passes the answer."""

    kind: Literal["command"] = Field(description="What is checked.")
    argv: Argv = Field(
        description="The program, from the folder of chains.yaml, and its arguments, as a list."
    )
    timeout_s: Seconds = Field(30.0, description="Seconds that it may take.")


Check = Annotated[
    NotEmptyCheck
    | CompleteCheck
    | RegexCheck
    | LengthCheck
    | JsonSchemaCheck
    | PythonSyntaxCheck
    | CommandCheck,
    Field(discriminator="kind"),
]


class _Timed(Entry):
    timeout_s: Seconds = Field(600.0, description="Seconds for a whole answer.")
    load_timeout_s: Seconds = Field(
        300.0, description="Seconds until a model that is loaded on demand is ready."
    )
    first_token_timeout_s: Seconds = Field(60.0, description="Seconds from there to the first token.")
    silence_timeout_s: Seconds = Field(60.0, description="Seconds without a token, after the first.")


class Judge(_Tunable, _Timed):
    """A model that accepts or refuses answers."""

    model: Names = Field(description="The model, or several: the next one judges if one errs.")
    accept_at: Share = Field(0.7, description="The score, 0 to 1, that an answer must reach.")
    votes: Annotated[WholeNumber, Field(ge=1, le=9)] = Field(1, description="How often it is asked, 1 to 9.")
    on_error: Literal["escalate", "accept", "retry"] = Field(
        "escalate", description="What becomes of an answer when no judge could be had."
    )
    rubric: Text | None = Field(None, description="What a good answer is, in words.")
    prefer: Literal["warm"] | None = Field(None, description="warm: ask one that is loaded already first.")


class Verifier(Entry):
    """Checks, then a judge; at least one of the two."""

    checks: tuple[Check, ...] = Field((), description="Deterministic and free; all of them run first.")
    judge: (
        Annotated[
            Judge,
            ShortFor("model", (str, list)),
        ]
        | None
    ) = Field(None, description="The model that judges: a name, a list of names, or a mapping.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.checks and self.judge is None:
            raise refused("has neither checks nor a judge: it would accept anything")
        return self


class Tier(_Tunable, _Timed):
    """A model's place in a chain."""

    model: Name = Field(description="A model under models, or one whose endpoint follows from its name.")
    tier: TierLabel | None = Field(
        None, description="What it counts as here; local answers are judged, others are redacted."
    )
    verify: Flag | None = Field(
        None, description="Whether answers are verified; if not given, those of local tiers."
    )
    when_cold: Literal["wait", "skip", "hedge"] = Field(
        "wait", description="A model that is not loaded: wait for it, skip it, or run the next one meanwhile."
    )
    hedge_after_s: Annotated[Number, Field(ge=0)] = Field(
        0.0, description="With when_cold: hedge: seconds before the next one is begun."
    )
    speculate: Flag = Field(False, description="Begin the next one while the verifier judges this one.")
    attempts: Count = Field(1, description="How often this tier may try.")
    retries: Annotated[WholeNumber, Field(ge=0, le=10)] = Field(
        2, description="Retries of a failed request, 0 to 10."
    )
    retry_wait_max_s: Annotated[Number, Field(ge=0)] = Field(
        5.0, description="The longest wait before a retry."
    )
    agent: Agent = Field(Agent(), description="How its attempts may work; what it sets wins over the chain.")


class Feedback(Entry):
    """What the next tier sees of refused answers."""

    answers: Literal["none", "last", "all"] = Field("last", description="Which refused answers it sees.")
    max_chars: Annotated[WholeNumber, Field(ge=200)] = Field(6000, description="Bounds everything together.")


class Chain(Entry):
    """Tiers in the order in which they are tried."""

    tiers: Annotated[
        tuple[Annotated[Tier, ShortFor("model", (str,))], ...],
        SOME,
        Field(json_schema_extra={"minItems": 1}),
    ] = Field(description="Model names, or mappings, cheapest first.")
    verifier: Name | None = Field(None, description="The verifier; default, if not given.")
    feedback: Feedback = Field(Feedback(), description="What the next tier is told of refused answers.")
    budget: Budget = Field(Budget(), description="What one run may spend; no limit, if not given.")
    agent: Agent = Field(Agent(), description="How attempts of every tier may work.")
    on_exhausted: Literal["error", "best"] = Field(
        "error", description="When every tier was refused: an error, or the best refused answer, flagged."
    )


class Skill(Entry):
    """What a skill uses."""

    chain: Name | None = Field(None, description="The chain that the skill runs through; else default.")
    speculate: tuple[LikelyCall, ...] = Field(
        (), description="Calls of tools that are started before the model asks for them."
    )


class Log(Entry):
    """What of each run is stored."""

    content: Literal["full", "metadata", "none"] = Field(
        "full",
        description="full: everything; metadata: no prompts and answers; none: nothing that quotes them.",
    )
    keep_days: Count | None = Field(365, description="Days that sessions are kept; null: for good.")


class ChainsFile(Entry):
    """chains.yaml: which models there are, who judges them, and in what order they are tried."""

    version: Version = Field(description="The version of this format.")
    endpoints: Annotated[
        dict[EndpointName, Endpoint],
        SOME,
        Field(json_schema_extra={"minProperties": 1}),
    ] = Field(description="Servers and programs that host models.")
    models: dict[Name, Model] | None = Field(None, description="Models that need more said than their name.")
    verifiers: dict[Name, Verifier] | None = Field(None, description="How answers are verified.")
    chains: Annotated[
        dict[
            Name,
            Annotated[Chain, ShortFor("tiers", (list,))],
        ],
        SOME,
        Field(json_schema_extra={"minProperties": 1}),
    ] = Field(description="Models in the order in which they are tried.")
    mcp_servers: dict[ServerName, McpServer] | None = Field(
        None, description="MCP servers whose tools models may be offered, as NAME_tool."
    )
    hooks: Hooks | None = Field(None, description="Programs that see what attempts do, and may change it.")
    skills: dict[Name, Skill] | None = Field(None, description="Which chain a skill uses; else default.")
    redaction: Redaction = Field(
        Redaction(), description="What is taken out of prompts that go to tiers which are not local."
    )
    limits: Limits = Field(Limits(), description="What runs may spend, each and together.")
    log: Log = Field(Log(), description="What is stored.")
