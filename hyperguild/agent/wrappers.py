"""Programs that run other programs, and options that make ordinary programs do so. Pure.

Sources: the manuals of coreutils, findutils and git, and GTFOBins (https://gtfobins.github.io). The tables
are not complete, and cannot be: a rule that allows a program allows what that program can do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hyperguild.agent.shell_words import WILD, Word


def word_set(text: str) -> frozenset[str]:
    """Return the words of a table that is too long to quote each."""
    return frozenset(text.split())


def program_name(word: str) -> str:
    """Return the last part of a program's path, in lower case: some file systems do not tell cases apart."""
    return word.rstrip("/").rpartition("/")[2].casefold()


def is_system_program(word: str, name: str) -> bool:
    """Return whether `word` means the system's program, not a file that only bears its name."""
    return word in {name, f"/bin/{name}", f"/usr/bin/{name}"}


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A program that runs the command in its arguments and does nothing else.

    `flags` stand alone, `valued` options take a value (in the next word, or attached), `operands` come before
    the command. `appends`: it adds words to the command. `assigns`: it takes `NAME=value` first.
    """

    flags: frozenset[str] = frozenset()
    valued: frozenset[str] = frozenset()
    operands: int = 0
    appends: bool = False
    assigns: bool = False

    def inner(self, words: Sequence[Word]) -> int | None:
        """Return where the command begins, or None where an option is not known or not written out."""
        spot = 1
        while spot < len(words) and words[spot].text.startswith("-"):
            word = words[spot]
            if word.expands:
                return None
            spot += 1
            if word.text == "--":
                break
            if word.text in self.valued:
                spot += 1
            elif word.text not in self.flags and word.text[:2] not in self.valued:
                return None
        if any(word.expands for word in words[: spot + self.operands]):
            return None
        return min(spot + self.operands, len(words))

    def placeholder(self, options: Sequence[Word]) -> str:
        """Return what `xargs -I` puts its input in place of; empty where it only appends."""
        if not self.appends:
            return ""
        for spot, word in enumerate(options):
            if word.text.startswith("-I"):
                following = options[spot + 1].text if spot + 1 < len(options) else ""
                return word.text[2:] or following
        return ""


TRANSPARENT: Final[Mapping[str, Wrapper]] = {
    "time": Wrapper(frozenset({"-p"}), assigns=True),
    "nohup": Wrapper(),
    "builtin": Wrapper(),
    "command": Wrapper(),
    "exec": Wrapper(),
    "env": Wrapper(assigns=True),
    "nice": Wrapper(valued=frozenset({"-n"})),
    "ionice": Wrapper(valued=frozenset({"-c", "-n"})),
    "stdbuf": Wrapper(valued=frozenset({"-i", "-o", "-e"})),
    "timeout": Wrapper(frozenset({"--preserve-status", "--foreground", "-v"}), frozenset({"-k", "-s"}), 1),
    "setsid": Wrapper(frozenset({"-w", "-f"})),
    "xargs": Wrapper(
        frozenset({"-0", "-r", "-t", "-x", "--null", "--no-run-if-empty"}),
        frozenset({"-n", "-P", "-L", "-I", "-d", "-s", "-E"}),
        appends=True,
    ),
}
"""The command within is what counts; any other option makes them opaque."""

SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish"})
"""Programs that take commands with `-c`, from a file or from their input."""

OPAQUE: Final = word_set(
    """
    alias asdf at batch bunx busybox bwrap caffeinate capsh chroot chrt cmd direnv doas docker entr expect
    fakeroot firejail flock gdb kubectl ltrace mise mosh nix-shell npx nsenter parallel perf pkexec pnpx
    podman powershell proot pwsh rlwrap run0 runuser screen script setarch setpriv ssh start-stop-daemon
    strace su sudo systemd-run taskset tmux toybox trap unbuffer unshare uvx valgrind watch wsl
    """
)
"""They run what their arguments say, in ways not followed here, or elsewhere or as somebody else."""

_GIT_HARMLESS: Final = frozenset(
    {"--no-pager", "-P", "--no-optional-locks", "--version", "--help", "-v", "-h"}
)
_GIT_COMMANDS: Final = word_set(
    """
    bisect config credential daemon difftool filter-branch hook instaweb maintenance mergetool receive-pack
    send-email shell submodule upload-pack web--browse
    """
)
_GIT_LONG: Final = (
    "--exec",
    "--exec-path",
    "--upload-pack",
    "--receive-pack",
    "--ext-diff",
    "--textconv",
    "--open-files-in-pager",
    "--output",
    "--template",
    "--config",
    "--config-env",
    "--extcmd",
)
_GIT_SHORT: Final = {"rebase": "x", "grep": "O", "clone": "cu", "ls-remote": "u"}

_LONG: Final[Mapping[str, tuple[str, ...]]] = {
    "tar": (
        "--to-command",
        "--use-compress-program",
        "--checkpoint-action",
        "--rsh-command",
        "--rmt-command",
        "--info-script",
        "--new-volume-script",
    ),
    "rsync": ("--rsh", "--rsync-path"),
    "sort": ("--compress-program", "--output"),
    "sed": ("--in-place",),
    "rg": ("--pre", "--hostname-bin"),
    "fd": ("--exec", "--exec-batch"),
    "man": ("--pager", "--html", "--preprocessor"),
    "zip": ("--unzip-command",),
    "go": ("-exec", "-toolexec", "-vettool"),
    "cargo": ("--config",),
    "make": ("--eval",),
    "curl": ("--output", "--config", "--remote-name"),
    "wget": ("--use-askpass", "--config", "--execute"),
}
_SHORT: Final[Mapping[str, str]] = {
    "tar": "IF",
    "rsync": "e",
    "ssh": "oF",
    "scp": "oFS",
    "sftp": "oFS",
    "sort": "o",
    "sed": "i",
    "fd": "xX",
    "man": "PH",
    "zip": "T",
    "tcpdump": "z",
    "curl": "oOK",
    "wget": "e",
}
_SED_SCRIPT = re.compile(r"[0-9$,]*[pdq=]|s(?P<mark>[/|,#])[^\n]*(?P=mark)[gpiI0-9]*", re.ASCII)
"""Printing, deleting and plain substitutions; other scripts may hold `e`, which runs commands, or `w`."""
_FIND: Final = frozenset({"-delete", "-fprint", "-fprint0", "-fprintf", "-fls"})


def has_risky_options(program: str) -> bool:
    """Return whether options of this program are known to run or write something else."""
    return program in {"git", "find"} or program in _LONG or program in _SHORT


def risky_words(words: Sequence[Word]) -> frozenset[int]:
    """Return the positions of words that make a program run or write something that its name does not tell.

    A rule that allows the program does not allow these, unless it names them. Long options count in every
    abbreviation; so do words that a glob may turn into an option.
    """
    name = program_name(words[0].text)
    found = _risky_git(words) if name == "git" else _risky(name, words)
    if name == "sed":
        found |= _risky_sed(words)
    if has_risky_options(name):
        ended = next((spot for spot, word in enumerate(words) if word.text == "--"), len(words))
        found |= {spot for spot in range(1, ended) if words[spot].shape.startswith(WILD)}
    return frozenset(found)


def _risky(name: str, words: Sequence[Word]) -> set[int]:
    if name == "find":
        return {spot for spot, word in enumerate(words) if word.text in _FIND}
    long, short = _LONG.get(name, ()), _SHORT.get(name, "")

    def bundle(spot: int, word: Word) -> str:
        """The first word of tar is options even without a dash."""
        return f"-{word.text}" if name == "tar" and spot == 1 else word.text

    return {
        spot
        for spot, word in enumerate(words)
        if spot and (_is_long(word.text, long) or _has_short(bundle(spot, word), short))
    }


def _risky_sed(words: Sequence[Word]) -> set[int]:
    """The script is the first word that is no option, or what follows -e; script files are not read."""
    given = [spot for spot in range(1, len(words)) if words[spot - 1].text == "-e"]
    unusual = {
        spot
        for spot, word in enumerate(words)
        if spot and word.text.startswith("-") and word.text not in {"-n", "-e", "-E", "-r", "-s", "-z", "-u"}
    }
    first = next((spot for spot in range(1, len(words)) if not words[spot].text.startswith("-")), None)
    scripts = given or ([] if first is None else [first])
    return unusual | {spot for spot in scripts if not _SED_SCRIPT.fullmatch(words[spot].text)}


def _risky_git(words: Sequence[Word]) -> set[int]:
    command = next(
        (spot for spot in range(1, len(words)) if not words[spot].text.startswith("-")), len(words)
    )
    found = {spot for spot in range(1, command) if words[spot].text not in _GIT_HARMLESS}
    if command == len(words):
        return found
    name = words[command].text
    if name in _GIT_COMMANDS:
        found.add(command)
    short = _GIT_SHORT.get(name, "")
    for spot in range(command + 1, len(words)):
        text = words[spot].text
        if _is_long(text, _GIT_LONG) or _has_short(text, short) or "ext::" in text:
            found.add(spot)
    return found


def _is_long(word: str, options: Sequence[str]) -> bool:
    if not word.startswith("-") or len(word) < 3:
        return False
    given = word.partition("=")[0]
    return any(option.startswith(given) and (given == option or given[:2] == "--") for option in options)


def _has_short(word: str, letters: str) -> bool:
    return len(word) > 1 and word[0] == "-" and word[1] != "-" and any(letter in word for letter in letters)
