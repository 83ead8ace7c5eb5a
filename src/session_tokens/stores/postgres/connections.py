"""One question and its answer over one connection: sent in one go, awaited with a bound, read as plain values.

Theory of operation. The driver connects, and speaks for scripts; the questions of every day go straight to libpq, which
the driver hands out (``psycopg.pq``): its cursors cost more than the server's work for a verification. A question is
prepared on a connection the first time. Prepared statements are named by their text: a pooler that does not know them
may hand us a connection on which someone else prepared theirs, and a name that says what it stands for can at worst be
unknown or there already. Named by numbers, as the driver does it, a commit could run as somebody else's.

Nothing is ever read that belongs to an earlier question: a connection whose caller gave up waiting is closed
(threads), or waits by itself until the answer has come, and is then as good as new (asyncio).
"""

from __future__ import annotations

import asyncio
import logging
import select
import time
from collections.abc import Callable
from functools import lru_cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg import AsyncConnection, Connection, pq
from psycopg.adapt import AdaptersMap, Loader, Transformer
from psycopg.types.bool import BoolLoader
from psycopg.types.numeric import IntLoader
from psycopg.types.string import TextLoader

from ..common.retry import NotExecuted
from .errors import FAILURES, Refused, TimedOut, Unconfirmed, is_unprepared, store_error, waited_in_vain
from .queries import Statement

if TYPE_CHECKING:
    from psycopg.abc import Buffer
    from psycopg.errors import Diagnostic
    from psycopg.pq.abc import PGconn, PGresult

log = logging.getLogger("session_tokens.stores")

Rows = list[tuple[Any, ...]]

PREPARED_MAX: Final = 200
"""Texts that are prepared on one connection; rarer ones are sent as they are."""
POLL_MS_MAX: Final = 60_000

_GOOD = frozenset({int(pq.ExecStatus.TUPLES_OK), int(pq.ExecStatus.COMMAND_OK)})
_IDLE = pq.TransactionStatus.IDLE


class _Question(NamedTuple):
    """A statement's text as libpq takes it, and the name that it is prepared under."""

    text: bytes
    name: bytes


@lru_cache(maxsize=2_000)
def _question(text: str) -> _Question:
    first, *rest = text.split("%s")
    numbered = (first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))).encode()
    return _Question(numbered, b"st_" + sha256(numbered).hexdigest()[:32].encode())


def _parameter(value: Any) -> bytes | None:
    """Return a value as PostgreSQL reads it as text."""
    if isinstance(value, str):
        return value.encode()
    if value is None:
        return None
    if isinstance(value, list):
        return ("{" + ",".join(map(_item, value)) + "}").encode()
    return str(value).encode()  # a number; PostgreSQL reads True and False too


def _item(value: str | int) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def _booleans(text: bytes) -> list[bool]:
    return [item == b"t" for item in text[1:-1].split(b",")] if len(text) > 2 else []


class _BooleansLoader(Loader):
    """Reads ``boolean[]``."""

    def load(self, data: Buffer) -> list[bool]:
        return _booleans(bytes(data))


def _loaders() -> AdaptersMap:
    """Return how text becomes a value, by the number of PostgreSQL's type; any other is text (0).

    They are our own: what a program registers with the driver for all of its connections is for its own.
    """
    loaders = AdaptersMap(types=psycopg.adapters.types)
    for number, loader in (
        (0, TextLoader),
        (16, BoolLoader),
        (20, IntLoader),
        (23, IntLoader),
        (1000, _BooleansLoader),
    ):
        loaders.register_loader(number, loader)
    return loaders


_LOADERS = _loaders()


def _note(unconfirmed: list[str], notice: Diagnostic) -> None:
    if waited_in_vain(notice):
        unconfirmed.append(f"PostgreSQL says: {notice.message_primary}")


class _Replies:
    """What has come of the replies over one connection: the last result, and the first that is an error.

    The driver turns results into rows, in C where it is built so: a value at a time in Python costs more than all else
    that is done for a verification.
    """

    __slots__ = ("_transformer", "_unconfirmed", "adapters", "connection", "error", "result")

    def __init__(self, connection: Connection[Any] | AsyncConnection[Any]) -> None:
        self.adapters = _LOADERS
        self.connection = connection
        self._transformer = Transformer(self)
        self._unconfirmed: list[str] = []
        connection.add_notice_handler(partial(_note, self._unconfirmed))  # a method would be a circle
        self.result: PGresult | None = None
        self.error: PGresult | None = None

    def add(self, result: PGresult) -> None:
        """Take in one more result."""
        if result.status in _GOOD:
            self.result = result
        elif self.error is None:
            self.error = result

    def rows(self, pgconn: PGconn) -> Rows:
        """Return the rows of the reply that is complete now, or raise what the server said instead."""
        result, error = self.result, self.error
        self.result = self.error = None
        if self._unconfirmed:
            waits = "; ".join(self._unconfirmed)
            self._unconfirmed.clear()
            raise Unconfirmed(waits)
        if error is not None:
            state = error.error_field(pq.DiagnosticField.SQLSTATE)
            said = error.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or error.error_message
            raise Refused(said.decode("utf-8", "replace"), None if state is None else state.decode())
        if result is None:
            raise psycopg.OperationalError(pgconn.error_message.decode("utf-8", "replace"))
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)


def _send(pgconn: PGconn, prepared: set[bytes] | None, statement: Statement) -> bool:
    """Begin to send a statement, or first the text to prepare it; return whether it was the statement."""
    text, name = _question(statement.text)
    params = [_parameter(param) for param in statement.params]
    if prepared is not None:
        if name in prepared:
            pgconn.send_query_prepared(name, params)
            return True
        if len(prepared) < PREPARED_MAX:
            pgconn.send_prepare(name, text)
            return False
    pgconn.send_query_params(text, params)
    return True


class Preparing:
    """Whether statements are prepared: until a pooler before the server turns out to know none.

    Args:
        prepared: whether they are at first.
    """

    def __init__(self, prepared: bool) -> None:
        self.prepared = prepared

    def give_up(self, error: Exception, asked_prepared: bool) -> bool:
        """Whether an error says that a pooler knows no prepared statements: then none are used from now on.

        The question was not carried out. Others may have been asked in the same way meanwhile; each gets this error.
        """
        if not (asked_prepared and is_unprepared(error)):
            return False
        if self.prepared:
            log.warning("a pooler before PostgreSQL knows no prepared statements; going on without them")
        self.prepared = False
        return True


def _unprepared() -> NotExecuted:
    return NotExecuted("a pooler before PostgreSQL knows no prepared statements, and closed the connection")


class Talk:
    """Questions over a blocking connection, one at a time.

    Args:
        connection: the driver's, on which nothing was asked yet.
        preparing: whether statements are prepared.

    Attributes:
        generation: of the pool when it was made.
    """

    __slots__ = ("_connection", "_poll", "_prepared", "_preparing", "_replies", "generation", "pgconn")

    def __init__(self, connection: Connection[Any], preparing: Preparing) -> None:
        self._preparing = preparing
        self._connection = connection  # it warns if it is forgotten while its connection lives
        self.pgconn = connection.pgconn
        self.generation = 0
        self._prepared: set[bytes] = set()
        self._replies = _Replies(connection)
        self._poll = select.poll()
        self._poll.register(self.pgconn.socket, select.POLLIN)

    @property
    def is_idle(self) -> bool:
        """Whether it waits for the next question, as far as is known here."""
        return self.pgconn.transaction_status == _IDLE

    @property
    def is_whole(self) -> bool:
        """Whether the server has not closed it while it was idle: nothing else can be read then."""
        return not self._poll.poll(0)

    def ask(self, step: Statement, timeout_s: float) -> Rows:
        """Return a statement's rows within that many seconds; see ``pools.Link``."""
        prepared = self._preparing.prepared
        try:
            try:
                return self._carry(step, timeout_s, prepare=prepared)
            except FAILURES as error:
                if not self._preparing.give_up(error, prepared):
                    raise
                if not self.is_idle:
                    raise _unprepared() from error
            return self._carry(step, timeout_s, prepare=False)
        except FAILURES as error:
            raise store_error(error, sent=True) from error

    def _carry(self, statement: Statement, timeout_s: float, *, prepare: bool) -> Rows:
        """Return a statement's rows.

        Raises:
            Refused: the server said no.
            TimedOut, psycopg.OperationalError: it said nothing, and the connection is closed.
        """
        prepared = self._prepared if prepare else None
        deadline_s = time.monotonic() + timeout_s
        try:
            while not _send(self.pgconn, prepared, statement):
                self._reply(deadline_s)
                self._prepared.add(_question(statement.text).name)
            return self._reply(deadline_s)
        except BaseException:
            if self.pgconn.transaction_status != _IDLE:
                self.close()
            raise

    def close(self) -> None:
        """Let go of the connection."""
        self.pgconn.finish()

    def _reply(self, deadline_s: float) -> Rows:
        pgconn, reply = self.pgconn, self._replies
        if pgconn.flush():
            self._flush(deadline_s)
        while True:
            while pgconn.is_busy():
                self._wait(deadline_s)
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                return reply.rows(pgconn)
            reply.add(result)

    def _flush(self, deadline_s: float) -> None:
        """Send the rest of a long statement, reading meanwhile: the server may have to be rid of an answer first."""
        self._poll.modify(self.pgconn.socket, select.POLLIN | select.POLLOUT)
        while self.pgconn.flush():
            self._wait(deadline_s)
            self.pgconn.consume_input()
        self._poll.modify(self.pgconn.socket, select.POLLIN)

    def _wait(self, deadline_s: float) -> None:
        left_s = deadline_s - time.monotonic()
        # Rounded up: a wait of less than a millisecond would be none, over and over.
        if left_s <= 0 or not self._poll.poll(min(POLL_MS_MAX, left_s * 1000 + 1)):
            raise TimedOut("no answer in time")


class AsyncTalk:
    """Questions over a connection of one event loop, one at a time.

    It listens as long as it lives, so that a question costs no change of what the loop watches. A caller that is
    cancelled leaves; the answer is still read to its end before it is free.

    Args:
        connection: the driver's, on which nothing was asked yet.
        preparing: whether statements are prepared.

    Attributes:
        generation: of the pool when it was made.
    """

    def __init__(self, connection: AsyncConnection[Any], preparing: Preparing) -> None:
        self._preparing = preparing
        self._connection = connection  # it warns if it is forgotten while its connection lives
        self.pgconn = connection.pgconn
        self.generation = 0
        self._when_free: Callable[[AsyncTalk], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._socket = self.pgconn.socket
        self._prepared: set[bytes] = set()
        self._replies = _Replies(connection)
        self._answer: asyncio.Future[Rows] | None = None
        self._question: tuple[Statement, bool] | None = None
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._loop.add_reader(self._socket, self._readable)

    @property
    def is_idle(self) -> bool:
        """Whether it waits for the next question, as far as is known here."""
        return self.pgconn.transaction_status == _IDLE

    @property
    def is_whole(self) -> bool:
        """Whether the server has not closed it while it was idle: nothing else can be read then."""
        return self._socket >= 0 and not self._poll.poll(0)

    async def ask(self, step: Statement, timeout_s: float) -> Rows:
        """As ``Talk.ask``."""
        prepared = self._preparing.prepared
        try:
            try:
                return await self._carry(step, timeout_s, prepare=prepared)
            except FAILURES as error:
                if not self._preparing.give_up(error, prepared):
                    raise
                if not self.is_idle:
                    raise _unprepared() from error
            return await self._carry(step, timeout_s, prepare=False)
        except FAILURES as error:
            raise store_error(error, sent=True) from error

    def when_free(self, call: Callable[[AsyncTalk], None]) -> None:
        """Call once the answer that is under way was read, or the connection was closed: at once, if none is."""
        if self._answer is None:
            call(self)
        else:
            self._when_free = call

    def _carry(self, statement: Statement, timeout_s: float, *, prepare: bool) -> asyncio.Future[Rows]:
        """Send a statement; the future answers its rows within that many seconds.

        The future's errors are those of ``Talk._carry``.
        """
        self._answer = answer = self._loop.create_future()
        self._question = statement, prepare
        self._watch(self._loop.time() + timeout_s)
        try:
            self._send()
        except psycopg.Error as error:
            self._end(error)
        return answer

    def _send(self) -> None:
        assert self._question is not None
        statement, prepare = self._question
        if _send(self.pgconn, self._prepared if prepare else None, statement):
            self._question = None
        if self.pgconn.flush():
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        try:
            if not self.pgconn.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.Error as error:
            self._end(error)

    def _readable(self) -> None:
        pgconn = self.pgconn
        try:
            pgconn.consume_input()
            if self._answer is None:
                self.close()  # nobody asked: the server is going away
                return
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    self._replied()
                    return
                self._replies.add(result)
        except psycopg.Error as error:
            self._end(error)

    def _replied(self) -> None:
        try:
            rows = self._replies.rows(self.pgconn)
            if self._question is not None:
                self._prepared.add(_question(self._question[0].text).name)
                self._send()
                return
        except psycopg.Error as error:
            self._end(error)
            return
        self._finished(rows, None)

    def _finished(self, rows: Rows, error: Exception | None) -> None:
        answer, self._answer, self._question = self._answer, None, None
        if answer is not None and not answer.done():
            if error is None:
                answer.set_result(rows)
            else:
                answer.set_exception(error)
        if self._when_free is not None:
            call, self._when_free = self._when_free, None
            call(self)

    def _end(self, error: Exception) -> None:
        """Give the caller the outcome; close the connection unless it has read everything."""
        if self.pgconn.transaction_status == _IDLE:
            self._finished([], error)
        else:
            self.close(error)

    def _watch(self, deadline_s: float) -> None:
        """See to it that someone looks at the clock at the deadline; one timer serves many questions."""
        self._deadline_s = deadline_s
        if self._timer is None or deadline_s < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline_s, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if self._answer is None:
            return
        if self._loop.time() < self._deadline_s:
            self._watch(self._deadline_s)
        else:
            self._end(TimedOut("no answer in time"))

    def close(self, error: Exception | None = None) -> None:
        """Let go of the connection; whoever waits for an answer gets an error."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket = -1
        self.pgconn.finish()
        if self._answer is not None:
            self._finished([], error or psycopg.OperationalError("the connection was closed"))
