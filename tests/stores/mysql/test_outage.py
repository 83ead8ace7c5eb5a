"""MariaDB that is away, hangs, restarts, turns read-only or loses answers: never "not valid", and back by itself."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, SessionTokensError, Settings, StoreBusy, StoreUnavailable
from session_tokens.records import Issued, Session
from session_tokens.rules.sessions import touch_session
from session_tokens.stores.connect import open_store, open_store_now
from session_tokens.stores.mysql.commit import slot_of
from tests.helpers.servers.mariadb import MariaDBServer, shared_server
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.proxy import Fate, Proxy, always, losing_one_reply, proxy_to
from tests.helpers.waiting import PATIENCE_S, eventually, wait_until

pytestmark = pytest.mark.needs_mariadb

PEPPER = bytes(range(32))
WINDOW_S = 0.8


def open_tokens(url: str, options: str = "timeout=5") -> SessionTokens:
    return SessionTokens(open_store_now(f"{url}?{options}", pepper=PEPPER), Settings(max_sessions=None))


@pytest.fixture
def proxied(mariadb_url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy to the server, and the URL that goes through it."""
    with proxy_to(shared_server().port) as proxy:
        yield proxy, f"mysql://root@127.0.0.1:{proxy.port}/{mariadb_url.rpartition('/')[2]}"


@contextmanager
def held(url: str, *statements: str) -> Iterator[None]:
    """Hold locks from a connection of somebody else."""
    with shared_server().connect(url.rpartition("/")[2]) as connection, connection.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        for statement in statements:
            cursor.execute(statement)
        yield


def waiting_commits() -> list[int]:
    """The connections that wait for a lock; the server looks again only for who has not asked for 100 ms."""
    threading.Event().wait(0.12)
    rows = shared_server().execute(
        "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    )
    return [number for (number,) in rows]


def test_a_server_that_is_down_at_opening_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be asked"):
        open_store_now(f"mysql://root@127.0.0.1:{free_port()}/x", pepper=PEPPER)


async def test_a_server_that_is_down_at_opening_is_unavailable_to_asyncio_too() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be asked"):
        await open_store(f"mariadb://root@127.0.0.1:{free_port()}/x", pepper=PEPPER)


async def test_what_answers_nothing_is_told_with_what_to_look_at() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mysql://root@127.0.0.1:{silent.getsockname()[1]}/x?timeout=0.3"
        with pytest.raises(StoreUnavailable) as blocking:
            open_store_now(url, pepper=PEPPER)
        with pytest.raises(StoreUnavailable) as awaited:
            await open_store(url, pepper=PEPPER)

    for error in (blocking.value, awaited.value):
        assert str(error).endswith("is it running, and are host and port right?")
        assert "TimeoutError" not in str(error) and not re.search(r"[0-9]\.[0-9]{4}", str(error))


async def test_a_password_is_in_no_error(mariadb_server: MariaDBServer, caplog: pytest.LogCaptureFixture) -> None:
    for url in (
        f"mysql://ann:canary-pw@127.0.0.1:{free_port()}/x",
        f"mysql://ann:canary-pw@127.0.0.1:{mariadb_server.port}/x",
    ):
        with pytest.raises(StoreUnavailable) as caught:
            open_store_now(url, pepper=PEPPER)
        with pytest.raises(StoreUnavailable) as caught_too:
            await open_store(url, pepper=PEPPER)

        for error in (caught.value, caught_too.value):
            assert "canary-pw" not in f"{error!r} {error} {error.__cause__} {error.__context__} {caplog.text}"


def test_a_restart_of_the_server_fails_no_later_command(private_mariadb: MariaDBServer) -> None:
    url = private_mariadb.new_database()
    with open_tokens(url) as tokens:
        issued = tokens.open_session("ann")
        private_mariadb.stop()
        for _ in range(10):
            with pytest.raises(StoreUnavailable):
                tokens.verify_session(issued.secret)
            with pytest.raises(StoreUnavailable):
                tokens.open_session("bob")
        private_mariadb.start()
        session = eventually(lambda: tokens.verify_session(issued.secret))
        assert session is not None and session.id == issued.id

        private_mariadb.stop()
        private_mariadb.start()
        assert tokens.rotate_session(issued.id) is not None


async def test_a_hanging_server_is_unavailable_within_the_time_out_and_back_when_it_goes_on(
    private_mariadb: MariaDBServer,
) -> None:
    url = private_mariadb.new_database() + "?timeout=0.5"
    tokens = AsyncSessionTokens(await open_store(url, pepper=PEPPER))
    blocking = SessionTokens(open_store_now(url, pepper=PEPPER))
    issued = await tokens.open_session("ann")
    assert blocking.verify_session(issued.secret) is not None
    private_mariadb.pause()
    try:
        with pytest.raises(StoreUnavailable):
            await tokens.verify_session(issued.secret)
        with pytest.raises(StoreUnavailable):
            blocking.verify_session(issued.secret)
    finally:
        private_mariadb.resume()

    assert await asyncio.to_thread(eventually, lambda: blocking.verify_session(issued.secret)) is not None
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                assert await tokens.verify_session(issued.secret) is not None
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
    blocking.close()
    await tokens.close()


@pytest.mark.parametrize("what", ["slots", "tokens"])
def test_what_others_lock_for_too_long_is_busy_and_nothing_is_written(mariadb_url: str, what: str) -> None:
    """Of the slots, the first packet waits; of the rows, which only strangers lock, the second."""
    with open_tokens(mariadb_url, "timeout=0.5") as tokens:
        token = tokens.issue_token(tokens.open_session("ann").id, "v", transferable=True)
        with held(mariadb_url, f"SELECT * FROM session_tokens_{what} FOR UPDATE"), pytest.raises(StoreBusy):
            tokens.transfer_token(token.id, giver="ann", receiver="bob")

        found = tokens.get_token(token.id)
        assert found is not None and ("ann", 0) == (found.owner, found.epoch)
        assert tokens.transfer_token(token.id, giver="ann", receiver="bob") is not None


@pytest.mark.parametrize(("what", "fails"), [("slots", False), ("tokens", True)])
def test_a_connection_that_is_killed_in_a_commit_fails_it_only_once_something_may_be_written(
    mariadb_url: str, what: str, fails: bool
) -> None:
    """While it waits for its locks nothing is written: the same is asked once more. After that nobody knows."""
    with open_tokens(mariadb_url, "timeout=30") as tokens:
        token = tokens.issue_token(tokens.open_session("ann").id, "v", transferable=True)
        caught: list[SessionTokensError] = []

        def transfer() -> None:
            try:
                tokens.transfer_token(token.id, giver="ann", receiver="bob", idempotency_key="once")
            except SessionTokensError as error:
                caught.append(error)

        thread = threading.Thread(target=transfer)
        with held(mariadb_url, f"SELECT * FROM session_tokens_{what} FOR UPDATE"):
            thread.start()
            wait_until(waiting_commits)
            for number in waiting_commits():
                shared_server().execute(f"KILL {number}")
            if fails:
                thread.join(PATIENCE_S)
        thread.join(PATIENCE_S)

        assert fails == bool(caught)
        assert not caught or (type(caught[0]) is StoreUnavailable and "unknown" in str(caught[0]))
        again = tokens.transfer_token(token.id, giver="ann", receiver="bob", idempotency_key="once")
        found = tokens.verify_token(again.secret)
        assert found is not None and ("bob", 1) == (found.owner, found.epoch)


def test_a_commit_whose_answer_was_lost_is_unknown_and_its_key_gives_the_first_outcome(
    proxied: tuple[Proxy, str], mariadb_url: str
) -> None:
    proxy, url = proxied
    with open_tokens(url) as tokens, open_tokens(mariadb_url) as witness:
        token = tokens.issue_token(tokens.open_session("ann").id, "v", transferable=True)

        def cut_the_answer(piece: bytes) -> Fate:
            if piece.endswith(b"COMMIT") and b"UPDATE" in piece:
                proxy.reply_fate = always("cut")
            return "pass"

        proxy.request_fate = cut_the_answer
        with pytest.raises(StoreUnavailable, match="unknown"):
            tokens.transfer_token(token.id, giver="ann", receiver="bob", idempotency_key="once")
        proxy.heal()
        wait_until(lambda: (witness.get_token(token.id) or token.record).owner == "bob")

        again = tokens.transfer_token(token.id, giver="ann", receiver="bob", idempotency_key="once")
        once_more = tokens.transfer_token(token.id, giver="ann", receiver="bob", idempotency_key="once")
        assert again.secret == once_more.secret
        found = witness.verify_token(again.secret)
        assert found is not None and ("bob", 1) == (found.owner, found.epoch)


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


def test_a_kill_under_load_loses_nothing_that_was_acknowledged(private_mariadb: MariaDBServer) -> None:
    url = private_mariadb.new_database()
    acknowledged: list[str] = []
    ended: list[str] = []

    def work(number: int) -> None:
        with open_tokens(url) as tokens:
            try:
                while True:
                    issued = tokens.open_session(f"owner{number}")
                    acknowledged.append(issued.secret)
                    if len(acknowledged) % 3 == 0:
                        tokens.destroy_session(issued.id)
                        ended.append(issued.secret)
            except StoreUnavailable:
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(ended) > 10)
    private_mariadb.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()
    private_mariadb.start()

    with open_tokens(url) as tokens:
        ends = set(ended)
        lost = [secret for secret in acknowledged if secret not in ends and tokens.verify_session(secret) is None]
        risen = [secret for secret in ended if tokens.verify_session(secret) is not None]
        # The last command of each worker was on its way: an end that was carried out without an answer is no loss.
        assert len(lost) <= len(threads) and [] == risen
        assert [] == tokens.store.check_now()  # type: ignore[attr-defined]  # of this store


@pytest.mark.parametrize("awaited", [False, True])
def test_a_touch_that_waited_until_its_session_was_over_brings_nobody_back(mariadb_url: str, awaited: bool) -> None:
    """It judged the session alive, then waited for its row: the clock is asked once more, as the last step."""
    url = mariadb_url + "?timeout=20"
    with SessionTokens.open(url, pepper=PEPPER, sweep=False) as other, ThreadPoolExecutor(1) as threads:
        issued = other.open_session("ann", idle_timeout=WINDOW_S)
        with held(mariadb_url, f"SELECT * FROM session_tokens_sessions WHERE id = '{issued.id}' FOR UPDATE"):
            threading.Event().wait(WINDOW_S / 4)  # a touch is due after a sixteenth
            touched: Future[Session | None] = threads.submit(touches, url, issued, awaited)
            wait_until(waiting_commits)
            assert other.verify_session(issued.secret, touch=False) is not None, "it waits since before the end"
            while other.verify_session(issued.secret, touch=False) is not None:
                threading.Event().wait(0.005)

        touched.exception(30)
        assert other.verify_session(issued.secret, touch=False) is None
        assert touched.result() is None


def touches(url: str, issued: Issued, awaited: bool) -> Session | None:
    """Write a use of a session down through a store of its own, however long that takes."""

    async def touch() -> Session | None:
        async with await AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
            lookup = tokens.store.keyring.lookup(issued.secret)
            return await tokens.store.run(touch_session, issued.id, lookup)

    if awaited:
        return asyncio.run(touch())
    with SessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
        return tokens.store.run_now(touch_session, issued.id, tokens.store.keyring.lookup(issued.secret))


async def test_a_server_that_takes_no_writes_is_not_believed(private_mariadb: MariaDBServer) -> None:
    """It may be a replica that lags behind: what was ended elsewhere might live on here."""
    url = private_mariadb.new_database() + "?timeout=2"
    async with AsyncSessionTokens(await open_store(url, pepper=PEPPER)) as tokens:
        with SessionTokens(open_store_now(url, pepper=PEPPER)) as blocking:
            issued = blocking.open_session("ann")
            private_mariadb.execute("SET GLOBAL read_only = 1")
            with pytest.raises(StoreUnavailable, match="give the address of the primary"):
                blocking.verify_session(issued.secret)
            with pytest.raises(StoreUnavailable, match="give the address of the primary"):
                await tokens.verify_session(issued.secret)
            with pytest.raises(StoreUnavailable, match="give the address of the primary"):
                blocking.open_session("bob")
            private_mariadb.execute("SET GLOBAL read_only = 0")

            assert blocking.verify_session(issued.secret) is not None
            assert await tokens.verify_session(issued.secret) is not None


async def test_of_several_servers_the_one_that_takes_writes_is_asked(private_mariadb: MariaDBServer) -> None:
    """After a switch-over too: all connections to the old one are left at the first word that it takes no writes."""
    url = shared_server().new_database()
    database = url.rpartition("/")[2]
    private_mariadb.execute(f"CREATE DATABASE {database}")
    private_mariadb.execute("SET GLOBAL read_only = 1")
    hosts = f"127.0.0.1:{free_port()},127.0.0.1:{private_mariadb.port},127.0.0.1:{shared_server().port}"
    there = f"mysql://root@{hosts}/{database}?timeout=5"
    try:
        async with AsyncSessionTokens(await open_store(there, pepper=PEPPER)) as tokens:
            with SessionTokens(open_store_now(there, pepper=PEPPER)) as blocking:
                issued = blocking.open_session("ann")

                assert await tokens.verify_session(issued.secret) is not None
                with open_tokens(url) as witness:
                    assert witness.verify_session(issued.secret) is not None
    finally:
        shared_server().drop_database(url)


def test_names_lead_to_the_same_slot_in_every_process() -> None:
    assert [4005, 807, 0] == [slot_of("sessions_of:ann"), slot_of("tokens_of:\ud800"), slot_of("")]
