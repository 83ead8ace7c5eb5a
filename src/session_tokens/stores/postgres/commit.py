"""The pure core of committing to PostgreSQL: change sets and stamps become one call of ``committing_v1``.

Theory of operation. Everything that was read or will be written is locked before a stamp is compared
(``sql/commit.sql`` says in which order). Sessions and tokens that are there are locked as rows. What
has no row is locked by its name: absent keys, owners' entries and the other small tables, and the sets of which a
``Part`` may speak. Whoever changes a member of a set locks the set's name too, so that no phantom slips in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...clock import NEVER
from ...contract.changes import Changes
from ...contract.optimistic import Commit
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
from ...crypto.minting import Keyring
from ...events import Event, event_text
from ...records import Session, Token
from ..common.kinds import IDEMPOTENCY, MEMBERS, OWNER, SERVICE_KEY, SESSION, SETTING, TOKEN, Kind
from ..common.record_codec import Setting, mac_of
from ..common.sql_tables import SIGNED
from .queries import Statement
from .rows import ABSENT, Part, escaped

NAMES_MAX = 192
"""How many names one batch locks one by one; a larger batch takes the whole store, for lock tables are finite."""

_SETS = {members.name: members.locked_as for members in MEMBERS} | {"newest_sessions_of": "sessions_of"}
"""Kinds of parts that are sets, whose keys say how many and whose; and the name under which they are locked."""
_SET_OF = {
    SESSIONS_OF: "sessions_of",
    PREDECESSORS_OF: "predecessors_of",
    BOUND_OF: "tokens_of",
    TRANSFERABLES_OF: "tokens_of",
    PARKED: "parked_tokens",
}
"""Indexes that hold sets, and the names under which those are locked."""
_COUNTS = {
    "session_count_of": "sessions_of",
    "token_count_of": "tokens_of",
    "transferable_count_of": "tokens_of",
}
"""Kinds of parts that are numbers, and the name under which the set that they count is locked."""

Columns = dict[str, Any]


class _Batch:
    """What the locks of one batch are, gathered command by command."""

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
        elif kind in _SETS:
            self.shared.add(f"{_SETS[kind]}:{key.partition(':')[2]}")
        else:
            self.shared.add(f"{_COUNTS.get(kind, kind)}:{key}")

    def write(self, changes: Changes, stamps: Mapping[Any, Any]) -> None:
        """Lock what will be written against readers and other writers."""
        exclusive = self.exclusive
        for old_session, new_session in changes.sessions:
            self._write_sets((*session_places(old_session), *session_places(new_session)))
            self._write_row("session", self.sessions_written, old_session, new_session)
        for old_token, new_token in changes.tokens:
            self._write_sets((*token_places(old_token), *token_places(new_token)))
            self._write_row("token", self.tokens_written, old_token, new_token)
        exclusive.update(f"entry:{entry.owner}" for _, entry in changes.entries)
        exclusive.update(f"idempotency:{record.key}" for record in changes.idempotency)
        exclusive.update(f"idempotency:{key}" for key in changes.forgotten)
        # A setting that is written unread (an entry of an audit log) is not locked by its name: who read that it was
        # not there and commits meanwhile did so before, and else finds at its own commit that it is there.
        exclusive.update(f"setting:{name}" for name, _ in changes.settings if ("setting", name) in stamps)
        for old_key, new_key in changes.keys:
            for key in (old_key, new_key):
                if key is not None:
                    exclusive.update((f"key:{key.id}", f"key_lookup:{key.lookup}"))

    def _write_sets(self, places: Sequence[Place]) -> None:
        """Lock the sets of which a record is or becomes a member: its change is a change of theirs."""
        for index, whose, _ in places:
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

    def locks(self, lock_timeout_ms: int) -> Columns:
        """Return the part of a batch that says what to lock; empty lists are left out."""
        locks: Columns = {"lock_timeout_ms": str(lock_timeout_ms)}
        if len(self.shared) + len(self.exclusive) > NAMES_MAX:
            locks["alone"] = True
        else:
            locks["shared"] = list(self.shared - self.exclusive)
            locks["exclusive"] = list(self.exclusive)
        for name, read, written in (
            ("sessions", self.sessions_read, self.sessions_written),
            ("tokens", self.tokens_read, self.tokens_written),
        ):
            if written:
                locks[f"{name}_written"] = list(read | written)
            elif read:
                locks[f"{name}_read"] = list(read)
        return locks


def commit_statement(schema: str, keyring: Keyring, commits: Sequence[Commit], lock_timeout_ms: int) -> Statement:
    """Return the one call that commits a batch of commands, each whole or not at all."""
    batch = _Batch()
    commands = []
    for commit in commits:
        for part, stamp in commit.stamps.items():
            batch.read(part, stamp)
        batch.write(commit.changes, commit.stamps)
        command = _written(keyring, commit.changes)
        command["stamps"] = [(*part, stamp) for part, stamp in commit.stamps.items()]
        if commit.not_after != NEVER:
            command["not_after"] = commit.not_after
        commands.append(command)
    whole = {**batch.locks(lock_timeout_ms), "commands": commands}
    return Statement(f"CALL {schema}.committing_v1(%s::jsonb, NULL)", (_json(whole),))


def _written(keyring: Keyring, changes: Changes) -> Columns:
    """Return the records of one change set, by what happens to them; empty lists are left out."""
    rows: Columns = {}
    for kind, pairs in ((SESSION, changes.sessions), (TOKEN, changes.tokens)):
        if not pairs:
            continue
        rows[f"{kind.table}_made"] = [_columns(keyring, kind, new) for old, new in pairs if old is None]
        rows[f"{kind.table}_changed"] = [
            _columns(keyring, kind, new) for old, new in pairs if old is not None and new is not None
        ]
        rows[f"{kind.table}_gone"] = [old.id for old, new in pairs if old is not None and new is None]
    if changes.entries or changes.idempotency or changes.forgotten or changes.settings or changes.keys:
        rows["rest"] = [True]
        put: Sequence[tuple[Kind, Sequence[Any]]] = (
            (OWNER, [new for _, new in changes.entries]),
            (IDEMPOTENCY, changes.idempotency),
            (SETTING, [Setting(name, text) for name, text in changes.settings if text is not None]),
            (SERVICE_KEY, [new for _, new in changes.keys if new is not None]),
        )
        for kind, records in put:
            rows[f"{kind.table}_put"] = [_columns(keyring, kind, record) for record in records]
        rows["idempotency_gone"] = changes.forgotten
        rows["settings_gone"] = [name for name, text in changes.settings if text is None]
        rows["service_keys_gone"] = [old.id for old, new in changes.keys if old is not None and new is None]
    if changes.events:
        rows["events"] = [_event(keyring, event) for event in changes.events]
    return {name: listed for name, listed in rows.items() if listed}


def _columns(keyring: Keyring, kind: Kind, record: Any) -> Columns:
    row = kind.row(record)
    columns: Columns = {name: value for name, value in zip(kind.names, row, strict=True) if value is not None}
    columns[SIGNED] = mac_of(keyring, kind.table, row)
    return columns


def _event(keyring: Keyring, event: Event) -> tuple[int, str, str]:
    text = event_text(event)
    return event.at, text, mac_of(keyring, "events", (text,))


def _json(value: Columns) -> str:
    """Return JSON that PostgreSQL can hold: no text in it has NUL or a lone surrogate."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if "\\u0000" not in text and "\\u001a" not in text:
        try:
            text.encode()
        except UnicodeEncodeError:
            pass
        else:
            return text
    return json.dumps(_escaped(value), ensure_ascii=False, separators=(",", ":"))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    return value
