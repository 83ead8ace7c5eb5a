"""The rules of loans: a borrower uses a token under a secret of their own, and can do nothing else with it.

Theory of operation. A loan is a record of its own in the table of tokens, found by the borrower's secret. It is bound
to the session of the borrower, or free where there was none, so that it ends with that session by itself. It names the
token (``lent``) and that one's epoch; the token names its loans. A loan lives while its own record does, the token is
held by somebody under the same epoch, and names it: so a transfer, a release, a recall and each end of the lender's
session decide by one write of something else, and nothing is counted that does not live. Whoever writes that takes the
records of the loans away too, behind the end of a session the sweeper does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..clock import NEVER
from ..contract.queries import Get, Query, TokenResult
from ..contract.transaction import Transaction, reads
from ..errors import UNREADABLE, Conflict, LimitReached, NotOwner, UnknownToken
from ..events import TOKEN_LENT, TOKEN_RECALLED, Told
from ..records import BOUND, FREE, NO_TOKEN_DETAILS, Session, Token, TokenDetails
from ..settings import LOANS_MAX
from .lookup import Key, lasts, lives, living_token, only_ends, stored_token, token_queries
from .receiving import receiving_queries, receiving_session


def loan_ids(token: Token) -> list[str]:
    """Return the ids of a token's loans, those that are over too."""
    return (token.details.loans or "").split()


def loans_of(tx: Transaction, token: Token) -> Sequence[Token]:
    """Return the records of a token's loans that are still there, alive or not."""
    ids = loan_ids(token)
    if not ids:
        return ()
    tx.ahead([Get("token", id) for id in ids])
    return [loan for id in ids if (loan := tx.token(id)) is not None and loan.epoch == token.epoch]


def take_loans_away(tx: Transaction, token: Token, staying: Callable[[Token], bool] | None = None) -> None:
    """Take the records of a token's loans away, which are over with what happens to it.

    They would open nothing any more, and stay for as long as the sessions of those who borrowed. One that cannot be
    read stays so: it opens nothing either, and stops nothing but itself.

    Args:
        staying: of which this transaction disposes by itself.
    """
    if token.details is NO_TOKEN_DETAILS or token.details.loans is None:
        return
    read_loans_ahead(tx, (token,))
    for id in loan_ids(token):
        try:
            loan = tx.token(id)
        except UNREADABLE:
            continue
        if loan is not None and loan.epoch == token.epoch and (staying is None or not staying(loan)):
            tx.put_token(loan, None)


def read_loans_ahead(tx: Transaction, tokens: Iterable[Token]) -> None:
    """Read the loans of tokens at once, before they are taken away one by one."""
    lent = [Get("token", id) for token in tokens if token.details is not NO_TOKEN_DETAILS for id in loan_ids(token)]
    if lent:
        tx.ahead(lent)


def _living_loans(tx: Transaction, token: Token) -> list[Token]:
    """Return the loans of a living token that live; an unassigned one has none, for they ended with its session."""
    if token.unassigned_at is not None:
        return []
    return [loan for loan in loans_of(tx, token) if _goes_on(tx, loan)]


def _goes_on(tx: Transaction, loan: Token) -> bool:
    """Whether a loan is not over by itself."""
    session = None if loan.session_id is None else tx.session(loan.session_id)
    return loan.authenticates(tx.now, session, None if session is None else tx.entry(session.owner))


def borrowers_of(token: Token, now: int, loans: Sequence[TokenResult]) -> list[str]:
    """Return to whom a living token is lent now.

    Args:
        token: as it stands at ``now``.
        now: the instant for which all of it was read.
        loans: what was found under ``loan_ids(token)``.
    """
    if token.unassigned_at is not None:
        return []
    return [
        loan.details.borrower
        for loan, session, entry in (found.followed() for found in loans)
        if loan is not None
        and loan.details.borrower is not None
        and loan.epoch == token.epoch
        and loan.authenticates(now, session, entry)
    ]


class Lending:
    """What a new loan brings along: its minted id and look-up key, for whom and for how many milliseconds it is."""

    __slots__ = ("borrower", "id", "lookup", "until_ms")

    def __init__(self, id: str, lookup: str | None, borrower: str, until_ms: int | None) -> None:
        self.id = id
        self.lookup = lookup
        self.borrower = borrower
        self.until_ms = until_ms

    def looked_up_by(self, lookup: str) -> Lending:
        """Take the look-up key of its secret, once that is minted, and return itself."""
        self.lookup = lookup
        return self


def _lending(key: Key, lending: Lending) -> Sequence[Query]:
    return [*token_queries(key), *receiving_queries(lending.borrower)]


@reads(_lending)
def lend_token(tx: Transaction, key: Key, lending: Lending) -> Token:
    """Let a borrower use a token under a secret of their own; return it as they see it.

    It ends by itself with ``until_ms``, the borrower's newest session as it is now, the session that holds the token
    (its successors too), and the token; and when the token changes hands.

    Raises:
        UnknownToken: no living token answers to ``key``.
        NotOwner: nobody owns it.
        OwnerDisabled: the borrower is disabled.
        Conflict: the borrower has no session, and no ``until_ms`` is given.
        LimitReached: the token has ``LOANS_MAX`` living loans.
    """
    stored, token, session = living_token(tx, key)
    if token.owner is None:
        raise NotOwner("nobody owns the token, so that nobody can lend it; let somebody claim it first", id=token.id)
    holder = receiving_session(tx, lending.borrower)
    if holder is None and lending.until_ms is None:
        raise Conflict("the borrower has no session with which the loan would end; give until=", id=token.id)
    living = _living_loans(tx, token)
    if len(living) >= LOANS_MAX:
        raise LimitReached(f"the token has {len(living)} loans, the most there can be; recall_token()", id=token.id)
    until = NEVER if lending.until_ms is None else tx.now + lending.until_ms
    loan = Token._of(
        lending.id, None if holder is None else holder.owner, lending.lookup, FREE if holder is None else BOUND,
        None if holder is None else holder.id, "", False, tx.now, lending.until_ms, until, until, None, tx.now, None,
        None, token.epoch, 1, TokenDetails(borrower=lending.borrower, lent=token.id), token.client_id, None,
    )  # fmt: skip
    lent = _with_loans(token, [*(each.id for each in living), loan.id])
    tx.put_token(None, loan)
    tx.put_token(stored, lent)
    tx.note((TOKEN_LENT, lent, Told(None, {"borrower": lending.borrower, "until": None if until == NEVER else until})))
    return as_borrowed(tx, loan, lent, session)


def _with_loans(token: Token, ids: Sequence[str]) -> Token:
    return token.replace(details=token.details._replace(loans=" ".join(ids) or None), version=token.version + 1)


@reads(lambda key, borrower: token_queries(key))
def recall_token(tx: Transaction, key: Key, borrower: str | None) -> Token:
    """End the loans of a token, all or those to one borrower; without any that lives, nothing changes.

    Raises:
        UnknownToken: no living token answers to ``key``.
    """
    stored, token, session = living_token(tx, key)
    ending = [loan for loan in _living_loans(tx, token) if borrower in (None, loan.details.borrower)]
    if not ending:
        return token.seen_with(session)
    over = {loan.id for loan in ending}
    recalled = _with_loans(token, [loan.id for loan in loans_of(tx, token) if loan.id not in over])
    for loan in ending:
        tx.put_token(loan, None)
    tx.put_token(stored, recalled)
    tx.note((TOKEN_RECALLED, recalled, None))
    only_ends(tx)
    return recalled.seen_with(session)


def give_back(tx: Transaction, key: Key) -> bool:
    """End the loan that a secret is of, if it is of one; return whether it lived."""
    try:
        stored, token, _, loan = used_token(tx, key)
    except UnknownToken:
        return False
    if loan is None:
        return False
    tx.put_token(loan, None)
    returned = _with_loans(token, [id for id in loan_ids(token) if id != loan.id])
    tx.put_token(stored, returned)
    tx.note((TOKEN_RECALLED, returned, "returned"))
    only_ends(tx)
    return True


def used_token(tx: Transaction, key: Key) -> tuple[Token, Token, Session | None, Token | None]:
    """Return the token that ``key`` lets use, as ``living_token`` does, and the loan if it is the secret of one.

    Raises:
        UnknownToken: there is none, it is dead, or the loan is over.
    """
    named = None if isinstance(key, str) else stored_token(tx, key)
    if named is None or not named.is_loan:
        return (*living_token(tx, key), None)
    id = named.details.lent
    assert id is not None, "it is a loan"
    holder = None if named.session_id is None else tx.session(named.session_id)
    ends_late = holder is None or lives(tx, holder, tx.entry(holder.owner))
    if ends_late and (named.session_id is None) == (holder is None) and lasts(tx, named):
        stored, token, session = living_token(tx, id)
        if _is_out(token, named):
            return stored, token, session, named
    raise UnknownToken("no living token answers to that key; the loan is over")


def _is_out(token: Token, loan: Token) -> bool:
    """Whether a living token is lent under a loan that is not over by itself."""
    return token.unassigned_at is None and token.epoch == loan.epoch and loan.id in loan_ids(token)


def lent_before(tx: Transaction, loan: Token) -> Token | None:
    """Return the record of a token that a loan was of when it was used up; ``None`` for a loan that ended before."""
    assert loan.details.lent is not None, "it is a loan"
    token = tx.token(loan.details.lent)
    return token if token is not None and token.epoch == loan.epoch and _goes_on(tx, loan) else None


def as_borrowed(tx: Transaction, loan: Token, token: Token, session: Session | None) -> Token:
    """Return a token as the borrower of a loan sees it."""
    holder = None if loan.session_id is None else tx.session(loan.session_id)
    return _seen(loan, holder, token, session)


def _seen(loan: Token, holder: Session | None, token: Token, session: Session | None) -> Token:
    deadline = min(token.deadline, loan.deadline)
    for one in (holder, session):
        if one is not None:
            deadline = min(deadline, one.deadline)
    details = token.details._replace(borrower=loan.details.borrower, loans=None)
    return token.replace(details=details, deadline=deadline)


def borrowed(loan: Token, holder: Session | None, now: int, lent: TokenResult) -> Token | None:
    """Return the token that a loan opens, as its borrower sees it and not beyond its end; ``None`` if it is over.

    Args:
        loan: judged alive with its own session.
        holder: that session, the borrower's.
        now: when the token was read, which was after the loan: what is out then was so when the loan was read.
        lent: the token that it names.
    """
    stored, session, entry = lent.followed()
    token = None if stored is None else stored.as_of(now, session, entry)
    if token is None or not _is_out(token, loan):
        return None
    return _seen(loan, holder, token, session)
