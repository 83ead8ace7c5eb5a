"""Why a Valkey or Redis server was not reached: found out when a store opens, where its driver does not say.

A client that speaks TLS to a port without it, or the other way round, waits or is cut off; a server that demands a
client certificate says so after the handshake, and mostly the connection is gone before anyone reads it. So the port is
spoken to once more, in the other way, and what it answers is put into words.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any

PATIENCE_S = 1.0

PLAIN = "the port speaks no TLS, and the store's URL asks for it; write valkey:// (valkey+…) there, or its TLS port"
ENCRYPTED = "the port speaks TLS, and the store's URL does not; write valkeys:// (valkeys+…) there, or its plain port"
CERTIFICATE = (
    "the server demands a client certificate, and the store's URL names {given}; name one that the server's authority "
    "signed, and its key: "
    "?ssl_certfile=FILE&ssl_keyfile=FILE"
)


def diagnosis(options: Mapping[str, Any], *, wants_tls: bool) -> str | None:
    """Return what is wrong with how a server is spoken to, ``None`` where nothing is found.

    Args:
        options: how the driver makes connections; only host, port and client certificate are used.
        wants_tls: whether it makes them over TLS.
    """
    host, port = options.get("host"), options.get("port")
    if not isinstance(host, str) or not isinstance(port, int):
        return None  # a socket of this machine
    try:
        if not wants_tls:
            return ENCRYPTED if _speaks_tls(host, port) else None
        if _speaks_plainly(host, port):
            return PLAIN
        given = options.get("ssl_certfile"), options.get("ssl_keyfile"), options.get("ssl_password")
        if _demands_certificate(host, port, *given):
            return CERTIFICATE.format(given="one that it does not take" if given[0] else "none")
    except (OSError, ValueError):
        return None
    return None


def _speaks_plainly(host: str, port: int) -> bool:
    with socket.create_connection((host, port), PATIENCE_S) as line:
        line.settimeout(PATIENCE_S)
        try:
            line.sendall(b"PING\r\n")
            return line.recv(16).startswith((b"+PONG", b"-NOAUTH", b"-DENIED", b"-NOPERM"))
        except OSError:
            return False


def _speaks_tls(host: str, port: int) -> bool:
    try:
        with _spoken_to(host, port):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # it wants a client certificate, or another version
    except OSError:
        return False


def _demands_certificate(host: str, port: int, certificate: str | None, key: str | None, password: str | None) -> bool:
    """Nothing is sent: who has sent something is cut off, and may lose what the server said of the handshake."""
    try:
        with _spoken_to(host, port, certificate, key, password) as line:
            line.recv(1)
    except TimeoutError:
        return False  # it waits for a command
    except ssl.SSLError as error:
        reason = error.reason or ""
        return "CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason or "UNKNOWN_CA" in reason
    return False


def _spoken_to(
    host: str, port: int, certificate: str | None = None, key: str | None = None, password: str | None = None
) -> ssl.SSLSocket:
    """Return a connection over TLS on which nothing secret is sent: whose certificate it is was checked before."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate, key, password or "")  # without one, OpenSSL would ask at the terminal
    line = socket.create_connection((host, port), PATIENCE_S)
    try:
        line.settimeout(PATIENCE_S)
        return context.wrap_socket(line)
    except BaseException:
        line.close()
        raise
