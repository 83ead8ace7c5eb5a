"""Flask's own tests of sessions, and Flask-Login's own tests, with our sessions in the place of theirs.

Each runs from its sdist in an environment of its own, on a store in memory, as ``run_suites`` says.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
OUTCOME = re.compile(r"^(?P<outcome>PASSED|FAILED|ERROR) \S+::(?P<name>[\w\[\]-]+)", re.MULTILINE)

SWAPPED = """
import flask

from session_tokens.web.flask import SessionTokensInterface

flask.Flask.session_interface = SessionTokensInterface("memory://")
"""
LOGIN_SWAPPED = (
    SWAPPED
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

BUILDS = ("setuptools", "wheel", "flit_core")
"""What their sdists are looked into with."""
SIGNED = "asks that sessions need, and change with, a SECRET_KEY"
SECOND_COOKIE = "looks for the second cookie, which is not there"


class Suite(NamedTuple):
    """A suite of another project.

    Attributes:
        package: the package whose sdist has it, as pip is asked for it.
        needs: what it needs beside.
        plugin: what puts ours in the place of theirs.
        chosen: the words by which its tests are chosen.
        cannot: the tests that cannot pass, and why.
    """

    package: str
    needs: tuple[str, ...]
    plugin: str
    chosen: tuple[str, ...]
    cannot: dict[str, str]


SUITES = (
    Suite(
        "flask>=3.1,<3.2",
        ("pytest<9",),
        SWAPPED,
        ("-k", "session or cookie or vary or flash"),
        dict.fromkeys(
            (
                "test_missing_session",
                "test_session_secret_key_fallbacks",
                "test_session_transactions_no_null_sessions",
            ),
            SIGNED,
        ),
    ),
    Suite(
        "Flask-Login>=0.6.3,<0.7",
        ("pytest<9", "flask>=3.1,<3.2", "asgiref", "semantic_version"),
        LOGIN_SWAPPED,
        (),
        dict.fromkeys(
            (
                "test_confirm_login",
                "test_fresh_login_required_decorator",
                "test_remember_me",
                "test_remember_me_accepts_duration_as_int",
                "test_remember_me_custom_duration",
                "test_remember_me_custom_duration_uses_custom_cookie",
                "test_remember_me_is_unfresh",
                "test_remember_me_no_refresh_every_request",
                "test_remember_me_refresh_each_request",
                "test_remember_me_uses_custom_cookie_parameters",
                "test_remember_me_user_id",
                "test_remember_me_username",
                "test_user_loaded_from_cookie_fired",
            ),
            SECOND_COOKIE,
        ),
    ),
)


def outcomes(folder: Path) -> Iterator[tuple[str, int, frozenset[str], dict[str, str]]]:
    """Run the suites; yield of each its name, how many tests it ran, which failed, and which cannot pass and why."""
    for number, suite in enumerate(SUITES):
        place = folder / f"flask-{number}"
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        python = str(place / "bin" / "python")
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", suite.package, *suite.needs, *BUILDS], check=True)
        fetch = ("download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--dest")
        subprocess.run([*pip, *fetch, str(place / "sdist"), suite.package], check=True)
        (sdist,) = (place / "sdist").glob("*.tar.gz")
        with tarfile.open(sdist) as packed:
            packed.extractall(place, filter="data")
        unpacked = place / sdist.name.removesuffix(".tar.gz")
        (place / "swapped.py").write_text(suite.plugin)
        done = subprocess.run(
            [python, "-m", "pytest", "-rpfE", "-q", "-W", "ignore", "-p", "swapped", *suite.chosen, "tests"],
            check=False,
            cwd=unpacked,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{place}"},
            capture_output=True,
            text=True,
        )
        found = [(match["outcome"], match["name"]) for match in OUTCOME.finditer(done.stdout)]
        if not found:
            print(done.stdout[-2000:] + done.stderr[-2000:])
        failed = frozenset(name for outcome, name in found if outcome != "PASSED")
        yield sdist.name.removesuffix(".tar.gz"), len(found), failed, suite.cannot
