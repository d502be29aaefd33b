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
    ├── BudgetRefusedError          a limit does not allow a model call; nothing was sent
    ├── ModelError                  no usable answer; has kind, status, retryable, model, tier
    │   ├── ConnectError            connect           the endpoint cannot be reached
    │   ├── ModelTimeoutError       timeout           connect, load, first token, silence or total
    │   ├── RateLimitError          rate_limit        429
    │   │   └── ConcurrencyLimitError                 llama-swap's own limit: it has room again soon
    │   ├── OverloadedError         overloaded        529, 503
    │   │   └── QueueFullError                        our own queue before the endpoint is full
    │   ├── AuthError               auth              401, 403, or no key
    │   ├── NotFoundError           not_found         404: no such model or path
    │   ├── BadRequestError         bad_request       400 and the like
    │   ├── ContextOverflowError    context_overflow  the prompt is longer than the window
    │   ├── ServerError             server            5xx, crashes
    │   ├── ProtocolError           protocol          an answer that breaks its protocol, or holds nothing
    │   ├── CommandError            command           a `command` endpoint failed
    │   └── BreakerOpenError        breaker_open      not asked: it failed too often just now
    └── RunError (domain.records)   a run ended without an accepted answer; carries its result
        ├── ChainExhaustedError     every tier was tried (exit 1)
        ├── AwaitingToolsError      it waits for tool results (exit 6)
        └── BudgetExceededError     budget or deadline spent (exit 4)

Cancellation is never translated into one of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    "breaker_open",
]

BreakerEffect = Literal["failure", "failure_if_retryable", "alive", "none"]


@dataclass(frozen=True, slots=True)
class Treatment:
    """What becomes of a request that failed with an error of one kind.

    `retryable`: whether the same request may be sent again, where whoever raises does not know better.
    `breaker`: whether it counts as a failure of who was asked (always, or where the error is retryable),
    tells that the server is alive (where the error has an HTTP status), or says nothing. `whole_endpoint`:
    the failure is that of the base URL, and so of all its models.
    """

    retryable: bool
    breaker: BreakerEffect
    whole_endpoint: bool = False


TREATMENT: Mapping[ErrorKind, Treatment] = {
    "connect": Treatment(retryable=True, breaker="failure", whole_endpoint=True),
    # First token and silence are retryable; a load that takes long and a spent total are no failures.
    "timeout": Treatment(retryable=False, breaker="failure_if_retryable"),
    "rate_limit": Treatment(retryable=True, breaker="failure"),
    "overloaded": Treatment(retryable=True, breaker="failure"),
    "server": Treatment(retryable=True, breaker="failure"),
    # An answer that broke off is retryable; one with the wrong content is the model's, or the request's.
    "protocol": Treatment(retryable=False, breaker="failure_if_retryable"),
    "command": Treatment(retryable=False, breaker="failure"),
    # The server is well, the request or its key is not.
    "auth": Treatment(retryable=False, breaker="alive"),
    "not_found": Treatment(retryable=False, breaker="alive"),
    "bad_request": Treatment(retryable=False, breaker="alive"),
    "context_overflow": Treatment(retryable=False, breaker="alive"),
    "cancelled": Treatment(retryable=False, breaker="none"),
    "breaker_open": Treatment(retryable=False, breaker="none"),
}
"""The one table of what is sent again and what the breaker counts, by error kind."""


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


class BudgetRefusedError(HyperguildError):
    """A limit does not allow a model call; the message names what was left. Nothing was sent."""

    exit_code = 4


class ModelError(HyperguildError):
    """A model gave no usable answer.

    `status` is the HTTP status, where there was one; `retryable` says whether the same request may be sent
    again (where nobody says: what `TREATMENT` has for the kind); `retry_after_s` is what the server asked
    for. `model`, `tier` and `endpoint` are names. Classes that are not `counted` say nothing of the server's
    health, whatever their kind.
    """

    kind: ClassVar[ErrorKind]
    counted: ClassVar[bool] = True

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
        self.retryable = TREATMENT[self.kind].retryable if retryable is None else retryable
        self.retry_after_s = retry_after_s
        self.model = model
        self.endpoint = endpoint


class ConnectError(ModelError):
    """The endpoint cannot be reached, or the connection broke before an answer began."""

    kind = "connect"


class ModelTimeoutError(ModelError):
    """A limit in time was reached; the message names which."""

    kind = "timeout"


class RateLimitError(ModelError):
    """429: too many requests."""

    kind = "rate_limit"


class ConcurrencyLimitError(RateLimitError):
    """llama-swap has as many requests for the model as it takes at once: it is well, and has room soon."""

    counted = False


class OverloadedError(ModelError):
    """529 or 503: the server is there and has no room."""

    kind = "overloaded"


class QueueFullError(OverloadedError):
    """As many requests as are allowed to already wait here for their turn at the endpoint."""

    counted = False


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


class ProtocolError(ModelError):
    """The answer breaks its protocol, ends without being finished, or holds nothing."""

    kind = "protocol"


class CommandError(ModelError):
    """The program of a `command` endpoint failed."""

    kind = "command"


class BreakerOpenError(ModelError):
    """Nobody was asked: what hosts the model failed too often just now. The message says until when."""

    kind = "breaker_open"
