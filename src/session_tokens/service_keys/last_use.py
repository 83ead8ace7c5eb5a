"""When a service key was last used: kept as a setting, not in the key's record, as no rule depends on it.

It is written down at most once a minute, in the background, so that asking costs no write.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from ..contract.queries import Get
from ..contract.store import Store
from ..errors import StoreError
from ..records import ServiceKey
from ..rules.service_keys import USED, USED_EVERY_MS, note_use

log = logging.getLogger("session_tokens.service")

KEYS_MAX = 1_000
"""Keys whose last use is remembered to be written; more are written down a little more often."""


async def last_used(store: Store, keys: Sequence[ServiceKey]) -> dict[str, int]:
    """Return when each key was used last, in milliseconds and up to a minute early; without those that never were."""
    _, found = await store.read([Get("setting", USED + key.id) for key in keys])
    return {key.id: int(one.value) for key, one in zip(keys, found, strict=True) if one.value is not None}


class Uses:
    """Notes the uses of keys in the background, at most once a minute for each key.

    Args:
        store: where keys are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._again_at_s: dict[str, float] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def saw(self, id: str) -> None:
        """Take note that a key was used; returns at once."""
        now_s = time.monotonic()
        if now_s < self._again_at_s.get(id, 0.0):
            return
        if len(self._again_at_s) >= KEYS_MAX:
            self._again_at_s.clear()
        self._again_at_s[id] = now_s + USED_EVERY_MS / 1000
        task = asyncio.get_running_loop().create_task(self._write(id))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _write(self, id: str) -> None:
        try:
            await self._store.run(note_use, id)
        except StoreError as error:
            log.debug("the last use of a key was not written down: %s", error)

    def forget(self) -> None:
        """Write each key's next use down, however short ago the last was."""
        self._again_at_s.clear()
