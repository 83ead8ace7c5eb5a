"""What a database shows of a name space, and what makes its tables or brings them up to this version.

Scripts here are generators over one connection: they yield a ``Statement`` (``params`` of ``None``: several commands in
one text) and are sent its rows. Opening makes a name space that is not there yet, where the role may; it never changes
one that is there: that is ``migrate``'s, which wants a role that owns the tables.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from typing import Any, NamedTuple

from ...errors import InvalidInput, StoreError
from ..common.migrations import since
from ..common.pools import LOCK_PATIENCE_S
from ..common.retry import Elsewhere
from ..common.sql_upkeep import HOW_TO_MIGRATE, SqlUpkeep
from .address import Address
from .errors import NO_PRIMARY
from .functions import DIALECT, functions_text, tables_text
from .queries import Statement

log = logging.getLogger("session_tokens.stores")

SERVER_VERSION_MIN = 14_00_00
MAKING_S = 20.0
"""How long to wait for another process that makes or migrates the tables: shorter than for any answer."""
PROBED_LOCK = 0x5E55_10_70_4E
"""An advisory lock that nobody else takes, to see whether such locks lock."""
_OF_ANOTHER_MAKE = re.compile(r"CockroachDB|YB-|Yugabyte|Redshift|Greenplum|Materialize|CrateDB", re.IGNORECASE)
"""How servers that speak as PostgreSQL does call themselves, some of them beside its name."""


class PlainStatement(NamedTuple):
    """Text without parameters; may hold several statements."""

    text: str


def patience(address: Address) -> Statement:
    """Return what has the rest of a transaction wait for what others hold so long and no longer."""
    return _waiting(max(LOCK_PATIENCE_S, address.timeout_s))


def _waiting(wait_s: float) -> Statement:
    return Statement("SELECT set_config('lock_timeout', %s, true)", (str(round(wait_s * 1000)),))


Script = Generator[Statement | PlainStatement, list[tuple[Any, ...]], Any]


class _State(NamedTuple):
    """What a database shows of a name space, without a right to use it."""

    encoding: str
    server_version: int
    is_standby: bool
    may_lose: str | None
    role: str
    may_create_schema: bool
    schema_exists: bool
    may_use_schema: bool
    may_create_tables: bool
    is_migrated: bool


def in_schema(address: Address, text: str) -> str:
    """Return SQL for one name space."""
    return text.replace("{schema}", address.schema).replace("{namespace}", address.namespace)


def _state_statement(address: Address) -> Statement:
    return Statement(
        """
        SELECT current_setting('server_encoding'), current_setting('server_version_num')::int, pg_is_in_recovery(),
            CASE WHEN current_setting('synchronous_commit') = 'off' OR current_setting('synchronous_commit') = 'local'
                AND current_setting('synchronous_standby_names') <> '' THEN current_setting('synchronous_commit') END,
            current_user::text,
            has_database_privilege(current_database(), 'CREATE'), n.oid IS NOT NULL,
            coalesce(has_schema_privilege(n.oid, 'USAGE'), false),
            coalesce(has_schema_privilege(n.oid, 'CREATE'), false),
            EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'migrations')
        FROM (VALUES (%s)) AS wanted (name) LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.name
        """,
        (address.namespace,),
    )


def opening(backend: SqlUpkeep, address: Address) -> Script:
    """Make sure that the tables are there and of this version, and that the peppers are theirs.

    Raises:
        StoreUnavailable: the server is a standby.
        InvalidInput: the database is of another encoding or too old, or a pepper that rows need is missing or another
            one.
        StoreError: the tables are not there and the role may not make them, or they are older or newer than this
            library.
    """
    yield from _insisting_on_postgresql()
    state = yield from _checked_state(address)
    if state.may_lose is not None:
        log.warning(
            "synchronous_commit is %s for the role %s: commands that were answered can be lost with the server; it is "
            "on unless the server, the database, the role or the store's URL sets it",
            state.may_lose,
            state.role,
        )
    if not state.is_migrated:
        if not (state.may_create_tables or (state.may_create_schema and not state.schema_exists)):
            raise StoreError(
                f"the database has no store in the schema {address.namespace}, and the role {state.role} may not make "
                f"one; {HOW_TO_MIGRATE}, with a role that may"
            )
        yield from migrating(backend, address)
    elif not state.may_use_schema:
        raise StoreError(
            f"the role {state.role} may not use the schema {address.namespace}; "
            "grant it as deploy/postgres/roles.sql does"
        )
    yield from backend.checked()
    if address.replicas:
        yield from _insisting_on_standbys(address)


def _insisting_on_postgresql() -> Script:
    """Refuse what speaks like PostgreSQL and does not lock: two commits would go past each other unseen.

    Raises:
        InvalidInput: it is another server, or its advisory locks lock nothing.
    """
    ((version,),) = yield Statement("SELECT version()", ())
    named = _OF_ANOTHER_MAKE.search(version)
    if not version.startswith("PostgreSQL ") or named is not None:
        make = named.group() if named is not None else version.split(" ", 1)[0]
        raise InvalidInput(
            f"the server is {make}, not PostgreSQL; what a commit relies on was not seen to hold there: use PostgreSQL"
        )
    ((held,),) = yield Statement(
        """
        SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = taken.pid)
        FROM (SELECT pg_backend_pid() AS pid, pg_advisory_xact_lock_shared(%s) OFFSET 0) AS taken
        """,
        (PROBED_LOCK,),
    )
    if not held:
        raise InvalidInput("advisory locks of this server lock nothing, and commits rely on them: use PostgreSQL")


def _insisting_on_standbys(address: Address) -> Script:
    """See that standbys confirm commits as the store's URL asks, and that they still could after the loss of a server.

    Raises:
        StoreError: they do not.
    """
    ((confirming, standbys),) = yield Statement(
        f"SELECT {address.schema}.confirming_v1(), (SELECT count(*) FROM pg_stat_replication)", ()
    )
    wanted = address.replicas
    if confirming < wanted:
        raise StoreError(
            f"the store's URL says durability=replicated&replicas={wanted}, and PostgreSQL waits for {confirming} "
            "standbys: set synchronous_standby_names, and synchronous_commit to on for the database and the role"
        )
    if standbys <= wanted:
        log.warning(
            "%d of %d standbys are there that durability=replicated needs to go on after the loss of one server: until "
            "another one is back, no command would be confirmed then",
            standbys,
            wanted + 1,
        )


def looking(address: Address) -> Script:
    """Return whether there is a store of this name space, and make nothing."""
    state = yield from _checked_state(address)
    return state.is_migrated


def migrating(backend: SqlUpkeep, address: Address, grant_to: str | None = None) -> Script:
    """Bring the tables up to this version, in one transaction; return the numbers of the steps taken.

    Two processes that do so at once do it one after the other. A newer version is left as it is.

    Args:
        backend: asks.
        address: where the tables are.
        grant_to: a role that may then use the tables without owning them.

    Raises:
        InvalidInput: the server has no such role.
    """
    state = yield from _checked_state(address)
    if grant_to is not None and not (yield Statement("SELECT 1 FROM pg_roles WHERE rolname = %s", (grant_to,))):
        raise InvalidInput(f"the server has no role {grant_to} to grant the store to; make it first (CREATE ROLE)")
    yield from backend.begin()
    yield _waiting(MAKING_S)
    yield Statement("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", (f"session_tokens {address.namespace}",))
    yield patience(address)
    state = yield from _checked_state(address)
    if not state.schema_exists:
        yield PlainStatement(f"CREATE SCHEMA {address.schema}")
    version = (yield from backend.version()) if state.is_migrated else 0
    taken = since(version)
    if version == 0:
        yield PlainStatement(in_schema(address, tables_text()))
    for migration in taken:
        if version > 0:
            for _, _, text in migration.statements(DIALECT, backend.prefix):
                yield PlainStatement(text)
    if taken:
        yield from backend.migrated(*taken)
        yield PlainStatement(in_schema(address, functions_text()))
    if grant_to is not None:
        yield PlainStatement(_grants(address, grant_to))
    yield PlainStatement(_only_the_owner_migrates(address))
    yield PlainStatement("COMMIT")
    return [migration.number for migration in taken]


def _grants(address: Address, role: str) -> str:
    quoted = '"' + role.replace('"', '""') + '"'
    return (
        f"GRANT USAGE ON SCHEMA {address.schema} TO {quoted};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {address.schema} TO {quoted};"
        f"GRANT EXECUTE ON ALL ROUTINES IN SCHEMA {address.schema} TO {quoted};"
    )


def _only_the_owner_migrates(address: Address) -> str:
    """Take back what default privileges gave others on the table of versions."""
    return f"""
        DO $$ DECLARE other text; BEGIN
            FOR other IN
                SELECT DISTINCT grantee FROM information_schema.role_table_grants
                WHERE table_schema = '{address.namespace}' AND table_name = 'migrations'
                    AND grantee NOT IN (current_user, 'PUBLIC')
            LOOP
                EXECUTE format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {address.schema}.migrations FROM %I', other);
            END LOOP;
        END $$
    """


def _checked_state(address: Address) -> Generator[Any, list[tuple[Any, ...]], _State]:
    rows = yield _state_statement(address)
    state = _State(*rows[0])
    if state.is_standby:
        raise Elsewhere(NO_PRIMARY)
    if state.encoding != "UTF8":
        raise InvalidInput(f"the database is encoded in {state.encoding}; make one with ENCODING 'UTF8'")
    if state.server_version < SERVER_VERSION_MIN:
        raise InvalidInput(f"PostgreSQL {SERVER_VERSION_MIN // 10_000} or newer is needed")
    return state
