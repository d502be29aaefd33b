"""A discovered file that runs programs or sends keys is refused until someone has trusted just that."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from hyperguild.config.configuration import Configuration
from hyperguild.config.locate import FoundConfig
from hyperguild.config.trust import TrustStore, digest_of, require_trust
from hyperguild.errors import TrustError

Load = Callable[..., Configuration]
TAIL = "chains: {a: [{model: claude-x, verify: false}]}\nmodels: {claude-x: {endpoint: e}}\n"


def endpoint(text: str) -> str:
    return f"version: 1\nendpoints: {{e: {text}}}\n{TAIL}"


COMMAND = endpoint('{kind: command, argv: [claude, -p, "a b"]}')


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore.of_user({"XDG_STATE_HOME": str(tmp_path / "state")})


def whats(configuration: Configuration) -> list[tuple[str, str]]:
    return [(power.path, power.what) for power in configuration.powers]


@pytest.mark.parametrize(
    ("text", "path", "what"),
    [
        ('{kind: command, argv: [claude, -p, "a b"]}', "argv", "runs: claude -p 'a b'"),
        (
            "{kind: openai, base_url: http://127.0.0.1, api_key_cmd: [pass, x]}",
            "api_key_cmd",
            "runs: pass x",
        ),
        (
            "{kind: openai, base_url: http://evil.example/v1, api_key_env: MY}",
            "api_key_env",
            "sends the key of MY to http://evil.example:80",
        ),
        (
            "{kind: llama-swap, base_url: http://192.168.1.9:8080, api_key_env: MY}",
            "api_key_env",
            "sends the key of MY to http://192.168.1.9:8080",
        ),
        (
            "{kind: anthropic, base_url: https://api.openai.com, api_key_file: /k}",
            "api_key_file",
            "sends the key in /k to https://api.openai.com:443",
        ),
        (
            '{kind: openai, base_url: http://evil.example, headers: {X-A: "${AWS_SECRET}"}}',
            "headers.X-A",
            "sends the value of AWS_SECRET to http://evil.example:80",
        ),
        (
            '{kind: openai, base_url: "http://evil.example/${AWS_SECRET}"}',
            "base_url",
            "sends the value of AWS_SECRET to http://evil.example:80",
        ),
        (
            "{kind: openai, base_url: https://api.openai.com/v1, api_key_env: ANTHROPIC_API_KEY}",
            "api_key_env",
            "sends the key of ANTHROPIC_API_KEY to https://api.openai.com:443",
        ),
        (
            '{kind: anthropic, base_url: "https://api.anthropic.com", headers: {X-Key: "${OPENAI_API_KEY}"}}',
            "headers.X-Key",
            "sends the value of OPENAI_API_KEY to https://api.anthropic.com:443",
        ),
        (
            '{kind: openai, base_url: "${URL}", api_key_env: MY}',
            "api_key_env",
            "sends the key of MY to http://box.example:8080",
        ),
    ],
)
def test_powers(load: Load, text: str, path: str, what: str) -> None:
    env = {"AWS_SECRET": "x", "URL": "http://box.example:8080", "OPENAI_API_KEY": "x"}
    configuration = load(endpoint(text), **env)
    assert whats(configuration) == [(f"endpoints.e.{path}", what)]


@pytest.mark.parametrize(
    "text",
    [
        "{kind: llama-swap, base_url: http://localhost:8080, api_key_env: MY}",
        '{kind: openai, base_url: "http://[::1]:8080", headers: {Authorization: "Bearer ${MY}"}}',
        "{kind: openai, base_url: https://api.openai.com/v1, api_key_env: MY}",
        "{kind: anthropic, base_url: https://api.anthropic.com, api_key_env: MY}",
        "{kind: anthropic, base_url: https://api.anthropic.com, api_key_env: ANTHROPIC_API_KEY}",
        "{kind: openai, base_url: https://api.openai.com/v1, api_key_env: OPENAI_API_KEY}",
        "{kind: openai, base_url: http://evil.example/v1}",
        '{kind: openai, base_url: "${URL}"}',
    ],
)
def test_what_needs_no_trust(load: Load, text: str) -> None:
    assert whats(load(endpoint(text), MY="x", URL="http://box.example:8080")) == []


def test_a_command_check(load: Load) -> None:
    text = endpoint("{kind: openai, base_url: http://127.0.0.1}")
    configuration = load(
        text + "verifiers: {v: {checks: [{kind: not_empty}, {kind: command, argv: [./x]}]}}\n"
    )
    assert whats(configuration) == [("verifiers.v.checks.1.argv", "runs: ./x")]


def test_an_api_key_command_whose_key_goes_elsewhere_counts_twice(load: Load) -> None:
    powers = whats(load(endpoint("{kind: openai, base_url: http://evil.example, api_key_cmd: [pass, x]}")))
    assert [what for _, what in powers] == [
        "runs: pass x",
        "sends the key that `pass x` prints to http://evil.example:80",
    ]


def test_it_is_shown_as_it_is(load: Load) -> None:
    text = endpoint('{kind: command, argv: [a, "\\e[2K\\u202e", "${TOKEN}", "${DIR}"]}')
    (power,) = load(text, TOKEN="hunter2", DIR="/d").powers
    assert power.what == "runs: a '\\x1b[2K\\u202e' '${TOKEN}' /d"
    assert "hunter2" not in repr(power)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ('base_url: "http://${MYKEY}.example.invalid/v1", api_key_env: MYKEY',
         "sends the key of MYKEY to http://${MYKEY}.example.invalid"),
        ('base_url: "${MY_TOKEN_URL}", api_key_env: MYKEY', "sends the key of MYKEY to ${MY_TOKEN_URL}"),
        ('base_url: "http://a.example", api_key_file: "/k/${MYKEY}"',
         "sends the key in /k/${MYKEY} to http://a.example:80"),
        ('base_url: "http://a.example/${MYKEY}"', "sends the value of MYKEY to http://a.example:80"),
    ],
)  # fmt: skip
def test_a_secret_in_an_address_is_not_shown(load: Load, entry: str, what: str) -> None:
    text = endpoint(f"{{kind: openai, {entry}}}")
    powers = load(text, MYKEY="hunter2", MY_TOKEN_URL="http://hunter2.example:8080").powers
    assert what in [power.what for power in powers]
    assert "hunter2" not in repr(powers)


def test_a_default_is_shown_whatever_the_variable_is_called(load: Load) -> None:
    text = endpoint(
        '{kind: openai, base_url: "${NO_TOKEN:-http://evil.example}", api_key_cmd: ["${NO_KEY:-evil}"]}'
    )
    assert [power.what for power in load(text, NO_KEY="").powers] == [
        "runs: evil",
        "sends the key that `evil` prints to http://evil.example:80",
    ]


def test_a_secret_argument_of_a_key_command_is_not_shown(load: Load) -> None:
    text = endpoint('{kind: openai, base_url: "http://a.example", api_key_cmd: [pass, "${TOKEN}"]}')
    powers = load(text, TOKEN="hunter2").powers
    assert [power.what for power in powers] == [
        "runs: pass '${TOKEN}'",
        "sends the key that `pass '${TOKEN}'` prints to http://a.example:80",
    ]


def test_trusting(load: Load, store: TrustStore, tmp_path: Path) -> None:
    found = FoundConfig(tmp_path / "chains.yaml", discovered=True)
    configuration = load(COMMAND)
    with pytest.raises(TrustError) as caught:
        require_trust(found, configuration, store)
    assert caught.value.exit_code == 3
    assert str(found.path) in caught.value.message
    assert "runs: claude -p 'a b'" in caught.value.message
    assert f"hyperguild trust {found.path}" in str(caught.value.hint)

    require_trust(FoundConfig(found.path, discovered=False), configuration, store)
    store.trust(found.path, configuration.powers)
    require_trust(found, configuration, store)

    other_edits = (
        COMMAND.replace("{e:", "{f: {kind: llama-swap, base_url: http://127.0.0.1}, e:") + "# a word\n"
    )
    require_trust(found, load(other_edits), store)

    with pytest.raises(TrustError):
        require_trust(found, load(COMMAND.replace("a b", "a c")), store)
    with pytest.raises(TrustError):
        require_trust(FoundConfig(tmp_path / "elsewhere/chains.yaml", discovered=True), configuration, store)


def test_a_discovered_file_with_hooks_is_refused_until_they_are_trusted(
    load: Load, store: TrustStore, tmp_path: Path
) -> None:
    harmless = endpoint("{kind: openai, base_url: http://127.0.0.1}")
    text = harmless + "hooks: {pre_tool: [[scripts/guard, --strict]]}\n"
    found = FoundConfig(tmp_path / "chains.yaml", discovered=True)
    require_trust(found, load(harmless), store)
    with pytest.raises(TrustError, match="runs: scripts/guard --strict"):
        require_trust(found, load(text), store)
    store.trust(found.path, load(text).powers)
    require_trust(found, load(text.replace("[[", "[{tools: shell, argv: [").replace("]]", "]}]")), store)
    for other in ("scripts/guard]", "scripts/guard, --lax]", "scripts/other, --strict]"):
        with pytest.raises(TrustError):
            require_trust(found, load(text.replace("scripts/guard, --strict]", other)), store)


def test_what_comes_out_of_the_environment_counts(load: Load, store: TrustStore, tmp_path: Path) -> None:
    text = endpoint('{kind: openai, base_url: "http://${HOST}", api_key_env: MY}')
    found = FoundConfig(tmp_path / "chains.yaml", discovered=True)
    store.trust(found.path, load(text, HOST="10.0.0.1").powers)
    require_trust(found, load(text, HOST="10.0.0.1"), store)
    require_trust(found, load(text, HOST="127.0.0.1"), store)
    with pytest.raises(TrustError):
        require_trust(found, load(text, HOST="10.0.0.2"), store)


def test_the_order_and_the_place_do_not_count(load: Load) -> None:
    check = "{kind: command, argv: [%s]}"
    text = endpoint("{kind: openai, base_url: http://127.0.0.1}")
    one = load(text + f"verifiers: {{v: {{checks: [{check % 'x'}, {check % 'y'}]}}}}\n")
    other = load(text + f"verifiers: {{w: {{checks: [{{kind: complete}}, {check % 'y'}, {check % 'x'}]}}}}\n")
    assert digest_of(one.powers) == digest_of(other.powers)
    joined = load(text + f"verifiers: {{v: {{checks: [{check % 'x, y'}]}}}}\n")
    assert digest_of(one.powers) != digest_of(joined.powers)


def test_the_record_is_for_the_user_alone(load: Load, store: TrustStore, tmp_path: Path) -> None:
    store.trust(tmp_path / "a", load(COMMAND).powers)
    store.trust(tmp_path / "b", load(COMMAND).powers)
    record = tmp_path / "state/hyperguild/trusted.json"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700
    assert set(json.loads(record.read_text())["files"]) == {str(tmp_path / "a"), str(tmp_path / "b")}
    assert [path.name for path in record.parent.iterdir()] == ["trusted.json"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"version": 2, "files": {}}', '{"version": 1, "files": {"a": 1}}', "\xff"]
)
def test_a_broken_record_is_not_overwritten(
    load: Load, store: TrustStore, tmp_path: Path, content: str
) -> None:
    record = tmp_path / "state/hyperguild/trusted.json"
    record.parent.mkdir(parents=True)
    record.write_text(content, encoding="latin-1")
    with pytest.raises(TrustError, match="not a record"):
        store.is_trusted(tmp_path / "a", "x")
    with pytest.raises(TrustError, match="not a record"):
        store.trust(tmp_path / "a", load(COMMAND).powers)
    assert record.read_text(encoding="latin-1") == content


def test_a_record_that_cannot_be_reached(load: Load, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = TrustStore(tmp_path / "file/trusted.json")
    with pytest.raises(TrustError, match="cannot be"):
        store.trust(tmp_path / "a", load(COMMAND).powers)
    (tmp_path / "folder").mkdir()
    with pytest.raises(TrustError, match="cannot be read"):
        TrustStore(tmp_path / "folder").is_trusted(tmp_path / "a", "x")


def agent(settings: str, tier: str = "{}") -> str:
    """Return a file whose only powers are those of `agent:`, on the chain and on the second tier."""
    return (
        'version: 1\nendpoints: {e: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}}\n'
        f"chains: {{a: {{agent: {settings}, tiers: [{{model: x, verify: false}}, "
        f"{{model: y, verify: false, agent: {tier}}}]}}}}\n"
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("{permission_mode: bypass}", ["use every tool without asking (permission_mode: bypass)"]),
        ("{permission_mode: accept_edits}", ["change files without asking (permission_mode: accept_edits)"]),
        ("{rules: {allow: ['shell(git:*)']}}", ["run shell commands without asking: shell(git:*)"]),
        ("{rules: {allow: [shell, fs_read, 'shell(git:*)']}}",
         ["run shell commands without asking: shell, shell(git:*)"]),
        ("{rules: {allow: ['shel?']}}", ["run shell commands and use other tools without asking: shel?"]),
        ("{rules: {allow: ['fs_write(src/**)', 'fs_*']}}",
         ["change files without asking: fs_write(src/**), fs_*"]),
        ("{rules: {allow: ['*']}}",
         ["run shell commands, change files and use other tools without asking: *"]),
        ("{rules: {allow: ['github_*', 'fetch_get(url=https://docs.*)', 'fs_r*']}}",
         ["use tools without asking: github_*, fetch_get(url=https://docs.*), fs_r*"]),
        ("{permission_mode: plan, rules: {allow: [shell, fs_edit]}}",
         ["run shell commands without asking: shell", "change files without asking: fs_edit"]),
        ("{permission_mode: bypass, rules: {ask: [fs_edit], deny: ['shell(rm:*)', 'a_*']}}",
         [("use every tool without asking (permission_mode: bypass); asked about: fs_edit; "
          "forbidden: shell(rm:*), a_*")]),
    ],
)  # fmt: skip
def test_what_models_may_do_unasked(load: Load, settings: str, expected: list[str]) -> None:
    powers = whats(load(agent(settings)))
    assert powers == [("chains.a.agent", f"lets models {deed}") for deed in expected]


@pytest.mark.parametrize(
    "settings",
    [
        "{}",
        "{max_steps: 1000, tools: ['*'], two_stage: never, tool_timeout_s: 9999}",
        "{permission_mode: deny}",
        "{permission_mode: plan}",
        "{permission_mode: default}",
        "{permission_mode: auto}",
        "{rules: {allow: [fs_read, fs_ls, 'fs_glob(src/**)', fs_grep], ask: [shell], deny: ['*']}}",
    ],
)
def test_reading_and_asking_need_no_trust(load: Load, settings: str) -> None:
    assert whats(load(agent(settings, settings))) == []


def test_the_power_of_a_tier_stands_where_it_was_written(load: Load) -> None:
    inherited = agent("{rules: {allow: [shell]}}", "{permission_mode: bypass}")
    assert whats(load(inherited)) == [
        ("chains.a.agent", "lets models run shell commands without asking: shell"),
        ("chains.a.tiers.1.agent", "lets models use every tool without asking (permission_mode: bypass)"),
    ]
    short = inherited.replace("{agent: {rules: {allow: [shell]}}, tiers: ", "").replace("}]}}\n", "}]}\n")
    assert [path for path, _ in whats(load(short))] == ["chains.a.1.agent"]
    only = agent("{permission_mode: bypass}", "{max_steps: 3}").replace("{model: x, verify: false}, ", "")
    assert [path for path, _ in whats(load(only))] == ["chains.a.agent"]


def test_a_chains_power_that_no_tier_has_is_none(load: Load) -> None:
    text = agent("{permission_mode: bypass}", "{permission_mode: plan}")
    assert [path for path, _ in whats(load(text))] == ["chains.a.agent"]
    only = text.replace("{model: x, verify: false}, ", "")
    assert only != text
    assert whats(load(only)) == []


def test_a_discovered_file_that_lets_models_act_is_refused(
    load: Load, store: TrustStore, tmp_path: Path
) -> None:
    found = FoundConfig(tmp_path / "chains.yaml", discovered=True)
    text = agent("{rules: {allow: ['shell(git:*)'], deny: ['shell(git push:*)']}}")
    with pytest.raises(
        TrustError, match=r"it lets models run shell commands without asking: shell\(git:\*\)"
    ):
        require_trust(found, load(text), store)
    store.trust(found.path, load(text).powers)
    require_trust(found, load(text), store)
    require_trust(found, load(text.replace("{rules", "{max_steps: 3, tools: shell, rules")), store)
    require_trust(found, load(agent("{}")), TrustStore(tmp_path / "empty.json"))
    for wider in (
        text.replace("shell(git:*)", "shell(g:*)"),
        text.replace("deny", "ask"),
        text.replace("'shell(git push:*)'", ""),
        text.replace("{rules", "{permission_mode: accept_edits, rules"),
    ):
        assert wider != text
        with pytest.raises(TrustError):
            require_trust(found, load(wider), store)


def test_the_order_of_rules_does_not_count_but_their_kind_does(load: Load) -> None:
    def digest(rules: str) -> str:
        return digest_of(load(agent(f"{{permission_mode: bypass, rules: {rules}}}")).powers)

    one = digest("{allow: [shell, 'shell(a)'], ask: [b, c], deny: [d]}")
    assert one == digest("{allow: ['shell(a)', shell, shell], ask: [c, b], deny: [d]}")
    assert one != digest("{allow: [shell, 'shell(a)'], ask: [b], deny: [c, d]}")
    assert one != digest("{allow: [shell, 'shell(a)', b], ask: [c], deny: [d]}")
