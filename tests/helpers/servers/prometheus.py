"""A Prometheus of the tests' own, on a free port, that scrapes what its configuration names."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx

from tests.helpers.servers.ports import free_port
from tests.helpers.waiting import wait_until


class Prometheus:
    """Debian's Prometheus on a folder of its own.

    Args:
        configuration: its file.
        folder: for its data and its log.
    """

    def __init__(self, configuration: Path, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._log = (folder / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            [
                "prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        wait_until(self._is_ready)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, "Prometheus ended; its log says why"
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str, **query: str) -> Any:
        """Return the data of an answer of its API."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=query).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression has now, without those that are not a number."""
        found = self.get("query", query=expression)["result"]
        return [each for each in found if each["value"][1] != "NaN"]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(timeout=30)
        self._log.close()
