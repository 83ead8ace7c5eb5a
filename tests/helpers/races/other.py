"""Another process on the same store, for races.

Usage: ``python -m tests.helpers.races.other`` does each command on its standard input and answers it on a line;
``python -m tests.helpers.races.other TOKEN COUNT NAME`` has COUNT threads transfer a token of ann at once.
"""

from __future__ import annotations

import os
import sys
import threading

from session_tokens import SessionTokens, SessionTokensError
from session_tokens.stores.connect import open_store_now
from tests.helpers.races.field import ALL, PEPPER


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def obey(st: SessionTokens) -> None:
    for line in sys.stdin:
        command, *arguments = line.split()
        try:
            say(bool(getattr(st, command)(*arguments)))
        except SessionTokensError as error:
            say(type(error).__name__)


def transfer_at_once(st: SessionTokens, token: str, count: int, name: str) -> None:
    barrier = threading.Barrier(count)

    def transfer(number: int) -> None:
        barrier.wait(30)
        try:
            answer: object = st.transfer_token(token, giver="ann", receiver=f"{name} {number}")
        except SessionTokensError as error:
            answer = error
        outcomes.append(type(answer).__name__)

    outcomes: list[str] = []
    threads = [threading.Thread(target=transfer, args=(number,)) for number in range(count)]
    say("ready")
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(" ".join(outcomes))


def main() -> None:
    st = SessionTokens(open_store_now(os.environ["RACE_URL"], pepper=PEPPER), ALL)
    if len(sys.argv) == 1:
        obey(st)
    else:
        transfer_at_once(st, sys.argv[1], int(sys.argv[2]), sys.argv[3])
    st.close()


if __name__ == "__main__":
    main()
