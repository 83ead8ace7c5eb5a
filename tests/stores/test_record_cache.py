"""Commands on what a store on a server has seen lately: one round trip, and no other answer than a reading gives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest

from session_tokens import (
    AsyncSessionTokens,
    NotOwner,
    OwnerDisabled,
    SessionEnded,
    SessionTokens,
    Settings,
    UnknownToken,
)
from session_tokens.contract.changes import Changes
from session_tokens.contract.optimistic import Commit
from session_tokens.contract.queries import Get
from session_tokens.contract.transaction import Transaction
from session_tokens.settings import NEWEST_READ
from session_tokens.stores.connect import open_store, open_store_now

PEPPER = bytes(range(32))

OPEN = Settings(max_sessions=None)
FOREVER_MS = 9 * 10**15


@pytest.fixture(params=["valkey", "postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> str:
    """The kind of server."""
    kind: str = request.param
    return kind


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """The URL of an empty store."""
    address: str = request.getfixturevalue(f"{server}_url")
    return address if "?" in address else f"{address}?timeout=20"


@contextmanager
def opened(url: str, settings: Settings = OPEN) -> Iterator[tuple[SessionTokens, Any]]:
    """Return one process's API on the store, and the store."""
    store = open_store_now(url, pepper=PEPPER)
    with SessionTokens(store, settings) as tokens:
        yield tokens, store


def counting(store: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return what tells how often a store has asked its server since it was last asked; it asks all the same."""
    made = [0]
    retrying = store._retrying if hasattr(store, "_retrying") else store.retrying

    def counted(ask: Callable[..., Any]) -> Callable[..., Any]:
        def counting_ask(*args: Any, **named: Any) -> Any:
            made[0] += 1
            return ask(*args, **named)

        return counting_ask

    for name in ("ask", "ask_now"):
        monkeypatch.setattr(retrying, name, counted(getattr(retrying, name)))

    def asked() -> int:
        number, made[0] = made[0], 0
        return number

    return asked


# --- one round trip ---


def test_a_command_on_what_was_just_verified_is_a_commit_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(url) as (opener, _), opened(url) as (tokens, store):
        opener.open_session("bob")
        login, bob = opener.open_session("alice"), opener.open_session("bob")
        assert tokens.verify_session(login.secret) is not None
        tokens.refresh_settings()  # else the first command does it
        asked = counting(store, monkeypatch)

        issued = tokens.issue_token(login.id, "v", transferable=True)
        assert asked() == 1
        tokens.change_session(login.id, label="desk")
        tokens.change_session(login.secret, label="chair")
        tokens.reissue_token(issued.id, owner="alice")
        assert asked() == 3

        once = tokens.transfer_token(issued.id, giver="alice", receiver="bob")
        asked()
        tokens.transfer_token(once.id, giver="bob", receiver="bob")
        assert asked() == 1
        assert opener.get_token(issued.id).session_id == bob.id  # type: ignore[union-attr]  # it is there
        assert store.conflicts == 0


async def test_commands_of_one_turn_on_what_was_seen_share_a_commit(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncSessionTokens(await open_store(url, pepper=PEPPER), OPEN) as tokens:
        sessions = [await tokens.open_session(f"owner {number}") for number in range(8)]
        asked = counting(tokens.store, monkeypatch)
        await asyncio.gather(*(tokens.issue_token(session.id, "v") for session in sessions))

        assert asked() == 1


def test_a_command_with_an_idempotency_key_is_one_too_and_repeats_its_outcome(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(url) as (opener, _), opened(url) as (tokens, store):
        login = opener.open_session("alice")
        assert tokens.verify_session(login.secret) is not None
        tokens.refresh_settings()  # else the first command does it
        asked = counting(store, monkeypatch)

        first = tokens.issue_token(login.id, "v", idempotency_key="once")
        assert asked() == 1
        assert tokens.issue_token(login.id, "v", idempotency_key="once").secret == first.secret
        assert len(opener.list_tokens(owner="alice").items) == 1
        assert store.conflicts == 1


# --- what others did meanwhile ---


def test_what_others_changed_meanwhile_is_read_and_kept(url: str) -> None:
    with opened(url) as (here, store), opened(url) as (there, _):
        session = here.open_session("alice", data={"a": 1})
        there.update_session_data(session.id, {"b": 2})
        here.update_session_data(session.id, {"c": 3})

        assert here.get_session(session.id).data == {"a": 1, "b": 2, "c": 3}  # type: ignore[union-attr]  # it lives
        assert store.conflicts == 1


def test_a_session_that_others_ended_takes_no_token(url: str) -> None:
    with opened(url) as (here, _), opened(url) as (there, _):
        session = here.open_session("alice")
        there.destroy_session(session.id)

        with pytest.raises(SessionEnded):
            here.issue_token(session.id, "v")
        assert there.list_tokens(owner="alice").items == []


def test_an_owner_whom_others_disabled_receives_nothing(url: str) -> None:
    with opened(url) as (here, _), opened(url) as (there, _):
        here.open_session("bob")
        token = here.issue_token(here.open_session("alice").id, "v", transferable=True)
        here.transfer_token(token.id, giver="alice", receiver="bob")
        here.transfer_token(token.id, giver="bob", receiver="alice")
        there.disable_owner("bob")

        with pytest.raises(OwnerDisabled):
            here.transfer_token(token.id, giver="alice", receiver="bob")


def test_a_session_that_others_opened_is_the_one_that_receives(url: str) -> None:
    with opened(url) as (here, _), opened(url) as (there, _):
        here.open_session("bob")
        token = here.issue_token(here.open_session("alice").id, "v", transferable=True)
        here.transfer_token(token.id, giver="alice", receiver="bob")
        here.transfer_token(token.id, giver="bob", receiver="alice")
        newest = there.open_session("bob")

        assert here.transfer_token(token.id, giver="alice", receiver="bob").token.session_id == newest.id


def test_a_refusal_is_never_told_from_memory(url: str) -> None:
    with opened(url) as (here, _), opened(url) as (there, _):
        token = here.issue_token(here.open_session("alice").id, "v", transferable=True)
        there.transfer_token(token.id, giver="alice", receiver="bob")

        assert here.transfer_token(token.id, giver="bob", receiver="carol").token.owner == "carol"
        with pytest.raises(NotOwner):
            here.transfer_token(token.id, giver="bob", receiver="dave")


def test_a_rule_that_changes_nothing_is_never_answered_from_memory(url: str) -> None:
    with opened(url) as (here, _), opened(url) as (there, _):
        token = here.issue_token(here.open_session("alice").id, "v", transferable=True)
        there.offer_token(token.id, price=5)

        assert here.withdraw_token(token.id).price is None
        assert there.get_token(token.id).is_sellable is False  # type: ignore[union-attr]  # it lives


def test_two_who_write_the_same_record_in_turn_soon_read_first(url: str) -> None:
    with opened(url) as (here, one), opened(url) as (there, other):
        session = here.open_session("alice", data={"n": 0})
        for number in range(200):
            (here, there)[number % 2].update_session_data(session.id, {"n": number})

        assert here.get_session(session.id).version == 201  # type: ignore[union-attr]  # it lives
        assert 0 < one.conflicts < 12 and 0 < other.conflicts < 12


def test_what_another_thread_changes_between_two_looks_of_a_rule_is_not_written_over(url: str) -> None:
    with opened(url) as (tokens, store):
        id = tokens.open_session("alice").id
        changing = Thread(target=tokens.change_session, args=(id,), kwargs={"label": "desk"}, daemon=True)

        def look_twice(tx: Transaction) -> None:
            session = tx.session(id)
            if changing.ident is None:
                changing.start()
                changing.join(30)
            assert session is not None and tx.session(id) is not None
            tx.put_session(session, session.replace(version=session.version + 1))

        store.run_now(look_twice)
        present = tokens.get_session(id)

        assert present is not None and (present.label, present.version) == ("desk", 3)


# --- a guess that was wrong is not made again ---


def test_sessions_that_others_opened_are_wrongly_guessed_once(url: str) -> None:
    with opened(url) as (here, store), opened(url) as (there, _):
        for _ in range(NEWEST_READ - 1):
            there.open_session("bob")
        token = here.issue_token(here.open_session("alice").id, "v", transferable=True)
        here.transfer_token(token.id, giver="alice", receiver="bob")
        here.transfer_token(token.id, giver="bob", receiver="alice")
        there.open_session("bob")
        for _ in range(6):
            here.transfer_token(token.id, giver="alice", receiver="bob")
            here.transfer_token(token.id, giver="bob", receiver="alice")

        assert store.conflicts == 1


def test_a_token_that_others_took_away_is_wrongly_guessed_once(url: str) -> None:
    with opened(url) as (here, store), opened(url) as (there, _):
        here.open_session("bob")
        token = here.issue_token(here.open_session("alice").id, "v", transferable=True)
        here.transfer_token(token.id, giver="alice", receiver="bob")
        here.transfer_token(token.id, giver="bob", receiver="alice")
        assert there.destroy_token(token.id)
        for _ in range(8):
            with pytest.raises(UnknownToken):
                here.transfer_token(token.id, giver="alice", receiver="bob")

        assert store.conflicts == 1


def test_a_secret_that_others_took_back_is_wrongly_guessed_once_at_most(url: str) -> None:
    with opened(url) as (here, store), opened(url) as (there, _):
        token = here.issue_token(here.open_session("alice").id, "v", transferable=True)
        assert here.verify_token(token.secret) is not None
        there.transfer_token(token.id, giver="alice", receiver="bob")
        for _ in range(8):
            with pytest.raises(UnknownToken):
                here.transfer_token(token.secret, giver="alice", receiver="bob")

        assert store.conflicts <= 1


# --- time ---


def expired(tokens: SessionTokens, store: Any, deadline: int) -> None:
    """Ask the server until its clock has passed an instant."""
    while store.read_now([]).now < deadline:
        tokens.get_session("no id")


def test_a_commit_that_comes_after_the_deadline_of_what_was_judged_is_refused(url: str) -> None:
    with opened(url) as (tokens, store):
        session = tokens.open_session("alice", max_age=0.05)
        token = tokens.issue_token(None, "v", timeout=0.05)
        now, (of_session, of_token) = store.read_now([Get("session", session.id), Get("token", token.id)])
        expired(tokens, store, max(session.session.deadline, token.token.deadline))
        late = [Changes(), Changes()]
        lived, stood = of_session.value.session, of_token.value.token
        late[0].not_after, late[1].not_after = lived.deadline, stood.deadline
        late[0].sessions.append((lived, lived.replace(deadline=FOREVER_MS, version=2)))
        late[1].tokens.append((stood, stood.replace(deadline=FOREVER_MS, own_deadline=FOREVER_MS, version=2)))

        assert not store.commit_now(Commit(late[0], dict(of_session.stamps), now))
        assert not store.commit_now(Commit(late[1], dict(of_token.stamps), now))
        assert tokens.verify_session(session.secret) is None
        assert tokens.verify_token(token.secret) is None


@pytest.mark.parametrize("off_ms", [-3_600_000, -1_500, 1_000, 3_600_000])
def test_a_clock_that_is_wrong_here_changes_nothing(url: str, off_ms: int) -> None:
    with opened(url) as (tokens, store), opened(url) as (others, _):
        session = tokens.open_session("alice", max_age=60)
        record_cache = store.record_cache
        record_cache.now = lambda: store.clock.now() + off_ms
        before = others.store.read_now([]).now
        issued = tokens.issue_token(session.id, "v", timeout=30)
        after = others.store.read_now([]).now

        assert before <= issued.token.created_at <= after
        assert others.verify_token(issued.secret) is not None


def test_a_session_that_expired_is_not_brought_back_by_a_clock_that_is_behind(url: str) -> None:
    with opened(url) as (tokens, store):
        session = tokens.open_session("alice", max_age=0.05)
        opened_at = session.session.created_at
        expired(tokens, store, session.session.deadline)
        store.record_cache.now = lambda: opened_at + 1

        with pytest.raises(SessionEnded):
            tokens.change_session(session.id, max_age=60)
        assert tokens.verify_session(session.secret) is None
