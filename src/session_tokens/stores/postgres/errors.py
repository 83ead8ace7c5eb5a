"""How one statement is bounded in time, and the driver's failures in the library's words."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.errors import Diagnostic

from ...errors import StoreBusy, StoreError, StoreUnavailable
from ..common.retry import Declined, Elsewhere, Full, NotExecuted, ReadOnly, Silent, Waited

CLASH = frozenset({"40001", "40P01"})
"""Serialization failure, deadlock: PostgreSQL took everything back, and the command is run again."""
TAKEN = "23505"
"""A key that should be new is not."""

FAILURES = (psycopg.Error, OSError, TimeoutError)
"""What the driver raises; ``store_error`` knows them all."""

_UNPREPARED = frozenset({"26000", "42P05", "08P01"})
_UNMIGRATED = frozenset({"3F000", "42P01", "42883", "42704"})
_NOT_RUN = frozenset({"57P03", "53300"})
"""Starting up or shutting down; too many connections: said instead of running anything."""
_FULL = frozenset({"53100", "53200"})
"""Disk full, out of memory: the statement was taken back, and the server goes on answering others."""
READ_ONLY = "25006"
NOT_CONFIRMED = "STR01"
"""What ``commit_v1`` raises where fewer standbys confirm a commit than the store's URL asks for."""
_WAITS_FOR_STANDBYS = "SyncRepWaitForLSN"
"""The place in the server that tells that a wait for synchronous standbys was given up; its words are translated."""
_OF_ANOTHER_ROLE = frozenset({READ_ONLY, "55000"})
"""A read-only transaction; and what ``now_v1`` raises on a standby."""
NO_PRIMARY = (
    "PostgreSQL is read-only here (a standby, or default_transaction_read_only is on?); give the address of the primary"
)
_NOT_CONNECTED_TO = ("server is in hot standby mode", "session is read-only")
"""What libpq says, in English always, where ``target_session_attrs`` wants another server."""
_NOT_THERE = frozenset({"08", "28", "3D", "53", "57", "58"})
"""Classes of codes that say that the server, not the statement, is at fault."""


class TimedOut(psycopg.OperationalError):
    """The server did not answer in time; its connection is given up."""


class Unconfirmed(psycopg.OperationalError):
    """The statement is committed, and its wait for a synchronous standby was cancelled."""


def waited_in_vain(notice: Diagnostic) -> bool:
    """Whether a notice says that a commit is not known to be on the standbys that should have it."""
    return notice.source_function == _WAITS_FOR_STANDBYS


class Refused(psycopg.DatabaseError):
    """What the server said instead of an answer.

    Args:
        text: in its words.
        sqlstate: its five-letter code, ``None`` where the connection was lost.
    """

    def __init__(self, text: str, sqlstate: str | None) -> None:
        super().__init__(text.strip())
        self.sqlstate = sqlstate


def bounded(steps: Generator[Any, Any, Any], timeout_s: float) -> Generator[Any, Any, Any]:
    """Drive the driver's generator, but no longer than ``timeout_s``: the driver looks in now and then while it waits.

    Raises:
        TimedOut: when the time is over.
    """
    deadline = time.monotonic() + timeout_s
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= deadline:
                raise TimedOut(f"no answer within {timeout_s:.2g} s")
            wanted = steps.send(ready)
    except StopIteration as stop:
        return stop.value


def sqlstate_of(error: BaseException | None) -> str | None:
    """Return PostgreSQL's five-letter code, ``None`` where the server said nothing."""
    return error.sqlstate if isinstance(error, psycopg.Error) else None


def is_of_another_role(error: Exception) -> bool:
    """Whether it says that the server is not the primary (any more), or does not write; nothing was carried out."""
    return sqlstate_of(error) in _OF_ANOTHER_ROLE or (
        isinstance(error, psycopg.OperationalError) and any(words in str(error) for words in _NOT_CONNECTED_TO)
    )


def is_unprepared(error: Exception) -> bool:
    """Whether something between us and the server knows no prepared statements; the statement was not run."""
    return sqlstate_of(error) in _UNPREPARED


def store_error(error: Exception, *, sent: bool) -> StoreError:
    """Return the store's error for one of the driver's; the driver's text never holds the password.

    Args:
        error: what the driver raised.
        sent: whether the server may have run the statement.
    """
    state = sqlstate_of(error)
    if state in CLASH or state == "55P03":
        kind = Waited if state == "55P03" else StoreBusy
        return kind("others are changing the same records in PostgreSQL; try again later", sqlstate=state)
    if state in _UNMIGRATED:
        return StoreError(
            "PostgreSQL has no tables of this version in that name space; run: session-tokens store migrate, "
            "and if they are of this version already: session-tokens store check --fix",
            sqlstate=state,
        )
    if state == "42501":
        return StoreError(
            "the role may not do that in the store's schema; grant it as deploy/postgres/roles.sql does", sqlstate=state
        )
    if state == READ_ONLY:
        return ReadOnly(NO_PRIMARY, sqlstate=state)
    if is_of_another_role(error):
        return Elsewhere(NO_PRIMARY, sqlstate=state)
    if state == NOT_CONFIRMED:
        return Declined(f"{first_line(error)}; nothing was written", sqlstate=state)
    if isinstance(error, Unconfirmed):
        return StoreUnavailable(
            f"{first_line(error)}: the command is written, and lost with the server if that is; its outcome is "
            "unknown: repeat it with the same idempotency key"
        )
    if state in _FULL:
        return Full(f"PostgreSQL has no room: {first_line(error)}; make some and try again", sqlstate=state)
    if state is not None and state[:2] not in _NOT_THERE:
        return StoreError(f"PostgreSQL refused a statement of the store ({state}): {first_line(error)}", sqlstate=state)
    if "client certificate" in str(error):
        return NotExecuted(
            f"PostgreSQL cannot be asked: {first_line(error)}; name one that its authority signed, and its key: "
            "?sslcert=FILE&sslkey=FILE in the store's URL",
            sqlstate=state,
        )
    if not sent or state in _NOT_RUN:
        remedy = "; is it running, and are host and port right?" if isinstance(error, TimeoutError | TimedOut) else ""
        return NotExecuted(f"PostgreSQL cannot be asked: {first_line(error)}{remedy}", sqlstate=state)
    away = Silent if isinstance(error, TimedOut) else StoreUnavailable
    return away(
        f"PostgreSQL did not answer: {first_line(error)}; if it was a command, its outcome is unknown: "
        "repeat it with the same idempotency key",
        sqlstate=state,
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's text."""
    told = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return (str(error) or told).splitlines()[0]
