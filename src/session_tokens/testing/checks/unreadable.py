"""Checks of records that cannot be read: each stops nothing but what is asked of itself, and is named where missing.

A record is damaged from outside, by ``damage``. Records that live and die with their object are out of reach: there is
nothing to check.
"""

from __future__ import annotations

from typing import Any

from ..._async.api import AsyncSessionTokens
from ...contract.queries import Get
from ...errors import CorruptRecord, SessionTokensError, UnknownPepper
from ...events import Event
from ...rules.expiry import sweep_session
from ...settings import Policy, Settings
from ..harness import StoreBench, check

ELSEWHERE = "elsewhere"
"""The key id of a pepper that nobody gave."""


class UnreadableChecks(StoreBench):
    """Sweeping, listing and ending go on past what cannot be read."""

    async def opened_and_damaged(
        self, owner: str, count: int, damaged: int, **options: Any
    ) -> tuple[list[str], list[str]]:
        """Open sessions, the first of them damaged; return the ids of the whole ones and of the damaged ones."""
        issued = [await self.tokens.open_session(owner, **options) for _ in range(count)]
        ids = [one.id for one in issued]
        for number, id in enumerate(ids[:damaged]):
            self.damage("session", id, key_id=ELSEWHERE if number % 2 else None)
        return ids[damaged:], ids[:damaged]

    async def refusal_of(self, call: Any) -> SessionTokensError | None:
        """Return the error of a call, ``None`` where it has none."""
        try:
            await call
        except SessionTokensError as error:
            return error
        return None

    @check
    async def test_what_cannot_be_read_is_an_error_for_who_asks_for_it(self) -> None:
        if not self.store.durable:
            return
        issued = await self.tokens.open_session("ann")
        token = await self.tokens.issue_token(None, "value")
        other = await self.tokens.open_session("ann")
        for kind, id in (("session", issued.id), ("token", token.id)):
            self.damage(kind, id)
        self.damage("session", other.id, key_id=ELSEWHERE)

        assert await self.tokens.verify_session(issued.secret) is None
        assert await self.tokens.verify_token(token.secret) is None
        assert isinstance(await self.refusal_of(self.tokens.get_session(issued.id)), CorruptRecord)
        assert isinstance(await self.refusal_of(self.tokens.get_token(token.id)), CorruptRecord)
        assert isinstance(await self.refusal_of(self.tokens.destroy_session(issued.id)), CorruptRecord)
        unknown = await self.refusal_of(self.tokens.get_session(other.id))
        assert isinstance(unknown, UnknownPepper), unknown
        assert unknown.details["key_id"] == ELSEWHERE
        assert ELSEWHERE in str(unknown)

    @check
    async def test_sweeping_goes_on_past_what_cannot_be_read(self) -> None:
        if not self.store.durable:
            return
        whole, _ = await self.opened_and_damaged("ann", 28, 7, max_age=self.moment_s)
        outcome = await self.tokens.issue_token(None, timeout=self.moment_s)
        bad = await self.tokens.issue_token(None, timeout=self.moment_s)
        self.damage("token", bad.id)
        ended: list[Event] = []
        self.tokens.subscribe(ended.append)
        await self.pass_moment()
        swept = 0
        while cleaned := await self.tokens.sweep(limit=3):
            swept += cleaned
        ids = {event.subject_id for event in ended}

        assert swept == len(whole) + 1
        assert ids == {*whole, outcome.id}
        assert self.store.unreadables.count == 8

    @check
    async def test_cleaning_up_behind_a_session_goes_on_past_its_tokens(self) -> None:
        if not self.store.durable:
            return
        opened = await self.tokens.open_session("ann")
        tokens = [
            await self.tokens.issue_token(opened.id, transferable=True, disownment_timeout=None) for _ in range(9)
        ]
        for token in tokens[:5]:
            self.damage("token", token.id)
        await self.tokens.destroy_session(opened.id)
        policy = Policy(Settings())
        policy.cleaning_batch = 3
        while await self.store.run(sweep_session, policy, opened.id):
            pass

        for token in tokens[5:]:
            swept = await self.tokens.get_token(token.id)
            assert swept is not None
            assert swept.is_unassigned
            assert swept.version > token.token.version, "it was not rewritten"

    @check
    async def test_a_token_changes_hands_and_loses_its_session_past_a_loan_that_cannot_be_read(self) -> None:
        if not self.store.durable:
            return
        await self.tokens.open_session("agent")
        opened = await self.tokens.open_session("ann")
        handed, released, destroyed, left = [
            await self.tokens.issue_token(opened.id, transferable=True) for _ in range(4)
        ]
        for number, token in enumerate((handed, released, destroyed, left)):
            await self.tokens.lend_token(token.id, borrower="agent")
            lent = (await self.ask(Get("token", token.id))).token
            self.damage("token", lent.details.loans, key_id=ELSEWHERE if number % 2 else None)

        await self.tokens.transfer_token(handed.id, giver="ann", receiver="bob")
        await self.tokens.release_token(released.id, owner="ann")
        assert await self.tokens.destroy_token(destroyed.id)
        await self.tokens.destroy_session(opened.id)
        while await self.tokens.sweep():
            pass
        swept = (await self.ask(Get("token", left.id))).token
        assert swept.unassigned_at is not None, "it was not rewritten"

    @check
    async def test_sessions_are_listed_without_what_cannot_be_read_which_is_named(self) -> None:
        if not self.store.durable:
            return
        whole, damaged = await self.opened_and_damaged("ann", 12, 5)
        others, _ = await self.opened_and_damaged("bob", 2, 0)
        page = await self.tokens.list_sessions("ann")

        assert sorted(session.id for session in page) == sorted(whole)
        assert sorted(page.unreadable) == sorted(damaged)
        assert sorted(session.id for session in await self.tokens.list_sessions()) == sorted([*whole, *others])
        assert (await self.tokens.list_sessions("bob")).unreadable == ()
        listed, after = list[str](), None
        while True:
            page = await self.tokens.list_sessions("ann", after=after, limit=2)
            listed += [session.id for session in page]
            after = page.after
            if after is None:
                break
        assert sorted(listed) == sorted(whole)

    @check
    async def test_tokens_are_listed_without_what_cannot_be_read_which_is_named(self) -> None:
        if not self.store.durable:
            return
        opened = await self.tokens.open_session("ann")
        tokens = [await self.tokens.issue_token(opened.id, transferable=True) for _ in range(6)]
        for token in tokens[:2]:
            self.damage("token", token.id)
        whole, damaged = [token.id for token in tokens[2:]], [token.id for token in tokens[:2]]

        for filters in ({"owner": "ann"}, {"session": opened.id}, {"transferable": True}, {}):
            page = await self.tokens.list_tokens(**filters)
            assert sorted(token.id for token in page) == sorted(whole), filters
            assert sorted(page.unreadable) == sorted(damaged), filters
        self.damage("session", opened.id)
        page = await self.tokens.list_tokens(transferable=True)
        assert page.items == []
        assert sorted(page.unreadable) == sorted([*whole, *damaged])

    @check
    async def test_more_than_fills_an_answer_may_be_unreadable(self) -> None:
        if not self.store.durable:
            return
        issued = [await self.tokens.issue_token(None, number) for number in range(430)]
        self.damage_all("token")
        late = await self.tokens.issue_token(None, "late")
        page = await self.tokens.list_tokens(limit=1)

        assert [token.id for token in page] == [late.id]
        assert sorted(page.unreadable) == sorted(one.id for one in issued)

    @check
    async def test_all_sessions_of_an_owner_are_ended_past_what_cannot_be_read(self) -> None:
        if not self.store.durable:
            return
        whole, _ = await self.opened_and_damaged("ann", 9, 4)
        kept = whole[-1]

        assert await self.tokens.destroy_sessions("ann", except_session=kept) == len(whole) - 1
        assert [session.id for session in await self.tokens.list_sessions("ann")] == [kept]
        assert await self.tokens.disable_owner("ann") is True
        assert (await self.tokens.list_sessions("ann")).items == []

    @check
    async def test_what_cannot_be_read_ends_with_all_sessions_of_its_owner(self) -> None:
        """It may live for a process that has its pepper, or come back from a backup: dead all the same."""
        if not self.store.durable:
            return
        first, kept = [(await self.tokens.open_session("ann")).session for _ in range(2)]
        self.damage("session", first.id, key_id=ELSEWHERE)

        for _ in range(2):  # the second time behind an earlier such end
            living = (await self.tokens.open_session("ann")).id
            assert await self.tokens.destroy_sessions("ann", except_session=kept.id) == 1
            assert await self.tokens.get_session(living) is None
            _, (found,) = await self.store.read([Get("entry", "ann")])
            assert found.value is not None
            assert not first.alive(first.created_at, found.value)
            assert [session.id for session in await self.tokens.list_sessions("ann")] == [kept.id]
        assert await self.tokens.verify_session((await self.tokens.open_session("ann")).secret) is not None

    @check
    async def test_a_log_in_under_a_cap_goes_on_past_what_cannot_be_read(self) -> None:
        if not self.store.durable:
            return
        capped = AsyncSessionTokens(self.store, Settings(max_sessions=1))
        first = await capped.open_session("ann")
        held = [await capped.issue_token(first.id, number, transferable=True) for number in range(3)]
        self.damage("token", held[0].id)
        second = await capped.open_session("ann")
        moved = await self.tokens.list_tokens(session=second.id)
        self.damage("session", second.id)
        third = await capped.open_session("ann")

        assert sorted(token.id for token in moved) == sorted(token.id for token in held[1:])
        assert [session.id for session in await self.tokens.list_sessions("ann")] == [third.id]
        assert await self.tokens.verify_session(third.secret) is not None

    @check
    async def test_a_cap_holds_beside_what_cannot_be_read(self) -> None:
        """It may live for a process that has its pepper: where it is one too many, it ends before any that is known."""
        if not self.store.durable:
            return
        capped = AsyncSessionTokens(self.store, Settings(max_sessions=3))
        lost, kept = await capped.open_session("ann"), await capped.open_session("ann")
        self.damage("session", lost.id, key_id=ELSEWHERE)

        async def lost_lives() -> bool:
            now, (found,) = await self.store.read([Get("entry", "ann")])
            return bool(lost.session.alive(now, found.value))

        later = [await capped.open_session("ann")]
        assert await lost_lives(), "it is one of three"
        for _ in range(2):  # the second time behind an earlier such end
            later.append(await capped.open_session("ann"))
            assert not await lost_lives()
            living = [kept, *later][-3:]
            assert [session.id for session in await self.tokens.list_sessions("ann")] == [one.id for one in living]
            for one in living:
                assert await self.tokens.verify_session(one.secret) is not None
        assert await self.tokens.destroy_sessions("ann") == 3
