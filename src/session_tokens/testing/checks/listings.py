"""Checks of listings: in order, page by page, and the same as looking at every record one by one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ...contract.queries import Scan
from ...contract.transaction import Transaction
from ...crypto.minting import new_id
from ...crypto.secret_form import SESSION_ID, TOKEN_ID
from ...errors import SessionTokensError
from ...rules.expiry import sweep_owner
from ...rules.owners import disable_owner
from ..harness import StoreBench, check, in_order

OWNERS = ("ann", "bob", "cyn")


class ListingChecks(StoreBench):
    """``Scan``, asked directly and through the API."""

    async def all_pages(self, listing: Callable[..., Any], limit: int, **filters: Any) -> list[Any]:
        """Follow a listing to its end."""
        listed: list[Any] = []
        after: str | None = None
        while True:
            page = await listing(**filters, after=after, limit=limit)
            assert len(page.items) <= limit
            listed += page.items
            if page.after is None:
                return listed
            after = page.after

    @check
    async def test_sessions_are_listed_in_order_of_creation_page_by_page(self) -> None:
        opened = []
        for number in range(25):
            opened.append(await self.tokens.open_session(OWNERS[number % 3], detachable=True))
            if self.clock_is_manual and number % 4 == 0:
                self.clock.advance(ms=1)
        everything = await self.all_pages(self.tokens.list_sessions, 500)

        assert in_order(everything)
        assert {session.id for session in everything} == {issued.id for issued in opened}
        for limit in (1, 4, 24, 25, 26):
            assert await self.all_pages(self.tokens.list_sessions, limit) == everything
        assert await self.all_pages(self.tokens.list_sessions, 2, owner="bob") == [
            session for session in everything if session.owner == "bob"
        ]
        for limit in (1, 24, 25):
            assert await self.all_pages(self.tokens.list_sessions, limit, newest=True) == everything[::-1]

    @check
    async def test_tokens_are_listed_in_order_of_creation_page_by_page(self) -> None:
        opened = await self.tokens.open_session("ann")
        issued = []
        for number in range(25):
            issued.append(await self.tokens.issue_token(opened.id, number, transferable=number % 2 == 0))
            if self.clock_is_manual and number % 4 == 0:
                self.clock.advance(ms=1)
        everything = await self.all_pages(self.tokens.list_tokens, 500)

        assert in_order(everything)
        assert {token.id for token in everything} == {token.id for token in issued}
        for filters in ({}, {"owner": "ann"}, {"session": opened.id}):
            assert await self.all_pages(self.tokens.list_tokens, 4, **filters) == everything
            assert await self.all_pages(self.tokens.list_tokens, 4, newest=True, **filters) == everything[::-1]

    @check
    async def test_a_list_goes_back_from_any_place_in_it(self) -> None:
        for _ in range(9):
            await self.tokens.open_session("ann")
        first = await self.tokens.list_sessions(limit=6)
        back = await self.tokens.list_sessions(limit=3, newest=True, after=first.after)
        older = await self.tokens.list_sessions(limit=3, newest=True, after=back.after)

        assert (back.items, older.items) == (first.items[4:1:-1], first.items[1::-1])
        assert older.after is None

    @check
    async def test_a_page_goes_on_after_the_last_item_though_it_is_gone(self) -> None:
        for _ in range(6):
            await self.tokens.open_session("ann")
        first = await self.tokens.list_sessions(limit=3)
        rest = (await self.tokens.list_sessions(after=first.after)).items
        await self.tokens.destroy_session(first.items[-1].id)
        await self.tokens.destroy_session(rest[0].id)

        assert (await self.tokens.list_sessions(after=first.after)).items == rest[1:]

    @check
    async def test_what_was_opened_in_between_comes_on_a_later_page(self) -> None:
        for _ in range(4):
            await self.tokens.open_session("ann")
        first = await self.tokens.list_sessions(limit=2)
        if self.clock_is_manual:
            self.clock.advance(ms=1)
        late = await self.tokens.open_session("ann")

        # On a clock that runs, the two last may be of one millisecond, and then stand in the order of their ids.
        assert late.id in [session.id for session in (await self.tokens.list_sessions(after=first.after)).items]

    @check
    async def test_a_listing_answers_no_more_than_its_limit_and_no_less_than_there_is(self) -> None:
        opened = await self.tokens.open_session("ann")
        for _ in range(9):
            await self.tokens.open_session("bob")
            await self.tokens.issue_token(opened.id)
        sessions = await self.ask(Scan("sessions", None, 7))
        tokens = await self.ask(Scan("tokens", None, 7))
        last = tokens[-1].token

        assert in_order([found.session for found in sessions])
        assert (len(sessions), len(tokens)) == (7, 7)
        assert all(found.session.id == opened.id for found in tokens)
        rest = await self.ask(Scan("tokens", (last.created_at, last.id), 7))
        assert len(rest) == 2

    @check
    async def test_tokens_are_found_by_their_tag(self) -> None:
        ann, bob = await self.tokens.open_session("ann"), await self.tokens.open_session("bob")
        seats = [
            await self.tokens.issue_token(
                ann.id, number, transferable=True, tag="a seat", scope="sit stand", for_client="hall"
            )
            for number in range(5)
        ]
        await self.tokens.issue_token(ann.id, "a job", tag="a job")
        await self.tokens.issue_token(None, "for nothing")
        await self.tokens.transfer_token(seats[0].id, giver="ann", receiver="bob")
        await self.tokens.destroy_token(seats[1].id)
        await self.tokens.offer_token(seats[2].id, price="1")
        listed = await self.all_pages(self.tokens.list_tokens, 2, tag="a seat")
        await self.tokens.destroy_session(ann.id)
        left = await self.all_pages(self.tokens.list_tokens, 2, tag="a seat", unassigned=True)

        assert in_order(listed)
        assert {token.id for token in listed} == {seats[place].id for place in (0, 2, 3, 4)}
        assert {(token.tag, token.scope, token.for_client) for token in listed} == {("a seat", "sit stand", "hall")}
        assert {token.id for token in left} == {seats[place].id for place in (2, 3, 4)}
        assert [token.id for token in await self.tokens.list_tokens(tag="a seat", owner="bob")] == [seats[0].id]
        assert [token.id for token in await self.tokens.list_tokens(tag="a seat", session=bob.id)] == [seats[0].id]
        assert (await self.tokens.list_tokens(tag="a job")).items == []
        assert (await self.tokens.list_tokens(tag="unheard of")).items == []

    @check
    async def test_a_listing_reads_far_beyond_what_does_not_match(self) -> None:
        issued = [await self.tokens.issue_token(None, number) for number in range(450)]
        opened = await self.tokens.open_session("ann")
        late = await self.tokens.issue_token(opened.id, "late", transferable=True)
        everything = await self.all_pages(self.tokens.list_tokens, 200, transferable=False)

        assert [token.id for token in (await self.tokens.list_tokens(transferable=True, limit=1)).items] == [late.id]
        assert in_order(everything)
        assert sorted(token.id for token in everything) == sorted(token.id for token in issued)

    @check
    async def test_a_page_of_which_little_matches_is_short_and_names_the_next(self) -> None:
        template = (await self.tokens.issue_token(None, "free")).token
        opened = await self.tokens.open_session("ann")

        def put_many(tx: Transaction, first: int) -> None:
            for number in range(first, first + 650):
                lookup = self.store.keyring.lookup(f"nobody's {number}")
                tx.put_token(None, template.replace(id=new_id(TOKEN_ID), lookup=lookup))

        for first in (0, 650):
            await self.store.run(put_many, first)
        if self.clock_is_manual:
            self.clock.advance(ms=1)
        late = await self.tokens.issue_token(opened.id, transferable=True)

        first_page = await self.tokens.list_tokens(transferable=True)
        assert first_page.items == []
        assert first_page.after is not None
        assert await self.all_pages(self.tokens.list_tokens, 5, transferable=True) == [late.record]

    @check
    async def test_unassigned_tokens_are_listed_however_many_sessions_are_over(self) -> None:
        opened = await self.tokens.open_session("ann", max_age=None)
        token = (await self.tokens.issue_token(opened.id, transferable=True, disownment_timeout=None)).token
        ids: list[str] = []

        def put_many(tx: Transaction, at: int) -> None:
            del ids[:]  # a rule may be run again
            for number in range(300):
                session = opened.session.replace(id=new_id(SESSION_ID)).ended(at, "logout")
                lookup = self.store.keyring.lookup(f"nobody's {number}")
                left = token.replace(id=new_id(TOKEN_ID), session_id=session.id, lookup=lookup)
                tx.put_session(None, session)
                tx.put_token(None, left)
                ids.append(left.id)

        await self.store.run(put_many, await self.now())
        listed = await self.all_pages(self.tokens.list_tokens, 40, unassigned=True)
        assert in_order(listed)
        assert sorted(unassigned.id for unassigned in listed) == sorted(ids)

    @check
    async def test_a_token_whose_session_is_over_is_listed_as_unassigned_before_any_sweep(self) -> None:
        over = await self.tokens.open_session("ann", max_age=self.moment_s)
        ended = await self.tokens.open_session("bob")
        disabled = await self.tokens.open_session("cyn")
        left = [
            await self.tokens.issue_token(issued.id, transferable=True, disownment_timeout=None)
            for issued in (over, ended, disabled)
        ]
        bound = await self.tokens.issue_token(over.id)
        await self.pass_moment()
        await self.tokens.destroy_session(ended.id)
        await self.store.run(disable_owner, "cyn")
        ids = {token.id for token in left}

        for swept in (False, True):
            unassigned = (await self.tokens.list_tokens(unassigned=True)).items
            assert {token.id for token in unassigned} == ids, f"swept: {swept}"
            assert in_order(unassigned)
            assert (await self.tokens.list_tokens(unassigned=False)).items == []
            assert (await self.tokens.list_tokens(owner="ann")).items == []
            assert await self.tokens.get_token(bound.id) is None
            await self.tokens.sweep()

    @check
    async def test_tokens_of_sessions_that_ended_in_one_write_are_unassigned_before_any_sweep(
        self,
    ) -> None:
        opened = [await self.tokens.open_session("ann") for _ in range(7)]
        left = [await self.tokens.issue_token(issued.id, transferable=True) for issued in opened]
        await self.store.run(disable_owner, "ann")
        for _ in range(4):
            unassigned = (await self.tokens.list_tokens(unassigned=True)).items
            assert {token.id for token in unassigned} == {token.id for token in left}
            await self.store.run(sweep_owner, "ann", 2)

    @check
    async def test_detached_sessions_are_listed_apart(self) -> None:
        opened = [await self.tokens.open_session("ann", detachable=True) for _ in range(8)]
        for issued in opened[::2]:
            await self.tokens.detach_session(issued.id)
        await self.tokens.attach_session(opened[2].id)
        await self.tokens.destroy_session(opened[4].id)
        detached = {opened[0].id, opened[6].id}

        for owner in (None, "ann"):
            listed = (await self.tokens.list_sessions(owner, detached=True)).items
            others = (await self.tokens.list_sessions(owner, detached=False)).items
            assert {session.id for session in listed} == detached
            assert {session.id for session in others} == {issued.id for issued in opened} - detached - {opened[4].id}

    @check
    async def test_sellable_tokens_are_listed_while_they_are_offered(self) -> None:
        opened = await self.tokens.open_session("ann")
        issued = [await self.tokens.issue_token(opened.id, transferable=True) for _ in range(5)]
        for token in issued[:4]:
            await self.tokens.offer_token(token.id, price=1)
        await self.tokens.withdraw_token(issued[0].id)
        await self.tokens.transfer_token(issued[1].id, giver="ann", receiver="bob")
        await self.tokens.destroy_token(issued[2].id)

        assert [token.id for token in (await self.tokens.list_tokens(sellable=True)).items] == [issued[3].id]
        others = (await self.tokens.list_tokens(sellable=False)).items
        assert {token.id for token in others} == {issued[number].id for number in (0, 1, 4)}


class IndexChecks(ListingChecks):
    """An index, read through the API, equals a scan of the living records (invariant I6)."""

    @check
    async def test_every_listing_equals_a_scan_of_the_living_records(self) -> None:
        """Random commands from a fixed seed; after every few, each listing is compared with looking one by one."""
        script = random.Random(20)
        self.session_ids: list[str] = []
        self.token_ids: list[str] = []
        for step in range(90):
            try:
                await self.one_command(script)
            except SessionTokensError:
                continue  # refused, which is as good: nothing may have changed
            if step % 15 == 14:
                await self.compare()
        assert len(self.session_ids) > 9
        assert len(self.token_ids) > 9
        while await self.tokens.sweep():
            await self.compare()

    async def one_command(self, script: random.Random) -> None:
        """Do one command that the script draws."""
        tokens, owner, other = self.tokens, script.choice(OWNERS), script.choice(OWNERS)
        session = script.choice(self.session_ids or [""])
        token = script.choice(self.token_ids or [""])
        match script.randrange(16):
            case 0 | 1:
                self.session_ids.append((await tokens.open_session(owner, detachable=True)).id)
            case 2 | 3 | 4 | 5:
                transferable = script.random() < 0.8
                self.token_ids.append((await tokens.issue_token(session, transferable=transferable)).id)
            case 6 | 7 | 8:
                await tokens.transfer_token(token, giver=owner, receiver=other)
            case 9:
                await tokens.transfer_token(token, giver=None, receiver=other)
            case 10:
                await tokens.claim_token(token, session_key=session)
            case 11:
                await tokens.offer_token(token, price=1)
            case 12:
                await tokens.detach_session(session)
            case 13:
                await tokens.destroy_session(session)
            case 14:
                await tokens.destroy_token(token)
            case _:
                await tokens.sweep(3)

    async def compare(self) -> None:
        """Compare each listing with a scan."""
        sessions = [session for id in self.session_ids if (session := await self.tokens.get_session(id)) is not None]
        tokens = [token for id in self.token_ids if (token := await self.tokens.get_token(id)) is not None]
        sessions.sort(key=lambda session: (session.created_at, session.id))
        tokens.sort(key=lambda token: (token.created_at, token.id))
        list_sessions, list_tokens = self.tokens.list_sessions, self.tokens.list_tokens
        for owner in OWNERS:
            await self.both_ways(list_sessions, [each for each in sessions if each.owner == owner], owner=owner)
            await self.both_ways(list_tokens, [each for each in tokens if each.owner == owner], owner=owner)
        for session in sessions:
            held = [token for token in tokens if token.session_id == session.id]
            await self.both_ways(list_tokens, held, session=session.id)
        for flag in (True, False):
            found = [session for session in sessions if session.is_detached == flag]
            await self.both_ways(list_sessions, found, detached=flag)
            for name in ("transferable", "sellable", "unassigned"):
                matching = [token for token in tokens if getattr(token, f"is_{name}") == flag]
                await self.both_ways(list_tokens, matching, **{name: flag})

    async def both_ways(self, listing: Callable[..., Any], expected: list[Any], **filters: Any) -> None:
        """Compare a listing, the oldest first and the newest first, with what it should hold."""
        assert await self.all_pages(listing, 3, **filters) == expected
        assert await self.all_pages(listing, 4, newest=True, **filters) == expected[::-1]
