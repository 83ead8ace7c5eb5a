"""Counts, and logs once each, the records that this process cannot read: damaged, forged, under another pepper.

A record that cannot be read (damaged, forged, or under a pepper that was not given) stops nothing but itself. A store
leaves it out of lists and sets and says so here; who asks for the record itself gets the error.
"""

from __future__ import annotations

import logging

from ..errors import CorruptRecord, UnknownPepper

alerts = logging.getLogger("session_tokens.alerts")

TOLD_MAX = 100_000
"""Records that are remembered to have been logged; of more, nothing is said."""


class Unreadables:
    """Logs each record that cannot be read once; safe for threads, as each step is one on a dictionary."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: dict[str, None] = {}

    @property
    def count(self) -> int:
        """How many records this process met that it cannot read."""
        return len(self._told)

    def met(self, error: CorruptRecord | UnknownPepper) -> None:
        """Log a record that was passed over, unless that was done before."""
        key = f"{error.details.get('id')} {error}"
        if key not in self._told and len(self._told) < TOLD_MAX:
            self._told[key] = None
            alerts.error("passed over what cannot be read: %s", error)
