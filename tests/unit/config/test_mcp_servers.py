"""`mcp_servers`: what they come to, what is refused, and what of them needs trust."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from hyperguild.config.configuration import Configuration
from hyperguild.config.json_schema import chains_json_schema
from hyperguild.config.marks import read_yaml
from hyperguild.config.trust import digest_of
from hyperguild.domain.mcp import McpServer

Load = Callable[..., Configuration]
Refuse = Callable[..., list[str]]

HEAD = """\
version: 1
endpoints: {swap: {kind: llama-swap, base_url: "http://127.0.0.1:8080"}}
chains: {a: [{model: qwen, verify: false}]}
"""
SECRET = "hunter2hunter2"


def servers(text: str) -> str:
    return f"{HEAD}mcp_servers: {text}\n"


def whats(configuration: Configuration) -> list[tuple[str, str]]:
    return [(power.path, power.what) for power in configuration.powers]


def test_none_by_default(load: Load) -> None:
    assert load(HEAD).mcp_servers == {}


def test_all_of_a_program(load: Load, tmp_path: Path) -> None:
    text = """{files: {argv: [npx, "${PACKAGE:-x}"], env: {API_KEY: "${K}", LOG: info}, cwd: ~/work,
    category: search, read_only: "read_*", tools: ["read_*", edit], timeout_s: 5, start_timeout_s: 90}}"""
    (server,) = load(servers(text), K=SECRET, HOME="/home/me").mcp_servers.values()
    assert server == McpServer(
        "files",
        ("npx", "x"),
        env={"API_KEY": SECRET, "LOG": "info"},
        cwd=Path("/home/me/work"),
        category="search",
        read_only=("read_*",),
        tools=("read_*", "edit"),
        timeout_s=5.0,
        start_timeout_s=90.0,
    )
    assert SECRET not in repr(server)
    assert load(servers("{s: {argv: [x]}}")).mcp_servers["s"].cwd == tmp_path
    assert load(servers("{s: {argv: [x], cwd: sub}}")).mcp_servers["s"].cwd == tmp_path / "sub"


@pytest.mark.parametrize(
    ("written", "globs"),
    [("true", ("*",)), ("false", ()), ("get_*", ("get_*",)), ("[get_*, find]", ("get_*", "find"))],
)
def test_c8_deferred_is_all_none_or_globs(load: Load, written: str, globs: tuple[str, ...]) -> None:
    assert load(servers(f"{{s: {{argv: [x], deferred: {written}}}}}")).mcp_servers["s"].deferred == globs


def test_all_of_an_address(load: Load) -> None:
    text = '{hub: {url: "https://${HOST}/mcp/", headers: {Authorization: "Bearer ${K}"}}}'
    (server,) = load(servers(text), K=SECRET, HOST="mcp.example").mcp_servers.values()
    assert server == McpServer(
        "hub", url="https://mcp.example/mcp/", headers={"Authorization": f"Bearer {SECRET}"}
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{a: {}}", "mcp_servers.a: needs argv (a program) or url (an address)"),
        ("{a: {argv: [x], url: http://h}}", "mcp_servers.a: has argv and url; keep one of them"),
        ("{a: {url: http://h, env: {A: b}, cwd: x}}",
         "mcp_servers.a: has env and cwd, which only a program (argv) can have"),
        ("{a: {argv: [x], headers: {A: b}}}",
         "mcp_servers.a: has headers, which only an address (url) can have"),
        ("{a: {argv: []}}", "mcp_servers.a.argv: must not be empty"),
        ("{a: {argv: x}}", "mcp_servers.a.argv: must be a list"),
        ("{a: {url: ftp://h}}", "mcp_servers.a.url: must begin with http:// or https://"),
        ("{a: {argv: [x], timeout_s: 0}}", "mcp_servers.a.timeout_s: must be more than 0"),
        ("{a: {argv: [x], category: serach}}",
         'mcp_servers.a.category: must be read, write, search, exec or meta; did you mean "search"?'),
        ("{a: {argv: [x], readonly: x}}", 'mcp_servers.a.readonly: unknown key; did you mean "read_only"?'),
        ("{a: {argv: [x], env: {A: 1}}}",
         "mcp_servers.a.env.A: must be text; quote it if it looks like a number or a word such as yes"),
        ('{a: {argv: ["${NO}"]}}',
         "mcp_servers.a.argv.0: the environment variable NO is not set; set it, or write ${NO:-default}"),
        ("{a.b: {argv: [x]}}",
         "mcp_servers.a.b: must be a name of letters, digits, _ and -: its tools are called NAME_tool"),
        ("{fs: {argv: [x]}}", "mcp_servers.fs: is a name that built-in tools have; choose another one"),
        ("{fs_x: {argv: [x]}}", "mcp_servers.fs_x: is a name that built-in tools have; choose another one"),
        ("{built-in: {argv: [x]}}",
         "mcp_servers.built-in: is a name that built-in tools have; choose another one"),
    ],
)  # fmt: skip
def test_refusals(refuse: Refuse, text: str, problem: str) -> None:
    (line,) = refuse(servers(text))
    assert line.partition(": ")[2] == problem


def test_a_slip_in_the_name_of_the_section(refuse: Refuse) -> None:
    (line,) = refuse(f"{HEAD}mcp_server: {{}}\n")
    assert 'did you mean "mcp_servers"?' in line


@pytest.mark.parametrize(
    "entry",
    [
        "argv: [x], env: {API_KEY: %s}",
        "argv: [x], env: {GITHUB_TOKEN: %s}",
        'argv: [x], env: {DB_PASSWORD: "${NONE:-%s}"}',
        "url: http://h, headers: {Authorization: Bearer %s}",
        "url: http://u:%s@h",
        "argv: [x], api_key: %s",
        "argv: [x], env: {A: sk-ant-%s}",
        "argv: [x, sk-ant-%s]",
    ],
)
def test_secrets_in_clear_are_refused_and_not_repeated(refuse: Refuse, entry: str) -> None:
    lines = refuse(servers(f"{{a: {{{entry % SECRET}}}}}"))
    assert lines
    assert SECRET not in "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "powers"),
    [
        ("{a: {argv: [npx, a b]}}", [("mcp_servers.a.argv", "runs: npx 'a b'")]),
        ('{a: {argv: [x, "${TOKEN}"], cwd: sub, env: {B: "${TOKEN}", A: "${DIR}"}}}',
         [("mcp_servers.a.argv", "runs in sub: A=/d 'B=${TOKEN}' x '${TOKEN}'")]),
        ("{a: {url: http://mcp.example}}", []),
        ('{a: {url: "http://127.0.0.1/${TOKEN}", headers: {X-A: "${TOKEN}"}}}', []),
        ('{a: {url: "https://mcp.example", headers: {X-A: "Bearer ${TOKEN}"}}}',
         [("mcp_servers.a.headers.X-A", "sends the value of TOKEN to https://mcp.example:443")]),
        ('{a: {url: "https://mcp.example/${TOKEN}"}}',
         [("mcp_servers.a.url", "sends the value of TOKEN to https://mcp.example:443")]),
        ("{a: {url: http://127.0.0.1, read_only: [get_*, 'a']}}",
         [("mcp_servers.a.read_only",
           "lets models use tools as ones that only read: a, get_* of the MCP server a")]),
    ],
)  # fmt: skip
def test_powers(load: Load, text: str, powers: list[tuple[str, str]]) -> None:
    configuration = load(servers(text), TOKEN=SECRET, DIR="/d")
    assert whats(configuration) == powers
    assert SECRET not in repr(configuration.powers)


def test_variables_folder_and_arguments_are_trusted_apart(load: Load) -> None:
    entries = ["", ", env: {A: b}", ", env: {A: c}", ", cwd: A=b", ", cwd: d", ", env: {A: b}, cwd: d"]
    texts = [servers(f"{{a: {{argv: [x]{entry}}}}}") for entry in entries]
    texts.append(servers("{a: {argv: [A=b, x]}}"))
    assert len({digest_of(load(text).powers) for text in texts}) == len(texts)


def test_the_example_in_the_repositorys_own_file_can_be_used(load: Load) -> None:
    own = (Path(__file__).parents[3] / "chains.yaml").read_text(encoding="utf-8")
    example = own[own.index("# mcp_servers:") :].partition("\n\n")[0]
    text = own.replace(example, "\n".join(line.removeprefix("# ") for line in example.splitlines()))
    jsonschema.Draft202012Validator(chains_json_schema()).validate(read_yaml(text).data)
    configuration = load(text, HOME="/home/me", ISSUES_TOKEN=SECRET)
    files, issues = configuration.mcp_servers.values()
    assert files.argv[-1] == "/home/me/notes"
    assert issues.headers == {"Authorization": f"Bearer {SECRET}"}
