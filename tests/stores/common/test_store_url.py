"""URLs of stores: one reading for all of them, and no part of a password in any message."""

import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from session_tokens import InvalidInput, SessionTokens, TokenTables
from session_tokens.rules.copied_settings import setting_moved
from session_tokens.stores.connect import check_store, copy_mark_of, copy_store, fix_store_clock, open_store_now
from session_tokens.stores.postgres.address import address_of
from session_tokens.stores.valkey.schema import Address

PEPPER = bytes(32)

NEVER_RIGHT = [
    "postgresql://ann:hor%zzse@db/x",
    "postgresql://ann:100%hor@db/x",
    "postgresql://ann:pa?horse@db/x",
    "postgresql://ann:pa?horse=1@db/x",
    "postgresql://ann:pa#horse@db/x",
    "postgresql://ann:pa/horse@db/x",
    "postgresql://ann:horse@db:port/x",
    "postgresql://ann:horse@db:70000/x",
    "postgresql://ann:horse@db:5432:5433/x",
    "postgresql://ann:horse@[::1/x",
    "postgresql://ann:horse@db/x?horse=1&horse=2",
    "postgresql://ann:horse@db/x?no_such_option=horse",
    "postgresql://ann:horse@db/x?sslmode=horse%zz",
    "postgresql://ann:horse@db/x?sslmode",
    "postgresql://ann:horse@db/x#tail",
    "postgresql://ann:horse%00@db/x",
    "postgresql://ann:horse@db/x\n",
    "valkey://:100%horse@127.0.0.1/0",
    "valkey://:pa?horse@127.0.0.1/0",
    "valkey://:pa#horse@127.0.0.1/0",
    "valkey://:pa/horse@127.0.0.1/0",
    "valkey://:horse@127.0.0.1:port/0",
    "valkey://:horse@127.0.0.1:0/0",
    "valkey://:horse@one:6379,two:6379/0",
    "valkey://:horse@127.0.0.1/zero",
    "valkey://:horse@127.0.0.1/0?no_such_option=horse",
    "valkey://:horse@127.0.0.1/0#tail",
    "valkey://:horse@127.0.0.1/0?db=horse",
    "valkey://:horse@127.0.0.1/0?db=-1",
    "valkey://:horse@127.0.0.1/0?protocol=horse",
    "valkey://:horse@127.0.0.1/0?protocol=4",
    "valkey://:horse@127.0.0.1/0?health_check_interval=horse",
    "valkey://:horse@127.0.0.1/0?socket_keepalive=horse",
    "valkey://:horse@127.0.0.1/0?client_name=a%20horse",
    "valkey://:horse@127.0.0.1/0?ssl_certfile=horse",
    "valkey+unix:///horse?ssl_check_hostname=true",
    "valkeys://:horse@127.0.0.1/0?ssl_cert_reqs=horse",
    "valkeys://:horse@127.0.0.1/0?ssl_check_hostname=horse",
    "valkeys://:horse@127.0.0.1/0?ssl_cert_reqs=none&ssl_check_hostname=true",
    "rediss://:horse@127.0.0.1/0?ssl_min_version=horse",
    "valkey+cluster://:horse@",
    "valkey+cluster://:horse@one:6379,:6379",
    "valkey+cluster://:horse@one:6379,two:6379/1",
    "valkey+cluster://:horse@one:6379?db=1",
    "valkey+cluster://:horse@one:6379?sentinel_user=horse",
    "valkeys+cluster://:horse@one:6379?ssl_cert_reqs=horse",
    "valkey+sentinel://:horse@one:26379",
    "valkey+sentinel://:horse@/name",
    "valkey+sentinel://:horse@one:26379/two%20words",
    "valkey+sentinel://:horse@one:26379/name?ssl_certfile=horse",
    "valkey+sentinel://:horse@one:26379/name?db=horse",
    "valkey://:horse@127.0.0.1/0?sentinel_password=horse",
    "valkey://:horse@127.0.0.1/0?timeout=1_0",
    "valkey://:horse@127.0.0.1/0?timeout=%201",
    "valkey://:horse@127.0.0.1/1?db=2",
    "valkey://:horse@horse..example/0",
    "valkeys://:horse@horse..example/0",
    f"valkey+cluster://:horse@one:6379,{'horse' * 13}:6379",
    "valkey+sentinel://:horse@.horse:26379/name",
    "postgresql://ann:horse@horse..example/x",
    f"postgresql://ann:horse@one,{'horse' * 13}.example/x",
    f"postgresql://ann:horse@{'horse.' * 50}example/x",
    "postgresql:///x?host=one,horse..example",
    "postgresql:///x?host=one&port=5_432",
    "postgresql:///x?host=one&port=70000",
    "postgresql:///x?host=one&port=5432,5433",
    "postgresql://ann:horse@db/x?timeout=1_0",
    "postgresql://ann:horse@db/x?timeout=１",
    "postgresql://ann:horse@db/x?pool_size=1_0",
    "postgresql://ann:horse@db/x?pool_size=2.5",
    "postgresql://ann:horse@db/x?durability=replicated&replicas=1.5",
    "mysql://ann:horse@horse..example/x",
    "mysql://ann:horse@db/x?timeout=1_0",
    "mysql://ann:horse@db/x?pool_size=2.5",
    "oracle://ann:horse@db/x",
    "mysql://ann:horse@db",
    "mysql://ann:horse@db/x/y",
    "mysql://ann:horse@db:port/x",
    "mysql://ann:horse@db/x?no_such_option=horse",
    "mysql://ann:horse@db/x?timeout=horse",
    "mysql://ann:horse@db/x?pool_size=0",
    "mysql://ann:horse@db/x?namespace=Horse",
    "mysql://ann:horse@db/x?ssl_mode=horse",
    "mysql://ann:horse@db/x?ssl_ca=horse",
    "mariadb://ann:horse@db/x?ssl_mode=disabled&ssl_ca=horse",
    "ann:horse@db/x",
    "sqlite:///horse#1.db",
    "sqlite:///horse?.db",
    "sqlite:///100%horse.db",
    "sqlite:///horse%00.db",
    "sqlite://horse/file.db",
    "sqlite:///file.db?no_such_option=1",
    "sqlite:///file.db?busy_timeout=horse",
    "sqlite:///file.db?busy_timeout=nan",
    "sqlite:///file.db?busy_timeout=1_0",
    f"sqlite:///{'horse' * 50}.db",
    f"sqlite:///{'horse' * 52}/file.db",
    f"sqlite:///{'horse/' * 100}file.db",
    "sqlite:///file.db\n",
    "memory://horse",
    "memory://?option=1",
]


def opened(url: str) -> None:
    open_store_now(url, pepper=PEPPER)


def opened_as_source(url: str) -> None:
    copy_store(url, "sqlite:///other.db", lambda done, total: None, setting_moved)


def opened_as_target(url: str) -> None:
    SessionTokens.open("sqlite:///source.db", sweep=False).close()
    copy_store("sqlite:///source.db", url, lambda done, total: None, setting_moved)


def checked(url: str) -> None:
    check_store(url, fix=False, progress=lambda done, total: None)


@pytest.mark.parametrize("use", [opened, opened_as_source, opened_as_target, checked, fix_store_clock])
@pytest.mark.parametrize("url", NEVER_RIGHT)
def test_a_url_that_can_never_be_right_is_refused_in_our_own_words(
    url: str, use: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", PEPPER.hex())
    before = {"source.db", "source.db.key"}

    with pytest.raises(InvalidInput) as refused:
        use(url)

    told = str(refused.value)
    for part in ("horse", "hor%", "pa?", "zz", "tail"):
        assert part not in told
    assert refused.value.__cause__ is None, "a driver's words would be in the traceback"
    made = {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()}
    assert made <= before, "a refused URL made a file"


@pytest.mark.parametrize("url", ["https://tokens.example", "HTTP://127.0.0.1:8080/?horse"])
def test_who_names_a_service_is_sent_where_one_is_reached(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"leads to a service, where SessionTokens\.connect\(\) goes") as refused:
        SessionTokens.open(url)
    assert "horse" not in str(refused.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("plain.db", "plain.db"), ("with%20blank.db", "with blank.db"), ("with blank.db", "with blank.db"),
        ("a+b.db", "a+b.db"), ("hash%23.db", "hash#.db"), ("what%3F.db", "what?.db"), ("100%25.db", "100%.db"),
        ("u@home.db", "u@home.db"), ("ü.db", "ü.db"),
    ],
)  # fmt: skip
def test_an_sqlite_path_is_the_one_that_is_written(
    written: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    SessionTokens.open(f"sqlite:///{written}?busy_timeout=2", sweep=False).close()

    assert (tmp_path / meant).exists()
    assert {path.name for path in tmp_path.iterdir()} <= {meant + end for end in ("", ".key", "-wal", "-shm")}


def test_what_postgres_is_told_is_what_the_url_says() -> None:
    import psycopg

    url = (
        "postgresql://a%20nn:s%40cr%20e%2Bt%25%3F%23%2F@one:5433,[::1],three/my%20db"
        "?options=-c%20role%3Dapp&application_name=a+b&target_session_attrs=read-write&ssl=true"
    )

    told = psycopg.conninfo.conninfo_to_dict(address_of(url).conninfo)

    assert told["user"] == "a nn" and told["password"] == "s@cr e+t%?#/" and told["dbname"] == "my db"
    assert told["host"] == "one,::1,three" and told["port"] == "5433,,"
    assert told["options"] == "-c role=app" and told["application_name"] == "a+b"
    assert told["target_session_attrs"] == "read-write" and told["sslmode"] == "require"


def test_postgres_sockets_are_reached_by_every_way_to_write_them() -> None:
    import psycopg

    for url in ("postgresql://%2Frun%2Fpg/db", "postgresql:///db?host=/run/pg", "postgresql:///db?host=%2Frun%2Fpg"):
        told = psycopg.conninfo.conninfo_to_dict(address_of(url).conninfo)
        assert (told["host"], told["dbname"]) == ("/run/pg", "db")
        assert "port" not in told


@pytest.mark.parametrize("scheme", ["valkey", "redis"])
def test_what_valkey_is_told_is_what_the_url_says(scheme: str) -> None:
    import redis

    url = "valkeys://a%20nn:s%40cr%20e%2Bt%25%3F%23%2F@[::1]:6380/3?client_name=a+%25b&ssl_cert_reqs=none"

    pool = redis.ConnectionPool.from_url(Address(url).driver_url("redis"))

    kwargs = pool.connection_kwargs
    assert kwargs["username"] == "a nn" and kwargs["password"] == "s@cr e+t%?#/" and kwargs["client_name"] == "a+%b"
    assert (kwargs["host"], kwargs["port"], kwargs["db"]) == ("::1", 6380, 3)


def test_a_password_with_an_at_sign_is_read_from_the_last_one() -> None:
    import psycopg

    assert psycopg.conninfo.conninfo_to_dict(address_of("postgresql://u:p@ss@db/x").conninfo)["password"] == "p@ss"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("postgresql://h/db", "postgres://ann:x@h:5432/db?timeout=3"),
        ("valkey://h", "redis://:x@h:6379/0?timeout=3"),
        ("valkey://h?db=2", "valkeys://h/2"),
        ("postgresql:///db?host=/run/pg", "postgresql://%2Frun%2Fpg/db"),
        ("sqlite:///a%20b.db", "sqlite:///a b.db?busy_timeout=3"),
    ],
)
def test_one_store_under_two_urls_is_one(one: str, other: str) -> None:
    assert copy_mark_of(one) == copy_mark_of(other)


def test_two_stores_on_several_hosts_are_two() -> None:
    assert copy_mark_of("postgresql://a,b/db") != copy_mark_of("postgresql://a,c/db")
    assert copy_mark_of("postgresql://a,b/db?namespace=n") != copy_mark_of("postgresql://a,b/db")


def test_the_first_living_one_of_several_postgres_hosts_is_used(postgres_url: str) -> None:
    """A port where nobody listens stands first."""
    where, _, rest = postgres_url.partition("://")[2].rpartition("@")[2].partition("/")
    user = postgres_url.partition("://")[2].rpartition("@")[0]
    url = f"postgresql://{user}@127.0.0.1:1,{where or '127.0.0.1'}/{rest}"

    with SessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
        issued = tokens.open_session("alice")
        assert tokens.verify_session(issued.secret) is not None


def in_name_space(request: pytest.FixtureRequest, server: str, namespace: str) -> str:
    url: str = request.getfixturevalue(server)
    return url.partition("?")[0] + "?namespace=" + namespace


@pytest.mark.parametrize(("server", "end"), [("postgres_url", "_tt"), ("mariadb_url", "_tt"), ("valkey_url", ".tt")])
def test_no_name_space_is_that_of_the_tables_of_another(request: pytest.FixtureRequest, server: str, end: str) -> None:
    """``SessionTokens`` would see what they keep: it lies under the same name with this end."""
    url = in_name_space(request, server, "t" + uuid.uuid4().hex[:12])
    with TokenTables.open(url, pepper=PEPPER, sweep=False) as tables:
        tables.add_session("session", "ann")
        with pytest.raises(InvalidInput, match=f"does not end with {re.escape(end)}"):
            SessionTokens.open(url + end, pepper=PEPPER, sweep=False)


@pytest.mark.parametrize(("server", "most"), [("postgres_url", 40), ("mariadb_url", 39), ("valkey_url", 32)])
def test_the_longest_name_space_has_tables_beside_it(request: pytest.FixtureRequest, server: str, most: int) -> None:
    url = in_name_space(request, server, uuid.uuid4().hex[:12].translate(str.maketrans("0123456789", "ghijklmnop")))
    url += "n" * (most - 12)
    with pytest.raises(InvalidInput, match=f"1 to {most} "):
        SessionTokens.open(url + "n", pepper=PEPPER)
    with (
        SessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens,
        TokenTables.open(url, pepper=PEPPER, sweep=False) as tables,
    ):
        tables.add_session("session", "ann")
        tokens.open_session("bob")

        assert ("session", "") == (tables.session_from_owner("ann"), tables.session_from_owner("bob"))
        assert ["bob"] == [session.owner for session in tokens.list_sessions()]
