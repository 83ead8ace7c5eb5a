"""Checks of tokens that are used up, put back, offered, lent and handed over, each exact under races."""

from __future__ import annotations

from ...contract.queries import Count, Scan
from ...errors import Conflict, InvalidInput, LimitReached, NotOwner, UnknownToken
from ...records import Issued, Token
from ...settings import LOANS_MAX
from ..harness import StoreBench, check, outcomes, refused

CALLERS = 64


class PassingChecks(StoreBench):
    """What few tokens are: counted, in the pool, under an offer, on loan."""

    @check
    async def test_a_counted_token_ends_with_its_last_use_and_says_so_for_a_while(self) -> None:
        token = await self.tokens.issue_token(None, "a link", uses=3)
        used = await self.tokens.consume_token(token.secret, amount=2)
        with refused(LimitReached):
            await self.tokens.consume_token(token.id, amount=2)
        last = await self.tokens.consume_token(token.id)

        assert (used.uses_left, last.uses_left) == (1, 0)
        assert await self.tokens.verify_token(token.secret) is None
        assert await self.tokens.get_token(token.id) is None
        assert await self.tokens.destroy_token(token.id) is False
        for key in (token.id, token.secret):
            with refused(LimitReached):
                await self.tokens.consume_token(key)
        await self.tokens.sweep()
        with refused(LimitReached):
            await self.tokens.consume_token(token.secret)
        with refused(InvalidInput):
            await self.tokens.consume_token((await self.tokens.issue_token(None)).secret)

    @check
    async def test_of_64_uses_at_once_as_many_succeed_as_there_are(self) -> None:
        apis = (self.tokens, await self.another())
        token = await self.tokens.issue_token(None, uses=10)
        used, refusals = await outcomes([apis[number % 2].consume_token(token.secret) for number in range(CALLERS)])

        assert sorted(each.uses_left or 0 for each in used) == list(range(10))
        assert {type(error) for error in refusals} == {LimitReached}

    @check
    async def test_what_was_put_back_queues_anew(self) -> None:
        ann = await self.tokens.open_session("ann")
        jobs = []
        for number in range(3):
            jobs.append(await self.tokens.issue_token(None, number, transferable=True, tag="job"))
            await self.later()
        seat = await self.tokens.issue_token(None, "seat", transferable=True)
        waiting = await self.waiting("job")
        first = await self.tokens.claim_next_token(session_key=ann.id, tag="job")
        assert first is not None
        await self.later()
        await self.tokens.release_token(first.id, owner="ann")
        taken = [await self.tokens.claim_next_token(session_key=ann.secret, tag="job") for _ in range(4)]

        assert [token.id for token in waiting] == [job.id for job in jobs]
        assert jobs[0].secret is None
        assert [each and each.token.value for each in taken] == [1, 2, 0, None]
        assert await self.tokens.verify_token(first.secret) is None
        assert await self.waiting("job") == []
        assert [token.id for token in await self.waiting(None)] == [seat.id]
        with refused(NotOwner):
            await self.tokens.release_token(seat.id, owner="ann")

    async def waiting(self, tag: str | None) -> list[Token]:
        """Return those that are unassigned as written, in the order in which they became so."""
        return [found.token for found in await self.ask(Scan("waiting", None, 10, tag=tag))]

    async def later(self) -> None:
        """Let the store's clock move on, so that what comes next comes later."""
        if self.clock_is_manual:
            self.clock.advance(0.005)
            return
        before = await self.now()
        while await self.now() <= before:
            pass

    @check
    async def test_of_many_claimers_at_once_each_gets_one_of_those_that_wait(self) -> None:
        apis = (self.tokens, await self.another())
        sessions = [await self.tokens.open_session(f"worker {number}") for number in range(24)]
        for number in range(40):
            await self.tokens.issue_token(None, number, transferable=True, tag="job")
        claimed, refusals = await outcomes([
            apis[number % 2].claim_next_token(session_key=session.id, tag="job")
            for number, session in enumerate(sessions)
        ])  # fmt: skip

        assert refusals == []
        assert len({issued.id for issued in claimed if issued is not None}) == 24
        for session in sessions:
            assert len((await self.tokens.list_tokens(session=session.id)).items) == 1

    @check
    async def test_an_offer_to_one_owner_is_theirs_alone_until_it_is_over(self) -> None:
        ann, bob = await self.tokens.open_session("ann"), await self.tokens.open_session("bob")
        token = await self.tokens.issue_token(ann.id, "ticket", transferable=True)
        await self.tokens.offer_token(token.id, price="12.50", currency="EUR", to="cyn", until=3600)
        for turn in ("held", "unassigned"):
            with refused(Conflict):
                await self.tokens.accept_offer(token.id, receiver="bob", price="12.50", currency="EUR")
            with refused(Conflict):
                await self.tokens.transfer_token(token.id, giver="ann", receiver="bob")
            if turn == "held":
                await self.tokens.destroy_session(ann.id)
        with refused(Conflict):
            await self.tokens.claim_token(token.id, session_key=bob.id)
        assert await self.tokens.claim_next_token(session_key=bob.id) is None

        dee = await self.tokens.open_session("dee")
        other = await self.tokens.issue_token(dee.id, "ticket", transferable=True)
        await self.tokens.offer_token(other.id, price="12.50", currency="EUR", to="cyn", until=self.moment_s)
        await self.tokens.destroy_session(dee.id)
        await self.pass_moment()
        over = await self.tokens.get_token(other.id)

        assert over is not None
        assert (over.reserved_for, over.is_sellable, over.is_unassigned) == (None, False, True)
        assert (await self.tokens.claim_token(other.id, session_key=bob.id)).token.owner == "bob"

    @check
    async def test_of_64_who_accept_at_once_one_gets_it_for_what_was_seen(self) -> None:
        apis = (self.tokens, await self.another())
        ann = await self.tokens.open_session("ann")
        token = await self.tokens.issue_token(ann.id, transferable=True)
        await self.tokens.offer_token(token.id, price=5, currency="EUR")
        with refused(Conflict):
            await self.tokens.accept_offer(token.id, receiver="bob", price=4, currency="EUR")
        got, refusals = await outcomes([
            apis[number % 2].accept_offer(token.id, receiver=f"buyer {number}", price="5.00", currency="EUR")
            for number in range(CALLERS)
        ])  # fmt: skip

        assert len(got) == 1
        assert {type(error) for error in refusals} == {Conflict}
        assert await self.tokens.verify_token(token.secret) is None
        assert await self.tokens.verify_token(got[0].secret) == got[0].record

    async def lent(self) -> tuple[Issued, Issued, Issued, Issued]:
        """Return a token, a loan of it, and the sessions of lender and borrower."""
        ann, agent = await self.tokens.open_session("ann"), await self.tokens.open_session("agent")
        token = await self.tokens.issue_token(ann.id, "mailbox", transferable=True, uses=5)
        return token, await self.tokens.lend_token(token.id, borrower="agent"), ann, agent

    @check
    async def test_a_borrower_uses_the_token_and_can_do_nothing_else(self) -> None:
        token, loan, _, _ = await self.lent()
        seen = await self.tokens.verify_token(loan.secret)
        used = await self.tokens.consume_token(loan.secret)

        assert seen is not None
        assert (seen.id, seen.owner, seen.borrower, seen.value) == (token.id, "ann", "agent", "mailbox")
        assert (used.uses_left, used.borrower) == (4, "agent")
        with refused(UnknownToken):
            await self.tokens.transfer_token(loan.secret, giver="ann", receiver="agent")
        with refused(UnknownToken):
            await self.tokens.reissue_token(loan.secret, owner="ann")
        with refused(UnknownToken):
            await self.tokens.change_token(loan.secret, value="x")
        with refused(UnknownToken):
            await self.tokens.lend_token(loan.secret, borrower="another")
        assert [each.id for each in (await self.tokens.list_tokens()).items] == [token.id]
        assert await self.tokens.destroy_token(loan.secret) is True
        assert await self.tokens.verify_token(loan.secret) is None
        assert await self.tokens.verify_token(token.secret) is not None

    @check
    async def test_a_loan_ends_with_whatever_it_rests_on(self) -> None:
        for ending in ("recall", "lender", "borrower", "transfer", "release", "token", "used up"):
            token, loan, ann, agent = await self.lent()
            assert await self.tokens.verify_token(loan.secret) is not None, ending
            if ending == "recall":
                await self.tokens.recall_token(token.id)
            elif ending in ("lender", "borrower"):
                await self.tokens.destroy_session((ann if ending == "lender" else agent).id)
            elif ending == "transfer":
                await self.tokens.transfer_token(token.id, giver="ann", receiver="ann")
            elif ending == "release":
                await self.tokens.release_token(token.id, owner="ann")
            elif ending == "token":
                await self.tokens.destroy_token(token.id)
            else:
                await self.tokens.consume_token(token.id, amount=5)
            assert await self.tokens.verify_token(loan.secret) is None, ending
            assert await self.tokens.destroy_token(loan.secret) is False, ending

    @check
    async def test_a_loan_to_nobody_who_is_there_needs_an_end_and_has_it(self) -> None:
        ann = await self.tokens.open_session("ann")
        token = await self.tokens.issue_token(ann.id, "x")
        with refused(Conflict):
            await self.tokens.lend_token(token.id, borrower="agent")
        loan = await self.tokens.lend_token(token.secret, borrower="agent", until=self.moment_s)
        before = await self.tokens.verify_token(loan.secret)
        await self.pass_moment()

        assert before is not None
        assert before.borrower == "agent"
        assert await self.tokens.verify_token(loan.secret) is None
        assert await self.tokens.verify_token(token.secret) is not None

    @check
    async def test_64_loans_at_once_never_pass_the_cap_and_one_that_is_over_counts_no_more(self) -> None:
        apis = (self.tokens, await self.another())
        token, first, _, agent = await self.lent()
        lent, refusals = await outcomes([
            apis[number % 2].lend_token(token.id, borrower=f"agent {number}", until=600) for number in range(CALLERS)
        ])  # fmt: skip
        assert len(lent) == LOANS_MAX - 1
        assert {type(error) for error in refusals} == {LimitReached}
        await self.tokens.destroy_session(agent.id)

        assert await self.tokens.verify_token(first.secret) is None
        assert (await self.tokens.lend_token(token.id, borrower="one more", until=600)).token.borrower == "one more"
        with refused(LimitReached):
            await self.tokens.lend_token(token.id, borrower="too many", until=600)
        await self.tokens.recall_token(token.id)
        assert [await self.tokens.verify_token(loan.secret) for loan in lent] == [None] * len(lent)

    @check
    async def test_a_loan_that_ended_with_the_holder_s_session_is_not_recalled(self) -> None:
        token, loan, session, _ = await self.lent()
        await self.tokens.destroy_session(session.id)
        unassigned = await self.tokens.get_token(token.id)
        recalled = await self.tokens.recall_token(token.id)

        assert unassigned is not None
        assert (recalled.version, recalled.unassigned_at) == (unassigned.version, unassigned.unassigned_at)
        assert await self.tokens.get_token(token.id) == unassigned
        assert await self.tokens.verify_token(loan.secret) is None

    @check
    async def test_all_that_a_leaving_owner_can_hand_on_is_handed_over(self) -> None:
        ann, bob = await self.tokens.open_session("ann"), await self.tokens.open_session("bob")
        held = [await self.tokens.issue_token(ann.id, number, transferable=True) for number in range(12)]
        bound = await self.tokens.issue_token(ann.id, "bound")
        some = await self.tokens.hand_over("ann", receiver="bob", limit=5)
        rest = await self.tokens.hand_over("ann", receiver="bob", idempotency_key="rest")

        assert (some, rest, await self.tokens.hand_over("ann", receiver="bob")) == (5, 7, 0)
        assert await self.tokens.hand_over("ann", receiver="bob", idempotency_key="rest") == 7
        theirs = (await self.tokens.list_tokens(session=bob.id)).items
        assert {token.id for token in theirs} == {issued.id for issued in held}
        assert [await self.tokens.verify_token(issued.secret) for issued in held] == [None] * 12
        assert await self.tokens.verify_token(bound.secret) is not None
        fresh = await self.tokens.reissue_token(held[0].id, owner="bob")
        assert await self.tokens.verify_token(fresh.secret) is not None

    @check
    async def test_a_limited_hand_over_passes_by_what_is_offered_to_somebody_else(self) -> None:
        ann, bob = await self.tokens.open_session("ann"), await self.tokens.open_session("bob")
        held = []
        for number in range(4):
            held.append(await self.tokens.issue_token(ann.id, number, transferable=True))
            await self.later()
        for kept in held[:2]:
            await self.tokens.offer_token(kept.id, to="cyd", until=600)
        handed = [await self.tokens.hand_over("ann", receiver="bob", limit=1) for _ in range(3)]

        assert handed == [1, 1, 0]
        theirs = (await self.tokens.list_tokens(session=bob.id)).items
        assert {token.id for token in theirs} == {issued.id for issued in held[2:]}

    @check
    async def test_a_borrower_is_told_that_the_token_is_used_up_while_the_loan_would_live(self) -> None:
        token, loan, _, agent = await self.lent()
        recalled = await self.tokens.lend_token(token.id, borrower="another", until=600)
        await self.tokens.recall_token(token.id, borrower="another")
        await self.tokens.consume_token(loan.secret, amount=5)
        with refused(LimitReached):
            await self.tokens.consume_token(loan.secret)
        with refused(UnknownToken):
            await self.tokens.consume_token(recalled.secret)
        await self.tokens.destroy_session(agent.id)
        with refused(UnknownToken):
            await self.tokens.consume_token(loan.secret)

    @check
    async def test_no_record_of_a_loan_outlives_what_it_rested_on(self) -> None:
        agent, ann = await self.tokens.open_session("agent", max_age=None), await self.tokens.open_session("ann")

        async def lent(session: Issued, timeout: float | None = None) -> Issued:
            token = await self.tokens.issue_token(session.id, transferable=True, timeout=timeout)
            await self.tokens.lend_token(token.id, borrower="agent")
            return token

        await self.tokens.transfer_token((await lent(ann)).id, giver="ann", receiver="bob")
        await self.tokens.release_token((await lent(ann)).id, owner="ann")
        await self.tokens.destroy_token((await lent(ann)).id)
        offered = await lent(ann)
        await self.tokens.offer_token(offered.id)
        await self.tokens.accept_offer(offered.id, receiver="bob")
        await lent(ann)
        await self.tokens.hand_over("ann", receiver="bob")
        assert await self.ask(Count("tokens_of", agent.id)) == 0

        await lent(ann, self.moment_s)
        bound = await self.tokens.issue_token(ann.id)
        await self.tokens.lend_token(bound.id, borrower="agent")
        left, claimed = await lent(ann), await lent(ann)
        await self.tokens.lend_token(left.id, borrower="ann")
        await self.pass_moment()
        await self.tokens.destroy_session(ann.id)
        cyd = await self.tokens.open_session("cyd")
        await self.tokens.claim_token(claimed.id, session_key=cyd.id)
        while await self.tokens.sweep():
            pass

        assert await self.ask(Count("tokens_of", agent.id)) == 0
        assert await self.ask(Count("tokens_of", ann.id)) == 0
        waiting = (await self.tokens.list_tokens(unassigned=True)).items
        assert left.id in {token.id for token in waiting}
