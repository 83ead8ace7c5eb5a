"""The rows of a store whose values are sealed: records become rows to keep, and rows records, whatever the database.

A store that keeps values in clear takes the row as it is. In a sealed one the columns that ``kinds`` calls sealed are
sealed before the MAC is made, so the MAC covers what is stored, and are unsealed after it was found right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...clock import Clock
from ...crypto.minting import Keyring
from ...crypto.sealing import Sealer
from ...errors import CorruptRecord
from .kinds import Kind
from .record_codec import Row


def kept_row(keyring: Keyring, kind: Kind, record: Any) -> Row:
    """Return all columns of a record as they are kept."""
    row = kind.row(record)
    return row if keyring.sealer is None else _sealed(keyring.sealer, kind, row)


def trimmed_kept_row(keyring: Keyring, kind: Kind, record: Any) -> Row:
    """Return the columns of a record as they are kept, without what is absent at the end."""
    row = kind.trimmed_row(record)
    return row if keyring.sealer is None else _sealed(keyring.sealer, kind, row)


def record_in(keyring: Keyring, kind: Kind, row: Sequence[Any], clock: Clock) -> Any:
    """Return the record in a row as it is kept, whose MAC is right.

    Raises:
        CorruptRecord: ``kept_row`` cannot have made it.
        UnknownPepper: it is sealed under a data key that is not held.
    """
    return kind.record(row if keyring.sealer is None else unsealed(keyring.sealer, kind, row), clock)


def _sealed(sealer: Sealer, kind: Kind, row: Row) -> Row:
    columns, id = list(row), str(row[0])
    for place in kind.sealed_places:
        if place >= len(row):
            break
        text = columns[place]
        if isinstance(text, str):
            columns[place] = sealer.seal(kind.name, id, kind.names[place], text)
    return tuple(columns)


def unsealed(sealer: Sealer, kind: Kind, row: Sequence[Any]) -> Sequence[Any]:
    """Return a row as it was before it was sealed; raise as ``record_in``."""
    columns, id = list(row), row[0]
    for place in kind.sealed_places:
        text = columns[place]
        if text is not None:
            if not isinstance(text, str) or not isinstance(id, str):
                raise CorruptRecord(f"a sealed column of {kind.table} is no text", table=kind.table, malformed=True)
            columns[place] = sealer.unseal(kind.name, id, kind.names[place], text)
    return columns
