"""Django's own tests of sessions, and of what stands on them; and allauth's, of its list of sessions."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.helpers.servers.postgres import PostgresServer

from .running import WITNESS, Run, Suite, environment_of, run_counted, run_pytest, sdist_of

FAILED = re.compile(r"^(?:ERROR|FAIL): \S+ \((?P<name>[\w.]+)\)", re.MULTILINE)
RAN = re.compile(r"^Ran (\d+) tests?", re.MULTILINE)

SETTINGS = (
    WITNESS
    + """
DATABASES = {name: {"ENGINE": "django.db.backends.sqlite3"} for name in ("default", "other")}
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
SESSION_ENGINE = "session_tokens.web.django"
SESSION_TOKENS_STORE = os.environ["SUITE_STORE"]
"""
)
MIXIN = """
from django.test import SimpleTestCase
from sessions_tests.tests import SessionTestsMixin

from session_tokens.web.django import SessionStore


class SessionTokensTests(SessionTestsMixin, SimpleTestCase):
    backend = SessionStore
"""
OURS = ("session_tokens_tests", "sessions_tests")  # the mixin needs the models beside it
MORE = ("auth_tests", "csrf_tests", "messages_tests", "test_client", "test_client_regress", "async")
CANNOT = {
    "sessions_tests.tests.SessionMiddlewareTests.test_empty_session_saved": "looks into the table of Django's engine",
    "auth_tests.test_middleware.TestLoginRequiredMiddleware.test_protected_view_logged_in_performance": (
        "expects a query for the session in Django's database"
    ),
}
LATEST, SUPPORTED = "Django>=6.1", "Django>=5.2,<5.3"

ALLAUTH_SETTINGS = """
from tests.projects.regular.settings import *

DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": "{port}",
    "NAME": "postgres", "USER": "postgres"}}}}
SESSION_ENGINE = "session_tokens.web.django"
SESSION_TOKENS_STORE = "memory://"
"""
ALLAUTH_MIDDLEWARE = """
from suite_settings import *

MIDDLEWARE = ("session_tokens.web.django.SessionMiddleware", *MIDDLEWARE[1:])
"""
ALLAUTH = Suite(
    "its list of sessions with PostgreSQL",
    "django-allauth[mfa,socialaccount,headless,openid,saml,steam,headless-spec,idp-oidc]",
    (
        SUPPORTED, "psycopg[binary]", "pytest", "pytest-django", "pytest-asyncio", "Pillow", "django-ninja",
        "djangorestframework",
    ),
    "",
    (
        "--ds=suite_settings", "tests/apps/usersessions", "tests/apps/headless/usersessions",
        "tests/apps/headless/account/test_session.py",
    ),
    {"test_activity.py::test_authentication_query_counts": "expects a query for the session in Django's database"},
)  # fmt: skip

ALLAUTH_WITH_OURS = replace(
    ALLAUTH,
    name="log-ins with other services, with our middleware and PostgreSQL",
    chosen=(
        "--ds=suite_settings_with_ours", "tests/apps/socialaccount/internal", "tests/apps/socialaccount/test_login.py",
        "tests/apps/socialaccount/test_connect.py", "tests/apps/socialaccount/test_signup.py",
        *(f"tests/apps/socialaccount/providers/{name}" for name in ("dummy", "google", "openid_connect", "saml")),
        "tests/apps/headless/socialaccount", "tests/apps/headless/account/test_session.py",
    ),
    cannot={},
)  # fmt: skip


def run_django(place: Path, requirement: str, python: str, *, short: bool = False) -> Iterator[Run]:
    """Run Django's tests on a store in memory, and those of sessions alone on SQLite too."""
    inside = environment_of(place / "environment", python, requirement)
    unpacked = sdist_of(place / "sdist", requirement)
    tests = unpacked / "tests"
    (tests / "suite_settings.py").write_text(SETTINGS)
    (tests / "session_tokens_tests").mkdir(exist_ok=True)
    (tests / "session_tokens_tests" / "__init__.py").write_text("")
    (tests / "session_tokens_tests" / "tests.py").write_text(MIXIN)
    mixin = ("session_tokens_tests.tests.SessionTokensTests", "sessions_tests.tests.SessionMiddlewareTests")
    choices = {"memory": mixin} if short else {"sqlite": OURS, "memory": (*OURS, *MORE)}
    for store, labels in choices.items():
        for old in place.glob("sessions.db*"):
            old.unlink()
        url = "memory://" if store == "memory" else f"sqlite:///{place / 'sessions.db'}"
        words = ["-W", "ignore", "runtests.py", "--settings=suite_settings", "--parallel=1", *labels]
        output, opened = run_counted([inside, *words], tests, place, url, tests)
        ran = RAN.search(output)
        cannot = {
            name: reason for name, reason in CANNOT.items() if name.startswith(tuple(labels)) and _has(tests, name)
        }
        failed = frozenset(FAILED.findall(output))
        yield Run(f"{unpacked.name} on {store}", int(ran[1]) if ran else 0, failed, cannot, opened, output[-2000:])


def _has(tests: Path, name: str) -> bool:
    """Whether this version of Django has a test of that name: ``folder.module.Class.test``."""
    folder, module, _, test = name.split(".")
    return f"def {test}(" in (tests / folder / f"{module}.py").read_text()


def run_allauth(place: Path) -> list[Run]:
    """Run allauth's tests on PostgreSQL, whose columns hold no longer keys than they say."""
    with tempfile.TemporaryDirectory(prefix="suites-postgres-") as data:
        Path(data).chmod(0o755)  # the server runs as another user
        server = PostgresServer(Path(data) / "server")
        server.start()
        try:
            place.mkdir(parents=True, exist_ok=True)
            (place / "suite_settings.py").write_text(ALLAUTH_SETTINGS.format(port=server.port))
            (place / "suite_settings_with_ours.py").write_text(ALLAUTH_MIDDLEWARE)
            return [run for suite in (ALLAUTH, ALLAUTH_WITH_OURS) for run in run_pytest(suite, place)]
        finally:
            server.stop()
