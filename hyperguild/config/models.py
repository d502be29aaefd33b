"""Endpoints and models of the raw file as the objects that are used."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hyperguild.config import schema
from hyperguild.config.inference import InferenceError, infer_model, label_of
from hyperguild.config.locate import path_beside
from hyperguild.config.report import Report
from hyperguild.config.wording import DocumentPath, did_you_mean, quoted
from hyperguild.domain.chain import (
    DEFAULT_EMBEDDED_WINDOW,
    Endpoint,
    EngineSettings,
    KeySource,
    Model,
    ProviderTool,
    TimeLimits,
)
from hyperguild.domain.usage import Price


class ModelTable:
    """Every endpoint and model of the file; models that are only named join when they are first looked up."""

    def __init__(self, raw: schema.ChainsFile, report: Report, folder: Path, home: Path | None) -> None:
        self._report = report
        self._folder = folder
        self._home = home
        self.endpoints: dict[str, Endpoint] = {}
        self.models: dict[str, Model] = {}
        for name, endpoint in raw.endpoints.items():
            self._add_endpoint(name, endpoint)
        for name, model in (raw.models or {}).items():
            self._add_model(name, model)
        self._whole = report.names("endpoints") == set(self.endpoints)

    def model(self, name: str, path: DocumentPath) -> Model | None:
        """Return the model that is named at the path, inferred if need be; or None, and note why."""
        if name in self.models:
            return self.models[name]
        declared = self._report.names("models")
        if name in declared:  # and refused: that has been said
            return None
        try:
            model = infer_model(name, self.endpoints)
        except InferenceError as exc:
            if self._whole:
                self._report.add(path, f"{exc}{did_you_mean(name, declared)}")
            return None
        self.models[name] = model
        return model

    def _add_endpoint(self, name: str, raw: schema.Endpoint) -> None:
        ca_file = self._file(raw.ca_file)
        if ca_file is not None and not ca_file.is_file():
            self._report.add(("endpoints", name, "ca_file"), "names no file that can be read")
        key = KeySource(env=raw.api_key_env, file=self._file(raw.api_key_file), command=raw.api_key_cmd)
        self.endpoints[name] = Endpoint(
            name=name,
            kind=raw.kind,
            base_url=None
            if isinstance(raw, schema.CommandEndpoint | schema.EmbeddedEndpoint)
            else raw.base_url,
            argv=raw.argv if raw.kind == "command" else (),
            key=None if key == KeySource() else key,
            max_concurrency=raw.max_concurrency,
            max_queue=raw.max_queue,
            connect_timeout_s=raw.connect_timeout_s,
            probe_timeout_ms=raw.probe_timeout_ms,
            ca_file=ca_file,
            headers=dict(raw.headers or {}),
            redact=raw.redact,
            engine=_engine(raw) if raw.kind == "embedded" else EngineSettings(),
        )

    def _file(self, written: str | None) -> Path | None:
        return None if written is None else path_beside(written, self._folder, self._home)

    def _add_model(self, name: str, raw: schema.Model) -> None:
        path = ("models", name)
        endpoint = self.endpoints.get(raw.endpoint)
        if endpoint is None:
            known = self._report.names("endpoints")
            if raw.endpoint not in known:
                hint = did_you_mean(raw.endpoint, known)
                self._report.add((*path, "endpoint"), f"unknown endpoint {quoted(raw.endpoint)}{hint}")
            return
        embedded = endpoint.kind == "embedded"
        if raw.gguf is not None and not embedded:
            self._report.add((*path, "gguf"), "is for endpoints of kind embedded", at_key=True)
        if raw.gguf is None and embedded:
            why = f"required: the model file, since endpoint {quoted(endpoint.name)} is embedded"
            self._report.add((*path, "gguf"), why)
        self.models[name] = Model(
            name=name,
            endpoint=endpoint,
            upstream=raw.upstream or name,
            label=raw.tier or label_of(name, endpoint),
            context_window=raw.context_window or (DEFAULT_EMBEDDED_WINDOW if embedded else None),
            max_output_tokens=raw.max_output_tokens,
            params=_params(raw),
            extra_body=dict(raw.extra_body or {}),
            max_concurrency=raw.max_concurrency,
            price=None if raw.price is None else Price(**raw.price.model_dump()),
            vision=raw.vision,
            tools=raw.tools,
            json_schema=raw.json_schema,
            gguf=self._file(raw.gguf),
            provider_tools=self._provider_tools(path, raw, endpoint),
        )

    def _provider_tools(
        self, path: DocumentPath, raw: schema.Model, endpoint: Endpoint
    ) -> tuple[ProviderTool, ...]:
        """Return the tools of the provider, and note those that cannot be."""
        if raw.provider_tools and endpoint.kind not in {"anthropic", "openai"}:
            why = f"endpoints of kind {endpoint.kind} take none"
            self._report.add((*path, "provider_tools"), why, at_key=True)
        if raw.provider_tools and not raw.tools:
            self._report.add((*path, "provider_tools"), "needs `tools: true`", at_key=True)
        for place, tool in enumerate(raw.provider_tools):
            if tool.runner is not None and endpoint.kind != "anthropic":
                why = "is for tools of Anthropic's that the client executes"
                self._report.add((*path, "provider_tools", place, "runner"), why, at_key=True)
        return tuple(ProviderTool(tool.definition(), tool.runner) for tool in raw.provider_tools)


def tuned(model: Model, entry: schema.Tier | schema.Judge) -> Model:
    """Return the model with the params and extra_body of a tier or judge, which win, key by key."""
    params = {**model.params, **_params(entry)}
    return dataclasses.replace(
        model, params=params, extra_body={**model.extra_body, **(entry.extra_body or {})}
    )


def limits_of(entry: schema.Tier | schema.Judge) -> TimeLimits:
    """Return the limits in time of a tier or judge."""
    return TimeLimits(
        total_s=entry.timeout_s,
        load_s=entry.load_timeout_s,
        first_token_s=entry.first_token_timeout_s,
        silence_s=entry.silence_timeout_s,
    )


def _engine(raw: schema.EmbeddedEndpoint) -> EngineSettings:
    return EngineSettings(
        max_loaded=raw.max_loaded, ttl_s=raw.ttl_s, slots=raw.slots, threads=raw.threads, keep=raw.keep
    )


def _params(entry: schema.Model | schema.Tier | schema.Judge) -> Mapping[str, Any]:
    given = entry.params.model_dump(exclude_none=True) if entry.params else {}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
