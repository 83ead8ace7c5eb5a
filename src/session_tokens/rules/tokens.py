"""The rules of tokens: issuing, transferring, claiming, offering, changing and ending them."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from ..clock import NEVER
from ..contract.queries import Get, Members, Query
from ..contract.transaction import Transaction, reads
from ..errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    LimitReached,
    NotOwner,
    NotTransferable,
    OwnerDisabled,
    UnknownToken,
)
from ..events import (
    TOKEN_CHANGED,
    TOKEN_CLAIMED,
    TOKEN_ENDED,
    TOKEN_ISSUED,
    TOKEN_OFFERED,
    TOKEN_REISSUED,
    TOKEN_TRANSFERRED,
    TOKEN_WITHDRAWN,
)
from ..records import NO_TOKEN_DETAILS, TRANSFERABLE, Offer, Session, Token, TokenDetails, TokenKind
from ..records.token import Token as NewToken
from ..settings import NEWEST_READ, UNSET, Policy, Unset
from .lookup import (
    Key,
    followed,
    lives,
    living_session,
    living_token,
    only_ends,
    session_queries,
    standing,
    token_queries,
)
from .reserved import may_hold_tokens


class Issue:
    """What a new token brings along: its minted id and look-up key, its value and clocks (milliseconds)."""

    __slots__ = (
        "client_id", "details", "disownment_timeout_ms", "id", "is_json", "kind", "lookup", "name", "text",
        "timeout_ms",
    )  # fmt: skip

    def __init__(
        self,
        id: str,
        lookup: str | None,
        kind: TokenKind,
        text: str,
        is_json: bool,
        timeout_ms: int | None,
        disownment_timeout_ms: int | None,
        client_id: str | None = None,
        name: str | None = None,
        details: TokenDetails = NO_TOKEN_DETAILS,
    ) -> None:
        self.id = id
        self.lookup = lookup
        self.kind = kind
        self.text = text
        self.is_json = is_json
        self.timeout_ms = timeout_ms
        self.disownment_timeout_ms = disownment_timeout_ms
        self.client_id = client_id
        self.name = name
        self.details = details

    def looked_up_by(self, lookup: str) -> Issue:
        """Take the look-up key of its secret, once that is minted, and return itself."""
        self.lookup = lookup
        return self


@reads(lambda policy, session_key, issue: [] if session_key is None else session_queries(session_key))
def issue_token(tx: Transaction, policy: Policy, session_key: Key | None, issue: Issue) -> Token:
    """Issue a token under a living session, or a free one without any.

    Raises:
        UnknownSession, SessionEnded: no living session answers to ``session_key``.
        LimitReached: the session holds as many tokens as the policy allows.
        AlreadyExists: a token of that name lives (only where applications name tokens themselves).
    """
    session = None if session_key is None else may_hold_tokens(living_session(tx, session_key))
    return issue_under(tx, policy, session, issue).seen_with(session)


def issue_under(
    tx: Transaction, policy: Policy, session: Session | None, issue: Issue, *, name_is_free: bool = False
) -> Token:
    """Issue a token under a session that is known to live; see ``issue_token``.

    Args:
        name_is_free: whether this transaction has ended the token that had the name.
    """
    now = tx.now
    owner = None if session is None else session.owner
    if policy.names and not name_is_free:
        former = tx.token(issue.id)
        if former is not None:
            known = _same_again(tx, former, owner, issue)
            if known is not None:
                return known
    if session is not None and policy.max_tokens_per_session is not None:
        count = tx.token_count_of(session.id)
        count += sum(tx.token_count_of(former.id, True) for former in tx.predecessors_of(session.id))
        if count >= policy.max_tokens_per_session:
            raise LimitReached(f"the session holds {count} tokens, the cap; destroy one first", cap=count)
    own_deadline = NEVER if issue.timeout_ms is None else now + issue.timeout_ms
    token = NewToken(
        issue.id, owner, issue.lookup, issue.kind, None if session is None else session.id, issue.text, issue.is_json,
        now, issue.timeout_ms, own_deadline, own_deadline, issue.disownment_timeout_ms, now, None, None, 0, 1,
        issue.details, issue.client_id, issue.name,
    )  # fmt: skip
    tx.put_token(None, token)
    tx.note((TOKEN_ISSUED, token, None))
    return token


def _same_again(tx: Transaction, former: Token, owner: str | None, issue: Issue) -> Token | None:
    """Adding the same token again for the same owner and kind updates its value and keeps its deadline.

    Return the updated token, or ``None`` after clearing away a dead one.

    Raises:
        AlreadyExists: it lives with another owner or as another kind.
    """
    present = standing(tx, *followed(tx, former))
    if present is None:
        tx.put_token(former, None)
        tx.note((TOKEN_ENDED, former, "expired"))
        return None
    if present.owner != owner or present.kind is not issue.kind:
        raise AlreadyExists("a living token has that name; destroy it first, or use another", id=issue.id)
    updated = present.replace(text=issue.text, is_json=issue.is_json, version=present.version + 1)
    tx.put_token(former, updated)
    tx.note((TOKEN_CHANGED, updated, None))
    return updated


def receiving_queries(receiver: str) -> list[Query]:
    """Return what finding the session of a receiver reads."""
    return [Get("entry", receiver), Members("sessions_of", receiver, NEWEST_READ, True)]


def receiving_session(tx: Transaction, receiver: str) -> Session | None:
    """Return the session in which a receiver will hold a token: the newest that lives; ``None`` parks it.

    Raises:
        OwnerDisabled: the receiver is disabled.
    """
    entry = tx.entry(receiver)
    if entry is not None and entry.disabled_at is not None:
        raise OwnerDisabled("the receiver is disabled; enable_owner() lifts it", owner=receiver)
    newest = tx.sessions_of(receiver, NEWEST_READ, True)
    for session in newest if len(newest) == 1 else reversed(newest):
        if session.alive(tx.now, entry):
            changes = tx.changes  # as in lives(), on the way of every transfer
            if session.deadline < changes.not_after:
                changes.not_after = session.deadline
            return session
    if len(newest) == NEWEST_READ:
        for session in reversed(tx.sessions_of(receiver)):
            if lives(tx, session, entry):
                return session
    return None


def _transferable(tx: Transaction, key: Key) -> tuple[Token, Token]:
    stored, token, _ = living_token(tx, key)
    if token.kind is not TRANSFERABLE:
        raise _not_transferable(token)
    return stored, token


def _not_transferable(token: Token) -> NotTransferable:
    return NotTransferable(f"the token is {token.kind.value}; issue it with transferable=True", id=token.id)


@reads(lambda key, giver, receiver, lookup, epoch: [*token_queries(key), *receiving_queries(receiver)])
def transfer_token(
    tx: Transaction, key: Key, giver: str | None, receiver: str, lookup: str | None, epoch: int | None
) -> Token:
    """Move a transferable token from its present owner to another, in one step: epoch + 1, its listing cleared.

    The receiver holds it in their newest living session, or parked without one. From an unassigned token the giver
    is ``None`` or its previous owner. The giver's secret is dead.

    Raises:
        UnknownToken: no living token answers to ``key``.
        NotTransferable: its kind stays where it is.
        NotOwner: the giver does not own it (any more).
        OwnerDisabled: the receiver is disabled.
        Conflict: ``epoch`` is given and the token has changed hands since.
    """
    stored, token, _ = living_token(tx, key)
    if token.kind is not TRANSFERABLE:
        raise _not_transferable(token)
    if epoch is not None and epoch != token.epoch:
        raise Conflict(f"the token's epoch is {token.epoch}, not {epoch}; read it again", id=token.id)
    if token.unassigned_at is None:
        allowed = giver == token.owner
    else:
        allowed = giver is None or giver == token.previous_owner
    if not allowed:
        raise NotOwner("the giver does not own the token; get_token() shows its owner", id=token.id)
    session = receiving_session(tx, receiver)
    held = token.held_by(receiver, None if session is None else session.id, lookup, tx.now)
    tx.put_token(stored, held)
    tx.note((TOKEN_TRANSFERRED, held, held.previous_owner))
    return held


@reads(lambda key, session_key, lookup: [*token_queries(key), *session_queries(session_key)])
def claim_token(tx: Transaction, key: Key, session_key: Key, lookup: str | None) -> Token:
    """Take an unassigned token into a living session.

    Raises:
        UnknownToken: no living token answers to ``key``.
        UnknownSession, SessionEnded: no living session answers to ``session_key``.
        NotTransferable: its kind is never unassigned.
        Conflict: someone owns it.
    """
    stored, token = _transferable(tx, key)
    session = may_hold_tokens(living_session(tx, session_key))
    if token.unassigned_at is None:
        raise Conflict("the token is not unassigned; its owner can transfer it", id=token.id)
    held = token.held_by(session.owner, session.id, lookup, tx.now)
    tx.put_token(stored, held)
    tx.note((TOKEN_CLAIMED, held, held.previous_owner))
    return held


@reads(lambda key, owner, lookup: token_queries(key))
def reissue_token(tx: Transaction, key: Key, owner: str | None, lookup: str) -> Token:
    """Give a token a new secret at its owner's wish (``None``: a free token), the old one dead at once.

    Raises:
        UnknownToken: no living token answers to ``key``.
        NotOwner: it is not that owner's; an unassigned token is nobody's.
    """
    stored, token, session = living_token(tx, key)
    if token.owner != owner or token.unassigned_at is not None:
        raise NotOwner("only the present owner may ask for a new secret; get_token() shows who it is", id=token.id)
    return _put(tx, TOKEN_REISSUED, stored, token.replace(lookup=lookup, version=token.version + 1)).seen_with(session)


@reads(lambda key, price, currency, gift, version: token_queries(key))
def offer_token(
    tx: Transaction, key: Key, price: Decimal | None, currency: str | None, gift: bool, version: int | None
) -> Token:
    """Advertise a transferable token; it locks nothing and moves no money.

    Raises:
        UnknownToken: no living token answers to ``key``.
        NotTransferable: its kind cannot change hands.
        Conflict: ``version`` is given and is not the token's.
    """
    stored, token = _transferable(tx, key)
    _check_version(token, version)
    return _put(tx, TOKEN_OFFERED, stored, token.offered(Offer(True, price, currency, gift)))


@reads(lambda key, listed, price, gift: token_queries(key))
def mark_token(tx: Transaction, key: Key, listed: bool | None, price: Decimal | None, gift: bool | None) -> Token:
    """Set the seed's marks one by one: what is ``None`` stays, an earlier price too.

    Raises:
        UnknownToken, NotTransferable: as ``offer_token``.
    """
    stored, token = _transferable(tx, key)
    offer = token.details.offer or Offer(False, None, None, False)
    offer = Offer(
        offer.listed if listed is None else listed,
        offer.price if price is None else price,
        offer.currency,
        offer.gift if gift is None else gift,
    )
    kind = TOKEN_OFFERED if offer.listed or offer.gift else TOKEN_WITHDRAWN
    return _put(tx, kind, stored, token.offered(offer))


@reads(lambda key, version: token_queries(key))
def withdraw_token(tx: Transaction, key: Key, version: int | None) -> Token:
    """Take a token's listing, price and gift mark away; without any, nothing changes.

    Raises:
        UnknownToken, NotTransferable, Conflict: as ``offer_token``.
    """
    stored, token = _transferable(tx, key)
    _check_version(token, version)
    if token.details.offer is None:
        return token
    return _put(tx, TOKEN_WITHDRAWN, stored, token.offered(None))


class TokenChange(NamedTuple):
    """What to change of a token; durations in milliseconds, ``text`` as stored."""

    timeout_ms: int | None | Unset = UNSET
    disownment_timeout_ms: int | None | Unset = UNSET
    text: str | Unset = UNSET
    is_json: bool = False
    version: int | None = None


@reads(lambda key, change: token_queries(key))
def change_token(tx: Transaction, key: Key, change: TokenChange) -> Token:
    """Change value or clocks of a token: a new timeout counts from now, a disownment timeout from its being unassigned.

    Raises:
        UnknownToken: no living token answers to ``key``.
        InvalidInput: a disownment timeout for a token that is never unassigned.
        Conflict: ``change.version`` is given and is not the token's.
    """
    stored, token, session = living_token(tx, key)
    _check_version(token, change.version)
    own_deadline, timeout_ms = token.own_deadline, token.timeout_ms
    if change.timeout_ms is not UNSET:
        timeout_ms = change.timeout_ms
        own_deadline = NEVER if timeout_ms is None else tx.now + timeout_ms
    disownment_ms = token.disownment_timeout_ms
    if change.disownment_timeout_ms is not UNSET:
        if token.kind is not TRANSFERABLE:
            raise InvalidInput(f"a {token.kind.value} token is never unassigned; leave disownment_timeout away")
        disownment_ms = change.disownment_timeout_ms
    deadline = own_deadline
    if token.unassigned_at is not None and disownment_ms is not None:
        deadline = min(deadline, token.unassigned_at + disownment_ms)
    changed = token.replace(
        timeout_ms=timeout_ms,
        own_deadline=own_deadline,
        deadline=deadline,
        disownment_timeout_ms=disownment_ms,
        text=token.text if change.text is UNSET else change.text,
        is_json=token.is_json if change.text is UNSET else change.is_json,
        version=token.version + 1,
    )
    return _put(tx, TOKEN_CHANGED, stored, changed).seen_with(session)


@reads(lambda key, version: token_queries(key))
def destroy_token(tx: Transaction, key: Key, version: int | None) -> bool:
    """End a token; return whether one lived under ``key``. Twice changes nothing.

    Raises:
        Conflict: ``version`` is given and is not the token's.
    """
    try:
        stored, token, _ = living_token(tx, key)
    except UnknownToken:
        return False
    _check_version(token, version)
    tx.put_token(stored, None)
    tx.note((TOKEN_ENDED, token, "revoked"))
    only_ends(tx)
    return True


def _put(tx: Transaction, event: str, stored: Token, token: Token) -> Token:
    tx.put_token(stored, token)
    tx.note((event, token, None))
    return token


def _check_version(token: Token, expected: int | None) -> None:
    if expected is not None and expected != token.version:
        raise Conflict(f"the version is {token.version}, not {expected}; read it again", version=token.version)
