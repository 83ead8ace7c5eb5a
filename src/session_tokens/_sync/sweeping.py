# Generated from _async/sweeping.py by tools/generate_sync.py; change that file and run it again.
"""One sweep of a store."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ..contract.partitioning import ONE_PLACE
from ..contract.queries import DueRecord, DueRecords
from ..contract.store import BlockingStore
from ..errors import UNREADABLE, StoreBusy, StoreError, StoreUnavailable
from ..settings import Policy
from ..sweeper import SWEEP_RULES, PassedOver

AWAY_S = 5.0
"""How long a sweep goes on where some of the store is away: what asks for that may wait for its time-out each time."""


class Swept(NamedTuple):
    """What a sweep did.

    Attributes:
        cleaned: how many records.
        away: why some of a store in several partitions could not be swept.
    """

    cleaned: int
    away: StoreError | None

    def all(self) -> int:
        """Return how many were cleaned.

        Raises:
            StoreUnavailable: some of the store is away.
            StoreBusy: others were faster there each time.
        """
        if self.away is None:
            return self.cleaned
        kind = StoreBusy if isinstance(self.away, StoreBusy) else StoreUnavailable
        error = kind(
            f"some of the store could not be swept, and of the rest {self.cleaned} were cleaned: {self.away}",
            **self.away.details,
        )
        if isinstance(error, StoreUnavailable) and isinstance(self.away, StoreUnavailable):
            error.told = self.away.told
        raise error from self.away


def swept(
    store: BlockingStore, run: Callable[..., Any], policy: Policy, passed_over: PassedOver, limit: int, *, in_turn: bool
) -> Swept:
    """Clean up what is due, at most ``limit`` records.

    Where a store lies in several partitions, one that cannot be asked stops nothing but what needs it.

    Args:
        store: whose due records are swept.
        run: runs a rule on it, as ``store.run`` does.
        policy: given to the rules.
        passed_over: keys of what cannot be read, to which those met now are added; each is logged once.
        limit: records that can be read.
        in_turn: whether what another process is sweeping may be left to that one. Who met what it cannot read takes
            no turns: another process may be able to read it, and would wait for this one.

    Raises:
        StoreUnavailable: nothing of the store can be asked.
    """
    until_s = time.monotonic() + AWAY_S
    now, away = _instant(store)
    needing: set[DueRecord] = set()
    cleaned, left = 0, limit
    while left:
        known = passed_over.present() | needing
        most = left + len(known)
        keys = store.due_in_turn_now(now, most) if in_turn and not known else store.due_now(now, most)
        if isinstance(keys, DueRecords):
            away = away or keys.away
        due = [key for key in keys if key not in known][:left]
        stuck = 0
        for key in due:
            try:
                cleaned += run(SWEEP_RULES[key.kind], policy, key.id)
            except UNREADABLE as error:
                passed_over.add(key)
                store.unreadables.met(error)
                stuck += 1
            except (StoreUnavailable, StoreBusy) as error:
                if store.partitioning is ONE_PLACE:
                    raise
                needing.add(key)
                away = away or error
                stuck += 1
                if time.monotonic() > until_s:
                    return Swept(cleaned, away)
        left -= len(due) - stuck
        if not stuck or passed_over.is_full:
            break
    return Swept(cleaned, away)


def _instant(store: BlockingStore) -> tuple[int, StoreError | None]:
    """Return now, as far as it is known where the partition that says so is away; every rule looks by itself."""
    try:
        now, _ = store.read_now([])
    except StoreUnavailable as error:
        if store.partitioning is ONE_PLACE:
            raise
        return store.clock.now(), error
    return now, None
