"""Properties of the scrubber and of the id source."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperguild.domain.ids import Uuid7Source
from hyperguild.domain.secrets import Scrubber, placeholders_in

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALNUM = LETTERS + "0123456789"

PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,AB12\n\n{}\n"
    "-----END RSA PRIVATE KEY-----"
)
PEM_BODY = "\n".join(["MIIEpAIBAAKCAQEA1c7+9z5Pad7OejecsQ0buq3qYrxk5pAoLDTQ5vQ1WCDQv4jC"] * 4 + ["QUJDRA=="])

SHAPES = {
    "sk-ant-api03-" + "aB1_-" * 19: "anthropic",
    "sk-proj-" + "aB1_-" * 20: "api-key",
    "sk-or-v1-" + "0123456789abcdef" * 4: "api-key",
    "sk-" + "a1B2" * 12: "api-key",
    "ghp_" + "a1B2" * 9: "github",
    "gho_" + "a1B2" * 9: "github",
    "github_pat_11ABCDEFG0" + "a1_" * 20: "github",
    "AKIAIOSFODNN7EXAMPLE": "aws",
    "ASIAIOSFODNN7EXAMPLE": "aws",
    "AIza" + "Sy1-_" * 7: "google",
    "xoxb-123456789012-abcdefABCDEF": "slack",
    "hf_" + "aB" * 17: "huggingface",
    "glpat-" + "a1B2" * 5: "gitlab",
    "gsk_" + "a1B2" * 13: "groq",
    "sk_live_" + "a1B2" * 6: "stripe",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U": "jwt",
    PEM.format(PEM_BODY): "private-key",
    PEM.format(PEM_BODY).replace("\n", "\\n"): "private-key",
}

IN_CONTEXT = {
    "Authorization: Bearer abcdef0123456789": "Authorization: Bearer [secret:bearer]",
    '-H "authorization: bearer a.b-c~1/2+3_aaaaaaa==" x': '-H "authorization: bearer [secret:bearer]" x',
    "postgres://me:hunter2@db:5432/x": "postgres://me:[secret:password]@db:5432/x",
    "redis://:p@ss:w0rd!@[::1]:6379": "redis://:[secret:password]@[::1]:6379",
    PEM.format(PEM_BODY)[:250]: "[secret:private-key]",
}

CODE_LIKE = [
    "d670460b4b4aece5915caf5c68d12f560a9fe3e4",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "018f4e1c-7b7a-7cc1-98c4-dc0c0c07398f",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "process.env.OPENAI_API_KEY",
    "os.environ['ANTHROPIC_API_KEY']",
    "sk-learn",
    "sk-toggleable__content-fitted-1",
    "sk-estimator-doc-link-hidden-2-something",
    "task-1234567890abcdef1234567890",
    "disk-usage-0123456789abcdef0123",
    "sk-ant-...",
    "sk-ant-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "ghp_xxxx",
    "hf_hub_download(repo_id='x', filename='y')",
    "hf_model_for_sequence_classification_with_pooling",
    "Authorization: Bearer ${TOKEN}",
    'f"Bearer {token}"',
    "Bearer authentication-is-required-here",
    "Bearer process.env.API_KEY",
    "http://127.0.0.1:8080/v1/models",
    "http://localhost:3000/@scope/pkg@1.2.3",
    "https://h:80?m=a@b.c",
    "https://user@host:8080/x@y",
    "postgres://${USER}:${PASSWORD}@db/x",
    "postgres://{user}:{password}@{host}/x",
    "mysql://<user>:<password>@<host>",
    "git@github.com:owner/repo.git",
    "if '-----BEGIN PRIVATE KEY-----' in text: raise ValueError",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END CERTIFICATE-----",
    "xox-1",
    "AKIA",
    "AKIAIOSFODNN7EXAMPLEANDMORE",
    "eyJhbGciOiJIUzI1NiJ9",
    "[secret:github]",
    "def f(x: int) -> int:\n    return x << 2\n",
]

ALMOST = [
    *(
        "sk-ant-",
        "sk-",
        "eyJaaaaaaaa.",
        "-eyJaaaaaaaa",
        "://a:b@",
        "://:@@@@",
        "Bearer a",
        "xoxb-",
        "AIza-",
        "hf_a",
    ),
    *("-----BEGIN PRIVATE KEY-----\nA: b", "-----BEGIN PRIVATE KEY-----" + "A" * 20, "A", "\\n"),
]

SEPARATORS = st.sampled_from([" ", "\n", "\t", '"', "'", ", ", "; ", "(", ")", "="])
secret_values = st.text(alphabet=ALNUM + '-_.~+/=!$%&*äß漢"\\ ', min_size=8, max_size=40).map(str.strip)
fragments = st.one_of(
    st.sampled_from([*SHAPES, *IN_CONTEXT, *CODE_LIKE]),
    st.sampled_from(
        [
            "sk-",
            "sk-ant-",
            "Bearer ",
            "://a:",
            "@h",
            "eyJaaaaaaaa",
            ".",
            "-",
            "_",
            "-----BEGIN PRIVATE KEY-----",
        ]
    ),
    st.text(max_size=12),
    st.text(alphabet=ALNUM, min_size=10, max_size=40),
)


@pytest.mark.parametrize(("key", "kind"), SHAPES.items())
@pytest.mark.parametrize(
    "frame", ["{}", "key={}", '{{"key": "{}"}}', "it is {}, or not", "`{}`\n", "x/{}", "é{}é"]
)
def test_every_known_shape_is_replaced_whole(key: str, kind: str, frame: str) -> None:
    assert Scrubber().scrub(frame.format(key)) == frame.format(f"[secret:{kind}]")


@pytest.mark.parametrize(("text", "expected"), IN_CONTEXT.items())
def test_of_what_stands_in_a_context_only_the_secret_is_replaced(text: str, expected: str) -> None:
    assert Scrubber().scrub(text) == expected


@given(st.lists(st.tuples(st.sampled_from(CODE_LIKE), SEPARATORS)))
def test_text_without_secrets_is_unchanged(parts: list[tuple[str, str]]) -> None:
    text = "".join(part + separator for part, separator in parts)
    assert Scrubber().scrub(text) == text


def is_secret(value: str) -> bool:
    """Long enough, and no word that the placeholders themselves spell, such as `password`."""
    kinds = {*SHAPES.values(), "password", "bearer"}
    return len(value) >= 8 and not any(value in f"[secret:{kind}]" for kind in kinds)


@given(st.lists(fragments), st.lists(secret_values, max_size=3))
def test_scrubbing_twice_is_scrubbing_once(parts: list[str], values: list[str]) -> None:
    scrubber = Scrubber()
    for number, value in enumerate(values):
        scrubber.learn(f"KEY_{number}", value)
    once = scrubber.scrub("".join([*parts, *values, *parts]))
    assert scrubber.scrub(once) == once


@given(st.lists(secret_values.filter(is_secret), min_size=1, max_size=4), st.data())
def test_a_learned_secret_never_survives(values: list[str], data: st.DataObject) -> None:
    scrubber = Scrubber()
    for number, value in enumerate(values):
        scrubber.learn(f"K{number}", value)
    spellings = st.sampled_from(values).flatmap(
        lambda value: st.sampled_from(
            [
                value,
                json.dumps(value)[1:-1],
                json.dumps(value, ensure_ascii=False)[1:-1],
                quote(value, safe=""),
            ]
        )
    )
    text = "".join(data.draw(st.lists(st.one_of(spellings, st.text(max_size=8)), min_size=1)))
    scrubbed = scrubber.scrub(text)
    for value in values:
        assert value not in scrubbed
        assert json.dumps(value)[1:-1] not in scrubbed
        assert quote(value, safe="") not in scrubbed


def test_a_learned_secret_is_named_and_the_longest_wins() -> None:
    scrubber = Scrubber()
    scrubber.learn("SHORT", "  abcdefgh\n")
    scrubber.learn("LONG", "abcdefgh-and-more")
    scrubber.learn("AGAIN", "abcdefgh")
    scrubber.learn("TINY", "abcdefg")
    scrubber.learn("SELF_NAMED", "SELF_NAMED")
    scrubber.learn("KIND", "password")
    assert scrubber.scrub("abcdefgh-and-more abcdefgh-and abcdefg SELF_NAMED password") == (
        "[secret:LONG] [secret:SHORT]-and abcdefg SELF_NAMED password"
    )


def test_a_learned_password_keeps_its_name_inside_a_url() -> None:
    scrubber = Scrubber()
    scrubber.learn("DB_PASSWORD", "p@ss/word!")
    assert scrubber.scrub("postgres://u:p%40ss%2Fword%21@h") == "postgres://u:[secret:DB_PASSWORD]@h"


def test_json_values_are_walked_and_keys_stay() -> None:
    scrubber = Scrubber()
    scrubber.learn("K", "open sesame")
    value = {"open sesame": ["open sesame", ("open sesame",), {"a": "open sesame"}], "n": 1, "b": None}
    safe = "[secret:K]"
    assert scrubber.scrub_json(value) == {"open sesame": [safe, [safe], {"a": safe}], "n": 1, "b": None}


@pytest.mark.parametrize("piece", ALMOST)
@pytest.mark.timeout(20)
def test_long_text_that_almost_matches_does_not_hang(piece: str) -> None:
    Scrubber().scrub(piece * (1_000_000 // len(piece)))


def source(times: Iterator[int], filler: int = 0xFF) -> Uuid7Source:
    return Uuid7Source(now_ms=lambda: next(times), random_bytes=lambda count: bytes([filler] * count))


@given(st.lists(st.integers(min_value=0, max_value=2**44), min_size=2, max_size=50), st.integers(0, 255))
def test_ids_increase_under_any_clock_and_are_of_version_7(times: list[int], filler: int) -> None:
    ids = source(iter(times), filler)
    drawn = [ids.new_id() for _ in times]
    assert drawn == sorted(set(drawn))
    for text in drawn:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)
    assert uuid.UUID(drawn[0]).int >> 80 == times[0]


def test_ten_thousand_ids_of_one_millisecond_increase() -> None:
    ids = source(iter([1_700_000_000_000] * 10_000))
    drawn = [ids.new_id() for _ in range(10_000)]
    assert drawn == sorted(set(drawn))
    # 2049 fit into the first millisecond, 4096 - 2047 into each that is borrowed.
    assert uuid.UUID(drawn[-1]).int >> 80 == 1_700_000_000_004


def test_nonces_are_16_digits_from_the_random_source() -> None:
    assert source(iter([]), 0xAB).nonce() == "ab" * 8


@given(
    st.lists(
        st.sampled_from(["say ", "0123-made-up-key", "[secret:", "]", "\n", "other-key-9876"]), max_size=8
    )
)
def test_h2_what_was_scrubbed_for_a_known_value_is_put_back(parts: list[str]) -> None:
    scrubber = Scrubber()
    scrubber.learn("ONE", "0123-made-up-key")
    scrubber.learn("TWO", "other-key-9876")
    text = "".join(parts)
    assert scrubber.restore(scrubber.scrub(text), ["ONE", "TWO"]) == text


def test_h2_what_cannot_be_told_for_certain_is_not_put_back() -> None:
    scrubber = Scrubber()
    scrubber.learn("ESCAPED", 'a "quoted" key')  # in JSON it has another spelling, and the same placeholder
    scrubber.learn("TWICE", "the-first-value")
    scrubber.learn("TWICE", "the-other-value")
    scrubber.learn("github", "named-as-a-shape-is")
    scrubber.learn("KNOWN", "plain-and-simple")
    text = "[secret:ESCAPED] [secret:TWICE] [secret:github] [secret:NEVER] [secret:KNOWN]"
    names = ["ESCAPED", "TWICE", "github", "NEVER", "KNOWN"]
    assert scrubber.restore(text, names) == text.replace("[secret:KNOWN]", "plain-and-simple")
    assert scrubber.restore(text, ["NEVER"]) == text
    assert placeholders_in({"a": [text, 1], "[secret:KEY]": None}) == tuple(names)
