"""The rules of tokens: issuing, transferring, claiming, offering, changing and ending them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..clock import NEVER
from ..compiled_core import COMPILED
from ..contract.queries import Get
from ..contract.transaction import Transaction, reads
from ..errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotOwner,
    NotTransferable,
    UnknownToken,
)
from ..events import (
    TOKEN_CHANGED,
    TOKEN_CLAIMED,
    TOKEN_ENDED,
    TOKEN_ISSUED,
    TOKEN_REISSUED,
    TOKEN_TRANSFERRED,
    Told,
)
from ..records import JSON, NO_TOKEN_DETAILS, TRANSFERABLE, Session, Token, TokenDetails
from ..records.record import maker_of
from ..records.token import Token as NewToken
from ..records.traits import TokenTraits
from ..settings import UNSET, Policy, Unset
from .caps import refuse_too_many_tokens
from .loans import give_back, read_loans_ahead, take_loans_away
from .lookup import (
    Key,
    followed,
    living_session,
    living_token,
    only_ends,
    session_queries,
    standing,
    token_queries,
)
from .receiving import receiving_queries, receiving_session
from .reserved import may_hold_tokens


class Issue:
    """What a new token brings along: its minted id and look-up key, its value, kind and clocks."""

    __slots__ = ("details", "id", "lookup", "name", "text", "traits")

    def __init__(
        self,
        id: str,
        lookup: str | None,
        text: str,
        traits: TokenTraits,
        name: str | None = None,
        details: TokenDetails = NO_TOKEN_DETAILS,
    ) -> None:
        self.id = id
        self.lookup = lookup
        self.text = text
        self.name = name
        self.details = details
        self.traits = traits

    def looked_up_by(self, lookup: str) -> Issue:
        """Take the look-up key of its secret, once that is minted, and return itself."""
        self.lookup = lookup
        return self


@reads(lambda policy, session_key, issue: [] if session_key is None else session_queries(session_key))
def issue_token(tx: Transaction, policy: Policy, session_key: Key | None, issue: Issue) -> Token:
    """Issue a token under a living session; without one a free one, or a transferable one that is unassigned.

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
        name_is_free: whether no token has the name, or this transaction has ended it.
    """
    now = tx.now
    owner = None if session is None else session.owner
    if not name_is_free and policy.names:
        former = tx.token(issue.id)
        if former is not None:
            known = _same_again(tx, former, owner, issue)
            if known is not None:
                return known
    if session is not None and policy.max_tokens_per_session is not None:
        refuse_too_many_tokens(tx, session.id, policy.max_tokens_per_session)
    traits = issue.traits
    own_deadline = NEVER if traits.timeout_ms is None else now + traits.timeout_ms
    deadline, unassigned_at = own_deadline, None
    if session is None and traits.kind is TRANSFERABLE:
        unassigned_at = now
        if traits.disownment_timeout_ms is not None:
            deadline = min(deadline, now + traits.disownment_timeout_ms)
    token = NewToken(
        issue.id, owner, issue.lookup, None if session is None else session.id, issue.text, now, own_deadline,
        deadline, now, unassigned_at, None, 0, 1, issue.details, issue.name, traits,
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
    if present.owner != owner or present.traits.kind is not issue.traits.kind:
        raise AlreadyExists("a living token has that name; destroy it first, or use another", id=issue.id)
    updated = present.replace(text=issue.text, is_json=issue.traits.is_json, version=present.version + 1)
    tx.put_token(former, updated)
    tx.note((TOKEN_CHANGED, updated, None))
    return updated


def transferable(tx: Transaction, key: Key) -> tuple[Token, Token]:
    """Return a living token that may change hands, as it is stored and as it stands now.

    Raises:
        UnknownToken: no living token answers to ``key``.
        NotTransferable: its kind stays where it is.
    """
    stored, token, _ = living_token(tx, key)
    if token.traits.kind is not TRANSFERABLE:
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
        Conflict: ``epoch`` is given and the token has changed hands since, or it is offered to another owner alone.
    """
    stored, token, _ = living_token(tx, key)
    if token.traits.kind is not TRANSFERABLE:
        raise _not_transferable(token)
    if epoch is not None and epoch != token.epoch:
        raise Conflict(f"the token's epoch is {token.epoch}, not {epoch}; read it again", id=token.id)
    # An unassigned token has no owner: ``None`` gives it, or who had it before.
    if giver != token.owner and (token.unassigned_at is None or giver != token.previous_owner):
        raise NotOwner("the giver does not own the token; get_token() shows its owner", id=token.id)
    if token.details is not NO_TOKEN_DETAILS:
        refuse_others(token, receiver)
        take_loans_away(tx, token)
    session = receiving_session(tx, receiver)  # as in hand_to(), on the way of every transfer
    held = token.held_by(receiver, None if session is None else session.id, lookup, tx.now)
    tx.put_token(stored, held)
    tx.note((TOKEN_TRANSFERRED, held, held.previous_owner))
    return held


def refuse_others(token: Token, receiver: str) -> None:
    """Refuse to let a token that is offered to one owner alone come to another.

    Raises:
        Conflict: it is, until then.
    """
    if token.details.reserved_for not in (None, receiver):
        raise Conflict("the token is offered to another owner alone; withdraw_token() takes that back", id=token.id)


def hand_to(
    tx: Transaction, stored: Token, token: Token, receiver: str, lookup: str | None, terms: dict[str, JSON] | None
) -> Token:
    """Hand a token to a receiver: into their newest living session, or parked without one.

    Args:
        stored: as it is stored.
        token: as it stands now.
        receiver: whose it is from now on.
        lookup: what the new secret is looked up by, ``None`` for none.
        terms: what its event tells beside the owners.

    Raises:
        OwnerDisabled: the receiver is disabled.
    """
    session = receiving_session(tx, receiver)
    take_loans_away(tx, token)
    held = token.held_by(receiver, None if session is None else session.id, lookup, tx.now)
    tx.put_token(stored, held)
    giver = held.previous_owner
    tx.note((TOKEN_TRANSFERRED, held, giver if terms is None else Told(giver, terms)))
    return held


@reads(lambda owner, receiver, ids: [*receiving_queries(receiver), *(Get("token", id) for id in ids)])
def hand_over(tx: Transaction, owner: str, receiver: str, ids: Sequence[str]) -> int:
    """Hand those of some tokens that an owner has and may hand on to a receiver; return how many those were.

    Nobody gets their secrets: the receiver asks for new ones. What is offered to somebody else alone stays.

    Raises:
        OwnerDisabled: the receiver is disabled.
    """
    receiving_session(tx, receiver)
    read_loans_ahead(tx, filter(None, map(tx.token, ids)))
    handed = 0
    for id in ids:
        stored = tx.token(id)
        token = None if stored is None else standing(tx, *followed(tx, stored))
        if stored is None or token is None or token.traits.kind is not TRANSFERABLE or token.owner != owner:
            continue
        if token.details.reserved_for in (None, receiver):
            hand_to(tx, stored, token, receiver, None, None)
            handed += 1
    return handed


@reads(lambda key, session_key, lookup: [*token_queries(key), *session_queries(session_key)])
def claim_token(tx: Transaction, key: Key, session_key: Key, lookup: str | None) -> Token:
    """Take an unassigned token into a living session.

    Raises:
        UnknownToken: no living token answers to ``key``.
        UnknownSession, SessionEnded: no living session answers to ``session_key``.
        NotTransferable: its kind is never unassigned.
        Conflict: someone owns it, or it is offered to another owner alone.
    """
    # The session first: a stolen secret is found out, whatever it shall claim.
    session = may_hold_tokens(living_session(tx, session_key))
    stored, token = transferable(tx, key)
    if token.unassigned_at is None:
        raise Conflict("the token is not unassigned; its owner can transfer it", id=token.id)
    refuse_others(token, session.owner)
    return claimed_by(tx, stored, token, session, lookup)


def claimed_by(tx: Transaction, stored: Token, token: Token, session: Session, lookup: str | None) -> Token:
    """Take an unassigned token into a session that lives."""
    take_loans_away(tx, token)
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
    return write_token(tx, TOKEN_REISSUED, stored, token.replace(lookup=lookup, version=token.version + 1)).seen_with(
        session
    )


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
    check_version(token, change.version)
    own_deadline, timeout_ms = token.own_deadline, token.timeout_ms
    if change.timeout_ms is not UNSET:
        timeout_ms = change.timeout_ms
        own_deadline = NEVER if timeout_ms is None else tx.now + timeout_ms
    disownment_ms = token.disownment_timeout_ms
    if change.disownment_timeout_ms is not UNSET:
        if token.traits.kind is not TRANSFERABLE:
            raise InvalidInput(f"a {token.kind.value} token is never unassigned; leave disownment_timeout away")
        disownment_ms = change.disownment_timeout_ms
    deadline = own_deadline
    if token.unassigned_at is not None and disownment_ms is not None:
        since = token.details.reserved_until or token.unassigned_at
        deadline = deadline if since == NEVER else min(deadline, since + disownment_ms)
    changed = token.replace(
        timeout_ms=timeout_ms,
        own_deadline=own_deadline,
        deadline=deadline,
        disownment_timeout_ms=disownment_ms,
        text=token.text if change.text is UNSET else change.text,
        is_json=token.is_json if change.text is UNSET else change.is_json,
        version=token.version + 1,
    )
    return write_token(tx, TOKEN_CHANGED, stored, changed).seen_with(session)


@reads(lambda key, version: token_queries(key))
def destroy_token(tx: Transaction, key: Key, version: int | None) -> bool:
    """End a token, or with the secret of a loan that loan; return whether one lived. Twice changes nothing.

    Raises:
        Conflict: ``version`` is given and is not the token's.
    """
    try:
        stored, token, _ = living_token(tx, key)
    except UnknownToken:
        return give_back(tx, key)
    check_version(token, version)
    take_loans_away(tx, token)
    tx.put_token(stored, None)
    tx.note((TOKEN_ENDED, token, "revoked"))
    only_ends(tx)
    return True


def write_token(tx: Transaction, event: str, stored: Token, token: Token) -> Token:
    """Write a changed token down, with its event."""
    tx.put_token(stored, token)
    tx.note((event, token, None))
    return token


def check_version(token: Token, expected: int | None) -> None:
    """Refuse a token whose version is not the expected one, where one is (``Conflict``)."""
    if expected is not None and expected != token.version:
        raise Conflict(f"the version is {token.version}, not {expected}; read it again", version=token.version)


if not COMPILED:
    globals()["Issue"] = maker_of(Issue)
