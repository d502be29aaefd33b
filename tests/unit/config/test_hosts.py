"""Which hosts are this machine's, and which this network's."""

from __future__ import annotations

import pytest

from hyperguild.config.hosts import fault_of_url, is_loopback, is_private, is_providers_own, origin_of


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "a.localhost", "::ffff:127.0.0.1"]
)
def test_loopback(host: str) -> None:
    assert is_loopback(host)
    assert is_private(host)


@pytest.mark.parametrize(
    "host",
    ["10.1.2.3", "172.31.0.1", "192.168.1.5", "169.254.1.1", "fd00::1", "fe80::1", "box.local", "box.lan",
     "box.home.arpa", "host.docker.internal", "ollama", "::ffff:10.0.0.1"],
)  # fmt: skip
def test_private(host: str) -> None:
    assert is_private(host)
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["8.8.8.8", "172.32.0.1", "2001:4860::1", "api.openai.com", "localhost.evil.example", "2130706433",
     "0x7f000001",      "127.1", "notlocalhost.com", "::ffff:8.8.8.8"],
)  # fmt: skip
def test_foreign(host: str) -> None:
    assert not is_loopback(host)
    assert not is_private(host)


@pytest.mark.parametrize(
    "url",
    ["http://x\\@127.0.0.1/", "http://127.0.0.1@evil.example", "http://a b", "http://[::1", "http://[zz]", "http://[1:2]",
     "http://ex%61mple.com", "http://bücher.example", "http://x:99999", "x", "http://x\n", "http://-x"],
)  # fmt: skip
def test_addresses_that_parsers_disagree_about_are_refused(url: str) -> None:
    assert fault_of_url(url) is not None


def test_origins() -> None:
    assert origin_of("HTTP://Box.Local/v1") == ("http", "box.local", 80)
    assert origin_of("https://[::1]:8443") == ("https", "::1", 8443)


def test_a_providers_own_host() -> None:
    assert is_providers_own("anthropic", "https://api.anthropic.com")
    assert is_providers_own("openai", "https://API.openai.com:443/v1")
    assert not is_providers_own("openai", "https://api.anthropic.com")
    assert not is_providers_own("openai", "http://api.openai.com")
    assert not is_providers_own("openai", "https://api.openai.com.evil.example")
    assert not is_providers_own("llama-swap", "https://api.openai.com")
