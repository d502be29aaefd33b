"""YAML with line and column."""

from __future__ import annotations

import pytest

from hyperguild.config.marks import MAX_NODES, Place, YamlError, read_yaml


def test_values_and_keys_have_places() -> None:
    document = read_yaml("a:\n  b: [1, two]\n")
    assert document.data == {"a": {"b": [1, "two"]}}
    assert document.place(("a", "b", 1)) == Place(2, 10)
    assert document.place(("a", "b"), key=True) == Place(2, 3)
    assert document.place(("a", "missing")) == Place(1, 1)
    assert document.place(()) == Place(1, 1)


def test_keys_are_taken_as_they_are_written() -> None:
    assert read_yaml("{on: 1, 4: 2, null: 3, 2020-01-01: 2020-01-02}").data == {
        "on": 1,
        "4": 2,
        "null": 3,
        "2020-01-01": "2020-01-02",
    }


def test_a_duplicate_key_is_found_where_it_is_repeated() -> None:
    document = read_yaml("a:\n  b: 1\n  c: 2\n  b: 3\n")
    (fault,) = document.faults
    assert (fault.path, fault.place, fault.message) == (
        ("a", "b"),
        Place(4, 3),
        "duplicate key; it stands on line 2 already",
    )
    assert document.data == {"a": {"b": 1, "c": 2}}


def test_aliases_and_merge_keys() -> None:
    document = read_yaml("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [{z: 1}, *a]}\n")
    assert document.faults == ()
    assert document.data["b"] == {"x": 1, "y": 2}
    assert document.data["c"] == {"y": 3, "x": 1}
    assert document.data["d"] == {"z": 1, "x": 1, "y": 2}
    assert document.place(("c", "x")) == Place(1, 11)


@pytest.mark.parametrize("text", ["{<<: 3}", "&a {<<: *a}", "{<<: &b {<<: {x: 1}}}"])
def test_a_merge_that_cannot_be(text: str) -> None:
    assert [fault.path for fault in read_yaml(text).faults] == [("<<",)]


def test_an_alias_bomb_goes_off_early() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(YamlError, match=f"more than {MAX_NODES} values"):
        read_yaml("\n".join(lines))


def test_an_alias_inside_itself() -> None:
    with pytest.raises(YamlError, match="inside what it names"):
        read_yaml("a: &a [*a]")


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 5_000, "- " * 5_000])
def test_nesting_without_end(text: str) -> None:
    with pytest.raises(YamlError, match="deep"):
        read_yaml(text)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\n---\nb: 2\n", 2, "more than one document"),
        ("a: *b", 1, "names no anchor"),
        ("x: 1\na: \x01", 2, "a character that YAML does not allow"),
        ('"\\U11111111"', 1, "out of range"),
        ("a: b: c", 1, "a ':' stands where no key can"),
    ],
)
def test_syntax_errors(text: str, line: int, words: str) -> None:
    with pytest.raises(YamlError, match=words) as caught:
        read_yaml(text)
    assert caught.value.place.line == line


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/name:os.system x",
        "a: !!binary aGk=",
        "a: !!set {x}",
        "a: !!int x",
        "a: .nan",
        "a: 0b_",
        'a: "\\0"',
        'a: "\\ud800"',
    ],
)
def test_values_that_are_refused_whatever_the_schema_says(text: str) -> None:
    (fault,) = read_yaml(text).faults
    assert fault.path == ("a",)
    assert fault.place == Place(1, 4)


@pytest.mark.parametrize("text", ["? [a]\n: 1\n", "? {a: b}\n: 1\n"])
def test_a_key_that_is_no_text(text: str) -> None:
    (fault,) = read_yaml(text).faults
    assert fault.message == "keys must be plain text"
