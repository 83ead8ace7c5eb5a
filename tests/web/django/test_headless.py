"""allauth's interface for applications: their token is the key of a session, and a table that keeps keys keeps it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

SETTINGS = """
SECRET_KEY = "for tests only, and long enough to be one"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "urls"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.db"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SESSION_ENGINE = "session_tokens.web.django"
SESSION_TOKENS_STORE = "sqlite:///sessions.db"
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.humanize", "allauth", "allauth.account",
    "allauth.headless", "allauth.usersessions", "session_tokens.web.django",
]
MIDDLEWARE = [
    "session_tokens.web.django.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware", "allauth.account.middleware.AccountMiddleware",
]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_RATE_LIMITS = False
HEADLESS_CLIENTS = CLIENTS
"""
URLS = """
from django.urls import include, path

urlpatterns = [path("accounts/", include("allauth.urls")), path("_allauth/", include("allauth.headless.urls"))]
"""
TRY = """
import django

django.setup()

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from session_tokens.web.django.checks import check_settings

print([f"{said.id} {said.hint}" for said in check_settings(None)] or "nothing")
call_command("migrate", verbosity=0)
get_user_model().objects.create_user("ann", "ann@shop.example", "open")
client, (kind,) = Client(), settings.HEADLESS_CLIENTS
given = {"username": "ann", "password": "open"}
meta = client.post(f"/_allauth/{kind}/v1/auth/login", given, content_type="application/json").json()["meta"]
token = {"X-Session-Token": meta["session_token"]} if "session_token" in meta else {}
ask = lambda method: getattr(client, method)(f"/_allauth/{kind}/v1/auth/session", headers=token).status_code
print(ask("get"), *(key[:4] for key in UserSession.objects.values_list("session_key", flat=True)))
print(ask("delete"), ask("get"))
"""


@pytest.mark.parametrize(
    ("clients", "told", "kept", "after"),
    [("app", "['session_tokens.W002 ", "200 std_", "401 410"), ("browser", "nothing", "200 ses_", "401 401")],
)
def test_clients_whose_token_a_table_keeps_are_named(
    tmp_path: Path, clients: str, told: str, kept: str, after: str
) -> None:
    (tmp_path / "settings.py").write_text(SETTINGS.replace("CLIENTS\n", f'["{clients}"]\n'))
    (tmp_path / "urls.py").write_text(URLS)
    (tmp_path / "try_it.py").write_text(TRY)
    run = subprocess.run(
        [sys.executable, "try_it.py"],
        cwd=tmp_path,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert run.returncode == 0, run.stderr
    said, *rest = run.stdout.splitlines()
    assert rest == [kept, after]
    assert said.startswith(told)
    assert ("HEADLESS_CLIENTS" in said) is (clients == "app")
