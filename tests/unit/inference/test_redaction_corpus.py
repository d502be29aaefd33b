"""The corpus: what must be taken out of texts, and what must stay."""

from __future__ import annotations

import sys

import pytest
from redacting import redacted, restored, told
from redaction_corpus import REDACTED, STAYS


@pytest.mark.parametrize(("text", "secrets"), REDACTED)
def test_just_the_secrets_are_taken_out(text: str, secrets: tuple[str, ...]) -> None:
    result = redacted(text)
    assert set(result.originals.values()) == set(secrets)
    assert not any(secret in told(result) for secret in secrets)
    assert restored(result, told(result)) == text
    left = text
    for secret in sorted(secrets, key=len, reverse=True):
        left = left.replace(secret, "")
    gone = told(result)
    for placeholder in result.originals:
        gone = gone.replace(placeholder, "")
    assert gone == left  # nothing else changed


@pytest.mark.parametrize("text", STAYS)
def test_what_is_no_secret_stays(text: str) -> None:
    result = redacted(text)
    assert told(result) == text
    assert result.originals == {}


def test_the_corpus_is_large_enough(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\nredaction corpus: {len(REDACTED)} texts with secrets, {len(STAYS)} without\n")
    assert len({text for text, _ in REDACTED}) >= 60
    assert len(set(STAYS)) >= 60
