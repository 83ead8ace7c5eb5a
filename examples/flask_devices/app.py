"""Your devices: a Flask site with Flask-Login, where every log-in can be seen and ended from every other one.

Run it with ``make example NAME=flask_devices`` and open it in two browsers: count, log in with both, end one from the
other, and see what "Remember me" leaves when a browser is closed.
It needs ``pip install "session-tokens[flask-login]"``.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Any

from flask import Flask, flash, redirect, render_template, request, session, url_for
from flask_login import (  # type: ignore[import-untyped]  # it brings no types
    UserMixin,
    current_user,
    fresh_login_required,
    login_required,
    login_user,
    logout_user,
)
from jinja2 import FileSystemLoader
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.wrappers import Response

from session_tokens.web.flask import SessionTokensInterface, api_of, current_session, logout_everywhere
from session_tokens.web.flask_login import SessionTokensLogin

HERE = Path(__file__).parent
PASSWORDS = {name: generate_password_hash(name) for name in ("alice", "bob")}
"""Who may log in, and with what; a real site asks its database."""


class User(UserMixin):  # type: ignore[misc]  # Flask-Login brings no types
    """Somebody who may log in."""

    def __init__(self, name: str) -> None:
        self.id = name


def create_app(store: str = "sqlite:///devices.db") -> Flask:
    """Make the site; its sessions are kept in ``store``."""
    app = Flask(__name__)
    app.jinja_loader = FileSystemLoader([HERE / "templates", HERE.parent / "shared"])
    app.config.update(SECRET_KEY=secrets.token_hex(), SESSION_COOKIE_SAMESITE="Lax")
    app.session_interface = SessionTokensInterface(store)
    manager = SessionTokensLogin(app).login_manager
    manager.login_view = manager.refresh_view = "log_in"
    manager.user_loader(lambda name: User(name) if name in PASSWORDS else None)

    @app.after_request
    def keep_pages_out_of_caches(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"  # going back after the log-out shows none of them again
        return response

    @app.get("/")
    def home() -> str:
        return render_template("home.html", visits=session.get("visits", 0))

    @app.post("/visit")
    def visit() -> Response:
        session["visits"] = session.get("visits", 0) + 1
        return redirect(url_for("home"))

    @app.route("/log-in", methods=["GET", "POST"])
    def log_in() -> Any:
        if request.method == "POST":
            name = request.form["name"]
            if name in PASSWORDS and check_password_hash(PASSWORDS[name], request.form["password"]):
                login_user(User(name), remember="remember" in request.form)
                return redirect(url_for("devices"))
            flash("That name and that password do not belong together.", "problem")
        return render_template("log_in.html")

    @app.post("/log-out")
    @login_required  # type: ignore[untyped-decorator]
    def log_out() -> Response:
        logout_user()
        flash("You have logged out of this device.")
        return redirect(url_for("home"))

    @app.get("/devices")
    @login_required  # type: ignore[untyped-decorator]
    def devices() -> str:
        return render_template(
            "devices.html", devices=api_of(app).list_sessions(current_user.id), here=current_session().id
        )

    @app.post("/devices/<id>/end")
    @fresh_login_required  # type: ignore[untyped-decorator]
    def end(id: str) -> Response:
        mine = {device.id for device in api_of(app).list_sessions(current_user.id, limit=500)}
        if id in mine:
            api_of(app).destroy_session(id)
            flash("That device is logged out.")
        return redirect(url_for("devices"))

    @app.post("/devices/end-others")
    @fresh_login_required  # type: ignore[untyped-decorator]
    def end_others() -> Response:
        flash(f"Other devices that are logged out now: {logout_everywhere(keep_current=True)}.")
        return redirect(url_for("devices"))

    return app


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    create_app(os.environ.get("SESSION_TOKENS_STORE", "sqlite:///devices.db")).run(port=port)
