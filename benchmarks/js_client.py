"""Ask how much the JavaScript client costs beside a bare ``fetch`` to the same address of the same service, in Node.

The service runs in a process of its own; ``js_client.mjs`` verifies one secret on both sides, in turns.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from session_tokens import SessionTokens

from .connect import running_service

SCRIPT = Path(__file__).with_suffix(".mjs")


def main() -> None:
    """Start a service and print the ratios."""
    with running_service() as (url, key):
        with SessionTokens.connect(url, key=key) as st:
            secret = st.open_session("ann", max_age=None).secret
        told = subprocess.run(
            ["node", str(SCRIPT), url, key, secret],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
    for name, ratio in json.loads(told.stdout).items():
        print(f"a bare fetch's {name} / verifySession's: {ratio:.2f}")


if __name__ == "__main__":
    main()
