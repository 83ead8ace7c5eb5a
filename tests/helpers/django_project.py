"""A Django project for tests: importing this module makes its settings, once for a process."""

from __future__ import annotations

import sqlite3

import django
from django.conf import settings
from django.core.management import call_command
from django.test.utils import setup_test_environment


class Forgotten(sqlite3.Connection):
    """A connection of Django's, of which each thread has one to a database in memory, that Django never closes."""

    def __del__(self) -> None:
        self.close()


if not settings.configured:
    settings.configure(
        SECRET_KEY="for tests only",
        ALLOWED_HOSTS=["testserver"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": "file:django?mode=memory&cache=shared",
                "OPTIONS": {"factory": Forgotten},
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        USE_TZ=True,
        INSTALLED_APPS=[
            "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages",
            "django.contrib.sessions", "session_tokens.web.django",
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
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        SESSION_ENGINE="session_tokens.web.django",
        SESSION_TOKENS_STORE="memory://",
    )  # fmt: skip
    django.setup()
    setup_test_environment()
    call_command("migrate", verbosity=0, run_syncdb=True)
