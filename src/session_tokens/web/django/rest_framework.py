"""Django REST framework: programs by the secret of a token, and views for those who logged in not long ago.

``authentication_classes = [TokenAuthentication, SessionAuthentication]`` serves programs and browsers alike.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.permissions import BasePermission

from ...crypto.secret_form import TOKEN_SECRET
from ...errors import StoreError
from ...records import Token
from .asking import run
from .devices import is_recent
from .guards import RETRY_AFTER_S, presented_in, token_of


class Unavailable(APIException):
    """The store cannot be asked: 503 with ``Retry-After``, and never a 401."""

    status_code = 503
    default_detail = "The service is not available for a moment."
    default_code = "temporarily_unavailable"
    wait = RETRY_AFTER_S


class TokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer stt_…`` (RFC 6750): ``request.user`` is the token's owner, ``request.auth`` the token.

    A token that is unknown, ended or unassigned, or whose owner is no active user, is a 401 (``invalid_token``). One
    without an owner leaves ``request.user`` anonymous: let ``HasToken`` decide. Other bearer strings are left to other
    authentication classes.
    """

    def authenticate(self, request: Any) -> tuple[Any, Token] | None:
        """Return the user and the token; ``None`` where the request presents none."""
        if not presented_in(request).startswith(TOKEN_SECRET):
            return None
        try:
            token = run(token_of(request))
        except StoreError as error:
            raise Unavailable from error
        if token is None:
            raise AuthenticationFailed("the token is not valid", "invalid_token")
        return self.user_of(token), token

    def user_of(self, token: Token) -> Any:
        """Return the user whose token it is; override it where owners are no primary keys.

        Raises:
            AuthenticationFailed: there is no such user, or none that is active.
        """
        if token.owner is None:
            return AnonymousUser()
        users = get_user_model()
        try:
            user = users._default_manager.get(pk=token.owner)
        except (ObjectDoesNotExist, ValidationError, ValueError):
            user = None
        if user is None or not user.is_active:
            raise AuthenticationFailed("the token's owner cannot log in", "invalid_token")
        return user

    def authenticate_header(self, request: Any) -> str:
        """Return what ``WWW-Authenticate`` says in a 401."""
        return 'Bearer error="invalid_token"' if presented_in(request) else "Bearer"


class HasToken(BasePermission):
    """Let in who presents a living token, with an owner or without."""

    message = "a living token is needed: Authorization: Bearer stt_…"

    def has_permission(self, request: Any, view: Any) -> bool:
        """Whether the request was authenticated by one."""
        return isinstance(request.auth, Token)


class RecentLogIn(BasePermission):
    """Let in whose log-in is not long ago; for other limits, make a class of your own below it.

    Attributes:
        minutes: how long ago it may be.
        acr: how surely they must have proved who they are; see ``SessionStore.proved_by``.
    """

    minutes: float = 10
    acr: str | Collection[str] | None = None
    message = "log in again: this needs a recent log-in"
    code = "insufficient_user_authentication"

    def has_permission(self, request: Any, view: Any) -> bool:
        """Whether the session of the browser has such a log-in."""
        try:
            return is_recent(request.user, request.session, self.minutes, self.acr)
        except StoreError as error:
            raise Unavailable from error
