"""Checks of sessions and owners through the API: what the rules promise must hold on this store too."""

from __future__ import annotations

import pickle

from ..._async.api import AsyncSessionTokens
from ...crypto.secret_form import SHORT_SECRET
from ...errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidInput,
    LimitReached,
    NotDetachable,
    NotOwner,
    OwnerDisabled,
    SessionEnded,
    UnknownSession,
)
from ...settings import FROM_DB, Settings
from ..harness import NO_CAP, StoreBench, check, refused


class ShortSecrets(AsyncSessionTokens):
    """Opens sessions with short secrets, as the engine of Django does."""

    _secret_kind = SHORT_SECRET


class SessionChecks(StoreBench):
    """The life of a session."""

    @check
    async def test_a_session_verifies_until_it_is_ended_and_never_again(self) -> None:
        opened = await self.tokens.open_session("ann")
        assert await self.tokens.verify_session(opened.secret) == opened.record

        assert await self.tokens.destroy_session(opened.secret) is True
        assert await self.tokens.destroy_session(opened.id) is False
        assert await self.tokens.verify_session(opened.secret) is None
        assert await self.tokens.get_session(opened.id) is None
        for late in (
            self.tokens.rotate_session(opened.id), self.tokens.attach_session(opened.id),
            self.tokens.change_session(opened.id, max_age=None), self.tokens.issue_token(opened.id),
            self.tokens.update_session_data(opened.id, {"a": 1}), self.tokens.detach_session(opened.id),
        ):  # fmt: skip
            with refused(SessionEnded):
                await late
        assert await self.tokens.verify_session(opened.secret) is None

    @check
    async def test_a_session_comes_whole_out_of_a_pickle(self) -> None:
        opened = await self.tokens.open_session("ann", data={"a": [1]}, max_age=3600, idle_timeout=60)
        for session in (opened.session, await self.tokens.verify_session(opened.secret)):
            assert session is not None
            pickled = pickle.loads(pickle.dumps(session))  # noqa: S301  # its own bytes
            assert pickled == session
            assert 60 < pickled.time_left() <= 64

    @check
    async def test_a_session_is_over_when_its_time_is_swept_or_not(self) -> None:
        opened = await self.tokens.open_session("ann", max_age=self.moment_s)
        assert await self.tokens.verify_session(opened.secret) is not None
        await self.pass_moment()

        for _ in range(3):
            assert await self.tokens.verify_session(opened.secret) is None
            assert (await self.tokens.list_sessions("ann")).items == []
            await self.tokens.sweep()

    @check
    async def test_use_restarts_the_idle_clock(self) -> None:
        opened = await self.tokens.open_session("ann", idle_timeout=self.moment_s * 10, max_age=None)
        await self.pass_moment()
        seen = await self.tokens.verify_session(opened.secret)

        assert seen is not None
        assert seen.last_seen_at > opened.session.last_seen_at
        assert seen.deadline > opened.session.deadline
        assert await self.tokens.get_session(opened.id) == seen

    @check
    async def test_rotating_gives_a_new_secret_and_kills_the_old_one(self) -> None:
        opened = await self.tokens.open_session("ann")
        rotated = await self.tokens.rotate_session(opened.secret)

        assert rotated.id == opened.id
        assert await self.tokens.verify_session(opened.secret) is None
        assert await self.tokens.verify_session(rotated.secret) == rotated.record

    @check
    async def test_a_short_secret_stays_short_for_whoever_renews_it(self) -> None:
        short = ShortSecrets(self.store, NO_CAP)
        opened = await short.open_session("ann", detachable=True, data={"a": 1})
        seen = await self.tokens.verify_session(opened.secret)
        by_id = await self.tokens.rotate_session(opened.id)
        by_secret = await self.tokens.rotate_session(by_id.secret, idempotency_key="once")
        again = await self.tokens.rotate_session(by_id.secret, idempotency_key="once")
        await self.tokens.detach_session(by_secret.secret)
        attached = await self.tokens.attach_session(opened.id)
        plain = await self.tokens.open_session("ann")
        long = await short.rotate_session(plain.id, idempotency_key="long")

        assert seen == opened.record
        assert {(issued.secret[:4], len(issued.secret)) for issued in (opened, by_id, by_secret, attached)} == {
            ("std_", 40)
        }
        assert again.record == by_secret.record
        assert again.secret == by_secret.secret
        assert await self.tokens.verify_session(attached.secret) == attached.record
        assert (long.secret[:4], len(long.secret)) == ("sts_", 55)
        assert await self.tokens.verify_session(long.secret) == long.record

    @check
    async def test_a_detached_session_lives_without_a_secret_until_it_is_attached(self) -> None:
        opened = await self.tokens.open_session("ann", detachable=True)
        token = await self.tokens.issue_token(opened.id)
        await self.tokens.detach_session(opened.secret)
        assert await self.tokens.verify_session(opened.secret) is None
        assert await self.tokens.verify_token(token.secret) is not None
        assert await self.tokens.get_session(opened.id) is not None

        attached = await self.tokens.attach_session(opened.id)
        assert await self.tokens.verify_session(opened.secret) is None
        assert await self.tokens.verify_session(attached.secret) == attached.record
        with refused(Conflict):
            await self.tokens.attach_session(opened.id)

    @check
    async def test_a_session_that_is_not_detachable_stays_attached(self) -> None:
        opened = await self.tokens.open_session("ann")
        with refused(NotDetachable):
            await self.tokens.detach_session(opened.id)

        assert await self.tokens.verify_session(opened.secret) == opened.record

    @check
    async def test_data_is_merged_field_by_field(self) -> None:
        opened = await self.tokens.open_session("ann", data={"a": 1, "b": [2], "n": None, "r": 0})
        await self.tokens.update_session_data(opened.id, {"b": None, "c": {"d": "é"}}, removed=["r", "not there"])
        session = await self.tokens.get_session(opened.id)

        assert session is not None
        assert session.data == {"a": 1, "b": None, "n": None, "c": {"d": "é"}}
        with refused(Conflict):
            await self.tokens.update_session_data(opened.id, {"c": 3}, version=1)
        await self.tokens.update_session_data(opened.id, {"a": 3}, version=1)

    @check
    async def test_at_the_cap_the_oldest_session_gives_way_with_its_transferables(self) -> None:
        one = await self.another(Settings(max_sessions=1))
        first = await one.open_session("ann")
        bound = await one.issue_token(first.id)
        moving = await one.issue_token(first.id, transferable=True)
        second = await one.open_session("ann")

        assert await one.verify_session(first.secret) is None
        assert await one.verify_token(bound.secret) is None
        moved = await one.verify_token(moving.secret)
        assert moved is not None
        assert moved.session_id == second.id

    @check
    async def test_at_the_cap_a_refusing_policy_refuses(self) -> None:
        two = await self.another(Settings(max_sessions=2, session_policy="refuse"))
        opened = [await two.open_session("ann") for _ in range(2)]
        with refused(LimitReached):
            await two.open_session("ann")

        assert [await two.verify_session(issued.secret) for issued in opened] == [issued.record for issued in opened]

    @check
    async def test_all_sessions_of_an_owner_end_but_the_one_to_keep(self) -> None:
        opened = [await self.tokens.open_session("ann") for _ in range(12)]
        other = await self.tokens.open_session("bob")

        assert await self.tokens.destroy_sessions("ann", except_session=opened[4].id) == 11
        assert [session.id for session in (await self.tokens.list_sessions("ann")).items] == [opened[4].id]
        assert await self.tokens.verify_session(other.secret) is not None

    @check
    async def test_the_one_to_keep_is_named_by_its_secret_as_well(self) -> None:
        kept, other = await self.tokens.open_session("ann"), await self.tokens.open_session("ann")
        bobs = await self.tokens.open_session("bob")
        with refused(NotOwner):
            await self.tokens.destroy_sessions("ann", except_session=bobs.secret)
        with refused(UnknownSession):
            await self.tokens.destroy_sessions("ann", except_session="sts_" + "0" * 51)
        assert await self.tokens.destroy_sessions("ann", except_session=kept.secret) == 1
        assert await self.tokens.verify_session(kept.secret) is not None
        assert await self.tokens.verify_session(other.secret) is None

    @check
    async def test_a_disabled_owner_has_no_session_and_gets_none(self) -> None:
        other = await self.another()
        opened = await self.tokens.open_session("ann")
        assert await self.tokens.disable_owner("ann") is True
        assert await other.verify_session(opened.secret) is None
        with refused(OwnerDisabled):
            await other.open_session("ann")

        assert await other.enable_owner("ann") is True
        assert await self.tokens.verify_session(opened.secret) is None
        again = await other.open_session("ann")
        assert await self.tokens.verify_session(again.secret) is not None

    @check
    async def test_a_retry_with_its_idempotency_key_gets_the_first_outcome(self) -> None:
        other = await self.another()
        first = await self.tokens.open_session("ann", label="a", idempotency_key="once")
        again = await other.open_session("ann", label="a", idempotency_key="once")

        assert (again.secret, again.record) == (first.secret, first.record)
        assert len((await self.tokens.list_sessions("ann")).items) == 1
        with refused(IdempotencyMismatch):
            await self.tokens.open_session("ann", label="b", idempotency_key="once")

    @check
    async def test_a_refused_command_keeps_no_outcome(self) -> None:
        opened = await self.tokens.open_session("ann")
        with refused(NotDetachable):
            await self.tokens.detach_session(opened.id, idempotency_key="once")
        await self.tokens.change_session(opened.id, detachable=True)

        assert (await self.tokens.detach_session(opened.id, idempotency_key="once")).is_detached

    @check
    async def test_the_general_timeout_is_read_from_the_store(self) -> None:
        await self.tokens.set_general_session_timeout(120)
        other = await self.another(Settings(max_age=FROM_DB))

        assert (await other.open_session("ann")).session.max_age == 120

    @check
    async def test_general_settings_are_shared_and_a_lowered_cap_ends_nobody(self) -> None:
        for _ in range(3):
            await self.tokens.open_session("ann")
        await self.tokens.set_setting("max_sessions", 2)
        await self.tokens.set_setting("idle_timeout", 60)
        other = await self.another(Settings())

        assert len((await other.list_sessions("ann")).items) == 3
        assert (await other.open_session("ann")).session.idle_timeout == 60
        assert len((await other.list_sessions("ann")).items) == 2

        await other.unset_setting("idle_timeout")
        third = await self.another(Settings())
        assert (await third.open_session("bob")).session.idle_timeout is None

    @check
    async def test_an_owner_is_renamed_with_all_that_is_theirs(self) -> None:
        opened = [await self.tokens.open_session("ann") for _ in range(2)]
        held = await self.tokens.issue_token(opened[0].id, "held", transferable=True)
        assert await self.tokens.rename_owner("ann", "anna") == 3

        other = await self.another()
        for issued in opened:
            session = await other.verify_session(issued.secret or "")
            assert session is not None and session.owner == "anna"
        token = await other.verify_token(held.secret or "")
        assert token is not None and token.owner == "anna"
        assert [owner.owner for owner in await other.list_owners()] == ["anna"]
        assert len(await other.list_sessions("anna")) == 2
        assert await other.destroy_sessions("anna") == 2
        assert [await other.verify_session(issued.secret or "") for issued in opened] == [None, None]

    @check
    async def test_an_owner_is_forgotten(self) -> None:
        opened = await self.tokens.open_session("ann", label="desk")
        held = await self.tokens.issue_token(opened.id, "held", transferable=True)
        waiting = await self.tokens.issue_token(None, "offered", transferable=True)
        await self.tokens.offer_token(waiting.id, to="ann")
        forgotten = await self.tokens.forget_owner("ann")

        other = await self.another()
        assert await other.verify_session(opened.secret or "") is None
        left, free = await other.get_token(held.id), await other.get_token(waiting.id)
        assert left is not None and (left.owner, left.previous_owner) == (None, forgotten.pseudonym)
        assert free is not None and free.reserved_for is None
        assert (forgotten.sessions, forgotten.tokens) == (1, 2)
        assert list(await other.list_disabled_owners()) == []
        for cursor in ("", "ann", "place.", "place.YW5", (await other.list_tokens(limit=1)).after or "0"):
            with refused(InvalidInput):
                await other.list_disabled_owners(after=cursor)
        assert (await other.open_session("ann")).session.owner == "ann"

    @check
    async def test_sweeping_tells_each_expiry_once_and_forgets_nothing_that_lives(self) -> None:
        over = await self.tokens.open_session("ann", max_age=self.moment_s)
        living = await self.tokens.open_session("ann")
        for _ in range(3):
            await self.tokens.issue_token(over.id, transferable=True)
        await self.pass_moment()
        told: list[str] = []
        self.store.listeners.add(lambda event: told.append(event.subject_id))
        while await self.tokens.sweep():
            pass

        assert told == [over.id]
        assert await self.tokens.verify_session(living.secret) == living.record
        assert len((await self.tokens.list_tokens(unassigned=True)).items) == 3
