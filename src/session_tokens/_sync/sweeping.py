# Generated from _async/sweeping.py by tools/generate_sync.py; change that file and run it again.
"""One sweep of a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..contract.store import BlockingStore
from ..errors import UNREADABLE
from ..settings import Policy
from ..sweeper import SWEEP_RULES, PassedOver


def swept(
    store: BlockingStore, run: Callable[..., Any], policy: Policy, passed_over: PassedOver, limit: int, *, in_turn: bool
) -> int:
    """Clean up what is due, at most ``limit`` records; return how many were cleaned.

    Args:
        store: whose due records are swept.
        run: runs a rule on it, as ``store.run`` does.
        policy: given to the rules.
        passed_over: keys of what cannot be read, to which those met now are added; each is logged once.
        limit: records that can be read.
        in_turn: whether what another process is sweeping may be left to that one. Who met what it cannot read takes
            no turns: another process may be able to read it, and would wait for this one.
    """
    now, _ = store.read_now([])
    cleaned, left = 0, limit
    while left:
        known = passed_over.present()
        most = left + len(known)
        keys = store.due_in_turn_now(now, most) if in_turn and not known else store.due_now(now, most)
        due = [key for key in keys if key not in known][:left]
        unreadable = 0
        for key in due:
            try:
                cleaned += run(SWEEP_RULES[key.kind], policy, key.id)
            except UNREADABLE as error:
                unreadable += 1
                passed_over.add(key)
                store.unreadables.met(error)
        left -= len(due) - unreadable
        if not unreadable or passed_over.is_full:
            break
    return cleaned
