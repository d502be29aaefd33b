"""What programs that we run see of our environment: a list, so that no key gets in by being forgotten."""

from __future__ import annotations

from collections.abc import Mapping

ORDINARY = frozenset({"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER"})
"""What every program gets, besides `LC_*`: where programs and files are, and how to speak to people."""

TERMINAL = frozenset({"SHELL", "TERM", "TMP", "TEMP"})

NETWORK = frozenset(
    {
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS"),
    }
)
"""How the network is reached. The address of a proxy may hold a password."""

TOOLCHAINS = frozenset(
    {
        *("CARGO_HOME", "RUSTUP_HOME", "GOPATH", "GOROOT", "JAVA_HOME", "ANDROID_HOME"),
        *("NVM_DIR", "PYENV_ROOT", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH"),
    }
)
"""Folders without which compilers and interpreters do not run where they are not in their usual places."""

PYTHON = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE"})
"""How an interpreter of ours finds its modules."""

MEASURING = ("COV_CORE_", "COVERAGE_")
"""Tests of processes that end by themselves are measured in those, too."""

AGENTS = frozenset({"DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "SSH_AUTH_SOCK", "GPG_TTY"})
"""Where programs that hold a user's secrets listen, and where they ask for a password."""

KEY_STORES = (
    *("GNUPGHOME", "GPG_", "PASSWORD_STORE_", "GOPASS_", "KEYRING_", "PYTHON_KEYRING_"),
    *("OP_", "BW_", "BWS_", "LPASS_", "VAULT_", "DOPPLER_", "INFISICAL_", "SOPS_", "KPCLI_"),
    *("AWS_", "AZURE_", "CLOUDSDK_", "GOOGLE_"),
)
"""Beginnings of the variables by which password managers and secret stores are steered, and let in: for the
programs that fetch keys alone."""

WORKDIR = "HYPERGUILD_WORKDIR"
"""Tells checks and hooks where the tools of an attempt work, which may be a copy of the user's folder."""

DESKTOP_PREFIX = "XDG_"


def reduced_environment(
    env: Mapping[str, str], more: frozenset[str] = frozenset(), prefixes: tuple[str, ...] = ()
) -> dict[str, str]:
    """Return of `env` what every program gets, the names in `more`, and those that begin with a prefix."""
    names, starts = ORDINARY | more, ("LC_", *prefixes)
    return {name: value for name, value in env.items() if name in names or name.startswith(starts)}
