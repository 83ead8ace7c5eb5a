"""System checks: settings that cannot work, and packages that would keep secrets in their own tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.sessions.base_session import AbstractBaseSession
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Doubt
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model

from ...crypto.key_file import PEPPER_FILE_VARIABLE, PEPPER_VARIABLE, given_keys
from ...errors import InvalidInput
from ...stores.common.store_url import PORTS, store_url_of
from .moving_in import peer
from .opened import address, general_settings, options, replaced, trust

ENGINE = "session_tokens.web.django"
MIDDLEWARE = "session_tokens.web.django.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
USERSESSIONS = "allauth.usersessions"
HEADLESS = "allauth.headless"
KEEPERS = (USERSESSIONS, "user_sessions", "qsessions", "hitcount")
"""Applications that write session keys into tables of their own."""
KEPT = "session_key"
"""How a field is called that holds them, in all other applications."""


def check_settings(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Look at the settings; nothing is opened."""
    said: list[CheckMessage] = []
    try:
        url = address()
        without_keys = _without_keys(is_server=store_url_of(url).kind in PORTS)
        general_settings()
        trust()
        is_replaced = replaced() is not None
        peer()
    except (ImproperlyConfigured, InvalidInput, TypeError) as error:
        return [Error(str(error), id="session_tokens.E001")]
    if settings.SESSION_ENGINE != ENGINE:
        said.append(
            Doubt(
                f"SESSION_ENGINE is {settings.SESSION_ENGINE}: the sessions are not kept by session-tokens",
                hint=f'set SESSION_ENGINE = "{ENGINE}"',
                id="session_tokens.W001",
            )
        )
    said += _kept_keys()
    if url.startswith("memory:") and not settings.DEBUG:
        said.append(
            Doubt(
                "the sessions are kept in the memory of one process: a restart logs everybody out, and another "
                "process knows none of them",
                hint='set SESSION_TOKENS_STORE = "sqlite:///…", "postgresql://…", "mysql://…" or "valkey://…"',
                id="session_tokens.W003",
            )
        )
    if without_keys is not None:
        said.append(
            Doubt(
                f"{without_keys}: no request can have a session",
                hint=f'set SESSION_TOKENS = {{"pepper": …}}, {PEPPER_VARIABLE} or {PEPPER_FILE_VARIABLE}',
                id="session_tokens.W006",
            )
        )
    if settings.SESSION_SERIALIZER != "django.contrib.sessions.serializers.JSONSerializer":
        said.append(
            Doubt(
                f"SESSION_SERIALIZER is {settings.SESSION_SERIALIZER}, which is not used: sessions hold JSON",
                hint="remove SESSION_SERIALIZER, and keep only what JSON can hold in sessions",
                id="session_tokens.W004",
            )
        )
    if is_replaced and MIDDLEWARE not in settings.MIDDLEWARE:
        said.append(
            Doubt(
                "SESSION_TOKENS has rotate_every, and Django's own middleware does not always hand a new cookie out: "
                "none is replaced",
                hint=f'replace "{DJANGOS}" in MIDDLEWARE by "{MIDDLEWARE}"',
                id="session_tokens.W005",
            )
        )
    return said


def _kept_keys() -> list[CheckMessage]:
    """Say which applications keep secrets in their tables, for they keep session keys."""
    keepers, remedy = [name for name in KEEPERS if apps.is_installed(name)], ""
    keepers += [model._meta.label for model in apps.get_models() if _is_keeper(model)]
    if MIDDLEWARE not in settings.MIDDLEWARE:
        remedy = f'replace "{DJANGOS}" in MIDDLEWARE by "{MIDDLEWARE}": then session keys are public ids; '
    elif apps.is_installed(HEADLESS) and "app" in getattr(settings, "HEADLESS_CLIENTS", ("app", "browser")):
        # Such a client has no cookie: it shows the key of its session, which therefore is never an id.
        keepers = [name for name in keepers if name == USERSESSIONS]
        remedy = (
            f'take "{USERSESSIONS}" out of INSTALLED_APPS, or "app", whose token is a key, out of HEADLESS_CLIENTS; '
        )
    if not keepers or not remedy:
        return []
    return [
        Doubt(
            f"a table of {', '.join(keepers)} keeps session keys, and a session key is a secret here: who reads the "
            "table can take over sessions",
            hint=f"{remedy}for the sessions of a user, show the page of session_tokens.web.django.urls",
            id="session_tokens.W002",
        )
    ]


def _is_keeper(model: type[Model]) -> bool:
    """Whether a table keeps session keys that no name in ``KEEPERS`` tells; those of other engines stay as they are."""
    if model._meta.app_config.name in KEEPERS or issubclass(model, AbstractBaseSession):
        return False
    return any(field.name == KEPT for field in model._meta.get_fields())


def _without_keys(*, is_server: bool) -> str | None:
    """Return why there are no keys here; ``None`` where there are, or the store makes its own.

    A key file may be for whoever serves alone: who cannot read it may do all else.
    """
    try:
        given = given_keys(options().get("pepper"))
    except InvalidInput as error:
        if options().get("pepper") is not None or PEPPER_VARIABLE in os.environ:
            raise
        return str(error)
    return "no pepper is given, which a store on a server needs" if is_server and given is None else None
