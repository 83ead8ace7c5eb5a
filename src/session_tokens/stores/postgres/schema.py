"""The tables' versions and the recorded peppers: what is checked, and brought up to date, when a store is opened.

Scripts here are generators over one connection: they yield a ``Statement`` (``params`` of ``None``: several commands in
one text) and are sent its rows. Opening makes a name space that is not there yet, where the role may; it never changes
one that is there: that is ``migrate``'s, which wants a role that owns the tables.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Generator
from typing import Any, NamedTuple

from ...crypto.minting import PepperKeyring
from ...errors import InvalidInput, StoreError
from ..common.migrations import NEWEST, since
from ..common.pepper_records import missing_error, not_given
from ..common.retry import Elsewhere
from ..common.sql_tables import pepper_ranges
from .address import Address
from .errors import NO_PRIMARY
from .functions import DIALECT, functions_text, tables_text
from .queries import Statement

log = logging.getLogger("session_tokens.stores")

SERVER_VERSION_MIN = 14_00_00


class PlainStatement(NamedTuple):
    """Text without parameters; may hold several statements."""

    text: str


BEGIN = PlainStatement("BEGIN ISOLATION LEVEL READ COMMITTED")
"""Begins a transaction that takes locks and then looks: with another level as the default it would see the past."""

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


def opening(address: Address, keyring: PepperKeyring) -> Script:
    """Make sure that the tables are there and of this version, and that the peppers are theirs.

    Raises:
        StoreUnavailable: the server is a standby.
        InvalidInput: the database is of another encoding or too old, or a pepper that rows need is missing or another
            one.
        StoreError: the tables are not there and the role may not make them, or they are older or newer than this
            library.
    """
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
                "one; run: session-tokens store migrate, with a role that may"
            )
        yield from migrating(address)
    elif not state.may_use_schema:
        raise StoreError(
            f"the role {state.role} may not use the schema {address.namespace}; "
            "grant it as deploy/postgres/roles.sql does"
        )
    version = yield from _version(address)
    _refuse_newer(version)
    if version < NEWEST:
        raise StoreError(
            f"the store's tables are of version {version}, this library needs {NEWEST}; "
            "run: session-tokens store migrate, with a role that owns them"
        )
    yield from _peppers_recorded(address, keyring)


def looking(address: Address) -> Script:
    """Return whether there is a store of this name space, and make nothing."""
    state = yield from _checked_state(address)
    return state.is_migrated


def migrating(address: Address, grant_to: str | None = None) -> Script:
    """Bring the tables up to this version, in one transaction; return the numbers of the steps taken.

    Two processes that do so at once do it one after the other. A newer version is left as it is.

    Args:
        address: where the tables are.
        grant_to: a role that may then use the tables without owning them.
    """
    state = yield from _checked_state(address)
    yield BEGIN
    yield Statement("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", (f"session_tokens {address.namespace}",))
    state = yield from _checked_state(address)
    if not state.schema_exists:
        yield PlainStatement(f"CREATE SCHEMA {address.schema}")
    version = (yield from _version(address)) if state.is_migrated else 0
    _refuse_newer(version)
    taken = since(version)
    if version == 0:
        yield PlainStatement(in_schema(address, tables_text()))
    for migration in taken:
        if version > 0:
            for _, _, text in migration.statements(DIALECT, f"{address.schema}."):
                yield PlainStatement(text)
        yield Statement(
            f"INSERT INTO {address.schema}.migrations (number, name) VALUES (%s, %s)",
            (migration.number, migration.name),
        )
    if taken:
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
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {address.schema} TO {quoted};"
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


def _version(address: Address) -> Generator[Any, list[tuple[Any, ...]], int]:
    rows = yield Statement(f"SELECT coalesce(max(number), 0) FROM {address.schema}.migrations", ())
    version: int = rows[0][0]
    return version


def _refuse_newer(version: int) -> None:
    if version > NEWEST:
        raise StoreError(
            f"the store's tables are of version {version}, made by a newer session-tokens; this one knows {NEWEST}: "
            "install the newer one"
        )


def _peppers_recorded(address: Address, keyring: PepperKeyring) -> Script:
    """Compare the peppers with those recorded, and record new ones; the first to record an id is right."""
    select = Statement(f"SELECT key_id, check_value FROM {address.schema}.peppers", ())
    recorded: dict[str, str] = dict((yield select))
    yield from _peppers_retired(address, keyring)
    new = [key_id for key_id in keyring.peppers if key_id not in recorded]
    for key_id in new:
        yield Statement(
            f"INSERT INTO {address.schema}.peppers (key_id, check_value) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (key_id, keyring.check_of(key_id)),
        )
    if new:
        recorded = dict((yield select))
    for key_id in keyring.peppers:
        if not hmac.compare_digest(recorded[key_id], keyring.check_of(key_id)):
            raise InvalidInput(
                f"the pepper {key_id} is not the one that the store was written with; give that one", key_id=key_id
            )
    unused = f"FROM {address.schema}.peppers WHERE key_id = %s AND used_at IS NULL"
    if (yield Statement(f"SELECT key_id {unused}", (keyring.current,))):
        use = unused.replace("FROM", "UPDATE", 1).replace("WHERE", "SET used_at = clock_timestamp() WHERE")
        yield Statement(use, (keyring.current,))


def _peppers_retired(address: Address, keyring: PepperKeyring) -> Script:
    """Forget older peppers that are not given and under which no row is looked up, signed or kept any more."""
    rows = yield Statement(
        f"SELECT key_id, (extract(epoch FROM used_at) * 1000000)::bigint FROM {address.schema}.peppers", ()
    )
    missing, asked = not_given(dict(rows), keyring.peppers, keyring.current)
    needed = list(missing)
    for key_id in asked:
        rows = yield need_statement(address, key_id)
        if rows[0][0]:
            needed.append(key_id)
    if needed:
        given = "this process (pepper=, SESSION_TOKENS_PEPPER or SESSION_TOKENS_PEPPER_FILE)"
        raise missing_error("the store", needed, given)
    for key_id in asked:
        yield Statement(f"DELETE FROM {address.schema}.peppers WHERE key_id = %s", (key_id,))


def need_statement(address: Address, key_id: str) -> Statement:
    """Ask whether any row needs a pepper; reads all tables when none does."""
    ranges = [f"EXISTS (SELECT FROM {address.schema}.{rows})" for rows in pepper_ranges("%s")]
    return Statement(
        f"SELECT {' OR '.join(ranges)} OR EXISTS (SELECT FROM {address.schema}.idempotency WHERE key_id = %s)",
        (*(f"{key_id}:", f"{key_id};") * len(ranges), key_id),
    )
