"""The strings of `endpoints`, with `${VAR}` filled in and secrets in clear refused."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from hyperguild.config.interpolate import Interpolated, InterpolationError, interpolate
from hyperguild.config.marks import Document, Fault
from hyperguild.config.wording import DocumentPath, looks_like_key, names_a_secret

# What may stand in clear in a header that holds a secret: the scheme, as in `Bearer ${TOKEN}`.
_SCHEME = re.compile(r'[A-Za-z= "-]{0,24}')
_IN_CLEAR = "a secret in clear; put it into the environment, and name it with api_key_env or write ${VAR}"

Texts = Mapping[DocumentPath, Interpolated]


def fill_endpoints(document: Document, env: Mapping[str, str]) -> tuple[Document, Texts]:
    """Return the document with the strings of its endpoints filled in, and those strings by path.

    Adds a fault for what cannot be filled in and for each secret in clear; no message holds a value.
    """
    if not isinstance(document.data, dict) or "endpoints" not in document.data:
        return document, {}
    filler = _Filler(document, env)
    endpoints = filler.filled(document.data["endpoints"], ("endpoints",))
    data = {**document.data, "endpoints": endpoints}
    faults = (*document.faults, *filler.faults)
    return dataclasses.replace(document, data=data, faults=faults), filler.texts


class _Filler:
    def __init__(self, document: Document, env: Mapping[str, str]) -> None:
        self.faults: list[Fault] = []
        self.texts: dict[DocumentPath, Interpolated] = {}
        self._document = document
        self._env = env

    def filled(self, node: Any, path: DocumentPath) -> Any:
        if isinstance(node, dict):
            return {key: self.filled(value, (*path, key)) for key, value in node.items()}
        if isinstance(node, list):
            return [self.filled(value, (*path, index)) for index, value in enumerate(node)]
        return self._text(node, path) if isinstance(node, str) else node

    def _text(self, text: str, path: DocumentPath) -> str:
        if looks_like_key(text):
            self._fault(path, _IN_CLEAR)
            return text
        try:
            filled = interpolate(text, self._env)
        except InterpolationError as exc:
            self._fault(path, str(exc))
            return text
        if _is_secret_header(path) and not (filled.variables and _SCHEME.fullmatch(filled.literal)):
            self._fault(path, _IN_CLEAR)
        self.texts[path] = filled
        return filled.value

    def _fault(self, path: DocumentPath, message: str) -> None:
        self.faults.append(Fault(path, self._document.place(path), message, spoils_value=True))


def _is_secret_header(path: DocumentPath) -> bool:
    return len(path) == 4 and path[2] == "headers" and names_a_secret(str(path[3]))
