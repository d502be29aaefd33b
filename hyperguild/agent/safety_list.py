"""The safety list: paths that no tool touches in any permission mode, whatever a rule allows. Pure.

Two kinds. Files that hold keys or passwords are neither read nor written: what a tool reads goes to a model,
often on another machine. Files that decide what programs do later, or what this program permits, are not
written: git's own folder (hooks and configuration run commands), shells' start-up files, chains.yaml.

Sources: the manuals of the programs named, GitHub's gitignore templates (what projects keep out of version
control as secret), and CVE-2014-9390 (spellings that a file system takes for `.git`). Names are compared
without regard to case, zero-width characters, and trailing dots and blanks, as some file systems do. A list
by name finds no secret under another name, and a shell can build names that it does not show: it is a net
beneath the sandbox, not a sandbox.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from hyperguild.agent.command_line import CommandLine, SimpleCommand
from hyperguild.agent.shapes import ANY_NAME, could_be, is_open
from hyperguild.agent.shell_words import WILD, Word
from hyperguild.agent.wrappers import word_set

Access = Literal["read", "mention", "write"]
"""What is done with a path; `mention`: a program gets it and may write it."""


@dataclass(frozen=True, slots=True)
class ProtectedPath:
    """A path on the list, as it was named, and what it is."""

    path: str
    what: str


_PLACEHOLDERS: Final = (".env.example", ".env.sample", ".env.template", ".env.dist", ".env.defaults")
"""By custom these show the variables without their values, and are committed."""

_SECRET_NAMES: Final = {
    **dict.fromkeys((".env", ".envrc"), "an environment file"),
    **dict.fromkeys(("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"), "a private key"),
    **dict.fromkeys((".netrc", "_netrc", ".pgpass", ".my.cnf", ".htpasswd", ".dockercfg"), "a password file"),
    **dict.fromkeys((".git-credentials", ".s3cfg", ".boto", ".vault-token"), "a password file"),
    **dict.fromkeys((".npmrc", ".pypirc"), "a registry's credentials"),
    **dict.fromkeys(("credentials.json", "credentials.tfrc.json"), "a credentials file"),
    "application_default_credentials.json": "a credentials file",
}
"""The last part of a path."""

_SECRET_STARTS: Final = {
    ".env.": "an environment file",
    **{
        f"id_{kind}{mark}": "a private key"
        for kind in ("rsa", "dsa", "ecdsa", "ed25519")
        for mark in (".", "-", "_")
    },
}
"""How the last part begins: `.env.local`, and copies such as `id_rsa.bak`, but not `id_rsa.pub`."""

_SECRET_ENDS: Final = {
    **dict.fromkeys((".pem", ".key", ".p8", ".p12", ".pfx", ".ppk", ".jks", ".keystore"), "a private key"),
    ".kdbx": "a password store",
}
"""How it ends, after some stem."""

_SPELT: Final = {f"{start}x": why for start, why in _SECRET_STARTS.items()} | {
    ANY_NAME + end: why for end, why in _SECRET_ENDS.items()
}
"""Names of both kinds, for words with open parts."""

_SERVICE_KEY = re.compile(r"(?:client[-_]?secrets?|service[-_]?accounts?)[-_.\w]*\.json")
"""The names under which Google hands out keys of services."""

_SECRET_FOLDERS: Final = {
    ".ssh": "the folder of SSH keys",
    ".gnupg": "the folder of GnuPG keys",
    ".aws": "the folder of AWS credentials",
    ".azure": "the folder of Azure credentials",
    ".kube": "the folder of Kubernetes credentials",
    ".password-store": "the password store",
}
"""The folder itself, and everything below."""

_SECRET_PATHS: Final = {
    (".docker", "config.json"): "Docker's credentials",
    (".config", "gcloud"): "Google Cloud's credentials",
    (".config", "gh"): "GitHub's credentials",
    (".config", "git", "credentials"): "git's credentials",
    (".cargo", "credentials"): "a registry's credentials",
    (".cargo", "credentials.toml"): "a registry's credentials",
    (".gem", "credentials"): "a registry's credentials",
    (".composer", "auth.json"): "a registry's credentials",
    ("etc", "shadow"): "the system's passwords",
    ("etc", "sudoers"): "who may become root",
}
"""These parts one after the other, anywhere in the path."""

_SEQUENCE_STARTS: Final = frozenset(sequence[0] for sequence in _SECRET_PATHS)

_GIT_FOLDERS: Final = {".git": "git's own folder"}
_GIT_SECRETS: Final = ("config", "credentials")
"""In git's folder and its modules: remote addresses and headers there may hold passwords."""

_WRITE_PROTECTED: Final = {
    ".gitconfig": "git's configuration, which runs commands",
    ".bashrc": "a shell's start-up file",
    ".bash_profile": "a shell's start-up file",
    ".profile": "a shell's start-up file",
    ".zshrc": "a shell's start-up file",
    ".zprofile": "a shell's start-up file",
    ".zshenv": "a shell's start-up file",
    "chains.yaml": "the configuration that holds these rules",
}


def named_secrets() -> tuple[str, ...]:
    """Return the secret paths that have fixed names, each relative to a home folder or to `/`."""
    sequences = ("/".join(sequence) for sequence in _SECRET_PATHS)
    return (*_SECRET_FOLDERS, *_SECRET_NAMES, *sequences)


def protected_path(path: str, access: Access) -> ProtectedPath | None:
    """Return what `path` is where it is on the list for this access, else None.

    `path` is relative or absolute; a caller that follows links asks for the path as it was given, and for the
    one it leads to. In a path out of a shell command a part may hold `WILD`: it counts where it could become
    a name on the list, unless it is open altogether.
    """
    parts = [folded for part in path.split("/") if (folded := _folded(part)) not in {"", "."}]
    what = _secret(parts) or _secret_sequence(parts) or _git(parts, access)
    if what is None and access == "write" and parts:
        what = _lookup(parts[-1], _WRITE_PROTECTED)
    return None if what is None else ProtectedPath(path.replace(WILD, "*"), what)


def _folded(part: str) -> str:
    """Spell a part as the file systems do that do not tell such spellings apart."""
    if not part.isascii():
        shown = unicodedata.normalize("NFKC", part)
        part = "".join(char for char in shown if unicodedata.category(char) != "Cf")
    part = part.casefold()
    part = part if part in {"", ".", ".."} else part.rstrip(" .")
    return ".git" if part == "git~1" else part


def _secret(parts: list[str]) -> str | None:
    for part in parts:
        what = _lookup(part, _SECRET_FOLDERS)
        if what is not None:
            return what
    name = parts[-1] if parts else ""
    if name in _PLACEHOLDERS or name.endswith(".pub"):
        return None
    what = _lookup(name, _SECRET_NAMES)
    if what is not None:
        return what
    if WILD in name:
        return _lookup(name, _SPELT)
    if _SERVICE_KEY.fullmatch(name):
        return "a credentials file"
    found = [why for start, why in _SECRET_STARTS.items() if name.startswith(start)]
    stem, dot, end = name.rpartition(".")
    return found[0] if found else _SECRET_ENDS.get(dot + end) if stem else None


def _lookup(part: str, names: Mapping[str, str]) -> str | None:
    if WILD not in part:
        return names.get(part)
    head = part[:1]
    fitting = (name for name in names if head in (WILD, name[:1]) and could_be(part, name))
    return next((names[name] for name in fitting), None)


def _secret_sequence(parts: list[str]) -> str | None:
    for start, part in enumerate(parts):
        if WILD not in part and part not in _SEQUENCE_STARTS:
            continue
        for sequence, what in _SECRET_PATHS.items():
            followed = parts[start : start + len(sequence)]
            if len(followed) == len(sequence) and all(map(could_be, followed, sequence)):
                return what
    if "proc" in parts and could_be(parts[-1], "environ"):
        return "the environment of a process"
    return None


def _git(parts: list[str], access: Access) -> str | None:
    spot = next((i for i, part in enumerate(parts) if _lookup(part, _GIT_FOLDERS)), None)
    if spot is None:
        return None
    if access != "read":
        return "git's own folder"
    last = parts[-1] if spot + 1 < len(parts) else ""
    if last.startswith(_GIT_SECRETS) or any(could_be(last, secret) for secret in _GIT_SECRETS):
        return "git's configuration, which may hold passwords"
    return None


_NAMED = re.compile(r"[^\s\"'`()\[\]{}<>|;&=,:@!#%$\\^]+")
_READERS: Final = word_set(
    "cat diff du fd file find git grep head ls rg stat tail test [ tree wc cd pushd for"
)
"""They write nothing that they are given by name; so a mention of git's folder is a look at it."""
_WRITERS: Final = word_set(
    "chgrp chmod chown cp dd ed ex install ln mv patch rm rmdir shred tee touch truncate unlink vi vim"
)
_FIND_WRITES: Final = frozenset(
    {"-delete", "-exec", "-execdir", "-ok", "-okdir", "-fprint", "-fprintf", "-fls"}
)
_TEXT_TAKERS: Final = frozenset({"cat", "tee", "git"})
"""What they get as input is text that they keep, not names of files."""
_SPARING: Final = ("--exclude", "--ignore", "--git-dir")
"""Options whose value is left alone."""
_MESSAGE_OPTIONS: Final = frozenset({"-m", "--message", "-am"})


def protected_mention(line: CommandLine) -> ProtectedPath | None:
    """Return the first path on the list that a shell command names, else None.

    Looked at: every word, redirection and text on standard input, and what is within words (`--file=.env`,
    `HEAD:.env`, `open('.env')`), also below the folders that the line changes to. Not looked at, where no
    output goes on to another command: what `echo` and `printf` print, commit messages, and the text that
    `cat`, `tee` and `git` are given.
    """
    bases = [""]
    seen: set[tuple[str, str, str]] = set()
    for command in line.commands:
        for path, access in _mentions(command, plain=line.plain):
            for base in bases:
                if (base, path, access) in seen:
                    continue
                seen.add((base, path, access))
                found = protected_path(f"{base}{path}", access)
                if found is not None:
                    return found
        if command.program in {"cd", "pushd"} and len(command.words) > 1 and len(bases) < _MOST_FOLDERS:
            base = f"{bases[-1]}{command.words[-1].shape}/"
            if any(_lookup(_folded(part), _TELLING_FOLDERS) for part in base.split("/")):
                bases.append(base)
    named = {word for fragment in line.fragments for word in fragment}
    return next((found for word in sorted(named) if (found := protected_path(word, "read"))), None)


_MOST_FOLDERS: Final = 4
_TELLING_FOLDERS: Final = {**_GIT_FOLDERS, **dict.fromkeys((*_SEQUENCE_STARTS, "proc"), "part of a path")}
"""Only below these does it matter to a name where it stands."""


def _access(command: SimpleCommand) -> Access:
    if command.program in _WRITERS:
        return "write"
    texts = {word.text for word in command.words}
    if command.program == "sed" and any(text.startswith(("-i", "--in-place")) for text in texts):
        return "write"
    return "read" if command.program in _READERS and not texts & _FIND_WRITES else "mention"


def _mentions(command: SimpleCommand, *, plain: bool) -> Iterator[tuple[str, Access]]:
    access = _access(command)
    for redirection in command.redirections:
        yield redirection.target.shape, "write" if redirection.writes else "read"
    previous = ""
    words = _less_filter(command)
    for word in (*command.assignments, *(_less_texts(command, words) if plain else words)):
        spared = previous.startswith(_SPARING) or word.text.startswith(_SPARING)
        for path in _named(word):
            yield path, "read" if spared else access
        previous = word.text
    if not plain or command.program not in _TEXT_TAKERS:
        for body in command.bodies:
            yield from ((path, "mention") for path in _named_in_text(body))


def _less_filter(command: SimpleCommand) -> tuple[Word, ...]:
    """The words less the filter of jq and yq: `.env` and `.a.key` are parts of a document there."""
    if command.program not in {"jq", "yq"}:
        return command.words
    spot = next((i for i, word in enumerate(command.words) if i and not word.text.startswith("-")), 0)
    if spot and command.words[spot].text.startswith(".") and "/" not in command.words[spot].text:
        return (*command.words[:spot], *command.words[spot + 1 :])
    return command.words


def _less_texts(command: SimpleCommand, words: Sequence[Word]) -> Iterator[Word]:
    """The words less those that are text for people."""
    if command.program in {"echo", "printf"}:
        yield from (word for word in words if is_open(word.shape))
        return
    previous = ""
    for word in words:
        if not (command.program == "git" and previous in _MESSAGE_OPTIONS and not word.expands):
            yield word
        previous = word.text


def _named(word: Word) -> Iterator[str]:
    if any(char.isspace() for char in word.shape):
        yield from _named_in_text(word.shape)
        return
    yield word.shape
    if _NAMED.fullmatch(word.shape) is None:
        yield from _NAMED.findall(word.shape)
    elif word.shape.startswith("-"):
        yield word.shape[2:]


def _named_in_text(text: str) -> Iterator[str]:
    """Paths in a script or other text; `item.key` there is no file unless it is quoted or has a folder."""
    for match in _NAMED.finditer(text):
        path = match[0]
        before = text[match.start() - 1 : match.start()]
        suffix_only = "/" not in path and not path.startswith((".", "id_", "_")) and before not in {'"', "'"}
        if not suffix_only or "." not in path or path == "credentials.json":
            yield path
