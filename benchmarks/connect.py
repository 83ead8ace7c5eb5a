"""Ask how much the client costs beside a bare request of the same HTTP library to the same address of the same service.

The service runs in a process of its own; both sides verify the same secret, one request after the other, in turns.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from session_tokens import SessionTokens

SERVE = "import sys; from session_tokens.service.serve import serve; serve(sys.argv[1], port=0)"
ROUNDS, EACH = 15, 200


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of this process for some requests, in seconds."""
    began_s = time.process_time()
    for _ in range(EACH):
        work()
    return time.process_time() - began_s


def wall(work: Callable[[], object]) -> float:
    """Return how long some requests take, in seconds."""
    began_s = time.perf_counter()
    for _ in range(EACH):
        work()
    return time.perf_counter() - began_s


def compared(url: str, key: str) -> dict[str, float]:
    """Return the ratios of a bare request to the client: of processor time here, and of the time that passes."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with SessionTokens.connect(url, key=key) as st, httpx2.Client(base_url=url, headers=headers) as http:
        secret = st.open_session("ann", max_age=None).secret
        body = json.dumps({"secret": secret, "touch": True}).encode()

        def bare() -> object:
            return http.post("/v1/verify", content=body).json()

        def ours() -> object:
            return st.verify_session(secret)

        assert bare() and ours()
        cpu, time_ratio = [], []
        for _ in range(ROUNDS):
            cpu.append(seconds(bare) / seconds(ours))
            time_ratio.append(wall(bare) / wall(ours))
    return {"processor": statistics.median(cpu), "time": statistics.median(time_ratio)}


@contextmanager
def running_service() -> Iterator[tuple[str, str]]:
    """Yield the address of a service of this run, and its admin key."""
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{Path(folder) / 's.db'}"
        service = subprocess.Popen(
            [sys.executable, "-c", SERVE, store], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert service.stdout is not None
        url = key = ""
        for line in service.stdout:
            words = line.split()
            url = next((word for word in words if word.startswith("http://")), url)
            key = next((word for word in words if word.startswith("stk_")), key)
            if "Ctrl-C" in line:
                break
        try:
            yield url.removesuffix("/console"), key
        finally:
            service.terminate()
            service.wait()


def main() -> None:
    """Start a service and print the ratios."""
    with running_service() as (url, key):
        ratios = compared(url, key)
    print(f"connect: {ratios['time']:.2f}x of a bare request (processor time here: {ratios['processor']:.2f}x)")


if __name__ == "__main__":
    main()
