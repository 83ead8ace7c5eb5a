"""Run other projects' own tests with our parts in the place of theirs; `make suites` runs this.

Their sdists are fetched by pip into a temporary folder, with an environment of its own for each: nothing of theirs is
kept here, and they never meet our tests. A suite passes if the only tests that fail are those listed here with the
reason why they cannot pass.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.helpers.servers.postgres import PostgresServer
from tools import flask_suites

ROOT = Path(__file__).resolve().parents[1]
PYTEST_FAILED = re.compile(r"^(?:FAILED|ERROR) ([^\[\s]+)", re.MULTILINE)
PYTEST_PASSED = re.compile(r"(\d+) passed")
FAILED = re.compile(r"^(?:ERROR|FAIL): \S+ \((?P<name>[\w.]+)\)", re.MULTILINE)
RAN = re.compile(r"^Ran (\d+) tests?", re.MULTILINE)

DJANGO_SETTINGS = """
import os

DATABASES = {name: {"ENGINE": "django.db.backends.sqlite3"} for name in ("default", "other")}
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
SESSION_ENGINE = "session_tokens.web.django"
SESSION_TOKENS_STORE = os.environ["SUITE_STORE"]
"""
DJANGO_MIXIN = """
from django.test import SimpleTestCase
from sessions_tests.tests import SessionTestsMixin

from session_tokens.web.django import SessionStore


class SessionTokensTests(SessionTestsMixin, SimpleTestCase):
    backend = SessionStore
"""
DJANGO_LABELS = (
    "sessions_tests", "auth_tests", "csrf_tests", "messages_tests", "test_client", "test_client_regress", "async",
)  # fmt: skip
CANNOT = {
    "sessions_tests.tests.SessionMiddlewareTests.test_empty_session_saved": "looks into the table of Django's engine",
    "auth_tests.test_middleware.TestLoginRequiredMiddleware.test_protected_view_logged_in_performance": (
        "expects a query for the session in Django's database"
    ),
    "tests/apps/headless/usersessions/test_activity.py::test_authentication_query_counts": "the same",
}
ALLAUTH_SETTINGS = """
from tests.projects.regular.settings import *

DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": "{port}",
    "NAME": "postgres", "USER": "postgres"}}}}
SESSION_ENGINE = "session_tokens.web.django"
SESSION_TOKENS_STORE = "memory://"
"""
ALLAUTH_EXTRAS = "mfa,socialaccount,headless,openid,saml,steam,headless-spec,idp-oidc"
ALLAUTH_NEEDS = (
    "Django>=5.2,<5.3", "psycopg[binary]", "pytest", "pytest-django", "pytest-asyncio", "Pillow", "django-ninja",
    "djangorestframework",
)  # fmt: skip
ALLAUTH_TESTS = (
    "tests/apps/usersessions",
    "tests/apps/headless/usersessions",
    "tests/apps/headless/account/test_session.py",
)

STARLETTE_THEIRS = "from starlette.middleware.sessions import Session, SessionMiddleware\n"
STARLETTE_OURS = """
import os

from starlette.middleware.sessions import Session

from session_tokens.web import asgi


def SessionMiddleware(app, secret_key, **options):
    options = {"max_age": 14 * 24 * 3600, "session_cookie": "session", **options}  # their defaults
    return asgi.SessionMiddleware(app, os.environ["SUITE_STORE"], secret_key=secret_key, **options)
"""


class Run(NamedTuple):
    """What one run of a suite came to."""

    name: str
    tests: int
    failed: frozenset[str]


def main() -> int:
    """Run every suite for which there is a Python; say what was run, and return how many did not pass."""
    runs: list[Run] = []
    cannot_pass = dict(CANNOT)
    with tempfile.TemporaryDirectory(prefix="suites-") as folder:
        for requirement, python in (("Django>=5.2,<5.3", sys.executable), ("Django>=6.1", _newer_python())):
            if python is None:
                print(f"suites: {requirement} left out: no Python 3.12 or newer here")
                continue
            runs += _django(Path(folder), requirement, python)
        for name, tests, failed, cannot in flask_suites.outcomes(Path(folder)):
            runs.append(Run(name, tests, failed - cannot.keys()))
            cannot_pass |= {f"{name} {test}": reason for test, reason in cannot.items()}
        runs += _starlette(Path(folder))
        runs.append(_allauth(Path(folder)))
    wrong = 0
    for run in runs:
        unexpected = sorted(run.failed - CANNOT.keys())
        wrong += bool(unexpected) or run.tests == 0
        print(f"suites: {run.name}: {run.tests} tests, {len(unexpected)} failed {' '.join(unexpected)}".rstrip())
    for name, reason in cannot_pass.items():
        print(f"suites: cannot pass: {name} ({reason})")
    return wrong


def _runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0


def _newer_python() -> str | None:
    """Return a Python that is new enough for the newest Django: on the path, or of pyenv."""
    for minor in ("3.13", "3.12"):
        folders = sorted(Path.home().glob(f".pyenv/versions/{minor}.*/bin"))
        for candidate in (shutil.which(f"python{minor}"), *(str(folder / "python") for folder in folders)):
            if candidate is not None and _runs(candidate):
                return candidate
    return None


def _fetched(environment: Path, python: str, name: str, *requirements: str) -> Path:
    """Make an environment with some packages, and return the folder of the unpacked sdist of the first."""
    subprocess.run([python, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *requirements], check=True)
    fetch = ["download", "--no-deps", "--no-binary", name, "--dest", str(environment / "sdist"), requirements[0]]
    subprocess.run([*pip, *fetch], check=True)
    (sdist,) = (environment / "sdist").glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(environment, filter="data")
    return environment / sdist.name.removesuffix(".tar.gz")


def _django(folder: Path, requirement: str, python: str) -> Iterator[Run]:
    environment = folder / f"django-{len(list(folder.iterdir()))}"
    unpacked = _fetched(environment, python, "Django", requirement)
    tests = unpacked / "tests"
    (tests / "suite_settings.py").write_text(DJANGO_SETTINGS)
    (tests / "session_tokens_tests").mkdir()
    (tests / "session_tokens_tests" / "__init__.py").write_text("")
    (tests / "session_tokens_tests" / "tests.py").write_text(DJANGO_MIXIN)
    ours = ("session_tokens_tests", "sessions_tests")  # the mixin needs the models beside it
    for store, labels in ((f"sqlite:///{environment / 'sessions.db'}", ours), ("memory://", (*ours, *DJANGO_LABELS))):
        words = ["runtests.py", "--settings=suite_settings", "--parallel=1", *dict.fromkeys(labels)]
        done = subprocess.run(
            [str(environment / "bin" / "python"), "-W", "ignore", *words],
            check=False,
            cwd=tests,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{tests}", "SUITE_STORE": store},
            capture_output=True,
            text=True,
        )
        ran = RAN.search(done.stderr)
        if ran is None:
            print(done.stderr[-2000:])
        name = f"{unpacked.name} on {store.partition(':')[0]}"
        yield Run(name, 0 if ran is None else int(ran[1]), frozenset(FAILED.findall(done.stderr)))


def _starlette(folder: Path) -> Iterator[Run]:
    """Run Starlette's tests of its session middleware; `test_session_tracks_modification` is of its own class alone."""
    environment = folder / "starlette"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "starlette", "itsdangerous", "httpx2", "pytest", "hatchling"], check=True)
    fetch = ["download", "--no-deps", "--no-build-isolation", "--no-binary", "starlette", "--dest"]
    subprocess.run([*pip, *fetch, str(environment / "sdist"), "starlette"], check=True)
    (sdist,) = (environment / "sdist").glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(environment, filter="data")
    name = sdist.name.removesuffix(".tar.gz")
    tests = environment / name / "tests" / "middleware" / "test_session.py"
    text = tests.read_text()
    assert STARLETTE_THEIRS in text
    tests.write_text(text.replace(STARLETTE_THEIRS, STARLETTE_OURS))
    for store in ("memory://", f"sqlite:///{environment / 'sessions.db'}"):
        done = subprocess.run(
            [python, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", ".", "-W", "ignore", "-rfE", str(tests)],
            check=False,
            cwd=environment / name,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "SUITE_STORE": store},
            capture_output=True,
            text=True,
        )
        passed = re.search(r"(\d+) passed", done.stdout)
        failed = frozenset(re.findall(r"^(?:FAILED|ERROR) \S+?::(\S+)", done.stdout, re.MULTILINE))
        if passed is None:
            print((done.stdout + done.stderr)[-2000:])
        yield Run(f"{name} on {store.partition(':')[0]}", 0 if passed is None else int(passed[1]), failed)


def _allauth(folder: Path) -> Run:
    """Run allauth's tests of its list of sessions on PostgreSQL, whose columns hold no longer keys than they say."""
    environment = folder / "allauth"
    unpacked = _fetched(
        environment, sys.executable, "django-allauth", f"django-allauth[{ALLAUTH_EXTRAS}]", *ALLAUTH_NEEDS
    )
    with tempfile.TemporaryDirectory(prefix="suites-postgres-") as data:
        Path(data).chmod(0o755)  # the server runs as another user
        server = PostgresServer(Path(data) / "server")
        server.start()
        try:
            settings = unpacked / "tests" / "projects" / "regular" / "suite_settings.py"
            settings.write_text(ALLAUTH_SETTINGS.format(port=server.port))
            words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--ds=tests.projects.regular.suite_settings"]
            done = subprocess.run(
                [str(environment / "bin" / "python"), "-W", "ignore", *words, *ALLAUTH_TESTS],
                check=False,
                cwd=unpacked,
                env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{unpacked}"},
                capture_output=True,
                text=True,
            )
        finally:
            server.stop()
    passed = PYTEST_PASSED.search(done.stdout)
    if passed is None:
        print(done.stdout[-2000:], done.stderr[-2000:])
    return Run(
        f"{unpacked.name} with PostgreSQL",
        0 if passed is None else int(passed[1]),
        frozenset(PYTEST_FAILED.findall(done.stdout)),
    )


if __name__ == "__main__":
    sys.exit(main())
