"""Binds the address to listen on, and says in words why it cannot be bound."""

from __future__ import annotations

import errno
import socket


def bare(host: str) -> str:
    """Return an address without the brackets that URLs put around one of IPv6."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def bound_sockets(host: str, port: int, option: str) -> list[socket.socket]:
    """Return a listening socket for each address that a host has, on one port.

    Args:
        port: 0 for a free one.
        option: what the port was given by.

    Raises:
        OSError: the address cannot be had; the message says why and what to do.
    """
    made: list[socket.socket] = []
    host = bare(host)
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            listening = socket.socket(family, kind, protocol)
            made.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((address[0], port, *address[2:]))
            listening.listen()  # else another process could bind it too
            port = listening.getsockname()[1]  # a free one is the same for all of them
    except (OSError, UnicodeError) as error:  # the latter for a name that can be none
        for listening in made:
            listening.close()
        raise _explained(error, host, port, option) from None
    return made


def _explained(error: OSError | UnicodeError, host: str, port: int, option: str) -> OSError:
    """Return why an address cannot be listened on, and what to do about it, in place of the system's own words."""
    if isinstance(error, UnicodeError | socket.gaierror):
        return OSError(errno.EINVAL, f"the host {host} is no address of this machine and no name of one")
    if error.errno == errno.EADDRINUSE:
        text = (
            f"port {port} of {host} is in use; stop what listens there (ss -ltnp 'sport = :{port}' names it), or take "
            f"another port with {option} (0: a free one)"
        )
    elif error.errno == errno.EACCES:
        text = f"this user may not listen on port {port} of {host}; take one from 1024 on with {option}"
    elif error.errno == errno.EADDRNOTAVAIL:
        text = f"{host} is no address of this machine; name one that it has, such as 127.0.0.1"
    else:
        text = f"cannot listen on port {port} of {host}: {error.strerror or error}"
    return OSError(error.errno or errno.EINVAL, text)
