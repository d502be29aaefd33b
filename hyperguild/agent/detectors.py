"""What stops an attempt early: all detectors of one attempt, behind one face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from hyperguild.agent.repetition import RepetitionWatch
from hyperguild.agent.tool_loops import PatchSpiral, RepeatedCall
from hyperguild.domain.tools import Effect, ToolCall, ToolResult

TripKind = Literal["repetition", "greeting", "patch_spiral", "repeated_call"]
"""Each is a cause of escalation, too."""

Channel = Literal["answer", "reasoning", "arguments"]
"""The texts of a step in which a repetition is looked for, each by itself."""

_PATH: Final = "path"


@dataclass(frozen=True, slots=True)
class Trip:
    """What went wrong.

    `subject` is the repeated unit, the greeting, the path, or the name of the tool; `times` how often it was
    repeated, failed or brought the same; `channel` says where a repetition was.
    """

    kind: TripKind
    subject: str
    times: int = 1
    channel: Channel = "answer"


class Detectors:
    """The detectors of one attempt, fed by the loop in the order in which things happen.

    What watches texts begins anew at every step (`start_step`); what counts calls does so with the attempt.
    After every trip all of it is to begin anew (`reset`), so that the model can act on the correction before
    it is judged again.
    """

    def __init__(self) -> None:
        self._texts: dict[tuple[Channel, int], RepetitionWatch] = {}
        self._patches = PatchSpiral()
        self._calls = RepeatedCall()

    def start_step(self) -> None:
        """Forget the texts of the step before, or of this one before its request was retried."""
        self._texts = {}

    def reset(self) -> None:
        """Forget everything: after a trip."""
        self.start_step()
        self._patches = PatchSpiral()
        self._calls = RepeatedCall()

    def text(self, channel: Channel, delta: str, *, index: int = 0) -> Trip | None:
        """Take a piece of a streaming text; `index` is that of the tool call whose arguments they are."""
        watch = self._texts.setdefault((channel, index), RepetitionWatch())
        found = watch.feed(delta)
        return None if found is None else Trip("repetition", found.unit, found.times, channel)

    def answer(self, text: str, *, after_tools: bool) -> Trip | None:
        """Take the whole text of a step that called no tools; `after_tools`: an earlier step called some."""
        if not after_tools:
            return None
        from hyperguild.agent.greeting import is_greeting  # noqa: PLC0415  # start-up: its patterns take 20 ms

        return Trip("greeting", text.strip()) if is_greeting(text) else None

    def result(self, call: ToolCall, result: ToolResult, *, effect: Effect | None) -> Trip | None:
        """Take one finished call, in call order.

        `effect` is its tool's; None where there is none, or where the call was refused and so says nothing
        about the file.
        """
        same = self._calls.take(call, result)
        path = None if call.arguments is None or effect != "write" else call.arguments.get(_PATH)
        failed = self._patches.take(path, failed=result.is_error) if isinstance(path, str) else None
        if isinstance(path, str) and failed is not None:
            return Trip("patch_spiral", path, failed)
        return None if same is None else Trip("repeated_call", call.name, same)
