"""${VAR} in the strings of endpoints, and there alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hyperguild.config.configuration import Configuration
from hyperguild.config.interpolate import InterpolationError, interpolate

Load = Callable[..., Configuration]
ENV = {"A": "1", "EMPTY": "", "API_KEY": "secret", "NESTED": "${A}"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x${A}y", "x1y"),
        ("${B:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY}", ""),
        ("${A:-d}", "1"),
        ("${B:-}", ""),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$A {A} $", "$A {A} $"),
        ("${NESTED}", "${A}"),
    ],
)
def test_it_is_filled_in_once(text: str, value: str) -> None:
    assert interpolate(text, ENV).value == value


@pytest.mark.parametrize("text", ["${B}", "${", "${A", "${1}", "${A:=x}", "${}"])
def test_what_cannot_be_filled_in(text: str) -> None:
    with pytest.raises(InterpolationError):
        interpolate(text, ENV)


def test_a_variable_that_is_not_utf8() -> None:
    with pytest.raises(InterpolationError, match="A is not UTF-8"):
        interpolate("${A}", {"A": "\udcff"})


def test_secrets_are_not_shown() -> None:
    filled = interpolate("a ${API_KEY} ${A} ${B:-d}", ENV)
    assert filled.value == "a secret 1 d"
    assert filled.shown == "a ${API_KEY} 1 d"
    assert filled.literal == "a   d"
    assert filled.variables == ("API_KEY", "A", "B")


def test_it_happens_in_endpoints_alone(load: Load) -> None:
    configuration = load(
        """\
        version: 1
        endpoints: {swap: {kind: llama-swap, base_url: "http://${HOST:-127.0.0.1}:${PORT}/"}}
        models: {phi4: {endpoint: swap, upstream: "${PORT}"}}
        verifiers: {default: {judge: phi4}}
        chains: {default: [phi4]}
        """,
        PORT="8080",
    )
    assert configuration.endpoints["swap"].base_url == "http://127.0.0.1:8080"
    assert configuration.models["phi4"].upstream == "${PORT}"


def test_an_unset_variable_is_a_problem_that_names_it(refuse: Callable[..., list[str]]) -> None:
    assert refuse(
        """\
        version: 1
        endpoints:
          c: {kind: command, argv: [run, "${NOWHERE}"]}
        chains: {default: [claude-x]}
        """
    ) == [
        (
            "chains.yaml:3:34: endpoints.c.argv.1: the environment variable NOWHERE is not set; "
            "set it, or write ${NOWHERE:-default}"
        )
    ]
