"""Properties of redaction: nothing but secrets changes, and all of it comes back."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redacting import a_redactor, redacted, restored, told
from redaction_corpus import REDACTED, STAYS

from hyperguild.domain.secret_shapes import SHAPES, shapes_in
from hyperguild.inference.restoring import Restorer

PROSE = st.text(alphabet="abc xyz019 \n\t\"'(){}[],.;:=<>/\\é漢İ²", max_size=40)
SHAPED = [text for text, _ in REDACTED if any(one.spans(text) for one in SHAPES)]
pieces = st.one_of(
    PROSE,
    st.sampled_from([text for text, _ in REDACTED]),
    st.sampled_from(STAYS),
    st.sampled_from(["password=", "token: ", '"secret": "', "://a:", "Bearer ", "REDACTED_", "api_key"]),
)


@given(st.lists(pieces, max_size=5).map("\n".join))
def test_all_that_is_taken_out_comes_back(text: str) -> None:
    result = redacted(text)
    assert restored(result, told(result)) == text
    assert all(name in told(result) for name in result.originals)


@given(st.lists(pieces, max_size=5).map("\n".join))
def test_what_was_redacted_stays_so(text: str) -> None:
    redactor = a_redactor()
    once = told(redacted(text, redactor))
    assert told(redacted(once, redactor)) == once
    assert told(redacted(text, redactor)) == once


@given(st.lists(st.one_of(st.sampled_from([*SHAPED, *STAYS]), PROSE), max_size=4).map(" ".join))
def test_the_quick_way_to_say_no_misses_no_shape(text: str) -> None:
    quick = {one.kind for one in shapes_in(text) if one.spans(text)}
    assert quick == {one.kind for one in SHAPES if one.spans(text)}


@given(PROSE, st.sampled_from(REDACTED), PROSE)
def test_secrets_are_found_in_any_surroundings(
    before: str, case: tuple[str, tuple[str, ...]], after: str
) -> None:
    text, secrets = case
    result = redacted(f"{before}\n\n{text}\n\n{after}")
    assert not any(secret in told(result) for secret in secrets)
    assert restored(result, told(result)) == f"{before}\n\n{text}\n\n{after}"


@given(st.lists(st.sampled_from(STAYS), max_size=6).map("\n\n".join))
def test_texts_without_secrets_stay_together_too(text: str) -> None:
    assert told(redacted(text)) == text


@given(
    st.lists(
        st.sampled_from([*"abR", "REDACTED_A_0", "REDACTED_A_1", "REDACTED_", "A_", "1", "\\n"]), max_size=20
    ),
    st.data(),
)
def test_pieces_of_a_stream_are_restored_as_the_whole_is(words: list[str], data: st.DataObject) -> None:
    text = "".join(words)
    originals = {"REDACTED_A_0": 'q"\n', "REDACTED_A_1": "REDACTED_A_0"}
    restorer = Restorer(originals, in_json=True)
    out, at = [], 0
    while at < len(text):
        step = data.draw(st.integers(1, 5))
        out.append(restorer.feed(text[at : at + step]))
        at += step
    out.append(restorer.flush())
    quoted = {name: json.dumps(secret)[1:-1] for name, secret in originals.items()}
    assert "".join(out) == re.sub("REDACTED_A_[01]", lambda match: quoted[match[0]], text)


@pytest.mark.parametrize(
    "unit",
    [
        'password="',
        "password: ",
        "token = \\",
        "secret:'\\x",
        "key",
        "PASSWORD",
        "api_key: [",
        "Basic YTpi",
        "-u a:",
        "uthorization: token ",
        "--password ",
        "password value=",
        "<password>x",
        "REDACTED_A_",
        "Authorization: ",
        "a_b-c.",
    ],
)
def test_redaction_takes_linear_time(unit: str) -> None:
    """A quadratic pattern takes minutes here; the bound only guards against that."""
    text = unit * (100_000 // len(unit))
    began = time.perf_counter()
    redacted(text)
    assert time.perf_counter() - began < 20
