"""The rules of counted tokens: each use takes away from those that are left, and at none the token ends."""

from __future__ import annotations

from ..contract.transaction import Transaction, reads
from ..errors import InvalidInput, LimitReached, UnknownToken
from ..events import TOKEN_CONSUMED, TOKEN_ENDED
from ..records import Token
from ..settings import USED_UP_RETENTION_MS
from .loans import as_borrowed, lent_before, used_token
from .lookup import Key, stored_token, token_queries


@reads(lambda key, amount: token_queries(key))
def consume_token(tx: Transaction, key: Key, amount: int) -> Token:
    """Use a counted token up by so much; at none left it ends, and for an hour that is what a further use is told.

    By its id, its secret, or that of a loan. Exact under races: of N left, N single uses succeed.

    Raises:
        UnknownToken: no living token answers to ``key``.
        LimitReached: fewer are left than that, or none since less than an hour; nothing was used.
        InvalidInput: its uses are not counted.
    """
    try:
        stored, token, session, loan = used_token(tx, key)
    except UnknownToken:
        over = _once_used(tx, key)
        if over is not None and over.is_used_up and tx.now < over.deadline:
            raise LimitReached("the token is used up; issue another one", id=over.id, left=0) from None
        raise
    left = token.uses_left
    if left is None:
        raise InvalidInput("the token's uses are not counted; issue it with uses=")
    if amount > left:
        raise LimitReached(f"the token has {left} uses left, not {amount}; nothing was used", id=token.id, left=left)
    used = token.used(amount)
    if amount == left:
        tx.put_token(stored, used.used_up(tx.now, tx.now + USED_UP_RETENTION_MS))
        tx.note((TOKEN_ENDED, used, "used"))
    else:
        tx.put_token(stored, used)
        tx.note((TOKEN_CONSUMED, used, None))
    return used.seen_with(session) if loan is None else as_borrowed(tx, loan, used, session)


def _once_used(tx: Transaction, key: Key) -> Token | None:
    """Return the record of the token that a key named or, where it is the secret of a loan, let use."""
    named = stored_token(tx, key)
    return lent_before(tx, named) if named is not None and named.is_loan else named
