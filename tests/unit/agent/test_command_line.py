"""Shell commands taken apart."""

from __future__ import annotations

import pytest

from hyperguild.agent.command_line import CommandLine, read_command_line
from hyperguild.agent.shell_reader import LONGEST_COMMAND


def texts(line: CommandLine) -> list[list[str]]:
    return [[word.text for word in command.words] for command in line.commands]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b  c", [["a", "b", "c"]]),
        ("a;b&&c||d|e|&f&g\nh", [["a"], ["b"], ["c"], ["d"], ["e"], ["f"], ["g"], ["h"]]),
        ("(a; b) && { c; }", [["a"], ["b"], ["c"]]),
        ("a 'b c' \"d e\" f\\ g", [["a", "b c", "d e", "f g"]]),
        ("a'b'\"c\"\\d", [["abcd"]]),
        ("a \"b\\\"c\\$d\\`e\\\\f\\g\"", [["a", 'b"c$d`e\\f\\g']]),
        ("a '' \"\"", [["a", "", ""]]),
        ("a#b #c\nd", [["a#b"], ["d"]]),
        ("a \\\n b", [["a", "b"]]),
        ("a 1>b 2>>c <d 2>&1 3<&- e &>f", [["a", "e"]]),
        ("a 12>b 12 >c", [["a", "12"]]),
        ("a <<E b\nx; y\nE\nc", [["a", "b"], ["c"]]),
        ("a <<E <<'F'; b\nx\nE\ny\nF\nc", [["a"], ["b"], ["c"]]),
        ("a <<-E\n\tx\n\tE\nb", [["a"], ["b"]]),
        ("if a; then b; elif c; then d; else e; fi", [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ("while a; do b; done; until c; do d; done", [["a"], ["b"], ["c"], ["d"]]),
        ("for x in a b; do c; done", [["for", "x", "in", "a", "b"], ["c"]]),
        ("X=1 Y='2 3' a", [["a"]]),
        ("'X=1' a", [["X=1", "a"]]),
        ("echo if then", [["echo", "if", "then"]]),
        ("'if' a", [["if", "a"]]),
        ("env X=1 nice -n3 a", [["env", "X=1", "nice", "-n3", "a"], ["nice", "-n3", "a"], ["a"]]),
        ("sh -c 'a; b' c", [["sh", "-c", "a; b", "c"], ["a"], ["b"]]),
        ("find -exec a {} +", [["find", "-exec", "a", "{}", "+"], ["a", "{}"]]),
        ("find -exec a ';' -ok b ';'", [["find", "-exec", "a", ";", "-ok", "b", ";"], ["a"], ["b"]]),
        (">a if", [["if"]]),
        ("time >a !", [["time", "!"], ["!"]]),
        ("time X=1 a", [["time", "X=1", "a"], ["a"]]),
        ("time -p { a; }", [["a"]]),
        ("$", [["$"]]),
        ("a $ b$", [["a", "$", "b$"]]),
        ("a {} {b} }", [["a", "{}", "{b}", "}"]]),
    ],
)  # fmt: skip
def test_c3_a_line_is_taken_apart(text: str, expected: list[list[str]]) -> None:
    line = read_command_line(text)
    assert texts(line) == expected
    assert line.doubts == ()
    assert line.fragments == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a $(b $(c)) `d` \"$(e)\" <(f) >(g)", ["a", "b", "c", "d", "e", "f", "g"]),
        ("a \"`b \\`c\\``\"", ["a", "b", "c"]),
        ("a <<E\n$(b) `c`\nE\nd", ["a", "b", "c", "d"]),
        ("a <<'E'\n$(b) `c`\nE\nd", ["a", "d"]),
        ("a $(b <<E\n)\nE\n); c", ["a", "b", "c"]),
        ("a '$(b)' \\$\\(b\\) '`b`'", ["a"]),
        ("$(a) b", ["$(a)", "a"]),
        ("a=$(b)", ["", "b"]),
        ("a > $(b)", ["a", "b"]),
    ],
)  # fmt: skip
def test_c3_what_a_word_runs_is_a_command_of_the_line(text: str, expected: list[str]) -> None:
    found = [words[0] if words else "" for words in texts(read_command_line(text))]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "writes", "target"),
    [
        ("a > b", True, "b"),
        ("a >> 'b c'", True, "b c"),
        ("a >| b", True, "b"),
        ("a 2> b", True, "b"),
        ("a &> b", True, "b"),
        ("a &>> b", True, "b"),
        ("a >& b", True, "b"),
        ("a <> b", True, "b"),
        ("a < b", False, "b"),
        ("> b", True, "b"),
        ("(a) > b", True, "b"),
        ("for x in y; do a; done > b", True, "b"),
    ],
)
def test_c3_redirections_are_known_with_their_direction(text: str, writes: bool, target: str) -> None:
    line = read_command_line(text)
    found = [redirection for command in line.commands for redirection in command.redirections]
    assert [(redirection.writes, redirection.target.text) for redirection in found] == [(writes, target)]
    assert line.doubts == ()


@pytest.mark.parametrize("text", ["a 2>&1", "a >&2", "a <&3", "a 2>&-", "a 3>&4-"])
def test_c3_a_descriptor_is_no_path(text: str) -> None:
    assert all(not command.redirections for command in read_command_line(text).commands)


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("a 'b", "a quote is not closed"),
        ('a "b', "a quote is not closed"),
        ("a `b", "a quote is not closed"),
        ("a $'b", "a quote is not closed"),
        ("a $(b", "a bracket is not closed"),
        ("(a", "a bracket is not closed"),
        ("a ${b", "a bracket is not closed"),
        ("a )", "a bracket closes that was not opened"),
        ("a (b)", "a bracket stands in the middle of a command"),
        ("a >", "a redirection leads nowhere"),
        ("a > ; b", "a redirection leads nowhere"),
        ("a <<E", "a here-document has no text"),
        ("a <<E\nb", "a here-document is not closed"),
        ("a \\", "it ends in a backslash"),
        ("a $((1))", "it holds arithmetic"),
        ("((1))", "it holds arithmetic"),
        ("a ${b:-c}", "it computes with variables"),
        ("$a b", "the name of a program is not written out"),
        ("a* b", "the name of a program is not written out"),
        ("~/{a,b}", "the name of a program is not written out"),
        ("eval $a", "it runs a text that is not written out"),
        ('sh -c "$a"', "it runs a text that is not written out"),
        ("source a", "it runs a file's commands"),
        ("a | sh", "a shell gets its commands as input"),
        ("sh < a", "a shell gets its commands as input"),
        ("case a in b) c;; esac", "it holds `case`"),
        ("[[ a ]]", "it holds `[[`"),
        ("a\0b", "it holds control characters"),
        ("(" * 50 + "a" + ")" * 50, "it is nested too deeply"),
        ("time " * 50 + "a", "it is nested too deeply"),
        ("a" * (LONGEST_COMMAND + 1), "it is too long"),
    ],
)
def test_c3_what_is_not_certain_is_a_doubt_in_words(text: str, doubt: str) -> None:
    line = read_command_line(text)
    assert doubt in line.doubts
    assert line.fragments


@pytest.mark.parametrize(
    "text", ["a $b", "a ${b}", 'a "$b"', "a $1 $@", "a {b,c}", "a {1..3}", "a $'b'", "a <(b)"]
)
def test_c3_a_word_that_is_not_written_out_makes_its_command_uncertain(text: str) -> None:
    assert not read_command_line(text).commands[0].certain


def test_c3_globs_are_open_where_they_are_not_quoted() -> None:
    words = read_command_line("a *.b 'c*' \\? [d]e [ ] [f").commands[0].words
    assert [word.shape for word in words] == ["a", "\0.b", "c*", "?", "\0e", "[", "]", "[f"]


def test_c3_what_feeds_another_command_is_not_plain() -> None:
    assert read_command_line("a; b && c > d").plain
    for text in ("a | b", "a |& b", "a $(b)", "a `b`", "a <(b)", "sh -c 'a | b'"):
        assert not read_command_line(text).plain
