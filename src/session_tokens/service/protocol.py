"""HTTP/1.1 read strictly: a request that two readers could split differently is refused, and its connection closed.

Theory of operation. uvicorn owns sockets, signals and graceful stopping; this protocol, given to it as ``http=``, reads
one connection. A request's head and body are read whole before the application sees it, which the small limits allow:
so slowness, size and framing are judged here, and the application never waits for a client. ``framing`` takes heads and
chunks apart; this file keeps order: one request at a time, the next one waits in the buffer. Where only a head is asked
about, a body that is announced is not waited for: the answer is the connection's last, and what still comes is dropped.

What is refused: bare line feeds, folded headers, ``Content-Length`` twice or beside ``Transfer-Encoding``, encodings
but ``chunked``, extensions and trailers of chunks, missing or repeated ``Host`` or another one in the target, control
characters, more than 16 KiB of head, 64 KiB of body (more where a session's data may be larger) or 10 seconds for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, ClassVar, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from .connections import Connections, Place
from .cycles import OK, Coming, Cycle, QuickCycle, head_of, lines_of
from .exchange import BODY_BYTES_MAX, COMMON, PROBLEM_TYPE
from .framing import HEAD_BYTES_MAX, Beginning, Chunks, Head, parse_head
from .problems import Problem

log = logging.getLogger("session_tokens.service")

LINGER_BYTES_MAX = 1_048_576

TOO_MANY = Problem(503, "too_many_connections", "try again", headers=[(b"retry-after", b"1")])


class StrictHTTP(asyncio.Protocol):
    """One connection.

    Attributes:
        request_timeout_s: within which a request must have come whole.
        idle_timeout_s: after which a connection between two requests is closed.
        linger_s: for how long what comes after a refusal is thrown away.
        write_timeout_s: within which a client must take what it was answered, or the connection is cut.
    """

    request_timeout_s: ClassVar[float] = 10.0
    idle_timeout_s: ClassVar[float] = 60.0
    linger_s: ClassVar[float] = 1.0
    write_timeout_s: ClassVar[float] = 30.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        place: Place | None = None,
    ) -> None:
        self._app = config.loaded_app
        self._answer_at_once: Callable[[bytes], bytes | None] | None = getattr(self._app, "answer_at_once", None)
        self._answer_later: Callable[[bytes], Coming | None] | None = getattr(self._app, "answer_later", None)
        self._has_quick_ways = self._answer_at_once is not None or self._answer_later is not None
        self._state = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._buffer = bytearray()
        self._beginning = Beginning()
        self._head: Head | None = None
        self._raw_head = b""
        self._chunks: Chunks | None = None
        self._cycle: Cycle | QuickCycle | None = None
        self.failure: Exception | None = None
        self._closing = False
        self._has_ended = False
        self._is_leaving = False
        self._discards = False
        self._discarded = 0
        self._writable: asyncio.Future[None] | None = None
        self._place = place or Place(Connections(), None, self._loop.time())
        self._deadline_s = self._place.since_s + self.request_timeout_s
        self._timer: asyncio.TimerHandle | None = None

    # --- what uvicorn and asyncio call ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's have another parent
        self._place.cut = self.transport.abort
        self.client = _address(transport.get_extra_info("peername"))
        self.server = _address(transport.get_extra_info("sockname"))
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._state.connections.add(self)  # type: ignore[arg-type]  # its set names the protocols that uvicorn brings
        self._timer = self._loop.call_at(self._deadline_s, self._check_time)
        if self._place.is_refused:
            self._refuse(TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything; a request under way goes on, its answer is dropped."""
        self._state.connections.discard(self)
        self._place.leave()
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._cycle is not None:
            self._cycle.lost()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Take what came; a request that is complete starts, or is answered."""
        if self._has_quick_ways and self._is_between_requests and self._answers_quickly(data):
            return
        if self._closing or self._discards:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES_MAX:
                if self._closing:
                    self.transport.abort()
                else:
                    self.transport.pause_reading()
            return
        self._buffer += data
        if self._cycle is None:
            self._read_requests()
        elif len(self._buffer) > HEAD_BYTES_MAX + BODY_BYTES_MAX and (
            len(self._buffer) > HEAD_BYTES_MAX + self._body_bytes_max
        ):
            self.transport.pause_reading()

    def _answers_quickly(self, data: bytes) -> bool:
        """Answer, or begin to, a request that can be known by its bytes; return whether."""
        if self._answer_at_once is not None:
            answer = self._answer_at_once(data)
            if answer is None:
                return False
            self._write_ok(answer)
            self._state.total_requests += 1
            self._place.is_idle()
            self._deadline_s = self._loop.time() + self.idle_timeout_s
            return True
        coming = None if self._answer_later is None else self._answer_later(data)
        if coming is None:
            return False
        if not self._place.works():
            coming.close()
            self._refuse(TOO_MANY)
            return True
        self._cycle = cycle = QuickCycle(self, data)
        cycle.task = self._loop.create_task(cycle.run(coming))
        return True

    def _write_ok(self, answer: bytes, *, keep_alive: bool = True) -> None:
        close = b"" if keep_alive else b"connection: close\r\n"
        self.transport.write(b"".join((OK, lines_of(self._state.default_headers), close, answer)))

    def answered_quickly(self, keep_alive: bool, data: bytes, answer: bytes | None, failure: Exception | None) -> None:
        """Write an answer that has come and go on; without one the request goes the whole way."""
        if answer is not None:
            if not self._closing:
                self._write_ok(answer, keep_alive=keep_alive)
            self.answered(keep_alive)
            return
        self._cycle = None
        self._place.has_worked()
        if not self._closing:
            self._buffer[:0] = data
            self.failure = failure
            self._read_requests()
            if self._cycle is not None:
                self._cycle.keep_alive = self._cycle.keep_alive and keep_alive

    @property
    def _is_between_requests(self) -> bool:
        """Whether nothing of a request has come, none is under way, and the client takes its answers."""
        return (
            self._cycle is None
            and self._head is None
            and self._writable is None
            and not (self._buffer or self._closing or self._discards or self._has_ended)
        )

    @property
    def _body_bytes_max(self) -> int:
        """How large a body may be, as the general settings say by now; most requests have none, or a small one."""
        most: int = getattr(self._app, "body_bytes_max", BODY_BYTES_MAX)
        return most

    def eof_received(self) -> bool:
        """Keep the other half open while an answer is under way; in TLS there are no halves."""
        self._has_ended = True
        if self.scheme == "https" or (self._cycle is None and not self._buffer):
            return False
        self._place.is_ending()
        self._loop.call_soon(self._read_next)
        return True

    def pause_writing(self) -> None:
        """Let answers wait: the client reads slower than we write."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let answers go on."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def take_last(self) -> None:
        """Close after one more answer, the one under way if there is one; twice is the same."""
        if not self._is_leaving:
            self._is_leaving = True
            self._has_quick_ways = False
            if self._cycle is not None:
                self._cycle.keep_alive = False
                self._cycle.lost()  # an answer that would never end by itself ends

    def may_ask_within(self, wait_s: float | None) -> bool:
        """Whether a request is under way, or had an answer so short ago that the next one may come; ``None``: ever."""
        if self._closing:
            return False
        if wait_s is None or self._cycle is not None or self._buffer or self._head is not None:
            return True
        asked_s = max(self._place.since_s, self._deadline_s - self.idle_timeout_s)
        return self._loop.time() < asked_s + wait_s

    def shutdown(self) -> None:
        """Close when idle, else after the answer under way."""
        if self._cycle is None:
            self._close()
        else:
            self._cycle.keep_alive = False
            self._cycle.lost()  # an answer that would never end by itself ends

    # --- reading ---

    def _read_requests(self) -> None:
        try:
            body = self._read_one()
        except Problem as problem:
            self._refuse(problem)
            return
        if body is None:
            if self._has_ended:
                self._close()  # what is missing will never come
        elif not self._place.works():
            self._refuse(TOO_MANY)
        else:
            assert self._head is not None
            head, self._head, self._chunks = self._head, None, None
            self._cycle = Cycle(self, head, body, self._raw_head)
            if self._is_leaving:
                self._cycle.keep_alive = False
            task = self._loop.create_task(self._cycle.run(self._app))
            self._state.tasks.add(task)
            task.add_done_callback(self._state.tasks.discard)

    def _read_one(self) -> bytes | None:
        """Return the body of a complete request, whose head is then kept; ``None`` while something is missing."""
        buffer = self._buffer
        if self._head is None:
            if buffer.startswith(b"\r\n"):
                del buffer[:2]  # one empty line before a request is passed over (RFC 9112, section 2.2)
            if not buffer:
                return None
            if buffer == b"\r":
                self._expect_more()
                return None
            end = self._beginning.end_of(buffer)
            if end < 0:
                self._expect_more()
                return None
            self._raw_head = bytes(buffer[:end])
            self._head = head = parse_head(self._raw_head)
            del buffer[: end + 4]
            if head.leaves_body:
                self._head = head._replace(keep_alive=False)
                self._discards, self._discarded = True, len(buffer)
                buffer.clear()
                return b""
            if head.is_chunked:
                self._chunks = Chunks(self._body_bytes_max)
            elif not head.length:
                return b""
            elif head.length > BODY_BYTES_MAX and head.length > self._body_bytes_max:
                raise Problem(413, "body_too_large", f"a body is at most {self._body_bytes_max} bytes")
            if head.expects_continue and not buffer:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = self._head
        body: bytes | None = None
        if self._chunks is not None:
            body = self._chunks.take(buffer)
        elif len(buffer) >= head.length:
            body = bytes(buffer[: head.length])
            del buffer[: head.length]
        if body is None:
            self._expect_more()
        return body

    def _expect_more(self) -> None:
        """Give a request that has begun its time, once: every byte that comes must not renew it."""
        self._place.is_asked()
        latest_s = self._loop.time() + self.request_timeout_s
        if self._deadline_s > latest_s:
            self._set_deadline(latest_s)

    def _set_deadline(self, deadline_s: float) -> None:
        # A timer that fires too early looks at the deadline and waits again; only an earlier deadline needs a new one.
        self._deadline_s = deadline_s
        if self._timer is None or self._timer.when() > deadline_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline_s, self._check_time)

    def _check_time(self) -> None:
        self._timer = None
        if self._closing and self._loop.time() >= self._deadline_s:
            self.transport.abort()
        elif self._closing or self._cycle is not None or self._loop.time() < self._deadline_s:
            when_s = max(self._deadline_s, self._loop.time() + self.request_timeout_s / 10)
            self._timer = self._loop.call_at(when_s, self._check_time)
        elif self._buffer or self._head is not None:
            self._refuse(
                Problem(408, "request_timeout", f"a request takes at most {self.request_timeout_s:g} s to arrive")
            )
        else:
            self._close()

    def _close(self) -> None:
        """Close once the client took what was written; a client that does not is cut off."""
        self._closing = True
        self._place.is_ending()
        self.transport.close()
        self._set_deadline(self._loop.time() + self.write_timeout_s)

    # --- answering ---

    def answered(self, keep_alive: bool) -> None:
        """Go on to the next request, or close."""
        self._state.total_requests += 1
        self._cycle = None
        self._place.has_worked()
        if self._closing:
            return
        if not keep_alive or (self._has_ended and not self._buffer):
            if self._discards and not self._has_ended:
                self.transport.resume_reading()
                self._linger()
            else:
                self._close()
            return
        self._place.is_idle()
        self._deadline_s = self._loop.time() + self.idle_timeout_s
        if self._buffer:
            self.transport.resume_reading()
            self._loop.call_soon(self._read_next)

    def _read_next(self) -> None:
        if self._cycle is None and not self._closing:
            self._read_requests()

    def _refuse(self, problem: Problem) -> None:
        """Return a problem and close."""
        body = problem.body(oauth=False)
        headers = [
            *COMMON,
            *problem.headers,
            (b"content-type", PROBLEM_TYPE),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"connection", b"close"),
        ]
        if problem is not TOO_MANY:  # those are counted, and logged once a minute
            log.info(
                "a request could not be read",
                extra={"event": "refused", "status": problem.status, "code": problem.code},
            )
        self.transport.write(self.head_of(problem.status, headers) + body)
        self._linger()

    def _linger(self) -> None:
        """Close, but for a while throw away what still comes, so that the answer is not lost in a reset."""
        self._closing = True
        self._place.is_ending()
        self._buffer.clear()
        if self.transport.can_write_eof():
            with contextlib.suppress(OSError):
                self.transport.write_eof()
        else:
            self.transport.close()
        self._set_deadline(self._loop.time() + self.linger_s)

    async def write(self, data: bytes) -> None:
        """Write, waiting while the client is slow."""
        if self._closing:
            return
        self.transport.write(data)
        if self._writable is not None:
            self._place.is_ending()  # a client that takes no answers must not keep others out
            try:
                async with asyncio.timeout(self.write_timeout_s):
                    await self._writable
            except TimeoutError:
                self._closing = True
                self.transport.abort()
            else:
                if not self._has_ended:
                    self._place.is_busy()

    def head_of(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the head of an answer with the date."""
        return head_of(status, [*self._state.default_headers, *headers])


def _address(name: object) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
