"""Sessions in FastAPI: who is logged in, and what they may do, as dependencies; and a router for "your devices".

``SessionMiddleware`` (``session_tokens.web.asgi``) has to be added to the application: it reads and writes the
sessions, and answers 503 where a call of the store in a view finds that it is away.
"""

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Security, WebSocketException
from fastapi.openapi.models import APIKey, APIKeyIn
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.base import SecurityBase
from pydantic import BaseModel

from ..errors import InvalidInput, ReauthenticationRequired
from ..records import Session, Token
from ..settings import Duration
from .asgi import SESSION, AsyncWebSession
from .step_up import StepUp

LOG_IN = {"WWW-Authenticate": "Session"}
POLICY_VIOLATION = 1008
"""The code of a WebSocket that is refused (RFC 6455, section 7.4.1)."""


class SessionCookie(SecurityBase):
    """What OpenAPI says of views for users: that they ask for the cookie of a session."""

    def __init__(self) -> None:
        said = "On https; on http it is `session`, and where `session_cookie=` names it, that."
        self.model = APIKey.model_validate({"in": APIKeyIn.cookie, "name": "__Host-session", "description": said})
        self.scheme_name = "Session"

    async def __call__(self) -> None:  # of asyncio, as the next: FastAPI hands all else to a thread
        """Leave it to the middleware, which has read it."""


_cookie = SessionCookie()
_bearer = HTTPBearer(auto_error=False, description="The secret of a token (stt_…)")


def current_session(connection: HTTPConnection) -> AsyncWebSession:
    """Return the session of the browser, a visitor's too.

    Raises:
        RuntimeError: the application has no ``SessionMiddleware``.
    """
    session = connection.scope.get(SESSION)
    if not isinstance(session, AsyncWebSession):
        raise RuntimeError("add the middleware: app.add_middleware(SessionMiddleware, store='sqlite:///sessions.db')")
    session.mark_accessed()
    return session


async def _session_of_user(
    session: Annotated[AsyncWebSession, Depends(current_session)], _: Annotated[None, Security(_cookie)]
) -> AsyncWebSession:
    """Return the session of the browser, for a view that OpenAPI describes as one for users."""
    return session


def _refusal(connection: HTTPConnection, status: int, reason: str, headers: dict[str, str]) -> Exception:
    """Return what refuses a request, or closes a WebSocket."""
    if connection.scope["type"] == "websocket":
        return WebSocketException(POLICY_VIOLATION, reason)
    return HTTPException(status, reason, headers)


def require_session(
    connection: HTTPConnection, session: Annotated[AsyncWebSession, Depends(_session_of_user)]
) -> AsyncWebSession:
    """Return the session of whoever is logged in; a visitor is answered 401, their WebSocket is closed with 1008."""
    if session.owner is None:
        raise _refusal(connection, 401, "log in first", LOG_IN)
    return session


def require_recent(
    max_age: Duration | None = None, *, minutes: float | None = None, acr: str | Collection[str] | None = None
) -> Callable[[HTTPConnection, AsyncWebSession], AsyncWebSession]:
    """Return a dependency as ``require_session`` that wants a log-in not long ago (step-up); an older one is a 401.

    Args:
        max_age: how long ago it may be, in seconds or a ``timedelta``.
        minutes: the same in minutes; 10 where neither is given.
        acr: how surely they must have proved who they are: the value of the log-in, or all that will do.

    Raises:
        InvalidInput: both durations are given, or a duration that can never be right.
    """
    wanted = StepUp(max_age, minutes, acr)

    def recent(
        connection: HTTPConnection, session: Annotated[AsyncWebSession, Depends(require_session)]
    ) -> AsyncWebSession:
        try:
            wanted.check(session)
        except ReauthenticationRequired as error:
            raise _refusal(connection, 401, str(error), {"WWW-Authenticate": wanted.challenge}) from None
        return session

    return recent


async def require_token(
    connection: HTTPConnection,
    session: Annotated[AsyncWebSession, Depends(current_session)],
    given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Token:
    """Return the living token whose secret the request bears (RFC 6750); without one the answer is 401."""
    if given is None:
        raise _refusal(connection, 401, "send the secret of a token as Bearer", {"WWW-Authenticate": "Bearer"})
    token = await session.tokens.verify_token(given.credentials)
    if token is None:
        raise _refusal(connection, 401, "the token is not valid", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    return token


async def login(
    connection: HTTPConnection,
    owner: str,
    *,
    remember: bool = False,
    label: str | None = None,
    acr: str | None = None,
    amr: Collection[str] = (),
) -> None:
    """Log a user in who has proved who they are: with the response, a session of theirs takes this one's place.

    Args:
        connection: the request.
        owner: the application's identity string of the user.
        remember: whether it lasts for ``Settings.remember_max_age``, and its cookie outlives the browser.
        label: a name for the user to tell their sessions apart.
        acr: how surely they proved it, a value of the application's (OpenID Connect Core 1.0, section 2).
        amr: by which methods, such as ``["pwd", "otp"]`` (RFC 8176).
    """
    current_session(connection).login(owner, remember=remember, label=label, acr=acr, amr=amr)


async def logout(connection: HTTPConnection) -> None:
    """Log out: the session ends with the response, and its cookie is cleared."""
    current_session(connection).logout()


class Device(BaseModel):
    """A session as its user sees it."""

    id: str
    label: str | None
    user_agent: str | None
    address: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime | None
    current: bool


class Devices(BaseModel):
    """A page of a user's sessions; ``next`` is what ``after`` of the next page is."""

    devices: list[Device]
    next: str | None


class Ended(BaseModel):
    """How many sessions were ended."""

    ended: int


def device_of(session: Session, current_id: str | None) -> Device:
    """Return a session as its user sees it."""
    return Device(
        id=session.id,
        label=session.label,
        user_agent=session.user_agent,
        address=session.address,
        created_at=session.created_datetime,
        last_seen_at=session.last_seen_datetime,
        expires_at=session.expires_datetime,
        current=session.id == current_id,
    )


def sessions_router(
    prefix: str = "/account/sessions",
    *,
    recent: Callable[..., AsyncWebSession | Awaitable[AsyncWebSession]] = require_session,
) -> APIRouter:
    """Return a router with which users see their sessions and end them.

    ``GET prefix`` lists them, ``DELETE prefix/{id}`` ends one of the user's own (404 for every other), and
    ``DELETE prefix`` ends all others.

    Args:
        prefix: of its paths.
        recent: what ending asks for: ``require_session``, or ``require_recent(minutes=10)``.
    """
    router = APIRouter(prefix=prefix, tags=["sessions"])

    @router.get("")
    async def list_devices(
        session: Annotated[AsyncWebSession, Depends(require_session)], after: str | None = None
    ) -> Devices:
        """List the user's living sessions."""
        try:
            page = await session.list_devices(after=after)
        except InvalidInput as error:
            raise HTTPException(422, str(error)) from None
        return Devices(devices=[device_of(each, session.id) for each in page.items], next=page.after)

    @router.delete("/{id}")
    async def end_device(id: str, session: Annotated[AsyncWebSession, Depends(recent)]) -> Ended:
        """End one session of the user, this one too."""
        if id == session.id:
            session.logout()
        elif not await session.end_other(id):
            raise HTTPException(404, "no living session of yours has that id")
        return Ended(ended=1)

    @router.delete("")
    async def end_other_devices(session: Annotated[AsyncWebSession, Depends(recent)]) -> Ended:
        """End all sessions of the user but this one."""
        return Ended(ended=await session.end_others())

    return router
