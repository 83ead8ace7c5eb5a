"""The events that a Valkey store keeps: a stream, to which a commit adds its own. No I/O."""

from __future__ import annotations

from ...contract.event_log import TRIMMED_AT_ONCE, LogRead, stretch_of
from ...events import NOWHERE, Event, Place, event_of
from .keys import STAMP_LENGTH
from .rows import Reply, ValkeyCodec

_NO_STAMP = b"0" * STAMP_LENGTH
_MINOR_MAX = 2**32 - 1


def event_body(codec: ValkeyCodec, event: Event) -> bytes:
    """Return an event as it is stored."""
    return codec.signed("event", event[:6])


def read_words(codec: ValkeyCodec, after: Place, limit: int) -> list[bytes]:
    """Return the call for events after a place."""
    return [b"FCALL_RO", b"session_tokens_events_v1", b"1", codec.last_stamp_key, b"%d-%d" % after, b"%d" % limit]


def log_read(codec: ValkeyCodec, reply: Reply, after: Place, limit: int) -> LogRead:
    """Return what the log holds after a place."""
    _, trimmed, newest, entries = reply
    trimmed_place = _place_of(trimmed)
    newest_place = max((int(newest or 0), _MINOR_MAX), trimmed_place)  # a store that was emptied has no last stamp
    return stretch_of(
        ((_place_of(id), fields[1]) for id, fields in entries),
        lambda place, body: event_of(place, codec.row("event", _NO_STAMP + body)[1]),
        after, limit, trimmed_place, newest_place, codec.unreadables,
    )  # fmt: skip


def trim_words(codec: ValkeyCodec, keep: int) -> list[bytes]:
    """Return the call that takes the oldest events away."""
    most = b"%d" % TRIMMED_AT_ONCE
    return [b"FCALL", b"session_tokens_trim_events_v1", b"1", codec.last_stamp_key, b"%d" % keep, most]


def _place_of(id: bytes) -> Place:
    """Return the place in the id of an entry; nowhere for none."""
    major, _, minor = id.partition(b"-")
    return (int(major), int(minor)) if id else NOWHERE
