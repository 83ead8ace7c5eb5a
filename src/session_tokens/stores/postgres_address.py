"""The address of a PostgreSQL store: what of a URL is ours, what is the driver's, and where the tables are."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from ..errors import InvalidInput

DEFAULT_NAMESPACE = "session_tokens"
_NAMESPACE = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_SWITCH = {"on": True, "off": False}


class Address(NamedTuple):
    """Where a store is and how it is asked.

    Attributes:
        conninfo: the URL as the driver takes it; holds the password, so it is in no message.
        namespace: the name of the schema that holds the tables.
        timeout_s: seconds in which one round trip, and one connection, must be done.
        pool_size: connections at most.
        prepared: whether statements are prepared on the server.
    """

    conninfo: str
    namespace: str
    timeout_s: float
    pool_size: int
    prepared: bool

    @property
    def schema(self) -> str:
        """The schema's name as it stands in SQL."""
        return f'"{self.namespace}"'

    def __repr__(self) -> str:
        return f"Address(namespace={self.namespace!r}, timeout_s={self.timeout_s}, conninfo=<hidden>)"


def address_of(url: str, space: str = "") -> Address:
    """Answer the address in a URL ``postgresql://user@host:port/database?namespace=…&timeout=…``.

    Of the query, these are the store's: ``namespace`` (the schema; ``session_tokens``), ``timeout`` (seconds of one
    round trip; 1), ``pool_size`` (connections; 10), ``prepared`` (``on`` or ``off``; on). All else is the driver's.

    Args:
        url: as above; ``postgres://`` is the same.
        space: a name space of its own beside the main one, such as that of ``TokenTables``.

    Raises:
        InvalidInput: it is no such URL, or one of the store's own parameters can never be right.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidInput("the store's URL cannot be read; give postgresql://user@host:port/database") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise InvalidInput("a PostgreSQL store's URL begins with postgresql://")
    ours = {"namespace": DEFAULT_NAMESPACE, "timeout": "1", "pool_size": "10", "prepared": "on"}
    theirs = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in ours:
            ours[name] = value
        elif name != "client_encoding":  # all text is UTF-8, here and there
            theirs.append((name, value))
    namespace = f"{ours['namespace']}_{space}" if space else ours["namespace"]
    if not _NAMESPACE.fullmatch(namespace) or namespace.startswith("pg_"):
        raise InvalidInput("namespace is 1 to 40 lower-case letters, digits and '_', no digit first, not pg_…")
    if ours["prepared"] not in _SWITCH:
        raise InvalidInput("prepared is on or off")
    theirs += [("client_encoding", "utf8"), ("fallback_application_name", "session-tokens")]
    return Address(
        # Not by urlunsplit, which leaves out the slashes where no host is named.
        conninfo=f"postgresql://{parts.netloc}{parts.path}?{urlencode(theirs)}",
        namespace=namespace,
        timeout_s=_number("timeout", ours["timeout"], 0.01, 3600),
        pool_size=int(_number("pool_size", ours["pool_size"], 1, 1000)),
        prepared=_SWITCH[ours["prepared"]],
    )


def _number(name: str, text: str, least: float, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise InvalidInput(f"{name} is a number from {least:g} to {most:g}")
    return number
