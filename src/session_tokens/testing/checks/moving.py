"""Checks of openings: their order, and the tokens that move to a new session in batches, seen there from the first."""

from __future__ import annotations

from typing import Any

from ..._async.api import AsyncSessionTokens
from ...contract.queries import Count, Get, Members
from ...errors import LimitReached, OwnerDisabled
from ...records import Issued, Session, Token
from ...rules.expiry import Uncleaned
from ...rules.owners import destroy_sessions, disable_owner
from ...settings import Settings
from ..harness import StoreBench, check, outcomes, refused

BATCH = 3
MOVED_AT_ONCE = 1
MANY = 2 * BATCH + 1


class MovingChecks(StoreBench):
    """What a session gives to the one that replaces it, and what waits for an owner's next one."""

    async def small(self, **settings: Any) -> AsyncSessionTokens:
        """Return the API with batches so small that few tokens are many."""
        tokens = await self.another(Settings(**{"max_sessions": 1, **settings}))
        tokens._policy.cleaning_batch, tokens._policy.moved_at_once = BATCH, MOVED_AT_ONCE
        return tokens

    async def crowd(self, tokens: AsyncSessionTokens, session_id: str, count: int = MANY) -> list[Issued]:
        """Issue so many transferable tokens under a session, and a bound one."""
        issued = [await tokens.issue_token(session_id, number, transferable=True) for number in range(count)]
        await tokens.issue_token(session_id, "bound")
        return issued

    async def seen(self, tokens: AsyncSessionTokens, issued: list[Issued]) -> list[Token | None]:
        """Return the tokens as callers see them, the same in each way of asking."""
        by_secret = [await tokens.verify_token(each.secret) for each in issued]
        by_id = [await tokens.get_token(each.id) for each in issued]
        assert all(secret is None or secret == id for secret, id in zip(by_secret, by_id, strict=True))
        listed = {token.id: token for token in (await tokens.list_tokens(limit=500)).items}
        assert [listed.get(each.id) for each in issued] == by_id
        return by_id

    async def settled(self, tokens: AsyncSessionTokens) -> None:
        """Sweep until nothing is left to sweep."""
        for _ in range(200):
            if not await tokens.sweep():
                return
        raise AssertionError("sweeping never comes to an end")

    async def held(self, tokens: AsyncSessionTokens, session: Session) -> set[str]:
        """Return the ids of the tokens of a session, which are also those that its owner has."""
        of_session: list[Token] = []
        after = None
        while True:
            page = await tokens.list_tokens(session=session.id, after=after, limit=2)
            of_session += page.items
            if (after := page.after) is None:
                break
        of_owner = (await tokens.list_tokens(owner=session.owner, limit=500)).items
        assert of_session == [token for token in of_owner if token.session_id == session.id]
        return {token.id for token in of_session}

    @check
    async def test_openings_of_one_owner_are_in_order(self) -> None:
        opened = [(await self.tokens.open_session("ann")).session for _ in range(20)]
        at_once, _ = await outcomes([self.tokens.open_session("ann") for _ in range(10)])
        last = (await self.tokens.open_session("ann")).session

        instants = [session.created_at for session in opened]
        assert instants == sorted(set(instants))
        together = [issued.session.created_at for issued in at_once]
        assert len(set(together)) == 10
        assert instants[-1] < min(together) and max(together) < last.created_at
        listed = (await self.tokens.list_sessions("ann")).items
        assert [session.id for session in listed[:20]] == [session.id for session in opened]

    @check
    async def test_of_an_owners_sessions_the_oldest_or_newest_can_be_asked_for(self) -> None:
        opened = [(await self.tokens.open_session("ann")).id for _ in range(6)]
        await self.tokens.open_session("bob")
        await self.tokens.destroy_session(opened.pop(2))

        async def ids(limit: int, newest: bool) -> list[str]:
            return [session.id for session in await self.ask(Members("sessions_of", "ann", limit, newest))]

        assert [await ids(limit, False) for limit in (1, 3, 9)] == [opened[:1], opened[:3], opened]
        assert [await ids(limit, True) for limit in (1, 3, 9)] == [opened[-1:], opened[-3:], opened]
        assert [await self.ask(Count("sessions_of", owner)) for owner in ("ann", "bob", "x")] == [5, 1, 0]
        assert (
            list(await self.ask(Members("sessions_of", "x", 3, True)))
            == list(await self.ask(Members("predecessors_of", "ses_x")))
            == []
        )

    @check
    async def test_a_receiver_holds_in_the_newest_that_lives_however_many_are_over(self) -> None:
        giver = await self.tokens.open_session("ann")
        token = await self.tokens.issue_token(giver.id, transferable=True)
        lasting = [await self.tokens.open_session("bob") for _ in range(2)][-1]
        for _ in range(20):
            await self.tokens.open_session("bob", max_age=self.moment_s)
        await self.pass_moment()

        given = await self.tokens.transfer_token(token.id, giver="ann", receiver="bob")
        assert given.token.session_id == lasting.id

    @check
    async def test_many_tokens_are_seen_in_the_new_session_as_they_will_be_written(self) -> None:
        tokens = await self.small()
        first = await tokens.open_session("ann")
        issued = await self.crowd(tokens, first.id)
        second = await tokens.open_session("ann")

        (predecessor,) = await self.ask(Members("predecessors_of", second.id))
        assert (predecessor.id, predecessor.details.successor) == (first.id, second.id)
        found = await self.ask(Get("token", issued[0].id))
        assert (found.token, found.session, found.heir) == (issued[0].record, predecessor, second.record)
        assert await self.ask(Count("transferables_of", first.id)) == MANY
        before = await self.seen(tokens, issued)
        assert {token and token.session_id for token in before} == {second.id}
        assert await self.held(tokens, second.session) == {each.id for each in issued}
        assert not (await tokens.list_tokens(session=first.id)).items
        assert not (await tokens.list_tokens(unassigned=True)).items

        await self.settled(tokens)
        assert before == await self.seen(tokens, issued)
        assert [(await self.ask(Get("token", each.id))).token for each in issued] == before
        assert await self.held(tokens, second.session) == {each.id for each in issued}
        assert not await self.ask(Members("predecessors_of", second.id))
        assert await self.ask(Count("tokens_of", second.id)) == MANY

    @check
    async def test_one_step_leads_to_the_newest_of_many_that_followed_each_other(self) -> None:
        tokens = await self.small()
        session = await tokens.open_session("ann")
        issued: list[Issued] = []
        seen: list[Token | None] = []
        versions: list[int] = []
        for _ in range(4):
            issued += await self.crowd(tokens, session.id, MOVED_AT_ONCE + 2)
            session = await tokens.open_session("ann")
            seen = await self.seen(tokens, issued)
            assert {token and token.session_id for token in seen} == {session.id}
            assert await self.held(tokens, session.session) == {each.id for each in issued}
            grown = [token.version for token in seen if token is not None]
            assert all(now > before for before, now in zip(versions, grown, strict=False))
            versions = grown
            await tokens.sweep(1)
            assert seen == await self.seen(tokens, issued)
        await self.settled(tokens)
        assert seen == await self.seen(tokens, issued)

    @check
    async def test_they_are_unassigned_at_the_end_of_the_session_where_they_are(self) -> None:
        tokens = await self.small(disownment_timeout=None)
        first = await tokens.open_session("ann")
        issued = await self.crowd(tokens, first.id)
        second = await tokens.open_session("ann", max_age=self.moment_s)
        await self.pass_moment()

        before = await self.seen(tokens, issued)
        assert {token and token.unassigned_at for token in before} == {second.session.expires_at}
        assert {token and token.previous_owner for token in before} == {"ann"}
        assert [await tokens.verify_token(each.secret) for each in issued] == [None] * MANY
        unassigned = (await tokens.list_tokens(unassigned=True, limit=500)).items
        assert {token.id for token in unassigned} == {each.id for each in issued}
        third = await tokens.open_session("ann")
        assert not await self.held(tokens, third.session)

        for limit in (1, 1, 2, 1000):
            await tokens.sweep(limit)
            assert before == await self.seen(tokens, issued)
        await self.settled(tokens)
        assert before == await self.seen(tokens, issued)

    @check
    async def test_a_disabled_owners_tokens_are_unassigned_wherever_their_records_are(self) -> None:
        tokens = await self.small(disownment_timeout=None)
        first = await tokens.open_session("ann")
        issued = await self.crowd(tokens, first.id)
        await tokens.open_session("ann")
        await tokens.disable_owner("ann")

        before = await self.seen(tokens, issued)
        assert all(token is not None and token.is_unassigned for token in before)
        await self.settled(tokens)
        assert before == await self.seen(tokens, issued)

    @check
    async def test_commands_find_them_where_they_are(self) -> None:
        tokens = await self.small(max_tokens_per_session=MANY + 1)
        first = await tokens.open_session("ann")
        given, changed, destroyed, *issued = await self.crowd(tokens, first.id, MANY)
        second = await tokens.open_session("ann")

        await tokens.issue_token(second.id)
        with refused(LimitReached):
            await tokens.issue_token(second.id)
        moved = await tokens.transfer_token(given.id, giver="ann", receiver="bob")
        assert (moved.token.owner, moved.token.session_id, moved.token.previous_owner) == ("bob", None, "ann")
        version = (await tokens.verify_token(changed.secret)).version  # type: ignore[union-attr]  # it lives
        assert (await tokens.change_token(changed.id, value="new", version=version)).session_id == second.id
        assert await tokens.destroy_token(destroyed.id)
        await self.settled(tokens)
        assert {token and token.session_id for token in await self.seen(tokens, issued)} == {second.id}
        assert await tokens.get_token(destroyed.id) is None
        assert (await tokens.verify_token(changed.secret)).value == "new"  # type: ignore[union-attr]

    @check
    async def test_many_parked_tokens_join_in_batches(self) -> None:
        tokens = await self.small()
        giver = await tokens.open_session("ann")
        issued = await self.crowd(tokens, giver.id)
        parked = [await tokens.transfer_token(each.id, giver="ann", receiver="bob") for each in issued]
        assert len(await self.ask(Members("parked_tokens", "bob", 2))) == 2
        opened = await tokens.open_session("bob", idle_timeout=600)

        joined = [token and token.session_id for token in await self.seen(tokens, parked)]
        assert (joined.count(opened.id), joined.count(None)) == (BATCH, MANY - BATCH)
        assert len(await self.ask(Members("transferables_of", opened.id, 2))) == 2
        await tokens.rotate_session(opened.id, authenticated=True)
        await self.settled(tokens)
        assert {token and token.session_id for token in await self.seen(tokens, parked)} == {opened.id}
        kept = await tokens.get_session(opened.id)
        assert kept is not None and kept.sweep_at == kept.deadline


class EndingChecks(StoreBench):
    """The end of all sessions of an owner, or of all but one: one instant, however many."""

    async def many(self, most: int = 4, count: int = 11) -> tuple[AsyncSessionTokens, list[Issued]]:
        """Return the API that ends ``most`` sessions each for itself, and more than that, each with a token."""
        self.tokens._policy.ended_at_once = most
        opened = [await self.tokens.open_session("ann") for _ in range(count)]
        for each in opened:
            await self.tokens.issue_token(each.id, transferable=True)
        return self.tokens, opened

    async def living(self, opened: list[Issued]) -> list[bool]:
        """Return of which sessions the secrets are accepted."""
        return [await self.tokens.verify_session(each.secret, touch=False) is not None for each in opened]

    async def ends(self, opened: list[Issued]) -> set[tuple[int | None, str | None]]:
        """Return when and why sessions ended."""
        found = [await self.ask(Get("session", each.id)) for each in opened]
        return {(session.ended_at, session.end_reason) for session, _ in found}

    @check
    async def test_one_write_ends_all_sessions_of_an_owner_but_the_kept(self) -> None:
        tokens, opened = await self.many()
        kept = opened.pop(5)
        ended = await self.store.run(destroy_sessions, "ann", kept.id, "revoked", 4)

        assert ended == len(opened)
        assert await self.living([*opened, kept]) == [False] * len(opened) + [True]
        assert [session.id for session in (await tokens.list_sessions("ann")).items] == [kept.id]
        unassigned = (await tokens.list_tokens(unassigned=True)).items
        assert len(unassigned) == len(opened)
        entry = await self.ask(Get("entry", "ann"))
        assert {token.unassigned_at for token in unassigned} == {entry.watermark}

        later = await tokens.open_session("ann")
        rounds = 0
        while await tokens.sweep():
            rounds += 1
            assert rounds < 200, "sweeping never comes to an end"
        assert await self.ends(opened) == {(entry.watermark, "revoked")}
        assert (await tokens.list_tokens(unassigned=True)).items == unassigned
        assert await self.living([kept, later]) == [True, True]

    @check
    async def test_the_command_cleans_up_behind_it(self) -> None:
        tokens, opened = await self.many()

        assert await tokens.destroy_sessions("ann", except_session=opened[2].id, idempotency_key="k") == 10
        assert await tokens.destroy_sessions("ann", except_session=opened[2].id, idempotency_key="k") == 10
        kept = opened.pop(2)
        assert len(await self.ends(opened)) == 1
        assert await tokens.destroy_sessions("ann") == 1
        assert await self.living([kept]) == [False]
        assert await tokens.destroy_sessions("ann") == 0

    @check
    async def test_what_ended_before_is_cleaned_up_before_the_next_end(self) -> None:
        tokens, opened = await self.many()
        await self.store.run(destroy_sessions, "ann", None, "theft", 4)
        first = await self.ask(Get("entry", "ann"))
        with refused(Uncleaned):
            await self.store.run(destroy_sessions, "ann", None, "revoked", 0)
        others = [await tokens.open_session("ann") for _ in range(6)]

        assert await tokens.disable_owner("ann")
        assert await self.ends(opened) == {(first.watermark, "theft")}
        ((_, reason),) = await self.ends(others)
        assert reason == "owner_disabled"
        assert await tokens.enable_owner("ann")
        assert not any(await self.living([*opened, *others]))

    @check
    async def test_a_disabled_owner_stays_so_while_it_is_cleaned_up(self) -> None:
        _, opened = await self.many()
        await self.store.run(disable_owner, "ann", 4)

        assert not any(await self.living(opened))
        with refused(OwnerDisabled):
            await self.tokens.open_session("ann")
        while await self.tokens.sweep():
            pass
        ((ended_at, reason),) = await self.ends(opened)
        assert (ended_at, reason) == ((await self.ask(Get("entry", "ann"))).watermark, "owner_disabled")
