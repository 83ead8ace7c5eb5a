"""The check of a store goes on in small steps: however long a listing is, the server tells it in pieces."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from session_tokens import SessionTokens
from session_tokens.stores.valkey import check
from tests.helpers.servers.valkey import client_of

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
AT_ONCE = 7


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[int]]:
    """Have sets told a few members at once; return what notes how many values the answers about sets hold."""
    monkeypatch.setattr(check, "MEMBERS_COUNT", AT_ONCE)

    def noted(store: Any) -> list[int]:
        held, ask_once = list[int](), store._ask_once

        def ask(words: list[bytes]) -> Any:
            reply = ask_once(words)
            if words[0].startswith(b"ZR"):
                held.append(len(reply))
            return reply

        monkeypatch.setattr(store, "_ask_once", ask)
        return held

    return noted


@pytest.mark.parametrize("protocol", ["2", "3"])
def test_a_long_listing_is_read_in_pieces_and_wholly(
    valkey_url: str, longest: Callable[[Any], list[int]], protocol: str
) -> None:
    with SessionTokens.open(f"{valkey_url}&protocol={protocol}", pepper=PEPPER, sweep=False) as tokens:
        store: Any = tokens.store
        for number in range(40):
            tokens.open_session(f"owner {number % 5}")
        held = longest(store)
        assert [] == store.check_now()
        assert 0 < max(held) <= 2 * AT_ONCE

        listing = store._core.codec.prefix + b"ls"
        with closing(client_of(valkey_url)) as client:
            client.zremrangebyrank(listing, 3, 3)
            client.zadd(listing, {b"of no session %d" % number: 5 for number in range(10 * AT_ONCE)})
        found = store.check_now(fix=True)
        assert [10 * AT_ONCE, 1] == [sum(verb in each.message for each in found) for verb in ("holds", "lacks")]
        assert [] == store.check_now()
        assert max(held) <= 2 * AT_ONCE
