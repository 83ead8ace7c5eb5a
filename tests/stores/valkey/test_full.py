"""A server that is out of memory still ends sessions and frees space, on both shells; what makes it grow is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import valkey

from session_tokens import AsyncSessionTokens, SessionTokens, Settings, StoreUnavailable
from session_tokens.audit.log import Audit
from session_tokens.stores.common.copy_marks import new_mark, put_mark
from session_tokens.stores.common.copying import SPACES
from session_tokens.stores.connect import abandon_store, closing_now, open_anyway_now
from tests.helpers.servers.valkey import ValkeyServer

PEPPER = bytes(range(32))
NO_CAP = Settings(max_sessions=None)


@contextmanager
def out_of_memory(server: ValkeyServer) -> Iterator[None]:
    with valkey.from_url(server.url) as client:  # type: ignore[no-untyped-call]  # the driver's
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


def test_a_copy_that_filled_it_can_be_given_up(
    private_valkey: Callable[..., ValkeyServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", PEPPER.hex())
    server = private_valkey()
    for space in SPACES:
        with closing_now(open_anyway_now(server.url, space=space)) as store:
            store.run_now(put_mark, None, new_mark("from elsewhere"))
    with out_of_memory(server):
        abandon_store(server.url)
    with SessionTokens.open(server.url, pepper=PEPPER, sweep=False) as tokens:
        assert tokens.open_session("alice").session.owner == "alice"


def test_ends_and_sweeps_pass_and_what_grows_is_refused(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey()
    with SessionTokens.open(server.url, pepper=PEPPER, settings=NO_CAP, sweep=False) as tokens:
        alice = [tokens.open_session("alice") for _ in range(3)]
        bob = tokens.open_session("bob")
        brief = tokens.open_session("cyn", max_age=0.1)
        bound, free = tokens.issue_token(bob.id), tokens.issue_token(None, "v")
        eve = tokens.open_session("eve", detachable=True)
        with out_of_memory(server):
            with pytest.raises(StoreUnavailable, match="out of memory"):
                tokens.open_session("dan")
            with pytest.raises(StoreUnavailable, match="out of memory"):
                tokens.issue_token(bob.id, "v")
            with pytest.raises(StoreUnavailable, match="out of memory"):
                tokens.rotate_session(bob.id)
            assert tokens.detach_session(eve.secret).is_detached
            assert tokens.verify_session(eve.secret) is None
            with pytest.raises(StoreUnavailable, match="out of memory"):
                tokens.attach_session(eve.id)
            assert tokens.destroy_session(alice[0].secret)
            assert tokens.verify_session(alice[0].secret) is None
            assert tokens.destroy_sessions("alice", except_session=alice[1].id) == 1
            assert tokens.verify_session(alice[1].secret, touch=False) == alice[1].record
            assert tokens.destroy_token(free.id)
            assert tokens.verify_token(free.secret) is None
            assert tokens.destroy_session(bob.id, idempotency_key="a log-out that is sent twice")
            assert tokens.destroy_session(bob.id, idempotency_key="a log-out that is sent twice")
            assert tokens.verify_token(bound.secret) is None
            while tokens.get_session(brief.id) is not None:
                threading.Event().wait(0.01)
            assert tokens.sweep() > 0
            tokens.disable_owner("alice")
            assert tokens.verify_session(alice[1].secret) is None
        assert tokens.open_session("dan")


def test_the_log_says_once_why_commands_are_refused(
    private_valkey: Callable[..., ValkeyServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = private_valkey()
    with SessionTokens.open(server.url, pepper=PEPPER, settings=NO_CAP, sweep=False) as tokens, out_of_memory(server):
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="out of memory"):
                tokens.open_session("dan")

    said = [record.getMessage() for record in caplog.records if record.name == "session_tokens.stores"]
    assert len(said) == 1
    assert said[0].startswith("the store does not do everything: the server is out of memory; give it more (maxmemory)")


def test_an_audited_log_out_passes_too(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey()
    with SessionTokens.open(server.url, pepper=PEPPER, sweep=False, audit=Audit()) as tokens:
        issued = tokens.open_session("alice")
        with out_of_memory(server):
            assert tokens.destroy_session(issued.secret)
            assert tokens.verify_session(issued.secret) is None


def test_ends_that_travel_with_what_grows_pass_alone(private_valkey: Callable[..., ValkeyServer]) -> None:
    async def work(server: ValkeyServer) -> None:
        async with await AsyncSessionTokens.open(server.url, pepper=PEPPER, settings=NO_CAP, sweep=False) as tokens:
            opened = [await tokens.open_session(f"owner {number}") for number in range(8)]
            with out_of_memory(server):
                outcomes = await asyncio.gather(
                    *[tokens.destroy_session(issued.id) for issued in opened[:4]],
                    *[tokens.issue_token(issued.id, "v") for issued in opened[4:]],
                    return_exceptions=True,
                )
                assert outcomes[:4] == [True] * 4
                assert [type(outcome) for outcome in outcomes[4:]] != [bool] * 4
                assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes[4:])
                lives = [await tokens.verify_session(issued.secret, touch=False) is not None for issued in opened]
                assert lives == [False] * 4 + [True] * 4

    asyncio.run(work(private_valkey()))


def test_a_process_that_starts_beside_a_full_server_can_end_sessions(
    private_valkey: Callable[..., ValkeyServer],
) -> None:
    server = private_valkey()
    with SessionTokens.open(server.url, pepper=PEPPER, sweep=False) as tokens:
        issued = tokens.open_session("alice")
    with out_of_memory(server), SessionTokens.open(server.url, pepper=PEPPER, sweep=False) as tokens:
        assert tokens.destroy_session(issued.secret)
