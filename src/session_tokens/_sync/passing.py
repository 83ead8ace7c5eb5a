# Generated from _async/passing.py by tools/generate_sync.py; change that file and run it again.
"""The commands by which tokens are passed on, offered, lent, used up and put back, for threads."""

from __future__ import annotations

import time
from random import shuffle

from .. import validation as inputs
from ..contract.queries import Get, Scan
from ..crypto.minting import new_id
from ..crypto.secret_form import TOKEN_ID, TOKEN_SECRET
from ..errors import InvalidInput, StoreBusy
from ..records import Issued, Session, Token
from ..rules import loans, offers, pool, uses
from ..rules.idempotency import counted_whole, earlier_outcome, further
from ..rules.listing import tokens_listed, what_follows
from ..rules.lookup import Key
from ..rules.tokens import hand_over as hand_over_some
from ..settings import (
    ATTEMPTS_MAX,
    HANDED_AT_ONCE,
    RECORDS_LIMIT_MAX,
    WAITING_LOOKED_AT,
    WAITING_READ,
    Duration,
    duration_ms,
)
from ..terms import currency_of, price_of, settlement_of, span_of, uses_of
from .core import CHUNK
from .tokens import SyncTokenCommands

PASSED_BY_S = 5.0
"""For how long a search for the next token may go on where the one before was broken off, in seconds."""
PASSED_BY_MAX = 1_000
"""Searches that were broken off and are remembered."""


class SyncPassingCommands(SyncTokenCommands):
    """Tokens that change hands, for good, for a while or into nobody's."""

    def offer_token(
        self,
        key: str,
        *,
        price: object = None,
        currency: str | None = None,
        gift: bool = False,
        to: str | None = None,
        until: Duration | None = None,
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Token:
        """Advertise a transferable token, or offer it to one owner alone; money never moves here.

        An open offer locks nothing. One to an owner does: until it is over, nobody else can claim the token or get it
        by a transfer, also when its owner's session has ended meanwhile. Then the offer is gone.

        Args:
            price: ``int``, ``Decimal`` or ``str``, ``None`` for none; positive: the receiver pays, negative: the giver.
            currency: its currency or unit, at most 16 characters.
            gift: whether it is marked as a gift.
            to: the owner for whom alone it is.
            until: for how long, in seconds from now; as long as the token may wait unassigned where not given.
            version: offer it only if its version is still this one.

        Raises:
            UnknownToken: no living token answers to ``key``.
            NotTransferable: it is free or session-bound.
            Conflict: ``version`` is not its version any more.
            InvalidInput: ``until`` without ``to``, a price that can never be right, or a currency without one.
        """
        named = self._token_key(key)
        if until is not None and to is None:
            raise InvalidInput("until says for how long a token is one owner's alone; give to= as well")
        amount = price_of(price)
        terms = offers.Terms(
            amount,
            currency_of(currency, amount),
            inputs.flag_of("gift", gift),
            None if to is None else inputs.receiver_of("to", to),
            span_of(until),
        )
        expected = inputs.version_of("version", version)
        request = (key, *terms, expected)
        return self._do("offer_token", idempotency_key, request, offers.offer_token, named, terms, expected)

    def withdraw_token(self, key: str, *, version: int | None = None, idempotency_key: str | None = None) -> Token:
        """Take a token's listing, price, gift mark and reservation away; without any, nothing changes.

        Raises:
            UnknownToken, NotTransferable, Conflict: as ``offer_token``.
        """
        named, expected = self._token_key(key), inputs.version_of("version", version)
        return self._do("withdraw_token", idempotency_key, (key, expected), offers.withdraw_token, named, expected)

    def accept_offer(
        self,
        key: str,
        *,
        receiver: str,
        price: object = None,
        currency: str | None = None,
        settlement: str | None = None,
        idempotency_key: str | None = None,
    ) -> Issued:
        """Take a token that is offered, for what was seen, and return it with its new secret; the giver's is dead.

        Of any number who accept at once, one gets it. It is a transfer, whose event tells price, currency and
        settlement.

        Args:
            receiver: holds it in their newest living session, or parked until their next.
            price: as it was seen; ``None``: none was.
            currency: of that price.
            settlement: your reference to how it was paid, up to 255 bytes; it is only kept.

        Raises:
            UnknownToken: no living token answers to ``key``.
            NotTransferable: it is free or session-bound.
            Conflict: it is not offered, or to another owner alone, or for another price or currency.
            OwnerDisabled: the receiver is disabled.
        """
        named = self._token_key(key)
        amount = price_of(price)
        acceptance = offers.Acceptance(
            inputs.receiver_of("receiver", receiver),
            amount,
            currency_of(currency, amount),
            settlement_of(settlement),
        )
        return self._issue(
            "accept_offer",
            idempotency_key,
            (key, *acceptance),
            TOKEN_SECRET,
            offers.accept_offer,
            lambda lookup: (named, acceptance, lookup),
            self.store.partitioning.of_key(named),
        )

    def release_token(self, key: str, *, owner: str, idempotency_key: str | None = None) -> Token:
        """Put a token back among the unassigned ones, where it queues anew; its secret, offers and loans end.

        Args:
            owner: its present owner.

        Raises:
            UnknownToken: no living token answers to ``key``.
            NotTransferable: it is free or session-bound.
            NotOwner: it is not that owner's, or unassigned already.
        """
        named, owner = self._token_key(key), inputs.owner_of("owner", owner)
        return self._do("release_token", idempotency_key, (key, owner), pool.release_token, named, owner)

    def claim_next_token(
        self, *, session_key: str, tag: str | None = None, idempotency_key: str | None = None
    ) -> Issued | None:
        """Take the token that has been unassigned for longest into a living session; ``None``: none waits.

        That is no outcome to be kept: with the same ``idempotency_key`` it looks again.

        Each is claimed once. Where n claim at the same time, each gets one of the 8n that have waited longest. Those of
        a session that is over wait from its end on, and are found when the sweeper has been there.

        Args:
            session_key: id or secret of the session that will hold it.
            tag: only those that were issued with it; ``None``: any.

        Raises:
            UnknownSession, SessionEnded: no living session answers to ``session_key``.
            StoreBusy: others were faster, each time; or the 1,000 that have waited for longest are all offered to
                somebody else alone: the next call goes on behind them.
        """
        holder, wanted = self._session_key(session_key), inputs.tag_of(tag)
        for attempt in range(1, ATTEMPTS_MAX + 1):
            ids = self._waiting_for(holder, wanted, WAITING_READ * attempt)
            rest = ids[1:]
            shuffle(rest)  # who is not the first takes any, so that all do not try the same one
            ids[1:] = rest
            try:
                return self._issue(
                    "claim_next_token",
                    idempotency_key,
                    (session_key, wanted),
                    TOKEN_SECRET,
                    pool.claim_first,
                    lambda lookup, ids=tuple(ids): (holder, ids, lookup),  # type: ignore[misc]
                    self.store.partitioning.of_key(ids[0] if ids else holder),
                )
            except pool.NothingWaits:
                if not ids:
                    return None
        raise StoreBusy("others claimed every token first, each time; try again")

    def _waiting_for(self, holder: Key, tag: str | None, wanted: int) -> list[str]:
        """Return the ids of at most so many tokens that the owner of a session may claim, longest unassigned first.

        Raises:
            StoreBusy: none was found among so many that it is broken off; the next search goes on there.
        """
        whose = (
            Get("session", holder) if isinstance(holder, str) else Get("session_lookup", holder[0], tuple(holder[1:]))
        )
        ids: list[str] = []
        after, until_s = self._passed_by.pop((holder, tag), (None, 0.0))
        began = Scan("waiting", after if time.monotonic() < until_s else None, wanted, tag=tag)
        rest: Scan | None = began
        looked_at = 0
        while rest is not None and len(ids) < wanted:
            if looked_at >= WAITING_LOOKED_AT and rest.after != began.after:
                if ids:
                    break
                assert rest.after is not None, "some were looked at"
                self._pass_by(holder, tag, rest.after)
                raise StoreBusy("those that have waited for longest are all offered to others alone; try again")
            now, (named, found) = self.store.read_now([whose, rest])
            session: Session | None = named.value[0]
            if session is not None and session.former_of is not None:
                whose = Get("session", session.former_of)
                continue
            if session is None:
                return []
            ids += pool.claimable([waiting.token for waiting in found.value], session.owner, now)
            if found.value and not pool.waits_by(found.value[-1].token, now):
                break
            looked_at += rest.limit
            rest = what_follows(rest, found)
            rest = rest and rest._replace(limit=max(rest.limit, CHUNK))
        return ids[:wanted]

    def _pass_by(self, holder: Key, tag: str | None, after: tuple[int, str]) -> None:
        """Have the next search go on where this one is broken off."""
        if len(self._passed_by) >= PASSED_BY_MAX:
            self._passed_by.clear()
        self._passed_by[holder, tag] = after, time.monotonic() + PASSED_BY_S

    def lend_token(
        self, key: str, *, borrower: str, until: Duration | None = None, idempotency_key: str | None = None
    ) -> Issued:
        """Let a borrower use a token under a secret of their own, and return it as they see it, with that secret.

        With it they can be verified and use the token up, and nothing else: not pass it on, change or end it. The
        token's ``owner`` stays the lender. The loan ends by itself with ``until``, the borrower's newest session as it
        is now, the session that holds the token, and the token; and when that changes hands. A token has at most 16
        living loans.

        Args:
            borrower: any owner, such as an agent that acts for the lender.
            until: for how long, in seconds from now; needed where the borrower has no session.

        Raises:
            UnknownToken: no living token answers to ``key``.
            NotOwner: nobody owns it: it is free or unassigned.
            Conflict: the borrower has no session, and ``until`` is not given.
            LimitReached: it has 16 living loans.
            OwnerDisabled: the borrower is disabled.
        """
        named = self._token_key(key)
        place = self.store.partitioning.of_key(named)
        lending = loans.Lending(
            new_id(TOKEN_ID, place), None, inputs.receiver_of("borrower", borrower), duration_ms("until", until)
        )
        return self._issue(
            "lend_token",
            idempotency_key,
            (key, lending.borrower, lending.until_ms),
            TOKEN_SECRET,
            loans.lend_token,
            lambda lookup: (named, lending.looked_up_by(lookup)),
            place,
        )

    def recall_token(self, key: str, *, borrower: str | None = None, idempotency_key: str | None = None) -> Token:
        """End the loans of a token at once; without any that lives, nothing changes.

        Args:
            borrower: only those to this owner; ``None``: all.

        Raises:
            UnknownToken: no living token answers to ``key``; the secret of a loan is none.
        """
        named, whose = self._token_key(key), None if borrower is None else inputs.owner_of("borrower", borrower)
        return self._do("recall_token", idempotency_key, (key, whose), loans.recall_token, named, whose)

    def consume_token(self, key: str, *, amount: int = 1, idempotency_key: str | None = None) -> Token:
        """Use a counted token up by so much, and return it; at none left it ends. Exact, however many do it at once.

        Args:
            key: its id or secret, or the secret of a loan of it.
            amount: how many uses, all of them or none.

        Raises:
            UnknownToken: no living token answers to ``key``.
            LimitReached: fewer uses are left; or none, since less than an hour.
            InvalidInput: its uses are not counted.
        """
        named = self._token_key(key)
        counted = uses_of("amount", amount)
        if counted is None:
            raise TypeError("amount is an int, not NoneType")
        return self._do("consume_token", idempotency_key, (key, counted), uses.consume_token, named, counted)

    def hand_over(
        self, owner: str, *, receiver: str, limit: int | None = None, idempotency_key: str | None = None
    ) -> int:
        """Hand all transferable tokens of a leaving owner to another; return how many this call handed over.

        It goes on in batches, each in one step: call it again after an error, or with a ``limit`` until it answers 0,
        and it goes on where it was. Every secret of the owner is dead; the receiver gets new ones with
        ``reissue_token``. What is offered to somebody else alone stays.

        Args:
            owner: who leaves.
            receiver: holds them in their newest living session, or parked until their next.
            limit: at most so many in this call.

        Raises:
            OwnerDisabled: the receiver is disabled.
            InvalidInput: owner and receiver are the same.
        """
        leaving, to = inputs.owner_of("owner", owner), inputs.receiver_of("receiver", receiver)
        if leaving == to:
            raise InvalidInput("owner and receiver are the same; name another receiver")
        most = None if limit is None else inputs.limit_of(limit, RECORDS_LIMIT_MAX)
        request = (leaving, to, most)
        ticket, handed = None, 0
        if idempotency_key is not None:
            ticket = self._ticket("hand_over", inputs.idempotency_key_of(idempotency_key), request)
            known = self._run(earlier_outcome, ticket)
            if isinstance(known, int):
                return known
            handed = known[0] if known else 0

        def hand(ids: list[str]) -> int:
            if ticket is None:
                return handed + self._run(hand_over_some, leaving, to, ids)
            return self._run(further, ticket, hand_over_some, (leaving, to, ids))

        handed = hand([])  # refuses a receiver that can get nothing
        listing: Scan | None = Scan("tokens", None, HANDED_AT_ONCE, owner=leaving, transferable=True)
        while listing is not None and (most is None or handed < most):
            now, found = self.store.read_now([listing])
            listed = tokens_listed(listing, found[0].value, now)
            ids = [token.id for token in listed if token.reserved_for in (None, to)]
            while ids and (most is None or handed < most):  # those of a batch may have gone elsewhere meanwhile
                batch = ids if most is None else ids[: most - handed]
                handed = hand(batch)
                ids = ids[len(batch) :]
            listing = what_follows(listing, found[0])
        return handed if ticket is None else self._run(counted_whole, ticket)
