"""One process of a race: told what to play with on its standard input, it writes its history into a file.

Usage: ``python -m tests.helpers.races.player SEED NUMBER FILE`` with the store's URL in ``RACE_URL`` and how many
moves each thread makes in ``RACE_MOVES``; then lines ``id=secret``, an empty line, and after its answer ``ready`` one
more to begin.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from pathlib import Path

from session_tokens import SessionTokens
from session_tokens.stores.connect import open_store_now
from tests.helpers.races.field import ALL, PEPPER
from tests.helpers.races.history import Recorder
from tests.helpers.races.play import Table, play, session_moves, token_moves

MOVES = int(os.environ.get("RACE_MOVES", "24"))


def main(seed: int, number: int, path: Path) -> None:
    table = Table()
    while line := sys.stdin.readline().strip():
        id, _, secret = line.partition("=")
        (table.tokens if id.startswith("tok_") else table.sessions)[id] = [secret]
    st = SessionTokens(open_store_now(os.environ["RACE_URL"], pepper=PEPPER), ALL)
    recorder = Recorder(f"process {number} ")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    threads = []
    for draw in (token_moves, session_moves):
        player = f"{number} {draw.__name__}"
        moves = draw(random.Random(f"{seed} {player}"), table, player)
        threads.append(threading.Thread(target=play, args=(st, recorder, table, moves, MOVES, player)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.save(path)
    st.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
