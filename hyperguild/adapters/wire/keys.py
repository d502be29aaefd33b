"""API keys: read when first needed, remembered, never shown."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Mapping

from hyperguild.adapters.wire.program import Program, ProgramStartError
from hyperguild.adapters.wire.single_flight import SingleFlight
from hyperguild.adapters.wire.wording import one_line
from hyperguild.domain.chain import Endpoint, KeySource
from hyperguild.domain.secret_context import context_spans
from hyperguild.domain.secret_values import is_distinct
from hyperguild.domain.secrets import Scrubber
from hyperguild.domain.text import clipped_tail
from hyperguild.errors import AuthError
from hyperguild.programs.environment import (
    AGENTS,
    DESKTOP_PREFIX,
    KEY_STORES,
    NETWORK,
    TERMINAL,
    reduced_environment,
)

SecretListener = Callable[[str, str], None]
"""Is told each secret once it is known: a name for it, then its value, so that logs can be scrubbed of it."""

KEY_COMMAND_LIMIT_S = 10.0
"""Password stores answer within a second; one that asks its user something gets the rest."""

HEADER_SECRET_MIN_CHARS = 8
"""Shorter header values are settings, not passwords."""

KEY_MAX_BYTES = 65536
"""More than this is no key."""


def ignore_secret(name: str, value: str) -> None:
    """Take a secret and do nothing with it."""
    del name, value


class KeyRing:
    """The keys of all endpoints; share one among clients and probes, so that each source is read once.

    `env` is the environment that `api_key_env` names are looked up in; key commands see of it what password
    managers need.
    """

    def __init__(self, env: Mapping[str, str], on_secret: SecretListener = ignore_secret) -> None:
        self.env = env
        self._on_secret = on_secret
        self._known: dict[KeySource, str] = {}
        self._reading: SingleFlight[KeySource, str] = SingleFlight()

    async def key(self, endpoint: Endpoint) -> str | None:
        """Return the endpoint's key, None where it names no source.

        Raises `AuthError`, which names the source but never its content, where there is no usable key; a
        later call then tries again. Cancelling leaves a key command running to its end, for the next caller.
        """
        source = endpoint.key
        if source is None:
            return None
        known = self._known.get(source)
        if known is None:
            known = await self._reading.run(source, lambda: self._read(source, endpoint.name))
        return known

    def secrets(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Return what no message about the endpoint may show: its key, once known, and headers' values."""
        known = self._known.get(endpoint.key) if endpoint.key is not None else None
        values = [known] if known else []
        for value in endpoint.headers.values():
            # a word of a header may be a password, `Bearer` and the like are not
            values += [
                word for word in (value, value.rpartition(" ")[2]) if len(word) >= HEADER_SECRET_MIN_CHARS
            ]
        return tuple(values)

    async def aclose(self) -> None:
        """End key commands under way."""
        await self._reading.aclose()

    async def _read(self, source: KeySource, endpoint: str) -> str:
        if source.env is not None:
            key, where = _from_environment(source.env, self.env, endpoint), f"${source.env}"
        elif source.file is not None:
            key, where = await asyncio.to_thread(_from_file, source, endpoint), f"the file {source.file}"
        else:
            argv = source.command or ()
            key, where = await _from_command(argv, self.env, endpoint), f"`{shlex.join(argv)}`"
        if not key:
            raise AuthError(
                one_line(f"no API key for endpoint '{endpoint}': {where} is empty"),
                hint=f"put the key into {where}",
                endpoint=endpoint,
            )
        if len(key) >= KEY_MAX_BYTES:
            message = (
                f"the API key of endpoint '{endpoint}' is none: {where} holds {KEY_MAX_BYTES} bytes or more"
            )
            hint = "keep the bare key there, and nothing else"
            raise AuthError(one_line(message), hint=hint, endpoint=endpoint)
        if not all("!" <= char <= "~" for char in key):
            raise AuthError(
                one_line(
                    f"the API key of endpoint '{endpoint}' is no key: {where} holds spaces, line breaks or "
                    "characters outside ASCII"
                ),
                hint="keep the bare key there, in one line, without quotes around it",
                endpoint=endpoint,
            )
        self._known[source] = key
        self._on_secret(where, key)
        return key


def _from_environment(name: str, env: Mapping[str, str], endpoint: str) -> str:
    value = env.get(name)
    if value is None:
        raise AuthError(
            f"no API key for endpoint '{endpoint}': ${name} is not set",
            hint=f"export {name}=…, or name another source with api_key_env, api_key_file or api_key_cmd",
            endpoint=endpoint,
        )
    return value.strip()


def _from_file(source: KeySource, endpoint: str) -> str:
    path = source.file
    assert path is not None  # noqa: S101 - the caller looked
    try:
        with path.open("rb") as file:
            content = file.read(KEY_MAX_BYTES + 1)
    except OSError as exc:
        raise AuthError(
            one_line(f"no API key for endpoint '{endpoint}': {path}: {exc.strerror or exc}"),
            hint="api_key_file names a file that holds the key and nothing else",
            endpoint=endpoint,
        ) from exc
    return content.decode("utf-8", errors="replace").removeprefix("\ufeff").strip()


def _command_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return what a key command sees: where it is, how it asks for a password, how it gets into its store."""
    return reduced_environment(env, TERMINAL | NETWORK | AGENTS, (DESKTOP_PREFIX, *KEY_STORES))


async def _from_command(argv: tuple[str, ...], env: Mapping[str, str], endpoint: str) -> str:
    shown = f"no API key for endpoint '{endpoint}': `{shlex.join(argv)}`"
    hint = "api_key_cmd names a program, without a shell, that prints the key and exits with 0"
    output = bytearray()
    try:
        async with (
            asyncio.timeout(KEY_COMMAND_LIMIT_S),
            Program(argv, env=_command_environment(env)) as program,
        ):
            async for chunk in program.output():
                output += chunk[: KEY_MAX_BYTES - len(output)]
            code = await program.exit_code()
    except TimeoutError as exc:
        message = f"{shown} did not end within {KEY_COMMAND_LIMIT_S:g} s"
        raise AuthError(one_line(message), hint=hint, endpoint=endpoint) from exc
    except ProgramStartError as exc:
        raise AuthError(one_line(f"{shown}: {exc}"), hint=hint, endpoint=endpoint) from exc
    if code != 0:
        # stderr alone is quoted: stdout may hold the key
        said = _without_secrets(program.complaint, output.decode("utf-8", errors="replace"))
        complaint = clipped_tail(said, 200) or "it said nothing"
        message = f"{shown} failed with exit code {code}: {complaint}"
        raise AuthError(one_line(message), hint=hint, endpoint=endpoint)
    return output.decode("utf-8", errors="replace").strip()


def _without_secrets(complaint: str, output: str) -> str:
    """Return what a key command said on stderr without what may be the key.

    The message goes into logs, and into prompts of other tiers, which are told of errors. With `set -x` a
    script says there what it does; what it has printed elsewhere, `output`, nobody else has learned.
    """
    scrubber = Scrubber()
    words = (word.strip("\"'{}[](),;") for word in output.split())
    named = (text[start:end] for text in (output, complaint) for start, end in context_spans(text))
    for value in (*filter(is_distinct, words), *named):
        scrubber.learn("key", value)
    return scrubber.scrub(complaint)
