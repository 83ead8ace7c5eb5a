"""Checks of many callers at once through the API: one winner, no cap passed, nothing lost, nothing brought back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...errors import Conflict, LimitReached, NotOwner, SessionEnded, UnknownSession
from ...settings import Settings
from ..harness import StoreBench, check, outcomes

CALLERS = 32


class RaceChecks(StoreBench):
    """Races between tasks, spread over two handles where the store has such."""

    @check
    async def test_of_32_transfers_at_once_exactly_one_succeeds(self) -> None:
        apis = (self.tokens, await self.another())
        opened = await self.tokens.open_session("ann")
        token = await self.tokens.issue_token(opened.id, transferable=True)
        given, refusals = await outcomes([
            apis[number % 2].transfer_token(token.id, giver="ann", receiver=f"receiver {number}")
            for number in range(CALLERS)
        ])  # fmt: skip

        assert len(given) == 1
        assert {type(error) for error in refusals} <= {NotOwner, Conflict}
        assert await self.tokens.get_token(token.id) == given[0].record
        assert await self.tokens.verify_token(given[0].secret) == given[0].record
        assert await self.tokens.verify_token(token.secret) is None
        assert given[0].token.epoch == 1

    @check
    async def test_of_many_claims_at_once_exactly_one_succeeds(self) -> None:
        apis = (self.tokens, await self.another())
        opened = await self.tokens.open_session("ann")
        token = await self.tokens.issue_token(opened.id, transferable=True)
        sessions = [await self.tokens.open_session(f"claimer {number}") for number in range(16)]
        await self.tokens.destroy_session(opened.id)
        claimed, refusals = await outcomes([
            apis[number % 2].claim_token(token.id, session_key=session.id) for number, session in enumerate(sessions)
        ])  # fmt: skip

        assert len(claimed) == 1
        assert {type(error) for error in refusals} == {Conflict}
        assert await self.tokens.verify_token(claimed[0].secret) == claimed[0].record

    @check
    async def test_openings_at_once_never_pass_the_cap(self) -> None:
        settings = Settings(max_sessions=3)
        apis = (await self.another(settings), await self.another(settings))
        opened, _ = await outcomes([apis[number % 2].open_session("ann") for number in range(24)])
        living = [issued for issued in opened if await self.tokens.verify_session(issued.secret) is not None]

        assert len(opened) == 24
        assert len(living) == 3
        assert len((await self.tokens.list_sessions("ann")).items) == 3

    @check
    async def test_openings_at_once_beyond_a_refusing_cap_are_refused(self) -> None:
        settings = Settings(max_sessions=5, session_policy="refuse")
        apis = (await self.another(settings), await self.another(settings))
        opened, refusals = await outcomes([apis[number % 2].open_session("ann") for number in range(24)])

        assert len(opened) == 5
        assert {type(error) for error in refusals} == {LimitReached}

    @check
    async def test_of_rotations_at_once_the_last_secret_only_is_alive(self) -> None:
        apis = (self.tokens, await self.another())
        opened = await self.tokens.open_session("ann")
        rotated, refusals = await outcomes([apis[number % 2].rotate_session(opened.id) for number in range(8)])
        living = [issued for issued in rotated if await self.tokens.verify_session(issued.secret) is not None]

        assert (len(rotated), refusals) == (8, [])
        assert len(living) == 1
        assert living[0].session.version == 9

    @check
    async def test_of_rotations_by_the_same_secret_exactly_one_succeeds(self) -> None:
        apis = (self.tokens, await self.another())
        opened = await self.tokens.open_session("ann")
        rotated, refusals = await outcomes([apis[number % 2].rotate_session(opened.secret) for number in range(8)])

        assert len(rotated) == 1
        assert {type(error) for error in refusals} == {UnknownSession}

    @check
    async def test_fields_written_at_once_all_survive(self) -> None:
        apis = (self.tokens, await self.another())
        opened = await self.tokens.open_session("ann")
        _, refusals = await outcomes([
            apis[number % 2].update_session_data(opened.id, {f"field {number}": number}) for number in range(12)
        ])  # fmt: skip
        session = await self.tokens.get_session(opened.id)

        assert refusals == []
        assert session is not None
        assert session.data == {f"field {number}": number for number in range(12)}

    @check
    async def test_nothing_that_comes_late_brings_an_ended_session_back(self) -> None:
        other = await self.another()
        for _ in range(6):
            opened = await self.tokens.open_session("ann", idle_timeout=1000, detachable=True)
            if self.clock_is_manual:
                self.clock.advance(100)  # so that a verify writes
            late: Sequence[object] = await asyncio.gather(
                other.verify_session(opened.secret), other.change_session(opened.id, label="late"),
                self.tokens.destroy_session(opened.id), other.rotate_session(opened.id),
                other.update_session_data(opened.id, {"late": 1}), other.issue_token(opened.id),
                return_exceptions=True,
            )  # fmt: skip

            assert [
                error for error in late if isinstance(error, Exception) and not isinstance(error, SessionEnded)
            ] == []
            assert await self.tokens.get_session(opened.id) is None
            assert (await self.tokens.list_sessions("ann")).items == []
            assert (await self.tokens.list_tokens()).items == []

    @check
    async def test_transfer_and_end_of_a_session_at_once_lose_no_token(self) -> None:
        other = await self.another()
        for turn in range(6):
            opened = await self.tokens.open_session("ann")
            receiving = await self.tokens.open_session("bob")
            token = await self.tokens.issue_token(opened.id, turn, transferable=True)
            await outcomes([
                self.tokens.destroy_session(opened.id), other.destroy_session(receiving.id),
                other.transfer_token(token.id, giver="ann", receiver="bob"),
            ])  # fmt: skip
            present = await self.tokens.get_token(token.id)

            assert present is not None
            assert present.is_unassigned or (present.owner, present.session_id) == ("bob", None)

    @check
    async def test_transfer_and_opening_at_once_never_leave_a_token_parked_beside_a_session(self) -> None:
        other = await self.another()
        opened = await self.tokens.open_session("ann")
        for turn in range(6):
            receiver = f"receiver {turn}"
            token = await self.tokens.issue_token(opened.id, transferable=True)
            (given, session), refusals = await outcomes([
                self.tokens.transfer_token(token.id, giver="ann", receiver=receiver), other.open_session(receiver),
            ])  # fmt: skip
            present = await self.tokens.verify_token(given.secret)

            assert refusals == []
            assert present is not None
            assert present.session_id == session.id

    @check
    async def test_a_command_sent_many_times_with_one_key_is_done_once(self) -> None:
        apis = (self.tokens, await self.another())
        opened, refusals = await outcomes([
            apis[number % 2].open_session("ann", idempotency_key="once") for number in range(8)
        ])  # fmt: skip

        assert refusals == []
        assert {issued.secret for issued in opened} == {opened[0].secret}
        assert [session.id for session in (await self.tokens.list_sessions("ann")).items] == [opened[0].id]
