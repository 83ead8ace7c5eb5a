"""Commands on what a Valkey store has seen lately: one round trip, and never another answer than a reading gives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from session_tokens import (
    AsyncSessionTokens,
    CorruptRecord,
    NotOwner,
    OwnerDisabled,
    SessionEnded,
    SessionTokens,
    Settings,
)
from session_tokens.contract.changes import Changes
from session_tokens.contract.optimistic import Commit
from session_tokens.contract.queries import Get
from session_tokens.stores.valkey.record_cache import IDS_MAX, REFUSALS_MAX, SEEN_MAX, VALUE_MAX, RecordCache
from session_tokens.stores.valkey.store import BlockingValkeyStore, open_valkey, open_valkey_blocking
from tests.helpers.servers.proxy import proxy_to, through
from tests.helpers.servers.valkey import client_of, shared_server

PEPPER = bytes(range(32))

OPEN = Settings(max_sessions=None)
FOREVER_MS = 9 * 10**15


@contextmanager
def opened(url: str, settings: Settings = OPEN) -> Iterator[tuple[SessionTokens, BlockingValkeyStore]]:
    """Return one process's API on the store, and the store."""
    store = open_valkey_blocking(url, pepper=PEPPER)
    with SessionTokens(
        store,
        settings,
    ) as tokens:
        yield tokens, store


@contextmanager
def counted(url: str) -> Iterator[tuple[str, Callable[[], int]]]:
    """Return a URL of the same store, and what tells how many requests went over it since it was last asked."""
    pieces: list[bytes] = []

    def asked() -> int:
        number = len(pieces)
        pieces.clear()
        return number

    with proxy_to(shared_server().port) as proxy:
        proxy.request_fate = lambda piece: pieces.append(piece) or "pass"  # type: ignore[func-returns-value]  # None
        yield through(proxy, url, "&timeout=10"), asked


# --- one round trip ---


def test_a_command_on_what_was_just_verified_is_one_round_trip(valkey_url: str) -> None:
    with opened(valkey_url) as (opener, _), counted(valkey_url) as (url, asked), opened(url) as (tokens, _):
        login, bob = opener.open_session("alice"), opener.open_session("bob")
        assert tokens.verify_session(login.secret) is not None
        tokens.refresh_settings()  # else the first command does it
        asked()

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


async def test_commands_of_one_turn_on_what_was_seen_share_one_round_trip(valkey_url: str) -> None:
    with counted(valkey_url) as (url, asked):
        async with AsyncSessionTokens(await open_valkey(url, pepper=PEPPER), OPEN) as tokens:
            sessions = [await tokens.open_session(f"owner {number}") for number in range(8)]
            asked()
            await asyncio.gather(*(tokens.issue_token(session.id, "v") for session in sessions))

            assert asked() == 1


# --- what others did meanwhile ---


def test_what_others_changed_meanwhile_is_read_and_kept(valkey_url: str) -> None:
    with opened(valkey_url) as (here, store), opened(valkey_url) as (there, _):
        session = here.open_session("alice", data={"a": 1})
        there.update_session_data(session.id, {"b": 2})
        here.update_session_data(session.id, {"c": 3})

        assert here.get_session(session.id).data == {"a": 1, "b": 2, "c": 3}  # type: ignore[union-attr]  # it lives
        assert store.conflicts == 1


def test_a_session_that_others_ended_takes_no_token(valkey_url: str) -> None:
    with opened(valkey_url) as (here, _), opened(valkey_url) as (there, _):
        session = here.open_session("alice")
        there.destroy_session(session.id)

        with pytest.raises(SessionEnded):
            here.issue_token(session.id, "v")
        assert there.list_tokens(owner="alice").items == []


def test_an_owner_whom_others_disabled_receives_nothing(valkey_url: str) -> None:
    with opened(valkey_url) as (here, _), opened(valkey_url) as (there, _):
        here.open_session("bob")
        token = here.issue_token(here.open_session("alice").id, "v", transferable=True)
        here.transfer_token(token.id, giver="alice", receiver="bob")
        here.transfer_token(token.id, giver="bob", receiver="alice")
        there.disable_owner("bob")

        with pytest.raises(OwnerDisabled):
            here.transfer_token(token.id, giver="alice", receiver="bob")


def test_a_session_that_others_opened_is_the_one_that_receives(valkey_url: str) -> None:
    with opened(valkey_url) as (here, _), opened(valkey_url) as (there, _):
        here.open_session("bob")
        token = here.issue_token(here.open_session("alice").id, "v", transferable=True)
        here.transfer_token(token.id, giver="alice", receiver="bob")
        here.transfer_token(token.id, giver="bob", receiver="alice")
        newest = there.open_session("bob")

        assert here.transfer_token(token.id, giver="alice", receiver="bob").token.session_id == newest.id


def test_a_refusal_is_never_told_from_memory(valkey_url: str) -> None:
    with opened(valkey_url) as (here, _), opened(valkey_url) as (there, _):
        token = here.issue_token(here.open_session("alice").id, "v", transferable=True)
        there.transfer_token(token.id, giver="alice", receiver="bob")

        assert here.transfer_token(token.id, giver="bob", receiver="carol").token.owner == "carol"
        with pytest.raises(NotOwner):
            here.transfer_token(token.id, giver="bob", receiver="dave")


def test_a_rule_that_changes_nothing_is_never_answered_from_memory(valkey_url: str) -> None:
    with opened(valkey_url) as (here, _), opened(valkey_url) as (there, _):
        token = here.issue_token(here.open_session("alice").id, "v", transferable=True)
        there.offer_token(token.id, price=5)

        assert here.withdraw_token(token.id).price is None
        assert there.get_token(token.id).is_sellable is False  # type: ignore[union-attr]  # it lives


def test_two_who_write_the_same_record_in_turn_soon_read_first(valkey_url: str) -> None:
    with opened(valkey_url) as (here, one), opened(valkey_url) as (there, other):
        session = here.open_session("alice", data={"n": 0})
        for number in range(200):
            (here, there)[number % 2].update_session_data(session.id, {"n": number})

        assert here.get_session(session.id).version == 201  # type: ignore[union-attr]  # it lives
        assert 0 < one.conflicts < 12 and 0 < other.conflicts < 12


# --- time ---


def expired(tokens: SessionTokens, store: BlockingValkeyStore, deadline: int) -> None:
    """Ask the server until its clock has passed an instant."""
    while store.read_now([]).now < deadline:
        tokens.get_session("no id")


def test_a_commit_that_comes_after_the_deadline_of_what_was_judged_is_refused(valkey_url: str) -> None:
    with opened(valkey_url) as (tokens, store):
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
def test_a_clock_that_is_wrong_here_changes_nothing(valkey_url: str, off_ms: int) -> None:
    with opened(valkey_url) as (tokens, store), opened(valkey_url) as (others, _):
        session = tokens.open_session("alice", max_age=60)
        record_cache = store._core.codec.record_cache
        record_cache.now = lambda: store.clock.now() + off_ms
        before = others.store.read_now([]).now
        issued = tokens.issue_token(session.id, "v", timeout=30)
        after = others.store.read_now([]).now

        assert before <= issued.token.created_at <= after
        assert others.verify_token(issued.secret) is not None


def test_a_session_that_expired_is_not_brought_back_by_a_clock_that_is_behind(valkey_url: str) -> None:
    with opened(valkey_url) as (tokens, store):
        session = tokens.open_session("alice", max_age=0.05)
        opened_at = session.session.created_at
        expired(tokens, store, session.session.deadline)
        store._core.codec.record_cache.now = lambda: opened_at + 1

        with pytest.raises(SessionEnded):
            tokens.change_session(session.id, max_age=60)
        assert tokens.verify_session(session.secret) is None


# --- what is remembered ---


def test_a_record_copied_over_another_is_not_believed(valkey_url: str) -> None:
    prefix = "{" + valkey_url.partition("namespace=")[2] + ":00}:"
    with opened(valkey_url) as (opener, _), opened(valkey_url) as (tokens, _):
        victim, mallory = opener.open_session("victim").session, opener.open_session("mallory").session
        with client_of(valkey_url) as client:
            client.copy(f"{prefix}s:{victim.id}", f"{prefix}s:{mallory.id}", replace=True)
        for _ in range(2):
            with pytest.raises(CorruptRecord):
                tokens.issue_token(mallory.id, "v")
        assert tokens.list_tokens(owner="victim").items == []


def test_a_large_value_is_not_kept_and_a_large_bucket_neither() -> None:
    record_cache = RecordCache(lambda: 0)
    record_cache.saw(b"s:a", b"0" * VALUE_MAX, 1)
    record_cache.saw(b"s:b", b"0" * (VALUE_MAX + 1), 2)
    record_cache.saw_bucket(b"bo:a", b"1", [b"s"] * IDS_MAX)
    record_cache.saw_bucket(b"bo:b", b"1", [b"s"] * (IDS_MAX + 1))

    assert (record_cache.get(b"s:a"), record_cache.get(b"bo:a")) == (
        (b"0" * VALUE_MAX, b"0" * 16, 1),
        (None, b"1", [b"s"] * IDS_MAX),
    )
    assert record_cache.get(b"s:b") is None and record_cache.get(b"bo:b") is None
    record_cache.saw(b"s:a", b"0" * (VALUE_MAX + 1), 3)
    assert record_cache.get(b"s:a") is None


def test_what_is_remembered_is_bounded() -> None:
    record_cache = RecordCache(lambda: 0)
    for number in range(5 * SEEN_MAX):
        record_cache.saw(b"s:%d" % number, b"0" * 20, number)

    assert sum(record_cache.get(b"s:%d" % number) is not None for number in range(5 * SEEN_MAX)) <= 2 * SEEN_MAX


def test_wrong_guesses_make_more_and_more_commands_read_first_and_right_ones_fewer() -> None:
    record_cache = RecordCache(lambda: 0)

    def rule(tx: object) -> int:
        tx.put_setting("name", "text")  # type: ignore[attr-defined]  # of a transaction
        return 7

    def reads_first() -> int:
        return next(number for number in range(1000) if record_cache.cached_run(rule, ()) is not None)

    assert reads_first() == 0
    spans = []
    for _ in range(REFUSALS_MAX + 2):
        record_cache.was_wrong()
        spans.append(reads_first())
    assert spans == [1, 3, 7, 15, 31, 63, 63, 63]
    record_cache.was_right()
    record_cache.was_right()
    record_cache.was_wrong()
    assert reads_first() == 31
