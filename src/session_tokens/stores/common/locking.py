"""What a commit locks by name, on servers that compare stamps under locks.

Theory of operation. Everything that was read or will be written is locked before a stamp is compared. What has no row
is locked by its name: absent keys, owners' entries and the other small tables, and the sets of which a ``Part`` may
speak. Whoever changes a member of a set locks the set's name too, so that no phantom slips in. Sessions and tokens that
are there are named apart, for servers that lock them as rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...contract.changes import Changes, Rare
from ...contract.places import (
    BOUND_OF,
    PARKED,
    PREDECESSORS_OF,
    SESSIONS_OF,
    TRANSFERABLES_OF,
    Place,
    session_places,
    token_places,
)
from ...contract.queries import Count, Get, Members
from ...records import Session, Token
from .kinds import RECORD_SETS, RECORDS, Kind

Part = tuple[str, str]
"""The name of one stamped part of an answer: its kind and its key; of a set that is how many of it, ':' and whose."""

ABSENT = "0"
"""The stamp of what is not there, and of an empty set."""

COUNT_OF = "count_of_"
"""What the name of a part begins with that is how many are in a set; its key is whose."""
NEWEST = "newest_"
"""What the name of a part begins with that is the newest of a set."""
SETS = {name: of.locked_as for name, of in RECORD_SETS.items()}
SETS |= {f"{NEWEST}{name}": locked_as for name, locked_as in SETS.items()}
"""Kinds of parts that are sets, whose keys say how many and whose; and the name under which they are locked."""
_SET_OF = {
    SESSIONS_OF: "sessions_of",
    PREDECESSORS_OF: "predecessors_of",
    BOUND_OF: "tokens_of",
    TRANSFERABLES_OF: "tokens_of",
    PARKED: "parked_tokens",
}
"""Indexes that hold sets, and the names under which those are locked."""
COUNTS = {f"{COUNT_OF}{name}": of.locked_as for name, of in RECORD_SETS.items()}
"""Kinds of parts that are numbers, and the name under which the set that they count is locked."""
_NAMES = {kind.name: what for what, (kind, column) in RECORDS.items() if column == kind.key}


def part_of(kind: Kind) -> str:
    """Return what a ``Part`` calls a kind of record."""
    return _NAMES[kind.name]


def part_asked(query: Get | Members | Count) -> Part:
    """Return the one part that a query asks for."""
    if isinstance(query, Get):
        return query.what, query.key
    if isinstance(query, Count):
        return f"{COUNT_OF}{query.what}", query.whose
    return f"{NEWEST if query.newest else ''}{query.what}", f"{query.limit or ''}:{query.whose}"


class Locks:
    """What the locks of one batch are, gathered command by command.

    Attributes:
        shared: names of what is read.
        exclusive: names of what is written.
        sessions_read, sessions_written, tokens_read, tokens_written: ids of records that are there.
    """

    __slots__ = ("exclusive", "sessions_read", "sessions_written", "shared", "tokens_read", "tokens_written")

    def __init__(self) -> None:
        self.shared: set[str] = set()
        self.exclusive: set[str] = set()
        self.sessions_read: set[str] = set()
        self.sessions_written: set[str] = set()
        self.tokens_read: set[str] = set()
        self.tokens_written: set[str] = set()

    def read(self, part: Part, stamp: str) -> None:
        """Lock what was read against writers."""
        kind, key = part
        if kind == "session" and stamp != ABSENT:
            self.sessions_read.add(key)
        elif kind == "token" and stamp != ABSENT:
            self.tokens_read.add(key)
        elif kind in SETS:
            self.shared.add(f"{SETS[kind]}:{key.partition(':')[2]}")
        else:
            self.shared.add(f"{COUNTS.get(kind, kind)}:{key}")

    def write(self, changes: Changes, stamps: Mapping[Any, Any]) -> None:
        """Lock what will be written against readers and other writers."""
        for old_session, new_session in changes.sessions:
            self._write_sets(session_places(old_session), session_places(new_session))
            self._write_row("session", self.sessions_written, old_session, new_session)
        for old_token, new_token in changes.tokens:
            self._write_sets(token_places(old_token), token_places(new_token))
            self._write_row("token", self.tokens_written, old_token, new_token)
        if changes.rare is not None:
            self._write_rare(changes.rare, stamps)

    def _write_rare(self, changes: Rare, stamps: Mapping[Any, Any]) -> None:
        exclusive = self.exclusive
        exclusive.update(f"entry:{entry.owner}" for pair in changes.entries for entry in pair if entry is not None)
        exclusive.update(f"idempotency:{record.key}" for record in changes.idempotency)
        exclusive.update(f"idempotency:{key}" for key in changes.forgotten)
        # A setting that is written unread (an entry of an audit log) is not locked by its name: who read that it was
        # not there and commits meanwhile did so before, and else finds at its own commit that it is there.
        exclusive.update(f"setting:{name}" for name, _ in changes.settings if ("setting", name) in stamps)
        for old_key, new_key in changes.keys:
            for key in (old_key, new_key):
                if key is not None:
                    exclusive.update((f"key:{key.id}", f"key_lookup:{key.lookup}"))

    def _write_sets(self, old: Sequence[Place], new: Sequence[Place]) -> None:
        """Lock the sets of which a record is or becomes a member: its change is a change of theirs."""
        for index, whose, _ in new if old == new or not old else (*old, *new):
            if index in _SET_OF:
                self.exclusive.add(f"{_SET_OF[index]}:{whose}")

    def _write_row(
        self, kind: str, written: set[str], old: Session | Token | None, new: Session | Token | None
    ) -> None:
        if old is not None:
            written.add(old.id)
        elif new is not None:
            self.exclusive.add(f"{kind}:{new.id}")
        if new is not None and new.lookup is not None and (old is None or old.lookup != new.lookup):
            self.exclusive.add(f"{kind}_lookup:{new.lookup}")

    def names(self) -> tuple[set[str], set[str]]:
        """Return all names that are only read, and all that are written, those of records that are there with them."""
        exclusive = self.exclusive | {f"session:{id}" for id in self.sessions_written}
        exclusive |= {f"token:{id}" for id in self.tokens_written}
        shared = self.shared | {f"session:{id}" for id in self.sessions_read}
        return (shared | {f"token:{id}" for id in self.tokens_read}) - exclusive, exclusive
