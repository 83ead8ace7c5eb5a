"""The table of record kinds says what the records are, and databases make of it what it says."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal

import pytest

from session_tokens.clock import SteadyClock
from session_tokens.crypto.minting import PepperKeyring
from session_tokens.records import (
    NO_TOKEN_DETAILS,
    IdempotencyRecord,
    Offer,
    OwnerEntry,
    ServiceKey,
    Session,
    SessionDetails,
    Token,
    TokenDetails,
    TokenKind,
)
from session_tokens.stores.common.kinds import IDEMPOTENCY, KINDS, OWNER, SERVICE_KEY, SESSION, SETTING, TOKEN, Kind
from session_tokens.stores.common.record_codec import Setting, check_mac, mac_of, padded, trimmed
from session_tokens.stores.common.sql_tables import schema_statements
from session_tokens.stores.sqlite.rows import DIALECT

CLOCK = SteadyClock()
SESSION_WITH_ALL = Session._of(
    "s", "ann", "lookup", 1, 2, 3, 4, 5, 6, 7, True, 8, None, None, 9, 10, 11,
    SessionDetails("label", "agent", "::1", '{"a": 1}', {"a": 1}, "s2", 2, 3, "std_", "phr", '["pwd","otp"]', 12),
    "key", "name", CLOCK,
)  # fmt: skip
TOKEN_WITH_ALL = Token._of(
    "t", "ann", "lookup", TokenKind.TRANSFERABLE, "s", "value", False, 1, 2, 3, 4, 5, 6, 7, "bob", 8, 9,
    TokenDetails(Offer(True, Decimal("1.50"), "EUR", True), "read", '["https://api"]', "seat", 3, "eve", 10, "cy"),
    "key", "name",
)  # fmt: skip
RECORDS = {
    "session": SESSION_WITH_ALL,
    "session without details": SESSION_WITH_ALL.replace(details=SessionDetails()),
    "token": TOKEN_WITH_ALL,
    "token without an offer": TOKEN_WITH_ALL.replace(details=TokenDetails(tag="seat")),
    "token without details": TOKEN_WITH_ALL.replace(details=NO_TOKEN_DETAILS),
    "owner": OwnerEntry("ann", 1, 2, 3),
    "setting": Setting("name", "text"),
    "service key": ServiceKey("key_1", "lookup", "admin", 1, None, None),
    "idempotency": IdempotencyRecord("key", "request", "nonce", "key id", TOKEN_WITH_ALL, 1),
}


def test_the_columns_of_a_kind_are_the_fields_of_its_record() -> None:
    """Those of details too, in their order: their rows are made by position."""
    stored_as = {"data_text": "data", "amr_text": "amr", "audience_text": "audience"}
    details = [stored_as.get(name, name) for name in SessionDetails._fields]
    token_details = [stored_as.get(name, name) for name in (*Offer._fields, *TokenDetails._fields[1:])]

    assert details == list(SESSION.names[-len(details) :])
    assert token_details == list(TOKEN.names[-len(token_details) :])
    assert OwnerEntry._fields == OWNER.names
    assert Setting._fields == SETTING.names
    assert ServiceKey._fields == SERVICE_KEY.names
    assert IdempotencyRecord._fields == IDEMPOTENCY.names


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_comes_back_from_its_row(name: str) -> None:
    """Also from one without what is absent at its end, as Valkey keeps it."""
    record, kind = RECORDS[name], KINDS[name.partition(" without")[0]]
    row = kind.row(record)

    assert len(kind.columns) == len(row)
    assert record == kind.record(row, CLOCK)
    assert record == kind.record(padded(trimmed(row), len(row)), CLOCK)


@pytest.mark.parametrize("name", RECORDS)
def test_only_columns_that_may_be_null_are(name: str) -> None:
    row, kind = KINDS[name.partition(" without")[0]].row(RECORDS[name]), KINDS[name.partition(" without")[0]]

    assert [] == [
        column.name for column, value in zip(kind.columns, row, strict=True) if value is None and not column.may_be_null
    ]


def test_tokens_without_details_share_one_object() -> None:
    """However they came to have none: each object of their own would take a hundred bytes."""
    offered = TOKEN_WITH_ALL.replace(details=NO_TOKEN_DETAILS).offered(Offer(True, None, None, False))
    read = TOKEN.record(TOKEN.row(TOKEN_WITH_ALL.replace(details=NO_TOKEN_DETAILS)), CLOCK)

    assert offered.details is not NO_TOKEN_DETAILS
    assert offered.offered(None).details is NO_TOKEN_DETAILS
    assert offered.held_by("bob", None, None, 5).details is NO_TOKEN_DETAILS
    assert read.details is NO_TOKEN_DETAILS


def test_a_token_in_new_hands_keeps_what_it_is_for() -> None:
    """Scope, audience, tag and uses go with it; its offer, reservation and loan do not."""
    token = TOKEN_WITH_ALL.held_by("bob", None, None, 5)

    assert ("read", ("https://api",), "seat", 3) == (token.scope, token.audience, token.tag, token.uses_left)
    assert TokenDetails(None, "read", '["https://api"]', "seat", 3) == token.details


def test_a_mac_holds_when_a_column_is_added() -> None:
    """What was written before has nothing in it; a value there is another row."""
    keyring = PepperKeyring(bytes(range(32)))
    mac = mac_of(keyring, "tokens", ("t", None, 1, None))
    check_mac(keyring, "tokens", ("t", None, 1, None, None), mac)
    check_mac(keyring, "tokens", ("t", None, 1), mac)

    for other in (("t", None, 1, None, 0), ("t", None), ("t", 1)):
        with pytest.raises(Exception, match="not written by a holder"):
            check_mac(keyring, "tokens", other, mac)


def test_every_condition_of_an_index_is_sql() -> None:
    count = "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in schema_statements(DIALECT, "a_", "a_"):
            connection.execute(statement)
        rows = connection.execute(count).fetchone()

    assert (sum(len(kind.indexes) for kind in KINDS.values()),) == rows


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_each_commit_asks_of_a_kind_is_worked_out_once(kind: Kind) -> None:
    assert kind.names is kind.names
    if kind.stamp is not None:
        assert kind.names[kind.stamp_place] == kind.stamp
