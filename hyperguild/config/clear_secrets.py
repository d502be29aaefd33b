"""Secrets in clear in what goes into requests as it is (`extra_body`): refused, and never repeated."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from hyperguild.config.marks import Document, Fault
from hyperguild.config.wording import DocumentPath, is_name_for_key, looks_like_key

_SECTIONS = ("models", "verifiers", "chains")
_BODY = "extra_body"
_IN_CLEAR = (
    "a secret in clear is refused; put it into the environment and name it on the endpoint: api_key_env, "
    "or headers with ${VAR}"
)


def refuse_clear_secrets(document: Document) -> Document:
    """Return the document with a fault for each secret in an `extra_body`; no message holds a value.

    A secret is a text of the shape of a key, wherever it stands, and a text (or a list of texts) under a name
    that people give keys. Mappings under such a name are none: a JSON Schema may well have a `password`.
    """
    if not isinstance(document.data, dict):
        return document
    secrets: list[DocumentPath] = []
    for section in _SECTIONS:
        for path, body in _bodies(document.data.get(section), (section,)):
            secrets += _secrets(body, path)
    faults = (Fault(path, document.place(path), _IN_CLEAR, spoils_value=True) for path in secrets)
    return dataclasses.replace(document, faults=(*document.faults, *faults))


def _bodies(node: Any, path: DocumentPath) -> Iterator[tuple[DocumentPath, Any]]:
    """Yield what stands under `extra_body`, but for what a check calls so (in a JSON Schema)."""
    for part, value in _items(node):
        here = (*path, part)
        if part == _BODY and len(path) > 1:
            yield here, value
        elif not (path[0] == "verifiers" and part == "checks"):
            yield from _bodies(value, here)


def _secrets(node: Any, path: DocumentPath, *, is_named: bool = False) -> Iterator[DocumentPath]:
    if isinstance(node, str):
        if looks_like_key(node) or (is_named and node):
            yield path
        return
    for part, value in _items(node):
        if isinstance(part, str) and looks_like_key(part):
            yield (*path, part)
            continue
        named = is_named if isinstance(node, list) else is_name_for_key(str(part))
        yield from _secrets(value, (*path, part), is_named=named)


def _items(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)
