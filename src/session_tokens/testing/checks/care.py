"""Checks of ``Store.due`` and ``Store.close``: what the sweeper is given, and that closed stores refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...contract.queries import Count, Get
from ...errors import SessionTokensError, StoreUnavailable
from ..harness import StoreBench, check, refused
from .transactions import count_up


class DueChecks(StoreBench):
    """What the sweeper gets to do."""

    async def due(self, at: int, limit: int = 100) -> list[tuple[str, str]]:
        """Return what is due at an instant."""
        return [(kind, id) for kind, id in await self.store.due(at, limit)]

    @check
    async def test_a_session_is_due_at_its_deadline_and_not_before(self) -> None:
        opened = await self.tokens.open_session("ann", max_age=1000)
        await self.tokens.open_session("ann", max_age=None)
        deadline = opened.session.deadline

        assert await self.due(deadline - 1) == []
        assert await self.due(deadline) == [("session", opened.id)]
        assert await self.due(deadline + 10**9) == [("session", opened.id)]

    @check
    async def test_a_token_is_due_at_its_deadline_and_not_before(self) -> None:
        token = await self.tokens.issue_token(None, timeout=1000)
        await self.tokens.issue_token(None)
        deadline = token.token.deadline

        assert await self.due(deadline - 1) == []
        assert await self.due(deadline) == [("token", token.id)]

    @check
    async def test_an_outcome_is_due_when_it_may_be_forgotten(self) -> None:
        await self.tokens.issue_token(None, idempotency_key="once")
        at = await self.now() + 86_400_000

        assert await self.due(at - 60_000) == []
        assert [kind for kind, _ in await self.due(at + 60_000)] == ["idempotency"]

    @check
    async def test_a_deadline_that_moved_is_due_where_it_is_now(self) -> None:
        later = await self.tokens.open_session("ann", max_age=1000)
        sooner = await self.tokens.open_session("ann", max_age=5000)
        changed = await self.tokens.change_session(later.id, max_age=9000)
        await self.tokens.change_session(sooner.id, max_age=500)

        assert await self.due(changed.deadline - 1) == [("session", sooner.id)]
        assert set(await self.due(changed.deadline)) == {("session", sooner.id), ("session", later.id)}

    @check
    async def test_no_more_is_due_than_was_asked_for_and_the_longest_due_first(self) -> None:
        opened = [await self.tokens.open_session("ann", max_age=1000 - 60 * number) for number in range(9)]
        ids = [("session", issued.id) for issued in reversed(opened)]
        at = await self.now() + 2_000_000

        assert await self.due(at) == ids
        assert await self.due(at, 4) == ids[:4]

    @check
    async def test_what_ended_is_due_for_cleaning_until_it_is_forgotten(self) -> None:
        opened = await self.tokens.open_session("ann", max_age=None)
        await self.tokens.issue_token(opened.id)
        await self.tokens.destroy_session(opened.id)
        now = await self.now()

        assert await self.due(now) == [("session", opened.id)]
        assert await self.tokens.sweep() == 1
        assert await self.due(now) == []
        assert await self.ask(Count("tokens_of", opened.id)) == 0
        assert await self.due(now + 10**8) == [("session", opened.id)]

    @check
    async def test_what_is_gone_is_never_due(self) -> None:
        token = await self.tokens.issue_token(None, timeout=1000)
        await self.tokens.destroy_token(token.id)

        assert await self.due(token.token.deadline + 1) == []


class CloseChecks(StoreBench):
    """The end of a handle."""

    @check
    async def test_closing_twice_does_nothing(self) -> None:
        await self.store.close()
        await self.store.close()

    @check
    async def test_a_closed_store_says_so_and_never_answers_less(self) -> None:
        opened = await self.tokens.open_session("ann")
        token = await self.tokens.issue_token(opened.id)
        await self.store.close()
        calls: list[Callable[[], Any]] = [
            lambda: self.tokens.verify_session(opened.secret), lambda: self.tokens.verify_token(token.secret),
            lambda: self.tokens.get_session(opened.id), lambda: self.tokens.list_tokens(),
            lambda: self.tokens.open_session("bob"), lambda: self.tokens.destroy_session(opened.id),
            lambda: self.store.read([Get("setting", "x")]), lambda: self.store.run(count_up, "x"),
            lambda: self.store.due(0, 1),
        ]  # fmt: skip

        for call in calls:
            with refused(StoreUnavailable):
                await call()

    @check
    async def test_closing_one_handle_leaves_the_others_open(self) -> None:
        other = await self.another()
        opened = await other.open_session("ann")
        if self.opens_again:
            await self.store.close()

        assert await other.verify_session(opened.secret) == opened.record

    @check
    async def test_errors_of_the_store_are_of_the_one_tree(self) -> None:
        await self.store.close()

        with refused(SessionTokensError):
            await self.tokens.open_session("ann")
