"""Django Channels: WebSockets with the session and the user of the browser, closed when the session ends.

``AuthMiddlewareStack(URLRouter(…))`` of this module takes the place of the one of ``channels.auth``: ``scope`` has
``cookies``, ``session`` and ``user`` as there. When the session ends, by a log-out in any process, a deadline or an
administrator, the WebSocket is closed with 4001 and the consumer gets its disconnect. A new session key
closes nothing. Nothing here imports Channels: every ASGI application can be wrapped.

Channels' own ends the session of everybody whose WebSocket comes first after a change of ``SECRET_KEY``, for it does
not look at ``SECRET_KEY_FALLBACKS``. Here nothing is ended by looking: who is not accepted is anonymous.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
from django.db import close_old_connections

from ...crypto.secret_form import is_session_secret
from ...errors import StoreError
from ..asgi import refuse
from ..cookies import cookie_named, cookies_of
from ..keeping import UNREADABLE
from ..sockets import EndingSocket, Receive, Send
from .checks import MIDDLEWARE
from .devices import is_of_password
from .engine import SessionStore
from .middleware import SessionStoreById, cookie_name
from .opened import opened

Scope = dict[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[Any]]

log = logging.getLogger("session_tokens.web.django")


class AuthMiddlewareStack:
    """Gives an application its session and user, and closes its WebSockets when the session ends.

    It is for WebSockets. A consumer of HTTP is given the session, too, but nothing that it changes is saved, and no
    cookie is set: let Django answer HTTP.

    Args:
        inner: the application, such as a ``URLRouter`` of consumers.
    """

    def __init__(self, inner: App) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Serve one connection."""
        headers = list(scope.get("headers", ()))
        session = _session_of(headers)
        try:
            await session.akeys()
            ends = await opened.ends()
        except StoreError as error:
            log.error("sessions cannot be read: %s", error)
            await refuse(scope, send, 503, UNREADABLE)
            return None
        user = await sync_to_async(_user_of)(session)
        scope = {**scope, "cookies": cookies_of(headers), "session": session, "user": user}
        if scope["type"] != "websocket" or session.record is None or ends is None:
            return await self.inner(scope, receive, send)
        socket = EndingSocket(receive, send)
        socket.watch(ends, session.record)
        try:
            return await self.inner(scope, socket.receive, socket.send)
        finally:
            await socket.close()


def _session_of(headers: list[tuple[bytes, bytes]]) -> SessionStore:
    """Return the session of a browser, as the middleware of the project names it."""
    is_ours = MIDDLEWARE in settings.MIDDLEWARE
    name = cookie_name() if is_ours else settings.SESSION_COOKIE_NAME
    shown = cookie_named(name).value_of(headers).decode("latin-1")
    secret = shown if is_session_secret(shown) else None
    session = SessionStoreById(secret) if is_ours else SessionStore(secret)
    session._goes_by_id = True  # the WebSocket outlasts the secret, which requests replace meanwhile
    return session


def _user_of(session: SessionStore) -> Any:
    """Return who is logged in, as ``django.contrib.auth.get_user`` does, but write nothing."""
    from django.contrib.auth.models import AnonymousUser  # needs applications, which are not ready when we load

    path, known = session.get(BACKEND_SESSION_KEY), session.get(HASH_SESSION_KEY)
    if SESSION_KEY not in session or path not in settings.AUTHENTICATION_BACKENDS:
        return AnonymousUser()
    close_old_connections()  # there is no request whose begin and end would do it
    try:
        user = load_backend(path).get_user(get_user_model()._meta.pk.to_python(session[SESSION_KEY]))
    finally:
        close_old_connections()
    if user is None or (known is None and hasattr(user, "get_session_auth_hash")):
        return AnonymousUser()
    return user if is_of_password(str(known), user) else AnonymousUser()
