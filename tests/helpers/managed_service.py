"""A service as a service manager starts it, with sockets and variables handed over."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.project import ROOT

HANDED_OVER = """
import json, os, sys
files = json.loads(sys.argv[1])
for place, file in enumerate(files):
    os.dup2(file, 100 + place)
for place in range(len(files)):
    os.dup2(100 + place, 3 + place, inheritable=True)
    os.close(100 + place)
os.environ.update(json.loads(sys.argv[2]))
if files:
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(files)))
os.execv(sys.executable, [sys.executable, "-m", "session_tokens.cli.main", "serve", *sys.argv[3:]])
"""


class Managed:
    """``session-tokens serve`` as a service manager starts it.

    Attributes:
        lines: what it announced.
    """

    def __init__(
        self,
        log: Path,
        *arguments: str,
        sockets: Sequence[socket.socket] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        files = [one.fileno() for one in sockets]
        words = [sys.executable, "-c", HANDED_OVER, json.dumps(files), json.dumps(environment or {})]
        self.log_path = log
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            [*words, *(arguments or ("--store", "memory://"))], cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=self._log, text=True, pass_fds=files,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if "Ctrl-C" in line:
                break

    @property
    def secret(self) -> str:
        """The first admin key's."""
        found = re.search(r"stk_\w+", "".join(self.lines))
        assert found is not None, self.log_path.read_text()
        return found[0]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()
        return code
