"""Fences around untrusted text in a prompt: sections between tags that hold a nonce which the text does not.

Whoever puts into a prompt what a model, a tool, a file or a server said does it through this module.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator

from hyperguild.domain.text import encodable
from hyperguild.errors import NonceError

NONCE_DRAWS = 8
"""A fresh nonce that stands in the data already is next to impossible; so many are a broken source."""

NONCE_DIGITS = 16

_TURN_MARKS = (
    r"(?<=<)(?=[|\uff5c][^<>\s]{1,40}[|\uff5c]>)"  # ChatML, Llama 3, Phi, DeepSeek
    r"|(?<=<)(?=(?:start|end)_of_(?:turn|image)>)"  # Gemma
    r"|(?<=\[)(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"  # Mistral
    r"|(?<=<)(?=</?SYS>>)"  # Llama 2
)
_TURNS = re.compile(_TURN_MARKS)
"""Places within what chat templates mark turns with."""

_CONTROL_TOKENS = re.compile(rf"{_TURN_MARKS}|(?<=<)(?=(?:/?s|bos|eos|pad|unk)>)")
"""With the marks of beginnings and ends, two of which are tags of HTML."""


def unused_nonce(draw: Callable[[], str], data: Iterable[str]) -> str:
    """Return what `draw` gives, the first that stands nowhere in the data.

    Raises `NonceError` where so many draws as `NONCE_DRAWS` gave none: the source is broken.
    """
    texts = tuple(data)
    for _ in range(NONCE_DRAWS):
        nonce = draw()
        if nonce and not any(nonce in text for text in texts):
            return nonce
    raise NonceError("no nonce could be drawn that the data does not hold")


def nonce_of(data: Iterable[str]) -> str:
    """Return a nonce made of the data, which the data does not hold: the same for the same data.

    For what is laid out anew again and again and has to be the same each time (the task of a run that goes
    on, the head of a prompt that a server has cached). Who writes one part of the data cannot choose it, for
    a text that holds its own digest is not taken.
    """
    texts = tuple(encodable(text) for text in data)
    return unused_nonce(_digests(texts).__next__, texts)


def section(name: str, data: str, nonce: str) -> str:
    """Return data between a tag and its closing tag, each alone on its line.

    The data is what stands between the two newlines, to the character, but for lone surrogates. The nonce
    must stand nowhere in the data.
    """
    return f"<{name} {nonce}>\n{encodable(data)}\n</{name} {nonce}>"


def without_control_tokens(text: str) -> str:
    """Return the text, a zero-width space within each piece that a model may take for a mark of its template.

    Local servers read such marks wherever they stand: a fence does not hold where its text can end the turn.
    For texts that are read and not copied: nothing of them comes back with that space in it.
    """
    return _CONTROL_TOKENS.sub("\u200b", text)


def without_turn_marks(text: str) -> str:
    """Return the text with a zero-width space within each mark that could open another turn, `</s>` left.

    For texts that a model may copy from: these marks stand in few of them.
    """
    return _TURNS.sub("\u200b", text)


def _digests(texts: tuple[str, ...]) -> Iterator[str]:
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8))
        digest.update(encoded)
    while True:
        yield digest.hexdigest()[:NONCE_DIGITS]
        digest.update(b"\0")
