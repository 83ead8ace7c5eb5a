"""Server-sent events (HTML Living Standard, 9.2.6) as the service sends them: bytes in, events out, without I/O."""

from __future__ import annotations

import json

from ..errors import StoreUnavailable
from ..events import Event
from .records import event_of

TYPE = "text/event-stream"
EVENT_BYTES_MAX = 1 << 20
"""What one event may be; the service's are below 64 KiB."""


class EventReader:
    """Reads a stream piece by piece; each byte is read once."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._bytes = 0

    def read(self, piece: bytes) -> list[Event]:
        """Return the events that are whole with this piece; comments, which only show that the service lives, are none.

        Raises:
            StoreUnavailable: this is no stream of events.
        """
        events = []
        first, *others = piece.split(b"\n")
        self._add(first)
        for following in others:
            line, self._line = bytes(self._line).removesuffix(b"\r"), bytearray()
            if not line and self._data:
                events.append(_event_of(b"\n".join(self._data)))
                self._data, self._bytes = [], 0
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            self._add(following)
        return events

    def _add(self, piece: bytes) -> None:
        self._bytes += len(piece)
        if self._bytes > EVENT_BYTES_MAX:
            raise StoreUnavailable("what the service sends is no stream of events")
        self._line += piece
        if not self._data and not self._line:
            self._bytes = 0


def _event_of(data: bytes) -> Event:
    try:
        return event_of(json.loads(data))
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreUnavailable("what the service sends is no stream of events") from error
