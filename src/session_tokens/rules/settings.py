"""Settings and service keys that all processes on one store share."""

from __future__ import annotations

from ..contract.queries import KeyById, SettingOf
from ..contract.transaction import Transaction, reads
from ..errors import AlreadyExists
from ..events import KEY_CREATED, KEY_REVOKED
from ..records import ServiceKey
from .lookup import only_ends


@reads(lambda name, text: [SettingOf(name)])
def write_setting(tx: Transaction, name: str, text: str | None) -> None:
    """Set a shared setting; ``None`` deletes it."""
    if tx.setting(name) != text:
        tx.put_setting(name, text)


@reads(lambda key: [KeyById(key.id)])
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


@reads(lambda id: [KeyById(id)])
def remove_service_key(tx: Transaction, id: str) -> bool:
    """Delete a service key; return whether there was one."""
    key = tx.service_key(id)
    if key is None:
        return False
    tx.put_service_key(key, None)
    tx.note((KEY_REVOKED, key, None))
    only_ends(tx)
    return True
