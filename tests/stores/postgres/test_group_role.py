"""A login that may do nothing by itself, and a group whose rights it takes on (``NOINHERIT``): directly and pooled."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from urllib.parse import quote

import psycopg
import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreError
from session_tokens.stores.postgres.store import migrate_postgres, open_postgres, open_postgres_blocking
from tests.helpers.servers.pgbouncer import (
    Bouncer,
)

PEPPER = bytes(range(32))


@pytest.fixture
def group(postgres_url: str) -> Iterator[tuple[str, str]]:
    """A group that owns the store, and a login that is its member; answers both names."""
    name = f"team_{secrets.token_hex(4)}"
    member = f"{name}_app"
    database = postgres_url.rpartition("/")[2]
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        for statement in (
            f"CREATE ROLE {name} NOLOGIN",
            f"CREATE ROLE {member} LOGIN NOINHERIT",
            f"GRANT {name} TO {member}",
            f'GRANT CREATE ON DATABASE "{database}" TO {name}',
        ):
            admin.execute(statement.encode())
        yield name, member
        for statement in (f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {member}", f"DROP ROLE {name}"):
            admin.execute(statement.encode())


def as_role(url: str, login: str, role: str | None = None) -> str:
    url = url.replace("postgres@", f"{login}@")
    return url if role is None else f"{url}?options={quote(f'-c role={role}', safe='')}"


def use(url: str) -> None:
    with SessionTokens(open_postgres_blocking(url, pepper=PEPPER)) as tokens:
        issued = tokens.open_session("ann")
        token = tokens.issue_token(issued.id, "v", transferable=True, idempotency_key=secrets.token_hex(4))
        tokens.transfer_token(token.id, giver="ann", receiver="bob")
        assert tokens.verify_session(issued.secret) == issued.session
        tokens.destroy_session(issued.id)
        assert tokens.store.check_now() == []  # type: ignore[attr-defined]  # of this store


async def test_a_group_is_taken_on_by_the_url(postgres_url: str, group: tuple[str, str]) -> None:
    name, member = group
    with pytest.raises(StoreError, match=f"the role {member} may not"):
        open_postgres_blocking(as_role(postgres_url, member), pepper=PEPPER)
    url = as_role(postgres_url, member, name)
    assert migrate_postgres(url) != []
    use(url)
    async with AsyncSessionTokens(await open_postgres(url, pepper=PEPPER)) as tokens:
        issued = await tokens.open_session("eve")
        assert await tokens.verify_session(issued.secret) == issued.session

    with psycopg.connect(postgres_url) as admin:
        owners = admin.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'session_tokens'")
        assert owners.fetchall() == [(name,)]
    with pytest.raises(StoreError, match=f"the role {member} may not use the schema"):
        open_postgres_blocking(as_role(postgres_url, member), pepper=PEPPER)


@pytest.mark.needs_pgbouncer
@pytest.mark.parametrize("prepared", ["on", "off"])
def test_a_group_is_taken_on_beside_a_pooler_by_the_role_itself(
    bouncer: Bouncer, postgres_url: str, group: tuple[str, str], prepared: str
) -> None:
    """``options=`` is refused by the pooler; what the login is set to is done by the server."""
    name, member = group
    bouncer.admit(member)
    pooled = bouncer.url(as_role(postgres_url, member))
    with pytest.raises(StoreError, match="options"):
        open_postgres_blocking(as_role(pooled, member, name), pepper=PEPPER)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER ROLE {member} SET role = '{name}'".encode())

    use(f"{pooled}?timeout=5&prepared={prepared}")
    use(as_role(postgres_url, member))
