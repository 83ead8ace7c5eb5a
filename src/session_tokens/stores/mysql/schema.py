"""What makes the tables of a name space, or brings them up to this version.

Opening makes a name space that is not there yet, where the user may; it never changes one that is there: that is
``migrate``'s. A statement that makes a table ends the transaction here, so a migration is made of statements that may
be run again, and is recorded when all of it is done; a name space that is made whole is of this version at once, for
others open it meanwhile.
"""

from __future__ import annotations

from ...errors import InvalidInput, StoreBusy
from ..common.migrations import since
from ..common.pools import Exchange
from ..common.sql_upkeep import SqlUpkeep
from .queries import CLOCK, now_of
from .statements import Packet, literal
from .tables import DIALECT, table_statements

PACKET_MIN = 4_000_000
LOCK_S = 30


def looking(backend: SqlUpkeep) -> Exchange[bool]:
    """Return whether there is a store of this name space, and make nothing.

    Raises:
        InvalidInput: the server takes no packet in which a large record fits.
        StoreUnavailable: it takes no writes.
    """
    name = literal(f"{backend.prefix}migrations")
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
    return bool(there) and bool((yield from backend.version()))


def migrating(backend: SqlUpkeep) -> Exchange[list[int]]:
    """Bring the tables up to this version; return the numbers of the steps taken.

    Two processes that do so at once do it one after the other. A newer version is left as it is.

    Raises:
        StoreBusy: another process is at it for too long.
    """
    prefix = backend.prefix
    lock = f"CONCAT(DATABASE(), {literal('.' + prefix)})"
    got = (yield Packet([f"SELECT GET_LOCK(SHA1({lock}), {LOCK_S})"]))[0][0][0]
    if got != 1:
        raise StoreBusy("another process is making or migrating the store's tables; try again later")
    at = (yield from backend.version()) if (yield from looking(backend)) else 0
    taken = since(at)
    if at == 0:
        for statement in table_statements(prefix):
            yield Packet([statement], lasts=True)
    # Tables that were just made have every column, unless an older version began to make them and did not end.
    for step in [taken] if at == 0 else [[migration] for migration in taken]:
        for migration in step:
            for table, column, statement in migration.statements(DIALECT, prefix):
                yield Packet(_unless_there(table, column, statement), lasts=True)
        yield from backend.migrated(*step)
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


def preparing(backend: SqlUpkeep) -> Exchange[None]:
    """Make sure that the tables are there and of this version, and that the peppers are theirs.

    Raises:
        InvalidInput: a pepper that rows need is missing or another one.
        StoreError: the tables are older or newer than this library.
    """
    if not (yield from looking(backend)):
        yield from migrating(backend)
    yield from backend.checked()
