"""The events that are kept in MariaDB or MySQL: rows of the commit, in the order of commits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...contract.event_log import TRIMMED_AT_ONCE, LogRead
from ...contract.unreadable import Unreadables
from ...crypto.minting import Keyring
from ...errors import UNREADABLE
from ...events import Event, Place, event_id, event_of, event_text
from ..common.pools import Exchange
from ..common.record_codec import check_mac, mac_of
from .queries import CLOCK, SNAPSHOT, now_of
from .statements import NOW, Packet, literal, plain

TABLE = "events"
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
    events: list[Event] = []
    unreadable: list[str] = []
    last = after
    for number, within, text, mac in rows:
        last = (number, within)
        try:
            check_mac(keyring, TABLE, (plain(text),), plain(mac))
            events.append(event_of(last, plain(text)))
        except UNREADABLE as error:
            unreadable.append(event_id(last))
            unreadables.met(error)
    return LogRead(events, last, len(rows) == limit, (trimmed[0], trimmed[1]), (newest, _MINOR_MAX), unreadable)


def trimming_events(prefix: str, keep: int) -> Exchange[int]:
    """Delete the oldest events beyond ``keep``, at most ``TRIMMED_AT_ONCE``; return how many."""
    (((count,),),) = yield Packet([f"SELECT COUNT(*) FROM {prefix}events"])
    count = min(count - keep, TRIMMED_AT_ONCE)
    if count <= 0:
        return 0
    in_order = f"SELECT place, minor FROM {prefix}events ORDER BY place, minor"
    (((place, minor),),) = yield Packet([f"{in_order} LIMIT 1 OFFSET {count - 1}"])
    yield Packet(
        [
            "START TRANSACTION",
            f"DELETE FROM {prefix}events WHERE place <= {place} AND (place < {place} OR minor <= {minor})",
            f"UPDATE {prefix}event_log SET trimmed_place = {place}, trimmed_minor = {minor}",
            "COMMIT",
        ],
        lasts=True,
    )
    return int(count)
