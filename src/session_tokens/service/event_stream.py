"""Events as they come, as server-sent events (HTML Living Standard, 9.2): ``GET /v1/events`` by who asks for a stream.

A stream begins after ``Last-Event-ID``, which browsers send by themselves when they come again, else after ``?after=``.
It ends when the client goes, the service stops, or the service key that asked for it ends.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec

from ..contract.queries import Get
from ..errors import SessionTokensError
from ..events import KEY_REVOKED, Event
from .calls import Call
from .crew import Load
from .exchange import Exchange
from .problems import Problem, bad_request
from .shapes import event_shape, given

TYPE = b"text/event-stream"
STREAMS_MAX = 64
"""Streams of one service at a time: each looks for news by itself."""
BEAT_S = 10.0
"""How often something is sent where nothing happens, in seconds: shows who has gone, and keeps proxies from cutting."""
RETRY_MS = 1_000


def asks_for_stream(exchange: Exchange) -> bool:
    """Whether a request asks for events as they come."""
    kinds = exchange.fields.get(b"accept", b"").split(b",")
    return any(kind.partition(b";")[0].strip().lower() == TYPE for kind in kinds)


class EventStreams:
    """Answers those who ask for events as they come.

    Args:
        load: where the streams of this worker are counted.
    """

    def __init__(self, load: Load) -> None:
        self._load = load

    async def answer(self, exchange: Exchange, call: Call) -> None:
        """Send events until the stream ends.

        Raises:
            Problem: 400 for a ``Last-Event-ID`` that is none, 503 where there are too many streams.
            InvalidInput: the store keeps no events.
        """
        query = given(call.query)
        query.pop("limit", None)
        last = exchange.fields.get(b"last-event-id")
        if last:
            query["after"] = last.decode("latin-1")
        await call.tokens.events(**query, limit=1)  # what is wrong is answered before the stream begins
        if exchange.method == "HEAD":
            raise bad_request("a stream has no head of its own; send GET")
        if self._load.all_streams >= STREAMS_MAX:
            raise Problem(
                503, "too_many_streams", f"{STREAMS_MAX} streams are open; try again", headers=[(b"retry-after", b"5")]
            )
        self._load.streams += 1
        gone = asyncio.create_task(_gone(exchange))
        try:
            await exchange.begin(TYPE)
            await exchange.piece(b"retry: %d\n\n" % RETRY_MS)
            await self._send(exchange, call, query, gone)
        finally:
            self._load.streams -= 1
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone

    async def _send(self, exchange: Exchange, call: Call, query: dict[str, str], gone: asyncio.Task[None]) -> None:
        """Send events as they come; what the store cannot answer ends the stream, and the client comes again."""
        beat_s = asyncio.get_running_loop().time() + BEAT_S
        follower = call.tokens.follow_events(**query)
        with suppress(SessionTokensError):
            while not gone.done():
                events = await follower.next_few()
                for event in events:
                    await exchange.piece(_message(event))
                if any(event.kind == KEY_REVOKED and event.subject_id == call.key.id for event in events):
                    break
                now_s = asyncio.get_running_loop().time()
                if now_s >= beat_s:
                    if not await _lives(call):
                        break
                    await exchange.piece(b":\n\n")
                    beat_s = now_s + BEAT_S
        await exchange.piece(b"", more=False)


def _message(event: Event) -> bytes:
    """Return an event as it is sent."""
    data = msgspec.json.encode(event_shape(event))
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode("ascii"), event.kind.encode("ascii"), data)


async def _lives(call: Call) -> bool:
    """Whether the service key that asked is still one."""
    now, found = await call.tokens.store.read([Get("key", call.key.id)])
    key = found[0].value
    return key is not None and key.alive(now)


async def _gone(exchange: Exchange) -> None:
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
