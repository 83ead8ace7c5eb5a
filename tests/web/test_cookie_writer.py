"""Our cookie is written so that browsers keep it, and cleared with what it was set with."""

from __future__ import annotations

import pytest

from session_tokens import InvalidInput
from session_tokens.web.cookies import SessionCookie


def test_it_is_read_under_the_name_that_it_is_written_under() -> None:
    cookie = SessionCookie()
    for is_https in (True, False):
        header = cookie.set("sts_x", is_https=is_https)
        assert "sts_x" == cookie.value_in(header.partition(";")[0], is_https=is_https)
        assert cookie.value_in(header.partition(";")[0], is_https=not is_https) is None


def test_it_is_cleared_with_the_attributes_that_it_was_set_with() -> None:
    cookie = SessionCookie(path="/app", domain="shop.example", same_site="none", https_only=True, partitioned=True)
    kept = cookie.set("sts_x", is_https=False).split("; ")[1:]

    assert ["path=/app", "domain=shop.example", "httponly", "samesite=none", "secure", "partitioned"] == kept
    assert cookie.clear(is_https=False).split("; ")[3:] == kept


def test_it_is_kept_no_longer_than_browsers_keep_any() -> None:
    assert "; Max-Age=34560000;" in SessionCookie().set("sts_x", is_https=False, max_age_s=10**9)


@pytest.mark.parametrize("text", ["a;b", "a\nb", "", "é", "a b", "a\x7f"])
def test_nothing_is_smuggled_into_a_header(text: str) -> None:
    with pytest.raises(InvalidInput):
        SessionCookie(text)
    with pytest.raises(InvalidInput):
        SessionCookie(path=text)
    with pytest.raises(InvalidInput):
        SessionCookie(domain=text)
