"""The strings of `endpoints` and `mcp_servers`, with `${VAR}` filled in and secrets in clear refused."""

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
# The last word of names of variables whose values are secrets: GITHUB_TOKEN is one, MAX_TOKENS is none.
_SECRET_VARIABLE = re.compile(
    r"(key|token|secret|password|passwd|passphrase|authorization|credentials?|cookie)$", re.IGNORECASE
)
_IN_CLEAR = {
    "endpoints": (
        "a secret in clear; put it into the environment, and name it with api_key_env or write ${VAR}"
    ),
    "mcp_servers": "a secret in clear; put it into the environment, and write ${VAR} in env or headers",
}

Texts = Mapping[DocumentPath, Interpolated]


def fill_variables(document: Document, env: Mapping[str, str]) -> tuple[Document, Texts]:
    """Return the document with the strings of both sections filled in, and those strings by path.

    Adds a fault for what cannot be filled in and for each secret in clear; no message holds a value.
    """
    if not isinstance(document.data, dict):
        return document, {}
    filler = _Filler(document, env)
    sections = {
        name: filler.filled(document.data[name], (name,)) for name in _IN_CLEAR if name in document.data
    }
    faults = (*document.faults, *filler.faults)
    return dataclasses.replace(document, data={**document.data, **sections}, faults=faults), filler.texts


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
            self._fault(path, _IN_CLEAR[str(path[0])])
            return text
        try:
            filled = interpolate(text, self._env)
        except InterpolationError as exc:
            self._fault(path, str(exc))
            return text
        if _holds_secret(path) and not (filled.variables and _SCHEME.fullmatch(filled.literal)):
            self._fault(path, _IN_CLEAR[str(path[0])])
        self.texts[path] = filled
        return filled.value

    def _fault(self, path: DocumentPath, message: str) -> None:
        self.faults.append(Fault(path, self._document.place(path), message, spoils_value=True))


def _holds_secret(path: DocumentPath) -> bool:
    """Tell whether the name of a header, or of a variable for a server, says that its value is a secret."""
    if len(path) != 4:
        return False
    name = str(path[3])
    return (path[2] == "headers" and names_a_secret(name)) or (
        path[2] == "env" and bool(_SECRET_VARIABLE.search(name))
    )
