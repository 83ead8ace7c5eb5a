"""The middleware that takes the place of Django's: public ids as session keys, and cookies that are as safe as can be.

On what it does at a response: a session that ended meanwhile clears the cookie and lets the response go out, where
Django answers 400; a store that cannot be asked is a 503 with ``Retry-After``, and the cookie stays as it is. Under an
event loop nothing is handed to a thread, where the store has connections for it.

Packages make another object of the session's class from its key in the middle of a request (allauth does at a log-in
with another service). The key is an id here, which opens nothing. So a request knows the secrets of the sessions that
it has opened itself, by their ids, and forgets them with the response.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from http.cookies import Morsel
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY as USER
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.middleware import SessionMiddleware as DjangosMiddleware
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.http import http_date

from ...crypto.secret_form import is_session_secret
from ...errors import SessionEnded, StoreError
from ...records import Session
from ..keeping import goes_before_cache_control, keeps_private
from .engine import SessionStore
from .forged import dropped, is_partitioned, is_withheld, same_site
from .moving_in import peer
from .outages import unavailable

log = logging.getLogger("session_tokens.web.django")

_of_request: ContextVar[dict[str, str] | None] = ContextVar("session_tokens_of_request", default=None)
"""Id → secret, of the sessions that the present request has opened by their secrets."""


class SessionStoreById(SessionStore):
    """A session whose key is its public id, good for other people's tables; the secret is in the cookie alone.

    A log-in has no id before it is written: who asks for the key of one writes it. Once it was read, it goes on by its
    id: where another request has got the browser another secret meanwhile, what this one changes is written all the
    same, and its own secret is not handed out any more.

    Args:
        session_key: its secret, or the id of a session that the same request has opened by its secret. Every other id
            opens nothing.
    """

    _goes_by_id = True

    def __init__(self, session_key: str | None = None) -> None:
        self._secrets = _of_request.get()
        if session_key is not None and self._secrets is not None:
            session_key = self._secrets.get(session_key, session_key)
        super().__init__(session_key)

    def _hold(self, record: Session, kept: Mapping[str, str]) -> None:
        super()._hold(record, kept)
        if self._secrets is not None and self._session_key is not None:
            self._secrets[record.id] = self._session_key

    @property
    def session_key(self) -> str | None:
        """The public id of the session, ``None`` as long as there is none."""
        if self._minted is not None:
            self.save()
        return self.id

    @property
    def secret(self) -> str | None:
        """What the cookie holds."""
        return self._session_key

    @property
    def is_written(self) -> bool:
        """Whether the store knows the secret."""
        return self._minted is None and self._record is not None

    @property
    def secret_to_show(self) -> str | None:
        """What the browser is to have: the secret, or as long as no store knows that, the one that it was given before.

        ``None`` where it has that one already, or there is none.
        """
        return self._session_key if self.is_written else self._given

    @property
    def is_outdated(self) -> bool:
        """Whether the browser has been given another secret by another request."""
        return self._is_outdated

    @property
    def has_ended(self) -> bool:
        """Whether this request ended it."""
        return self._has_ended


class PartitionedMorsel(Morsel[str]):
    """A cookie of its own in each site that embeds ours (CHIPS); Python can write one from 3.14 on."""

    def OutputString(self, attrs: Any = None) -> str:  # noqa: N802  # the name is the standard library's
        """Return the cookie as it is sent."""
        text = super().OutputString(attrs)
        return text if "partitioned" in text.lower().split("; ") else text + "; Partitioned"


def cookie_name() -> str:
    """Return the name of the cookie: with ``__Host-`` where it is sent over https alone, to one host and all paths."""
    name: str = settings.SESSION_COOKIE_NAME
    if not settings.SESSION_COOKIE_SECURE or name.startswith("__"):
        return name
    is_of_host = settings.SESSION_COOKIE_DOMAIN is None and settings.SESSION_COOKIE_PATH == "/"
    return ("__Host-" if is_of_host else "__Secure-") + name


class SessionMiddleware(DjangosMiddleware):
    """``MIDDLEWARE``: stands where ``django.contrib.sessions.middleware.SessionMiddleware`` stood.

    It is a subclass because the admin site looks for one; nothing that Django's does is left.

    Beside Django's settings of the cookie it knows ``SESSION_COOKIE_PARTITIONED``, which asks for
    ``SESSION_COOKIE_SECURE``.

    What a subclass does in a ``process_request`` or ``process_response`` of its own is done under an event loop too, on
    a thread, as with Django's.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        self.is_async = iscoroutinefunction(get_response)
        self.SessionStore = SessionStoreById
        kind = type(self)
        self._begins_otherwise = kind.process_request is not SessionMiddleware.process_request
        self._ends_otherwise = kind.process_response is not SessionMiddleware.process_response

    def __call__(self, request: Any) -> HttpResponse | Awaitable[HttpResponse]:
        """Give the request its session, and write it down when there is a response."""
        if self.is_async:
            return self._acall(request)
        before = _of_request.get()
        _of_request.set({})
        try:
            response = self.process_request(request) or self.get_response(request)
            return self.process_response(request, response)
        finally:
            _of_request.set(before)

    async def _acall(self, request: Any) -> HttpResponse:
        before = _of_request.get()
        _of_request.set({})
        try:
            begin = sync_to_async(self.process_request) if self._begins_otherwise else self._aprocess_request
            end = sync_to_async(self.process_response) if self._ends_otherwise else self._aprocess_response
            return await end(request, await begin(request) or await self.get_response(request))
        finally:
            _of_request.set(before)

    def process_request(self, request: Any) -> HttpResponse | None:
        """Give the request its session; a subclass may answer it."""
        shown = request.COOKIES.get(cookie_name())
        request.session = SessionStoreById(
            shown if shown is not None and is_session_secret(shown) else _others_key(request)
        )
        request.session._has_response = True
        return None

    async def _aprocess_request(self, request: Any) -> HttpResponse | None:
        return self.process_request(request)

    def process_response(self, request: Any, response: HttpResponse) -> HttpResponse:
        """Write its session down, and set or clear the cookie; a request without one is left alone, as by Django's."""
        session: Any = getattr(request, "session", None)
        lost: UpdateError | None = None
        if not _is_ours(session):
            return response
        try:
            if _is_to_be_dropped(request):
                session.flush()
            if _is_to_be_saved(session, response):
                session.save()
            elif _is_to_be_handed_out(request):
                session.look_again()
        except UpdateError as error:
            lost = error
        except StoreError as error:
            return _hand_out(request, unavailable(error))
        except Exception as error:
            if not _is_to_be_handed_out(request):
                raise
            return _hand_out(request, response_for_exception(request, error))
        return _settle(request, response, lost)

    async def _aprocess_response(self, request: Any, response: HttpResponse) -> HttpResponse:
        session: Any = getattr(request, "session", None)
        lost: UpdateError | None = None
        if not _is_ours(session):
            return response
        try:
            if _is_to_be_dropped(request):
                await session.aflush()
            if _is_to_be_saved(session, response):
                await session.asave()
            elif _is_to_be_handed_out(request):
                await session.alook_again()
        except UpdateError as error:
            lost = error
        except StoreError as error:
            return _hand_out(request, unavailable(error))
        except Exception as error:
            if not _is_to_be_handed_out(request):
                raise
            return _hand_out(request, await sync_to_async(response_for_exception)(request, error))
        return _settle(request, response, lost)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return the 503 for a view that could not read its session."""
        return unavailable(exception) if isinstance(exception, StoreError) else None


def _others_key(request: Any) -> str | None:
    """Return the key of the engine that users come from; on https its cookie may have another name than ours."""
    engine = peer()
    return None if engine is None else request.COOKIES.get(engine.cookie)


def _is_ours(session: object) -> bool:
    return isinstance(session, SessionStoreById)


def _is_to_be_dropped(request: Any) -> bool:
    """Whether a page of another origin put something into a visitor's session, without a cookie of ours.

    A log-in in such a request is Django's own matter, as ``CsrfViewMiddleware`` and its exemptions have it.
    """
    session = request.session
    if cookie_name() in request.COOKIES or _others_key(request) or session.is_empty():
        return False  # without asking the store, for the view may not have
    if USER in session or not is_withheld(request):
        return False
    dropped.tell()
    return True


def _is_to_be_saved(session: SessionStoreById, response: HttpResponse) -> bool:
    if response.status_code >= 500 or session.is_empty():
        return False
    return bool(session.modified or settings.SESSION_SAVE_EVERY_REQUEST)


def _is_to_be_handed_out(request: Any) -> bool:
    """Whether the browser is to be given a secret, though nothing is to be saved."""
    secret = request.session.secret_to_show
    return secret is not None and secret != request.COOKIES.get(cookie_name())


def _hand_out(request: Any, response: HttpResponse) -> HttpResponse:
    """Give the browser a secret that its session has got with this request, whatever is answered.

    The one that it has is of before, and ends the session when its grace is over.
    """
    if _is_to_be_handed_out(request) and not request.session.is_outdated:
        _put_secret(request.session, response)
    return response


def _is_over(lost: UpdateError) -> bool:
    """Whether a session whose changes are lost leaves the browser without one: where a log-in replaced it, it has one.

    Nor is it known to be over where nothing was changed that could have been written.
    """
    log.info("a session ended while a request was answered; its changes are dropped")
    cause = lost.__cause__
    return cause is not None and not (isinstance(cause, SessionEnded) and cause.details.get("reason") == "replaced")


def _settle(request: Any, response: HttpResponse, lost: UpdateError | None) -> HttpResponse:
    """Write the cookie as the session is now.

    One that leads nowhere is cleared by who ended the session, or wanted to change it, and by nobody else: a request
    that was sent before a log-in may be answered after it, and would take the new cookie away.

    Args:
        lost: why what was changed could not be written, for the session has ended meanwhile.
    """
    session, shown = request.session, request.COOKIES.get(cookie_name())
    is_changed = bool(session.modified or settings.SESSION_SAVE_EVERY_REQUEST)
    if lost is not None or not session.is_written:
        if shown is not None and is_session_secret(shown) and (_is_over(lost) if lost else session.has_ended):
            _put(response, "", max_age=0)  # what is not ours may be somebody else's
        elif lost is None:
            _hand_out(request, response)
    elif not session.is_outdated and (session.secret != shown or (is_changed and response.status_code < 500)):
        _put_secret(session, response)
    if session.accessed:
        patch_vary_headers(response, ("Cookie",))
    return response


def _put_secret(session: SessionStoreById, response: HttpResponse) -> None:
    is_of_browser = session.get_expire_at_browser_close()
    _put(response, session.secret_to_show or "", max_age=None if is_of_browser else session.get_expiry_age())


def _put(response: HttpResponse, value: str, *, max_age: int | None) -> None:
    name = cookie_name()
    response.set_cookie(
        name,
        value,
        max_age=max_age,
        expires=None if max_age is None else http_date(time.time() + max_age if max_age else 0),
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        secure=bool(settings.SESSION_COOKIE_SECURE),
        httponly=bool(settings.SESSION_COOKIE_HTTPONLY),
        samesite=same_site(),
    )
    if is_partitioned() and settings.SESSION_COOKIE_SECURE:
        partitioned = PartitionedMorsel()
        partitioned.set(name, value, response.cookies[name].coded_value)
        partitioned.update(response.cookies[name])
        response.cookies[name] = partitioned
    patch_vary_headers(response, ("Cookie",))
    if not keeps_private(response.headers.get("Cache-Control", "").encode("latin-1")):
        response.headers["Cache-Control"] = "no-store"
    for told in [name for name in response.headers if goes_before_cache_control(name)]:
        del response.headers[told]
