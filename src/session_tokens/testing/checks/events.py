"""Checks of the events that a store keeps: in the commit that they describe, each once, in order, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..._async.api import AsyncSessionTokens
from ...contract.event_log import TRIMMED_AT_ONCE
from ...errors import Conflict, InvalidInput, NotOwner, Refused
from ...events import GAP, SESSION_OPENED, Event, event_id
from ...settings import Settings
from ..harness import StoreBench, check, outcomes, refused

KEPT = Settings(max_sessions=None, events="durable")


class EventChecks(StoreBench):
    """What a store that keeps events answers about them; one that cannot says so."""

    async def keeping(self) -> AsyncSessionTokens | None:
        """Return the API on the store of this check, which keeps events from now on; ``None`` if it cannot."""
        tokens = AsyncSessionTokens(self.store, KEPT)
        if not self.store.keeps_events:
            with refused(InvalidInput):
                await tokens.record_events()
            return None
        await tokens.record_events()
        return tokens

    async def all_of(self, tokens: AsyncSessionTokens, after: str | None = None) -> list[Event]:
        """Return all events, read a few at a time."""
        events: list[Event] = []
        while True:
            page = await tokens.events(after=after, limit=7)
            events += page.items
            if page.after is None:
                return events
            after = page.after

    @check
    async def test_a_store_keeps_no_events_unless_told_to(self) -> None:
        await self.tokens.open_session("ann")
        with refused(InvalidInput):
            await self.tokens.events()
        with refused(InvalidInput):
            await anext(self.tokens.follow_events())
        if (tokens := await self.keeping()) is not None:
            assert list(await tokens.events()) == []

    @check
    async def test_a_follower_can_begin_with_what_comes(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        for owner in ("ann", "bea"):
            before = await tokens.last_event_id()
            session = (await tokens.open_session(owner)).session
            async with tokens.follow_events(after=before) as follower:
                event = await anext(follower)
            assert (event.kind, event.subject_id) == (SESSION_OPENED, session.id)

    @check
    async def test_what_is_kept_is_what_callbacks_are_told(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        told: list[Event] = []
        tokens.subscribe(told.append)
        await _all_kinds_of_changes(tokens)

        kept = await self.all_of(tokens)
        assert [event[:6] for event in kept] == [event[:6] for event in told]
        assert len({event.kind for event in kept}) == 16, "all but those of service keys"
        ids = [event.id for event in kept]
        assert ids == sorted(set(ids))

    @check
    async def test_no_event_holds_a_secret_a_value_or_data(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        session = await tokens.open_session("ann", data={"colour": "vermilion"}, label="lilac phone")
        token = await tokens.issue_token(session.id, "aquamarine", transferable=True)
        handed = await tokens.transfer_token(token.id, giver="ann", receiver="bob")
        await tokens.update_session_data(session.id, {"taste": "rhubarb"})
        text = repr([event.to_dict() for event in await tokens.events()])
        for hidden in (session.secret, token.secret, handed.secret, "vermilion", "lilac", "aquamarine", "rhubarb"):
            assert hidden not in text

    @check
    async def test_what_was_refused_has_no_event(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        session = await tokens.open_session("ann")
        token = await tokens.issue_token(session.id, transferable=True)
        before = await self.all_of(tokens)
        with refused(NotOwner):
            await tokens.transfer_token(token.id, giver="eve", receiver="bob")
        with refused(Conflict):
            await tokens.attach_session(session.id)
        assert await tokens.verify_session(session.secret) is not None
        assert await self.all_of(tokens) == before

    @check
    async def test_every_handle_keeps_events_once_one_was_told_to(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        other = await self.another()
        await other.refresh_settings()
        first = await other.open_session("ann")
        second = await tokens.open_session("ben")
        for reader in (tokens, other):
            assert [event.subject_id for event in await reader.events()] == [first.id, second.id]

    @check
    async def test_each_end_is_told_once_with_its_reason_expiries_when_swept(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        ended = await tokens.open_session("ann")
        expired = await tokens.open_session("ben", max_age=self.moment_s)
        idle = await tokens.open_session("cyn", idle_timeout=self.moment_s / 2)
        token = await tokens.issue_token(None, timeout=self.moment_s)
        bound = await tokens.issue_token(expired.id)
        await tokens.destroy_session(ended.id)
        await tokens.destroy_session(ended.id)
        await self.pass_moment()
        assert await tokens.verify_session(expired.secret) is None
        ends = [event for event in await tokens.events() if event.kind.endswith("_ended")]
        assert [(event.subject_id, event.reason) for event in ends] == [(ended.id, "logout")]

        while await tokens.sweep() or await (await self.another()).sweep():
            pass
        ends = [event for event in await tokens.events() if event.kind.endswith("_ended")]
        assert sorted((event.subject_id, event.reason) for event in ends) == sorted([
            (ended.id, "logout"), (expired.id, "expired"), (idle.id, "idle"), (token.id, "expired"),
        ])  # fmt: skip
        assert bound.id not in {event.subject_id for event in ends}, "it ended with its session"

    @check
    async def test_of_many_at_once_nothing_is_lost_doubled_or_out_of_order(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        other = await self.another()
        await other.refresh_settings()
        owners = ("ann", "ben", "cyn")
        for owner in owners:
            await tokens.open_session(owner)
        ticket = await tokens.issue_token((await tokens.open_session("ann")).id, transferable=True)

        async def passes_it_on(who: AsyncSessionTokens, giver: str, receiver: str) -> int:
            done = 0
            for _ in range(8):
                try:
                    await who.transfer_token(ticket.id, giver=giver, receiver=receiver)
                    done += 1
                except Refused:
                    await asyncio.sleep(0)
            return done

        async def comes_and_goes(who: AsyncSessionTokens, owner: str) -> None:
            for _ in range(5):
                session = await who.open_session(owner)
                await who.rotate_session(session.id)
                await who.destroy_session(session.id)

        pairs = [(giver, receiver) for giver in owners for receiver in owners if giver != receiver]
        ways = [passes_it_on(who, *pair) for who in (tokens, other) for pair in pairs]
        passed = sum((await outcomes(ways))[0])
        await outcomes([comes_and_goes(who, owner) for who in (tokens, other) for owner in owners])

        kept = await self.all_of(tokens)
        assert len({event.id for event in kept}) == len(kept)
        holders = [event for event in kept if event.subject_id == ticket.id][1:]
        assert len(holders) == passed
        assert [event.previous_owner for event in holders] == ["ann", *[event.owner for event in holders[:-1]]]
        by_session: dict[str, list[str]] = {}
        for event in kept:
            by_session.setdefault(event.subject_id, []).append(event.kind)
        lives = [kinds for id, kinds in by_session.items() if kinds[-1] == "session_ended"]
        assert lives == [["session_opened", "session_rotated", "session_ended"]] * (2 * len(owners) * 5)

    @check
    async def test_a_page_goes_on_where_the_one_before_ended(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        opened = [await tokens.open_session(f"owner {number % 2}") for number in range(9)]
        ids = [session.id for session in opened]
        assert [event.subject_id for event in await self.all_of(tokens)] == ids
        first = await tokens.events(limit=4)
        assert first.after == first[-1].id
        assert [event.subject_id for event in await tokens.events(after=first[1].id, limit=3)] == ids[2:5]
        mine = await tokens.events(owner="owner 1", limit=3)
        assert [event.subject_id for event in mine] == ids[1:6:2]
        rest = await tokens.events(after=mine.after, owner="owner 1", limit=3)
        assert ([event.subject_id for event in rest], rest.after) == (ids[7::2], None)
        for wrong in ("", "evt_", opened[0].id, f"{first.after}0"):
            with refused(InvalidInput):
                await tokens.events(after=wrong)

    @check
    async def test_what_is_kept_is_capped_and_a_follower_is_told_of_the_gap(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        opened = [await tokens.open_session("ann") for _ in range(12)]
        all_events = await self.all_of(tokens)
        assert await self.store.trim_events(12) == 0
        assert await self.store.trim_events(5) == 7 < TRIMMED_AT_ONCE
        assert await self.store.trim_events(5) == 0

        assert await self.all_of(tokens) == all_events[7:], "who begins gets what is there"
        assert await self.all_of(tokens, all_events[6].id) == all_events[7:], "who has them all misses nothing"
        late = await self.all_of(tokens, all_events[2].id)
        assert [late[0].kind, *[event.subject_id for event in late[1:]]] == [GAP, *[each.id for each in opened[7:]]]
        assert await self.all_of(tokens, late[0].id) == all_events[7:], "the gap is reported once"
        assert await tokens.verify_session(opened[0].secret) is not None

    @check
    async def test_who_comes_from_another_log_is_told_so(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        await tokens.open_session("ann")
        events = await self.all_of(tokens)
        later = event_id((2**63 - 1, 0))
        page = await tokens.events(after=later)
        assert [event.kind for event in page] == [GAP]
        assert await self.all_of(tokens, page[0].id) == events

    @check
    async def test_a_follower_for_an_owner_is_past_what_concerns_others(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        first = (await tokens.open_session("ann")).session
        for _ in range(3):
            await tokens.open_session("ben")
        async with tokens.follow_events(name="of-ann", owner="ann") as follower:
            assert [event.subject_id for event in await follower.next_few()] == [first.id]
            await tokens.open_session("ben")
            newest = (await self.all_of(tokens))[-1].id
            for _ in range(3):
                assert await follower.next_few() == []
            assert follower._place is not None and event_id(follower._place) == newest, "they are read once"
        async with tokens.follow_events(name="of-ann") as follower:
            later = (await tokens.open_session("ben")).session
            assert (await anext(follower)).subject_id == later.id, "that was written down"
        await tokens.forget_follower("of-ann")

    @check
    async def test_a_follower_of_a_name_goes_on_where_it_was(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        ids = [(await tokens.open_session("ann")).id for _ in range(5)]
        async with tokens.follow_events(name="mailer") as follower:
            assert [(await anext(follower)).subject_id for _ in range(2)] == ids[:2]
        other = await self.another()
        try:
            async with other.follow_events(name="mailer") as follower:
                assert (await anext(follower)).subject_id == ids[2]
                raise Disturbed
        except Disturbed:
            pass
        async with other.follow_events(name="mailer") as follower:
            assert (await anext(follower)).subject_id == ids[2], "it was not done with"
        async with tokens.follow_events(name="mailer") as follower:
            assert (await anext(follower)).subject_id == ids[3]
            await anext(follower)
            waiting = asyncio.create_task(anext(follower))
            await asyncio.sleep(0)
            ids.append((await other.open_session("ben")).id)
            assert (await waiting).subject_id == ids[5]
        async with tokens.follow_events(name="another") as follower:
            assert (await anext(follower)).subject_id == ids[0]
        await tokens.forget_follower("mailer")
        assert (await anext(tokens.follow_events(name="mailer"))).subject_id == ids[0]

    @check
    async def test_events_that_were_off_meanwhile_are_a_gap(self) -> None:
        if (tokens := await self.keeping()) is None:
            return
        first = await tokens.open_session("ann")
        await AsyncSessionTokens(self.store, Settings(events="off")).record_events()
        await tokens.open_session("ann")
        with refused(InvalidInput):
            await tokens.events()
        await self.keeping()
        last = await tokens.open_session("ann")
        kinds = [(event.kind, event.subject_id) for event in await tokens.events()]
        assert kinds == [("session_opened", first.id), (GAP, ""), ("session_opened", last.id)]


class Disturbed(Exception):
    """Raised by a consumer in the middle of an event."""


async def _all_kinds_of_changes(tokens: AsyncSessionTokens) -> Sequence[str]:
    """Make changes of every kind that has an event; return the ids of what was made."""
    ann, ben = await tokens.open_session("ann", detachable=True), await tokens.open_session("ben")
    await tokens.rotate_session(ann.id)
    await tokens.detach_session(ann.id)
    await tokens.attach_session(ann.id)
    await tokens.change_session(ann.id, label="phone")
    token = await tokens.issue_token(ann.id, transferable=True)
    await tokens.change_token(token.id, value=2)
    await tokens.offer_token(token.id, price="1.50")
    await tokens.withdraw_token(token.id)
    await tokens.transfer_token(token.id, giver="ann", receiver="ben")
    await tokens.reissue_token(token.id, owner="ben")
    await tokens.destroy_session(ben.id)
    await tokens.claim_token(token.id, session_key=ann.id)
    await tokens.destroy_token(token.id)
    await tokens.disable_owner("ann")
    await tokens.enable_owner("ann")
    await tokens.open_session("ann")
    return [ann.id, ben.id, token.id]
