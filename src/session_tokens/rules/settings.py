"""Settings that all processes on one store share."""

from __future__ import annotations

from ..contract.queries import Get
from ..contract.transaction import Transaction, reads
from ..events import GAP, SETTING_CHANGED
from ..settings import EVENTS_SETTING


@reads(lambda name, text: [Get("setting", name)])
def write_setting(tx: Transaction, name: str, text: str | None) -> None:
    """Set a shared setting; ``None`` deletes it."""
    if tx.setting(name) != text:
        tx.put_setting(name, text)


@reads(lambda name, kept_as, text: [Get("setting", kept_as)])
def change_general(tx: Transaction, name: str, kept_as: str, text: str | None) -> bool:
    """Set a general setting, or take it away (``None``); return whether that changes it.

    Args:
        tx: the transaction.
        name: of the setting, as the event names it.
        kept_as: the name under which the store keeps it.
        text: as the store keeps it.
    """
    before = tx.setting(kept_as)
    if before == text:
        return False
    tx.put_setting(kept_as, text)
    if kept_as == EVENTS_SETTING and before is not None and text == "durable":
        tx.note((GAP, "", "events were off"))
    tx.note((SETTING_CHANGED, name, "unset" if text is None else text))
    return True
