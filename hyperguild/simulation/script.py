"""The fleet's script: which models there are, how long they load and what they answer.

A script is YAML (or JSON). Unknown keys are refused, never ignored. Times are seconds of simulated time: all
of them are divided by `speed`.
"""

import contextlib
import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

Fault = Literal[
    "crash_before",
    "crash_during",
    "crash_after",
    "hang",
    "stall_before_first",
    "stall_after_first",
    "slow_headers",
    "reset",
    "no_finish",
    "no_done",
    "truncated_json",
    "invalid_utf8",
    "html",
    "wrong_content_type",
    "empty_200",
    "empty_502",
    "endless",
    "huge_line",
    "long_line",
    "huge_answer",
]
"""`huge_line` is an answer in one event of 4 MiB, `long_line` 100 MB without a line end, `huge_answer` a JSON
document of 1 GB."""

DEFAULT_GROUP = "(default)"
"""llama-swap's own name for the group of the models that no group lists."""


class ScriptError(Exception):
    """The script cannot be used; the message is one line that names every mistake."""


class Strict(BaseModel):
    """A part of the script: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_tuple(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


def _valid_regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as exc:
        raise ValueError(f"not a regular expression: {exc}") from exc
    return value


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Numbers = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_as_tuple)]
Regex = Annotated[str, Field(min_length=1), BeforeValidator(_valid_regex)]
Seconds = Annotated[float, Field(ge=0)]


class When(Strict):
    """What a request must be like for a rule to apply; all conditions given must hold, none given always
    holds.

    `contains`, `not_contains` and `regex` look at the last user message; several texts of `contains` must all
    occur, none of `not_contains` may. `request` is the number, from 1, of the chat request among those this
    model served.
    """

    contains: Texts = ()
    not_contains: Texts = ()
    regex: Regex | None = None
    system_contains: Texts = ()
    anywhere_contains: Texts = ()
    request: Numbers = ()
    header: dict[str, str] = {}
    tool_result: bool | None = None
    stream: bool | None = None


class JudgeReply(Strict):
    """A judge's verdict, sent as JSON text."""

    accept: bool
    score: float = Field(ge=0, le=1)
    feedback: str = ""


class ToolCall(Strict):
    """A call the model makes; `arguments` as text is sent as it is, so that it can be broken JSON."""

    name: str
    arguments: dict[str, Any] | str = {}
    id: str | None = None


class ErrorReply(Strict):
    """An error answer in the shape of the face it is asked on, unless `body` gives the bytes.

    With `in_stream` a streamed answer sends the rule's text first and the error as an event of the stream.
    A 429 carries `retry-after: 1` unless `headers` says otherwise; a header of null is left out.
    """

    status: int = Field(default=500, ge=400, le=599)
    message: str = "scripted error"
    type: str | None = None
    code: str | int | None = None
    body: str | dict[str, Any] | None = None
    headers: dict[str, str | None] = {}
    in_stream: bool = False


class UsageOverride(Strict):
    """Token counts to report instead of the estimated ones; `input_tokens` includes cached and
    cache-written ones.
    """

    input_tokens: int | None = Field(default=None, ge=0)
    output_tokens: int | None = Field(default=None, ge=0)
    cached_input_tokens: int = Field(default=0, ge=0)
    cache_write_tokens: int = Field(default=0, ge=0)


class Rule(Strict):
    """One scripted answer: `when` it applies and what is sent.

    `text`, `judge` and `error` exclude each other (but for `error.in_stream`); `tool_calls`, `reasoning` and
    a `fault` go with a text. `content` are blocks of the Anthropic face, sent as they are in the place of
    text and calls. `repeat` writes the text that many times, `times` lets the rule apply to that
    many matching requests only. `tokens_per_s: 0` sends everything at once.
    """

    when: When = When()
    text: str | None = None
    judge: JudgeReply | None = None
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    content: tuple[dict[str, Any], ...] = ()
    error: ErrorReply | None = None
    fault: Fault | None = None
    finish_reason: str | None = None
    delay_s: Seconds = 0.0
    first_token_s: Seconds | None = None
    tokens_per_s: Seconds | None = None
    usage: UsageOverride = UsageOverride()
    repeat: int = Field(default=1, ge=1)
    times: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.text is not None and self.judge is not None:
            raise ValueError("text and judge exclude each other")
        if (
            self.error
            and not self.error.in_stream
            and (self.text is not None or self.judge or self.tool_calls)
        ):
            raise ValueError("an error that is not in_stream excludes text, judge and tool_calls")
        said = (self.text, self.judge, self.reasoning, self.error, self.fault)
        if not self.tool_calls and not self.content and all(part is None for part in said):
            raise ValueError("a rule needs one of text, judge, tool_calls, content, error, fault")
        return self


class Answering(Strict):
    """What every scripted model has: rules (the first that matches answers), a window and a pace.

    `context` is in tokens, estimated as a quarter of the characters; null is no limit. Without a matching
    rule the model repeats the start of what it was asked.
    """

    context: int | None = Field(default=None, ge=1)
    first_token_s: Seconds = 0.0
    tokens_per_s: Seconds = 0.0
    answers: tuple[Rule, ...] = ()


class SwapModel(Answering):
    """A model of the simulated llama-swap; the names of the keys are its own where it has them.

    `start: fail` exits after `load_s`, `never` does not become healthy before `health_check_timeout_s`.
    `bare` leaves out of its answers what only some servers send: id, created, timings, cached tokens, the
    role delta.
    """

    aliases: tuple[str, ...] = ()
    name: str = ""
    description: str = ""
    cmd: str | None = None
    proxy: str | None = None
    load_s: Seconds = 0.0
    stop_s: Seconds = 0.0
    ttl_s: Seconds = 0.0
    start: Literal["ok", "fail", "never"] = "ok"
    health_check_timeout_s: Seconds = 120.0
    concurrency_limit: int = Field(default=10, ge=1)
    unlisted: bool = False
    use_model_name: str | None = None
    send_loading_state: bool = False
    bare: bool = False


class Group(Strict):
    """A group of models with llama-swap's three switches and their defaults."""

    members: tuple[str, ...]
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


class Selector(Strict):
    """A name that stands for the first of its targets that is ready, else for the first one."""

    strategy: Literal["warm"] = "warm"
    targets: tuple[str, ...] = Field(min_length=1)


class Peer(Strict):
    """Another llama-swap, which is down: every request for its models is a 502."""

    models: tuple[str, ...]
    proxy: str = "http://127.0.0.1:15999"


class ApiKeys(Strict):
    """The keys each face takes; an empty list asks for none."""

    llama_swap: tuple[str, ...] = ()
    openai: tuple[str, ...] = ()
    anthropic: tuple[str, ...] = ()


class CloudFace(Strict):
    """The models of the OpenAI or the Anthropic face."""

    models: dict[str, Answering] = {}
    max_body_bytes: int = Field(default=32_000_000, ge=1)


class Script(Strict):
    """The whole script.

    `exact_loads`: readiness is seen only by health checks at 0.25 s, 1.25 s, 2.25 s … as the real llama-swap
    does; otherwise a load takes just `load_s`. `list_aliases` puts aliases into /v1/models.
    """

    speed: float = Field(default=1.0, gt=0)
    exact_loads: bool = False
    list_aliases: bool = False
    upstream_ignore_paths: tuple[Regex, ...] = ()
    api_keys: ApiKeys = ApiKeys()
    groups: dict[str, Group] = {}
    models: dict[str, SwapModel] = {}
    selectors: dict[str, Selector] = {}
    peers: dict[str, Peer] = {}
    openai: CloudFace = CloudFace()
    anthropic: CloudFace = CloudFace()

    @model_validator(mode="after")
    def _references_hold(self) -> Self:
        problems = [
            *_unknown("groups", ((name, group.members) for name, group in self.groups.items()), self.models),
            *_unknown(
                "selectors", ((name, pick.targets) for name, pick in self.selectors.items()), self.models
            ),
            *_doubled("groups", [member for group in self.groups.values() for member in group.members]),
            *_doubled(
                "names",
                [*self.models, *(a for m in self.models.values() for a in m.aliases), *self.selectors],
            ),
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _unknown(where: str, uses: Iterable[tuple[str, Iterable[str]]], known: Iterable[str]) -> list[str]:
    names = set(known)
    return [f"{where}.{user}: no model {name!r}" for user, used in uses for name in used if name not in names]


def _doubled(where: str, names: list[str]) -> list[str]:
    return [f"{where}: {name!r} stands twice" for name in sorted(set(names)) if names.count(name) > 1]


def parse_script(text: str, source: str) -> Script:
    """Read a script from YAML or JSON text; `source` names it in the message.

    Raises ScriptError with one line that names every mistake.
    """
    try:
        raw = _read(text)
    except yaml.YAMLError as exc:
        raise ScriptError(f"{source}: not YAML: {' '.join(str(exc).split())}") from exc
    try:
        return Script.model_validate({} if raw is None else raw)
    except ValidationError as exc:
        raise ScriptError(f"{source}: {'; '.join(_complaints(exc))}") from exc


def _read(text: str) -> object:
    if text.lstrip().startswith("{"):
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(text)  # JSON is YAML too, but its own parser is far faster
    return yaml.safe_load(text)


def _complaints(error: ValidationError) -> Iterable[str]:
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        what = (
            "unknown key" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        )
        yield f"{where}: {what}" if where else what
