"""The address of a store in MariaDB or MySQL: its servers, who comes, over TLS or not, and how tables are called."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from ...errors import InvalidInput
from ..common.store_url import name_space_in_sql, store_url_of

DEFAULT_NAMESPACE = "session_tokens"
NAMESPACE_MAX = 39
"""Names of indexes have 64 letters at most, and begin with it."""
_OPTIONS = frozenset({"namespace", "timeout", "pool_size", "socket", "ssl_mode", "ssl_ca", "ssl_cert", "ssl_key"})
_MODES = ("disabled", "required", "verify_ca", "verify_identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a store is and how it is asked.

    Attributes:
        hosts: the servers with their ports, tried in their order; the first that takes writes is asked.
        socket: the path of a Unix socket in their place.
        user: who comes.
        password: theirs.
        database: the one that holds the tables.
        namespace: how the names of the tables begin.
        timeout_s: seconds in which one round trip, and one connection, must be done.
        pool_size: connections at most.
        tls: how it is encrypted and whose certificates are trusted; ``None`` in clear.
    """

    hosts: tuple[tuple[str, int], ...]
    socket: str | None
    user: str
    password: str = field(repr=False)
    database: str
    namespace: str
    timeout_s: float
    pool_size: int
    tls: ssl.SSLContext | None = field(repr=False)

    @property
    def table_prefix(self) -> str:
        """How the names of the tables begin, as they stand in SQL."""
        return f"{self.namespace}_"


def address_of(url: str, space: str = "") -> Address:
    """Return the address in a URL ``mysql://user:password@host:port/database?namespace=…&timeout=…``.

    Its options are ``namespace`` (how the tables' names begin; ``session_tokens``), ``timeout`` (seconds of one round
    trip; 1), ``pool_size`` (connections; 10), ``socket`` (a path), ``ssl_mode`` (``disabled``, ``required``,
    ``verify_ca``, ``verify_identity``: the words of MySQL's own programs), ``ssl_ca``, ``ssl_cert`` and ``ssl_key``
    (files in PEM).

    Args:
        url: as above; ``mariadb://`` is the same. Without a mode it is in clear; with an authority, the server's name
            is verified.
        space: a name space of its own beside the main one, such as that of ``TokenTables``.

    Raises:
        InvalidInput: it is no such URL, or an option can never be right.
    """
    named = store_url_of(url)
    if named.kind != "mysql":
        raise InvalidInput("the URL of a store in MariaDB or MySQL begins with mysql:// or mariadb://")
    named.known_options(_OPTIONS)
    options = named.options
    namespace = name_space_in_sql(options.get("namespace", DEFAULT_NAMESPACE), space, NAMESPACE_MAX)
    if not named.path or "/" in named.path:
        raise InvalidInput("the URL of a store in MariaDB or MySQL names a database: mysql://user@host:port/database")
    return Address(
        hosts=tuple((host or "localhost", port or 3306) for host, port in named.hosts) or (("localhost", 3306),),
        socket=options.get("socket"),
        user=named.user or "",
        password=named.password or "",
        database=named.path,
        namespace=namespace,
        timeout_s=named.number("timeout", 1, 0.01, 60),
        pool_size=named.whole("pool_size", 10, 1, 1000),
        tls=_tls(options.get("ssl_mode"), options.get("ssl_ca"), options.get("ssl_cert"), options.get("ssl_key")),
    )


def _tls(mode: str | None, ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext | None:
    if mode is None:
        mode = "verify_identity" if ca is not None else "required" if cert is not None else "disabled"
    if mode not in _MODES:
        raise InvalidInput(f"ssl_mode is one of {', '.join(_MODES)}")
    if mode == "disabled":
        if ca or cert or key:
            raise InvalidInput("ssl_mode is disabled, and files for TLS are named; take out one or the other")
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        context.check_hostname = mode == "verify_identity"
        if mode == "required":
            context.verify_mode = ssl.CERT_NONE
        if cert is not None:
            context.load_cert_chain(cert, key)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"a file for TLS of the store's URL cannot be used ({type(error).__name__}); ssl_ca, ssl_cert and ssl_key "
            "are files in PEM that this process may read"
        ) from None
    return context
