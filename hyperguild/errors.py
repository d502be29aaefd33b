"""The whole exception tree.

::

    HyperguildError                 everything raised on purpose; has `hint` and `exit_code`
    ├── UsageError                  the command line asks for what cannot be (exit 2)
    ├── ConfigError                 chains.yaml is refused; carries every problem (exit 3)
    ├── TrustError                  a discovered chains.yaml runs programs or sends keys (exit 3)
    ├── SkillError                  a skill is missing or its SKILL.md is refused (exit 3)
    ├── StoreError                  the session database cannot be used (exit 5)
    │   ├── StoreVersionError       it was written by a newer program (exit 3)
    │   └── UnrecordedRunError (domain.records)  it failed during a run; carries the run's result
    ├── VerifierError               no verdict could be had
    ├── NonceError                  untrusted text cannot be fenced: the source of nonces is broken
    ├── ModelError                  no usable answer; has kind, status, retryable, model, tier
    │   ├── ConnectError            connect           the endpoint cannot be reached
    │   ├── ModelTimeoutError       timeout           connect, load, first token, silence or total
    │   ├── RateLimitError          rate_limit        429
    │   ├── OverloadedError         overloaded        529, 503
    │   ├── AuthError               auth              401, 403, or no key
    │   ├── NotFoundError           not_found         404: no such model or path
    │   ├── BadRequestError         bad_request       400 and the like
    │   ├── ContextOverflowError    context_overflow  the prompt is longer than the window
    │   ├── ServerError             server            5xx, crashes
    │   ├── ProtocolError           protocol          an answer that breaks its protocol, or holds nothing
    │   └── CommandError            command           a `command` endpoint failed
    └── RunError (domain.records)   a run ended without an accepted answer; carries its result
        ├── ChainExhaustedError     every tier was tried (exit 1)
        ├── AwaitingToolsError      it waits for tool results (exit 6)
        └── BudgetExceededError     budget or deadline spent (exit 4)

Cancellation is never translated into one of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

ErrorKind = Literal[
    "connect",
    "timeout",
    "rate_limit",
    "overloaded",
    "auth",
    "not_found",
    "bad_request",
    "context_overflow",
    "server",
    "protocol",
    "command",
    "cancelled",
]


class HyperguildError(Exception):
    """The base of all errors raised on purpose.

    `message` is one line for a person; `hint`, where there is one, says what to do about it.
    """

    exit_code: ClassVar[int] = 5

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(HyperguildError):
    """The command line asks for something that cannot be."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a configuration file: 1-based line and column, dotted path, what is wrong."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        """Render as `FILE:LINE:COLUMN: PATH: MESSAGE`."""
        where = f"{self.file}:{self.line}:{self.column}: "
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class ConfigError(HyperguildError):
    """chains.yaml is refused; `problems` holds every fault found, in the order of the file."""

    exit_code = 3

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)
        for problem in self.problems:
            self.add_note(str(problem))  # for programs: a traceback shows what is wrong


class TrustError(HyperguildError):
    """A discovered chains.yaml runs programs, or sends keys elsewhere, and nobody has trusted it yet."""

    exit_code = 3


class SkillError(HyperguildError):
    """A skill is missing, or its SKILL.md cannot be used; `problem` says where, if it is in a file."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str | None = None, problem: Problem | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problem = problem


class StoreError(HyperguildError):
    """The session database cannot be opened, read or written."""


class StoreVersionError(StoreError):
    """The session database was written by a newer program."""

    exit_code = 3


class VerifierError(HyperguildError):
    """No verdict could be had: the judge erred, or its reply was no verdict."""


class NonceError(HyperguildError):
    """No nonce could be drawn that the untrusted text does not hold: the source is broken."""


class ModelError(HyperguildError):
    """A model gave no usable answer.

    `status` is the HTTP status, where there was one; `retryable` says whether the same request may be sent
    again; `retry_after_s` is what the server asked for. `model`, `tier` and `endpoint` are names.
    """

    kind: ClassVar[ErrorKind]
    retryable_by_default: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        model: str | None = None,
        endpoint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retryable = self.retryable_by_default if retryable is None else retryable
        self.retry_after_s = retry_after_s
        self.model = model
        self.endpoint = endpoint


class ConnectError(ModelError):
    """The endpoint cannot be reached, or the connection broke before an answer began."""

    kind = "connect"
    retryable_by_default = True


class ModelTimeoutError(ModelError):
    """A limit in time was reached; the message names which."""

    kind = "timeout"


class RateLimitError(ModelError):
    """429: too many requests."""

    kind = "rate_limit"
    retryable_by_default = True


class OverloadedError(ModelError):
    """529 or 503: the server is there and has no room."""

    kind = "overloaded"
    retryable_by_default = True


class AuthError(ModelError):
    """401 or 403, or a key that is not set."""

    kind = "auth"


class NotFoundError(ModelError):
    """404: the server knows no such model or path."""

    kind = "not_found"


class BadRequestError(ModelError):
    """The server refuses the request as it is."""

    kind = "bad_request"


class ContextOverflowError(ModelError):
    """The prompt is longer than the model's window."""

    kind = "context_overflow"


class ServerError(ModelError):
    """The server failed: a 5xx answer, or a model that crashed."""

    kind = "server"
    retryable_by_default = True


class ProtocolError(ModelError):
    """The answer breaks its protocol, ends without being finished, or holds nothing."""

    kind = "protocol"


class CommandError(ModelError):
    """The program of a `command` endpoint failed."""

    kind = "command"
