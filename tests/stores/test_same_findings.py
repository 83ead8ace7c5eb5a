"""The same damage is found, called and mended alike, whichever store it happened to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import valkey

from session_tokens import SessionTokens, Settings
from session_tokens.stores.common.findings import Finding
from session_tokens.stores.connect import check_store
from tests.helpers.servers.mariadb import shared_server
from tests.helpers.sqlite_files import behind


@pytest.fixture(params=["sqlite", "valkey", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    file = tmp_path / "pepper"
    file.touch(mode=0o600)
    file.write_text(bytes(range(32)).hex() + "\n")
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", str(file))
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sessions.db'}"
    else:
        yield request.getfixturevalue(f"{request.param}_url")


def spoil(url: str, table: str, letter: str, id: str, *, delete: bool = False) -> None:
    """Write a wrong MAC into a record, or delete it, behind the store's back."""
    change = f"DELETE FROM {table}" if delete else f"UPDATE {table} SET mac = 'x'"
    if url.startswith("sqlite"):
        behind(Path(url[10:]), f"{change} WHERE id = ?", id)
    elif url.startswith("postgresql"):
        with psycopg.connect(url, options="-c search_path=session_tokens") as connection:
            connection.execute(f"{change} WHERE id = %s", [id])
    elif url.startswith("mysql"):
        change = change.replace(table, f"session_tokens_{table}")
        shared_server().execute(f"{change} WHERE id = '{id}'", _database(url))
    else:
        address, _, name = url.partition("?namespace=")
        with valkey.Valkey.from_url(address) as client:
            key = f"{{{name}:00}}:{letter}:{id}"
            value = client.get(key)
            assert isinstance(value, bytes)
            head, _, row = value.split(b"\n", 2)
            client.set(key, b"\n".join((head, b"x", row)))
            if delete:
                client.delete(key)


def _database(url: str) -> str:
    return url.rpartition("/")[2]


def found(url: str, *, fix: bool = False) -> dict[tuple[str, str], tuple[str, str | None]]:
    """Return kind and id of each record with which something is wrong, and what that is; indexes aside."""
    findings = check_store(url, fix=fix, progress=lambda *_: None)
    assert all(isinstance(finding, Finding) for finding in findings)
    return {(f.kind, f.id): (f.what, f.fixed) for f in findings if isinstance(f, Finding) and f.kind != "index"}


def test_damage_is_called_and_mended_alike(url: str) -> None:
    with SessionTokens.open(url, settings=Settings(max_sessions=None), sweep=False) as tokens:
        ann, bob = tokens.open_session("ann"), tokens.open_session("bob")
        forged = tokens.issue_token(ann.id, "forged")
        whole = tokens.issue_token(ann.id, "whole")
        bound, moving = tokens.issue_token(bob.id, "bound"), tokens.issue_token(bob.id, "moving", transferable=True)
        torn = tokens.open_session("cy")
    spoil(url, "tokens", "t", forged.id)
    spoil(url, "sessions", "s", torn.id)
    spoil(url, "sessions", "s", bob.id, delete=True)

    assert found(url) == {
        ("token", forged.id): ("forged", None), ("session", torn.id): ("forged", None),
        ("token", bound.id): ("orphan", None), ("token", moving.id): ("orphan", None),
    }  # fmt: skip
    assert found(url, fix=True) == {
        ("token", forged.id): ("forged", "moved to quarantine"),
        ("session", torn.id): ("forged", "moved to quarantine"),
        ("token", bound.id): ("orphan", "moved to quarantine"),
        ("token", moving.id): ("orphan", "written down as unassigned"),
    }
    assert found(url) == {}
    with SessionTokens.open(url, settings=Settings(max_sessions=None), sweep=False) as tokens:
        left = tokens.get_token(moving.id)
        assert left is not None
        assert left.is_unassigned
        assert [tokens.get_token(id) for id in (forged.id, bound.id)] == [None, None]
        assert tokens.get_token(whole.id) is not None
