"""The state machine's commands on tokens: issued, handed on, offered, lent, used up, waiting in the pool."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.choices import (
    drawn,
    holders,
    loan_times,
    owners,
    prices,
    some,
    spans,
    tags,
    token_keys,
    token_timeouts,
    uses,
    values,
    when_sessions_live,
    when_tokens_are_counted,
    when_tokens_are_offered,
    when_tokens_are_owned,
    when_tokens_are_unassigned,
    when_tokens_live,
)
from tests.model.machine_core import MachineCore
from tests.model.naive import Record


class TokenRules(MachineCore):
    """Commands on tokens."""

    # Commands on tokens.

    @rule(
        key=st.one_of(holders, holders, st.none()), value=values, transferable=st.booleans(),
        options=some(timeout=token_timeouts, disownment_timeout=token_timeouts, uses=uses, tag=tags),
    )  # fmt: skip
    def issue_token(self, key: str | None, value: Any, transferable: bool, options: Record) -> None:
        self.give("issue_token", key, value, transferable=transferable, **options)

    @precondition(when_sessions_live)
    @rule(key=holders, options=some(timeout=token_timeouts, disownment_timeout=token_timeouts, uses=uses, tag=tags))
    def issue_transferable_token(self, key: str, options: Record) -> None:
        self.give("issue_token", key, "hot potato", transferable=True, **options)

    @precondition(when_tokens_live)
    @rule(key=token_keys, giver=st.one_of(st.none(), owners), receiver=owners, honest=st.sampled_from([1, 1, 1, 0]))
    def transfer_token(self, key: str, giver: str | None, receiver: str, honest: int) -> None:
        token = next((token for token in self.model.living_tokens() if key in (token.id, token.secret)), None)
        if honest and token is not None:
            giver = token.owner or token.previous_owner
        self.give("transfer_token", key, giver=giver, receiver=receiver)

    @precondition(when_tokens_live)
    @rule(key=token_keys, session_key=holders)
    def claim_token(self, key: str, session_key: str) -> None:
        self.give("claim_token", key, session_key=session_key)

    @precondition(when_tokens_are_unassigned)
    @rule(key=drawn("unassigned_keys_now"), session_key=holders, receiver=owners, by_transfer=st.booleans())
    def take_unassigned_token(self, key: str, session_key: str, receiver: str, by_transfer: bool) -> None:
        if by_transfer:
            self.give("transfer_token", key, giver=None, receiver=receiver)
        else:
            self.give("claim_token", key, session_key=session_key)

    @precondition(when_tokens_live)
    @rule(key=token_keys, owner=owners, honest=st.booleans())
    def reissue_token(self, key: str, owner: str, honest: bool) -> None:
        token = next((token for token in self.model.living_tokens() if key in (token.id, token.secret)), None)
        self.give("reissue_token", key, owner=token.owner if honest and token and token.owner else owner)

    @precondition(when_tokens_live)
    @rule(
        key=st.one_of(token_keys, drawn("transferable_keys_now")), price=prices, gift=st.booleans(),
        currency=st.sampled_from([None, "EUR"]), options=some(to=st.one_of(st.none(), owners), until=spans),
    )  # fmt: skip
    def offer_token(self, key: str, price: Decimal | None, currency: str | None, gift: bool, options: Record) -> None:
        self.give("offer_token", key, price=price, currency=currency, gift=gift, **options)

    @precondition(when_tokens_are_offered)
    @rule(key=drawn("offered_keys_now"), receiver=owners, stale=st.sampled_from([False, False, True]))
    def accept_offer(self, key: str, receiver: str, stale: bool) -> None:
        token = self.model.tokens[key]
        price = Decimal(7) if stale else token.price
        self.give("accept_offer", key, receiver=token.reserved_for or receiver, price=price, currency=token.currency)
        self.give("accept_offer", key, receiver=receiver, price=price, currency=token.currency)

    @precondition(when_tokens_live)
    @rule(key=st.one_of(token_keys, drawn("transferable_keys_now")), owner=owners, honest=st.sampled_from([1, 1, 0]))
    def release_token(self, key: str, owner: str, honest: int) -> None:
        token = next((token for token in self.model.living_tokens() if key in (token.id, token.secret)), None)
        self.give("release_token", key, owner=token.owner if honest and token and token.owner else owner)

    @precondition(when_sessions_live)
    @rule(key=holders, tag=tags)
    def claim_next_token(self, key: str, tag: str | None) -> None:
        """All that wait are found once it was swept; of those since one instant, any may be the next."""
        session = next((s for s in self.model.living_sessions() if key in (s.id, s.secret)), None)
        waiting = [] if session is None else self.model.waiting(session.owner, tag)
        if len(waiting) > 1 and waiting[0].unassigned_at == waiting[1].unassigned_at:
            return
        self.sweep_everything(1000)
        self.give("claim_next_token", session_key=key, tag=tag)

    @rule(owner=owners, receiver=owners)
    def hand_over(self, owner: str, receiver: str) -> None:
        if owner != receiver:
            self.give("hand_over", owner, receiver=receiver)

    @precondition(when_tokens_are_owned)
    @rule(
        key=st.one_of(token_keys, drawn("owned_keys_now")), borrower=owners, options=some(until=spans), times=loan_times
    )
    def lend_token(self, key: str, borrower: str, options: Record, times: int) -> None:
        for _ in range(times):
            self.give("lend_token", key, borrower=borrower, **options)

    @precondition(when_tokens_are_owned)
    @rule(key=st.one_of(token_keys, drawn("owned_keys_now")))
    def recall_token(self, key: str) -> None:
        self.give("recall_token", key)

    @precondition(when_tokens_are_counted)
    @rule(key=st.one_of(drawn("counted_keys_now"), drawn("counted_keys_now"), token_keys), amount=uses)
    def consume_token(self, key: str, amount: int) -> None:
        self.give("consume_token", key, amount=amount)

    @precondition(when_tokens_live)
    @rule(key=token_keys, command=st.sampled_from(["withdraw_token", "destroy_token"]))
    def use_token(self, key: str, command: str) -> None:
        self.give(command, key)

    @precondition(when_tokens_live)
    @rule(key=token_keys, changes=some(timeout=token_timeouts, disownment_timeout=token_timeouts, value=st.just("new")))
    def change_token(self, key: str, changes: Record) -> None:
        if changes:
            self.give("change_token", key, **changes)
