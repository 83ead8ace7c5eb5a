"""The rules of service keys: how one is made, rotated and revoked, and what is kept of its use and its bounds."""

from __future__ import annotations

from ..contract.queries import Get
from ..contract.transaction import Transaction, reads
from ..errors import AlreadyExists, UnknownKey
from ..events import KEY_CREATED, KEY_REVOKED, KEY_ROTATED
from ..records import ServiceKey
from .lookup import only_ends
from .scopes import keep_scope

USED = "key_used:"
"""The prefix of the settings that say when a key was used last, in milliseconds."""
FIRST = "first_service_key"
"""The setting that says which key was made because there was none."""
USED_EVERY_MS = 60_000
"""How old a last use may be before a newer one is written down."""


@reads(lambda key: [Get("key", key.id)])
def add_service_key(tx: Transaction, key: ServiceKey) -> ServiceKey:
    """Keep a new service key.

    Raises:
        AlreadyExists: one has that id.
    """
    if tx.service_key(key.id) is not None:
        raise AlreadyExists("a service key has that id", id=key.id)
    tx.put_service_key(None, key)
    tx.note((KEY_CREATED, key, None))
    return key


@reads(lambda key, lifetime_ms: [Get("key", key.id)])
def create_service_key(tx: Transaction, key: ServiceKey, lifetime_ms: int | None) -> bool:
    """Keep a new service key that lives from now for ``lifetime_ms``, ``None`` for ever; its own instants are not used.

    Raises:
        AlreadyExists: one has that id.
    """
    expires_at = None if lifetime_ms is None else tx.now + lifetime_ms
    add_service_key(tx, key._replace(created_at=tx.now, expires_at=expires_at))
    return True


@reads(lambda key, lifetime_ms: [Get("key", key.id), Get("setting", FIRST)])
def create_first_service_key(tx: Transaction, key: ServiceKey, lifetime_ms: int | None) -> bool:
    """Keep a service key in a store in which none was found; as ``create_service_key``.

    Raises:
        AlreadyExists: another process has found none either, and has made one since.
    """
    made = tx.setting(FIRST)
    if made is not None and tx.service_key(made) is not None:
        raise AlreadyExists("another process has made a first service key", id=made)
    tx.put_setting(FIRST, key.id)
    return create_service_key(tx, key, lifetime_ms)


@reads(lambda id, lookup, old_id, overlap_ms, lifetime_ms: [Get("key", id), Get("key", old_id)])
def rotate_service_key(
    tx: Transaction, id: str, lookup: str, old_id: str, overlap_ms: int, lifetime_ms: int | None
) -> bool:
    """Keep a new key like an old one, whose end comes nearer and never goes further off.

    Args:
        tx: the transaction.
        id: of the new key.
        lookup: what its secret is looked up by.
        old_id: of the key that it replaces.
        overlap_ms: how long the old one lives on at the most.
        lifetime_ms: of the new key, ``None`` for ever.

    Raises:
        UnknownKey: there is no living key of the old id.
        AlreadyExists: a key has the new id.
    """
    old = tx.service_key(old_id)
    if old is None or not old.alive(tx.now):
        raise UnknownKey("no living service key has that id; list the keys to see those there are", id=old_id)
    if old.expires_at is not None and old.expires_at < tx.changes.not_after:
        tx.changes.not_after = old.expires_at
    create_service_key(tx, old._replace(id=id, lookup=lookup), lifetime_ms)
    ends_at = tx.now + overlap_ms
    if old.expires_at is None or ends_at < old.expires_at:
        tx.put_service_key(old, old._replace(expires_at=ends_at))
        tx.note((KEY_ROTATED, old, None))
    return True


@reads(lambda id: [Get("key", id), Get("setting", USED + id)])
def remove_service_key(tx: Transaction, id: str) -> bool:
    """Delete a service key and when it was used last, keep what it was bound to; return whether there was one."""
    if tx.setting(USED + id) is not None:
        tx.put_setting(USED + id, None)
    key = tx.service_key(id)
    if key is None:
        return False
    keep_scope(tx, key)
    tx.put_service_key(key, None)
    tx.note((KEY_REVOKED, key, None))
    only_ends(tx)
    return True


@reads(lambda id: [Get("key", id), Get("setting", USED + id)])
def note_use(tx: Transaction, id: str) -> None:
    """Write down that a key was used, unless a process did so within the last minute or the key is gone."""
    last = tx.setting(USED + id)
    if tx.service_key(id) is not None and (last is None or tx.now - int(last) >= USED_EVERY_MS):
        tx.put_setting(USED + id, str(tx.now))
