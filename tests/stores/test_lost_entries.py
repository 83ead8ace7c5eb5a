"""An owner's entry that is damaged or gone: after a check has mended the store, nobody who was logged out is back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import valkey

from session_tokens import SessionTokens, Settings
from session_tokens.rules.owners import destroy_sessions, disable_owner
from session_tokens.settings import ENDED_AT_ONCE
from session_tokens.stores.connect import check_store
from tests.helpers.servers.mariadb import shared_server
from tests.helpers.sqlite_files import behind

MANY = 120
"""More sessions than end each for itself."""
KEPT = Settings(max_sessions=None)
LASTING = Settings(max_sessions=None, idle_timeout=None, max_age=None)


@pytest.fixture
def pepper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pepper"
    file.touch(mode=0o600)
    file.write_text(bytes(range(32)).hex() + "\n")
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", str(file))


@pytest.fixture(params=["sqlite", "valkey", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path, pepper: None) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sessions.db'}"
    else:
        yield request.getfixturevalue(f"{request.param}_url")


def opened(url: str) -> SessionTokens:
    return SessionTokens.open(url, settings=KEPT, sweep=False)


def end_in_one_write(tokens: SessionTokens, end: str = "destroy_sessions") -> None:
    """End all sessions of ann as a process does that dies before it cleaned up behind that."""
    if end == "disable_owner":
        assert tokens.store.run_now(disable_owner, "ann", ENDED_AT_ONCE)
    else:
        assert tokens.store.run_now(destroy_sessions, "ann", None, "revoked", ENDED_AT_ONCE) >= MANY


def change_entries(url: str, change: Callable[[str], str] | None) -> None:
    """Write into the MAC of each owner's entry, or delete them, behind the store's back."""
    if url.startswith("sqlite"):
        path = Path(url[10:])
        for owner, mac in behind(path, "SELECT owner, mac FROM owners"):
            if change is None:
                behind(path, "DELETE FROM owners WHERE owner = ?", owner)
            else:
                behind(path, "UPDATE owners SET mac = ? WHERE owner = ?", change(mac), owner)
    elif url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            for owner, mac in connection.execute("SELECT owner, mac FROM session_tokens.owners").fetchall():
                if change is None:
                    connection.execute("DELETE FROM session_tokens.owners WHERE owner = %s", [owner])
                else:
                    query = "UPDATE session_tokens.owners SET mac = %s WHERE owner = %s"
                    connection.execute(query, [change(mac), owner])
    elif url.startswith("mysql"):
        server, database = shared_server(), url.rpartition("/")[2]
        for owner, mac in server.execute("SELECT HEX(owner), mac FROM session_tokens_owners", database):
            where = f"WHERE owner = UNHEX('{owner}')"
            if change is None:
                server.execute(f"DELETE FROM session_tokens_owners {where}", database)
            else:
                server.execute(
                    f"UPDATE session_tokens_owners SET mac = '{change(bytes(mac).decode())}' {where}", database
                )
    else:
        address, _, name = url.partition("?namespace=")
        with valkey.Valkey.from_url(address) as client:
            for key in client.keys(f"{{{name}:00}}:e:*"):
                if change is None:
                    client.delete(key)
                else:
                    value = client.get(key)
                    assert isinstance(value, bytes)
                    head, mac, row = value.split(b"\n", 2)
                    client.set(key, b"\n".join((head, change(mac.decode()).encode(), row)))


def damaged(mac: str) -> str:
    return mac[:-4] + ("aaaa" if mac[-4:] != "aaaa" else "bbbb")


def mended(url: str) -> list[str]:
    """Check, mend, and see that a check finds nothing after that."""
    before, fixed, after = (
        [str(said) for said in check_store(url, fix=fix, progress=lambda *_: None)] for fix in (False, True, False)
    )
    assert (len(before), after) == (len(fixed), [])
    return fixed


def see_that_all_are_dead(url: str, secrets: list[str], owner: str = "ann") -> None:
    """Also once the sweeper was there, which does away with them; and that new log-ins are good."""
    with opened(url) as tokens:
        assert [None] * len(secrets) == [tokens.verify_session(secret) for secret in secrets]
        new = tokens.open_session(owner)
        assert tokens.verify_session(new.secret) is not None
        tokens.sweep(1000)
        assert [None] * len(secrets) == [tokens.verify_session(secret) for secret in secrets]
        assert [new.id] == [session.id for session in tokens.list_sessions(owner)]
        assert tokens.verify_session(new.secret) is not None
        assert 1 == tokens.destroy_sessions(owner)


@pytest.mark.parametrize("end", ["destroy_sessions", "disable_owner"])
def test_sessions_that_ended_in_one_write_stay_dead_once_their_owners_entry_is_set_aside(url: str, end: str) -> None:
    with opened(url) as tokens:
        secrets = [tokens.open_session("ann").secret for _ in range(MANY)]
        bob = tokens.open_session("bob")
        end_in_one_write(tokens, end)
        assert [None] * MANY == [tokens.verify_session(secret) for secret in secrets]
    change_entries(url, damaged)

    (said,) = mended(url)
    see_that_all_are_dead(url, secrets)
    assert "moved to quarantine" in said
    assert "disable the owner again" in said
    with opened(url) as tokens:
        assert tokens.verify_session(bob.secret) is not None, "nothing happened to other owners"


def test_sessions_of_every_epoch_are_dead_once_their_owners_entry_is_set_aside(url: str) -> None:
    with opened(url) as tokens:
        secrets = [tokens.open_session("ann").secret for _ in range(MANY)]
        end_in_one_write(tokens)
        secrets += [tokens.open_session("ann").secret for _ in range(3)]
        assert tokens.verify_session(secrets[-1]) is not None
    change_entries(url, damaged)

    mended(url)
    see_that_all_are_dead(url, secrets)


def test_the_sweeper_finds_the_sessions_that_ended_with_the_lost_entry(url: str) -> None:
    """They have no deadline of their own that would lead it there."""
    with SessionTokens.open(url, settings=LASTING, sweep=False) as tokens:
        tokens.disable_owner("ann")
        tokens.enable_owner("ann")
        opened = [tokens.open_session("ann") for _ in range(3)]
        assert tokens.sweep(1000) == 0
    change_entries(url, damaged)

    mended(url)
    with SessionTokens.open(url, settings=LASTING, sweep=False) as tokens:
        assert [None] * 3 == [tokens.get_session(session.id) for session in opened]
        assert sum(tokens.sweep(1000) for _ in range(3)) >= 3


def test_an_entry_under_a_pepper_that_nobody_knows_is_lost_as_well(url: str) -> None:
    with opened(url) as tokens:
        secrets = [tokens.open_session("ann").secret for _ in range(MANY)]
        end_in_one_write(tokens)
    change_entries(url, lambda mac: "aaaaaaaa:" + mac.partition(":")[2])

    mended(url)
    see_that_all_are_dead(url, secrets)


def test_a_lost_entry_of_an_owner_without_sessions_leaves_them_free_to_log_in(url: str) -> None:
    with opened(url) as tokens:
        tokens.disable_owner("ann")
    change_entries(url, damaged)

    mended(url)
    see_that_all_are_dead(url, [])


def test_sessions_of_an_epoch_of_which_no_entry_tells_are_found_and_end(url: str) -> None:
    with opened(url) as tokens:
        secrets = [tokens.open_session("ann").secret for _ in range(MANY)]
        tokens.destroy_sessions("ann")
        secrets += [tokens.open_session("ann").secret for _ in range(MANY)]
        end_in_one_write(tokens)
        bob = tokens.open_session("bob")
    change_entries(url, None)

    assert [] != [said for said in mended(url) if "which its entry does not know (written anew" in said]
    see_that_all_are_dead(url, secrets)
    with opened(url) as tokens:
        assert tokens.verify_session(bob.secret) is not None


def test_an_end_of_all_of_which_no_entry_is_left_is_found_by_its_mark(url: str) -> None:
    """All were opened before anything ended, so that no epoch tells; the one at which the sweeper is to begin does."""
    with opened(url) as tokens:
        secrets = [tokens.open_session("ann").secret for _ in range(MANY)]
        end_in_one_write(tokens)
        bob = tokens.open_session("bob")
    change_entries(url, None)

    (said,) = mended(url)
    assert "ended at once" in said and "written anew" in said
    see_that_all_are_dead(url, secrets)
    with opened(url) as tokens:
        assert tokens.verify_session(bob.secret) is not None


def test_the_sweeper_ends_what_ended_at_once_though_no_entry_is_left(url: str) -> None:
    with opened(url) as tokens:
        secrets = [tokens.open_session("ann").secret for _ in range(MANY)]
        end_in_one_write(tokens)
    change_entries(url, None)

    with opened(url) as tokens:
        tokens.sweep(1)
    see_that_all_are_dead(url, secrets)


def test_a_disabled_owner_of_whom_no_entry_is_left_is_found(url: str) -> None:
    with opened(url) as tokens:
        tokens.open_session("ann")
        tokens.open_session("bob")
        tokens.disable_owner("ann")
        assert [] == list(check_store(url, fix=False, progress=lambda *_: None))
    change_entries(url, None)

    (said,) = mended(url)
    assert "ann" in said and "disable the owner again" in said


@pytest.mark.parametrize("value", [b"", b"garbage", b"0" * 16 + b"\n\n[", b"0" * 16 + b"\nx:y\n" + b"[" * 5000])
def test_an_entry_of_which_nothing_is_left_is_lost_as_well(valkey_url: str, pepper: None, value: bytes) -> None:
    """Who its owner is, their sessions tell."""
    with opened(valkey_url) as tokens:
        secrets = [tokens.open_session("ann").secret for _ in range(MANY)]
        end_in_one_write(tokens)
    address, _, name = valkey_url.partition("?namespace=")
    with valkey.Valkey.from_url(address) as client:
        (key,) = client.keys(f"{{{name}:00}}:e:*")
        client.set(key, value)

    mended(valkey_url)
    see_that_all_are_dead(valkey_url, secrets)
