"""The tables' versions and the recorded peppers: what is checked, and brought up to date, when a store is opened.

Opening makes a name space that is not there yet, where the user may; it never changes one that is there: that is
``migrate``'s. A statement that makes a table ends the transaction here, so a migration is made of statements that may
be run again, and is recorded when all of it is done.
"""

from __future__ import annotations

import hmac

from ...crypto.minting import PepperKeyring
from ...errors import InvalidInput, StoreBusy, StoreError
from ..common.migrations import NEWEST, since
from ..common.pepper_records import missing_error, not_given
from ..common.pools import Exchange
from ..common.sql_tables import pepper_ranges
from .queries import CLOCK, now_of
from .statements import NOW, Packet, Rows, literal, plain
from .tables import DIALECT, table_statements

PACKET_MIN = 4_000_000
LOCK_S = 30


def version(prefix: str) -> Exchange[int]:
    """Return the version of the tables, 0 where there are none.

    Raises:
        InvalidInput: the server takes no packet in which a large record fits.
        StoreUnavailable: it takes no writes.
    """
    name = literal(f"{prefix}migrations")
    there, clock, (most,) = yield Packet(
        [
            f"SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = {name}",
            CLOCK,
            "SELECT @@max_allowed_packet",
        ]
    )
    now_of(clock)
    if most[0] < PACKET_MIN:
        raise InvalidInput(f"max_allowed_packet of the server is {most[0]}; set it to {PACKET_MIN} or more")
    if not there:
        return 0
    ((latest,),) = (yield Packet([f"SELECT COALESCE(MAX(number), 0) FROM {prefix}migrations"]))[0]
    return int(latest)


def is_there(prefix: str) -> Exchange[bool]:
    """Return whether there is a store of this name space."""
    return bool((yield from version(prefix)))


def migrating(prefix: str) -> Exchange[list[int]]:
    """Bring the tables up to this version; return the numbers of the steps taken.

    Two processes that do so at once do it one after the other. A newer version is left as it is.

    Raises:
        StoreBusy: another process is at it for too long.
    """
    lock = f"CONCAT(DATABASE(), {literal('.' + prefix)})"
    got = (yield Packet([f"SELECT GET_LOCK(SHA1({lock}), {LOCK_S})"]))[0][0][0]
    if got != 1:
        raise StoreBusy("another process is making or migrating the store's tables; try again later")
    at = yield from version(prefix)
    _refuse_newer(at)
    taken = since(at)
    if at == 0:
        for statement in table_statements(prefix):
            yield Packet([statement], lasts=True)
    for migration in taken:
        if at > 0:
            for table, column, statement in migration.statements(DIALECT, prefix):
                yield Packet(_unless_there(table, column, statement), lasts=True)
        done = f"VALUES ({migration.number}, {literal(migration.name)})"
        yield Packet([f"INSERT INTO {prefix}migrations (number, name) {done}"], lasts=True)
    yield Packet([f"SELECT RELEASE_LOCK(SHA1({lock}))"])
    return [migration.number for migration in taken]


def _unless_there(table: str, column: str, statement: str) -> list[str]:
    """Return what adds a column to a table that has it not; not every version has words for that."""
    where = f"table_schema = DATABASE() AND table_name = {literal(table)} AND column_name = {literal(column)}"
    count = f"(SELECT COUNT(*) FROM information_schema.columns WHERE {where})"
    return [
        f"SET @wanted = IF({count} = 0, {literal(statement)}, 'DO 0')",
        "PREPARE wanted FROM @wanted",
        "EXECUTE wanted",
        "DEALLOCATE PREPARE wanted",
    ]


def preparing(prefix: str, keyring: PepperKeyring) -> Exchange[None]:
    """Make sure that the tables are there and of this version, and that the peppers are theirs.

    Raises:
        InvalidInput: a pepper that rows need is missing or another one.
        StoreError: the tables are older or newer than this library.
    """
    at = yield from version(prefix)
    if at == 0:
        yield from migrating(prefix)
        at = yield from version(prefix)
    _refuse_newer(at)
    if at < NEWEST:
        raise StoreError(
            f"the store's tables are of version {at}, this library needs {NEWEST}; run: session-tokens store migrate"
        )
    yield from _peppers_recorded(prefix, keyring)


def _refuse_newer(at: int) -> None:
    if at > NEWEST:
        raise StoreError(
            f"the store's tables are of version {at}, made by a newer session-tokens; this one knows {NEWEST}: "
            "install the newer one"
        )


def _peppers_recorded(prefix: str, keyring: PepperKeyring) -> Exchange[None]:
    """Compare the peppers with those recorded, and record new ones; the first to record an id is right."""
    recorded = _pairs((yield Packet([_CHECKS.format(p=prefix)])))
    yield from _peppers_retired(prefix, keyring)
    new = [key_id for key_id in keyring.peppers if key_id not in recorded]
    if new:
        inserts = [
            f"INSERT IGNORE INTO {prefix}peppers (key_id, check_value, recorded_at)"
            f" VALUES ({literal(key_id)}, {literal(keyring.check_of(key_id))}, {NOW})"
            for key_id in new
        ]
        recorded = _pairs((yield Packet([*inserts, _CHECKS.format(p=prefix)], lasts=True))[-1:])
    for key_id in keyring.peppers:
        if not hmac.compare_digest(str(recorded.get(key_id)), keyring.check_of(key_id)):
            raise InvalidInput(
                f"the pepper {key_id} is not the one that the store was written with; give that one", key_id=key_id
            )
    yield Packet(
        [f"UPDATE {prefix}peppers SET used_at = {NOW} WHERE key_id = {literal(keyring.current)} AND used_at IS NULL"],
        lasts=True,
    )


_CHECKS = "SELECT key_id, check_value FROM {p}peppers"


def _pairs(answer: list[Rows]) -> dict[str, object]:
    return {plain(key): plain(value) for key, value in answer[0]}


def _peppers_retired(prefix: str, keyring: PepperKeyring) -> Exchange[None]:
    """Forget older peppers that are not given and under which no row is looked up, signed or kept any more."""
    (rows,) = yield Packet([f"SELECT key_id, used_at FROM {prefix}peppers"])
    used_at = {plain(key_id): at for key_id, at in rows}
    missing, asked = not_given(used_at, keyring.peppers, keyring.current)
    needed = list(missing)
    for key_id in asked:
        if (yield Packet([_need_statement(prefix, key_id)]))[0][0][0]:
            needed.append(key_id)
    if needed:
        given = "this process (pepper=, SESSION_TOKENS_PEPPER or SESSION_TOKENS_PEPPER_FILE)"
        raise missing_error("the store", needed, given)
    for key_id in asked:
        yield Packet([forget_statement(prefix, key_id)], lasts=True)


def forget_statement(prefix: str, key_id: str) -> str:
    """Return what forgets a pepper."""
    return f"DELETE FROM {prefix}peppers WHERE key_id = {literal(key_id)}"


def marks_statement(prefix: str) -> str:
    """Return what asks when each pepper was recorded, and whether it was ever the current one."""
    return f"SELECT key_id, recorded_at, used_at IS NOT NULL FROM {prefix}peppers"


def _need_statement(prefix: str, key_id: str) -> str:
    """Ask whether any row needs a pepper; reads all tables when none does."""
    begins, ends = literal(f"{key_id}:"), literal(f"{key_id};")
    ranges = [rows.replace("%s", begins, 1).replace("%s", ends, 1) for rows in pepper_ranges("%s")]
    ranges.append(f"idempotency WHERE key_id = {literal(key_id)}")
    return f"SELECT {' OR '.join(f'EXISTS (SELECT 1 FROM {prefix}{rows})' for rows in ranges)}"
