"""Another process on the same store, whose threads all want the same: a use of a token, an offer, or the next job.

Usage: ``python -m tests.helpers.races.taking COMMAND SUBJECT COUNT NAME``; it says ``ready``, waits for a line, and
answers what came of each thread: the id of what it got, ``None``, or the name of an error.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from session_tokens import SessionTokens, SessionTokensError
from session_tokens.stores.connect import open_store_now
from tests.helpers.races.field import ALL, PEPPER


def taker(st: SessionTokens, command: str, subject: str, name: str) -> Callable[[int], str]:
    """Return what one thread does."""
    if command == "claim":
        sessions = [st.open_session(f"{name} {number}").id for number in range(16)]

        def claim(number: int) -> str:
            issued = st.claim_next_token(session_key=sessions[number], tag=subject)
            return "None" if issued is None else issued.id

        return claim
    if command == "accept":
        return lambda number: st.accept_offer(subject, receiver=f"{name} {number}", price=5, currency="EUR").id
    return lambda number: f"left:{st.consume_token(subject).uses_left}"


def main() -> None:
    command, subject, count, name = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    st = SessionTokens(open_store_now(os.environ["RACE_URL"], pepper=PEPPER), ALL)
    take = taker(st, command, subject, name)
    barrier, outcomes = threading.Barrier(count), list[str]()

    def run(number: int) -> None:
        barrier.wait(30)
        try:
            outcomes.append(take(number))
        except SessionTokensError as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(" ".join(outcomes) + "\n")
    st.close()


if __name__ == "__main__":
    main()
