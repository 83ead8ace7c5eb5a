"""`session-tokens store copy` takes the events along: followers and webhooks go on where they were."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, Settings
from session_tokens.contract.queries import Get
from session_tokens.contract.transaction import Transaction, reads
from session_tokens.events import GAP, NOWHERE, Event, place_of_event
from session_tokens.rules.copied_settings import setting_moved
from session_tokens.rules.webhooks import STATE, Dead, Hook, State, Waiting, text_of_state
from session_tokens.stores.common import copied_events
from session_tokens.stores.common.copy_marks import MARK
from session_tokens.stores.connect import copy_store
from session_tokens.webhooks.hooks import add_webhook, state_of_webhook
from tests.helpers.command_line import Cli
from tests.helpers.effort import PROVING
from tests.helpers.filled_store import FIRST, StoreOf

KEPT = Settings(events="durable", max_sessions=None, events_kept=12)
# A way through all pairs of kinds that differ, and one to itself.
WAY = (
    "postgres", "valkey", "sqlite", "postgres", "sqlite", "sqlite", "valkey", "postgres", "mariadb",
    *(("postgres", "postgres", "mariadb", "valkey", "mariadb") if PROVING else ()), "sqlite", "mariadb",
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("one_key_file")


@reads(lambda name, text: [Get("setting", name)])
def put(tx: Transaction, name: str, text: str) -> None:
    """Write a setting."""
    tx.put_setting(name, text)


def said(events: list[Event]) -> list[tuple[Any, ...]]:
    return [event[:6] for event in events]


def log_of(url: str) -> list[Event]:
    with SessionTokens.open(url, sweep=False) as tokens:
        return list(tokens.events(limit=500))


def filled(url: str) -> Hook:
    """Make a log whose oldest events are gone, followers at several places in it, and a webhook that is behind."""
    with SessionTokens.open(url, settings=KEPT, sweep=False) as tokens:
        with tokens.follow_events(name="gone") as follower:
            tokens.open_session("early")
            next(iter(follower))
        hook = asyncio.run(_hook(url))
        for number in range(17):
            tokens.open_session(f"owner {number}")
        tokens._tend_events()
        kept = list(tokens.events(limit=500))
        assert len(kept) == 12, "the oldest are gone"
        with tokens.follow_events(name="mid", after=kept[0].id) as follower:
            for event in follower:
                if event.id == kept[6].id:
                    break
        with tokens.follow_events(name="last", after=kept[-1].id) as follower:
            assert follower.next_few() == []
        tokens._move_cursor("last", kept[-1].id)
        tokens._move_cursor("foreign", "evt_007fffffff000000000000000f")
        gone = kept[0]._replace(id="evt_00000000000000000100000000")
        state = State(kept[9].id, [Waiting(gone, 1, 5), Waiting(kept[8], 2, 7)], [Dead(kept[7], 10, 9, "HTTP 500")])
        tokens.store.run_now(put, STATE + hook.id, text_of_state(state))
    return hook


async def _hook(url: str) -> Hook:
    async with await AsyncSessionTokens.open(url, sweep=False) as tokens:
        return (await add_webhook(tokens, "https://app.example/hooks"))[0]


async def _state(url: str, hook: Hook) -> State:
    async with await AsyncSessionTokens.open(url, sweep=False) as tokens:
        return await state_of_webhook(tokens, hook.id)


def comes_to(url: str, name: str) -> list[Event]:
    """Return what comes to a named follower at once, and leave it where it was."""
    with SessionTokens.open(url, sweep=False) as tokens:
        _, found = tokens.store.read_now([Get("setting", f"events:cursor:{name}")])
        follower = tokens.follow_events(name=name)
        events = follower.next_few()
        assert tokens.store.read_now([Get("setting", f"events:cursor:{name}")])[1][0].value == found[0].value
        return events


def must_go_on(url: str, hook: Hook, expected: list[tuple[Any, ...]]) -> None:
    """See that everybody goes on in a copy as in the first store."""
    log = log_of(url)
    assert said(log) == expected
    assert [event.id for event in log] == sorted({event.id for event in log})
    assert said(comes_to(url, "mid")) == expected[7:]
    assert comes_to(url, "last") == []
    for name in ("gone", "foreign"):
        first, *_ = comes_to(url, name)
        assert first.kind == GAP, name
    state = asyncio.run(_state(url, hook))
    assert state.cursor == log[9].id
    assert [(each.event[:6], *each[1:]) for each in state.waiting] == [(expected[0], 1, 5), (expected[8], 2, 7)]
    assert state.waiting[0].event.id < log[0].id, "it stands before all others"
    assert (state.waiting[1].event.id, state.dead[0].event.id) == (log[8].id, log[7].id)
    assert state.dead[0][1:] == (10, 9, "HTTP 500")


@pytest.mark.server
def test_followers_and_webhooks_go_on_in_a_copy_of_any_kind(cli: Cli, store_of: StoreOf) -> None:
    stores = list(map(store_of, WAY))
    hook = filled(stores[0])
    expected = said(log_of(stores[0]))
    for source, target in pairwise(stores):
        done = cli("store", "copy", source, target, "--json")

        assert (done.code, done.json["events"]) == (0, 12), done.err
        assert "go on where they were" in done.err
        must_go_on(target, hook, expected)
    again = cli("store", "copy", *stores[-2:], "--json")
    assert (again.code, again.json["events"], again.json["written"]) == (0, 0, 0)
    with SessionTokens.open(stores[-1], sweep=False) as tokens:  # whoever writes there writes behind the copy
        opened = tokens.open_session("later")
        assert [event.subject_id for event in tokens.events(limit=500)][-1] == opened.id
    assert [event.subject_id for event in comes_to(stores[-1], "last")] == [opened.id]
    assert cli("store", "copy", *stores[-2:]).code == 4


@pytest.mark.server
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "valkey", "mariadb"])
def test_a_copy_of_events_that_was_broken_off_goes_on(
    store_of: StoreOf, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the source has forgotten some of them since."""
    target = store_of(kind)
    hook = filled(FIRST)
    monkeypatch.setattr(copied_events, "BATCH", 5)
    written: list[int] = []

    def ends(tx: Transaction, events: list[Event], mark: str) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(len(events))
        copied_put(tx, events, mark)

    copied_put = copied_events.put_events
    breaking = reads(lambda events, mark: [Get("setting", MARK)])(ends)
    with monkeypatch.context() as patched:
        patched.setattr(copied_events, "put_events", breaking)
        with pytest.raises(KeyboardInterrupt):
            copy_store(FIRST, target, lambda done, total: None, setting_moved)
    with SessionTokens.open(FIRST, settings=Settings(events_kept=10), sweep=False) as tokens:
        tokens._tend_events()
        expected = said(list(tokens.events(limit=500)))
    _, _, events = copy_store(FIRST, target, lambda done, total: None, setting_moved)

    assert (written, events, len(expected)) == ([5], 7, 10)
    assert said(log_of(target)) == expected
    assert asyncio.run(_state(target, hook)).cursor == log_of(target)[7].id


def test_events_that_are_held_back_are_waited_for_and_then_named(
    cli: Cli, store_of: StoreOf, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = store_of("postgres"), store_of("sqlite")
    monkeypatch.setattr(copied_events, "SHOWN_WITHIN_S", 0.2)
    with SessionTokens.open(source, settings=KEPT, sweep=False) as tokens:
        with psycopg.connect(postgres_url) as left_open:
            left_open.execute("SELECT pg_current_xact_id()")
            tokens.open_session("ann")
            while not tokens.store.read_events_now(NOWHERE, 1).held_back_ms:
                tokens.store.await_events_now()
            refused = cli("store", "copy", source, target)
        opened = len(tokens.events())
    done = cli("store", "copy", source, target, "--json")

    assert refused.code == 3 and "pg_stat_activity" in refused.err
    assert (done.code, done.json["events"], opened) == (0, 1, 1), done.err


def test_ids_of_events_that_are_not_there_are_those_of_a_gap() -> None:
    assert place_of_event(copied_events.NOT_THERE) > place_of_event("evt_000006615b14bc1a7000000000")
