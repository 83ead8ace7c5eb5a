"""Settings of the site; the lines for session-tokens stand first."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).parent

# --- session-tokens ---------------------------------------------------------------------------------------------------

SESSION_ENGINE = "session_tokens.web.django"
SESSION_TOKENS_STORE = os.environ.get("SESSION_TOKENS_STORE", "sqlite:///sessions.db")
SESSION_TOKENS = {"idle_timeout": 14 * 86_400, "max_age": 90 * 86_400}
INSTALLED_APPS = ["session_tokens.web.django"]  # notes which client logs in, and brings the page of devices
MIDDLEWARE = [
    "session_tokens.web.django.SessionMiddleware",  # in the place of Django's: only public ids reach other packages
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
ACCOUNT_AUTHENTICATED_LOGIN_REDIRECTS = False  # else who must log in again for recent_login_required is led in circles
RECENT_LOGIN_MINUTES = float(os.environ.get("RECENT_LOGIN_MINUTES", "10"))

# --- allauth ----------------------------------------------------------------------------------------------------------

INSTALLED_APPS += ["allauth", "allauth.account"]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "session_tokens:devices"
LOGOUT_REDIRECT_URL = "home"

# --- Django -----------------------------------------------------------------------------------------------------------

DEBUG = True
SECRET_KEY = os.environ.get("SECRET_KEY", "only for this example")
ROOT_URLCONF = "urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("USERS_DB", "users.db")}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
INSTALLED_APPS += ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages"]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [HERE / "templates", HERE.parent / "shared"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
