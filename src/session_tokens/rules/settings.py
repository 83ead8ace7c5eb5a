"""Settings that all processes on one store share."""

from __future__ import annotations

from ..contract.queries import SettingOf
from ..contract.transaction import Transaction, reads


@reads(lambda name, text: [SettingOf(name)])
def write_setting(tx: Transaction, name: str, text: str | None) -> None:
    """Set a shared setting; ``None`` deletes it."""
    if tx.setting(name) != text:
        tx.put_setting(name, text)
