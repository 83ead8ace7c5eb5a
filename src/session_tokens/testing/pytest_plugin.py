"""The pytest plugin: a test begins with somebody logged in, whatever the framework.

It comes with the package (entry point ``pytest11``)::

    def test_the_report_asks_for_a_recent_log_in(client, logged_in):
        logged_in(client, "alice", ago=timedelta(hours=2))
        assert client.get("/report").status_code == 401

For the length of the test the application's sessions are kept in memory, under a clock that the test moves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from .logging_in import Login, way_of

if TYPE_CHECKING:
    from .. import Session, SessionTokens
    from ..clock import ManualClock


class LogIn(Protocol):
    """Logs somebody in to the application of a test client."""

    def __call__(
        self,
        client: Any,
        owner: Any,
        *,
        ago: timedelta | float = 0,
        data: Mapping[str, Any] | None = None,
        remember: bool = False,
        acr: str | None = None,
    ) -> Session:
        """Let a test client be logged in, and return the session.

        Args:
            client: ``app.test_client()`` of Flask or Quart, the ``TestClient`` of Starlette, Litestar or aiohttp,
                Django's ``Client``, Werkzeug's, or an ``httpx`` client on an application of ASGI or WSGI.
            owner: who is logged in; in Django a user, or the name of one.
            ago: how long before now, in seconds or as a ``timedelta``; the clock goes on by it.
            data: what the session holds.
            remember: whether it lasts for ``Settings.remember_max_age``.
            acr: how surely they have proved who they are, for views that ask for it.

        Raises:
            TypeError: a client of another kind, or an application without our sessions.
        """
        ...


@pytest.fixture
def session_clock() -> ManualClock:
    """Give the clock of the sessions: it stands until ``session_clock.advance(seconds)``."""
    from ..clock import ManualClock  # a test run without our fixtures loads nothing of ours

    return ManualClock(time.time_ns() // 1_000_000)


@pytest.fixture
def session_tokens(session_clock: ManualClock) -> Iterator[SessionTokens]:
    """Give the API on a store in memory, which the application has for the length of the test."""
    from .. import SessionTokens

    with SessionTokens.open("memory://", clock=session_clock, sweep=False) as tokens:
        yield tokens


@pytest.fixture
def logged_in(session_tokens: SessionTokens, session_clock: ManualClock) -> Iterator[LogIn]:
    """Give what logs a test client in: ``logged_in(client, "alice", ago=timedelta(hours=2))``."""
    with ExitStack() as afterwards:

        def log_in(
            client: Any,
            owner: Any,
            *,
            ago: timedelta | float = 0,
            data: Mapping[str, Any] | None = None,
            remember: bool = False,
            acr: str | None = None,
        ) -> Session:
            login = Login(session_tokens, afterwards, owner, dict(data or {}), remember, acr)
            session = way_of(client)(client, login)
            session_clock.advance(ago)
            return session

        yield log_in
