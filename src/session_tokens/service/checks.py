"""What the service is told, judged before anything is opened: addresses, ports, files, names."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from ..errors import InvalidInput
from .binding import bare
from .service_manager import Sockets
from .unix_listener import PREFIX, path_of

StrPath = str | os.PathLike[str]

LOOPBACK = "127.0.0.1"
LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain"})
COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
PUBLIC_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?")

HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
HOST_AND_PORT = re.compile(rf"({HOST_NAME.pattern}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)(:[0-9]{{1,5}})?")


def is_loopback(host: str) -> bool:
    """Whether an address, or a Unix socket, is reached from this machine alone."""
    if path_of(host) is not None:
        return True
    try:
        return host.lower() in LOOPBACK_NAMES or ipaddress.ip_address(bare(host)).is_loopback
    except ValueError:
        return False


def _host_of(listening: socket.socket) -> str:
    """Return the address of a socket that was handed over; one that is no network's is this machine's own."""
    name = listening.getsockname()
    return str(name[0]) if listening.family in (socket.AF_INET, socket.AF_INET6) else LOOPBACK


def check_address(host: str, *, tls: bool, behind_proxy: bool) -> None:
    """Accept an address to listen on.

    Raises:
        InvalidInput: it can be reached from other machines, and there is neither TLS nor a proxy that speaks it.
    """
    if tls or behind_proxy or is_loopback(host):
        return
    raise InvalidInput(
        "that address may be reached from other machines, where secrets would travel in the clear; listen on "
        "127.0.0.1, give a TLS certificate, or say --behind-proxy when a proxy in front speaks TLS"
    )


def check_places(given: Sockets, host: str, console_host: str | None, *, tls: bool, behind_proxy: bool) -> bool:
    """Accept where to listen; return whether others than this machine reach the service.

    Args:
        given: sockets that were handed over, in place of ``host``.
        host: the service's address.
        console_host: the console's own.
        tls: whether TLS is spoken there.
        behind_proxy: whether a proxy speaks it.

    Raises:
        InvalidInput: see ``check_address``.
    """
    hosts = [_host_of(one) for one in given.service] or [host]
    consoles = [] if given.console is None else [_host_of(given.console)]
    for one in [*hosts, *consoles, console_host or LOOPBACK]:
        check_address(one, tls=tls, behind_proxy=behind_proxy)
    return behind_proxy or not all(map(is_loopback, hosts))


def check_tls(certificate: str | Path | None, key: str | Path | None) -> None:
    """Accept the files to speak TLS with.

    Raises:
        InvalidInput: a key without its certificate, or files that are not there or no good.
    """
    if certificate is None:
        if key is not None:
            raise InvalidInput("a TLS key without its certificate; give both")
        return
    try:
        for file in (certificate, key):
            if file is not None and not Path(file).is_file():
                raise InvalidInput(f"the TLS file {file} is not there; name a PEM file")
        load_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)
    except OSError as error:
        raise InvalidInput(f"the TLS files cannot be used: {error}") from None


def load_tls(context: ssl.SSLContext, certificate: StrPath, key: StrPath | None) -> None:
    """Have a context speak with this pair; nobody is asked for a passphrase.

    Raises:
        OSError: it is no good; the message says why, where OpenSSL does not.
    """
    asked: list[str] = []

    def passphrase() -> str:
        asked.append(PASSPHRASE)
        return ""

    try:
        context.load_cert_chain(certificate, key, password=passphrase)
    except OSError as error:
        said = asked[0] if asked else _TLS_ERRORS.get(getattr(error, "reason", None) or "")
        held_by = f"the file {certificate}" if key is None else f"one of the files {certificate} and {key}"
        if not isinstance(error, ssl.SSLError):
            said = f"{held_by} cannot be read: {error.strerror}"
        elif said is None:
            said = f"{held_by} does not hold what it should, a chain of certificates and its key in PEM ({error})"
        raise OSError(said) from None


PASSPHRASE = (
    "the key is under a passphrase, and nobody can be asked for it; write it out without one, for its owner alone: "
    "openssl pkey -in KEY -out NEW"
)
_TLS_ERRORS = {
    "KEY_VALUES_MISMATCH": "the key is not that of the certificate; give the two that belong together",
    "EE_KEY_TOO_SMALL": "the key is too short; make one of 2048 bits (RSA) or 256 (EC) at least",
    "CA_MD_TOO_WEAK": "the certificate is signed with a digest that is too weak; have it signed with SHA-256",
}


def check_hosts(allowed_hosts: Sequence[str], webhook_allow: Sequence[str]) -> None:
    """Accept the hosts that are answered, and those to which webhooks may lead.

    Raises:
        InvalidInput: one that no request and no webhook could ever name.
    """
    if not all(map(HOST_NAME.fullmatch, allowed_hosts)):
        raise InvalidInput(
            "an allowed host is a name or an address without scheme and port, such as tokens.example or [::1]"
        )
    if not all(map(HOST_AND_PORT.fullmatch, webhook_allow)):
        raise InvalidInput(
            "where webhooks may lead is a host with or without a port, such as app.internal:8443 or [::1]:8443"
        )


def check_names(session_cookie: str, public_url: str | None) -> None:
    """Accept the name of a cookie and the URL by which others reach the service.

    Raises:
        InvalidInput: they can be none.
    """
    if not COOKIE_NAME.fullmatch(session_cookie):
        raise InvalidInput("the name of a cookie is letters, digits and !#$%&'*+.^_`|~- only")
    if public_url is not None and not PUBLIC_URL.fullmatch(public_url):
        raise InvalidInput("a public URL is like https://tokens.example, without a slash at its end")


def check_ports(port: int, console_host: str | None, console_port: int | None) -> None:
    """Accept the ports of the service and of the console's own listener.

    Raises:
        InvalidInput: they are none, or the same.
    """
    _check_port(port)
    if console_port is None:
        if console_host is not None:
            raise InvalidInput("--console-host goes with --console-port")
        return
    _check_port(console_port)
    if console_host is not None and console_host.startswith(PREFIX):
        raise InvalidInput("the console's own listener takes an address and a port, no Unix socket")
    if console_port and console_port == port:
        raise InvalidInput("the console's own listener needs a port of its own")


def _check_port(port: int) -> None:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65_535:
        raise InvalidInput("a port is 0 to 65535; 0 takes a free one")
