"""Checks of ``Changes.not_after``: what rests on something that is over by then is judged again; ends may be late."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ...clock import NEVER
from ...contract.queries import Get
from ...contract.transaction import Transaction
from ...errors import SessionEnded, SessionTokensError, UnknownKey, UnknownSession, UnknownToken
from ...records import TRANSFERABLE, Issued, ServiceKey, Session, Token
from ...records.session import Reason
from ...records.traits import session_traits, token_traits
from ...rules import offers, owners, sessions, tokens
from ...rules.service_keys import create_service_key, rotate_service_key
from ...rules.sessions import Opening, SessionChange
from ...rules.tokens import Issue, TokenChange
from ...settings import Policy, Settings
from ..harness import StoreBench, check

DEAD = (SessionEnded, UnknownKey, UnknownSession, UnknownToken)


class LateChecks(StoreBench):
    """A commit that comes after the deadline of what its rule judged alive."""

    runs: int
    number = 0

    async def late(self, rule: Callable[..., Any], *args: object) -> Any:
        """Run a rule whose first judgement is ``moment_s`` old when it comes to its commit; count its runs."""
        self.runs = 0

        def run_late(tx: Transaction) -> Any:
            answer = rule(tx, *args)
            self.runs += 1
            if self.runs == 1:
                if self.clock_is_manual:
                    self.clock.advance(self.moment_s + 0.001)
                else:
                    time.sleep(self.moment_s + 0.1)
            return answer

        return await self.store.run(run_late)

    async def is_judged_again(self, rule: Callable[..., Any], *args: object) -> None:
        """See that a rule which comes too late finds dead what it had found alive."""
        try:
            answer = await self.late(rule, *args)
        except DEAD:
            return
        assert answer is None, f"{rule.__name__} was written after the end of what it had judged alive"

    async def brief(self, **changed: Any) -> Issued:
        """Open a session that ends by itself after ``moment_s`` without use."""
        return await self.tokens.open_session("ann", idle_timeout=self.moment_s * 16 / 17, max_age=None, **changed)

    def lookup(self) -> str:
        """Return a look-up key that nothing has."""
        self.number += 1
        return self.store.keyring.lookup(f"a secret that nobody has {self.number}")

    async def has_stayed(self, session: Session) -> None:
        """See that the record of a session is as it was."""
        found = await self.ask(Get("session", session.id))
        assert found.session == session
        assert await self.tokens.get_session(session.id) is None

    @check
    async def test_a_touch_that_comes_late_brings_nobody_back(self) -> None:
        issued = await self.brief()
        await self.is_judged_again(sessions.touch_session, issued.id, self.lookup())
        await self.has_stayed(issued.session)

    @check
    async def test_a_change_of_a_session_that_comes_late_brings_nobody_back(self) -> None:
        for rule, args in (
            (sessions.change_session, (SessionChange(idle_timeout_ms=None),)),
            (sessions.update_session_data, ({"a": "1"}, None, 100)),
            (sessions.rotate_session, (self.lookup(), True)),
            (sessions.detach_session, ()),
        ):
            issued = await self.brief(detachable=True)
            await self.is_judged_again(rule, issued.id, *args)
            await self.has_stayed(issued.session)
        detached = await self.tokens.open_session("ann", detachable=True, detached_timeout=self.moment_s)
        session = await self.tokens.detach_session(detached.id)
        await self.is_judged_again(sessions.attach_session, detached.id, self.lookup())
        await self.has_stayed(session)

    @check
    async def test_a_token_is_not_issued_under_a_session_that_is_over(self) -> None:
        issued = await self.brief()
        issue = Issue("tok_" + "0" * 24, self.lookup(), "", token_traits(TRANSFERABLE, False, None, None, None))
        await self.is_judged_again(tokens.issue_token, Policy(Settings()), issued.id, issue)
        assert (await self.ask(Get("token", issue.id))).token is None

    @check
    async def test_a_change_of_a_token_that_comes_late_brings_nothing_back(self) -> None:
        holder = await self.tokens.open_session("ann", max_age=None)
        for rule, args in (
            (tokens.transfer_token, ("ann", "bob", self.lookup(), None)),
            (tokens.reissue_token, ("ann", self.lookup())),
            (offers.offer_token, (offers.Terms(None, None, False), None)),
            (tokens.change_token, (TokenChange(timeout_ms=None),)),
        ):
            brief = await self.tokens.issue_token(holder.id, transferable=True, timeout=self.moment_s)
            await self.is_judged_again(rule, brief.id, *args)
            assert (await self.ask(Get("token", brief.id))).token == brief.token
            assert await self.tokens.verify_token(brief.secret) is None

    @check
    async def test_a_token_is_judged_with_its_session_at_the_commit(self) -> None:
        for transferable in (False, True):
            brief = await self.brief()
            token = await self.tokens.issue_token(brief.id, transferable=transferable)

            def reissue(tx: Transaction, id: str = token.id, lookup: str = self.lookup()) -> Token | None:
                try:
                    return tokens.reissue_token(tx, id, "ann", lookup)
                except SessionTokensError:  # dead with its session, or nobody's by now
                    return None

            await self.is_judged_again(reissue)
            assert (await self.ask(Get("token", token.id))).token.lookup == token.token.lookup

    @check
    async def test_a_claim_that_comes_late_is_judged_again(self) -> None:
        giver = await self.tokens.open_session("gus")
        claimer = await self.tokens.open_session("bob")
        token = await self.tokens.issue_token(giver.id, transferable=True, disownment_timeout=self.moment_s)
        await self.tokens.destroy_session(giver.id)
        await self.is_judged_again(tokens.claim_token, token.id, claimer.id, self.lookup())
        assert await self.tokens.get_token(token.id) is None

        giver = await self.tokens.open_session("gus")
        waiting = await self.tokens.issue_token(giver.id, transferable=True, disownment_timeout=None)
        await self.tokens.destroy_session(giver.id)
        brief = await self.brief()
        await self.is_judged_again(tokens.claim_token, waiting.id, brief.id, self.lookup())
        left = await self.tokens.get_token(waiting.id)
        assert left is not None
        assert left.is_unassigned

    @check
    async def test_what_is_only_read_counts_a_receiver_whose_session_ended_meanwhile(self) -> None:
        holder = await self.tokens.open_session("gus")
        brief = await self.brief()
        token = await self.tokens.issue_token(holder.id, transferable=True)
        held = await self.late(tokens.transfer_token, token.id, "gus", "ann", self.lookup(), None)

        assert self.runs == 2
        assert (held.owner, held.session_id) == ("ann", None), f"parked, for {brief.id} is over"
        assert (await self.ask(Get("token", token.id))).token == held

    @check
    async def test_a_session_that_ended_meanwhile_is_not_replaced(self) -> None:
        brief = await self.brief()
        token = await self.tokens.issue_token(brief.id, transferable=True)
        opening = Opening("ses_" + "0" * 24, self.lookup(), "ann", session_traits(None, None, None, False, None))
        policy = Policy(Settings(max_sessions=1))
        await self.late(sessions.open_session, policy, opening, self.store.clock)

        assert self.runs == 2
        assert (await self.ask(Get("session", brief.id))).session == brief.session
        left = await self.tokens.get_token(token.id)
        assert left is not None
        assert left.is_unassigned

    @check
    async def test_a_rotation_that_comes_late_makes_no_key_out_of_a_dead_one(self) -> None:
        key = ServiceKey("key_old", self.lookup(), "verify", 0, None, None)
        await self.store.run(create_service_key, key, int(self.moment_s * 1000))
        old = await self.ask(Get("key", "key_old"))
        await self.is_judged_again(rotate_service_key, "key_new", self.lookup(), "key_old", 60_000, None)
        assert await self.ask(Get("key", "key_new")) is None
        assert await self.ask(Get("key", "key_old")) == old

    @check
    async def test_ends_may_come_late(self) -> None:
        for rule, args, reason in (
            (sessions.destroy_session, ("logout", None), "logout"),
            (lambda tx, id: owners.destroy_sessions(tx, "ann", None, "revoked", 100), (), "revoked"),
        ):
            brief = await self.brief()
            assert await self.late(rule, brief.id, *args)
            assert self.runs == 1
            wanted: Reason = reason  # type: ignore[assignment]  # both are
            assert (await self.ask(Get("session", brief.id))).session.end_reason == wanted
        holder = await self.tokens.open_session("bob")
        token = await self.tokens.issue_token(holder.id, timeout=self.moment_s)
        assert await self.late(tokens.destroy_token, token.id, None)
        assert self.runs == 1

    @check
    async def test_a_rule_that_judges_nothing_alive_may_come_late(self) -> None:
        def write(tx: Transaction) -> int:
            tx.put_setting("name", "text")
            return tx.changes.not_after

        assert await self.late(write) == NEVER
        assert self.runs == 1
