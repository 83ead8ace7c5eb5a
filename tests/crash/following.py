"""Follows the events of a store under a name until it is killed; tells each event that it took."""

from __future__ import annotations

import json
import os
import sys

from session_tokens import SessionTokens

if __name__ == "__main__":
    with (
        SessionTokens.open(sys.argv[1], pepper=bytes(range(32)), sweep=False) as tokens,
        tokens.follow_events(name="crash") as follower,
    ):
        for event in follower:
            os.write(1, json.dumps(event.to_dict()).encode() + b"\n")
