"""Opens, rotates and ends sessions on a store that keeps events until killed; tells each that was acknowledged."""

from __future__ import annotations

import json
import os
import sys

from session_tokens import SessionTokens


def tell(kind: str, id: str) -> None:
    """Say that a change was acknowledged."""
    os.write(1, json.dumps([kind, id]).encode() + b"\n")


if __name__ == "__main__":
    with SessionTokens.open(sys.argv[1], pepper=bytes(range(32)), sweep=False) as tokens:
        while True:
            session = tokens.open_session("ann")
            tell("session_opened", session.id)
            tokens.rotate_session(session.id)
            tell("session_rotated", session.id)
            kept = tokens.open_session("ben")
            tell("session_opened", kept.id)
            tokens.destroy_session(session.id)
            tell("session_ended", session.id)
