"""What a service manager such as systemd hands to a service, and gets from it: sockets, readiness, signs of life.

``sd_listen_fds(3)``: sockets that it listens on already come as open files, so that nobody is refused while the service
starts. ``sd_notify(3)``: datagrams say when the service is ready, reloads and stops, and that its loop still turns.
``JOURNAL_STREAM``: whether what is printed is kept in the journal, where no secret belongs.
Without a manager all of this is silent.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Final, NamedTuple

from ..errors import InvalidInput

log = logging.getLogger("session_tokens.service")

STANDARD_OUTPUT: Final = 1
FIRST_FILE: Final = 3
SOCKETS_MAX: Final = 16
CONSOLE_NAME: Final = "console"
"""``FileDescriptorName=`` of the socket that is for the console."""


class Sockets(NamedTuple):
    """Listening sockets that were handed over.

    Attributes:
        service: for the service.
        console: for the console's own listener, if one bears its name.
    """

    service: list[socket.socket]
    console: socket.socket | None


def sockets_given(environment: MutableMapping[str, str] = os.environ) -> Sockets:
    """Take the sockets that were handed to this process; their variables are removed, so that no child takes them too.

    Raises:
        InvalidInput: what was handed over is no listening stream socket, or two are for the console; or it is not
            said how many there are.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return Sockets([], None)
    count = _number_in(environment, "LISTEN_FDS")
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    for variable in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environment.pop(variable, None)
    if count > SOCKETS_MAX:
        raise InvalidInput(f"the service manager hands over {count} sockets; at most {SOCKETS_MAX} are taken")
    service: list[socket.socket] = []
    console: list[socket.socket] = []
    for number in range(count):
        taken = _listening(FIRST_FILE + number)
        (console if number < len(names) and names[number] == CONSOLE_NAME else service).append(taken)
    if len(console) > 1 or (console and not service):
        raise InvalidInput("the service manager hands over one socket named console at most, and one for the service")
    return Sockets(service, console[0] if console else None)


def _number_in(environment: Mapping[str, str], name: str) -> int:
    """Return the number that a service manager gives by a variable; 0 where it is not there, or empty.

    Raises:
        InvalidInput: it is no number.
    """
    text = environment.get(name, "") or "0"
    if not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"{name} is a number, as a service manager gives it; take it out, or mend who sets it")
    return int(text)


def _listening(file: int) -> socket.socket:
    try:
        os.set_inheritable(file, False)
        taken = socket.socket(fileno=file)
        if taken.type == socket.SOCK_STREAM and taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return taken
    except OSError:
        pass
    raise InvalidInput(
        f"file {file} from the service manager is no listening stream socket; use ListenStream= and Accept=no"
    )


def is_journal(file: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether what is written to an open file goes to systemd's journal.

    ``JOURNAL_STREAM`` (systemd.exec(5)) has the device and inode of the stream; a variable that was inherited while
    standard output leads elsewhere does not match.
    """
    try:
        status = os.fstat(file)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class ServiceManager:
    """Reports to the manager how the service is; does nothing where there is none.

    Args:
        environment: with ``NOTIFY_SOCKET`` where a manager wants reports, and ``WATCHDOG_USEC`` where it wants signs
            of life.

    Raises:
        InvalidInput: ``WATCHDOG_USEC`` is no number.

    Attributes:
        alive_every_s: how often it expects a sign of life; ``None`` for never.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = address if address.startswith(("/", "@")) else ""
        self._failed = False
        self.alive_every_s: float | None = None
        is_ours = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        if self._address and is_ours:
            self.alive_every_s = _number_in(environment, "WATCHDOG_USEC") / 2_000_000 or None

    def is_ready(self, status: str) -> None:
        """Say that the service answers; ``status`` is shown by ``systemctl status``."""
        self._tell(f"READY=1\nSTATUS={status}")

    def is_reloading(self) -> None:
        """Say that the service reads its files again; ``is_ready`` ends that."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def is_stopping(self) -> None:
        """Say that the service stops."""
        self._tell("STOPPING=1\nSTATUS=finishing requests under way")

    def is_alive(self) -> None:
        """Say that the loop still turns."""
        self._tell("WATCHDOG=1")

    def _tell(self, words: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is one of Linux's own name space, which no file stands for.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_manager:
                to_manager.setblocking(False)
                to_manager.sendto(words.encode("utf-8"), address)
        except OSError as error:
            if not self._failed:
                log.warning("the service manager could not be notified: %s", error.strerror or type(error).__name__)
            self._failed = True
