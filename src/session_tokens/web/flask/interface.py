"""The session interface of Flask: reads lazily, writes what changed in one command, and says so in the cookie."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from flask import Flask, Request, Response, current_app
from flask.globals import request_ctx
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.exceptions import Forbidden

from ..._sync.api import SessionTokens
from ...clock import Clock
from ...crypto.minting import Pepper
from ...errors import StoreError
from ...records import Session
from ...rules.reserved import applications
from ...settings import Duration, Settings
from ..cookies import cookie_named
from ..moving_in import Peer, moving_in, peers_of, taken_in
from ..origins import FORGED, SAFE, opens_socket
from ..process_store import ProcessStore
from ..rotating import GRACE_S, rotating
from ..session import WebSession, drive
from .by_flask import SessionsByFlask, answer_unavailable, is_of_outage, unavailable, vary_by_cookie
from .session import FlaskSession, FlaskWebSession, decode, encode
from .settings import store_url

KNOWN = "session_tokens.known"
"""Where an environment holds the secret, and the id, of the session that was read by it.

Sockets beside Flask, as those of Flask-SocketIO, have the session opened for each event in the environment of their
handshake, whose cookie the browser may have replaced since.
"""


class SessionTokensInterface(SessionsByFlask, SessionInterface):
    """Keep Flask's sessions in a store: ``app.session_interface = SessionTokensInterface("sqlite:///sessions.db")``.

    The cookie holds a secret and nothing else. A visitor has no record before there is data; a cookie that was not
    given out here is never adopted; nothing that was ended is revived by a request that was still running; two requests
    that change different fields both survive; a store that is away is a 503, and logs nobody out.

    Args:
        store: a URL, or a ``SessionTokens`` that is open already; by default what the configuration names
            (``SESSION_TOKENS_STORE``, or Flask-Session's settings), opened at the first use.
        owner_key: the field of the session that says who is logged in, where the application keeps it in one:
            setting it is a log-in, removing it a log-out. Without one, call ``login`` and ``logout``.
        owner_of: maps what is in that field to the owner.
        trusted_origins: origins whose pages may send requests that change something, beside our own; to others the
            session is a 403, and they log nobody in.
        trusted_proxies: networks of proxies that are trusted when they say from where a request comes.
        migrate_from: where users come from who bring no cookie of ours: one of ``moving_in.peers``, or a list.
        rotate_every: a browser gets a new cookie with the first request after so long, in seconds or a ``timedelta``;
            ``None``: with a log-in alone.
        rotation_grace: for how long the cookie before is good all the same; its use after that ends the session.
        settings, pepper, clock: as for ``SessionTokens.open``.

    Raises:
        InvalidInput: an origin or a network that is none.
    """

    def __init__(
        self,
        store: str | SessionTokens | None = None,
        *,
        owner_key: str | None = None,
        owner_of: Callable[[Any], str] = str,
        trusted_origins: Collection[str] = (),
        trusted_proxies: Collection[str] = (),
        migrate_from: Peer | Sequence[Peer] | None = None,
        rotate_every: Duration | None = None,
        rotation_grace: Duration = GRACE_S,
        settings: Settings | None = None,
        pepper: Pepper | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(owner_key, owner_of, trusted_origins, trusted_proxies)
        self._peers = peers_of(migrate_from)
        self._rotating = rotating(rotate_every, rotation_grace)
        self._store = ProcessStore(store, settings=settings, pepper=pepper, clock=clock)

    def tokens_of(self, app: Flask) -> SessionTokens:
        """Return the API that the sessions are kept with; a process that was forked opens its own."""
        return self._store.tokens(lambda: store_url(app))

    def use(self, tokens: SessionTokens | None) -> SessionTokens | None:
        """Keep sessions with another API from now on, as tests do; return the one that was given before."""
        return self._store.use(tokens)

    def regenerate(
        self,
        session: SessionMixin,
        *,
        authenticated: bool = False,
        acr: str | None = None,
        amr: Collection[str] = (),
    ) -> None:
        """Give the session a new secret; the old one is dead at once (Flask-Session has this name).

        Args:
            session: the one of the request.
            authenticated: whether its owner has just proved who they are (step-up).
            acr, amr: how they did it, as for ``login``.

        Raises:
            SessionEnded: it ended while the request was running.
            ServiceUnavailable: the store cannot be reached; the old secret goes on.
        """
        if not isinstance(session, FlaskSession) or session.id is None:
            return
        try:
            tokens = self.tokens_of(current_app)
            issued = tokens.rotate_session(session.id, authenticated=authenticated, acr=acr, amr=amr)
            session.web.rotated(issued)
        except StoreError as error:
            raise unavailable(error) from error

    # --- what Flask calls --------------------------------------------------------------------------------------------

    def open_session(self, app: Flask, request: Request) -> FlaskSession:
        """Return the session of a request; the store is asked when it is first read."""
        header = request.environ.get("HTTP_COOKIE", "").encode("latin-1", "replace")
        presented, others = "", False
        if header:
            presented = cookie_named(self.cookie_name(app, request)).value_in(header).decode("latin-1")
            if self._peers:
                others = any(cookie_named(peer.cookie).value_in(header) for peer in self._peers)
        is_presented = bool(presented or others)
        upgrade = request.environ.get("HTTP_UPGRADE")
        is_forged = (request.method not in SAFE or upgrade is not None) and self._incoming(request).is_forged

        def client() -> tuple[str | None, str | None]:
            return request.headers.get("User-Agent"), self._incoming(request).address

        def load() -> WebSession:
            if is_presented and is_forged:
                raise Forbidden(FORGED)
            try:
                tokens = self.tokens_of(app)
                known = request.environ.get(KNOWN)
                if known is not None and known[0] == presented:
                    return WebSession(_going_on(tokens, known[1]), None, encode=encode, decode=decode, client=client)
                # As ``loading``, at once: a generator would be a good part of what reading a session costs.
                record = applications(tokens.verify_session(presented)) if presented else None
                if record is not None:
                    request.environ[KNOWN] = presented, record.id
                web = FlaskWebSession(record, presented or None, encode=encode, decode=decode, client=client)
                web.is_forged = is_forged
                # A route there is none for is another library's, as the polling of Flask-SocketIO.
                sets_cookie = not opens_socket(upgrade) and request.routing_exception is None
                if self._rotating is not None and sets_cookie:
                    drive(tokens, self._rotating.take(web))
                if web.record is not None or not others:
                    return web
                return self._moved_in(app, header, client, sets_cookie=sets_cookie) or web
            except StoreError as error:
                raise unavailable(error) from error

        return FlaskSession(load, is_presented, is_forged, self.owner_key, self._owner_of)

    def _header_of(self, request: Request) -> Callable[[str], str | None]:
        environ = request.environ  # Werkzeug's headers find one by an error that they catch
        return lambda name: environ.get("HTTP_" + name.upper().replace("-", "_"))

    def _moved_in(
        self,
        app: Flask,
        header: bytes,
        client: Callable[[], tuple[str | None, str | None]],
        *,
        sets_cookie: bool,
    ) -> WebSession | None:
        """Return the session into which another library's cookie moves; ``None`` where it leads nowhere."""

        def cookie(name: str) -> str | None:
            return cookie_named(name).value_in(header).decode("latin-1") or None

        steps = moving_in(self._peers, cookie, encode=encode, client=client, sets_cookie=sets_cookie)
        issued = drive(self.tokens_of(app), steps)
        if issued is None:
            return None
        made = partial(WebSession, encode=encode, decode=decode, client=client)
        return taken_in(made, issued, sets_cookie=sets_cookie)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Write what a request changed, in one command, and set or clear the cookie."""
        if not isinstance(session, FlaskSession):
            raise TypeError(f"that session is not of this interface: {type(session).__name__}")
        if is_of_outage(response):
            answer_unavailable(response)
        if session.accessed:
            vary_by_cookie(response)
        if self._is_of_no_concern(app, session, response):
            return
        request = request_ctx.request if request_ctx else None
        tokens = self.tokens_of(app)
        drive(tokens, self._settling(app, session, response, request, tokens.settings))


def _going_on(tokens: SessionTokens, id: str) -> Session | None:
    """Return the session that a socket was let in with, if it goes on."""
    found = tokens.get_session(id)
    return None if found is None or found.detached_at is not None else found
