"""Webhooks lead nowhere inside: what is not public is refused, whatever name leads there."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from session_tokens import InvalidInput
from session_tokens.webhooks.destinations import Forbidden, destination_of, is_public, url_of


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1",
    "fe80::1%eth0", "fec0::1", "feff::1", "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a00:1::1", "2001:db8::1",
    "no address", "",
])  # fmt: skip
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_is_public_is_sent_to(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("url", [
    "", "app.example", "ftp://app.example", "file:///etc/passwd", "https://", "https://user:secret@app.example/",
    "https://app.example/#part", "https://app.example/a b", "https://app.example/\n", "https://app.example:0/",
    "https://app.example:99999/", "https://äpp.example/", "https://app.example\\@evil.example/", "https://[::1/",
    "https://app.example/" + "x" * 2_048, "https://app..example/", "https://" + "x" * 64 + ".example/",
])  # fmt: skip
def test_a_url_that_can_never_be_right_is_refused_when_it_is_given(url: str) -> None:
    with pytest.raises(InvalidInput):
        url_of(url)


@pytest.mark.parametrize("url", [
    "http://8.8.8.8/", "https://127.0.0.1/", "https://[::1]:8443/", "https://2130706433/", "https://localhost/",
    "https://0x7f.1/", "https://[::ffff:127.0.0.1]/",
])  # fmt: skip
async def test_what_leads_inside_is_refused_when_it_is_sent(url: str) -> None:
    with pytest.raises(Forbidden):
        await destination_of(url_of(url))


async def test_a_name_with_one_address_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that answers both kinds would let a second look-up choose."""

    def both(host: str, port: int, **_: Any) -> list[Any]:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, ("8.8.8.8", port)), (*kind, ("10.0.0.1", port))]

    def public(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.4.4", port))]

    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, *_, **__: both(host, port))
    with pytest.raises(Forbidden, match="not public"):
        await destination_of("https://app.example/")
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, *_, **__: public(host, port))
    found = await destination_of("https://app.example:8443/hooks?a=b")
    assert found == ("https", "app.example", 8443, "/hooks?a=b", "8.8.4.4")


async def test_a_host_that_is_allowed_may_be_inside_and_without_tls() -> None:
    for allowed in (["127.0.0.1"], ["127.0.0.1:9000"]):
        assert (await destination_of("http://127.0.0.1:9000/x", allowed)).address == "127.0.0.1"
    for allowed in (["LocalHost"], ["LOCALHOST:9000"]):
        assert (await destination_of("http://localHOST:9000/x", allowed)).host == "localhost", (
            "case tells no hosts apart"
        )
    for allowed in (["[::1]"], ["[::1]:9000"], ["::1"]):
        assert (await destination_of("http://[::1]:9000/x", allowed)).address == "::1", "as it stands in URLs"
    with pytest.raises(Forbidden):
        await destination_of("http://127.0.0.1:9001/x", ["127.0.0.1:9000"])
