"""Checks of log-ins: one commit opens the user's session and ends the browser's former one, on this store too."""

from __future__ import annotations

import asyncio

from ...crypto.minting import new_secret
from ...crypto.secret_form import SHORT_SECRET
from ...errors import AlreadyExists, Conflict, LimitReached
from ...settings import Settings
from ..harness import StoreBench, check, refused


class LogInChecks(StoreBench):
    """What web frameworks do at a log-in."""

    @check
    async def test_a_log_in_opens_for_the_user_and_ends_the_visitors_session(self) -> None:
        other = await self.another()
        visitor = await self.tokens.log_in(None, data={"cart": [1], "step": 1})
        user = await other.log_in("ann", former=visitor.secret, data={"theme": "dark"}, removed=["step"])

        assert await self.tokens.verify_session(visitor.secret) is None
        assert await self.tokens.verify_session(user.secret) == user.session
        assert await self.tokens.get_session(visitor.id) is None
        assert user.session.data == {"cart": [1], "theme": "dark"}
        assert [session.id for session in (await self.tokens.list_sessions("ann")).items] == [user.id]
        assert (await self.tokens.list_sessions(visitor.session.owner)).items == []

    @check
    async def test_a_field_that_was_changed_meanwhile_is_not_written_over(self) -> None:
        visitor = await self.tokens.log_in(None, data={"views": 1, "step": 1})
        seen = visitor.session.version
        now = (await (await self.another()).update_session_data(visitor.id, {"views": 2})).version
        for former in (visitor.id, visitor.secret):
            with refused(Conflict):
                await self.tokens.log_in("ann", former=former, data={"views": 2}, version=seen)
        with refused(Conflict):
            await self.tokens.log_in("ann", former=visitor.id, data={"views": 3}, version=now + 1)
        assert await self.tokens.verify_session(visitor.secret) is not None
        user = await self.tokens.log_in("ann", former=visitor.id, data={"step": 2}, version=seen)
        assert user.session.data == {"views": 2, "step": 2}
        again = await self.tokens.log_in("ann", former=user.id, data={"views": 3}, version=user.session.version)
        other = await self.tokens.log_in("bob", former=again.id, data={"views": 1}, version=0)
        assert other.session.data == {"views": 1}
        alone = await self.tokens.log_in("bob", former=again.id, data={"views": 1}, version=0)
        assert alone.session.data == {"views": 1}

    @check
    async def test_a_secret_passes_from_the_former_session_to_the_new_one(self) -> None:
        other = await self.another()
        visitor = await self.tokens.log_in(None)
        user = await self.tokens.log_in("ann", former=visitor.id, secret=visitor.secret)
        assert user.secret == visitor.secret
        for tokens in (self.tokens, other):
            assert await tokens.verify_session(visitor.secret) == user.session
        while await self.tokens.sweep():
            pass
        await self.tokens.update_session_data(visitor.secret, {"a": 1})
        await self.tokens.destroy_session(visitor.secret)
        assert await other.verify_session(visitor.secret) is None

    @check
    async def test_the_session_keeps_the_kind_of_a_secret_that_was_handed_out(self) -> None:
        short = new_secret(SHORT_SECRET)
        user = await self.tokens.log_in("ann", secret=short)
        again = await self.tokens.rotate_session(user.id)
        assert (again.secret[:4], again.session.secret_kind) == (SHORT_SECRET, SHORT_SECRET)

    @check
    async def test_the_secret_of_another_session_is_never_adopted(self) -> None:
        visitor, stranger = await self.tokens.log_in(None), await self.tokens.open_session("eve")
        with refused(AlreadyExists):
            await self.tokens.log_in("ann", former=visitor.secret, secret=stranger.secret)
        assert await self.tokens.verify_session(visitor.secret) == visitor.session
        assert await self.tokens.verify_session(stranger.secret) == stranger.session

    @check
    async def test_a_visitors_transferables_go_to_the_user_with_their_secrets(self) -> None:
        visitor = await self.tokens.log_in(None)
        bound = await self.tokens.issue_token(visitor.id)
        tickets = [await self.tokens.issue_token(visitor.id, n, transferable=True) for n in range(20)]
        user = await self.tokens.log_in("ann", former=visitor.secret)

        assert await self.tokens.verify_token(bound.secret) is None
        for ticket in tickets:
            held = await self.tokens.verify_token(ticket.secret)
            assert held is not None
            assert (held.owner, held.session_id, held.epoch) == ("ann", user.id, ticket.token.epoch + 1)
        assert len((await self.tokens.list_tokens(owner="ann")).items) == 20

    @check
    async def test_of_two_log_ins_from_one_session_one_carries_its_data(self) -> None:
        other = await self.another()
        visitor = await self.tokens.log_in(None, data={"cart": 1})
        users = await asyncio.gather(
            self.tokens.log_in("ann", former=visitor.secret), other.log_in("ben", former=visitor.secret)
        )
        assert sorted(len(user.session.data) for user in users) == [0, 1]

    @check
    async def test_a_refused_log_in_leaves_the_former_session_as_it_was(self) -> None:
        tokens = await self.another(Settings(max_sessions=1, session_policy="refuse"))
        visitor = await tokens.log_in(None, data={"cart": 1})
        await tokens.open_session("ann")
        with refused(LimitReached):
            await tokens.log_in("ann", former=visitor.secret)
        assert await self.tokens.verify_session(visitor.secret) == visitor.session

    @check
    async def test_a_log_in_again_takes_the_place_of_the_session_at_the_cap(self) -> None:
        tokens = await self.another(Settings(max_sessions=2, session_policy="refuse"))
        first, second = await tokens.open_session("ann"), await tokens.open_session("ann")
        again = await tokens.log_in("ann", former=first.secret)
        assert [session.id for session in (await tokens.list_sessions("ann")).items] == [second.id, again.id]

    @check
    async def test_a_cookie_of_another_library_leads_to_one_session_and_never_to_a_second(self) -> None:
        other = await self.another()
        moved = await asyncio.gather(
            *(tokens.move_in("cookie", "ann", data={"cart": [1]}, time_left=600) for tokens in (self.tokens, other) * 3)
        )
        secrets = {issued.secret for issued in moved if issued is not None}
        (session,) = (await self.tokens.list_sessions("ann")).items
        assert len(secrets) == 1
        assert await other.verify_session(*secrets) == session
        assert (session.max_age, dict(session.data)) == (600, {"cart": [1]})

        await self.tokens.destroy_session(*secrets)
        again = await other.move_in("cookie", "ann")
        assert again is not None
        assert await other.verify_session(again.secret) is None
        assert (await other.list_sessions("ann")).items == []

    @check
    async def test_one_that_was_moved_before_it_is_presented_waits_for_that(self) -> None:
        short = await self.another(Settings(idle_timeout=600, max_age=3_600))
        waiting = await short.move_in("cookie", "ann", kept=86_400, presented=False)
        assert waiting is not None
        assert (waiting.session.idle_timeout, waiting.session.max_age) == (86_400, None)
        presented = await short.move_in("cookie", "ann", kept=86_400)
        assert presented is not None
        assert waiting.secret == presented.secret
        seen = await self.tokens.verify_session(presented.secret)
        assert seen is not None
        assert (seen.idle_timeout, 3_600 <= seen.max_age < 7_200) == (600, True)  # type: ignore[operator]
        assert (again := await short.move_in("cookie", "ann", presented=False)) is not None
        assert again.secret == presented.secret
        assert await self.tokens.finish_moving_in()
        assert await self.tokens.move_in("another", "bob") is None
        assert await self.tokens.verify_session(waiting.secret) is not None
