"""Webhooks are told every event at least once, those of a subject in order, and nobody waits for one that is away."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from session_tokens import AsyncSessionTokens, Settings
from session_tokens.clock import ManualClock
from session_tokens.contract.queries import Get
from session_tokens.contract.transaction import Transaction, reads
from session_tokens.events import KINDS
from session_tokens.rules import webhooks as rules
from session_tokens.rules.webhooks import HOOKS, STATE, Hook, take_lease
from session_tokens.webhooks import delivering
from session_tokens.webhooks.delivering import BACKOFF_S, Deliverer
from session_tokens.webhooks.hooks import (
    add_webhook,
    change_webhook,
    list_webhooks,
    remove_webhook,
    replay_webhook,
    rotate_webhook,
    state_of_webhook,
)
from session_tokens.webhooks.sending import Sender
from tests.helpers.running_service import RunningService
from tests.helpers.waiting import wait_until
from tests.helpers.webhook_receiver import Receiver, receiving

DURABLE = Settings(max_sessions=None, events="durable")
OF_OTHERS = [kind for kind in KINDS if not kind.startswith("webhook_")]
SHORT_S = 5 * (1 + delivering.JITTER)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


class Desk:
    """A webhook of a store, and a deliverer that works when told."""

    def __init__(self, tokens: AsyncSessionTokens, clock: ManualClock, hook: Hook, secret: str) -> None:
        self.tokens = tokens
        self.clock = clock
        self.hook = hook
        self.secret = secret
        self.deliverer = Deliverer(tokens, Sender(["127.0.0.1"]))

    async def rounds(self) -> None:
        """Work until nothing more is tried."""
        await self.tokens.store.run(take_lease, self.deliverer._who, 10**12)
        while (await self.deliverer.round(self.hook.id))[0]:
            pass


@asynccontextmanager
async def desk_at(url: str, receiver: Receiver, **options: Any) -> AsyncIterator[Desk]:
    clock = ManualClock()
    async with await AsyncSessionTokens.open(url, settings=DURABLE, clock=clock, sweep=False) as tokens:
        hook, secret = await add_webhook(tokens, f"{receiver.url}/hooks?a=b", **({"kinds": OF_OTHERS} | options))
        made = Desk(tokens, clock, hook, secret)
        try:
            yield made
        finally:
            await made.deliverer._sender.close()


@pytest.fixture(params=["memory", "sqlite"])
async def desk(request: pytest.FixtureRequest, receiver: Receiver, tmp_path: Path) -> AsyncIterator[Desk]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'sessions.db'}"
    async with desk_at(url, receiver) as made:
        yield made


def kinds_of(receiver: Receiver, subject: str) -> list[str]:
    return [event["kind"] for event in receiver.events() if event["subject_id"] == subject]


async def test_what_happens_is_sent_once_signed_and_in_order(desk: Desk, receiver: Receiver) -> None:
    session = await desk.tokens.open_session("ann")
    await desk.tokens.rotate_session(session.id)
    await desk.tokens.destroy_session(session.id)
    await desk.rounds()
    await desk.rounds()

    assert kinds_of(receiver, session.id) == ["session_opened", "session_rotated", "session_ended"]
    assert receiver.events() == [event.to_dict() for event in (await desk.tokens.events())[1:]], "one subject"
    for body, headers in receiver.taken:
        headers["webhook-timestamp"] = str(desk.clock.now() // 1000)
        assert headers["content-type"] == "application/json"
        assert headers["host"] == receiver.url.removeprefix("http://")
        expected = Webhook(desk.secret).sign(
            headers["webhook-id"], _instant(headers["webhook-timestamp"]), body.decode()
        )
        assert headers["webhook-signature"] == expected


def _instant(text: str) -> Any:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(int(text), UTC)


async def test_what_follows_on_one_that_is_not_taken_waits_and_nothing_else_does(
    desk: Desk, receiver: Receiver
) -> None:
    ann, ben = await desk.tokens.open_session("ann"), await desk.tokens.open_session("ben")
    refused = {ann.id}
    receiver.answer = lambda message: 500 if message["data"]["subject_id"] in refused else 200
    await desk.tokens.destroy_session(ann.id)
    await desk.tokens.destroy_session(ben.id)
    await desk.rounds()
    await desk.tokens.open_session("cyn")
    await desk.rounds()

    assert kinds_of(receiver, ben.id) == ["session_opened", "session_ended"]
    assert sorted(event["owner"] for event in receiver.events()) == ["ben", "ben", "cyn"]
    assert len([message for message in receiver.asked if message["data"]["owner"] == "ann"]) == 1, "it is not hurried"
    refused.clear()
    await desk.rounds()
    assert kinds_of(receiver, ann.id) == []
    desk.clock.advance(SHORT_S)
    await desk.rounds()
    assert kinds_of(receiver, ann.id) == ["session_opened", "session_ended"]
    assert (await state_of_webhook(desk.tokens, desk.hook.id)).waiting == []


async def test_what_is_never_taken_is_given_up_and_can_be_sent_again(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    ann = await desk.tokens.open_session("ann")
    receiver.answer = lambda message: 503
    for wait_s in (0, *BACKOFF_S):
        desk.clock.advance(wait_s * (1 + delivering.JITTER) + 1)
        await desk.rounds()
    state = await state_of_webhook(desk.tokens, desk.hook.id)
    assert [(dead.event.subject_id, dead.attempts, dead.why) for dead in state.dead] == [
        (ann.id, len(BACKOFF_S) + 1, "HTTP 503")
    ]
    assert (len(receiver.asked), state.waiting) == (len(BACKOFF_S) + 1, [])
    assert f"replay {desk.hook.id}" in caplog.text

    receiver.answer = lambda message: 200
    assert await replay_webhook(desk.tokens, desk.hook.id) == 1
    await desk.rounds()
    assert kinds_of(receiver, ann.id) == ["session_opened"]
    assert await replay_webhook(desk.tokens, desk.hook.id) == 0


async def test_everything_after_an_event_can_be_sent_again(desk: Desk, receiver: Receiver) -> None:
    for owner in ("ann", "ben", "cyn"):
        await desk.tokens.open_session(owner)
    await desk.rounds()
    first = (await desk.tokens.events())[1]
    await replay_webhook(desk.tokens, desk.hook.id, after=first.id)
    await desk.rounds()
    assert sorted(event["owner"] for event in receiver.events()) == ["ann", "ben", "ben", "cyn", "cyn"]


async def test_a_replay_loses_nothing_that_stands_before_it(desk: Desk, receiver: Receiver) -> None:
    """What was given up at or before the event stays there, and what waits goes on waiting."""
    receiver.answer = lambda message: 503
    dead = await desk.tokens.open_session("dead")
    for wait_s in (0, *BACKOFF_S):
        desk.clock.advance(wait_s * (1 + delivering.JITTER) + 1)
        await desk.rounds()
    waits = await desk.tokens.open_session("waits")
    later = await desk.tokens.open_session("later")
    await desk.rounds()
    place = next(event.id for event in await desk.tokens.events() if event.subject_id == waits.id)
    receiver.answer = lambda message: 200
    assert await replay_webhook(desk.tokens, desk.hook.id, after=place) == 0
    await desk.rounds()
    assert [event["subject_id"] for event in receiver.events()] == [later.id]
    desk.clock.advance(SHORT_S)
    await desk.rounds()
    assert kinds_of(receiver, waits.id) == ["session_opened"]
    state = await state_of_webhook(desk.tokens, desk.hook.id)
    assert [each.event.subject_id for each in state.dead] == [dead.id]
    assert await replay_webhook(desk.tokens, desk.hook.id) == 1
    await desk.rounds()
    assert kinds_of(receiver, dead.id) == ["session_opened"]


async def test_a_redirect_is_not_followed(desk: Desk, receiver: Receiver) -> None:
    await desk.tokens.open_session("ann")
    receiver.answer = lambda message: 307
    await desk.rounds()
    assert (len(receiver.asked), receiver.taken) == (1, [])


async def test_an_address_that_is_gone_is_told_nothing_more(desk: Desk, receiver: Receiver) -> None:
    await desk.tokens.open_session("ann")
    receiver.answer = lambda message: 410
    await desk.rounds()
    desk.clock.advance(10**6)
    await desk.tokens.open_session("ben")
    await desk.rounds()
    assert len(receiver.asked) == 1
    assert [hook.is_on for hook in await list_webhooks(desk.tokens)] == [False]
    receiver.answer = lambda message: 200
    await replay_webhook(desk.tokens, desk.hook.id)
    await desk.rounds()
    assert sorted(event["owner"] for event in receiver.events()) == ["ann", "ben"]


async def test_an_address_that_is_gone_switches_no_other_one_off(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """It was changed, or the webhook was removed, while the former address was asked."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def answer(message: object) -> int:
        is_asked.set()
        return 410 if may_answer.wait(30) else 500

    receiver.answer = answer

    async def asked_while(act: Awaitable[object]) -> None:
        await desk.tokens.open_session("ann")
        await desk.tokens.store.run(take_lease, desk.deliverer._who, 10**12)
        round_ = asyncio.create_task(desk.deliverer.round(desk.hook.id))
        assert await asyncio.to_thread(is_asked.wait, 30)
        await act
        may_answer.set()
        await round_

    await asked_while(change_webhook(desk.tokens, desk.hook.id, url=f"{receiver.url}/new"))
    assert [(f"{receiver.url}/new", True)] == [(hook.url, hook.is_on) for hook in await list_webhooks(desk.tokens)]
    is_asked.clear()
    may_answer.clear()
    await asked_while(remove_webhook(desk.tokens, desk.hook.id))
    assert "switched off" not in caplog.text


async def test_only_the_kinds_that_are_asked_for_are_sent(receiver: Receiver) -> None:
    async with desk_at("memory://", receiver, kinds=["session_ended"]) as desk:
        session = await desk.tokens.open_session("ann")
        await desk.tokens.destroy_session(session.id)
        await desk.rounds()
        assert [event["kind"] for event in receiver.events()] == ["session_ended"]


async def test_a_webhook_that_is_told_everything_is_told_what_is_done_to_it(receiver: Receiver) -> None:
    async with desk_at("memory://", receiver, kinds=None) as desk:
        await desk.rounds()
        await rotate_webhook(desk.tokens, desk.hook.id)
        await desk.rounds()
        assert [event["kind"] for event in receiver.events()] == ["webhook_added", "webhook_rotated"]


async def test_what_waits_is_sent_where_the_webhook_then_leads(desk: Desk, receiver: Receiver) -> None:
    receiver.answer = lambda message: 500
    await desk.tokens.open_session("ann")
    await desk.rounds()
    with receiving() as other:
        await change_webhook(desk.tokens, desk.hook.id, url=f"{other.url}/moved")
        await desk.tokens.open_session("ben")
        desk.clock.advance(SHORT_S)
        await desk.rounds()

        assert sorted(event["owner"] for event in other.events()) == ["ann", "ben"]
        assert len(receiver.asked) == 1
        assert {headers["host"] for _, headers in other.taken} == {other.url.removeprefix("http://")}


async def test_while_a_webhook_is_off_events_wait_in_the_log(desk: Desk, receiver: Receiver) -> None:
    await change_webhook(desk.tokens, desk.hook.id, is_on=False)
    await desk.tokens.open_session("ann")
    await desk.rounds()
    assert receiver.asked == []
    await change_webhook(desk.tokens, desk.hook.id, is_on=True)
    await desk.rounds()
    assert [event["owner"] for event in receiver.events()] == ["ann"]


async def test_whoever_does_not_send_writes_nothing_down(desk: Desk, receiver: Receiver) -> None:
    await desk.tokens.open_session("ann")
    await desk.tokens.store.run(take_lease, "another", 10**9)
    before = await state_of_webhook(desk.tokens, desk.hook.id)
    await desk.deliverer.round(desk.hook.id)
    assert await state_of_webhook(desk.tokens, desk.hook.id) == before
    assert not await desk.tokens.store.run(take_lease, desk.deliverer._who, 1_000)
    desk.clock.advance(10**6)
    await desk.rounds()
    assert len(receiver.asked) == 2, "it may be sent once more, and is never lost"


async def test_a_deliverer_sends_by_itself_until_it_is_stopped(desk: Desk, receiver: Receiver) -> None:
    running = asyncio.create_task(desk.deliverer.run())
    opened = [await desk.tokens.open_session("ann") for _ in range(3)]
    await asyncio.to_thread(receiver.wait_for, lambda: len(receiver.taken) == 3)
    await remove_webhook(desk.tokens, desk.hook.id)
    assert {event["subject_id"] for event in receiver.events()} == {session.id for session in opened}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_webhook_that_is_woken_in_the_turn_in_which_it_is_left_ends(desk: Desk) -> None:
    deliverer, id = desk.deliverer, desk.hook.id
    await deliverer._work_on([desk.hook])
    task = deliverer._tasks[id]
    await asyncio.to_thread(wait_until, lambda: bool(deliverer._woken[id]._waiters))  # it rests
    deliverer._woken[id].set()
    await asyncio.wait([asyncio.ensure_future(deliverer._work_on([]))], timeout=30)
    assert task.done()


async def test_a_webhook_without_anything_new_decodes_nothing(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked for it again and again; one look at the log serves all, and wakes who wants what came."""
    monkeypatch.setattr(delivering, "IDLE_S", 0.001)
    decoded, read, looked = list[str | None](), list[str](), list[int]()
    state_of, round_of, read_log = rules.state_of, desk.deliverer.round, desk.tokens._read_log

    def counted_state(text: str | None) -> rules.State:
        decoded.append(text)
        return state_of(text)

    async def counted_round(id: str) -> tuple[int, int]:
        read.append(id)
        return await round_of(id)

    async def counted_log(*asked: Any) -> Any:
        looked.append(1)
        return await read_log(*asked)

    monkeypatch.setattr(rules, "state_of", counted_state)
    monkeypatch.setattr(desk.deliverer, "round", counted_round)
    monkeypatch.setattr(desk.tokens, "_read_log", counted_log)
    running = asyncio.create_task(desk.deliverer.run())
    try:
        await asyncio.to_thread(wait_until, lambda: len(looked) > 100)
        assert (len(decoded), len(read) <= 3) == (1, True), "at its beginning, and when the watch began"

        await desk.tokens.open_session("ann")
        await asyncio.to_thread(receiver.wait_for, lambda: len(receiver.taken) == 1)
        await replay_webhook(desk.tokens, desk.hook.id, after=(await desk.tokens.events())[0].id)
        await asyncio.to_thread(receiver.wait_for, lambda: len(receiver.taken) == 2)
        assert len(decoded) < 10 and len(read) < 10
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_a_webhook_does_not_want_is_passed_and_seldom_written_down(receiver: Receiver) -> None:
    async with desk_at("memory://", receiver, kinds=["session_ended"]) as desk:
        await desk.tokens.store.run(take_lease, desk.deliverer._who, 10**12)
        before = await state_of_webhook(desk.tokens, desk.hook.id)
        session = (await desk.tokens.open_session("ann")).session
        for _ in range(3 * delivering.BATCH):
            await desk.tokens.rotate_session(session.id)
        await desk.deliverer.round(desk.hook.id)
        assert await state_of_webhook(desk.tokens, desk.hook.id) == before, "it was written a moment ago"
        await desk.tokens.destroy_session(session.id)
        assert await desk.deliverer.round(desk.hook.id) == (1, 1)
        after = await state_of_webhook(desk.tokens, desk.hook.id)
        assert after.cursor == (await desk.tokens.last_event_id())

        await desk.tokens.open_session("ben")
        desk.deliverer._known[desk.hook.id].saved_s -= delivering.SAVED_S
        await desk.deliverer.round(desk.hook.id)
        assert (await state_of_webhook(desk.tokens, desk.hook.id)).cursor == (await desk.tokens.last_event_id())
        assert [event["kind"] for event in receiver.events()] == ["session_ended"]


async def test_what_is_read_behind_one_that_waits_is_written_down(desk: Desk, receiver: Receiver) -> None:
    """Nothing is due then, and it would be forgotten."""
    receiver.answer = lambda message: 500
    session = (await desk.tokens.open_session("ann")).session
    await desk.rounds()
    await desk.tokens.rotate_session(session.id)
    await desk.rounds()
    state = await state_of_webhook(desk.tokens, desk.hook.id)
    assert [each.event.kind for each in state.waiting] == ["session_opened", "session_rotated"]
    assert state.cursor == await desk.tokens.last_event_id()


@pytest.mark.parametrize("name", [HOOKS, "the state of the hook"])
async def test_what_nobody_foresaw_ends_no_deliverer(
    desk: Desk, receiver: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What is written down of webhooks cannot be read for a while; that is told, and then the rest is sent."""
    monkeypatch.setattr(delivering, "LOOK_S", 0.01)
    monkeypatch.setattr(delivering, "REST_S_MAX", 0.01)
    store, name = desk.tokens.store, name if name == HOOKS else STATE + desk.hook.id
    _, (found,) = await store.read([Get("setting", name)])
    await desk.tokens.open_session("ann")
    await store.run(put, name, "{")
    running = asyncio.create_task(desk.deliverer.run())
    try:
        while not any(record.exc_info for record in caplog.records):
            assert not running.done(), "the deliverer has ended"
            await asyncio.sleep(0.01)
        await store.run(put, name, found.value)
        await asyncio.to_thread(receiver.wait_for, lambda: len(receiver.taken) == 1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@reads(lambda name, text: [Get("setting", name)])
def put(tx: Transaction, name: str, text: str) -> None:
    """Write a setting."""
    tx.put_setting(name, text)


@pytest.mark.server
def test_services_and_receivers_that_are_killed_lose_no_event(tmp_path: Path) -> None:
    """Two services on one store are killed in turn while the receiver fails now and then."""
    store = f"sqlite:///{tmp_path / 'sessions.db'}"
    options: dict[str, Any] = {"settings": {"events": "durable"}, "webhook_allow": ["127.0.0.1"]}
    services: list[RunningService] = []
    counted: list[int] = []

    def fails_often(message: dict[str, Any]) -> int:
        counted.append(1)
        return 500 if len(counted) % 7 == 0 else 200

    with receiving() as receiver:
        receiver.answer = fails_often
        try:
            services.append(RunningService(store, tmp_path / "log", **options))
            secret = services[0].secret
            with services[0].http() as http:
                made = http.post("/v1/webhooks", json={"url": receiver.url}).json()
            ids = []
            for turn in range(3):
                services.append(RunningService(store, tmp_path / "log", secret, **options))
                with services[-1].http() as http:
                    for number in range(8):
                        id = http.post("/v1/sessions", json={"owner": f"owner {number}"}).json()["session"]["id"]
                        assert http.delete(f"/v1/sessions/{id}").status_code == 204
                        ids.append(id)
                    services[turn].stop(signal.SIGKILL)
            receiver.answer = lambda message: 200
            receiver.wait_for(lambda: all(kinds_of(receiver, id)[-1:] == ["session_ended"] for id in ids), 60)
            with services[-1].http() as http:
                dead = http.get(f"/v1/webhooks/{made['webhook']['id']}/dead").json()
            assert dead["events"] == []
        finally:
            for service in services:
                service.stop(signal.SIGKILL)
        for body, headers in receiver.taken:
            Webhook(made["secret"]).verify(body, headers)
    for id in ids:
        kinds = list(dict.fromkeys(kinds_of(receiver, id)))  # what was sent once more tells nothing new
        assert kinds == ["session_opened", "session_ended"]
