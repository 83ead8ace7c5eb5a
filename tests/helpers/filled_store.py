"""A store with something of every kind in it, and all that can be asked of a copy of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from session_tokens import SessionTokens, Settings
from session_tokens._sync.token_tables import TokenTables
from session_tokens.audit.log import Audit
from session_tokens.errors import OwnerDisabled, SessionEnded
from session_tokens.stores.common.copying import SPACES, batches
from session_tokens.stores.common.kinds import KINDS
from session_tokens.stores.connect import closing_now, open_anyway_now

StoreOf = Callable[[str], str]
"""Answers the URL of an empty store of a kind."""
FIRST = "sqlite:///first.db"
SETTINGS = Settings(max_sessions=3)


@contextmanager
def library(url: str) -> Iterator[SessionTokens]:
    with SessionTokens.open(url, settings=SETTINGS, sweep=False) as tokens:
        yield tokens


class Filled:
    """A store with something of every kind in it, and the secrets that were given out."""

    def __init__(self, url: str) -> None:
        with SessionTokens.open(url, settings=SETTINGS, sweep=False, audit=Audit()) as tokens:
            self.alice = tokens.open_session("alice", data={"lang": "de"}, detachable=True, label="phone")
            self.detached = tokens.open_session("dän ☂", detachable=True)
            tokens.detach_session(self.detached.id)
            self.bound = tokens.issue_token(self.alice.id, "välue\0\x1a", timeout=600)
            self.offered = tokens.issue_token(self.alice.id, {"n": 1}, transferable=True)
            tokens.offer_token(self.offered.id, price=Decimal("1.50"), currency="EUR")
            self.parked = tokens.issue_token(self.alice.id, None, transferable=True)
            self.parked = tokens.transfer_token(self.parked.id, giver="alice", receiver="nobody is here")
            self.free = tokens.issue_token(None, "free")
            self.gone = tokens.open_session("mallory")
            self.freed = tokens.issue_token(self.gone.id, "freed", transferable=True)
            tokens.destroy_session(self.gone.id)
            self.banned = tokens.open_session("banned")
            tokens.disable_owner("banned")
            self.once = tokens.open_session("bob", idempotency_key="once")
        with TokenTables.open(url) as tables:
            tables.add_session("their session", "eve", "their token")
            tables.add_transferable_token("their other", "7", "eve")

    def must_hold_in(self, url: str) -> None:
        """Ask for what was there, by secrets and by commands."""
        with library(url) as tokens:
            assert tokens.verify_session(self.alice.secret) == self.alice.session
            for issued, value in ((self.bound, "välue\0\x1a"), (self.offered, {"n": 1}), (self.free, "free")):
                verified = tokens.verify_token(issued.secret)
                assert verified is not None and verified.value == value
            parked = tokens.verify_token(self.parked.secret)
            assert parked is not None and (parked.owner, parked.session_id) == ("nobody is here", None)
            assert tokens.verify_session(self.detached.secret) is None
            assert tokens.verify_session(self.banned.secret) is None
            with pytest.raises(OwnerDisabled):
                tokens.open_session("banned")
            with pytest.raises(SessionEnded):
                tokens.rotate_session(self.gone.id)
            assert tokens.open_session("bob", idempotency_key="once").secret == self.once.secret
        with TokenTables.open(url) as tables:
            assert tables.active_session("their session", "eve") is True
            assert tables.list_tranferable_tokens("their session") == ["their other"]
            assert tables.from_token("their token") == tables.from_token("their session")
            assert tables.transition_token_is_active("their other") == "7"


def listings(url: str) -> dict[str, Any]:
    with library(url) as tokens:
        return {
            "sessions": tokens.list_sessions(anonymous=True).items,
            "detached": tokens.list_sessions(detached=True).items,
            **{f"of {owner}": tokens.list_tokens(owner=owner).items for owner in ("alice", "nobody is here")},
            "sellable": tokens.list_tokens(sellable=True).items,
            "unassigned": tokens.list_tokens(unassigned=True).items,
            "tokens": tokens.list_tokens().items,
        }


def everything(url: str) -> dict[tuple[str, str, str], object]:
    """Every record of both name spaces, as what makes two records equal."""
    records: dict[tuple[str, str, str], object] = {}
    for space in SPACES:
        with closing_now(open_anyway_now(url, space=space)) as store:
            for kind, of_kind in KINDS.items():
                for batch in batches(store, kind):
                    records |= {(space, kind, key): of_kind.row(record) for key, record in batch.items()}
    return records
