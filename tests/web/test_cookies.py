"""Cookies are read in one place, as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from session_tokens.web.cookies import Cookie

SOURCE = Path(__file__).resolve().parents[2] / "src"
OTHER_READERS = re.compile(r"http\.cookies|SimpleCookie|cookie_parser|\.cookies\b(?!\.)|parse_cookie")

HEADERS = {
    b"": b"", b"s": b"", b"s=": b"", b"s=a": b"a", b"s=a; s=a": b"a", b"s=a;s=b": b"", b"s=; s=a": b"a",
    b"=s=a": b"", b"=s=a; s=b": b"b", b"xs=a": b"", b"S=a": b"", b"s =a": b"", b"a=b, s=a": b"",
    b"a=b;s=c": b"c", b"a=b;\t s=c \t;d": b"c", b";;;s=c;;;": b"c", b's="a"': b'"a"', b"s=a=b": b"a=b",
    b"s=%41": b"%41", b's="a; s=b': b"", b"s=a\\073b": b"a\\073b", b"ss=s=a": b"", b"s=\xff": b"\xff",
}  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
def test_a_value_is_what_stands_between_the_equals_sign_and_the_semicolon(header: bytes) -> None:
    assert Cookie("s").value_in(header) == HEADERS[header]


def test_several_headers_count_as_one() -> None:
    headers = [(b"cookie", b"a=b"), (b"host", b"s=x"), (b"cookie", b"s=c")]

    assert Cookie("s").value_of(headers) == b"c"
    assert Cookie("s").value_of([*headers, (b"cookie", b"s=d")]) == b""


@pytest.mark.parametrize("name", ["__Host-s.id", "a+b", "$s", "a|b", "a^b*c"])
def test_a_name_is_no_pattern(name: str) -> None:
    assert Cookie(name).value_in(f"x=y; {name}=z".encode()) == b"z"
    assert Cookie(name).value_in(name.replace(".", "x").replace("+", "b").encode() + b"Q=z") == b""


OUR_READER = re.compile(r"from \S*\.cookies import(?! SimpleCookie)|\bweb\.cookies\b")
A_WRITER = re.compile(r"from http\.cookies import Morsel$|\bresponse\.cookies\b", re.MULTILINE)


def test_two_different_values_are_none_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    cookie = Cookie("session")
    assert [cookie.value_in(b"session=a; session=b") for _ in range(3)] == [b""] * 3
    assert cookie.value_in(b"session=a; session=a") == b"a"

    (said,) = caplog.messages
    assert "session" in said
    assert "names of their own" in said


def test_nothing_else_reads_cookies() -> None:
    """The readers of the standard library and of frameworks unquote every cookie, in quadratic time."""
    found = {
        str(file.relative_to(SOURCE))
        for file in SOURCE.rglob("*.py")
        if OTHER_READERS.search(A_WRITER.sub("", OUR_READER.sub("", A_WRITER.sub("", file.read_text()))))
    }

    assert found == set()
