"""A Django project for these tests: its settings, made once, and a store of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from django.conf import settings
from django.core.management import call_command
from django.test.utils import override_settings, setup_test_environment

from session_tokens.web.django.opened import BlockingSessions, opened

if not settings.configured:
    settings.configure(
        SECRET_KEY="for tests only",
        ALLOWED_HOSTS=["testserver"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:django?mode=memory&cache=shared"}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        USE_TZ=True,
        INSTALLED_APPS=[
            "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages",
            "session_tokens.web.django",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        ROOT_URLCONF="tests.helpers.django_site",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": ["django.contrib.auth.context_processors.auth"]},
            }
        ],
        SESSION_ENGINE="session_tokens.web.django",
        SESSION_TOKENS_STORE="memory://",
    )  # fmt: skip
    django.setup()
    setup_test_environment()
    call_command("migrate", verbosity=0, run_syncdb=True)


@pytest.fixture(params=["memory", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'sessions.db'}?synchronous=OFF"


@pytest.fixture
def tokens(store_url: str) -> Iterator[BlockingSessions]:
    with override_settings(SESSION_TOKENS_STORE=store_url):
        opened.close()  # a store in memory has the same address as the one before
        yield opened.blocking()
        opened.close()
