"""The versions of the tables in databases, and what brings those of an older one to this: columns that came since.

A new name space is made whole, as of the last version (``sql_tables``). One migration serves every database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from .kinds import KINDS
from .sql_tables import Dialect


class Migration(NamedTuple):
    """One step of the tables' history; never changed once released.

    Attributes:
        number: the version that it makes.
        name: for people.
        columns: what came with it, each as its kind and its name. They may be null, and are the last of their kind.
    """

    number: int
    name: str
    columns: tuple[tuple[str, str], ...] = ()

    def statements(self, dialect: Dialect, prefix: str) -> Iterator[tuple[str, str, str]]:
        """Return table, column and SQL that adds it, for each of the columns.

        Args:
            dialect: of the database.
            prefix: what stands before the name of every table.
        """
        for of_kind, name in self.columns:
            kind = KINDS[of_kind]
            (column,) = (column for column in kind.columns if column.name == name)
            assert column.may_be_null, "what was written before has nothing in it"
            table = f"{prefix}{kind.table}"
            yield table, name, f"ALTER TABLE {table} ADD COLUMN {name} {dialect.types[column.type]}"


MIGRATIONS: Final[tuple[Migration, ...]] = (
    Migration(1, "tables"),
    Migration(2, "rotation with grace", (("session", "rotation"),)),
)
NEWEST: Final = MIGRATIONS[-1].number


def since(version: int) -> Sequence[Migration]:
    """Return the migrations that tables of a version have not seen; 0 is that of none."""
    return [migration for migration in MIGRATIONS if migration.number > version]
