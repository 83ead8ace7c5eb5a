"""PostgreSQL that is away, hangs, restarts, loses connections or answers: never "not valid", and back by itself."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from session_tokens import (
    AsyncSessionTokens,
    SessionTokens,
    SessionTokensError,
    Settings,
    StoreBusy,
    StoreUnavailable,
)
from session_tokens.stores.postgres.store import open_postgres, open_postgres_blocking
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.postgres import (
    PostgresServer,
)
from tests.helpers.servers.proxy import Fate, Proxy, always, losing_one_reply, proxy_to
from tests.helpers.waiting import PATIENCE_S, eventually, wait_until

PEPPER = bytes(range(32))


def open_tokens(url: str, options: str = "timeout=5") -> SessionTokens:
    return SessionTokens(open_postgres_blocking(f"{url}?{options}", pepper=PEPPER), Settings(max_sessions=None))


@pytest.fixture
def proxied(postgres_url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy to the server, and the URL that goes through it."""
    host, _, database = postgres_url.rpartition("/")
    with proxy_to(int(host.rpartition(":")[2])) as proxy:
        yield proxy, f"postgresql://postgres@127.0.0.1:{proxy.port}/{database}"


def test_a_server_that_is_down_at_opening_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be asked"):
        open_postgres_blocking(f"postgresql://postgres@127.0.0.1:{free_port()}/x", pepper=PEPPER)


async def test_a_server_that_is_down_at_opening_is_unavailable_to_asyncio_too() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be asked"):
        await open_postgres(f"postgresql://postgres@127.0.0.1:{free_port()}/x", pepper=PEPPER)


async def test_what_answers_nothing_is_told_with_what_to_look_at() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/x?timeout=0.3"
        with pytest.raises(StoreUnavailable) as blocking:
            open_postgres_blocking(url, pepper=PEPPER)
        with pytest.raises(StoreUnavailable) as awaited:
            await open_postgres(url, pepper=PEPPER)

    for error in (blocking.value, awaited.value):
        assert str(error).endswith("is it running, and are host and port right?")
        assert "TimeoutError" not in str(error) and not re.search(r"[0-9]\.[0-9]{4}", str(error))


def test_a_password_is_in_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_postgres_blocking(f"postgresql://ann:canary-pw@127.0.0.1:{free_port()}/x?timeout=1", pepper=PEPPER)

    assert "canary-pw" not in f"{caught.value!r} {caught.value} {caught.value.__cause__} {caplog.text}"


def test_a_restart_of_the_server_fails_no_later_command(private_postgres: PostgresServer) -> None:
    url = private_postgres.new_database()
    with open_tokens(url) as tokens:
        issued = tokens.open_session("ann")
        private_postgres.stop()
        private_postgres.start()

        assert tokens.verify_session(issued.secret) is not None
        private_postgres.stop()
        private_postgres.start()
        assert tokens.rotate_session(issued.id) is not None


def test_while_the_server_is_down_nothing_is_called_invalid_and_afterwards_everything_is_there(
    private_postgres: PostgresServer,
) -> None:
    url = private_postgres.new_database()
    with open_tokens(url) as tokens:
        issued = tokens.open_session("ann")
        private_postgres.stop()
        for _ in range(10):
            with pytest.raises(StoreUnavailable):
                tokens.verify_session(issued.secret)
            with pytest.raises(StoreUnavailable):
                tokens.open_session("bob")
        private_postgres.start()

        session = eventually(lambda: tokens.verify_session(issued.secret))
        assert session is not None and session.id == issued.id


async def test_a_hanging_server_is_unavailable_within_the_time_out_and_back_when_it_goes_on(
    private_postgres: PostgresServer,
) -> None:
    url = private_postgres.new_database() + "?timeout=0.5"
    tokens = AsyncSessionTokens(await open_postgres(url, pepper=PEPPER))
    blocking = SessionTokens(open_postgres_blocking(url, pepper=PEPPER))
    issued = await tokens.open_session("ann")
    assert blocking.verify_session(issued.secret) is not None
    private_postgres.pause()
    try:
        with pytest.raises(StoreUnavailable):
            await tokens.verify_session(issued.secret)
        with pytest.raises(StoreUnavailable):
            blocking.verify_session(issued.secret)
    finally:
        private_postgres.resume()

    assert await asyncio.to_thread(eventually, lambda: blocking.verify_session(issued.secret)) is not None
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            assert await tokens.verify_session(issued.secret) is not None
            break
        except StoreUnavailable:
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
    blocking.close()
    await tokens.close()


def test_records_locked_by_another_for_too_long_are_busy_and_nothing_is_written(postgres_url: str) -> None:
    with open_tokens(postgres_url, "timeout=0.5") as tokens, psycopg.connect(postgres_url) as other:
        token = tokens.issue_token(tokens.open_session("ann").id, "v", transferable=True)
        other.execute("SELECT FROM session_tokens.tokens FOR UPDATE")
        with pytest.raises(StoreBusy):
            tokens.transfer_token(token.id, giver="ann", receiver="bob")
        other.rollback()

        found = tokens.get_token(token.id)
        assert found is not None and ("ann", 0) == (found.owner, found.epoch)
        assert tokens.transfer_token(token.id, giver="ann", receiver="bob") is not None


def test_a_backend_that_is_killed_in_a_commit_leaves_an_unknown_outcome_that_its_key_resolves(
    postgres_url: str,
) -> None:
    with open_tokens(postgres_url, "timeout=30") as tokens, psycopg.connect(postgres_url) as other:
        token = tokens.issue_token(tokens.open_session("ann").id, "v", transferable=True)
        other.execute("SELECT FROM session_tokens.tokens FOR UPDATE")
        caught: list[SessionTokensError] = []

        def transfer() -> None:
            try:
                tokens.transfer_token(token.id, giver="ann", receiver="bob", idempotency_key="once")
            except SessionTokensError as error:
                caught.append(error)

        thread = threading.Thread(target=transfer)
        thread.start()
        wait_until(lambda: kill_waiting_commits(postgres_url))
        thread.join()
        other.rollback()

        assert [StoreUnavailable] == [type(error) for error in caught] and "unknown" in str(caught[0])
        again = tokens.transfer_token(token.id, giver="ann", receiver="bob", idempotency_key="once")
        found = tokens.verify_token(again.secret)
        assert found is not None and ("bob", 1) == (found.owner, found.epoch)


def kill_waiting_commits(url: str) -> bool:
    """End the backends that wait for a lock in a commit; answer whether there was one."""
    with psycopg.connect(url, autocommit=True) as killer:
        killed = killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND query LIKE '%committing_v1%' AND wait_event_type = 'Lock'"
        )
        return killed.rowcount > 0


def test_a_commit_whose_answer_was_lost_is_unknown_and_its_key_gives_the_first_outcome(
    proxied: tuple[Proxy, str], postgres_url: str
) -> None:
    proxy, url = proxied
    with open_tokens(url) as tokens, open_tokens(postgres_url) as witness:
        token = tokens.issue_token(tokens.open_session("ann").id, "v", transferable=True)
        proxy.request_fate = lambda piece: _cut_the_answer(proxy, piece)
        with pytest.raises(StoreUnavailable, match="unknown"):
            tokens.transfer_token(token.id, giver="ann", receiver="bob", idempotency_key="once")
        proxy.heal()
        wait_until(lambda: (witness.get_token(token.id) or token.record).owner == "bob")

        again = tokens.transfer_token(token.id, giver="ann", receiver="bob", idempotency_key="once")
        once_more = tokens.transfer_token(token.id, giver="ann", receiver="bob", idempotency_key="once")
        assert again.secret == once_more.secret
        found = witness.verify_token(again.secret)
        assert found is not None and ("bob", 1) == (found.owner, found.epoch)


def _cut_the_answer(proxy: Proxy, piece: bytes) -> Fate:
    if b"committing_v1" in piece or b'"commands"' in piece:
        proxy.reply_fate = always("cut")
    return "pass"


def test_a_read_whose_connection_is_lost_is_asked_again(proxied: tuple[Proxy, str]) -> None:
    proxy, url = proxied
    with open_tokens(url) as tokens:
        issued = tokens.open_session("ann")
        for _ in range(5):
            proxy.reply_fate = losing_one_reply()

            assert tokens.verify_session(issued.secret) is not None
        assert 5 == proxy.lost


@pytest.mark.parametrize("fate", ["drop", "truncate", "cut"])
def test_damaged_traffic_is_unavailable_or_right_and_never_wrong(proxied: tuple[Proxy, str], fate: Fate) -> None:
    proxy, url = proxied
    with open_tokens(url, "timeout=2") as tokens:
        issued = [tokens.open_session(f"owner{number}") for number in range(8)]
        pieces = iter(range(10**9))
        harm: Callable[[bytes], Fate] = lambda piece: fate if next(pieces) % 7 == 3 else "pass"  # noqa: E731
        proxy.request_fate, proxy.reply_fate = (always("pass"), harm) if fate == "cut" else (harm, always("pass"))
        right = 0
        for turn in range(40):
            number = turn % 8
            try:
                session = tokens.verify_session(issued[number].secret)
            except StoreUnavailable:
                continue
            assert session is not None and session.owner == f"owner{number}"
            right += 1
        proxy.heal()

        assert proxy.lost > 0 and right > 0
        assert eventually(lambda: tokens.verify_session(issued[0].secret)) is not None


def test_a_power_cut_under_load_loses_nothing_that_was_acknowledged(private_postgres: PostgresServer) -> None:
    url = private_postgres.new_database()
    acknowledged: list[str] = []
    ended: list[str] = []
    going = threading.Event()

    def work(number: int) -> None:
        with open_tokens(url) as tokens:
            try:
                while True:
                    issued = tokens.open_session(f"owner{number}")
                    acknowledged.append(issued.secret)
                    if len(acknowledged) % 3 == 0:
                        tokens.destroy_session(issued.id)
                        ended.append(issued.secret)
                    going.set()
            except StoreUnavailable:
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    going.wait(PATIENCE_S)
    wait_until(lambda: len(ended) > 10)
    private_postgres.stop(signal.SIGQUIT)
    for thread in threads:
        thread.join()
    private_postgres.start()

    with open_tokens(url) as tokens:
        ends = set(ended)
        lost = [secret for secret in acknowledged if secret not in ends and tokens.verify_session(secret) is None]
        risen = [secret for secret in ended if tokens.verify_session(secret) is not None]
        # The last command of each worker was on its way: an end that was carried out without an answer is no loss.
        assert len(lost) <= len(threads) and [] == risen
        assert [] == tokens.store.check_now()  # type: ignore[attr-defined]  # of this store


def test_the_clock_of_the_client_host_decides_nothing(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_tokens(postgres_url) as tokens:
        issued = tokens.open_session("ann", max_age=3600)
        monkeypatch.setattr(time, "time", lambda: 4_000_000_000.0)
        monkeypatch.setattr(time, "time_ns", lambda: 4_000_000_000 * 10**9)

        session = tokens.verify_session(issued.secret)
        assert session is not None
        left = session.time_left()
        assert left is not None and 3500 < left <= 3600
