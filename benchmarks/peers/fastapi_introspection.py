"""A FastAPI application that introspects sessions kept as Django keeps them: a row each, with signed JSON in it.

Written as it is usually written, with what is quick for it chosen: SQLite is read inline (no hop to a thread), through
one connection in WAL mode, and the form is parsed without a further package.
"""

import base64
import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel

from benchmarks.sides.names import owner_name

SIGNING_KEY = b"benchmark"
DAY_S = 86_400


class Introspection(BaseModel):
    """What RFC 7662 answers."""

    active: bool
    sub: str | None = None
    exp: int | None = None
    iat: int | None = None
    token_type: str | None = None


def signed(data: dict[str, object]) -> str:
    """Write session data as Django does: JSON in base64 with an HMAC behind it."""
    text = base64.urlsafe_b64encode(json.dumps(data).encode()).decode()
    return f"{text}:{hmac.digest(SIGNING_KEY, text.encode(), 'sha256').hex()}"


def unsigned(text: str) -> dict[str, object]:
    """Read session data whose HMAC is right.

    Raises:
        ValueError: it is not.
    """
    encoded, _, signature = text.rpartition(":")
    expected = hmac.digest(SIGNING_KEY, encoded.encode(), "sha256").hex()
    if not hmac.compare_digest(signature, expected):
        raise ValueError("a wrong signature")
    data: dict[str, object] = json.loads(base64.urlsafe_b64decode(encoded))
    return data


def fill(database: Path, sessions: int) -> tuple[str, list[str]]:
    """Make the tables and fill them; answer the client's `Authorization` header and the sessions' keys."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(
        "CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, session_data text NOT NULL, "
        "expire_date datetime NOT NULL)"
    )
    connection.execute("CREATE TABLE client (id text PRIMARY KEY, digest text NOT NULL)")
    secret, keys, now_s = secrets.token_urlsafe(32), [secrets.token_hex(20) for _ in range(sessions)], int(time.time())
    connection.execute("INSERT INTO client VALUES ('client', ?)", (hashlib.sha256(secret.encode()).hexdigest(),))
    connection.executemany(
        "INSERT INTO django_session VALUES (?, ?, ?)",
        [
            (key, signed({"_auth_user_id": owner_name(number), "opened_at": now_s}), now_s + DAY_S)
            for number, key in enumerate(keys)
        ],
    )
    connection.commit()
    connection.close()
    return "Basic " + base64.b64encode(f"client:{secret}".encode()).decode(), keys


def application(database: str) -> FastAPI:
    """Make the application on a filled database."""
    app = FastAPI()
    connection = sqlite3.connect(database, check_same_thread=False)

    async def client(credentials: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> str:
        row = connection.execute("SELECT digest FROM client WHERE id = ?", (credentials.username,)).fetchone()
        digest = hashlib.sha256(credentials.password.encode()).hexdigest()
        if row is None or not hmac.compare_digest(row[0], digest):
            raise HTTPException(401, headers={"WWW-Authenticate": "Basic"})
        return credentials.username

    @app.post("/introspect", response_model_exclude_none=True)
    async def introspect(request: Request, client_id: Annotated[str, Depends(client)]) -> Introspection:
        form = parse_qs((await request.body()).decode("ascii"))
        row = connection.execute(
            "SELECT session_data, expire_date FROM django_session WHERE session_key = ? AND expire_date > ?",
            (form["token"][0], int(time.time())),
        ).fetchone()
        if row is None:
            return Introspection(active=False)
        data = unsigned(row[0])
        return Introspection(
            active=True,
            sub=str(data["_auth_user_id"]),
            exp=row[1],
            iat=int(str(data["opened_at"])),
            token_type="Bearer",
        )

    return app
