"""The suites of pytest tests, what puts our sessions in the place of theirs, and which tests cannot pass."""

from __future__ import annotations

from .running import Suite

SIGNED = "asks that sessions need, and change with, a SECRET_KEY"
PUT_INTO_COOKIE = "puts what is in the session into the cookie, or reads it out of it"
SECOND_COOKIE = "looks for the second cookie, which is not there"

FLASK = """
import flask

from session_tokens.web.flask import SessionTokensInterface

flask.Flask.session_interface = SessionTokensInterface("memory://")
"""
FLASK_LOGIN = (
    FLASK
    + """
import flask_login

from session_tokens.web.flask_login import SessionTokensLogin

bind = flask_login.LoginManager.init_app


def init_app(self, app, add_context_processor=True):
    bind(self, app, add_context_processor)
    app.session_interface = SessionTokensInterface("memory://")
    SessionTokensLogin(app, login_manager=self)


flask_login.LoginManager.init_app = init_app
"""
)
STARLETTE = """
import starlette.middleware.sessions

from session_tokens.web import asgi


def SessionMiddleware(app, secret_key, **options):
    options = {"max_age": 14 * 24 * 3600, "session_cookie": "session", **options}  # their defaults
    return asgi.SessionMiddleware(app, os.environ["SUITE_STORE"], secret_key=secret_key, **options)


starlette.middleware.sessions.SessionMiddleware = SessionMiddleware
"""

AUTHLIB_CLIENTS = """
import starlette.requests

from session_tokens.web.session import WebSession

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.django_settings"

from django.conf import settings

settings.SESSION_ENGINE = "session_tokens.web.django"
settings.SESSION_TOKENS_STORE = "memory://"
begin = starlette.requests.Request.__init__


def __init__(self, scope, *arguments, **options):
    if scope.get("session") == {}:  # a new one, of a request without our middleware
        scope["session"] = WebSession()
    begin(self, scope, *arguments, **options)


starlette.requests.Request.__init__ = __init__
"""

QUART = """
import quart

from session_tokens.web.quart import QuartSessionTokensInterface

quart.Quart.session_interface = QuartSessionTokensInterface("memory://")
"""

AIOHTTP = """
import aiohttp_session

from session_tokens.web.aiohttp import SessionTokensStorage


def SimpleCookieStorage(**options):
    options = {"cookie_name": "AIOHTTP_SESSION", **{key: value for key, value in options.items() if value is not None}}
    options.pop("httponly", None)
    return SessionTokensStorage("memory://", **options)


aiohttp_session.SimpleCookieStorage = SimpleCookieStorage
"""

LITESTAR = """
import litestar.middleware.session.server_side as theirs

from session_tokens.web.litestar import SessionTokensBackend, SessionTokensConfig


class ServerSideSessionConfig(SessionTokensConfig):
    def __init__(self, **options):
        super().__init__(os.environ["SUITE_STORE"], **options)


theirs.ServerSideSessionConfig, theirs.ServerSideSessionBackend = ServerSideSessionConfig, SessionTokensBackend
"""

FLASK_OWN = Suite(
    "its sessions",
    "flask>=3.1,<3.2",
    ("pytest<9",),
    FLASK,
    ("-k", "session or cookie or vary or flash", "tests"),
    {
        "test_basic.py::test_missing_session": SIGNED,
        "test_basic.py::test_session_secret_key_fallbacks": SIGNED,
        "test_testing.py::test_session_transactions_no_null_sessions": SIGNED,
    },
    short=("-k", "session or cookie or vary or flash", "tests"),
)
QUART_OWN = Suite(
    "its sessions",
    "Quart==0.21.0",
    ("flask>=3.1,<3.2", "pytest<9", "pytest-asyncio", "hypothesis", "python-dotenv"),
    QUART,
    (
        "-c", "/dev/null", "--rootdir", ".", "-o", "asyncio_mode=auto",
        "-k", "session or cookie or vary or flash", "tests",
    ),
    repository=("https://github.com/pallets/quart", "0.21.0"),
)  # fmt: skip
LOGIN_OWN = Suite(
    "all of it",
    "Flask-Login>=0.6.3,<0.7",
    ("pytest<9", "flask>=3.1,<3.2", "asgiref", "semantic_version"),
    FLASK_LOGIN,
    cannot=dict.fromkeys(
        (
            "test_login.py::LoginTestCase::test_remember_me",
            "test_login.py::LoginTestCase::test_remember_me_accepts_duration_as_int",
            "test_login.py::LoginTestCase::test_remember_me_custom_duration",
            "test_login.py::LoginTestCase::test_remember_me_custom_duration_uses_custom_cookie",
            "test_login.py::LoginTestCase::test_remember_me_is_unfresh",
            "test_login.py::LoginTestCase::test_remember_me_no_refresh_every_request",
            "test_login.py::LoginTestCase::test_remember_me_refresh_each_request",
            "test_login.py::LoginTestCase::test_remember_me_uses_custom_cookie_parameters",
            "test_login.py::LoginTestCase::test_user_loaded_from_cookie_fired",
            "test_login.py::LoginTestCase::test_confirm_login",
            "test_login.py::LoginTestCase::test_fresh_login_required_decorator",
            "test_login.py::UnicodeCookieUserIDTestCase::test_remember_me_user_id",
            "test_login.py::UnicodeCookieUserIDTestCase::test_remember_me_username",
        ),
        SECOND_COOKIE,
    ),
    short=("tests",),
)
STARLETTE_OWN = Suite(
    "its session middleware",
    "starlette>=1",
    ("itsdangerous", "httpx2", "pytest", "hatchling"),
    STARLETTE,
    ("-c", "/dev/null", "--rootdir", ".", "tests/middleware/test_session.py"),
    short=("-c", "/dev/null", "--rootdir", ".", "tests/middleware/test_session.py"),
    stores=("memory", "sqlite"),
)

LITESTAR_OWN = Suite(
    "its session middleware",
    "litestar==2.24.0",
    (
        "pytest==8.3.4", "pytest-asyncio", "pytest-lazy-fixtures", "pytest-mock", "pytest-timeout", "time-machine<3",
        "asyncpg", "beautifulsoup4", "cryptography", "email-validator", "fsspec", "hypothesis", "jinja2", "psutil",
        "psycopg[binary]", "pydantic-extra-types", "pyjwt", "redis", "starlette", "structlog", "valkey",
    ),
    LITESTAR,
    (
        "-c", "/dev/null", "--rootdir", ".", "-o", "asyncio_mode=auto",
        "tests/unit/test_middleware/test_session/test_middleware.py",
        "tests/unit/test_middleware/test_session/test_integration.py", "tests/unit/test_security/test_session_auth.py",
    ),
    dict.fromkeys(
        ("test_middleware.py::test_session_id_correctness", "test_middleware.py::test_keep_session_id"),
        "wants the cookie to be what applications know the session by",
    ),
    repository=("https://github.com/litestar-org/litestar", "v2.24.0"),
)  # fmt: skip
SECURITY = Suite(
    "logging in and out",
    "Flask-Security>=5.9,<5.10",
    (
        "pytest<9", "Flask-Babel", "Babel", "Flask-Mail", "Flask-SQLAlchemy", "Flask-SQLAlchemy-Lite", "argon2-cffi",
        "authlib", "bcrypt", "cryptography", "freezegun", "mongoengine", "mongomock", "nh3", "peewee",
        "phonenumberslite", "qrcode", "requests", "sqlalchemy<2.1", "sqlalchemy-utils", "webauthn", "zxcvbn",
    ),
    FLASK_LOGIN,
    (
        "-c", "/dev/null", "--rootdir", ".", "tests/test_basic.py", "tests/test_changeable.py", "tests/test_csrf.py",
        "tests/test_recoverable.py", "tests/test_passwordless.py", "tests/test_tokens.py",
    ),
    {
        **dict.fromkeys(
            (
                "test_basic.py::test_remember_token",
                "test_basic.py::test_remember_fresh",
                "test_changeable.py::test_change_updates_remember",
                "test_csrf.py::test_remember_login_csrf_cookie",
            ),
            SECOND_COOKIE,
        ),
        **dict.fromkeys(
            ("test_changeable.py::test_change_invalidates_session", "test_csrf.py::test_login_csrf_json"),
            "reads what is in the session out of the cookie",
        ),
        "test_basic.py::test_no_cache_control": "wants nothing said to caches beside a new cookie",
    },
)  # fmt: skip
AUTHLIB = Suite(
    "its clients",
    "Authlib==1.7.2",
    (
        "pytest", "pytest-asyncio", "pytest-django",
        "flask>=3.1,<3.2", "Django>=5.2,<5.3", "starlette", "httpx", "requests", "cachelib",
        "cryptography", "itsdangerous", "python-multipart",
    ),
    FLASK + AUTHLIB_CLIENTS,
    (
        "-c", "/dev/null", "--rootdir", ".", "-o", "asyncio_mode=auto", "tests/clients/test_flask",
        "tests/clients/test_django", "tests/clients/test_starlette",
    ),
    repository=("https://github.com/authlib/authlib", "v1.7.2"),
)  # fmt: skip

AIOHTTP_OWN = Suite(
    "its storages of cookies",
    "aiohttp-session>=2.12,<2.13",
    ("pytest", "pytest-aiohttp", "pytest-asyncio", "aiomcache", "cryptography", "docker", "pynacl", "redis"),
    AIOHTTP,
    (
        "-c", "/dev/null", "--rootdir", ".", "-o", "asyncio_mode=auto", "tests/test_abstract_storage.py",
        "tests/test_cookie_storage.py", "tests/test_get_session.py", "tests/test_http_exception.py",
        "tests/test_path_domain.py", "tests/test_response_types.py", "tests/test_session_middleware.py",
    ),
    {
        "test_abstract_storage.py::test_max_age_also_returns_expires": "wants Expires beside Max-Age",
        "test_abstract_storage.py::test_max_age_session_reset": "wants Expires beside Max-Age, by its own clock",
        "test_cookie_storage.py::test_create_new_session": "wants its storage asked for what was changed alone",
        "test_cookie_storage.py::test_load_existing_session": PUT_INTO_COOKIE,
        **dict.fromkeys(
            (
                "test_cookie_storage.py::test_change_session",
                "test_cookie_storage.py::test_clear_cookie_on_session_invalidation",
                "test_path_domain.py::test_invalidate_with_same_path_domain",
                "test_path_domain.py::test_with_different_domain",
                "test_path_domain.py::test_with_different_path",
                "test_path_domain.py::test_with_same_path_domain",
            ),
            PUT_INTO_COOKIE,
        ),
    },
)  # fmt: skip

SUITES = (AIOHTTP_OWN, FLASK_OWN, QUART_OWN, LOGIN_OWN, STARLETTE_OWN, LITESTAR_OWN, SECURITY, AUTHLIB)
