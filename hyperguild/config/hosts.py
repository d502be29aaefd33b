"""Addresses of endpoints: which are accepted, and which are this machine's or this network's."""

from __future__ import annotations

import ipaddress
import re

# Deliberately narrow: what this accepts, every URL parser reads in the same way. The decision whether a key
# may go to a host is taken from this reading, and the connection is made by another parser.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!-~]*)?",
    re.IGNORECASE,
)

# RFC 1918, RFC 4193 (unique local) and link-local networks; Python's own `is_private` holds more, and not the
# same in every version.
_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
# Names that no public DNS answers: RFC 6762, RFC 8375, ICANN's reserved `internal`, and the routers' `lan`.
_PRIVATE_SUFFIXES = (".local", ".lan", ".home.arpa", ".internal")

PROVIDER_HOSTS = {"anthropic": "api.anthropic.com", "openai": "api.openai.com"}

# The variables that the providers' own tools read their keys from, and where these keys belong.
_HOME_OF_KEY = {"ANTHROPIC_API_KEY": "api.anthropic.com", "OPENAI_API_KEY": "api.openai.com"}


def fault_of_url(url: str) -> str | None:
    """Say what keeps the text from being a base URL, or None. It is not quoted: it may hold a password."""
    match = _URL.fullmatch(url)
    authority = url.partition("://")[2].partition("/")[0]
    if not re.match(r"https?://", url, re.IGNORECASE):
        fault = "must begin with http:// or https://"
    elif "@" in authority:
        fault = "must not hold a user or a password; use api_key_env or headers with ${VAR}"
    elif "?" in url or "#" in url:
        fault = "must not hold a query or a fragment"
    elif not authority:
        fault = "must name a host"
    elif match is None or "\\" in url:
        fault = "is not an address this program reads: http(s)://HOST[:PORT][/PATH], in ASCII"
    elif match["port"] is not None and not 0 < int(match["port"]) < 65536:
        fault = "must have a port between 1 and 65535"
    elif match["host"].startswith("[") and _address(match["host"][1:-1]) is None:
        fault = "must hold a valid IPv6 address between the brackets"
    else:
        return None
    return fault


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host (lower case, no brackets) and port of a URL that `fault_of_url` accepts."""
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("not a URL that was accepted")
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else {"http": 80, "https": 443}[scheme]
    return scheme, match["host"].lower().strip("[]"), port


def is_loopback(host: str) -> bool:
    """Tell whether the host is this machine: 127.0.0.0/8, ::1, `localhost` or `*.localhost` (RFC 6761)."""
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")


def is_private(host: str) -> bool:
    """Tell whether the host is this machine or on a private network.

    Loopback; RFC 1918, RFC 4193 and link-local addresses; names under .local, .lan, .home.arpa and .internal;
    and names without a dot that begin with a letter (a neighbour's, a container's): no public DNS has them.
    """
    if is_loopback(host):
        return True
    address = _address(host)
    if address is not None:
        return any(address in network for network in _PRIVATE)
    return host.endswith(_PRIVATE_SUFFIXES) or ("." not in host and host[:1].isalpha())


def is_providers_own(kind: str, url: str) -> bool:
    """Tell whether the URL is the host of the endpoint kind's own provider, over https on its usual port."""
    own = PROVIDER_HOSTS.get(kind)
    return own is not None and origin_of(url) == ("https", own, 443)


def is_anothers_key(variable: str, url: str) -> bool:
    """Tell whether the environment variable holds a provider's key, and the URL is not that provider's."""
    home = _HOME_OF_KEY.get(variable)
    return home is not None and origin_of(url)[1] != home


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
