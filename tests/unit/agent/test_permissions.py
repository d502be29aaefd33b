"""Which calls run, which are asked about, and which are refused."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from hyperguild.agent.permissions import (
    Allow,
    Decision,
    Deny,
    PermissionContext,
    decide_permission,
    path_refusal,
    tool_limit,
)
from hyperguild.agent.rules import Rules, parse_rules
from hyperguild.agent.safety_list import protected_path
from hyperguild.domain.agent import PermissionMode
from hyperguild.domain.tools import ToolCall, ToolSpec
from hyperguild.skills.allowed_tools import parse_allowed_tools

PERMISSION_MODES: tuple[PermissionMode, ...] = (
    "deny",
    "plan",
    "default",
    "accept_edits",
    "auto",
    "bypass",
)

READ = ToolSpec("fs_read", "", {}, "read", "read")
GREP = ToolSpec("fs_grep", "", {}, "read", "search")
WRITE = ToolSpec("fs_write", "", {}, "write", "write")
EDIT = ToolSpec("fs_edit", "", {}, "write", "write")
SHELL = ToolSpec("shell", "", {}, "exec", "exec")
WEATHER = ToolSpec("weather_get", "", {}, "read", source="weather")
POST = ToolSpec("mail_send", "", {}, "exec", source="mail")
NOTE = ToolSpec("notes_put", "", {}, "write", source="notes")
CATEGORY = ToolSpec("select_category", "", {}, "read", "meta")


def rules(**lists: list[str]) -> Rules:
    read, faults = parse_rules(lists)
    assert faults == ()
    return read


def decide(spec: ToolSpec, context: PermissionContext, **arguments: object) -> Decision:
    return decide_permission(ToolCall("1", spec.name, arguments), spec, context)


def on(mode: PermissionMode, path: str, given: Rules | None = None) -> PermissionContext:
    return PermissionContext(mode, given or Rules(), can_ask=True, paths=(path,), workdir="/w")


def kind(decision: Decision) -> str:
    return type(decision).__name__.lower()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("deny", ("deny", "deny", "deny", "deny", "deny", "deny", "deny")),
        ("plan", ("allow", "ask", "deny", "deny", "deny", "allow", "deny")),
        ("default", ("ask", "ask", "ask", "ask", "ask", "ask", "ask")),
        ("accept_edits", ("allow", "ask", "allow", "ask", "ask", "allow", "ask")),
        ("auto", ("allow", "ask", "ask", "ask", "ask", "allow", "ask")),
        ("bypass", ("allow", "allow", "allow", "allow", "allow", "allow", "allow")),
    ],
)
def test_c3_modes(mode: PermissionMode, expected: tuple[str, ...]) -> None:
    read, outside, write, write_outside, command, server_read, server_write = expected
    assert kind(decide(READ, on(mode, "src/a.py"), path="src/a.py")) == read
    assert kind(decide(READ, on(mode, "/etc/hosts"), path="/etc/hosts")) == outside
    assert kind(decide(WRITE, on(mode, "src/a.py"), path="src/a.py")) == write
    assert kind(decide(WRITE, on(mode, "/tmp/a"), path="/tmp/a")) == write_outside
    anywhere = PermissionContext(mode, can_ask=True)
    assert kind(decide(SHELL, anywhere, command="ls")) == command
    assert kind(decide(WEATHER, anywhere, city="Bonn")) == server_read
    assert kind(decide(NOTE, anywhere, text="x")) == server_write


def test_c3_every_mode_is_in_the_list() -> None:
    assert get_args(PermissionMode) == PERMISSION_MODES


@pytest.mark.parametrize("mode", PERMISSION_MODES)
def test_c3_nobody_there_to_ask_means_deny(mode: PermissionMode) -> None:
    specs = (READ, WRITE, SHELL, WEATHER, POST)
    for spec in specs:
        asked = decide(spec, on(mode, "a"), path="a", command="ls")
        alone = decide(spec, PermissionContext(mode, paths=("a",)), path="a", command="ls")
        assert kind(alone) == kind(asked).replace("ask", "deny")


@pytest.mark.parametrize("mode", PERMISSION_MODES)
def test_c3_deny_rules_bind_in_every_mode_and_before_every_other_rule(mode: PermissionMode) -> None:
    given = rules(allow=["fs_*", "weather_*"], ask=["fs_read"], deny=["fs_read(a/**)", "weather_*"])
    denied = decide(READ, on(mode, "a/b", given), path="a/b")
    assert denied == Deny('the rule "fs_read(a/**)" forbids it', "rule")
    assert kind(decide(WEATHER, on(mode, "x", given))) == "deny"


@pytest.mark.parametrize("mode", PERMISSION_MODES)
def test_c3_the_safety_list_binds_in_every_mode_and_against_allow_rules(mode: PermissionMode) -> None:
    given = rules(allow=["fs_*", "fs_read(.env)", "files_*"])
    for spec, path in itertools.product(
        (READ, GREP, WRITE, EDIT), (".env", "a/.ssh/x", "/h/.aws/credentials")
    ):
        decision = decide(spec, on(mode, path, given), path=path)
        assert isinstance(decision, Deny)
        assert decision.cause == "safety_list"
    foreign = ToolSpec("files_open", "", {}, "read", source="files")
    assert kind(decide(foreign, PermissionContext(mode, given), what={"paths": ["x", "a/.env"]})) == "deny"


def test_c3_the_safety_list_looks_at_the_path_as_given_and_as_resolved() -> None:
    assert kind(decide(READ, on("bypass", ".env"), path="innocent")) == "deny"
    assert kind(decide(READ, on("bypass", "elsewhere"), path=".env")) == "deny"
    assert kind(decide(WRITE, on("bypass", ".gitignore"), path=".gitignore", content=".env")) == "allow"


@pytest.mark.parametrize(
    "path",
    [
        ".env", "a/b/.env", ".Env", ".env.production", ".envrc", "/w/.env", ".env ", ".env.", "./x/../.env",
        ".ssh/config", "/home/me/.ssh", "id_rsa", "id_ed25519", "x/id_rsa.bak", "id_rsa_old",
        "a.key", "A.KEY", "cert.p12", ".aws/credentials", ".aws/config", ".netrc", ".npmrc", ".pypirc",
        "tls/server.pem", ".pgpass", ".docker/config.json", ".kube/config", ".gnupg/secring.gpg",
        "credentials.json", "client_secret_1.json",
        "service-account.json", ".config/gcloud/x", ".config/gh/hosts.yml", ".git-credentials",
        ".cargo/credentials.toml", "/etc/shadow", "/proc/1/environ", ".git/config", ".git/modules/a/config",
        "sub/.git/config", "GIT~1/config", ".g\u200cit/config", "\uff0eenv",
    ],
)  # fmt: skip
def test_c3_paths_that_are_neither_read_nor_written(path: str) -> None:
    assert protected_path(path, "read")
    assert protected_path(path, "write")


@pytest.mark.parametrize(
    "path",
    [".git", ".git/HEAD", ".git/hooks/pre-commit", ".gitconfig", ".bashrc", "/home/me/.zshrc", "chains.yaml"],
)
def test_c3_paths_that_are_read_but_not_written(path: str) -> None:
    assert protected_path(path, "read") is None
    assert protected_path(path, "write")


@pytest.mark.parametrize(
    "path",
    [
        ".env.example", ".env.sample", "env", "a.env.py", "environment", "id_rsa.pub", "key.py", "keys/a.txt",
        ".gitignore", ".github/workflows/ci.yml", "git/config", "src/ssh/id.py", "credentials.py", ".key", "",
        ".", "..", "/", "shadow.css", "docker/config.json", "my_id_rsa_notes.md", "chains.yaml.md", "x.pub",
    ],
)  # fmt: skip
def test_c3_paths_that_only_look_alike_are_free(path: str) -> None:
    assert protected_path(path, "write") is None


def test_c3_allow_beats_the_mode_and_ask_beats_allow() -> None:
    given = rules(allow=["fs_write(src/**)", "mail_send"], ask=["fs_write(src/asked/**)"])
    assert decide(WRITE, on("default", "src/a.py", given)) == Allow()
    assert kind(decide(WRITE, on("default", "src/asked/a.py", given))) == "ask"
    assert kind(decide(WRITE, on("bypass", "src/asked/a.py", given))) == "ask"
    assert kind(decide(WRITE, on("default", "lib/a.py", given))) == "ask"
    assert decide(POST, on("default", "x", given), to="a") == Allow()


def test_c3_an_allow_rule_lifts_neither_plan_nor_deny() -> None:
    given = rules(allow=["fs_write", "shell(ls:*)", "fs_read"])
    assert decide(WRITE, on("plan", "a", given)) == Deny(
        '"fs_write" may not run in permission mode "plan", which only reads', "mode"
    )
    assert kind(decide(SHELL, on("plan", "a", given), command="ls")) == "deny"
    assert decide(READ, on("deny", "a", given)) == Deny('no tool may run in permission mode "deny"', "mode")
    assert decide(READ, on("plan", "/outside", given)) == Allow()


@pytest.mark.parametrize(
    ("pattern", "path", "allowed", "denied"),
    [
        ("src/**", "src/a/b.py", True, True),
        ("src/**", "src", True, True),
        ("src/**", "srcx/a", False, False),
        ("src/**", "lib/src/a", False, False),
        ("src/**", "/other/src/a", False, False),
        ("src/**", "../src/a", False, False),
        ("src/", "src/a/b", True, True),
        ("./src/*", "src/a", True, True),
        ("src/*", "src/a/b", False, False),
        ("src/*.py", "src/a.py", True, True),
        ("src/**/*.py", "src/a.py", True, True),
        ("src/**/*.py", "src/x/y/a.py", True, True),
        ("src/**/*.py", "src/x/y/a.txt", False, False),
        ("**/x/**", "a/b/x/c/d", True, True),
        ("*.md", "docs/a.md", True, True),
        ("*.md", "/etc/a.md", False, True),
        ("SRC/**", "src/a", False, True),
        ("/data/**", "/data/a/b", True, True),
        ("/a/**", "/ab", False, False),
        ("/w/**", "/other", False, False),
        ("app/[id]/*", "app/[id]/page.tsx", True, True),
        ("**", "a/b", True, True),
        ("src/**", "skill:/src/a", False, False),
    ],
)
def test_c3_path_patterns(pattern: str, path: str, allowed: bool, denied: bool) -> None:
    allowing = decide(EDIT, on("default", path, rules(allow=[f"fs_edit({pattern})"])))
    assert kind(allowing) == ("allow" if allowed else "ask")
    forbidding = decide(EDIT, on("bypass", path, rules(deny=[f"fs_edit({pattern})"])))
    assert kind(forbidding) == ("deny" if denied else "allow")


def test_c3_an_allow_rule_must_cover_every_path_and_a_deny_rule_any() -> None:
    both = PermissionContext("default", rules(allow=["fs_read(a/**)"]), can_ask=True, paths=("a/x", "b/x"))
    assert kind(decide(READ, both)) == "ask"
    none = PermissionContext("default", rules(allow=["fs_read(a/**)"]), can_ask=True)
    assert kind(decide(READ, none)) == "ask"
    some = PermissionContext("bypass", rules(deny=["fs_read(a/**)"]), paths=("b/x", "a/x"))
    assert kind(decide(READ, some)) == "deny"


def test_c3_a_path_pattern_that_forbids_binds_every_tool_that_does_the_same() -> None:
    given = rules(deny=["fs_write(a/**)", "fs_read(b/**)", "fs_edit"])
    assert kind(decide(WRITE, on("bypass", "a/x", given))) == "deny"
    assert kind(decide(GREP, on("bypass", "b/x", given))) == "deny"
    assert kind(decide(READ, on("bypass", "a/x", given))) == "allow"
    assert kind(decide(WRITE, on("bypass", "b/x", given))) == "allow"
    assert kind(decide(EDIT, on("bypass", "c", given))) == "deny"
    edits = rules(deny=["fs_edit(a/**)"])
    assert kind(decide(WRITE, on("bypass", "a/x", edits))) == "deny"
    assert kind(decide(WRITE, on("default", "a/x", rules(allow=["fs_edit(a/**)"])))) == "ask"


def test_c3_what_a_search_comes_upon_is_held_to_the_same_list_and_rules() -> None:
    given = rules(deny=["fs_grep(a/**)", "fs_write(b/**)", "fs_read"], allow=["fs_*"])
    assert path_refusal("x/.env", "read", given) == "an environment file"
    assert path_refusal("a/x", "read", given) == 'forbidden by the rule "fs_grep(a/**)"'
    assert path_refusal("a/x", "write", given) is None
    assert path_refusal("b/x", "write", given) == 'forbidden by the rule "fs_write(b/**)"'
    assert path_refusal("b/x", "read", given) is None


def test_c3_argument_patterns_of_other_tools() -> None:
    get = ToolSpec("web_get", "", {}, "exec", source="web")
    ask = PermissionContext("default", rules(allow=["web_get(url=https://docs.example/*)"]), can_ask=True)
    assert decide(get, ask, url="https://docs.example/a/b", depth=3) == Allow()
    assert kind(decide(get, ask, url="https://docs.example.evil/", depth=3)) == "ask"
    assert kind(decide(get, ask, url="https://docs.example/../x")) == "ask"
    assert kind(decide(get, ask, other="https://docs.example/a")) == "ask"
    assert kind(decide(get, ask, url=["https://docs.example/a"])) == "ask"
    every = PermissionContext("default", rules(allow=["web_get(https://*)"]), can_ask=True)
    assert decide(get, every, url="https://a") == Allow()
    assert kind(decide(get, every, url="https://a", depth=3)) == "ask"
    assert kind(decide(get, every)) == "ask"
    deny = PermissionContext("bypass", rules(deny=["web_get(*evil*)"]))
    assert kind(decide(get, deny, body={"list": [1, "so evil a text"]})) == "deny"
    assert kind(decide(get, deny, body="good")) == "allow"


def test_c3_folders_opened_beside_the_work_directory_count_as_inside() -> None:
    def context(path: str) -> PermissionContext:
        return PermissionContext("auto", can_ask=True, paths=(path,), workdir="/w", opened=("/a/",))

    assert decide(READ, context("/a/x")) == Allow()
    assert kind(decide(READ, context("/ab"))) == "ask"
    assert decide(READ, context("/w/x")) == Allow()
    assert kind(decide(READ, context("/wx"))) == "ask"


def test_c3_the_skills_own_files_are_read_without_asking_and_not_written() -> None:
    assert decide(READ, on("default", "skill:/references/a.md")) == Allow()
    assert decide(READ, on("plan", "session:/results/1.txt")) == Allow()
    assert kind(decide(READ, on("deny", "skill:/a"))) == "deny"
    assert kind(decide(WRITE, on("accept_edits", "skill:/a"))) == "ask"
    assert decide(CATEGORY, PermissionContext("default"), category="read") == Allow()


def test_c2_a_tool_outside_the_runs_list_is_refused() -> None:
    limit = tool_limit(parse_allowed_tools("fs_read, weather_*"))
    context = PermissionContext("bypass", run_tools=limit)
    assert decide(READ, context) == Allow()
    assert decide(WEATHER, context) == Allow()
    assert decide(SHELL, context, command="ls") == Deny(
        '"shell" is not among the tools of this run', "not_listed"
    )


def test_c2_a_tool_outside_the_skills_list_is_refused_and_the_list_grants_nothing() -> None:
    context = PermissionContext(
        "auto", skill_tools=tool_limit(parse_allowed_tools("Read Write mcp__weather"))
    )
    assert decide(READ, context) == Allow()
    assert decide(WEATHER, context) == Allow()
    assert decide(WRITE, context).__class__ is Deny
    assert decide(EDIT, context) == Deny(
        '"fs_edit" is not among the tools that the skill allows', "not_in_skill"
    )


def test_c2_a_tool_not_offered_in_this_step_is_refused_even_if_it_exists() -> None:
    context = PermissionContext("bypass", offered=frozenset({"fs_read"}))
    assert decide(READ, context) == Allow()
    assert decide(WRITE, context) == Deny('"fs_write" was not offered in this step', "not_offered")


@pytest.mark.parametrize(
    ("command", "within"),
    [
        ("git log", True),
        ("git log && git status", True),
        ("git log > x", False),
        ("git log > /dev/null", True),
        ("git log; ls", False),
        ("git $(ls)", False),
        ("ls", False),
        ("", False),
    ],
)
def test_c2_a_list_with_patterns_limits_the_arguments(command: str, within: bool) -> None:
    limit = tool_limit(parse_allowed_tools("Read Bash(git:*)"))
    for context in (
        PermissionContext("bypass", skill_tools=limit),
        PermissionContext("bypass", run_tools=limit),
    ):
        decision = decide(SHELL, context, command=command)
        assert isinstance(decision, Allow if within else Deny)
        if isinstance(decision, Deny):
            assert '"shell(git:*)"' in decision.reason


def test_c2_a_limit_that_is_not_understood_permits_nothing() -> None:
    limit = tool_limit(parse_allowed_tools("Bash(git log | head)"))
    context = PermissionContext("bypass", skill_tools=limit)
    assert kind(decide(SHELL, context, command="git log | head")) == "deny"
    everything = tool_limit(parse_allowed_tools("Bash(*)"))
    assert decide(SHELL, PermissionContext("bypass", skill_tools=everything), command="a | b > c") == Allow()


def test_c2_arguments_that_are_no_object_are_refused_with_the_parsers_words() -> None:
    call = ToolCall("1", "fs_read", None, "{", "line 1: a quote is missing")
    decision = decide_permission(call, READ, PermissionContext("bypass"))
    assert decision == Deny(
        'the arguments of "fs_read" are not a JSON object: line 1: a quote is missing', "arguments"
    )


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ({"alow": []}, 'alow: unknown key; there are "allow", "ask" and "deny"'),
        ({"deny": "shell"}, "deny: a list of rules is expected"),
        ({"deny": ["fs_read", 3]}, 'deny.1: "3": a rule is a text such as shell(git:*)'),
        ({"deny": [""]}, 'deny.0: "": a rule is the name of a tool, then at most one pattern in brackets'),
        ({"deny": ["shell(a) b"]}, "then at most one pattern in brackets"),
        ({"deny": ["shell(a"]}, "then at most one pattern in brackets"),
        ({"deny": ["Bash(rm:*)"]}, 'no tool bears this name here; did you mean "shell"?'),
        ({"deny": ["mcp__a__b"]}, 'did you mean "a_b"?'),
        ({"deny": ["shell()"]}, "the brackets are empty"),
        ({"deny": ["shell(a | b)"]}, "the words of one simple command"),
        ({"deny": ["shell(a > b)"]}, "the words of one simple command"),
        ({"deny": ["shell($x:*)"]}, "the words of one simple command"),
        ({"deny": ["shell(a 'b)"]}, "the words of one simple command"),
        ({"deny": ["shell(X=1 a)"]}, "begins with the name of a program"),
        ({"deny": ["fs_read(~/x)"]}, "write the absolute path"),
        ({"deny": ["fs_read(../x)"]}, "does not climb"),
        ({"deny": ["fs_read(*.{a,b})"]}, "only * and ** are known"),
        ({"deny": ["web_*(a)"]}, "needs the name of one tool"),
    ],
)
def test_c3_a_rule_that_cannot_be_read_is_a_fault_in_words(source: dict[str, object], fault: str) -> None:
    read, faults = parse_rules(source)
    assert len(faults) == 1
    assert fault in faults[0]
    assert all(rule.text == "fs_read" for rule in read.deny)
