"""The mark of a store into which a copy, an import or a restore was begun and not finished: who may write to it.

Theory of operation. The mark is a setting in each name space. It says whose copy it is, and which run of that command
writes. A run that goes on with a copy, or gives it up, puts its own mark in the place of the one that it found, and
each commit of a run finds its own mark there or writes nothing: so a run that somebody took for ended, on a host to
which the line was lost, cannot write into what another run has completed since.
"""

from __future__ import annotations

import secrets
from typing import Final

from ...contract.queries import Get
from ...contract.store import BlockingStore
from ...contract.transaction import Transaction, reads
from ...errors import Conflict, StoreError

MARK: Final = "copy_under_way_from"
"""The setting that marks a target whose copy is not complete."""


def new_mark(name: str) -> str:
    """Return the mark of a new run of the copy of that name."""
    return f"{name} {secrets.token_hex(8)}"


def name_in(mark: str) -> str:
    """Return whose copy a mark is of."""
    return mark.rpartition(" ")[0]


def mark_of(store: BlockingStore) -> str | None:
    """Return how the store is marked if a copy into it is under way, ``None`` if none is."""
    mark: str | None = store.read_now([Get("setting", MARK)]).found[0].value
    return mark


def unfinished(mark: str | None) -> StoreError | None:
    """Return the error of opening a store that a copy is under way into, ``None`` where the store has no mark."""
    if mark is None:
        return None
    return StoreError(
        "a copy into this store was not finished, so it holds only a part; finish it with the command that began it "
        "(session-tokens store copy FROM TO), or empty this store with session-tokens store abandon TO"
    )


@reads(lambda found, mark: [Get("setting", MARK)])
def put_mark(tx: Transaction, found: str | None, mark: str | None) -> None:
    """Put a mark in the place of the one that was found there; ``None`` is none.

    Raises:
        Conflict: another one stands there by now.
    """
    insist_on_mark(tx, found)
    tx.put_setting(MARK, mark)


def insist_on_mark(tx: Transaction, mark: str | None) -> None:
    """Refuse to write to a store that is not marked so any more; the rule reads ``MARK``.

    Raises:
        Conflict: it is not.
    """
    if tx.setting(MARK) != mark:
        raise Conflict(
            "another command has begun to fill this store, or has emptied it, so this one wrote no more; let that one "
            "end, and run this one again if the store is not as it should be"
        )
