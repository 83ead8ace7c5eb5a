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


@pytest.mark.parametrize("damage", ["lacks", "holds", "look-up key"])
def test_what_a_command_comes_before_is_not_said_to_be_mended(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    with SessionTokens.open(valkey_url, pepper=PEPPER, sweep=False) as tokens:
        store: Any = tokens.store
        id, prefix, ask_once = tokens.open_session("ann").id, store._core.codec.prefix, store._ask_once
        with closing(client_of(valkey_url)) as client:
            if damage == "lacks":
                client.zrem(prefix + b"ls", id)
            elif damage == "holds":
                client.zadd(prefix + b"ld", {id: 5})
            else:
                (lookup,) = client.scan_iter(prefix + b"S:*", count=1_000)
                client.delete(lookup)

        def ask_late(words: list[bytes]) -> Any:
            if words[:2] == [b"FCALL", b"session_tokens_commit_v1"]:
                tokens.change_session(id, label="before it")
            return ask_once(words)

        monkeypatch.setattr(store, "_ask_once", ask_late)
        (found,) = store.check_now(fix=True)
        monkeypatch.undo()
        (again,) = store.check_now(fix=True)
        assert damage in found.message == again.message
        assert (found.fixed is None, again.fixed is None) == (True, False)
        assert [] == store.check_now()
