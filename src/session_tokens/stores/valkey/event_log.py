"""The events that a Valkey store keeps: a stream, to which a commit adds its own. No I/O."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator

from ...contract.event_log import LOOKED_AT_ONCE, TRIMMED_AT_ONCE, LogRead, stretch_of
from ...errors import UNREADABLE, StoreBusy
from ...events import NOWHERE, Event, Place, event_of, kept_of
from .keys import STAMP_LENGTH
from .rows import Reply, ValkeyCodec

_NO_STAMP = b"0" * STAMP_LENGTH
_MINOR_MAX = 2**32 - 1


def event_body(codec: ValkeyCodec, event: Event) -> bytes:
    """Return an event as it is stored."""
    return codec.signed("event", kept_of(event))


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
        lambda place, body: _event_in(codec, place, body),
        after, limit, trimmed_place, newest_place, codec.unreadables,
    )  # fmt: skip


def _event_in(codec: ValkeyCodec, place: Place, body: bytes) -> Event:
    return event_of(place, codec.row("event", _NO_STAMP + body)[1])


def rewriting(codec: ValkeyCodec, change: Callable[[Event], Event]) -> Generator[list[bytes], Reply, int]:
    """Yield commands, take their replies, return how many events were rewritten; see ``Store.rewrite_events``.

    An entry of a stream cannot be changed, so the log is written anew beside itself; it is left alone where nothing in
    it is to be changed.

    Raises:
        StoreBusy: another process is at it.
    """
    stretches: list[list[bytes]] = []
    place, count, unread = NOWHERE, 0, None
    while True:
        _, _, _, entries = yield read_words(codec, place, LOOKED_AT_ONCE)
        words = [b"%d-%d" % place, entries[-1][0] if entries else b"+"]
        for id, fields in entries:
            place = _place_of(id)
            try:
                event = _event_in(codec, place, fields[1])
            except UNREADABLE as error:
                unread = unread or error
                continue
            if (put := change(event)) != event:
                words += (id, event_body(codec, put))
        count += len(words) // 2 - 1
        stretches.append(words)
        if len(entries) < LOOKED_AT_ONCE:
            break
    if count:
        stretches[-1][1] = b"+"  # with what came since
        who = os.urandom(8).hex().encode("ascii")
        yield from _rewrite(codec, [b"begin", who])
        for words in stretches[:-1]:
            yield from _rewrite(codec, [b"copy", who, *words])
        yield from _rewrite(codec, [b"end", who, *stretches[-1]])
    if unread is not None:
        raise unread
    return count


def _rewrite(codec: ValkeyCodec, words: list[bytes]) -> Generator[list[bytes], Reply, None]:
    if not (yield [b"FCALL", b"session_tokens_rewrite_v1", b"1", codec.last_stamp_key, *words]):
        raise StoreBusy("the log of events is being rewritten by another process; call again in a minute")


def trim_words(codec: ValkeyCodec, keep: int) -> list[bytes]:
    """Return the call that takes the oldest events away."""
    most = b"%d" % TRIMMED_AT_ONCE
    return [b"FCALL", b"session_tokens_trim_events_v1", b"1", codec.last_stamp_key, b"%d" % keep, most]


def _place_of(id: bytes) -> Place:
    """Return the place in the id of an entry; nowhere for none."""
    major, _, minor = id.partition(b"-")
    return (int(major), int(minor)) if id else NOWHERE
