"""Any shell text: never an error, never too slow; and bash agrees with what is said to be certain."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from hyperguild.agent.command_line import CommandLine, read_command_line
from hyperguild.agent.permissions import (
    Allow,
    Decision,
    Deny,
    PermissionContext,
    decide_permission,
)
from hyperguild.agent.rules import parse_rules
from hyperguild.domain.agent import PermissionMode
from hyperguild.domain.tools import ToolCall, ToolSpec

BASH = shutil.which("bash")
SHELL = ToolSpec("shell", "", {}, "exec", "exec")
RULES, _ = parse_rules(
    {
        "allow": ["shell(ls:*)", "shell(git:*)", "shell(echo:*)", "fs_write(out/**)"],
        "deny": ["shell(rm:*)", "shell(git push:*)"],
    }
)
_TOKENS = """
    ' " \\ ` $ $( ${ $(( ( ) { } [ ] ; & && | || |& < > >> << <<- <<< <( # * ? ~ = ! , .. rm git ls sh -c eval
    xargs find -exec env sudo EOF if then fi do done case esac for in x $x .env a*
"""
TOKENS = st.sampled_from([*_TOKENS.split(), "\n"])
ANY_TEXT = st.text(st.characters()) | st.lists(TOKENS | st.just(" "), max_size=40).map("".join)

ALLOWED = [
    "ls",
    "ls -l",
    "git status",
    "echo 'x; y'",
    'echo "a b"',
    "git log > out/x",
    "(ls)",
    "{ ls; }",
    "! ls",
]
DENIED = [
    *("rm x", "'rm' x", "\\rm x", "sudo rm x", "env rm x", "xargs rm", "sh -c 'rm x'", "echo $(rm x)"),
    *("git push", "git -C . push", "/bin/rm -rf x", "cat .env", "echo x > .env", "find . -exec rm {} +"),
    *("if ls; then rm x; fi", "time X=1 rm x", "> out/x rm x"),
]
OPERATORS = st.sampled_from([";", "&&", "||", "|", "|&", "&", "\n", " ; ", " && ", "\n\n", " \\\n; "])


def decide(command: str, mode: PermissionMode = "auto") -> Decision:
    context = PermissionContext(mode, RULES, can_ask=True)
    return decide_permission(ToolCall("1", "shell", {"command": command}), SHELL, context)


@given(ANY_TEXT)
@example("$'\\U00110000'")
@example("\ud800$'\\c'")
def test_c3_no_text_is_an_error(text: str) -> None:
    line = read_command_line(text)
    assert all(line.doubts)
    for mode in ("auto", "bypass"):
        decide(text, mode)


@given(st.lists(st.sampled_from(ALLOWED), min_size=1, max_size=4), OPERATORS)
def test_c3_allowed_parts_joined_are_allowed(parts: list[str], operator: str) -> None:
    assert decide(operator.join(parts)) == Allow()


@given(st.data(), st.lists(st.sampled_from(ALLOWED), max_size=4), st.sampled_from(DENIED))
def test_c3_allowed_and_denied_parts_joined_are_never_allowed(
    data: st.DataObject, allowed: list[str], denied: str
) -> None:
    parts = [*allowed, denied]
    order = data.draw(st.permutations(parts))
    text = order[0]
    for part in order[1:]:
        text += data.draw(OPERATORS) + part
    wrap = data.draw(
        st.sampled_from(["{}", "({})", "sh -c '(:)' ; {}", 'echo "$({})"', "time {}", "echo `{}`"])
    )
    text = wrap.replace("{}", text) if "`" not in wrap or "\\" not in text else text
    for mode in ("auto", "bypass"):
        assert isinstance(decide(text, mode), Deny)


@given(st.sampled_from([text for text in DENIED if "'" not in text and "$" not in text]), st.data())
def test_c3_quoting_a_word_never_turns_deny_into_allow(denied: str, data: st.DataObject) -> None:
    words = denied.split(" ")
    plain = [i for i, word in enumerate(words) if word.replace(".", "").replace("/", "").isalnum()]
    plain = [i for i in plain if words[i] not in {"if", "then", "fi"}]
    for spot in data.draw(st.lists(st.sampled_from(plain), min_size=1, unique=True)):
        word = words[spot]
        cut = data.draw(st.integers(0, len(word)))
        quote = data.draw(st.sampled_from(["'{}'", '"{}"', "\\{}", "$'{}'", "''{}", '{}""', "\\\n{}"]))
        words[spot] = word[:cut] + (quote.replace("{}", word[cut:]) if cut < len(word) else "''")
    for mode in ("auto", "bypass"):
        assert isinstance(decide(" ".join(words), mode), Deny)


@given(st.text(st.sampled_from("ab \t\n'\"\\;|&(){}<>$`#*!="), max_size=30), st.sampled_from(DENIED))
def test_c3_nothing_around_a_denied_line_makes_it_allowed(around: str, denied: str) -> None:
    for text in (f"{around}\n{denied}", f"{denied}\n{around}"):
        assume("<<" not in around)
        assert decide(text) != Allow()


@pytest.mark.long  # texts of 100,000 characters
@pytest.mark.parametrize(
    "text",
    [
        "$(" * 50_000,
        "`" * 100_001,
        "'" * 100_001,
        "\\" * 100_001,
        "(" * 100_000,
        "[" * 100_000,
        "{" * 50_000 + "," + "}" * 50_000,
        "${a:-" * 20_000,
        "$((" * 33_000,
        '"$(' * 33_000,
        "*a" * 50_000,
        "rm " + "a.env " * 16_000,
        "git x;" * 16_000,
        "sudo " * 20_000,
        "sudo 'a b' " * 9_000,
        "time " * 20_000,
        "find . -exec " * 7_500,
        "xargs -I{} {} " * 7_000,
        "sh -c '" * 14_000,
        "eval " * 20_000,
        "cat <<A " * 12_000 + "\n" + "x\n" * 1000,
        "cd a*;" * 16_000,
        ".env*/" * 16_000,
        "x" * 1_000_000,
        *("".join(f"{char}{i} " for i in range(15_000)) for char in ("a*", "./", ".g", "--x=", "$")),
    ],
    ids=lambda text: text[:12],
)
def test_c3_a_long_text_takes_bounded_time(text: str) -> None:
    started = time.monotonic()
    for mode in ("auto", "bypass"):
        decide(text, mode)
    assert time.monotonic() - started < 60


_PIECES = """a b ' " \\ ; | && || ( ) $( ` # { } ! = $' $" << > < 2> ~ & * $ if time"""
PIECES = st.sampled_from([*_PIECES.split(), " ", "<<a\n"])
_WORDS = """a b c 'a' "c;" \\; '' # '"' "'" } ! if time"""
WORDS = st.lists(st.sampled_from([*_WORDS.split(), "'a b'", "\\\n", "\\ "]), min_size=1, max_size=3).map(
    "".join
)
_EXTRAS = ">a 2>&1 X=1 <b time command ! env"
SIMPLE = st.lists(WORDS | st.sampled_from([*_EXTRAS.split()]), max_size=4).map(" ".join)
_WRAPS = [
    *("({})", "{ {}\n}", "a $({})", 'b "c$({})"', "a `{}`", "! {}", "a <({})", "a $(({}))", "x() { {}\n}"),
    *("if {}\nthen {}\nfi", "for x in {}\ndo {}\ndone", "time { {}\n}"),
    *("a <<E\n$({})\nE\n{}", "a <<'E'\n{}\nE\n{}", "a <<-E; {}\n\tE\n{}"),
]


def _scripts(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    wrapped = st.sampled_from(_WRAPS)
    quoted = st.sampled_from(["sh -c {}", "eval {}", "env X=1 sh -c {}", "b {}"])
    joined = st.tuples(inner, st.sampled_from([";", " && ", "||", "|", "\n", "&", " # "]), inner).map("".join)
    return (
        joined
        | st.tuples(wrapped, inner).map(lambda pair: pair[0].replace("{}", pair[1]))
        | st.tuples(quoted, inner).map(lambda pair: pair[0].replace("{}", shlex.quote(pair[1])))
    )


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """A script, often with something put in where it does not belong."""
    text = draw(st.recursive(SIMPLE, _scripts, max_leaves=5))
    for _ in range(draw(st.integers(0, 2))):
        spot = draw(st.integers(0, len(text)))
        text = text[:spot] + draw(PIECES) + text[spot:]
    return text


_TRACE = """
command_not_found_handle() { local all; printf -v all '%s\\037' "$@"; printf '%s\\036' "$all" >>"$TRACE"; }
sh() { if [[ $1 == -c ]]; then eval "$2"; fi; }
env() { while [[ $1 == *=* ]]; do shift; done; if [ $# -gt 0 ]; then "$@"; fi; }
"""


@pytest.mark.skipif(BASH is None, reason="bash is the referee")
@settings(max_examples=60, deadline=None)
@given(_damaged())
@example("a 'b'\"c\" \\; b; (c | a) && `b` $(c)")
@example("a <<a\n$(b) 'c\na\nc")
def test_c3_what_bash_runs_was_found_wherever_nothing_was_in_doubt(text: str) -> None:
    line = read_command_line(text)
    assume(not line.doubts and line.commands)
    _check(line, _run_by_bash(text))


def _check(line: CommandLine, run: list[tuple[str, ...]]) -> None:
    known = {tuple(word.text for word in command.words) for command in line.commands if command.certain}
    programs = {command.words[0].text for command in line.commands if command.words}
    certain = all(command.certain for command in line.commands)
    for words in run:
        assert words[0] in programs
        assert not certain or words in known or any(char in "".join(words) for char in "~*/")


def test_the_referee_notes_what_bash_runs() -> None:
    assert sorted(_run_by_bash("a 'b'\"c\" \\; b; $(c)")) == [("a", "bc", ";", "b"), ("c",)]


def _run_by_bash(text: str) -> list[tuple[str, ...]]:
    """Return the commands that bash runs: none of the names exists, so that each is only noted."""
    assert BASH is not None
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace")
        trace.touch()
        work = Path(folder, "work")
        work.mkdir()
        subprocess.run(
            [BASH, "--norc", "--noprofile", "-c", _TRACE + text],
            cwd=work,
            env={"PATH": "/nowhere", "TRACE": str(trace), "HOME": "~"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=False,
        )
        noted = trace.read_text(encoding="utf-8", errors="replace").split("\x1f\x1e")
    return [tuple(entry.split("\x1f")) for entry in noted if entry]
