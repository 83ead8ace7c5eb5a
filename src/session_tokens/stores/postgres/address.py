"""The address of a PostgreSQL store: what of a URL is ours, what is the driver's, and where the tables are."""

from __future__ import annotations

import re
from typing import NamedTuple

from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from ...errors import InvalidInput
from ..common.store_url import StoreURL, insist_on_host_and_port, name_space_in_sql, store_url_of

DEFAULT_NAMESPACE = "session_tokens"
NAMESPACE_MAX = 40
_SWITCH = {"on": True, "off": False}
_DEFAULTS = {
    "namespace": DEFAULT_NAMESPACE, "timeout": "", "pool_size": "", "prepared": "on", "durability": "server",
    "replicas": "",
}  # fmt: skip
"""The store's own options."""
_DURABILITY = ("server", "replicated")
REPLICAS_MAX = 100
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_CHOICES: dict[str, tuple[str, ...]] = {
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "sslcertmode": ("disable", "allow", "require"),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
"""What libpq takes for its options (PostgreSQL 17, 34.1.2); it says so only when it connects, as if a server failed."""
_NUMBERS = (
    "connect_timeout", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout",
)  # fmt: skip
_NUMBER = re.compile(r"-?[0-9]{1,9}")


class Address(NamedTuple):
    """Where a store is and how it is asked.

    Attributes:
        conninfo: the address as the driver takes it; holds the password, so it is in no message.
        hosts: how many hosts are tried, one after the other.
        namespace: the name of the schema that holds the tables.
        timeout_s: seconds in which one round trip, and one connection, must be done.
        pool_size: connections at most.
        prepared: whether statements are prepared on the server.
        replicas: how many synchronous standbys must have a commit before it is answered; 0: as the server is set.
    """

    conninfo: str
    hosts: int
    namespace: str
    timeout_s: float
    pool_size: int
    prepared: bool
    replicas: int

    @property
    def schema(self) -> str:
        """The schema's name as it stands in SQL."""
        return f'"{self.namespace}"'

    def __repr__(self) -> str:
        return f"Address(namespace={self.namespace!r}, timeout_s={self.timeout_s}, conninfo=<hidden>)"


def address_of(url: str, space: str = "") -> Address:
    """Return the address in a URL ``postgresql://user@host:port/database?namespace=…&timeout=…``.

    Of the query, these are the store's: ``namespace`` (the schema; ``session_tokens``), ``timeout`` (seconds of one
    round trip; 1), ``pool_size`` (connections; 10), ``prepared`` (``on`` or ``off``; on), ``durability`` (``server`` or
    ``replicated``; server) and with the latter ``replicas`` (standbys; 1). All else is the driver's.

    Args:
        url: as above; ``postgres://`` is the same.
        space: a name space of its own beside the main one, such as that of ``TokenTables``.

    Raises:
        InvalidInput: it is no such URL, or one of the store's own parameters can never be right.
    """
    named = store_url_of(url)
    if named.kind != "postgres":
        raise InvalidInput("a PostgreSQL store's URL begins with postgresql://")
    ours = {**_DEFAULTS}
    theirs = {name.keyword.decode("ascii") for name in Conninfo.get_defaults()} | {"ssl"}
    named.known_options(frozenset(theirs | set(ours)))
    ours.update((name, value) for name, value in named.options.items() if name in ours)
    namespace = name_space_in_sql(ours["namespace"], space, NAMESPACE_MAX)
    if namespace.startswith("pg_"):
        raise InvalidInput("namespace does not begin with pg_: so do schemas of PostgreSQL's own")
    if ours["prepared"] not in _SWITCH:
        raise InvalidInput("prepared is on or off")
    conninfo = _conninfo(named, {name: value for name, value in named.options.items() if name not in ours})
    return Address(
        conninfo=conninfo,
        hosts=len(named.options["host"].split(",")) if "host" in named.options else max(1, len(named.hosts)),
        namespace=namespace,
        timeout_s=named.number("timeout", 1, 0.01, 3600),
        pool_size=named.whole("pool_size", 10, 1, 1000),
        prepared=_SWITCH[ours["prepared"]],
        replicas=_replicas(named, ours["durability"]),
    )


def _replicas(named: StoreURL, durability: str) -> int:
    """Return how many standbys must have a commit."""
    if durability not in _DURABILITY:
        raise InvalidInput("the option durability of the store's URL is server (as PostgreSQL is set) or replicated")
    if durability == "replicated":
        return named.whole("replicas", 1, 1, REPLICAS_MAX)
    if "replicas" in named.options:
        raise InvalidInput("the option replicas of the store's URL goes with durability=replicated")
    return 0


def _check_options(options: dict[str, str]) -> None:
    """See that options of the driver's are what it can take.

    Raises:
        InvalidInput: one is not; its value is not repeated.
    """
    for name, value in options.items():
        known = _CHOICES.get(name)
        if known is not None and value not in known:
            raise InvalidInput(f"{name} in the store's URL is one of {', '.join(known)}")
        if name in _NUMBERS and not _NUMBER.fullmatch(value):
            raise InvalidInput(f"{name} in the store's URL is a whole number")


def _check_servers(hosts: str, ports: str) -> None:
    """See that hosts and ports can be such, and that one port is for all hosts or each has its own.

    Raises:
        InvalidInput: not so.
    """
    each_host, each_port = hosts.split(","), ports.split(",")
    if len(each_port) > 1 and len(each_port) != len(each_host):
        raise InvalidInput("port in the store's URL names one port for all hosts, or one for each")
    for host in each_host:
        insist_on_host_and_port(host, "")
    for port in each_port:
        insist_on_host_and_port("", port)


def _conninfo(named: StoreURL, options: dict[str, str]) -> str:
    """Return the address in the driver's own form; an option wins over what stands before the question mark."""
    if options.pop("ssl", None) == "true":  # as libpq reads the URLs of JDBC
        options.setdefault("sslmode", "require")
    words = {"user": named.user, "password": named.password, "dbname": named.path or None}
    if named.hosts:
        words["host"] = ",".join(host for host, _ in named.hosts)
        if any(port for _, port in named.hosts):
            words["port"] = ",".join(str(port or "") for _, port in named.hosts)
    words |= {"fallback_application_name": "session-tokens"} | options
    if "," in (words.get("host") or ""):
        # Of one host nothing is to be chosen, and a pooler may report to a new client what its server was long ago.
        words.setdefault("target_session_attrs", "primary")
    _check_options(options)
    _check_servers(words.get("host") or "", words.get("port") or "")
    words["client_encoding"] = "utf8"  # all text is UTF-8, here and there
    try:
        return make_conninfo(**{name: word for name, word in words.items() if word is not None})
    except ProgrammingError:  # its words would hold ours
        raise InvalidInput("the PostgreSQL driver does not take an option of the store's URL") from None
