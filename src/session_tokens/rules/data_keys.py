"""Which settings cannot do without a data key of the key file, whatever is sealed anew."""

from __future__ import annotations

from collections.abc import Collection

from .audit import key_id_of, place_of_entry
from .webhooks import HOOKS, hooks_of


def data_keys_of(name: str, text: str) -> Collection[str]:
    """Return the ids of the data keys that a setting needs: webhooks sign, and audit entries are signed, under them.

    Args:
        name: of the setting.
        text: of the setting.
    """
    if name == HOOKS:
        return {hook.key_id for hook in hooks_of(text)}
    if place_of_entry(name) is not None:
        key_id = key_id_of(text)
        return () if key_id is None else (key_id,)
    return ()
