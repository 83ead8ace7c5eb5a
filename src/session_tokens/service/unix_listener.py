"""A listener on a Unix socket, as ``--host unix:/run/session-tokens/http.sock`` asks for."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..errors import InvalidInput

PREFIX: Final = "unix:"
PATH_BYTES_MAX: Final = 107
MODE: Final = 0o666
"""Who gets in is decided by the folder that the socket is in; on 127.0.0.1, too, everybody on the machine may ask."""


def path_of(host: str) -> Path | None:
    """Return the path in a host that names a Unix socket; ``None`` for any other host.

    Raises:
        InvalidInput: the path is relative, or longer than the system can name.
    """
    if not host.startswith(PREFIX):
        return None
    text = host.removeprefix(PREFIX)
    if not text.startswith("/") or text.endswith("/") or "\0" in text:
        raise InvalidInput("a Unix socket is named by its whole path, such as unix:/run/session-tokens/http.sock")
    if len(os.fsencode(text)) > PATH_BYTES_MAX:
        raise InvalidInput(f"the path of a Unix socket is at most {PATH_BYTES_MAX} bytes; take a shorter one")
    return Path(text)


class UnixListener:
    """A bound Unix socket and its file; a file that a killed process left behind is replaced.

    Args:
        path: where it is to be.

    Raises:
        InvalidInput: another process listens there, or something else is there, or it cannot be made there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _make_way(path)
            self.socket.bind(str(path))
            path.chmod(MODE)
            self.socket.listen()  # at once: a socket that refuses is taken for one that was left behind
            self._file = path.lstat()
        except OSError as error:
            self.socket.close()
            why = error.strerror or type(error).__name__
            raise InvalidInput(f"no socket can be made at {path}: {why}; make its folder, or name another") from None
        except InvalidInput:
            self.socket.close()
            raise

    def close(self) -> None:
        """Close the socket and remove its file, unless another process has put its own there; twice is the same."""
        self.socket.close()
        with suppress(OSError):
            present = self.path.lstat()
            if (present.st_dev, present.st_ino) == (self._file.st_dev, self._file.st_ino):
                self.path.unlink()


def _make_way(path: Path) -> None:
    """Remove a socket that nobody listens on any more."""
    try:
        present = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(present.st_mode):
        raise InvalidInput(f"{path} is there and is no socket; name another path, or move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # somebody listens and is busy
    raise InvalidInput(f"another process listens on {path}; stop it, or name another path")
