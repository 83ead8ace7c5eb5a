"""The client against what is no service of ours, or hangs and drips: an error in time, and nobody is logged out."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, InvalidInput, SessionTokens, SessionTokensError, StoreUnavailable
from session_tokens.crypto.minting import new_id, new_secret
from tests.helpers.answering import Speak, answering

KEY = new_secret("stk_")
SECRET, ID = new_secret("sts_"), new_id("ses_")
OURS = b"Session-Tokens-Now: 1790000000000\r\n"
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Made once: reading the machine's authorities takes longer than a test."""


def whole(status: int, content: bytes, headers: bytes = b"") -> bytes:
    length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(content)
    return b"HTTP/1.1 %d X\r\n%b%b\r\n%b" % (status, length, headers, content)


def always(answer: bytes) -> Speak:
    return lambda head, connection: connection.sendall(answer)


def acts_of(st: Any) -> list[Callable[[], Any]]:
    return [
        lambda: st.verify_session(SECRET), lambda: st.get_session(ID), lambda: st.open_session("ann"),
        lambda: st.destroy_session(ID), lambda: st.list_sessions(), lambda: st.destroy_sessions("ann"),
        lambda: st.list_settings(),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"<html>please wait</html>", b""),
        (b"{}", b""),
        (b"", b""),
        (b'{"session": null}', OURS),
        (b'{"session": {', OURS),
        (b"[1]", OURS),
        (b"5", OURS),
        (b"null", OURS),
        (b"[" * 100_000, OURS),
        (b"\xff\xfe", OURS),
        (b'{"session": {"id": 5}, "sessions": 5, "settings": [{}], "ended": "x", "secret": 1}', OURS),
        (b"{}", b"Content-Encoding: gzip\r\n" + OURS),
    ],
)
async def test_an_answer_that_is_not_the_services_is_an_error_and_never_not_valid(
    content: bytes, headers: bytes
) -> None:
    with answering(always(whole(200, content, headers))) as url:
        async with await AsyncSessionTokens.connect(url, key=KEY, tls=TLS, retry_for=0.001) as st:
            for act in acts_of(st):
                with pytest.raises(StoreUnavailable):
                    await act()


def test_after_a_page_that_says_to_wait_the_command_is_sent_again_under_the_same_key() -> None:
    keys: list[bytes] = []

    def answer(head: bytes, connection: socket.socket) -> None:
        keys.extend(line for line in head.split(b"\r\n") if line.lower().startswith(b"idempotency-key:"))
        ours = whole(204, b"", OURS + b"Session-Tokens-Changed: true\r\n")
        connection.sendall(ours if len(keys) > 2 else whole(200, b"wait"))

    with answering(answer) as url, SessionTokens.connect(url, key=KEY, tls=TLS) as st:
        assert st.destroy_session(ID) is True
    assert len(keys) == 3 and len(set(keys)) == 1


@pytest.mark.parametrize("status", [204, 301, 307, 401, 403, 404, 410])
async def test_no_status_of_something_else_says_that_nobody_is_logged_in(status: int) -> None:
    answer = whole(status, b"", b"Location: https://elsewhere.example/\r\n")
    with answering(always(answer)) as url:
        async with await AsyncSessionTokens.connect(url, key=KEY, tls=TLS, retry_for=0.001) as st:
            for act in acts_of(st):
                with pytest.raises(SessionTokensError):
                    await act()


def hanging(head: bytes, connection: socket.socket) -> None:
    pass


def dripping(head: bytes, connection: socket.socket) -> None:
    """Answer without an end, a byte at a time, each sooner than a wait for one is given up."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


@pytest.mark.parametrize("speak", [hanging, dripping])
def test_one_that_hangs_or_drips_is_given_up_in_time_in_threads(speak: Speak) -> None:
    with answering(speak) as url, SessionTokens.connect(url, key=KEY, tls=TLS, timeout=0.2, retry_for=0.001) as st:
        began_s = time.monotonic()
        with pytest.raises(StoreUnavailable, match="try again"):
            st.verify_session(SECRET)

        assert time.monotonic() - began_s < 30


@pytest.mark.parametrize("speak", [hanging, dripping])
async def test_one_that_hangs_or_drips_is_given_up_in_time(speak: Speak) -> None:
    with answering(speak) as url:
        async with await AsyncSessionTokens.connect(url, key=KEY, tls=TLS, timeout=0.2, retry_for=0.001) as st:
            began_s = time.monotonic()
            with pytest.raises(StoreUnavailable, match="try again"):
                await st.verify_session(SECRET)

            assert time.monotonic() - began_s < 30


def test_over_http_no_proxy_of_the_environment_reads_along(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def speak_as(name: str) -> Speak:
        def speak(head: bytes, connection: socket.socket) -> None:
            asked.append(name)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        return speak

    with answering(speak_as("proxy")) as proxy, answering(speak_as("service")) as url:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with (
            SessionTokens.connect(url, key=KEY, tls=TLS) as st,
            pytest.raises(InvalidInput, match="no session-tokens service"),
        ):
            st.open_session("ann")

    assert asked == ["service"]
