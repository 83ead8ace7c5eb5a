"""The pytest plugin: a test begins with somebody logged in, in Flask, Starlette, FastAPI or Django.

It comes with the package (entry point ``pytest11``)::

    def test_the_report_asks_for_a_recent_log_in(client, logged_in):
        logged_in(client, "alice", ago=timedelta(hours=2))
        assert client.get("/report").status_code == 401

For the length of the test the application's sessions are kept in memory, under a clock that the test moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import pytest

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
            client: ``app.test_client()`` of Flask, Starlette's ``TestClient`` or an ``httpx`` client on an ASGI
                application, or Django's ``Client``.
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
            way = _way_of(client)
            session = way(client, session_tokens, afterwards, owner, dict(data or {}), remember, acr)
            session_clock.advance(ago.total_seconds() if isinstance(ago, timedelta) else ago)
            return session

        yield log_in


Way = Callable[[Any, "SessionTokens", ExitStack, Any, dict[str, Any], bool, "str | None"], "Session"]


def _way_of(client: Any) -> Way:
    """Return how a client of its kind is logged in; no framework is imported that the test did not import."""
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(client).__mro__}
    if "flask.FlaskClient" in kinds:
        return _in_flask
    if kinds & {"starlette.TestClient", "httpx.Client", "httpx.AsyncClient"}:
        return _in_asgi
    if kinds & {"django.Client", "django.AsyncClient"}:
        return _in_django
    raise TypeError(
        f"{type(client).__name__} is no client that is known here; give Flask's test_client(), Starlette's TestClient, "
        "an httpx client with an ASGITransport, or Django's Client"
    )


def _in_flask(
    client: Any,
    tokens: SessionTokens,
    afterwards: ExitStack,
    owner: Any,
    data: dict[str, Any],
    remember: bool,
    acr: str | None,
) -> Session:
    interface = client.application.session_interface
    if not hasattr(interface, "tokens_of"):
        raise TypeError(
            "the application has no sessions of ours: set app.session_interface = SessionTokensInterface(…)"
        )
    before = interface.use(tokens)
    if before is not tokens:
        afterwards.callback(interface.use, before)
    with client.session_transaction() as session:
        if interface.owner_key is None:
            session.log_in(owner)
        else:
            session[interface.owner_key] = owner
        session.proved_by(acr=acr)
        if remember:
            session.remember(None)
        if hasattr(client.application, "login_manager"):
            with client.application.test_request_context(environ_base=client.environ_base):
                flask_login = import_module("session_tokens.web.flask_login")
                session.update(flask_login.fields_of_log_in(client.application))
        session.update(data)
    made: Session = session.record
    return made


def _in_asgi(
    client: Any,
    tokens: SessionTokens,
    afterwards: ExitStack,
    owner: Any,
    data: dict[str, Any],
    remember: bool,
    acr: str | None,
) -> Session:
    # httpx has no public way from a client to the application that it calls
    app: Any = getattr(client, "app", None) or getattr(client._transport, "app", None)
    layer = import_module("session_tokens.web.asgi").middleware_of(app)
    if layer is None:
        raise TypeError("the application has no sessions of ours: app.add_middleware(SessionMiddleware, store=…)")
    before = layer.store.use(None)
    if before is None or before.store is not tokens.store:
        afterwards.callback(layer.store.use, before)
        before = import_module("session_tokens").AsyncSessionTokens(tokens.store, tokens.settings)
    layer.store.use(before)
    issued = tokens.log_in(owner, data=data, remember=remember, acr=acr)
    client.cookies.set(layer.keeping.cookie.name(is_https=client.base_url.scheme == "https"), issued.secret)
    return issued.session


def _in_django(
    client: Any,
    tokens: SessionTokens,
    afterwards: ExitStack,
    owner: Any,
    data: dict[str, Any],
    remember: bool,
    acr: str | None,
) -> Session:
    opened = import_module("session_tokens.web.django.opened")
    if not import_module("django.conf").settings.SESSION_ENGINE.startswith("session_tokens.web.django"):
        raise TypeError('the project has no sessions of ours: set SESSION_ENGINE = "session_tokens.web.django"')
    if isinstance(owner, str):
        owner = import_module("django.contrib.auth").get_user_model().objects.get_by_natural_key(owner)
    ours = opened.opened.use(tokens)
    afterwards.callback(opened.opened.close)
    client.force_login(owner)
    session = client.session
    session.update(data)
    if acr is not None:
        session.proved_by(acr=acr)
    if remember:
        session.set_expiry(ours.settings.remember_max_age)
    session.save()
    made: Session | None = ours.verify_session(session.session_key, touch=False)
    assert made is not None
    return made
