"""How records become rows and come back: one order of columns for every store that outlives the process.

A row holds ``str``, ``int`` and ``None`` only. Each row carries a MAC over all its columns under the pepper, so that
someone who can write to the database but does not hold the pepper can neither make a record nor copy one over
another, change an owner or lengthen a deadline. Rolling a whole row back to an earlier state of itself is not detected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from ...clock import Clock
from ...contract.queries import Unreadable
from ...crypto.minting import Keyring, is_pepper_id
from ...crypto.secret_form import SHORT_SECRET
from ...errors import CorruptRecord, UnknownPepper
from ...events import Event, Place, event_id, event_of
from ...records import (
    NO_DETAILS,
    NO_TOKEN_DETAILS,
    IdempotencyRecord,
    Offer,
    Session,
    SessionDetails,
    Token,
    TokenDetails,
    TokenKind,
)
from ...records.rotation import rotation_of, rotation_text

Row = tuple[str | int | None, ...]

SET_ASIDE = (
    "restore it from a backup, or set it aside with session-tokens check --fix; until then it is left out of every list"
)
"""What is done about a row that was forged or damaged."""
NAMED_CHARACTERS_MAX = 80

_as_json = json.JSONEncoder(separators=(",", ":")).encode  # made once: dumps() makes one for each call
_value_in = json.JSONDecoder().raw_decode
_quoted = json.encoder.encode_basestring_ascii
_KINDS = {kind.value: kind for kind in TokenKind}
_NO_DETAILS_ROW = (None,) * len(SessionDetails._fields)
_NO_OFFER_ROW = (None,) * len(Offer._fields)
_NO_TOKEN_DETAILS_ROW = (*_NO_OFFER_ROW, *(None,) * (len(TokenDetails._fields) - 1))
_USUALLY_ABSENT = sorted({len(_NO_DETAILS_ROW) + 2, len(_NO_TOKEN_DETAILS_ROW) + 2, 5}, reverse=True)
"""How many columns at the end of a session or token are mostly absent: details and what only clients bring, or less."""
_ABSENT = tuple((length, (None,) * length) for length in _USUALLY_ABSENT)
_OWN = 19
"""Columns of a session, and of a token, before those of their details."""
_ROTATION = SessionDetails._fields.index("rotation")
_LATEST = SessionDetails._fields.index("ahead_ms") + 1
_NO_LATEST = (None,) * (len(SessionDetails._fields) - _LATEST)
"""What is mostly absent of the details of a session that has some."""
_SESSION_WIDTH = _OWN + len(_NO_DETAILS_ROW)
_TOKEN_WIDTH = _OWN + len(_NO_TOKEN_DETAILS_ROW)


class Setting(NamedTuple):
    """A setting that all processes share."""

    name: str
    text: str


def plain_row(record: Row) -> Row:
    """Return a record whose fields are its columns as a row, without what is absent at its end."""
    return trimmed(tuple(record))


def trimmed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row without what is absent at its end: as if columns that came later had never been.

    What most sessions and tokens lack is taken away at once: a step for each costs as much as making a message of it.
    """
    if row[-1] is not None:  # as of a setting
        return row
    end = len(row)
    for length, absent in _ABSENT:
        if row[-length:] == absent:
            end -= length
            break
    while end and row[end - 1] is None:
        end -= 1
    return row[:end]


def padded(row: Sequence[Any], width: int) -> Sequence[Any]:
    """Return a row with what is absent at its end: ``trimmed`` took it away, or it was written before it could be."""
    return row if len(row) >= width else [*row, *(None,) * (width - len(row))]


def session_row(session: Session) -> Row:
    """Return a session as a row: its columns in the order of ``kinds.SESSION``, without what is absent at its end."""
    details, traits = session.details, session.traits
    own = (
        session.id, session.owner, session.lookup, session.created_at, session.last_seen_at, session.authenticated_at,
        session.deadline, traits.idle_timeout_ms, traits.max_age_ms, traits.detached_timeout_ms,
        int(traits.detachable), session.detached_at, session.ended_at, session.end_reason, session.sweep_at,
        session.owner_epoch, session.version, traits.client_id, session.name,
    )  # fmt: skip
    if details is NO_DETAILS:
        return _own_trimmed(own)
    versions = _versions_text(details.data_versions) if details.data_versions else "{}"
    if details[_LATEST:] == _NO_LATEST:  # as most are: what is before is a number
        return (*own, *details[:4], versions, details.successor, details.moves, details.ahead_ms)
    rotation = rotation_text(details.rotation)
    return trimmed((*own, *details[:4], versions, *details[5:_ROTATION], rotation, *details[_ROTATION + 1 :]))


def _own_trimmed(own: Row) -> Row:
    """Return the columns of a session or token without details; of the last three only the first is always there."""
    if own[-1] is not None:
        return own
    return own[:-2] if own[-2] is None else own[:-1]


def _versions_text(versions: Mapping[str, int]) -> str:
    """Return versions of fields as JSON, as ``_as_json`` would, which takes four times as long to begin."""
    return f"{{{','.join([f'{_quoted(name)}:{version}' for name, version in versions.items()])}}}"


def _versions_in(text: str) -> dict[str, int]:
    """Return versions of fields; ``json.loads`` would take three times as long to begin."""
    versions, end = _value_in(text)
    if end != len(text) or not isinstance(versions, dict):
        raise ValueError("versions of fields are none")
    return versions


def session_of(row: Sequence[Any], clock: Clock) -> Session:
    """Return the session of a row.

    Raises:
        CorruptRecord: for a row that ``session_row`` cannot have made.
    """
    try:
        (
            id, owner, lookup, created_at, last_seen_at, authenticated_at, deadline, idle, max_age, detached_timeout,
            detachable, detached_at, ended_at, end_reason, sweep_at, owner_epoch, version, client_id, name,
        ) = row[:_OWN]  # fmt: skip
        rest = tuple(row[_OWN:])
        details = NO_DETAILS if rest == _NO_DETAILS_ROW else _session_details(*rest)
        if detachable not in (0, 1) or not isinstance(deadline + sweep_at + version + created_at, int):
            raise ValueError("a number is none")
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


def _session_details(
    label: str | None,
    user_agent: str | None,
    address: str | None,
    data: str,
    data_versions: str,
    successor: str | None,
    moves: int,
    ahead_ms: int,
    secret_kind: str | None,
    acr: str | None,
    amr_text: str | None,
    timed_from: int | None,
    db_hash: str | None,
    rotation: str | None,
    *later: Any,
) -> SessionDetails:
    """Return the details in the columns of a session that has some; what came later is kept as it is."""
    if secret_kind not in (None, SHORT_SECRET) or not isinstance(data, str) or not isinstance(moves + ahead_ms, int):
        raise ValueError("a kind of secret, data or a number is none")
    return SessionDetails(
        label, user_agent, address, data, {} if data_versions == "{}" else _versions_in(data_versions), successor,
        moves, ahead_ms, secret_kind, acr, amr_text, timed_from, db_hash,
        None if rotation is None else rotation_of(rotation), *later,
    )  # fmt: skip


def token_row(token: Token) -> Row:
    """Return a token as a row: its columns in the order of ``kinds.TOKEN``, without what is absent at its end."""
    details, traits = token.details, token.traits
    own = (
        token.id, token.owner, token.lookup, traits.kind._value_, token.session_id, token.text, int(traits.is_json),
        token.created_at, traits.timeout_ms, token.own_deadline, token.deadline, traits.disownment_timeout_ms,
        token.held_since, token.unassigned_at, token.previous_owner, token.epoch, token.version, traits.client_id,
        token.name,
    )  # fmt: skip
    if details is NO_TOKEN_DETAILS:
        return _own_trimmed(own)
    return trimmed((*own, *_offer_row(details.offer), *details[1:]))


def _offer_row(offer: Offer | None) -> Row:
    if offer is None:
        return _NO_OFFER_ROW
    price = None if offer.price is None else str(offer.price)
    return (int(offer.listed), price, offer.currency, int(offer.gift))


def token_of(row: Sequence[Any]) -> Token:
    """Return the token of a row.

    Raises:
        CorruptRecord: for a row that ``token_row`` cannot have made.
    """
    try:
        (
            id, owner, lookup, kind, session_id, value, is_json, created_at, timeout_ms, own_deadline, deadline,
            disownment, held_since, unassigned_at, previous_owner, epoch, version, client_id, name,
        ) = row[:_OWN]  # fmt: skip
        rest = tuple(row[_OWN:])
        details = NO_TOKEN_DETAILS if rest == _NO_TOKEN_DETAILS_ROW else _token_details(*rest)
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
        disownment, held_since, unassigned_at, previous_owner, epoch, version, details, client_id, name,
    )  # fmt: skip


def _token_details(
    listed: int | None, price: str | None, currency: str | None, gift: int | None, *rest: Any
) -> TokenDetails:
    """Return the details in the columns of a token that has some."""
    if listed is None:
        return TokenDetails(None, *rest)
    return TokenDetails(Offer(listed == 1, None if price is None else Decimal(price), currency, gift == 1), *rest)


def message_of(table: str, row: Sequence[Any]) -> bytes:
    """Return what the MAC of a row covers: the table's name and every column; the same on every store and Python.

    What is absent at the end of a row is left out, so that a MAC holds when a column is added there.
    """
    return _message_of_trimmed(table, trimmed(tuple(row)))


def _message_of_trimmed(table: str, row: Row) -> bytes:
    return (table + ascii(row)).encode("ascii")


def mac_of_trimmed(keyring: Keyring, table: str, row: Row) -> str:
    """As ``mac_of``, for a row from whose end ``trimmed`` has taken what is absent."""
    return keyring.mac(_message_of_trimmed(table, row))


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


def signed_event(keyring: Keyring, place: Place, text: str, mac: str) -> Event:
    """Return the event in a text that was signed before its place was known.

    Raises:
        CorruptRecord, UnknownPepper: the MAC is not right.
    """
    if not keyring.mac_is_right(mac, message_of("events", (text,))):
        raise not_written(keyring, "events", (event_id(place), text), mac)
    return event_of(place, text)


def not_written(keyring: Keyring, table: str, row: Sequence[Any], mac: object) -> CorruptRecord | UnknownPepper:
    """Return the error for a row whose MAC is wrong, or cannot be checked; see ``check_mac``."""
    key_id, colon, _ = mac.partition(":") if isinstance(mac, str) else ("?", "", "")
    id = row[0] if isinstance(row[0], str) else None
    if colon and is_pepper_id(key_id) and not keyring.holds(key_id):
        return UnknownPepper(
            f"the row {_named(row[0])} of {table} was written under the pepper {key_id}, which this process was not "
            "given; give it after the current one (docs/secrets.md has the order of a rotation)",
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


def idempotency_row(record: IdempotencyRecord) -> Row:
    """Return the first outcome under an idempotency key as a row."""
    return (record.key, record.request, record.nonce, record.key_id, outcome_text(record), record.expires_at)


def idempotency_of(row: Sequence[Any], clock: Clock) -> IdempotencyRecord:
    """Return the first outcome under an idempotency key of a row.

    Raises:
        CorruptRecord: for a row that ``idempotency_row`` cannot have made.
    """
    key, request, nonce, key_id, outcome, expires_at = row
    return IdempotencyRecord(key, request, nonce, key_id, outcome_of(outcome, clock), expires_at)


def outcome_text(record: IdempotencyRecord) -> str:
    """Return the outcome of an idempotency record as JSON text."""
    outcome = record.outcome
    if isinstance(outcome, Session):
        return _as_json({"session": session_row(outcome)})
    if isinstance(outcome, Token):
        return _as_json({"token": token_row(outcome)})
    return _as_json({"plain": outcome})


def outcome_of(text: str, clock: Clock) -> Session | Token | bool | int | str | Sequence[int] | None:
    """Return the outcome in ``outcome_text``'s answer.

    Raises:
        CorruptRecord: for text that it cannot have made.
    """
    try:
        outcome = json.loads(text)
        if "session" in outcome:
            return session_of(padded(outcome["session"], _SESSION_WIDTH), clock)
        if "token" in outcome:
            return token_of(padded(outcome["token"], _TOKEN_WIDTH))
        plain: bool | int | str | Sequence[int] | None = outcome["plain"]
        return plain
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptRecord("a stored outcome of an idempotency key is not as it was written") from error
