"""Who may enter the console: a service key opens a short session in a ``__Host-`` cookie, made with this library.

The CSRF token is derived from the session's secret, so that nothing of it is stored. A key that was revoked or ended
takes its console sessions with it at the next request.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ..._async.api import AsyncSessionTokens
from ...audit.log import acting
from ...errors import LimitReached, ReauthenticationRequired
from ...records import ServiceKey, Session
from ...rules.audit import Act
from ...rules.reserved import CONSOLE_CLIENT, is_console
from ...service_keys.keys import Uses, authenticate, get_key
from ...service_keys.networks import may_come_from
from ...service_keys.roles import may
from ...settings import CONSOLE_OWNERS, Settings
from ...web.addresses import Network, source_of
from ...web.cookies import Cookie
from ..problems import Problem
from ..quotas import Quotas

COOKIE = Cookie("__Host-session-tokens-console")
IDLE_S = 15 * 60
MAX_AGE_S = 8 * 3600
RECENT_S = 5 * 60
"""For how long a log-in is enough for destructive acts."""


class TooFast(LimitReached):
    """A key sends more requests a second than it may."""


class Visitor(NamedTuple):
    """Someone in the console: their session, the key they came with, and the token that their forms carry."""

    session: Session
    key: ServiceKey
    csrf: str

    def may(self, act: str) -> bool:
        """Whether their role allows it."""
        return may(self.key.role, act)

    @property
    def is_recent(self) -> bool:
        """Whether they proved who they are recently enough for destructive acts."""
        try:
            self.session.require_recent(RECENT_S)
        except ReauthenticationRequired:
            return False
        return True


class ConsoleSessions(AsyncSessionTokens):
    """The library, opening the console's sessions, which it opens for nobody else."""

    _own_owners = CONSOLE_OWNERS


class Access:
    """Opens, finds and ends console sessions.

    Args:
        tokens: the library.
        trusted_proxies: networks whose ``X-Forwarded-For`` is trusted.
        quotas: hold keys to their rates.
    """

    def __init__(
        self, tokens: AsyncSessionTokens, trusted_proxies: Sequence[Network] = (), quotas: Quotas | None = None
    ) -> None:
        self.store = tokens.store
        self._quotas = quotas or Quotas()
        self._trusted_proxies = tuple(trusted_proxies)
        self._uses = Uses(tokens.store)
        settings = Settings(max_age=MAX_AGE_S, idle_timeout=IDLE_S, max_sessions=None)
        self.sessions = ConsoleSessions(tokens.store, settings, audit=tokens.audit)

    async def visitor(self, request: Request, *, touch: bool = True) -> Visitor | None:
        """Return who sends a request, ``None`` for nobody; it is a use of their session if ``touch``.

        Raises:
            TooFast: their key has a rate, and they are beyond it.
        """
        secret = COOKIE.value_of(request.scope["headers"]).decode("latin-1")
        session = await self._session_of(request, touch=touch)
        if session is None:
            return None
        key = await get_key(self.store, session.owner.removeprefix(CONSOLE_OWNERS))
        now, _ = await self.store.read([])
        if key is None or not key.alive(now) or not may(key.role, "read_sessions"):
            await self.sessions.destroy_session(session.id, reason="revoked")
            return None
        if not may_come_from(key, self.source_of(request)):
            return None
        try:
            self._quotas.asked(key)
        except Problem as error:
            raise TooFast(error.detail) from None
        self._uses.saw(key.id)
        acting.set(Act(key.id, None))
        return Visitor(session, key, csrf_of(secret))

    def source_of(self, request: Request) -> str:
        """Return the address that a request comes from."""
        peer = request.client.host if request.client else None
        return source_of(peer, ", ".join(request.headers.getlist("x-forwarded-for")) or None, self._trusted_proxies)

    async def enter(self, request: Request, key_secret: str, source: str) -> tuple[ServiceKey, str] | None:
        """Open a console session for a service key; the one that the browser had before ends.

        Args:
            request: of the browser that enters.
            key_secret: of the service key.
            source: the address that it comes from.

        Answers:
            The key and the secret of the session; ``None`` if it may not enter from there.
        """
        key = await authenticate(self.store, key_secret.strip())
        if key is None or not may(key.role, "read_sessions") or key.role == "issue":
            return None
        if not may_come_from(key, source):
            return None
        acting.set(Act(key.id, None))
        issued = await self.sessions.open_session(
            CONSOLE_OWNERS + key.id,
            client_id=CONSOLE_CLIENT,
            label="console",
            address=source,
            user_agent=request.headers.get("user-agent"),
        )
        former = await self._session_of(request)
        if former is not None:
            await self.sessions.destroy_session(former.id, reason="replaced")
        return key, issued.secret

    async def _session_of(self, request: Request, *, touch: bool = False) -> Session | None:
        """Return the console session whose cookie a request carries."""
        secret = COOKIE.value_of(request.scope["headers"]).decode("latin-1")
        session = await self.sessions.verify_session(secret, touch=touch) if secret else None
        return session if session is not None and is_console(session) else None

    async def prove_again(self, visitor: Visitor, key_secret: str) -> tuple[Visitor, str] | None:
        """Give the session of a visitor who proves their key again a new secret; ``None`` if they do not."""
        key = await authenticate(self.store, key_secret.strip(), visitor.key.id)
        if key is None:
            return None
        issued = await self.sessions.rotate_session(visitor.session.id, authenticated=True)
        return Visitor(issued.session, key, csrf_of(issued.secret)), issued.secret

    async def leave(self, visitor: Visitor) -> None:
        """End a visitor's session."""
        await self.sessions.destroy_session(visitor.session.id)


def csrf_of(secret: str) -> str:
    """Return the CSRF token that goes with the secret of a console session."""
    return sha256(b"console csrf" + secret.encode()).hexdigest()


def is_same_site(request: Request) -> bool:
    """Whether a state-changing request comes from a page of ours: by Sec-Fetch-Site, and Origin where it is sent."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


def has_token(visitor: Visitor, request: Request, form: dict[str, str]) -> bool:
    """Whether a request carries the visitor's CSRF token, in the header that htmx sends or in the form."""
    given = request.headers.get("x-csrf-token") or form.get("csrf", "")
    return hmac.compare_digest(given.encode("utf-8", "replace"), visitor.csrf.encode())


def set_cookie(response: Response, secret: str) -> None:
    """Give the browser the console session: for this host alone, never to scripts, never from another site."""
    response.set_cookie(COOKIE.name, secret, max_age=MAX_AGE_S, path="/", secure=True, httponly=True, samesite="strict")


def drop_cookie(response: Response) -> None:
    """Take the console session away from the browser."""
    response.delete_cookie(COOKIE.name, path="/", secure=True, httponly=True, samesite="strict")
