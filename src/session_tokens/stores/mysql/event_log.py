"""The events that are kept in MariaDB or MySQL: rows of the commit, in the order of commits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...contract.event_log import TRIMMED_AT_ONCE, LogRead, stretch_of
from ...contract.unreadable import Unreadables
from ...crypto.minting import Keyring
from ...events import Event, Place, event_text
from ..common.pools import Exchange
from ..common.record_codec import mac_of, signed_event
from .queries import CLOCK, SNAPSHOT, now_of
from .statements import NOW, Packet, literal, plain

TABLE = "events"
_NEWEST_FIRST = "ORDER BY place DESC, minor DESC"
_PLACE_MAX, _MINOR_MAX = 2**63 - 1, 2**31 - 1


def event_statements(prefix: str, keyring: Keyring, events: Sequence[Event]) -> Iterator[str]:
    """Yield what writes the events of a transaction, as the last of its statements that take locks."""
    log = f"{prefix}event_log"
    yield f"UPDATE {log} SET place = GREATEST(place + 1, ({NOW}) * 1000)"
    for minor, event in enumerate(events):
        text = event_text(event)
        signed = f"{literal(text)}, {literal(mac_of(keyring, TABLE, (text,)))}"
        yield f"INSERT INTO {prefix}events SELECT place, {minor}, {event.at}, {signed} FROM {log}"


def reading_events(
    prefix: str, keyring: Keyring, unreadables: Unreadables, after: Place, limit: int
) -> Exchange[LogRead]:
    """Return events that stand after a place, as of one instant."""
    place, minor = min(after[0], _PLACE_MAX), min(after[1], _MINOR_MAX)
    is_after = f"place >= {place} AND (place > {place} OR minor > {minor})"
    found = f"SELECT place, minor, text, mac FROM {prefix}events WHERE {is_after} ORDER BY place, minor LIMIT {limit}"
    answer = yield Packet(
        [
            *SNAPSHOT,
            found,
            f"SELECT place, trimmed_place, trimmed_minor FROM {prefix}event_log",
            CLOCK,
            "COMMIT",
        ]
    )  # fmt: skip
    rows, ((newest, *trimmed),), clock = answer[len(SNAPSHOT) : -1]
    now_of(clock)
    return stretch_of(
        (((number, within), (plain(text), plain(mac))) for number, within, text, mac in rows),
        lambda place, row: signed_event(keyring, place, *row),
        after, limit, (trimmed[0], trimmed[1]), (newest, _MINOR_MAX), unreadables,
    )  # fmt: skip


def trimming_events(prefix: str, keep: int) -> Exchange[int]:
    """Delete the oldest events beyond ``keep``, at most ``TRIMMED_AT_ONCE``; return how many."""
    found = f"SELECT place, minor FROM {prefix}events"
    (cut,) = yield Packet([f"{found} {_NEWEST_FIRST} LIMIT 1 OFFSET {keep}"])
    if not cut:
        return 0
    oldest = f"{found} WHERE {_up_to(*cut[0])} ORDER BY place, minor LIMIT {TRIMMED_AT_ONCE}"
    (last,) = yield Packet([f"SELECT place, minor FROM ({oldest}) oldest {_NEWEST_FIRST} LIMIT 1"])
    if not last:
        return 0
    ((place, minor),) = last
    comes_later = f"trimmed_place < {place} OR (trimmed_place = {place} AND trimmed_minor < {minor})"
    *_, gone, _ = yield Packet(
        [
            "START TRANSACTION",
            f"UPDATE {prefix}event_log SET trimmed_place = {place}, trimmed_minor = {minor} WHERE {comes_later}",
            f"DELETE FROM {prefix}events WHERE {_up_to(place, minor)}",
            "SELECT ROW_COUNT()",
            "COMMIT",
        ],
        lasts=True,
    )
    return int(gone[0][0])


def clearing_events(prefix: str) -> Iterator[str]:
    """Yield what deletes all events within a transaction, as the last of its statements that take locks."""
    log = f"{prefix}event_log"
    yield f"SELECT place FROM {log} FOR UPDATE"  # nobody writes another event from now on
    last = f"SELECT place AS p, minor AS m FROM {prefix}events {_NEWEST_FIRST} LIMIT 1"
    yield f"UPDATE {log}, ({last}) newest SET trimmed_place = p, trimmed_minor = m"
    yield f"DELETE FROM {prefix}events"


def _up_to(place: int, minor: int) -> str:
    return f"place <= {place} AND (place < {place} OR minor <= {minor})"
