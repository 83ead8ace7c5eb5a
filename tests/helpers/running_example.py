"""An example in a process of its own, as its one command starts it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import httpx

ROOT = Path(__file__).parents[2]
READY_WITHIN_S = 60
SECRET = re.compile(r"\bst[sdk]_[0-9A-Za-z]{20,}")
"""What no page may show: the secret of a session, or of a service key."""


class RunningSite:
    """The site of an example on a free port of 127.0.0.1; use it as a context manager.

    Args:
        name: of the folder.
        folder: where its files go.
        environment: further variables, as ``SESSION_TOKENS_STORE``.
        examples: the folder that holds its own.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        examples: Path = ROOT / "examples",
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(examples / name / "app.py"), str(port)],
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> RunningSite:
        until_s = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                httpx.get(self.url)
                return self
            except httpx.TransportError:
                if self._process.poll() is not None or time.monotonic() > until_s:
                    self.__exit__(None, None, None)
                    raise AssertionError(f"the example did not start: {self._log.read_text()}") from None
                time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=READY_WITHIN_S)

    def browser(self, name: str) -> Visitor:
        """Return a browser that keeps its cookies and follows redirects."""
        return Visitor(base_url=self.url, headers={"User-Agent": name, "Origin": self.url}, follow_redirects=True)


class Visitor(httpx.Client):
    """A browser that no page shows a secret."""

    def send(self, request: httpx.Request, **options: object) -> httpx.Response:
        """Send a request."""
        response = super().send(request, **options)  # type: ignore[arg-type]  # they are passed on as they are
        assert SECRET.search(response.read().decode("utf-8", "replace")) is None, request.url
        return response
