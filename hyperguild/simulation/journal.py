"""What the fleet remembers of every request, for the tests and benches that ask it afterwards."""

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["completed", "client_disconnected", "error", "crashed"]
Phase = Literal["received", "queued", "loading", "generating"]

KEPT_REQUESTS = 50_000
"""How many requests are remembered; older ones are forgotten, so that a long bench does not fill the
memory.
"""


@dataclass(slots=True)
class Record:
    """One request: times are whole milliseconds of real time since the fleet started.

    `phase` is how far it came, `headers` are those of the request without any that carries a key;
    `authorized_by` names the header that carried one. `outcome` is null while the request is open: `error` is
    an HTTP status from 400, `crashed` an answer that the fleet broke off.
    """

    seq: int
    face: str
    method: str
    path: str
    started_ms: int
    headers: dict[str, str]
    authorized_by: str | None
    model: str | None = None
    body: Any = None
    phase: Phase = "received"
    status: int | None = None
    content_type: str = ""
    first_byte_ms: int | None = None
    finished_ms: int | None = None
    outcome: Outcome | None = None
    bytes_sent: int = 0
    error_message: str | None = None


class Journal:
    """The records of this fleet, oldest first; `now_ms` counts from its start."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self._records: deque[Record] = deque(maxlen=KEPT_REQUESTS)
        self._next_seq = 1

    def open(self, face: str, method: str, path: str, headers: dict[str, str]) -> Record:
        """Begin the record of a request; header names are lower-case."""
        key_header = next((name for name in ("authorization", "x-api-key") if name in headers), None)
        shown = {name: text for name, text in headers.items() if name not in SECRET_HEADERS}
        record = Record(self._next_seq, face, method, path, self.now_ms(), shown, key_header)
        self._next_seq += 1
        self._records.append(record)
        return record

    def forget(self) -> None:
        """Drop every record; sequence numbers go on."""
        self._records.clear()

    def records(self) -> list[Record]:
        """Every remembered request."""
        return list(self._records)

    def as_json(self) -> list[dict[str, Any]]:
        """Every remembered request, as JSON objects."""
        return [asdict(record) for record in self._records]


SECRET_HEADERS = frozenset({"authorization", "x-api-key", "proxy-authorization", "cookie"})
"""Headers whose values are not remembered."""
