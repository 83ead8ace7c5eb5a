"""The URL of a store, taken apart once for every kind of store. Its errors hold nothing of what was given.

``kind://user:password@host:port,host:port/path?option=value``, as RFC 3986 has it: ``%`` and two digits stand for a
byte, ``+`` for itself. In user, password, path and options ``%`` is written ``%25``, ``?`` ``%3F``, ``#`` ``%23``; in
user, password and options of a server's URL also ``/`` ``%2F`` and ``@`` ``%40``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from ...errors import InvalidInput
from ...validation import HOST_LENGTH_MAX, may_be_host

KINDS = {
    "memory": "memory", "sqlite": "sqlite", "valkey": "valkey", "valkeys": "valkey", "redis": "valkey",
    "rediss": "valkey", "valkey+unix": "valkey", "valkey+sentinel": "valkey", "valkeys+sentinel": "valkey",
    "redis+sentinel": "valkey", "rediss+sentinel": "valkey", "valkey+cluster": "valkey", "valkeys+cluster": "valkey",
    "redis+cluster": "valkey", "rediss+cluster": "valkey", "postgresql": "postgres", "postgres": "postgres",
    "mysql": "mysql", "mariadb": "mysql",
}  # fmt: skip
PORTS = {"valkey": 6379, "postgres": 5432, "mysql": 3306}
"""The kinds that are servers, and where they listen by default."""
SENTINEL_PORT = 26379
KNOWN = (
    "memory://, sqlite:///path, valkey://host:port/db, redis://host:port/db, valkey+sentinel://host,host/name, "
    "valkey+cluster://host,host, postgresql://host:port/name, mysql://host:port/name, mariadb://host:port/name"
)
ESCAPES = "write % as %25, ? as %3F, # as %23, and in user or password / as %2F and @ as %40"

TABLES_END = "_tt"
"""How the name spaces end in which ``TokenTables`` of SQL servers lie."""

NAME_BYTES_MAX = 220
PATH_BYTES_MAX = 480
"""How long the name of an SQLite file and its whole path may be: below what file systems (255) and SQLite (504) take,
because the names of the files beside it are longer."""

_NAME_SPACE = re.compile(r"[a-z_][a-z0-9_]*")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,30}")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]*\]|[^\[\]:@]*)(?::([0-9]{0,6}))?", re.ASCII)
_OPTION = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")  # what float() takes besides is written by mistake
_WHOLE = re.compile(r"[0-9]{1,9}")
_MONITORED = re.compile(r"[A-Za-z0-9._-]{1,200}")


@dataclass(frozen=True, slots=True)
class StoreURL:
    """What a URL names.

    Attributes:
        kind: ``memory``, ``sqlite``, ``valkey``, ``postgres`` or ``mysql``.
        scheme: as it is written, in lower case.
        user: ``None`` where none is named.
        password: ``None`` where none is given.
        hosts: of a server, each with its port, or ``None`` for the usual one; empty where none is named.
        path: what follows the first slash after the hosts; of ``valkey+unix`` with that slash.
        options: what follows the question mark.
    """

    kind: str
    scheme: str
    user: str | None
    password: str | None = field(repr=False)
    hosts: tuple[tuple[str, int | None], ...]
    path: str
    options: Mapping[str, str] = field(repr=False)

    def known_options(self, known: frozenset[str]) -> None:
        """Raise ``InvalidInput`` for an option that means nothing to this kind of store."""
        for name in self.options:
            if name not in known:
                raise InvalidInput(
                    f"the store's URL has the option {name}, which a {self.kind} store does not know; known: "
                    f"{', '.join(sorted(known))}"
                )

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """Return an option that is a number.

        Raises:
            InvalidInput: it is none, or out of bounds.
        """
        text = self.options.get(name)
        if text is not None and (not _NUMBER.fullmatch(text) or not least <= float(text) <= most):
            raise InvalidInput(f"{name} is a number from {least:g} to {most:g}")
        return default if text is None else float(text)

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """Return an option that is a whole number.

        Raises:
            InvalidInput: it is none, or out of bounds.
        """
        text = self.options.get(name)
        if text is not None and (not _WHOLE.fullmatch(text) or not least <= int(text) <= most):
            raise InvalidInput(f"{name} is a whole number from {least} to {most}")
        return default if text is None else int(text)

    @property
    def way(self) -> str:
        """How the server is found, as the scheme says behind a plus: ``unix``, ``sentinel``, ``cluster`` or nothing."""
        return self.scheme.partition("+")[2]

    @property
    def place(self) -> str:
        """What identifies a store: without users, passwords and time-outs."""
        if self.kind == "sqlite":
            return f"sqlite {Path(self.path).resolve()}"
        options, usual = self.options, SENTINEL_PORT if self.way == "sentinel" else PORTS.get(self.kind)
        hosts = self.hosts or ((options.get("host", ""), None),)
        servers = ",".join(f"{host.lower()}:{port or options.get('port') or usual}" for host, port in hosts)
        if self.kind == "valkey":
            name = options.get("db") or (self.path if not self.way else "") or "0"
            servers = self.path if self.way == "unix" else f"{servers}/{self.path}" if self.way else servers
        else:
            name = options.get("dbname") or self.path or self.user or ""
        return f"{self.kind} {servers} {name} {options.get('namespace', '')}"


def store_url_of(url: object) -> StoreURL:
    """Take a store's URL apart.

    Raises:
        TypeError: it is no ``str``.
        InvalidInput: no store can be named so. The message says what is wrong with which part, and holds no part of it.
    """
    if not isinstance(url, str):
        raise TypeError(f"a store's URL is a str, not {type(url).__name__}")
    scheme, colon, rest = url.partition("://")
    scheme = scheme.lower()
    if not colon or scheme not in KINDS:
        if colon and scheme in ("http", "https"):
            raise InvalidInput(
                f"{scheme}:// leads to a service, where SessionTokens.connect() goes; use one of {KNOWN}"
            )
        named = f"{scheme}://" if colon and _SCHEME.fullmatch(scheme) else "that URL"
        raise InvalidInput(f"no store is named by {named}; use one of {KNOWN}")
    kind = KINDS[scheme]
    _refuse_unwritable(url)
    before, question, query = rest.partition("?")
    authority, slash, path = before.partition("/")
    if kind in PORTS and ("@" in path or "@" in query):
        raise InvalidInput(f"an @ of the store's URL stands after its path began; {ESCAPES}")
    credentials, at, servers = authority.rpartition("@")
    user, has_password, password = credentials.partition(":")
    made = StoreURL(
        kind=kind,
        scheme=scheme,
        user=_plain(user) if user else None,
        password=_plain(password) if has_password else None,
        hosts=_hosts_of(servers) if servers else (),
        path=_plain(slash + path if scheme == "valkey+unix" else path),
        options=_options_of(query) if question else {},
    )
    _refuse_misplaced(made, bool(at))
    return made


def _refuse_unwritable(url: str) -> None:
    if not url.isprintable() or url != url.strip():
        raise InvalidInput("the store's URL holds line ends, control characters or blanks at its ends; take them out")
    if _PERCENT.search(url):
        raise InvalidInput("a % in the store's URL is not followed by two hexadecimal digits; write % as %25")
    if "#" in url:
        raise InvalidInput("the store's URL holds a #, after which nothing would count; write # as %23")


def _plain(text: str) -> str:
    """Return a part of a URL with its escapes undone."""
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidInput("an escape in the store's URL is not UTF-8") from None
    if any(ord(character) < 32 or ord(character) == 127 for character in plain):
        raise InvalidInput("the store's URL holds an escaped control character; take it out")
    return plain


def _hosts_of(text: str) -> tuple[tuple[str, int | None], ...]:
    hosts = []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        if match is None:
            raise InvalidInput(
                "a host of the store's URL is not written name, name:port or [IPv6]:port, the port a number; if that "
                f"is part of a password, {ESCAPES}"
            )
        host, port = match.groups()
        host = _plain(host.strip("[]"))
        insist_on_host_and_port(host, port or "")
        hosts.append((host, int(port) if port else None))
    return tuple(hosts)


def insist_on_host_and_port(host: str, port: str) -> None:
    """See that a host can be looked up, whether it is there or not, and that a port is one; either may be empty.

    Raises:
        InvalidInput: not so.
    """
    if port and not (_WHOLE.fullmatch(port) and 1 <= int(port) <= 65_535):
        raise InvalidInput("a port in the store's URL is a number from 1 to 65535")
    if host.startswith("/"):  # the folder of a socket
        return
    if not may_be_host(host):
        raise InvalidInput(
            "a host of the store's URL can be none: between its dots stand 1 to 63 characters, in all at most "
            f"{HOST_LENGTH_MAX}"
        )


def _options_of(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        name = _plain(name)
        if not equals or not _OPTION.fullmatch(name):
            raise InvalidInput(
                "an option of the store's URL is not written name=value; if its ? belongs to a path, user or password, "
                "write it %3F"
            )
        if name in options:
            raise InvalidInput("the store's URL has an option twice; give each once")
        options[name] = _plain(value)
    return options


def _refuse_misplaced(url: StoreURL, has_credentials: bool) -> None:
    named = bool(url.hosts) or has_credentials
    if url.kind == "memory" and (named or url.path or url.options):
        raise InvalidInput("memory:// takes no host, path or options")
    if url.kind == "sqlite":
        if named:
            raise InvalidInput(
                "sqlite:// takes three slashes before a relative path (sqlite:///file.db), four before /"
            )
        if not url.path or url.path == ":memory:":
            raise InvalidInput("sqlite:/// needs a path to a file; for a store in memory use memory://")
        _refuse_long_path(os.fsencode(os.path.abspath(url.path)))
    if url.kind == "valkey":
        _refuse_misplaced_of_valkey(url)


def _refuse_long_path(path: bytes) -> None:
    *folders, name = path.split(b"/")
    if len(path) > PATH_BYTES_MAX or len(name) > NAME_BYTES_MAX or any(len(folder) > 255 for folder in folders):
        raise InvalidInput(
            f"the path of an SQLite file is too long: at most {PATH_BYTES_MAX} bytes from the root on, of them "
            f"{NAME_BYTES_MAX} for the file's name"
        )


def _refuse_misplaced_of_valkey(url: StoreURL) -> None:
    if url.way == "unix":
        if url.hosts or url.path == "/":
            raise InvalidInput("valkey+unix:// takes the path of a socket (valkey+unix:///run/valkey.sock?db=0)")
        return
    if url.way and not all(host for host, _ in url.hosts or (("", None),)):
        raise InvalidInput(f"{url.scheme}:// takes one host or more ({url.scheme}://host:port,host:port)")
    if url.way == "sentinel":
        if not _MONITORED.fullmatch(url.path):
            raise InvalidInput(
                f"the path of a {url.scheme}:// URL is the name under which its Sentinels watch the primary "
                f"({url.scheme}://host:26379,host:26379/name)"
            )
    elif url.way == "cluster":
        if url.path not in ("", "0") or url.options.get("db", "0") != "0":
            raise InvalidInput("a cluster's databases are one; leave path and db out of the store's URL")
    elif len(url.hosts) > 1:
        raise InvalidInput(
            "valkey:// takes one host; name several Sentinels with valkey+sentinel://host,host/name, several nodes of "
            "a cluster with valkey+cluster://host,host"
        )
    elif url.path and not (url.path.isascii() and url.path.isdigit()):
        raise InvalidInput("the path of a Valkey store's URL is the number of its database, such as /0")
    elif url.path and url.options.get("db", url.path) != url.path:
        raise InvalidInput("path and db of the store's URL are the numbers of two databases; leave one out")


def name_space_in_sql(namespace: str, space: str, most: int) -> str:
    """Return what the tables of a name space are told apart by: a schema, or how their names begin.

    Args:
        namespace: as the URL says.
        space: a name space beside it; empty for itself.
        most: letters that it may have, so that there is room for the one beside it.

    Raises:
        InvalidInput: it can be none, or is that of another name space's ``TokenTables``.
    """
    if len(namespace) > most or not _NAME_SPACE.fullmatch(namespace):
        raise InvalidInput(f"namespace is 1 to {most} lower-case letters, digits and '_', no digit first")
    if namespace.endswith(TABLES_END):
        raise InvalidInput(f"namespace does not end with {TABLES_END}: so ends where the TokenTables of another lie")
    return f"{namespace}_{space}" if space else namespace
