"""The application: it notes which client logs in, and checks the settings."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in
from django.core.checks import register


class SessionTokensConfig(AppConfig):
    """``INSTALLED_APPS = [..., "session_tokens.web.django"]``."""

    name = "session_tokens.web.django"
    label = "session_tokens"
    verbose_name = "Session tokens"

    def ready(self) -> None:
        """Connect what the application brings."""
        from .checks import check_settings

        register(check_settings)
        user_logged_in.connect(_note_client, dispatch_uid="session_tokens")


def _note_client(*, request: Any, **_: Any) -> None:
    """Keep with a session which client has logged in, for the page with the devices."""
    came_from = getattr(getattr(request, "session", None), "came_from", None)
    if came_from is not None:
        from .opened import trust  # needs the settings, which are there when somebody logs in

        seen = request.META
        address = trust().address_of(seen.get("REMOTE_ADDR") or None, seen.get("HTTP_X_FORWARDED_FOR"))
        came_from(user_agent=seen.get("HTTP_USER_AGENT"), address=address)
