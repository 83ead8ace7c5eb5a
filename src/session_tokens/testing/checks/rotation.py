"""Checks of rotation with grace: two who come with one old secret get one new one, and late use of it is theft."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import SessionEnded, UnknownSession
from ...records import Issued, Session
from ...records.rotation import FORMER_MAX
from ...rules.sessions import touch_session
from ..harness import StoreBench, check, outcomes, refused
from .sessions import ShortSecrets

GRACE_S = 600


class RotationChecks(StoreBench):
    """A session whose secret changes while it is in use."""

    @check
    async def test_within_its_grace_the_old_secret_is_good_and_leads_to_the_new_one(self) -> None:
        opened = await self.tokens.open_session("ann", detachable=True)
        rotated = await self.tokens.rotate_session(opened.secret, grace=GRACE_S)
        again = await self.tokens.rotate_session(opened.secret, grace=GRACE_S)
        seen = await self.tokens.verify_session(opened.secret)
        present = await self.tokens.verify_session(rotated.secret)

        assert rotated.secret != opened.secret
        assert (again.secret, again.record) == (rotated.secret, rotated.record)
        assert present == rotated.record
        assert present.secret_until is None
        assert seen is not None
        assert seen.secret_until == rotated.session.rotated_at + GRACE_S * 1000  # type: ignore[operator]
        assert (await self.tokens.update_session_data(opened.secret, {"a": 1})).data == {"a": 1}
        assert [session.id for session in (await self.tokens.list_sessions("ann")).items] == [opened.id]

    @check
    async def test_after_its_grace_the_old_secret_ends_the_session(self) -> None:
        looked, commanded = [await self.rotated(grace_s=self.moment_s) for _ in range(2)]
        await self.pass_moment()
        events: list[tuple[str, str | None]] = []
        self.tokens.subscribe(lambda event: events.append((event.subject_id, event.reason)))

        assert await self.tokens.verify_session(looked[1].secret) is not None
        assert await self.tokens.verify_session(looked[0].secret, touch=False) is None
        with refused(UnknownSession):
            await self.tokens.rotate_session(commanded[0].secret, grace=GRACE_S)
        for old, new in (looked, commanded):
            assert await self.tokens.verify_session(new.secret) is None
            assert await self.tokens.verify_session(old.secret) is None
            assert (await self.tokens.explain(old.id)).reason == "theft"
            with refused(SessionEnded):
                await self.tokens.rotate_session(old.id)
        assert events == [(looked[0].id, "theft"), (commanded[0].id, "theft")]

    @check
    async def test_of_many_secrets_the_last_ones_are_known(self) -> None:
        opened = await self.tokens.open_session("ann")
        issued = [opened]
        for _ in range(FORMER_MAX + 1):
            issued.append(await self.tokens.rotate_session(opened.id, grace=GRACE_S))
        good = [await self.tokens.verify_session(each.secret) is not None for each in issued]

        assert good == [False, *(FORMER_MAX + 1) * [True]]
        newest = [await self.tokens.rotate_session(each.secret, grace=GRACE_S) for each in issued[1:-1]]
        assert {each.secret for each in newest} == {issued[-1].secret}
        assert await self.tokens.verify_session(issued[-1].secret) == issued[-1].record

    @check
    async def test_a_log_in_a_detaching_and_an_end_forget_all_old_secrets(self) -> None:
        renewed, detached, ended, replaced = [await self.rotated(grace_s=self.moment_s) for _ in range(4)]
        secret = (await self.tokens.rotate_session(renewed[1].secret, authenticated=True)).secret
        await self.tokens.detach_session(detached[1].secret)
        await self.tokens.destroy_session(ended[1].secret)
        logged_in = await self.tokens.log_in("ann", former=replaced[0].secret)
        for old, new in (renewed, detached, ended, replaced):
            assert await self.tokens.verify_session(old.secret) is None
            assert await self.tokens.verify_session(new.secret) is None
        attached = await self.tokens.attach_session(detached[0].id)
        await self.pass_moment()
        for old, _ in (renewed, detached, ended, replaced):
            assert await self.tokens.verify_session(old.secret) is None

        for good in (secret, attached.secret, logged_in.secret):
            assert await self.tokens.verify_session(good) is not None

    @check
    async def test_a_log_in_with_an_old_secret_that_is_over_ends_that_session(self) -> None:
        old, new = await self.rotated(grace_s=self.moment_s)
        await self.pass_moment()
        user = await self.tokens.log_in("ann", former=old.secret)

        assert await self.tokens.verify_session(user.secret) == user.record
        assert await self.tokens.verify_session(new.secret) is None
        assert (await self.tokens.explain(old.id)).reason == "theft"

    @check
    async def test_ending_a_session_by_an_old_secret_that_is_over_is_theft(self) -> None:
        old, _ = await self.rotated(grace_s=self.moment_s)
        await self.pass_moment()

        assert await self.tokens.destroy_session(old.secret) is False
        assert (await self.tokens.explain(old.id)).reason == "theft"

    @check
    async def test_old_secrets_are_watched_and_found_after_a_sweep_and_in_another_handle(self) -> None:
        old, new = await self.rotated(grace_s=GRACE_S)
        other = await self.another()
        while await self.tokens.sweep():
            pass

        assert (await other.rotate_session(old.secret, grace=GRACE_S)).secret == new.secret

    @check
    async def test_a_short_secret_stays_short(self) -> None:
        short = ShortSecrets(self.store)
        opened = await short.open_session("ann")
        rotated = await self.tokens.rotate_session(opened.secret, grace=GRACE_S, idempotency_key="once")
        once = await self.tokens.rotate_session(opened.secret, grace=GRACE_S, idempotency_key="once")
        again = await short.rotate_session(opened.secret, grace=GRACE_S)

        assert (rotated.secret[:4], len(rotated.secret)) == ("std_", 40)
        assert once.secret == again.secret == rotated.secret
        assert await self.tokens.verify_session(rotated.secret) == rotated.record

    @check
    async def test_rotations_at_once_by_one_secret_answer_one_new_secret(self) -> None:
        apis = (self.tokens, await self.another())
        opened = await self.tokens.open_session("ann")
        rotated, refusals = await outcomes(
            [apis[number % 2].rotate_session(opened.secret, grace=GRACE_S) for number in range(8)]
        )

        assert refusals == []
        assert len({issued.secret for issued in rotated}) == 1
        assert {issued.session.version for issued in rotated} == {2}
        assert await self.tokens.verify_session(rotated[0].secret) is not None

    @check
    async def test_a_late_use_of_an_old_secret_does_not_make_it_the_present_one(self) -> None:
        opened = await self.tokens.open_session("ann", idle_timeout=self.moment_s * 20, max_age=None)
        lookup = self.store.keyring.lookup(opened.secret)
        rotated = await self.tokens.rotate_session(opened.secret)
        await self.pass_moment()
        await self.pass_moment()
        late: Session | None = await self.store.run(touch_session, opened.id, lookup, lookup)

        assert late is None
        assert await self.tokens.verify_session(opened.secret) is None
        assert await self.tokens.verify_session(rotated.secret) is not None

    @check
    async def test_an_old_secret_whose_record_is_damaged_stops_nothing_but_itself(self) -> None:
        if not self.store.durable:
            return
        detached, renewed, ended, by_old, by_new = [await self.rotated(grace_s=GRACE_S) for _ in range(5)]
        oldest = await self.tokens.open_session("ann")
        last = [await self.tokens.rotate_session(oldest.id, grace=GRACE_S) for _ in range(FORMER_MAX)][-1]
        for issued in (detached[1], renewed[1], ended[1], by_old[1], by_new[1], last):
            assert issued.session.details.rotation is not None
            self.damage("session", issued.session.details.rotation.former[0].id)

        assert await self.tokens.verify_session(by_old[0].secret) is None
        assert (await self.tokens.detach_session(detached[1].secret)).detached_at is not None
        authenticated = await self.tokens.rotate_session(renewed[1].secret, authenticated=True)
        again = await self.tokens.rotate_session(last.secret, grace=GRACE_S)
        assert await self.tokens.destroy_session(ended[1].id) is True
        logged_in = [await self.tokens.log_in("ann", former=each) for each in (by_old[0].secret, by_new[1].secret)]
        while await self.tokens.sweep():
            pass
        for good in (authenticated, again, by_old[1], *logged_in):
            assert await self.tokens.verify_session(good.secret) is not None
        for over in (detached[1], renewed[1], ended[1], by_new[1]):
            assert await self.tokens.verify_session(over.secret) is None

    async def rotated(self, *, grace_s: float) -> Sequence[Issued]:
        """Return a session as it was opened, and with its next secret."""
        opened = await self.tokens.open_session("ann", detachable=True)
        return opened, await self.tokens.rotate_session(opened.secret, grace=grace_s)
