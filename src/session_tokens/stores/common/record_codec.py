"""How records become rows and come back: one order of columns for every store that outlives the process.

A row holds ``str``, ``int`` and ``None`` only. Each row carries a MAC over all its columns under the pepper, so that
someone who can write to the database but does not hold the pepper can neither make a record nor copy one over
another, change an owner or lengthen a deadline. Rolling a whole row back to an earlier state of itself is not detected.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from ...clock import Clock
from ...contract.queries import Unreadable
from ...crypto.minting import SHORT_SECRET, Keyring, is_pepper_id
from ...errors import CorruptRecord, UnknownPepper
from ...records import (
    NO_DETAILS,
    IdempotencyRecord,
    Offer,
    OwnerEntry,
    ServiceKey,
    Session,
    SessionDetails,
    Token,
    TokenKind,
)

Row = tuple[str | int | None, ...]

SESSION_COLUMNS = (
    "id", "owner", "lookup", "created_at", "last_seen_at", "authenticated_at", "deadline", "idle_timeout_ms",
    "max_age_ms", "detached_timeout_ms", "detachable", "detached_at", "ended_at", "end_reason", "sweep_at",
    "owner_epoch", "version", "client_id", "name", "label", "user_agent", "address", "data", "data_versions",
    "successor", "moves", "ahead_ms", "secret_kind",
)  # fmt: skip
TOKEN_COLUMNS = (
    "id", "owner", "lookup", "kind", "session_id", "value", "is_json", "created_at", "timeout_ms", "own_deadline",
    "deadline", "disownment_timeout_ms", "held_since", "unassigned_at", "previous_owner", "epoch", "version",
    "client_id", "name", "listed", "price", "currency", "gift",
)  # fmt: skip
ENTRY_COLUMNS = OwnerEntry._fields
KEY_COLUMNS = ServiceKey._fields

SET_ASIDE = (
    "restore it from a backup, or set it aside with session-tokens check --fix; until then it is left out of every list"
)
"""What is done about a row that was forged or damaged."""
NAMED_CHARACTERS_MAX = 80

_as_json = json.JSONEncoder(separators=(",", ":")).encode  # made once: dumps() makes one for each call
_KINDS = {kind.value: kind for kind in TokenKind}
_NO_DETAILS_ROW = (None, None, None, "{}", "{}", None, 0, 0, None)
_NO_OFFER_ROW = (None, None, None, None)


def session_row(session: Session) -> Row:
    """Return a session as a row in the order of ``SESSION_COLUMNS``."""
    details = session.details
    return (
        session.id, session.owner, session.lookup, session.created_at, session.last_seen_at, session.authenticated_at,
        session.deadline, session.idle_timeout_ms, session.max_age_ms, session.detached_timeout_ms,
        int(session.detachable), session.detached_at, session.ended_at, session.end_reason, session.sweep_at,
        session.owner_epoch, session.version, session.client_id, session.name,
        *(
            _NO_DETAILS_ROW
            if details is NO_DETAILS
            else (
                *details[:4],
                _as_json(details.data_versions) if details.data_versions else "{}",
                *details[5:],
            )
        ),
    )  # fmt: skip


def session_of(row: Sequence[Any], clock: Clock) -> Session:
    """Return the session of a row.

    Raises:
        CorruptRecord: for a row that ``session_row`` cannot have made.
    """
    try:
        (
            id, owner, lookup, created_at, last_seen_at, authenticated_at, deadline, idle, max_age, detached_timeout,
            detachable, detached_at, ended_at, end_reason, sweep_at, owner_epoch, version, client_id, name,
            label, user_agent, address, data, data_versions, successor, moves, ahead_ms, secret_kind,
        ) = row  # fmt: skip
        is_plain = data == "{}" and data_versions == "{}" and label is None and user_agent is None and address is None
        details = (
            NO_DETAILS
            if is_plain and successor is None and ahead_ms == 0 and secret_kind is None
            else SessionDetails(
                label, user_agent, address, data, {} if data_versions == "{}" else json.loads(data_versions),
                successor, moves, ahead_ms, secret_kind,
            )
        )  # fmt: skip
        numbers = deadline + sweep_at + version + created_at + moves + ahead_ms
        if detachable not in (0, 1) or not isinstance(numbers, int) or secret_kind not in (None, SHORT_SECRET):
            raise ValueError("a number or kind is none")
    except (ValueError, TypeError) as error:
        raise CorruptRecord(
            f"the stored session {_named(row[0])} is not as it was written; {SET_ASIDE}",
            table="sessions",
            id=row[0] if isinstance(row[0], str) else None,
            malformed=True,
        ) from error
    return Session._of(
        id, owner, lookup, created_at, last_seen_at, authenticated_at, deadline, idle, max_age, detached_timeout,
        detachable == 1, detached_at, ended_at, end_reason, sweep_at, owner_epoch, version, details, client_id, name,
        clock,
    )  # fmt: skip


def token_row(token: Token) -> Row:
    """Return a token as a row in the order of ``TOKEN_COLUMNS``."""
    offer = token.offer
    return (
        token.id, token.owner, token.lookup, token.kind._value_, token.session_id, token.text, int(token.is_json),
        token.created_at, token.timeout_ms, token.own_deadline, token.deadline, token.disownment_timeout_ms,
        token.held_since, token.unassigned_at, token.previous_owner, token.epoch, token.version, token.client_id,
        token.name,
        *(
            _NO_OFFER_ROW
            if offer is None
            else (
                int(offer.listed),
                None if offer.price is None else str(offer.price),
                offer.currency,
                int(offer.gift),
            )
        ),
    )  # fmt: skip


def token_of(row: Sequence[Any]) -> Token:
    """Return the token of a row.

    Raises:
        CorruptRecord: for a row that ``token_row`` cannot have made.
    """
    try:
        (
            id, owner, lookup, kind, session_id, value, is_json, created_at, timeout_ms, own_deadline, deadline,
            disownment, held_since, unassigned_at, previous_owner, epoch, version, client_id, name,
            listed, price, currency, gift,
        ) = row  # fmt: skip
        offer = (
            None
            if listed is None
            else Offer(listed == 1, None if price is None else Decimal(price), currency, gift == 1)
        )
        token_kind = _KINDS[kind]
        if is_json not in (0, 1) or not isinstance(deadline + own_deadline + version + epoch + held_since, int):
            raise ValueError("a number is none")
    except (ValueError, TypeError, KeyError, InvalidOperation) as error:
        raise CorruptRecord(
            f"the stored token {_named(row[0])} is not as it was written; {SET_ASIDE}",
            table="tokens",
            id=row[0] if isinstance(row[0], str) else None,
            malformed=True,
        ) from error
    return Token._of(
        id, owner, lookup, token_kind, session_id, value, is_json == 1, created_at, timeout_ms, own_deadline, deadline,
        disownment, held_since, unassigned_at, previous_owner, epoch, version, offer, client_id, name,
    )  # fmt: skip


def message_of(table: str, row: Sequence[Any]) -> bytes:
    """Return what the MAC of a row covers: the table's name and every column; the same on every store and Python."""
    return (table + ascii(tuple(row))).encode("ascii")


def mac_of(keyring: Keyring, table: str, row: Sequence[Any]) -> str:
    """Return the MAC of a row under the current pepper."""
    return keyring.mac(message_of(table, row))


def check_mac(keyring: Keyring, table: str, row: Sequence[Any], mac: object) -> None:
    """Accept a row whose MAC is right.

    Args:
        keyring: holds the peppers.
        table: where the row stands.
        row: its columns; the first is what it is known by.
        mac: as it was stored with it.

    Raises:
        CorruptRecord: it was changed, copied or made by someone without the pepper.
        UnknownPepper: it names a pepper that is not held.
    """
    if not isinstance(mac, str) or not keyring.mac_is_right(mac, message_of(table, row)):
        raise not_written(keyring, table, row, mac)


def not_written(keyring: Keyring, table: str, row: Sequence[Any], mac: object) -> CorruptRecord | UnknownPepper:
    """Return the error for a row whose MAC is wrong, or cannot be checked; see ``check_mac``."""
    key_id, colon, _ = mac.partition(":") if isinstance(mac, str) else ("?", "", "")
    id = row[0] if isinstance(row[0], str) else None
    if colon and is_pepper_id(key_id) and not keyring.holds(key_id):
        return UnknownPepper(
            f"the row {_named(row[0])} of {table} was written under the pepper {key_id}, which this process was not "
            "given; give it after the current one (docs/secrets.md tells the order of a rotation)",
            table=table,
            id=id,
            key_id=key_id,
        )
    return CorruptRecord(
        f"the row {_named(row[0])} of {table} was not written by a holder of the pepper {_named(key_id)}; {SET_ASIDE}",
        table=table,
        id=id,
    )


def unreadable_of(row: Sequence[Any], error: CorruptRecord | UnknownPepper) -> Unreadable:
    """Return what a list says of a row that it leaves out; its first column is what it is known by."""
    return Unreadable(row[0] if isinstance(row[0], str) and row[0].isprintable() else _named(row[0]), error)


def _named(text: object) -> str:
    """Return what a row says it is called, which anyone may have written there, so that it can be shown."""
    shown = ascii(text)
    return shown if len(shown) <= NAMED_CHARACTERS_MAX else shown[:NAMED_CHARACTERS_MAX] + "…"


def outcome_text(record: IdempotencyRecord) -> str:
    """Return the outcome of an idempotency record as JSON text."""
    outcome = record.outcome
    if isinstance(outcome, Session):
        return _as_json({"session": session_row(outcome)})
    if isinstance(outcome, Token):
        return _as_json({"token": token_row(outcome)})
    return _as_json({"plain": outcome})


def outcome_of(text: str, clock: Clock) -> Session | Token | bool | int | None:
    """Return the outcome in ``outcome_text``'s answer.

    Raises:
        CorruptRecord: for text that it cannot have made.
    """
    try:
        outcome = json.loads(text)
        if "session" in outcome:
            return session_of(outcome["session"], clock)
        if "token" in outcome:
            return token_of(outcome["token"])
        plain: bool | int | None = outcome["plain"]
        return plain
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptRecord("a stored outcome of an idempotency key is not as it was written") from error
