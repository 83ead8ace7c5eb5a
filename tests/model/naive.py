"""The naive model's tokens: issued, handed on, offered, lent, used up; see `naive_sessions` for what it is."""

from __future__ import annotations

from types import SimpleNamespace as Thing
from typing import Any

from tests.model.naive_sessions import (
    LOANS_MAX,
    NOT_OFFERED,
    RETENTION_MS,
    SESSION_FIELDS,
    TOKEN_FIELDS,
    NaiveSessions,
    Record,
    Refusal,
    every,
    refuse,
)

__all__ = ["SESSION_FIELDS", "TOKEN_FIELDS", "NaiveTokens", "Record", "Refusal"]


class NaiveTokens(NaiveSessions):
    """All sessions and tokens of one store, and the events that are owed for their changes."""

    def issue_token(
        self, session_key: str | None, value: Any = None, *, transferable: bool = False, **options: Any
    ) -> Record:
        """Options: `timeout`, `disownment_timeout`, `uses`, `tag`."""
        fits = transferable or "disownment_timeout" not in options
        _, session = every(
            lambda: fits or refuse("InvalidInput"),
            lambda: self.session_of(session_key) if session_key is not None else Thing(id=None, owner=None),
        )
        pooled = transferable and session_key is None
        general = {
            "timeout": self.settings["token_timeout"], "tag": None, "uses_left": options.pop("uses", None),
            "disownment_timeout": None if pooled else self.settings["disownment_timeout"],
        }  # fmt: skip
        token = Thing(
            id=f"t{len(self.tokens) + 1}", owner=session.owner, session_id=session.id, value=value, epoch=0, secrets=0,
            kind="transferable" if transferable else "free" if session.id is None else "session-bound",
            created_at=self.now, timeout_since=self.now, unassigned_at=self.now if pooled else None,
            previous_owner=None, dead=False, used_at=None, borrower=None, loans=[], lent=0, secret=None,
            **NOT_OFFERED | general | options,
        )  # fmt: skip
        self.tokens[token.id] = token
        self.say("token_issued", token.id)
        return self.token_record(token) | {"secret": None} if pooled else self.with_new_secret(token)

    def verify_token(self, secret: str) -> Record | None:
        authentic = (t for t in self.living_tokens() if None is not t.secret == secret and t.unassigned_at is None)
        lent = [self.token_record(token, loan) for token, loan in self.living_loans() if loan.secret == secret]
        return next((self.token_record(token) for token in authentic), next(iter(lent), None))

    def in_hands_of(self, token: Thing, owner: str, session: Thing | None) -> Record:
        token.owner, token.session_id, token.unassigned_at = owner, session and session.id, None
        token.epoch += 1
        vars(token).update(NOT_OFFERED)
        return self.with_new_secret(token)

    def reserved_for_others(self, token: Thing, owner: str) -> bool:
        return token.reserved_for not in (None, owner)

    def transfer_token(self, key: str, *, giver: str | None, receiver: str) -> Record:
        token = self.transferable(key)
        if giver not in ([token.owner] if token.unassigned_at is None else [None, token.previous_owner]):
            raise Refusal("NotOwner")
        if self.reserved_for_others(token, receiver):
            raise Refusal("Conflict")
        return self.received(token, receiver)

    def newest(self, owner: str) -> Thing | None:
        return max(self.living_sessions(owner), key=lambda session: session.created_at, default=None)

    def received(self, token: Thing, receiver: str) -> Record:
        if receiver in self.disabled:
            raise Refusal("OwnerDisabled")
        self.say("token_transferred", token.id)
        return self.in_hands_of(token, receiver, self.newest(receiver))

    def claim_token(self, key: str, *, session_key: str) -> Record:
        token, session = every(lambda: self.transferable(key), lambda: self.session_of(session_key))
        if token.unassigned_at is None or self.reserved_for_others(token, session.owner):
            raise Refusal("Conflict")
        self.say("token_claimed", token.id)
        return self.in_hands_of(token, session.owner, session)

    def waiting(self, owner: str, tag: str | None) -> list[Thing]:
        """What an owner may claim, longest unassigned first."""
        waiting = [t for t in self.living_tokens() if t.unassigned_at is not None and tag in (None, t.tag)]
        waiting = [token for token in waiting if not self.reserved_for_others(token, owner)]
        return sorted(waiting, key=lambda token: token.unassigned_at)

    def claim_next_token(self, *, session_key: str, tag: str | None = None) -> Record | None:
        session = self.session_of(session_key)
        waiting = self.waiting(session.owner, tag)
        return self.claim_token(waiting[0].id, session_key=session.id) if waiting else None

    def release_token(self, key: str, *, owner: str) -> Record:
        token = self.transferable(key)
        if token.owner != owner:
            raise Refusal("NotOwner")
        self.put_back(token)
        return self.token_record(token)

    def hand_over(self, owner: str, *, receiver: str) -> int:
        """All that an owner can hand on; nobody learns the new secrets, the receiver asks for them."""
        if receiver in self.disabled:
            raise Refusal("OwnerDisabled")
        owned = [t for t in self.living_tokens() if t.kind == "transferable" and t.owner == owner]
        owned = [token for token in owned if not self.reserved_for_others(token, receiver)]
        for token in owned:
            self.received(token, receiver)
            token.secret = None
        return len(owned)

    def reissue_token(self, key: str, *, owner: str) -> Record:
        token = self.token_of(key)
        if token.owner != owner:
            raise Refusal("NotOwner")
        self.say("token_reissued", token.id)
        return self.with_new_secret(token)

    def offer_token(self, key: str, *, to: str | None = None, until: int | None = None, **terms: Any) -> Record:
        """Terms: `price`, `currency`, `gift`. `until`: for how long it is theirs alone, else as long as it may wait."""
        token, *_ = every(
            lambda: self.transferable(key), lambda: to or until is None or refuse("InvalidInput"),
            lambda: terms.get("price") is not None or terms.get("currency") is None or refuse("InvalidInput"),
        )  # fmt: skip
        self.reserve(token, to, token.disownment_timeout if until is None else until)
        vars(token).update({"price": None, "currency": None, "gift": False} | terms, listed=True)
        self.say("token_offered", token.id)
        return self.token_record(token)

    def withdraw_token(self, key: str) -> Record:
        token = self.transferable(key)
        self.withdraw(token)
        return self.token_record(token)

    def accept_offer(self, key: str, *, receiver: str, price: Any = None, currency: str | None = None) -> Record:
        token, _ = every(
            lambda: self.transferable(key), lambda: price is not None or currency is None or refuse("InvalidInput")
        )
        if not token.listed or self.reserved_for_others(token, receiver) or (price, currency) != (
            token.price, token.currency
        ):  # fmt: skip
            raise Refusal("Conflict")
        return self.received(token, receiver)

    # Loans: the token under a second secret, for as long as it stays where it was when it was lent.

    def living_loans(self) -> list[tuple[Thing, Thing]]:
        return [(t, loan) for t in self.living_tokens() for loan in t.loans if self.loan_lives(t, loan)]

    def loan_lives(self, token: Thing, loan: Thing) -> bool:
        stays = token.epoch == loan.epoch and token.unassigned_at is None
        used = loan.session_id is None or self.sessions[loan.session_id].ended_at is None
        return stays and used and (loan.until is None or self.now < loan.until)

    def lend_token(self, key: str, *, borrower: str, until: int | None = None) -> Record:
        token = self.token_of(key)
        if token.owner is None:
            raise Refusal("NotOwner")
        if borrower in self.disabled:
            raise Refusal("OwnerDisabled")
        session = self.newest(borrower)
        if session is None and until is None:
            raise Refusal("Conflict")
        if sum(self.loan_lives(token, loan) for loan in token.loans) >= LOANS_MAX:
            raise Refusal("LimitReached")
        token.lent += 1
        loan = Thing(
            secret=f"{token.id}#lent {token.lent}", borrower=borrower, session_id=session and session.id,
            epoch=token.epoch, until=None if until is None else self.now + until,
        )  # fmt: skip
        token.loans.append(loan)
        self.say("token_lent", token.id)
        return self.token_record(token, loan) | {"secret": loan.secret}

    def recall_token(self, key: str) -> Record:
        token = self.token_of(key)
        if any(self.loan_lives(token, loan) for loan in token.loans):
            self.say("token_recalled", token.id)
        token.loans = []
        return self.token_record(token)

    # Uses: at none left the token ends, and is known as used up for a while.

    def consume_token(self, key: str, *, amount: int = 1) -> Record:
        for token in self.tokens.values():
            known = token.used_at is not None and self.now < token.used_at + RETENTION_MS
            if known and key in (token.id, token.secret):
                raise Refusal("LimitReached")
        lent = next(((token, loan) for token, loan in self.living_loans() if loan.secret == key), None)
        token, loan = lent or (self.token_of(key), None)
        if token.uses_left is None:
            raise Refusal("InvalidInput")
        if amount > token.uses_left:
            raise Refusal("LimitReached")
        token.uses_left -= amount
        record = self.token_record(token, loan)
        token.dead, token.used_at = token.uses_left == 0, self.now if token.uses_left == 0 else None
        self.say("token_ended" if token.dead else "token_consumed", token.id)
        return record

    def change_token(self, key: str, **changes: Any) -> Record:
        token = self.token_of(key)
        if "disownment_timeout" in changes and token.kind != "transferable":
            raise Refusal("InvalidInput")
        vars(token).update(changes)
        if "timeout" in changes:
            token.timeout_since = self.now  # setting restarts the clock
        self.say("token_changed", token.id)
        return self.token_record(token)

    def destroy_token(self, key: str) -> bool:
        for token, loan in self.living_loans():
            if loan.secret == key:  # who borrows gives it back, and ends nothing else
                token.loans.remove(loan)
                self.say("token_recalled", token.id)
                return True
        try:
            token = self.token_of(key)
        except Refusal:
            return False
        token.dead = True
        self.say("token_ended", token.id)
        return True

    # Reading. There is no sweep: it tells of `expired` and changes nothing that can be seen.

    def get_session(self, id: str) -> Record | None:
        return next((self.session_record(session) for session in self.living_sessions() if session.id == id), None)

    def get_token(self, id: str) -> Record | None:
        return next((self.token_record(token) for token in self.living_tokens() if token.id == id), None)

    def list_sessions(self, owner: str | None = None, *, detached: bool | None = None) -> list[Record]:
        records = [self.session_record(session) for session in self.living_sessions(owner)]
        return [record for record in records if detached in (None, record["detached_at"] is not None)]

    def list_tokens(self, **filters: Any) -> list[Record]:
        """Filters: `owner`, `session`, `transferable`, `sellable`, `unassigned`, `tag`."""
        chosen = []
        for token in self.living_tokens():
            facts = {"owner": token.owner, "session": token.session_id, "sellable": token.listed, "tag": token.tag}
            facts |= {"transferable": token.kind == "transferable", "unassigned": token.unassigned_at is not None}
            if all(facts[name] == wanted for name, wanted in filters.items()):
                chosen.append(self.token_record(token))
        return chosen
