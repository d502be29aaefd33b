"""Reads chains.yaml: everything is resolved, or everything that is wrong is reported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hyperguild.config.agent_policy import agent_policies
from hyperguild.config.chains import likely_calls, resolve_chains, resolve_skills
from hyperguild.config.clear_secrets import refuse_clear_secrets
from hyperguild.config.configuration import Configuration
from hyperguild.config.filled import fill_variables
from hyperguild.config.hooks import resolve_hooks
from hyperguild.config.limits import limits_of
from hyperguild.config.marks import YamlError, read_yaml
from hyperguild.config.mcp_servers import resolve_servers
from hyperguild.config.models import ModelTable
from hyperguild.config.powers import powers_of
from hyperguild.config.report import Report
from hyperguild.config.validate import validate
from hyperguild.config.verifiers import resolve_verifiers
from hyperguild.domain.chain import LogPolicy
from hyperguild.errors import ConfigError, Problem

MAX_BYTES = 256 * 1024


def load_config(path: Path, env: Mapping[str, str], named_by: str | None = None) -> Configuration:
    """Read and resolve the file. Raises `ConfigError` with every problem, in the order of the file.

    `named_by` is what named it (`FoundConfig.named_by`), for the hint where it cannot be read.

    Nothing is run and nothing is sent; besides the file, only the JSON Schemas beside it are read.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as exc:
        reason = exc.strerror or "it cannot be read"
        raise ConfigError(
            f"{path} cannot be read: {reason}", hint=named_by and f"named by {named_by}"
        ) from exc
    except ValueError as exc:  # a NUL in the path
        raise ConfigError("the path of the configuration is no path") from exc
    if len(content) > MAX_BYTES:
        raise _refusal(path, Problem(_shown(path), 1, 1, "", f"is larger than {MAX_BYTES} bytes"))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = content[: exc.start]
        line, column = before.count(b"\n") + 1, exc.start - (before.rfind(b"\n") + 1) + 1
        raise _refusal(path, Problem(_shown(path), line, column, "", "is not UTF-8")) from exc
    return load_config_text(text, path, env)


def load_config_text(text: str, path: Path, env: Mapping[str, str]) -> Configuration:
    """Resolve the text of a file; `path` is for messages, and what is beside it is found from there.

    Raises `ConfigError` as `load_config` does.
    """
    try:
        document = read_yaml(text)
    except YamlError as exc:
        problem = Problem(_shown(path), exc.place.line, exc.place.column, "", exc.message)
        raise _refusal(path, problem) from exc
    document, texts = fill_variables(refuse_clear_secrets(document), env)
    report = Report(document, _shown(path))
    raw = validate(report)
    if raw is None:
        raise report.refusal()
    folder = path.absolute().parent
    home = Path(env["HOME"]) if env.get("HOME") else None
    table = ModelTable(raw, report, folder, home)
    verifiers = resolve_verifiers(raw, table, report, folder)
    chains = resolve_chains(raw, table, verifiers, report)
    skill_chains = resolve_skills(raw, report)
    if report.has_problems:
        raise report.refusal()
    servers, hooks = resolve_servers(raw, folder, home), resolve_hooks(raw)
    return Configuration(
        path=path,
        endpoints=table.endpoints,
        models=table.models,
        verifiers=verifiers,
        chains=chains,
        skill_chains=skill_chains,
        likely_calls=likely_calls(raw),
        log=LogPolicy(content=raw.log.content, keep_days=raw.log.keep_days),
        mcp_servers=servers,
        hooks=hooks,
        limits=limits_of(raw.limits),
        powers=powers_of(table.endpoints, verifiers, servers, hooks, texts, agent_policies(raw, report)),
        redaction=raw.redaction.policy(),
    )


def _refusal(path: Path, problem: Problem) -> ConfigError:
    return ConfigError(f"{_shown(path)} is refused: 1 problem", problems=[problem])


def _shown(path: Path) -> str:
    """Return the path as a person in the working folder would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
