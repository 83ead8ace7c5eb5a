"""What the tests of the SQLite store share: a pepper, small rules of their own, a way to look behind the store."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from session_tokens.clock import Clock
from session_tokens.contract.transaction import Transaction
from session_tokens.events import SESSION_ENDED, SESSION_OPENED
from session_tokens.records import NO_DETAILS, NO_TOKEN_DETAILS, Session, Token, TokenKind
from session_tokens.stores.sqlite.store import SqliteStore, open_sqlite

PEPPER = bytes(range(32))
HOUR_MS = 3_600_000


def opened(path: Path, **options: Any) -> SqliteStore:
    """Open a store, with the tests' pepper unless told otherwise."""
    return open_sqlite(path, **({"pepper": PEPPER} | options))


def add_session(tx: Transaction, id: str, owner: str, clock: Clock, lookup: str | None = None) -> Session:
    """A rule: create a session, whatever there is."""
    end = tx.now + HOUR_MS
    session = Session._of(
        id, owner, lookup or f"lookup of {id}", tx.now, tx.now, tx.now, end, None, HOUR_MS, None, True, None, None,
        None, end, 0, 1, NO_DETAILS, None, None, clock,
    )  # fmt: skip
    tx.put_session(None, session)
    tx.note((SESSION_OPENED, session, None))
    return session


def add_token(tx: Transaction, id: str, session: str | None, owner: str | None, kind: TokenKind) -> Token:
    """A rule: create a token, whatever there is."""
    end = tx.now + HOUR_MS
    token = Token._of(
        id, owner, f"lookup of {id}", kind, session, "value", False, tx.now, HOUR_MS, end, end, HOUR_MS, tx.now,
        tx.now if owner is None else None, None, 0, 1, NO_TOKEN_DETAILS, None, None,
    )  # fmt: skip
    tx.put_token(None, token)
    return token


def relabel(tx: Transaction, id: str, label: str) -> Session:
    """A rule: change a session's label and count its version up."""
    session = tx.session(id)
    assert session is not None
    changed = session.replace(details=session.details._replace(label=label), version=session.version + 1)
    tx.put_session(session, changed)
    return changed


def forget_session(tx: Transaction, id: str) -> None:
    """A rule: delete a session."""
    session = tx.session(id)
    assert session is not None
    tx.put_session(session, None)
    tx.note((SESSION_ENDED, session, "revoked"))


def rows_behind(path: Path, statement: str, *values: object) -> list[Any]:
    """Read a database past the store."""
    with sqlite3.connect(path) as connection:
        rows: list[Any] = connection.execute(statement, values).fetchall()
    connection.close()
    return rows


def behind(path: Path, statement: str, *values: object) -> list[Any]:
    """Do something to the file behind the store's back, as someone without the pepper could."""
    connection = sqlite3.connect(path, timeout=10)
    try:
        with connection:
            return connection.execute(statement, values).fetchall()
    finally:
        connection.close()
