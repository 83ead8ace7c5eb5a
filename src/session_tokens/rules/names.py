"""Another name in place of an owner's, in all that outlives their sessions and tokens.

It is one that they were given, or, where they are forgotten, a pseudonym that tells nobody who they were.

Theory of operation. What lives is moved by one commit (``renaming``), or was ended before (``begin_forgetting``). What
is left is found by going through all records, for no index leads to it, and is rewritten here in batches. Each batch
finds what it still has to do by the old name, so that it can be done twice, and what was broken off is begun again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..contract.queries import Count, Get
from ..contract.transaction import Transaction, reads
from ..errors import Conflict, UnknownToken
from ..events import OWNER_FORGOTTEN, TOKEN_ENDED, TOKEN_RELEASED, TOKEN_WITHDRAWN, Event, Told, owners_replaced
from ..records import BOUND, JSON, NO_DETAILS, IdempotencyRecord, OwnerEntry, Session, Token
from ..records.token_details import shared
from .expiry import Uncleaned
from .loans import read_loans_ahead, take_loans_away
from .lookup import lasts, living_token, only_ends
from .owners import disable_owner, ending_queries
from .webhooks import STATE, state_of, text_of_state


class NewName(NamedTuple):
    """What takes the place of an owner's name.

    Attributes:
        owner: the name that goes.
        to: what stands in its place.
        is_pseudonym: whether the owner is forgotten; else they are called so from now on.
    """

    owner: str
    to: str
    is_pseudonym: bool

    def of(self, owner: str | None) -> str | None:
        """Return an owner's name as it is from now on."""
        return self.to if owner == self.owner else owner

    def event(self, event: Event) -> Event:
        """Return an event that names the owner by the new name; the same one if it does not name them."""
        return owners_replaced(event, self.of)

    def concerns(self, record: object) -> bool:
        """Whether a record outlives what is theirs and names them."""
        if isinstance(record, Session):
            return record.owner == self.owner and record.ended_at is not None
        if isinstance(record, Token):
            return self._is_named_in(record)
        if isinstance(record, IdempotencyRecord):
            outcome = record.outcome
            if isinstance(outcome, Token):
                return outcome.owner == self.owner or self._is_named_in(outcome)
            return isinstance(outcome, Session) and outcome.owner == self.owner
        return False

    def _is_named_in(self, token: Token) -> bool:
        others = (token.previous_owner, token.details.reserved_for, token.details.borrower)
        return self.owner in others or (self.is_pseudonym and token.owner == self.owner)

    def over(self, session: Session) -> Session:
        """Return a session that is over under the new name; of who is forgotten nothing is left that tells of them."""
        if not self.is_pseudonym:
            return session.replace(owner=self.to, version=session.version + 1)
        reason = "revoked" if session.end_reason == "owner_disabled" else session.end_reason
        before = session.details
        details = NO_DETAILS._replace(
            successor=before.successor, moves=before.moves, ahead_ms=before.ahead_ms, secret_kind=before.secret_kind,
            timed_from=before.timed_from, rotation=before.rotation,
        )  # fmt: skip
        return session.replace(
            owner=self.to, owner_epoch=0, end_reason=reason, version=session.version + 1,
            details=NO_DETAILS if details == NO_DETAILS else details,
        )  # fmt: skip

    def outcome(self, outcome: Session | Token) -> Session | Token:
        """Return what a command answered under the new name."""
        if isinstance(outcome, Token):
            return self.token(outcome)
        return self.over(outcome) if self.is_pseudonym else outcome.replace(owner=self.to)

    def token(self, token: Token) -> Token:
        """Return a token that names the owner by the new name."""
        details = token.details._replace(
            reserved_for=self.of(token.details.reserved_for), borrower=self.of(token.details.borrower)
        )
        return token.replace(
            owner=self.of(token.owner), previous_owner=self.of(token.previous_owner), details=shared(details)
        )


@reads(lambda owner, pseudonym, others, most: ending_queries(owner, most))
def begin_forgetting(tx: Transaction, owner: str, pseudonym: str, others: Sequence[str], most: int) -> None:
    """Disable an owner who shall be forgotten, so that nothing of theirs lives or comes to be until that is done.

    Args:
        owner: who.
        pseudonym: what stands in their place from now on.
        others: their pseudonyms under other keys.
        most: as for ``disable_owner``.

    Raises:
        Uncleaned: ``sweep_owner`` has to clean up first.
    """
    disable_owner(tx, owner, most)
    terms: dict[str, JSON] = {"also": list(others)}
    tx.note((OWNER_FORGOTTEN, pseudonym, Told(None, terms) if others else None))
    only_ends(tx)


@reads(lambda owner: [Get("entry", owner), Count("sessions_of", owner)])
def end_forgetting(tx: Transaction, owner: str) -> None:
    """Delete the entry of an owner of whom nothing else is left.

    Raises:
        Conflict: they have sessions, as they were enabled meanwhile, or some cannot be read.
    """
    entry = tx.entry(owner)
    if tx.session_count_of(owner):
        raise Conflict(
            "the owner was enabled meanwhile, or has sessions that cannot be read, which session-tokens check --fix "
            "sets aside; then forget them once more"
        )
    if entry is not None:
        tx.put_entry(entry, None)
    only_ends(tx)


@reads(lambda name, ids: [Get("entry", name.to), *(Get("session", id) for id in ids)])
def name_in_sessions(tx: Transaction, name: NewName, ids: Sequence[str]) -> int:
    """Name the owner anew in sessions that are over; return in how many.

    Raises:
        Uncleaned: ``sweep_session`` has to clean up behind one first.
    """
    count, entry = 0, tx.entry(name.to)
    for id in ids:
        session = tx.session(id)
        if session is None or not name.concerns(session):
            continue
        if session.sweep_at <= tx.now:
            raise Uncleaned(id)
        over = name.over(session)
        if not name.is_pseudonym:
            over = over.replace(owner_epoch=0 if entry is None else entry.epoch)
            if entry is None and over.needs_entry:
                entry = OwnerEntry(name.to, 0, None, tx.now)
                tx.put_entry(None, entry)
        tx.put_session(session, over)
        count += 1
    only_ends(tx)
    return count


@reads(lambda name, ids: [Get("token", id) for id in ids])
def name_in_tokens(tx: Transaction, name: NewName, ids: Sequence[str]) -> int:
    """Name the owner anew in tokens: those that were theirs, are offered to them or lent to them; return in how many.

    Of an owner who is forgotten nothing is left to them: an offer to them is withdrawn, a loan ends, and what they held
    without a session is unassigned as at the end of one, its offers to others still open.
    """
    count = 0
    if name.is_pseudonym:
        read_loans_ahead(tx, filter(None, map(tx.token, ids)))
    for id in ids:
        token = tx.token(id)
        if token is None or not name.concerns(token):
            continue
        if name.is_pseudonym:
            _forget_in(tx, name, token)
        else:
            tx.put_token(token, name.token(token).replace(version=token.version + 1))
        count += 1
    return count


def _forget_in(tx: Transaction, name: NewName, token: Token) -> None:
    if token.is_loan or (token.owner == name.owner and token.traits.kind is BOUND):
        take_loans_away(tx, token, name.concerns)
        tx.put_token(token, None)
    elif not lasts(tx, token):
        take_loans_away(tx, token, name.concerns)
        tx.put_token(token, None)
        if not token.is_used_up:
            tx.note((TOKEN_ENDED, name.token(token), "expired"))
    elif token.owner == name.owner:
        take_loans_away(tx, token, name.concerns)
        parked = token.offered_at(tx.now)
        if parked.details.reserved_for == name.owner:
            parked = parked.reserved(None, None, None, tx.now)
        released = name.token(parked.unassigned(tx.now))
        tx.put_token(token, released)
        tx.note((TOKEN_RELEASED, released, name.to))
    else:
        left = _offer_withdrawn(tx, name, token)
        named = name.token(left or token.replace(version=token.version + 1))
        tx.put_token(token, named)
        if left is not None:
            tx.note((TOKEN_WITHDRAWN, named, None))


def _offer_withdrawn(tx: Transaction, name: NewName, token: Token) -> Token | None:
    """Return a token that is offered to the owner alone without that offer, ``None`` for every other one."""
    if token.details.reserved_for != name.owner:
        return None
    try:
        _, standing, _ = living_token(tx, token.id)  # maybe unassigned since its session ended, or the offer is over
    except UnknownToken:
        return None
    return standing.reserved(None, None, None, tx.now) if standing.details.reserved_for == name.owner else None


@reads(lambda name, keys: [Get("idempotency", key) for key in keys])
def name_in_outcomes(tx: Transaction, name: NewName, keys: Sequence[str]) -> int:
    """Name the owner anew in what commands with an idempotency key answered; return in how many."""
    count = 0
    for key in keys:
        record = tx.idempotency(key)
        if record is None or not name.concerns(record):
            continue
        outcome: Any = record.outcome
        tx.put_idempotency(record._replace(outcome=name.outcome(outcome)))
        count += 1
    only_ends(tx)
    return count


@reads(lambda name, id: [Get("setting", STATE + id)])
def name_in_webhook(tx: Transaction, name: NewName, id: str) -> int:
    """Name the owner anew in what waits for a webhook or was given up; return in how many events."""
    text = tx.setting(STATE + id)
    if text is None:
        return 0
    state, count = state_of(text), 0

    def named(event: Event) -> Event:
        nonlocal count
        changed = name.event(event)
        count += changed != event
        return changed

    waiting = [each._replace(event=named(each.event)) for each in state.waiting]
    dead = [each._replace(event=named(each.event)) for each in state.dead]
    # Whoever sends has read from the log meanwhile, and writes down what waits if this text is still the same.
    mark = "" if text.endswith(" ") else " "
    tx.put_setting(STATE + id, text_of_state(state._replace(waiting=waiting, dead=dead)) + mark)
    only_ends(tx)
    return count


MARKS = "renaming:"
"""The prefix of the shared settings that say that an owner has another name, and old ones may be left somewhere."""


def mark_of(pseudonym: str) -> str:
    """Return the name of the setting that says so of the owner of a pseudonym."""
    return MARKS + pseudonym


@reads(lambda pseudonym: [Get("setting", mark_of(pseudonym))])
def settle_renaming(tx: Transaction, pseudonym: str) -> None:
    """Take note that an owner's old name is nowhere any more."""
    if tx.setting(mark_of(pseudonym)) is not None:
        tx.put_setting(mark_of(pseudonym), None)
        only_ends(tx)
