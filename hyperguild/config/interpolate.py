"""`${VAR}`, `${VAR:-default}` and `$${` in strings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hyperguild.config.wording import names_a_secret

_TOKEN = re.compile(
    r"(?P<literal>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\$\{)"
)


class InterpolationError(ValueError):
    """The text cannot be filled in; the message says why, and quotes no value."""


@dataclass(frozen=True, slots=True)
class Interpolated:
    """A string of `endpoints` or `mcp_servers`, filled in.

    `source`: as it is written. `value`: what is used. `shown`: the same for the eyes, where variables that
    are set and hold secrets by their name stay `${NAME}`. `literal`: the text of the file alone,
    each `${VAR}` taken out (a default is text of the file). `variables`: the names, in order.
    """

    source: str
    value: str
    shown: str
    literal: str
    variables: tuple[str, ...]


def interpolate(text: str, env: Mapping[str, str]) -> Interpolated:
    """Fill in a string once: what comes out of the environment is not read again.

    `${VAR:-default}` takes the default where VAR is unset or empty, as a shell does; `$${` is a literal `${`.
    Raises `InterpolationError` for an unset variable without a default, one that is not UTF-8, and `${` that
    begins no reference.
    """

    def fill(show: Callable[[re.Match[str]], str]) -> str:
        return _TOKEN.sub(lambda match: "${" if match["literal"] else show(match), text)

    def value(match: re.Match[str]) -> str:
        return _value_of(match, env)

    def shown(match: re.Match[str]) -> str:
        # A default is text of the file: hidden, it could be a host or program that nobody gets to see.
        is_secret = names_a_secret(match["name"]) and env.get(match["name"])
        return f"${{{match['name']}}}" if is_secret else value(match)

    variables = tuple(match["name"] for match in _TOKEN.finditer(text) if match["name"])
    return Interpolated(
        source=text,
        value=fill(value),
        shown=fill(shown),
        literal=fill(lambda match: match["default"] or ""),
        variables=variables,
    )


def _value_of(match: re.Match[str], env: Mapping[str, str]) -> str:
    if match["broken"]:
        raise InterpolationError(
            "holds ${ that begins no ${VAR} or ${VAR:-default}; write $${ for a literal ${"
        )
    name, default = match["name"], match["default"]
    value = env.get(name)
    if default is not None and not value:
        return str(default)
    if value is None:
        raise InterpolationError(
            f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
        )
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise InterpolationError(f"the environment variable {name} is not UTF-8") from exc
    return value
