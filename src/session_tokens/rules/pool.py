"""The rules of the pool: unassigned tokens wait there, from birth or since they were put back, and are claimed next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..contract.queries import Get, Query
from ..contract.transaction import Transaction, reads
from ..errors import NotOwner
from ..events import TOKEN_RELEASED
from ..records import TRANSFERABLE, Token
from .loans import take_loans_away
from .lookup import Key, living_session, session_queries, standing, token_queries
from .reserved import may_hold_tokens
from .tokens import claimed_by, transferable


@reads(lambda key, owner: token_queries(key))
def release_token(tx: Transaction, key: Key, owner: str) -> Token:
    """Put a token back by its owner: unassigned from now on, behind those that wait; its offers, loans and secret end.

    Raises:
        UnknownToken: no living token answers to ``key``.
        NotTransferable: its kind is never unassigned.
        NotOwner: it is not that owner's, or unassigned already.
    """
    stored, token = transferable(tx, key)
    if token.owner != owner:
        raise NotOwner("only its owner puts a token back; get_token() shows who that is", id=token.id)
    take_loans_away(tx, token)
    released = token.released(tx.now)
    tx.put_token(stored, released)
    tx.note((TOKEN_RELEASED, released, owner))
    return released


class NothingWaits(Exception):
    """None of the tokens that were asked for may be claimed any more; nothing was changed."""


def _claiming(session_key: Key, ids: Sequence[str], lookup: str) -> Sequence[Query]:
    return [*session_queries(session_key), *(Get("token", id) for id in ids[:1])]


@reads(_claiming)
def claim_first(tx: Transaction, session_key: Key, ids: Sequence[str], lookup: str) -> Token:
    """Take the first of these tokens that may be claimed into a living session.

    The others are tried only where those before them were taken meanwhile, so that claimers hinder one another
    only at the token that they both want.

    Raises:
        UnknownSession, SessionEnded: no living session answers to ``session_key``.
        NothingWaits: none may be claimed.
    """
    session = may_hold_tokens(living_session(tx, session_key))
    for id in ids:
        stored = tx.token(id)
        if stored is None or stored.session_id is not None or stored.unassigned_at is None:
            continue
        token = standing(tx, stored, None)
        if token is not None and may_claim(token, session.owner):
            return claimed_by(tx, stored, token, session, lookup)
    raise NothingWaits


def may_claim(token: Token, owner: str) -> bool:
    """Whether an owner may take a living token that nobody owns."""
    is_free = token.traits.kind is TRANSFERABLE and token.unassigned_at is not None
    return is_free and token.details.reserved_for in (None, owner)


def waits_by(waiting: Token, now: int) -> bool:
    """Whether a token that is listed as waiting does so by now, and not only from an instant to come."""
    return waiting.unassigned_at is not None and waiting.unassigned_at <= now


def claimable(waiting: Iterable[Token], owner: str, now: int) -> list[str]:
    """Return the ids of those that wait which an owner may claim, what has been free for longest first.

    An offer to one owner ends without being written: what it kept stands where it did, and waits from its end on.
    """
    standing_now = (token.as_of(now, None, None) for token in waiting)
    free = [token for token in standing_now if token is not None and may_claim(token, owner)]
    free.sort(key=lambda token: token.unassigned_at or 0)
    return [token.id for token in free]
