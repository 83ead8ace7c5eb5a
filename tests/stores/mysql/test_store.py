"""Opening a store in MariaDB: users, versions, name spaces, TLS; what tables keep, and what a check finds."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_tokens import (
    AsyncSessionTokens,
    InvalidInput,
    SessionTokens,
    StoreBusy,
    StoreError,
    StoreUnavailable,
    TokenTables,
)
from session_tokens.clock import NEVER
from session_tokens.contract.changes import Changes
from session_tokens.contract.drive import drive_now
from session_tokens.contract.optimistic import Commit
from session_tokens.errors import CorruptRecord
from session_tokens.stores.common.async_server_store import AsyncServerStore
from session_tokens.stores.common.migrations import NEWEST
from session_tokens.stores.common.seen_parts import SeenParts
from session_tokens.stores.common.server_store import ServerStore
from session_tokens.stores.connect import check_store, open_store, open_store_now
from session_tokens.stores.mysql.address import address_of
from session_tokens.stores.mysql.commit import committing
from session_tokens.stores.mysql.connections import setting_up
from session_tokens.stores.mysql.statements import Packet, literal, plain
from session_tokens.stores.mysql.store import migrate_mysql
from tests.helpers.servers.certificates import Authority
from tests.helpers.servers.mariadb import MariaDBServer, running_server, shared_server
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.needs_mariadb

PEPPER = bytes(range(32))


def database_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def execute(url: str, statement: str) -> Any:
    return shared_server().execute(statement, database_of(url))


def opened(url: str, **named: Any) -> ServerStore:
    store = open_store_now(url, **{"pepper": PEPPER, **named})
    assert isinstance(store, ServerStore)
    return store


def user_with(url: str, rights: str) -> str:
    """Make a user with these rights in that database; answer the URL with which it comes."""
    database = database_of(url)
    name = "u" + database[-8:]
    shared_server().execute(f"CREATE USER '{name}'@'%' IDENTIFIED BY 'pw'")
    shared_server().execute(f"GRANT {rights} ON {database}.* TO '{name}'@'%'")
    return url.replace("root@", f"{name}:pw@")


def test_parts_of_a_url_are_what_the_address_says() -> None:
    address = address_of("mariadb://a%40nn:s%40cret@one:3307,[::1]/db?timeout=2.5&pool_size=3&namespace=n", "tt")

    assert (("one", 3307), ("::1", 3306)) == address.hosts
    assert ("a@nn", "s@cret", "db", "n_tt_") == (address.user, address.password, address.database, address.table_prefix)
    assert (2.5, 3, None) == (address.timeout_s, address.pool_size, address.tls)
    assert "cret" not in repr(address)


@pytest.mark.parametrize(
    "value", ["", "'; DROP TABLE x; --", "\\", "a\0b", "é\U0001f600", "\ud800", "\x1a", "%s {} :n ?"]
)
def test_any_text_is_a_value_and_nothing_but_that(mariadb_url: str, value: str) -> None:
    ((found,),) = execute(mariadb_url, f"SELECT {literal(value)}")

    assert plain(found) == value


def test_opening_makes_the_tables_and_opening_again_changes_nothing(mariadb_url: str) -> None:
    opened(mariadb_url).close_now()
    first = execute(mariadb_url, "SHOW TABLES")
    opened(mariadb_url).close_now()

    assert first == execute(mariadb_url, "SHOW TABLES")
    assert [] == migrate_mysql(mariadb_url)


def test_eight_first_openings_at_once_all_succeed(mariadb_url: str) -> None:
    failures: list[Exception] = []

    def open_one() -> None:
        try:
            opened(mariadb_url + "?timeout=20").close_now()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures


def test_what_the_first_opening_makes_is_of_the_newest_version_at_once(mariadb_url: str) -> None:
    """Nobody could migrate what was never older, whether its maker goes on or dies at that moment."""
    opened(mariadb_url).close_now()
    execute(mariadb_url, "DELETE FROM session_tokens_migrations")
    failures: list[Exception] = []

    def open_one() -> None:
        try:
            opened(mariadb_url + "?timeout=20").close_now()
        except Exception as error:
            failures.append(error)

    gate = database_of(mariadb_url)
    execute(
        mariadb_url,
        "CREATE TRIGGER gate BEFORE INSERT ON session_tokens_migrations FOR EACH ROW "
        f"SET @passed = IF(NEW.number = {NEWEST}, GET_LOCK('{gate}', 20), 0)",
    )
    maker = threading.Thread(target=open_one)
    with shared_server().connect() as holder, holder.cursor() as cursor:
        cursor.execute(f"SELECT GET_LOCK('{gate}', 0)")
        maker.start()
        waiting = f"SELECT 1 FROM information_schema.processlist WHERE state = 'User lock' AND db = '{gate}'"
        wait_until(lambda: execute(mariadb_url, waiting) or not maker.is_alive())
        seen = execute(mariadb_url, "SELECT number FROM session_tokens_migrations")
    maker.join()

    assert [] == failures
    assert () == seen


def test_a_migration_that_was_broken_off_is_taken_up_again(mariadb_url: str) -> None:
    """Making a table ends a transaction here, so what a process that died has made is there."""
    opened(mariadb_url).close_now()
    execute(mariadb_url, "DELETE FROM session_tokens_migrations")
    execute(mariadb_url, "DROP TABLE session_tokens_tokens")
    execute(mariadb_url, "DELETE FROM session_tokens_slots WHERE slot > 100")
    with SessionTokens(opened(mariadb_url)) as tokens:
        assert tokens.issue_token(None, "v") is not None
        assert [] == opened(mariadb_url).check_now()


def test_tables_that_an_older_version_began_to_make_are_made_as_of_this_one(mariadb_url: str) -> None:
    """Its first process died in the midst; the next one is of this version."""
    opened(mariadb_url).close_now()
    execute(mariadb_url, "DELETE FROM session_tokens_migrations")
    execute(mariadb_url, "ALTER TABLE session_tokens_sessions DROP COLUMN rotation")
    with SessionTokens(opened(mariadb_url)) as tokens:
        assert tokens.rotate_session(tokens.open_session("ann").secret, grace=60).secret


def test_tables_of_a_newer_version_are_refused(mariadb_url: str) -> None:
    opened(mariadb_url).close_now()
    execute(mariadb_url, "INSERT INTO session_tokens_migrations VALUES (1000, 'later')")
    with pytest.raises(StoreError, match="newer"):
        opened(mariadb_url)


def test_a_user_without_the_right_to_make_tables_uses_those_that_are_there(mariadb_url: str) -> None:
    url = user_with(mariadb_url, "SELECT, INSERT, UPDATE, DELETE")
    with pytest.raises(StoreError, match="CREATE"):
        opened(url)
    migrate_mysql(mariadb_url)
    with SessionTokens(opened(url)) as tokens:
        issued = tokens.open_session("ann")
        assert tokens.verify_session(issued.secret) is not None


def test_a_database_that_is_not_there_is_told(mariadb_server: MariaDBServer) -> None:
    with pytest.raises(StoreUnavailable, match="no_such"):
        opened(mariadb_server.url("no_such"))


def test_name_spaces_keep_their_records_apart(mariadb_url: str) -> None:
    with (
        SessionTokens(opened(mariadb_url + "?namespace=one")) as one,
        SessionTokens(opened(mariadb_url + "?namespace=two")) as two,
        TokenTables.open(mariadb_url + "?namespace=one", pepper=PEPPER, sweep=False) as tables,
    ):
        issued = one.open_session("ann")
        tables.add_session("s", "ann")

        assert two.verify_session(issued.secret) is None
        assert 1 == len(one.list_sessions().items)
        assert [] == two.list_sessions().items


def test_awkward_texts_come_back_as_they_were(mariadb_url: str) -> None:
    texts = ["'; DROP TABLE session_tokens_tokens; --", "a\\", "%s", "\x1a0", "é\U0001f600", "a\0b", "\u2028"]
    with SessionTokens(opened(mariadb_url)) as tokens:
        issued = [tokens.issue_token(None, text) for text in texts]

        assert texts == [token.value for one in issued if (token := tokens.verify_token(one.secret)) is not None]
        assert [] == tokens.store.check_now()  # type: ignore[attr-defined]  # of this store


def test_owners_are_told_apart_byte_by_byte(mariadb_url: str) -> None:
    """The collations of a database would take some of these for the same."""
    owners = ["ann", "Ann", "ánn", "ANN", "straße", "strasse"]
    with SessionTokens(opened(mariadb_url)) as tokens:
        for owner in owners:
            tokens.open_session(owner)

        assert [[owner] for owner in owners] == [
            [session.owner for session in tokens.list_sessions(owner)] for owner in owners
        ]


def test_a_record_that_was_changed_in_the_database_is_none(mariadb_url: str) -> None:
    with SessionTokens(opened(mariadb_url)) as tokens:
        issued, other = tokens.open_session("ann"), tokens.open_session("bob")
        execute(mariadb_url, f"UPDATE session_tokens_sessions SET deadline = {NEVER - 1} WHERE id = '{issued.id}'")
        assert tokens.verify_session(issued.secret) is None
        with pytest.raises(CorruptRecord):
            tokens.get_session(issued.id)

        assert tokens.verify_session(other.secret) is not None


def test_a_look_up_key_that_leads_to_anothers_record_lets_nobody_in(mariadb_url: str) -> None:
    with SessionTokens(opened(mariadb_url)) as tokens:
        mine, theirs = tokens.open_session("ann"), tokens.open_session("bob")
        key = tokens.store.keyring.lookup(mine.secret)
        execute(mariadb_url, f"DELETE FROM session_tokens_sessions WHERE id = '{mine.id}'")
        execute(mariadb_url, f"UPDATE session_tokens_sessions SET lookup = '{key}' WHERE id = '{theirs.id}'")

        assert tokens.verify_session(mine.secret) is None


def test_a_check_finds_and_mends(mariadb_url: str) -> None:
    with SessionTokens(store := opened(mariadb_url)) as tokens:
        forged, kept = tokens.open_session("ann"), tokens.open_session("bob")
        execute(mariadb_url, f"UPDATE session_tokens_sessions SET owner = 'eve' WHERE id = '{forged.id}'")
        execute(mariadb_url, "DROP INDEX session_tokens_sessions_of_owner ON session_tokens_sessions")
        execute(mariadb_url, "DELETE FROM session_tokens_slots WHERE slot = 17")
        found = store.check_now()

        assert {"session", "index", "table"} == {finding.kind for finding in found}
        assert len(found) == len(store.check_now(fix=True))
        assert [] == store.check_now()
        assert ((b"sessions",),) == execute(mariadb_url, "SELECT table_name FROM session_tokens_quarantine")
        assert tokens.verify_session(kept.secret) is not None


def test_a_name_whose_slot_is_gone_is_not_taken_for_locked(mariadb_url: str) -> None:
    """Nothing would hold two commits apart."""
    with SessionTokens(opened(mariadb_url)) as tokens:
        execute(mariadb_url, "DELETE FROM session_tokens_slots")
        with pytest.raises(StoreError, match="slots"):
            tokens.open_session("ann")


@pytest.mark.parametrize(
    "settings",
    [
        "completion_type = 1, sql_select_limit = 2, sql_safe_updates = 1, tx_isolation = 'SERIALIZABLE'",
        "completion_type = 2, max_join_size = 1, autocommit = 0, tx_isolation = 'READ-UNCOMMITTED'",
    ],
)
def test_what_the_server_is_set_to_changes_nothing(
    private_mariadb: MariaDBServer, settings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction is one, a listing whole, and a question may be asked, whatever new connections begin with."""
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", PEPPER.hex())
    url = private_mariadb.new_database()
    for setting in settings.split(", "):
        private_mariadb.execute(f"SET GLOBAL {setting}")
    with SessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
        issued = [tokens.open_session("ann") for _ in range(5)]
        for each in issued:
            tokens.issue_token(each.id, transferable=True)
        assert [len(tokens.list_sessions("ann")), len(tokens.list_tokens(owner="ann"))] == [5, 5]
        assert tokens.destroy_sessions("ann") == 5
        tokens.sweep()
        assert len(tokens.list_tokens(unassigned=True)) == 5
    assert check_store(url, fix=False, progress=lambda done, total: None) == []


def test_what_does_not_keep_its_settings_is_refused(mariadb_url: str) -> None:
    """As a proxy would that hands each packet to another connection."""
    store = opened(mariadb_url)
    link = store.backend.links.connect(5, 5)

    def forgetful(packet: Any) -> Any:
        answer = link.ask(packet, 5)
        kept = [(name, b"OTHER" if b"isolation" in name else value) for name, value in _bytes(answer[-2])]
        return [*answer[:-2], kept, answer[-1]]

    with pytest.raises(StoreUnavailable, match="what a connection is set to"):
        drive_now(setting_up("MariaDB", 1.0, 1.0), forgetful)
    link.close()
    store.close_now()


def _bytes(rows: Any) -> list[tuple[bytes, bytes]]:
    return [(str(name).encode(), str(value).encode()) for name, value in rows]


def test_what_goes_through_a_whole_store_has_more_time_than_a_command(mariadb_url: str) -> None:
    """The server gives a statement up by itself after the connection's time; that of a check is another one."""
    store = opened(mariadb_url + "?timeout=0.5")

    def slow() -> Any:
        answer = yield Packet(["SELECT SLEEP(0.7)"])
        return answer

    with pytest.raises(StoreBusy):
        store._pool.run(5, slow)
    assert [((0,),)] == store._pool.run_script(5, slow)
    store.close_now()


def test_who_stops_within_a_commit_keeps_its_locks_no_longer_than_others_wait(mariadb_url: str) -> None:
    with SessionTokens(opened(mariadb_url + "?timeout=5")) as tokens:
        stopped = opened(mariadb_url).backend.links.connect(5, 1)
        stopped.ask(Packet(["START TRANSACTION", "SELECT COUNT(*) FROM session_tokens_slots FOR UPDATE"]), 5)

        assert tokens.open_session("ann") is not None
        assert not stopped.is_whole
        stopped.close()


def test_who_stops_within_a_long_step_keeps_its_locks_for_seconds(mariadb_url: str) -> None:
    """A check of the whole store may take ten minutes for a step, and holds all slots between two packets."""
    store = opened(mariadb_url)
    link = store.backend.links.connect(5, 600)
    for version, setting in (("MariaDB", "idle_transaction_timeout"), ("8.4.3", "wait_timeout")):
        drive_now(setting_up(version, 600, 10), lambda step: link.ask(step, 5))
        (((found,),),) = link.ask(Packet([f"SELECT @@SESSION.{setting}"]), 5)
        assert 1 <= found <= 60, setting
    link.close()
    store.close_now()


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_connection_that_the_server_closed_as_idle_fails_nobody(mariadb_url: str, awaited: bool) -> None:
    store = open_store_now(mariadb_url, pepper=PEPPER) if not awaited else await open_store(mariadb_url, pepper=PEPPER)
    assert isinstance(store, ServerStore | AsyncServerStore)
    pool: Any = store._pool
    link = await pool.take(5) if awaited else pool.take(5)
    soon = Packet(["SET SESSION wait_timeout = 1"])
    await link.ask(soon, 5) if awaited else link.ask(soon, 5)
    link.when_free(pool._give) if awaited else pool.give(link)
    async with asyncio.timeout(30):
        while link.is_whole:  # noqa: ASYNC110 - the server closes it, and nobody tells of that
            await asyncio.sleep(0.05)

    if isinstance(store, AsyncServerStore):
        async with AsyncSessionTokens(store) as tokens:
            assert await tokens.open_session("ann") is not None
    else:
        with SessionTokens(store) as blocking:
            assert blocking.open_session("ann") is not None


def test_of_commands_that_travel_together_each_is_whole_by_itself(mariadb_url: str) -> None:
    """One that comes too late takes nothing of the others with it, also if it only becomes late on the way."""
    store = opened(mariadb_url)
    link, seen = store.backend.links.connect(5, 5), store.record_cache
    assert isinstance(seen, SeenParts)
    now = store.read_now([]).now

    def setting(name: str, not_after: int = NEVER, **stamps: str) -> Commit:
        changes = Changes()
        changes.others().settings.append((name, "text"))
        changes.not_after = not_after
        return Commit(changes, {("setting", part): stamp for part, stamp in stamps.items()}, now)

    commits = [setting("a", a="0"), setting("late", now), setting("moved", b="17"), setting("a", a="0"), setting("c")]
    written = drive_now(
        committing("session_tokens_", store.keyring, commits, seen),
        lambda step: link.ask(step, 5),
    )
    names = execute(mariadb_url, "SELECT name FROM session_tokens_settings WHERE text = 'text' ORDER BY name")

    assert [True, False, False, False, True] == written
    assert ((b"a",), (b"c",)) == names
    link.close()
    store.close_now()


@pytest.mark.parametrize("late", ["first", "second"])
def test_what_becomes_late_between_its_packets_is_taken_back(mariadb_url: str, late: str) -> None:
    """The clock is asked once more within the last packet; the others of the turn are written one by one then."""
    store = opened(mariadb_url)
    link, seen = store.backend.links.connect(5, 5), store.record_cache
    assert isinstance(seen, SeenParts)
    not_after = store.read_now([]).now + 300

    def setting(name: str) -> Commit:
        changes = Changes()
        changes.others().settings.append((name, "text"))
        changes.not_after = not_after if name == late else NEVER
        return Commit(changes, {}, 0)

    def slowly(packet: Any) -> Any:
        if packet.lasts:
            while store.read_now([]).now < not_after:
                threading.Event().wait(0.01)
        return link.ask(packet, 5)

    commits = [setting("first"), setting("second")]
    written = drive_now(committing("session_tokens_", store.keyring, commits, seen), slowly)

    assert [late != "first", late != "second"] == written
    assert 1 == len(execute(mariadb_url, "SELECT name FROM session_tokens_settings WHERE text = 'text'"))
    link.close()
    store.close_now()


def test_a_record_larger_than_a_packet_should_be_travels_in_several(mariadb_url: str) -> None:
    from session_tokens import Settings

    settings = Settings(max_data_bytes=1_048_576)
    with SessionTokens(opened(mariadb_url + "?timeout=20"), settings) as tokens:
        issued = tokens.open_session("ann", data={"text": "é" * 500_000})
        session = tokens.verify_session(issued.secret)

        assert session is not None and {"text": "é" * 500_000} == session.data


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MariaDBServer, Path, Path]]:
    """A server that speaks TLS, the authority that signed its certificate, and another one."""
    folder = tmp_path_factory.mktemp("tls")
    authority, stranger = Authority(folder, "authority"), Authority(folder, "stranger")
    issued = authority.issue("localhost")
    above = Path(tempfile.gettempdir())
    for path in (folder, *folder.parents):
        if above in path.parents:
            path.chmod(0o755)
    issued.key.chmod(0o644)  # the server is another user
    with running_server([f"--ssl-cert={issued.certificate}", f"--ssl-key={issued.key}"]) as server:
        yield server, authority.certificate, stranger.certificate


@pytest.mark.server
@pytest.mark.parametrize("awaited", [False, True])
async def test_tls_is_spoken_and_the_server_is_verified(
    over_tls: tuple[MariaDBServer, Path, Path], awaited: bool, open_either: Callable[..., Any]
) -> None:
    server, authority, stranger = over_tls
    url = server.new_database().replace("127.0.0.1", "localhost") + "?timeout=5&"
    for options in ("ssl_mode=required", f"ssl_ca={authority}", f"ssl_mode=verify_ca&ssl_ca={authority}"):
        assert await open_either(url + options, awaited)
    for options in (f"ssl_ca={stranger}", f"ssl_mode=verify_ca&ssl_ca={stranger}"):
        with pytest.raises(StoreUnavailable, match="name who signed it with ssl_ca="):
            await open_either(url + options, awaited)
    with pytest.raises(StoreUnavailable, match="give the host that it was made for"):
        await open_either(url.replace("localhost", "127.0.0.1") + f"ssl_ca={authority}", awaited)
    server.execute("CREATE OR REPLACE USER ben@localhost REQUIRE X509")
    for mode in ("disabled", "required"):  # the server does not tell why it denies access
        with pytest.raises(StoreUnavailable, match=r"ssl_mode=required.*ssl_cert=FILE&ssl_key=FILE"):
            await open_either(f"{url.replace('root@', 'ben@')}ssl_mode={mode}", awaited)


@pytest.fixture
def open_either() -> Callable[..., Any]:
    """Open a store in one way or the other and ask it something; answer whether the connection is encrypted."""

    async def open_it(url: str, awaited: bool) -> bool:
        if awaited:
            async with await AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
                return (await tokens.store.read([])).now > 0
        with SessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
            return tokens.store.read_now([]).now > 0

    return open_it


def test_files_for_tls_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="ssl_ca"):
        address_of(f"mysql://h/db?ssl_ca={tmp_path / 'none.pem'}")
