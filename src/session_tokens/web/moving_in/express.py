"""The sessions of Node's express-session, and of @fastify/session: in Redis by connect-redis, in PostgreSQL.

Both stores keep the same JSON under the same id, which the cookie holds signed.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import unquote
from zoneinfo import available_timezones

from ...errors import InvalidInput, StoreUnavailable
from . import Former, OwnerOf, owner_in
from .plain import BYTES_MAX, Unreadable, json_object
from .redis import SID, RedisPeer
from .signed import Keys, keys_of

NOT_FIELDS = frozenset({"cookie"})
CONNECTIONS_MAX = 8
"""How many connections are open at once; each serves one user who moves in."""
TIMEOUT_S = 5


def id_in_cookie(value: str, keys: tuple[bytes, ...]) -> str | None:
    """Return the id in a cookie, percent-encoded or not, whose signature must be right; ``None``: it can be none."""
    value = unquote(value)
    if not value.isascii():
        return None
    if not value.startswith("s:"):
        return None
    id, _, signature = value[2:].rpartition(".")
    given = signature.encode("ascii", "replace")
    is_right = any(
        hmac.compare_digest(b64encode(hmac.digest(key, id.encode(), sha256)).rstrip(b"="), given) for key in keys
    )
    return id if is_right and SID.fullmatch(id) else None


def passports_user(fields: Mapping[str, Any]) -> object:
    """Return who is logged in by Passport."""
    passport = fields.get("passport")
    user = passport.get("user") if isinstance(passport, dict) else None
    return user if user is None or isinstance(user, str | int) else json.dumps(user, sort_keys=True)


class ExpressRedis(RedisPeer):
    """The sessions that express-session (or @fastify/session) keeps in Redis by connect-redis.

    When one ends, Redis alone knows: what ``cookie.expires`` says within is from the last change.

    Args:
        server: a URL, or a blocking client.
        secret: that of ``session({secret})``, or the list of them.
        owner: the field that says who is logged in, or a function of the fields; that of Passport if not given.
        prefix: of the store.
        cookie: ``name`` of ``session({name})``.
    """

    NOT_FIELDS = NOT_FIELDS

    def __init__(
        self,
        server: Any,
        *,
        secret: Keys,
        owner: OwnerOf = passports_user,
        prefix: str = "sess:",
        cookie: str = "connect.sid",
    ) -> None:
        super().__init__(server, prefix, owner, cookie)
        self._keys = keys_of(secret)

    def id_in(self, value: str) -> str | None:
        """Return the id in a cookie, whose signature must be right."""
        return id_in_cookie(value, self._keys)


class ExpressPostgres:
    """The sessions that express-session keeps in a table of PostgreSQL by connect-pg-simple.

    Each is read by a transaction that cannot write, on a connection of its own: nobody is read twice. A column without
    a time zone says when one ends, and so when that is depends on the zone of the connections that wrote it.

    Args:
        server: a URL (``postgresql://…``), or what else libpq takes.
        secret: that of ``session({secret})``, or the list of them.
        time_zone: ``TimeZone`` of the application's connections, such as ``"UTC"`` or ``"Europe/Vienna"``; ``SHOW
            TimeZone`` says it there. With another one, sessions end hours too early or too late.
        owner: the field that says who is logged in, or a function of the fields; that of Passport if not given.
        table, schema: ``tableName`` and ``schemaName`` of the store; without a schema, where ``search_path`` finds it.
        cookie: ``name`` of ``session({name})``.

    Raises:
        InvalidInput: no key, a time zone that is none, or psycopg is missing.
    """

    def __init__(
        self,
        server: str,
        *,
        secret: Keys,
        time_zone: str,
        owner: OwnerOf = passports_user,
        table: str = "session",
        schema: str | None = None,
        cookie: str = "connect.sid",
    ) -> None:
        try:
            import psycopg
            from psycopg import sql
        except ModuleNotFoundError:
            raise InvalidInput("no driver for it is installed; pip install session-tokens[postgres]") from None
        if not re.match(r"postgres(ql)?://|\w+ ?=", server):
            raise InvalidInput("the address of the other library's server begins with postgresql://")
        zones = available_timezones()
        if not time_zone or (zones and time_zone not in zones):
            raise InvalidInput(
                "time_zone is that of the application's connections, such as UTC or Europe/Vienna; SHOW TimeZone tells"
            )
        self.cookie = cookie
        self._driver, self._server = psycopg, server
        self._keys, self._owner = keys_of(secret), owner
        self._zone = time_zone
        self._table = sql.Identifier(*(name for name in (schema, table) if name is not None))
        self._one = sql.SQL(
            "SELECT sess::text, extract(epoch FROM expire AT TIME ZONE %s - clock_timestamp())::float8 FROM {}"
            " WHERE sid = %s AND isfinite(expire) AND length(sess::text) <= %s"
        ).format(self._table)
        self._turn = BoundedSemaphore(CONNECTIONS_MAX)

    def read(self, value: str) -> Former | None:
        """Return the session that a cookie names; ``None`` where there is none, or it holds nothing.

        Raises:
            StoreUnavailable: the server cannot be asked.
        """
        id = id_in_cookie(value, self._keys)
        return None if id is None else self.stored(id)

    def stored(self, id: str) -> Former | None:
        """Return the session of an id, as ``read``."""
        found = self._asked(self._one, (self._zone, id, BYTES_MAX))
        if not found:
            return None
        text, left_s = found[0]
        if left_s < 0.001:
            return None
        try:
            fields = json_object(text)
            fields = {name: field for name, field in fields.items() if name not in NOT_FIELDS}
            owner = owner_in(fields, self._owner)
        except Unreadable:
            return None
        if not fields:
            return None
        # Each request puts the end off; it is not one that would hold with us too.
        return Former(f"{type(self).__name__} {id}", fields, owner, None, left_s)

    def ids(self) -> list[str]:
        """Return the ids of all that is stored."""
        query = self._driver.sql.SQL("SELECT sid FROM {} ORDER BY sid").format(self._table)
        return [id for (id,) in self._asked(query, ())]

    def _asked(self, query: Any, values: tuple[str | int, ...]) -> list[tuple[Any, ...]]:
        unavailable = "the sessions of the library before cannot be read"
        if not self._turn.acquire(timeout=TIMEOUT_S):
            raise StoreUnavailable(f"{unavailable}: {CONNECTIONS_MAX} connections are busy; try again")
        try:
            with self._driver.connect(
                self._server, connect_timeout=TIMEOUT_S, application_name="session-tokens", prepare_threshold=None
            ) as connection:
                connection.read_only = True
                connection.execute(f"SET LOCAL statement_timeout = {TIMEOUT_S * 1_000}")
                found: list[tuple[Any, ...]] = connection.execute(query, values).fetchall()
                return found
        except self._driver.Error as error:
            raise StoreUnavailable(
                f"{unavailable} ({type(error).__name__}); try again, and where that stays so see to the user, password "
                "and database of its address, and whether that user may read the table"
            ) from error
        finally:
            self._turn.release()
