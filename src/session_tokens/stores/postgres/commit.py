"""The pure core of committing to PostgreSQL: change sets and stamps become one call of ``committing_v1``.

Theory of operation. Everything that was read or will be written is locked before a stamp is compared
(``sql/commit.sql`` says in which order): sessions and tokens that are there as rows, all else by the names that
``common.locking`` gives.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...clock import NEVER
from ...contract.changes import Changes
from ...contract.optimistic import Commit
from ...crypto.minting import Keyring
from ...events import Event, event_text
from ..common.kinds import IDEMPOTENCY, OWNER, SERVICE_KEY, SESSION, SETTING, TOKEN, Kind
from ..common.locking import Locks
from ..common.record_codec import Setting, mac_of, mac_of_trimmed
from ..common.sealed_rows import trimmed_kept_row
from ..common.sql_tables import SIGNED
from .queries import Statement
from .rows import escaped

NAMES_MAX = 192
"""How many names one batch locks one by one; a larger batch takes the whole store, for lock tables are finite."""

Columns = dict[str, Any]

_as_json = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":")
).encode  # made once: dumps() makes one for each call


def _locks(batch: Locks, lock_timeout_ms: int) -> Columns:
    """Return the part of a batch that says what to lock; empty lists are left out."""
    locks: Columns = {"lock_timeout_ms": str(lock_timeout_ms)}
    if len(batch.shared) + len(batch.exclusive) > NAMES_MAX:
        locks["alone"] = True
    else:
        locks["shared"] = list(batch.shared - batch.exclusive)
        locks["exclusive"] = list(batch.exclusive)
    for name, read, written in (
        ("sessions", batch.sessions_read, batch.sessions_written),
        ("tokens", batch.tokens_read, batch.tokens_written),
    ):
        if written:
            locks[f"{name}_written"] = list(read | written)
        elif read:
            locks[f"{name}_read"] = list(read)
    return locks


def commit_statement(
    schema: str,
    keyring: Keyring,
    commits: Sequence[Commit],
    stamps: Sequence[int],
    lock_timeout_ms: int,
    replicas: int = 0,
) -> Statement:
    """Return the one call that commits a batch of commands, each whole or not at all.

    Args:
        schema: the quoted name of the schema.
        keyring: makes the MACs.
        commits: the commands.
        stamps: of each of them that of all records which it writes.
        lock_timeout_ms: how long it waits for what others hold.
        replicas: how many synchronous standbys must have it before it is answered; else nothing is written.
    """
    batch = Locks()
    commands = []
    for commit, own_stamp in zip(commits, stamps, strict=True):
        for part, stamp in commit.stamps.items():
            batch.read(part, stamp)
        batch.write(commit.changes, commit.stamps)
        command = _written(keyring, commit.changes)
        command["stamp"] = own_stamp
        command["stamps"] = [(*part, stamp) for part, stamp in commit.stamps.items()]
        command["judged_at"] = commit.now
        if commit.not_after != NEVER:
            command["not_after"] = commit.not_after
        commands.append(command)
    whole = {**_locks(batch, lock_timeout_ms), "commands": commands}
    if replicas:
        whole["replicas"] = replicas
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
    if changes.rare is not None:
        rows["rest"] = [True]
        put: Sequence[tuple[Kind, Sequence[Any]]] = (
            (OWNER, [new for _, new in changes.entries if new is not None]),
            (IDEMPOTENCY, changes.idempotency),
            (SETTING, [Setting(name, text) for name, text in changes.settings if text is not None]),
            (SERVICE_KEY, [new for _, new in changes.keys if new is not None]),
        )
        for kind, records in put:
            rows[f"{kind.table}_put"] = [_columns(keyring, kind, record) for record in records]
        rows["owners_gone"] = [old.owner for old, new in changes.entries if old is not None and new is None]
        rows["idempotency_gone"] = changes.forgotten
        rows["settings_gone"] = [name for name, text in changes.settings if text is None]
        rows["service_keys_gone"] = [old.id for old, new in changes.keys if old is not None and new is None]
    if changes.events:
        rows["events"] = [_event(keyring, event) for event in changes.events]
    return {name: listed for name, listed in rows.items() if listed}


def _columns(keyring: Keyring, kind: Kind, record: Any) -> Columns:
    row = trimmed_kept_row(keyring, kind, record)
    columns: Columns = {name: value for name, value in zip(kind.names, row, strict=False) if value is not None}
    columns[SIGNED] = mac_of_trimmed(keyring, kind.table, row)
    return columns


def _event(keyring: Keyring, event: Event) -> tuple[int, str, str]:
    text = event_text(event)
    return event.at, text, mac_of(keyring, "events", (text,))


def _json(value: Columns) -> str:
    """Return JSON that PostgreSQL can hold: no text in it has NUL or a lone surrogate."""
    text = _as_json(value)
    if "\\u0000" not in text and "\\u001a" not in text:
        try:
            text.encode()
        except UnicodeEncodeError:
            pass
        else:
            return text
    return _as_json(_escaped(value))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    return value
