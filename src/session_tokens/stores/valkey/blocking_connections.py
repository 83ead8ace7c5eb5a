# Generated from stores/valkey/async_connections.py by tools/generate_sync.py; change that file and run it again.
"""Exchanges over connections of valkey-py or redis-py, for threads; see ``connections``."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ...contract.drive import drive_now
from ...errors import StoreError
from ..common.retry import LONGEST_AFTER, NotExecuted, OnTheMove, pause_before_s
from .connections import (
    ASKED_AT_LEAST,
    IDLE_MAX,
    LOOK_AFTER_S,
    LOOKED_FOR,
    SHORTEST_S,
    TIME,
    Connections,
    Moved,
    NoTimeLeft,
    Steps,
    arrived,
    leaves_nothing,
)
from .errors import LibraryLost, NotReached, is_driver_error, is_of_a_primary, trouble
from .packing import milliseconds, pack
from .primaries import Question
from .rows import Reply
from .survey import surveying


class _BlockingConnection(Protocol):
    """What is used of a connection of valkey-py or redis-py for threads."""

    socket_timeout: float | None
    socket_connect_timeout: float | None

    def connect(self) -> None: ...
    def send_packed_command(self, command: Any, check_health: bool = True) -> None: ...
    def read_response(self, disable_decoding: bool = False) -> Any: ...
    def can_read(self, timeout: float = 0) -> bool: ...
    def disconnect(self) -> None: ...


class BlockingConnections(Connections):
    """Connections for threads."""

    def ask(self, timeout_s: float, packed: bytes, replies: int, probe: bytes) -> list[Reply]:
        """As ``exchange``; a server that has lost the function library gets it again first.

        Raises:
            OnTheMove: nothing was carried out, for it had lost it.
        """
        try:
            return self.exchange(packed, replies, timeout_s, probe)
        except LibraryLost as lost:
            self.carry_out(self._preparing(), timeout_s)
            raise OnTheMove(str(lost)) from lost

    def carry_out(self, steps: Steps, timeout_s: float) -> None:
        """Send one command after another, each of which may be sent twice."""

        def send(words: list[bytes]) -> Reply:
            return (self.exchange(pack(words), 1, timeout_s, self.probe))[0]

        drive_now(steps, send)

    def carry_out_first(self, begin: Callable[[], Steps]) -> None:
        """As ``carry_out``, on a server never spoken to before: where it fails, all connections are closed.

        Args:
            begin: makes the steps, anew where the keys have moved to another server meanwhile.

        Raises:
            NotExecuted: it was not reached; the port was asked why.
        """
        retry, until_s = 0, time.monotonic() + self._timeout_s
        try:
            while True:
                try:
                    self.carry_out(begin(), self._timeout_s)
                    return
                except (OnTheMove, LibraryLost):
                    if time.monotonic() > until_s:
                        raise
                time.sleep(pause_before_s(min(retry, LONGEST_AFTER)))
                retry += 1
        except NotExecuted as error:
            self.close_all()
            lost = error if isinstance(error, NotReached) else error.__cause__  # of a Sentinel, who was asked first
            if not isinstance(lost, NotReached):
                raise
            ask = partial(self.why_not_reached, lost, error)
            raise ask() from lost
        except BaseException:
            self.close_all()
            raise

    def look_around(self) -> None:
        """Look at all servers that may be the primary one day, where they are known; if one is unfit, close all.

        Raises:
            StoreError: one cannot hold the store, or is replaced sooner than the store would wait for it.
        """
        try:
            drive_now(surveying(self._primary), partial(self._ask_another, self._timeout_s))
        except BaseException:
            self.close_all()
            raise

    def exchange(self, packed: bytes, replies: int, timeout_s: float, probe: bytes = b"") -> list[Reply]:
        """Send packed commands and return their replies, and of a read what the probe told.

        Args:
            packed: the commands.
            replies: how many they are.
            timeout_s: seconds it may take.
            probe: ``self.probe`` or ``self.timed_probe`` for a read, which may be sent twice, and is answered if the
                server is a primary still. Empty for a commit, which the commands after the first do not undo.

        Raises:
            Moved: it is a commit, and was not sent because the address leads elsewhere.
            NotExecuted: nothing was carried out.
            StoreUnavailable: it failed, and what was asked may have been carried out.
        """
        sent, run = False, ""
        answers: list[Reply] = []
        connection: _BlockingConnection | None = None
        try:
            if True:  # the socket has a time-out
                run_before = self.run
                connection, run = self._connection(timeout_s)
                if not probe:
                    self._insist(connection, run_before, run)
                sent = True
                connection.send_packed_command([packed + probe], check_health=False)
                read = connection.read_response
                answers = [read(disable_decoding=True)]
                while len(answers) < replies:
                    for reply in arrived(connection, replies - len(answers)):
                        if isinstance(reply, Exception):
                            raise reply
                        answers.append(reply)  # what came before an error counts
                    if len(answers) < replies:
                        answers.append(read(disable_decoding=True))
                if probe:
                    try:
                        answers.append(read(disable_decoding=True))
                    except Exception as error:
                        answers.append(self._told_otherwise(connection, error))
        except Exception as error:
            self._let_go(connection, run, error, is_whole=leaves_nothing(error, replies, probe))
            if not is_driver_error(error):
                raise
            raise trouble(error, sent=sent, is_done=bool(answers) and not probe, keys=self._keys) from error
        except BaseException:
            if connection is not None:
                connection.disconnect()
            raise
        self.give_back(connection, run)
        self._believe(run, probe)
        return answers

    def give_back(self, connection: Any, run: str) -> None:
        """Keep a connection for a later exchange, or close it."""
        if run == self.run and not self._closed and len(self._idle) < IDLE_MAX:
            self._idle.append((connection, run, time.monotonic()))
            if self._closed:  # by another thread, since it was looked at
                self._drop_idle()
        else:
            connection.disconnect()

    def _insist(self, connection: _BlockingConnection, run_before: str, run: str) -> None:
        """Return if a commit may be sent: to the run on which it was judged, and where replicas can confirm it."""
        if run_before not in ("", run):
            raise Moved
        if self._replicas and not self._was_followed:
            self._greet(connection)
            if not self._was_followed:
                raise self._never_followed()

    def _let_go(self, connection: _BlockingConnection | None, run: str, error: Exception, *, is_whole: bool) -> None:
        """Keep a connection after an error, or close it; all idle ones too, where the server may be no primary."""
        if connection is not None:
            if is_whole:
                self.give_back(connection, run)
            else:
                connection.disconnect()
        if self._is_led_astray(error):
            self._primary.led_astray(error)
            self._drop_idle()

    def _told_otherwise(self, connection: _BlockingConnection, error: Exception) -> Reply:
        """Return the answer of a probe that was refused, if a primary did so that may not write now; else raise."""
        if not is_of_a_primary(error):
            raise error
        self._greet(connection)
        connection.send_packed_command([TIME], check_health=False)
        return milliseconds(connection.read_response(disable_decoding=True))

    def _greet(self, connection: _BlockingConnection) -> str:
        connection.send_packed_command([self._greeting], check_health=False)
        return self._greeted([connection.read_response(disable_decoding=True) for _ in self._primary.greeting])

    def has_moved(self, timeout_s: float) -> bool:
        """Whether the primary is not where the last connection led; where nobody tells in part of the time, it is."""
        until_s = time.monotonic() + timeout_s * LOOKED_FOR
        try:
            return drive_now(self._primary.locating(), partial(self._ask_until, until_s)) != self._at
        except (StoreError, NoTimeLeft):
            return False

    def _ask_until(self, until_s: float, question: Question) -> list[Reply]:
        left_s = until_s - time.monotonic()
        if left_s <= SHORTEST_S:
            raise NoTimeLeft
        return self._ask_another(left_s, question)

    def _greet_again(self, connection: _BlockingConnection) -> None:
        try:
            self._greet(connection)
        except BaseException:
            connection.disconnect()
            raise

    def _ask_another(self, timeout_s: float, question: Question) -> list[Reply]:
        """Ask another server than the primary something, over a connection of its own.

        Raises:
            StoreError: it did not answer, or with an error.
        """
        connection: _BlockingConnection = self._new(question.options)
        limit_s = min(timeout_s, self._timeout_s / ASKED_AT_LEAST)
        connection.socket_timeout = connection.socket_connect_timeout = limit_s
        try:
            connection.connect()
            connection.send_packed_command([question.packed], check_health=False)
            return [connection.read_response(disable_decoding=True) for _ in range(question.replies)]
        except Exception as error:
            if not is_driver_error(error):
                raise
            meant = trouble(error, sent=False, keys=self._keys)
            if isinstance(meant, NotReached):
                meant.options = question.options
            raise meant from error
        finally:
            connection.disconnect()

    def _connection(self, timeout_s: float) -> tuple[_BlockingConnection, str]:
        connection: _BlockingConnection
        self._owned.look(self._taken_idle)
        now_s = time.monotonic()
        if now_s > self._primary.ask_at_s and self.has_moved(timeout_s):
            self._drop_idle()
        while self._idle:
            try:
                connection, run, since_s = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if now_s - since_s < LOOK_AFTER_S:
                return self.limited(connection, timeout_s), run
            if _is_usable(connection):
                if now_s - since_s > self._primary.trusted_s:
                    self._greet_again(connection)
                return self.limited(connection, now_s + timeout_s - time.monotonic()), run
        self._at = drive_now(self._primary.locating(), partial(self._ask_another, timeout_s))
        connection = self._new(self._at)
        connection.socket_timeout = timeout_s
        connection.socket_connect_timeout = timeout_s
        run_before = self.run
        try:
            connection.connect()
            run = self._greet(connection)
        except BaseException:
            connection.disconnect()
            raise
        if run_before not in ("", run):
            self._drop_idle()
        return self.limited(connection, now_s + timeout_s - time.monotonic()), run

    def take(self) -> _BlockingConnection:
        """Return a new connection to the primary, for somebody who closes it."""
        return (self._connection(self._timeout_s))[0]

    def _drop_idle(self) -> None:
        for connection, _, _ in self._taken_idle():
            connection.disconnect()

    def close_all(self) -> None:
        """Close all connections; those in use follow when their exchange is over."""
        self._closed = True
        for connection, _, _ in self._taken_idle():
            connection.socket_connect_timeout = 1.0
            try:
                connection.disconnect()
            except Exception as error:
                if not is_driver_error(error):
                    raise


def _is_usable(connection: _BlockingConnection) -> bool:
    """Whether a connection that lay idle is still open and has nothing left over."""
    try:
        if not connection.can_read(timeout=0):
            return True
    except BaseException as error:
        connection.disconnect()
        if not is_driver_error(error):
            raise
        return False
    connection.disconnect()
    return False
