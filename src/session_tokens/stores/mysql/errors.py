"""The failures of the drivers in the library's words, by the server's number of them."""

from __future__ import annotations

import asyncmy.errors
import pymysql.err

from ...errors import StoreBusy, StoreError, StoreUnavailable
from ..common.retry import Full, NotExecuted, ReadOnly, Waited

FAILURES = (pymysql.err.MySQLError, asyncmy.errors.MySQLError, OSError, TimeoutError)
"""What the drivers raise; ``store_error`` knows them all."""

TAKEN = 1062
"""A key that should be new is not; also how the last step of a commit says that it comes too late."""
DEADLOCK = 1213
CLASH = frozenset({DEADLOCK, TAKEN, 1020})
"""Nothing was written because others were faster (1020: a record has changed since it was read)."""
_WAITED = frozenset({1205, 1969, 3024})
"""A lock, or a statement, took longer than the time that this connection gives it."""
_READ_ONLY = frozenset({1290, 1792, 1836})
"""The server, or the transaction, takes no writes."""
_FULL = frozenset({1021, 1037, 1038, 1041, 1114})
_UNMIGRATED = frozenset({1054, 1146})
_FORBIDDEN = frozenset({1044, 1142, 1143, 1227, 1370})
_NOT_RUN = frozenset({1040, 1053, 1129, 1130, 1203, 1226, 2002, 2003, 2005})
"""Too many connections, shutting down, no connection: said instead of running anything."""
_LOST = frozenset({1152, 1159, 1161, 1317, 1927, 2006, 2013, 2014, 2026, 2055})
_REFUSED = frozenset({1045, 1049, 1251, 1698})
"""The server does not let this user in, or has no such database."""
_DENIED = frozenset({1045, 1698})
_NO_CONNECTION = frozenset({2002, 2003, 2005})
IS_IT_THERE = "is it running, and are host and port right?"
NO_PRIMARY = "MariaDB or MySQL is read-only here (a replica, or tx_read_only is on?); give the address of the primary"


def number_of(error: BaseException | None) -> int | None:
    """Return the server's number of an error, ``None`` where it said nothing."""
    number = error.args[0] if error is not None and error.args else None
    return number if isinstance(number, int) and not isinstance(error, OSError) else None


def store_error(error: BaseException, *, sent: bool) -> StoreError:
    """Return the store's error for one of a driver's; the drivers' texts never hold the password.

    Args:
        error: what the driver raised.
        sent: whether the server may have done something that lasts.
    """
    number, said = number_of(error), _said(error)
    if number in CLASH or number in _WAITED:
        kind = Waited if number in _WAITED else StoreBusy
        return kind("others are changing the same records in the database; try again later", number=number)
    if number in _READ_ONLY:
        return ReadOnly(NO_PRIMARY, number=number)
    if number in _FULL:
        return Full(f"the database has no room: {said}; make some and try again", number=number)
    if number in _UNMIGRATED:
        return StoreError(
            "the database has no tables of this version in that namespace; run: session-tokens store migrate",
            number=number,
        )
    if number in _FORBIDDEN:
        return StoreError(
            "the user may not do that with the store's tables; grant SELECT, INSERT, UPDATE and DELETE on them, and to "
            "who makes or migrates them CREATE, ALTER, INDEX and DROP",
            number=number,
        )
    if number is not None and number not in _NOT_RUN and number not in _LOST and number not in _REFUSED:
        return StoreError(f"the database refused a statement of the store ({number}): {said}", number=number)
    if not sent or number in _NOT_RUN or number in _REFUSED:
        return NotExecuted(f"the database cannot be asked: {said}{_remedy_of(number, said)}", number=number)
    return StoreUnavailable(
        f"the database did not answer: {said}; if it was a command, its outcome is unknown: repeat it with the same "
        "idempotency key",
        number=number,
    )


def _said(error: BaseException) -> str:
    """Return the first line of what an error says."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], str) else str(error)
    return (text or type(error).__name__).splitlines()[0]


def _remedy_of(number: int | None, said: str) -> str:
    """Return what to look at where a server was not reached or let nobody in; empty where its words say it."""
    if "certificate verify failed" in said:
        is_of_another = "mismatch" in said.lower() or "not valid for" in said
        return "; give the host that it was made for" if is_of_another else "; name who signed it with ssl_ca=FILE"
    if number in _DENIED:
        return (
            "; are they right? Where the server wants TLS of that user say ssl_mode=required, and where it wants a "
            "client certificate ssl_cert=FILE&ssl_key=FILE"
        )
    return "" if number in _NOT_RUN - _NO_CONNECTION or number in _REFUSED else "; " + IS_IT_THERE
