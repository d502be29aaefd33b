"""What a chains.yaml could do to who runs it: run programs, send keys somewhere, let models act unasked."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hyperguild.config.filled import Texts
from hyperguild.config.grants import grants_of
from hyperguild.config.hosts import is_anothers_key, is_loopback, is_providers_own, origin_of
from hyperguild.config.interpolate import Interpolated
from hyperguild.config.wording import DocumentPath, printable, shown_path
from hyperguild.domain.agent import AgentPolicy
from hyperguild.domain.chain import CommandCheck, Endpoint, KeySource, VerifierSpec
from hyperguild.domain.hooks import CommandHook, HookKind
from hyperguild.domain.mcp import McpServer


@dataclass(frozen=True, slots=True)
class Power:
    """Something that needs trust: where it stands (a dotted path), and in words what it does.

    `exact` is what is trusted, to the letter: the arguments, the host, the name of the key's source. Values
    of variables that hold secrets by their name stand as `${NAME}`, here and in `what`.
    """

    path: str
    what: str
    exact: tuple[str, ...]


def powers_of(
    endpoints: Mapping[str, Endpoint],
    verifiers: Mapping[str, VerifierSpec],
    servers: Mapping[str, McpServer],
    hooks: Mapping[HookKind, tuple[CommandHook, ...]],
    texts: Texts,
    policies: Iterable[tuple[DocumentPath, AgentPolicy]],
) -> tuple[Power, ...]:
    """Return what needs trust, in the order of the file.

    Programs: those of `command` endpoints, of `command` checks, of `api_key_cmd`, of hooks, and of MCP
    servers: these with their `env` and `cwd`. Keys, and values of variables in headers and addresses, that go
    to a host that is neither loopback nor the provider's own; the well-known variable of a provider belongs
    to that provider alone. Tools of servers that are said to only read, for those may run unasked. Models:
    what they may do without asking beyond reading (`grants.grants_of`), under the `policies` of the tiers;
    each once, where it comes first. `texts` are the filled-in strings of the file
    (`filled.fill_variables`): environment values count.
    """
    found: list[Power] = []
    for name, endpoint in endpoints.items():
        found += _of_endpoint(("endpoints", name), endpoint, texts)
    for name, verifier in verifiers.items():
        for index, check in enumerate(verifier.checks):
            if isinstance(check, CommandCheck):
                found.append(_runs(("verifiers", name, "checks", index, "argv"), check.argv))
    for name, server in servers.items():
        found += _of_server(("mcp_servers", name), server, texts)
    for kind, commands in hooks.items():
        found += (_runs(("hooks", kind, index), hook.argv) for index, hook in enumerate(commands))
    granted: dict[tuple[str, ...], Power] = {}
    for path, policy in policies:
        for grant in grants_of(policy):
            granted.setdefault(grant.exact, _power(path, grant.what, grant.exact))
    return (*found, *granted.values())


def digest_of(powers: Iterable[Power]) -> str:
    """Return the SHA-256 of what is trusted, in hexadecimal; places and order in the file do not count."""
    canonical = json.dumps(
        sorted({power.exact for power in powers}), ensure_ascii=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def _of_endpoint(path: DocumentPath, endpoint: Endpoint, texts: Texts) -> Iterator[Power]:
    if endpoint.argv:
        yield _runs((*path, "argv"), _shown_argv((*path, "argv"), endpoint.argv, texts))
    key = endpoint.key
    if key is not None and key.command is not None:
        key_path = (*path, "api_key_cmd")
        yield _runs(key_path, _shown_argv(key_path, key.command, texts))
    if endpoint.base_url is None:
        return
    if is_loopback(origin_of(endpoint.base_url)[1]):
        return
    is_own = is_providers_own(endpoint.kind, endpoint.base_url)
    origin = _shown_origin(endpoint.base_url, texts.get((*path, "base_url")))
    if key is not None and not (is_own and not is_anothers_key(key.env or "", endpoint.base_url)):
        source, name, words = _source_of(path, key, texts)
        what = f"sends the key {words} to {origin}"
        yield _power((*path, source), what, ("send", source, name, origin))
    for where, text in texts.items():
        if where[:2] == path:
            for variable in _variables_sent(where, text):
                if is_own and not is_anothers_key(variable, endpoint.base_url):
                    continue
                what = f"sends the value of {variable} to {origin}"
                yield _power(where, what, ("send", "value", variable, origin))


def _of_server(path: DocumentPath, server: McpServer, texts: Texts) -> Iterator[Power]:
    if server.argv:
        yield _serves(path, server, texts)
    if server.url is not None and not is_loopback(origin_of(server.url)[1]):
        origin = _shown_origin(server.url, texts.get((*path, "url")))
        for where, text in texts.items():
            if where[:2] == path:
                for variable in _variables_sent(where, text):
                    what = f"sends the value of {variable} to {origin}"
                    yield _power(where, what, ("send", "value", variable, origin))
    if server.read_only:
        globs = tuple(sorted(set(server.read_only)))
        named = f"{', '.join(globs)} of the MCP server {server.name}"
        what = f"lets models use tools as ones that only read: {named}"
        yield _power((*path, "read_only"), what, ("read", server.name, *globs))


def _serves(path: DocumentPath, server: McpServer, texts: Texts) -> Power:
    """Return the power of a server's program. What it runs depends on its variables and its folder, too."""
    argv = _shown_argv((*path, "argv"), server.argv, texts)
    folder = texts.get((*path, "cwd"))
    env = [f"{name}={texts[(*path, 'env', name)].shown}" for name in sorted(server.env)]
    if folder is None and not env:
        return _runs((*path, "argv"), argv)
    place = f" in {folder.shown}" if folder is not None else ""
    what = f"runs{place}: {shlex.join((*env, *argv))}"
    exact = ("serve", "" if folder is None else folder.shown, str(len(env)), *env, *argv)
    return _power((*path, "argv"), what, exact)


def _variables_sent(where: DocumentPath, text: Interpolated) -> tuple[str, ...]:
    """Return the variables whose values the server, or the DNS on the way to it, gets to see."""
    if where[2] == "headers":
        return text.variables
    if where[2] in {"base_url", "url"}:
        # An address that begins with a variable goes where the environment says, not where the file says.
        return text.variables[1:] if text.source.startswith("${") else text.variables
    return ()


def _shown_origin(base_url: str, text: Interpolated | None) -> str:
    """Return scheme, host and port; as they are written where a secret variable is among them."""
    written = re.match(r"(?:[^:/${]*://)?[^/]*", text.shown) if text is not None else None
    if text is not None and written is not None and "${" in written[0]:
        return written[0]
    scheme, host, port = origin_of(base_url)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _source_of(path: DocumentPath, key: KeySource, texts: Texts) -> tuple[str, str, str]:
    """Return the key of chains.yaml that names the source, its exact value, and words for it."""
    if key.env is not None:
        return "api_key_env", key.env, f"of {key.env}"
    if key.file is not None:
        text = texts.get((*path, "api_key_file"))
        file = str(key.file) if text is None or text.shown == text.value else text.shown
        return "api_key_file", file, f"in {file}"
    command = shlex.join(_shown_argv((*path, "api_key_cmd"), key.command or (), texts))
    return "api_key_cmd", command, f"that `{command}` prints"


def _shown_argv(path: DocumentPath, argv: tuple[str, ...], texts: Texts) -> tuple[str, ...]:
    """Return the arguments with the values of secret variables left out."""
    written = ((texts.get((*path, index)), argument) for index, argument in enumerate(argv))
    return tuple(argument if text is None else text.shown for text, argument in written)


def _runs(path: DocumentPath, argv: tuple[str, ...]) -> Power:
    return _power(path, f"runs: {shlex.join(argv)}", ("run", *argv))


def _power(path: DocumentPath, what: str, exact: tuple[str, ...]) -> Power:
    return Power(path=shown_path(path), what=printable(what), exact=exact)
