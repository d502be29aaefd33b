"""What tests of redaction share."""

from __future__ import annotations

import time
from collections.abc import Callable

from builders import cloud_model

from hyperguild.domain.messages import Message, ModelRequest
from hyperguild.domain.redaction import RedactionPattern, RedactionPolicy
from hyperguild.domain.secrets import Scrubber
from hyperguild.inference.redaction import Redacted, Redactor

KEY = bytes(range(32))


def a_redactor(
    *patterns: tuple[str, str],
    learned: str = "",
    secrets: bool = True,
    now_s: Callable[[], float] = time.monotonic,
) -> Redactor:
    scrubber = Scrubber()
    if learned:
        scrubber.learn("LEARNED_KEY", learned)
    policy = RedactionPolicy(secrets, tuple(RedactionPattern(name, regex) for name, regex in patterns))
    return Redactor(policy, scrubber, KEY, now_s)


def asking(*texts: str) -> ModelRequest:
    return ModelRequest(cloud_model(), tuple(Message("user", text) for text in texts))


def redacted(text: str, redactor: Redactor | None = None) -> Redacted:
    return (redactor or a_redactor()).redact(asking(text))


def told(result: Redacted) -> str:
    return result.request.messages[0].text


def restored(result: Redacted, text: str) -> str:
    for placeholder, secret in result.originals.items():
        text = text.replace(placeholder, secret)
    return text
