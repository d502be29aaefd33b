"""The client for programs that answer: endpoints of the kind `command`."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from hyperguild.adapters.models.anthropic_stream import FINISH_REASONS
from hyperguild.adapters.models.token_counts import anthropic_usage
from hyperguild.adapters.wire.keys import KeyRing
from hyperguild.adapters.wire.program import Program, ProgramStartError
from hyperguild.adapters.wire.turns import Turns
from hyperguild.adapters.wire.wording import one_line
from hyperguild.domain.chain import Endpoint, Model
from hyperguild.domain.fencing import nonce_of
from hyperguild.domain.messages import (
    Finish,
    FinishReason,
    Message,
    ModelRequest,
    Sent,
    StreamPart,
    TextDelta,
    UsageReport,
)
from hyperguild.domain.text import clipped_tail
from hyperguild.domain.usage import Usage
from hyperguild.errors import BadRequestError, CommandError, ModelError
from hyperguild.programs.environment import DESKTOP_PREFIX, NETWORK, TERMINAL, reduced_environment

OUTPUT_MAX_BYTES = 16 * 1024 * 1024
"""A program that prints more is ended: no answer is so long, and memory stays bounded."""

KEY_VARIABLE = "HYPERGUILD_API_KEY"
"""How a program gets a key that comes from a file or a command; one from a variable keeps that name."""

_COMPLAINT_MAX_CHARS = 300

_SPEAKER = re.compile(r"^\s*(?:user|assistant|system|tool)\b[^\n:]{0,40}:", re.IGNORECASE | re.MULTILINE)
"""What a model may take for the line above a message."""


class CommandClient:
    """A `ModelClient` that runs a program for each request.

    `{model}` in its arguments becomes the model's upstream name; the prompt comes on stdin (see
    `prompt_text`). What it prints is the answer, given as it comes; if that looks like a JSON object or a
    list of them, it is read at the end as `read_report` does, and any other text is the answer as it stands.
    Exit 0 is success. No shell is involved, and of the environment only what `program_environment` lists is
    passed on. Cancelling or closing the stream ends its whole process group.
    """

    def __init__(self, endpoint: Endpoint, keys: KeyRing) -> None:
        self._endpoint = endpoint
        self._keys = keys
        self._turns = Turns(endpoint)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamPart, None]:
        """See `ModelClient.stream`."""
        if any(message.images for message in request.messages):
            raise self._error(request.model, "a command endpoint takes no pictures", cls=BadRequestError)
        argv = [argument.replace("{model}", request.model.upstream) for argument in self._endpoint.argv]
        prompt = prompt_text(request.messages).encode("utf-8", errors="replace")
        async with self._turns.turn(request.model):
            environment = await self._environment(request.model)
            yield Sent()
            try:
                async with (
                    Program(argv, env=environment, stdin=prompt) as program,
                    aclosing(self._answer(request.model, program)) as parts,
                ):
                    async for part in parts:
                        yield part
            except ProgramStartError as exc:
                hint = f"install it, or correct argv of endpoint '{self._endpoint.name}'"
                raise self._error(request.model, str(exc), hint=hint) from exc

    async def aclose(self) -> None:
        """Do nothing: no program outlives its stream."""

    async def _answer(self, model: Model, program: Program) -> AsyncGenerator[StreamPart, None]:
        output = _Output()
        async for chunk in program.output():
            text = output.take(chunk)
            if output.size > OUTPUT_MAX_BYTES:
                raise self._error(model, f"the program printed more than {OUTPUT_MAX_BYTES} bytes")
            if text:
                yield TextDelta(text)
        text = output.end()
        code = await program.exit_code()
        report = read_report(output.held)
        if code != 0:
            said = program.complaint or (report.text if report else output.last)
            raise self._error(model, f"the program failed with exit code {code}: {_end_of(said)}")
        if report is None:
            if output.held + text:
                yield TextDelta(output.held + text)
            yield Finish("stop")
            return
        if report.failed:
            raise self._error(
                model, f"the program reports an error: {_end_of(report.text or program.complaint)}"
            )
        if report.text:
            yield TextDelta(report.text)
        if report.usage is not None:
            yield UsageReport(report.usage)
        yield Finish(report.finish)

    async def _environment(self, model: Model) -> dict[str, str]:
        try:
            key = await self._keys.key(self._endpoint)
        except ModelError as error:
            error.model = model.name
            raise
        return program_environment(self._keys.env, self._endpoint, key)

    def _error(
        self, model: Model, message: str, *, hint: str | None = None, cls: type[ModelError] = CommandError
    ) -> ModelError:
        secrets = self._keys.secrets(self._endpoint)
        return cls(
            one_line(message, secrets=secrets), hint=hint, model=model.name, endpoint=self._endpoint.name
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What a program says in JSON; `text` is the answer, or what went wrong where it `failed`."""

    text: str
    failed: bool
    usage: Usage | None
    finish: FinishReason


def read_report(output: str) -> Report | None:
    """Read what `claude -p --output-format json` prints; None for any other output.

    That is an object with `result`, or with `--verbose` the list of all messages, each with its `type`: the
    last one with a `result` counts. A list of anything else is an answer that happens to be JSON.
    """
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list):
        value = _last_result(value)
    if not isinstance(value, dict):
        return None
    result, outcome = value.get("result"), str(value.get("subtype") or "")
    failed = value.get("is_error") is True or (value.get("type") == "result" and outcome.startswith("error"))
    if not isinstance(result, str):
        return Report(outcome, True, None, "other") if failed else None
    usage, reason = value.get("usage"), value.get("stop_reason")
    return Report(
        text=result,
        failed=failed,
        usage=anthropic_usage(usage) if isinstance(usage, dict) else None,
        finish=FINISH_REASONS.get(reason, "other") if isinstance(reason, str) else "stop",
    )


def _last_result(messages: list[Any]) -> dict[str, Any] | None:
    if not all(isinstance(message, dict) and isinstance(message.get("type"), str) for message in messages):
        return None
    results = (each for each in reversed(messages) if "result" in each or each["type"] == "result")
    return next(results, None)


def prompt_text(messages: Sequence[Message]) -> str:
    """Lay a conversation out as plain text.

    System texts first, an empty line between them. One user message follows as it is; a longer conversation
    with `User:` or `Assistant:` on a line of its own above each message. Where a text holds such a line
    itself, each of ours has a number that stands in no text.
    """
    system = [message.text for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    if len(turns) == 1:
        return "\n\n".join([*system, turns[0].text])
    texts = [turn.text for turn in turns]
    mark = f" {nonce_of([*system, *texts])}" if any(map(_SPEAKER.search, texts)) else ""
    return "\n\n".join([*system, *(f"{turn.role.capitalize()}{mark}:\n{turn.text}" for turn in turns)])


def program_environment(env: Mapping[str, str], endpoint: Endpoint, key: str | None) -> dict[str, str]:
    """Return what a program sees of the environment.

    Where programs, the user's folders, locale, terminal, proxies and certificates are (PATH, HOME, LANG,
    LC_*, TERM, TMPDIR, USER, XDG_*, HTTPS_PROXY and the like), and the endpoint's own key, under its
    variable's name or as `HYPERGUILD_API_KEY`. No other provider's key.
    """
    passed = reduced_environment(env, TERMINAL | NETWORK, (DESKTOP_PREFIX,))
    if key is not None and endpoint.key is not None:
        passed[endpoint.key.env or KEY_VARIABLE] = key
    return passed


class _Output:
    """Sorts what a program prints: text is passed on, what may be JSON is held back to the end."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pieces: list[str] = []
        self._is_text = False
        self._undecided = True
        self.size = 0
        self.last = ""

    @property
    def held(self) -> str:
        """What has been held back."""
        return "".join(self._pieces)

    def take(self, chunk: bytes) -> str:
        """Take bytes; return the text that may be passed on now."""
        self.size += len(chunk)
        return self._sort(self._decoder.decode(chunk))

    def end(self) -> str:
        """Return the text that the last bytes, which break off in mid-character, stand for."""
        return self._sort(self._decoder.decode(b"", final=True))

    def _sort(self, text: str) -> str:
        self.last = (self.last + text)[-_COMPLAINT_MAX_CHARS:]
        if self._is_text:
            return text
        self._pieces.append(text)
        if self._undecided and text.strip():
            start = self.held.lstrip().removeprefix("[").lstrip()
            self._undecided = not start
            self._is_text = start != "" and not start.startswith("{")
            if self._is_text:
                text, self._pieces = self.held, []
                return text
        return ""


def _end_of(said: str) -> str:
    return clipped_tail(said.strip(), _COMPLAINT_MAX_CHARS) or "it said nothing"
