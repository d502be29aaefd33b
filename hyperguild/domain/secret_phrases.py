"""Passphrases: passwords of several words, told from what is said about passwords. Linear."""

from __future__ import annotations

from itertools import pairwise

from hyperguild.domain.patterns import lazy
from hyperguild.domain.secret_values import is_made_up, is_password, is_technical

WORDS_MIN = 4
"""Of plain words so many are a passphrase; fewer are more likely a label, a title or a message."""

WORDS_MAX = 12

_WORD = lazy(r"[a-z]{3,12}")
_SAID = lazy(r"[a-z]{3,12}(?:[ \t][a-z]{3,12}){3,11}+(?=[ \t\r]{0,16}(?:\n|\Z|\\[nr]|(?<=[ \t])#))")
_PIECES = lazy(r"[-_.,:;/(){}<>%]+")
_ABOUT = lazy(r"pass|pwd|secret|token|kennwort|contrase|login|user|mail|ed$|ing$|ly$|tion$|able$")
_OF_SENTENCES = frozenset(
    """the and for are but not you your our their his her its any all can may must shall should will would
    has have had was were been being who what when where which why how this that these those there here than
    then with without within from into onto over under after before between until while because about
    per via use used uses set sets get gets new old same other another only also just never always
    one two three four more most least less than too very such each every both some none
    contain contains character characters letter letters digit digits number numbers symbol symbols word words
    length long short strong weak random common valid invalid wrong correctly incorrect empty blank
    string text value field input form type name hash salt encoding plain clear hidden visible
    enter choose pick type keep store stored change reset forgot sent send see read write make take give
    please sorry try again back next first last once twice does did done cannot could
    server client database account admin root key keys code file line page link app site
    match matches required optional default example sample""".split()  # noqa: SIM905  # a list is thrice as long
)
"""What a sentence, a message or a description has, and a passphrase seldom: whole words, in lower case."""


def is_phrase(value: str) -> bool:
    """Tell whether a value of several words, which a password's name stands beside, is the password.

    That is: four plain words or more of which no sentence is made, or some words one of which is a password.
    """
    words = value.split(" ")
    if not 2 <= len(words) <= WORDS_MAX or "" in words or is_made_up(value):
        return False
    if any(_is_drawn(word) for word in words):
        return True
    return len(words) >= WORDS_MIN and all(_is_plain(word) for word in words)


def phrase_end(text: str, start: int) -> int | None:
    """Return where the passphrase ends that stands at `start` with nothing behind it on its line, or None."""
    said = _SAID().match(text, start)
    return said.end() if said is not None and is_phrase(said[0].replace("\t", " ")) else None


def _is_plain(word: str) -> bool:
    return _WORD().fullmatch(word) is not None and word not in _OF_SENTENCES and _ABOUT().search(word) is None


def _is_drawn(word: str) -> bool:
    """Tell whether letters and digits alternate in it, as in `Tr0ub4dor`, and not as in `v2beta1`.

    In one piece of it: in a date, the number of a ticket or `8-to-20` they alternate from piece to piece.
    """
    changes = max(sum(a.isdigit() != b.isdigit() for a, b in pairwise(one)) for one in _PIECES().split(word))
    return changes >= 2 and word.isascii() and is_password(word) and not is_technical(word)
