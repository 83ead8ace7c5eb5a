"""Works on jobs, in a process of its own: a job is a token bound to a session, and lives as long as the session does.

``python worker.py STORE`` works until it is interrupted. A job whose session has ended is dropped at its next step, for
its token is dead; one whose session is detached goes on, for a detached session lives.
"""

from __future__ import annotations

import sys
import time

from session_tokens import SessionTokens, Token, UnknownToken

STEP = 20_000
"""How many numbers are looked at before the job writes down how far it is."""
LOOK_AGAIN_S = 0.05


def is_prime(number: int) -> bool:
    """Whether a number has no divisor."""
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def jobs_in(tokens: SessionTokens) -> list[Token]:
    """Return what there is to do; other tokens may lie in the store too."""
    bound = tokens.list_tokens(transferable=False).items
    return [
        job for job in bound if isinstance(job.value, dict) and job.value.get("done", 0) < job.value.get("below", 0)
    ]


def work(tokens: SessionTokens, job: Token) -> bool:
    """Take one step of a job, write down how far it is, and return whether it is done."""
    state = job.value
    begin, end = state["done"], min(state["done"] + STEP, state["below"])
    found = state["primes"] + sum(map(is_prime, range(begin, end)))
    try:
        tokens.change_token(job.id, value={**state, "done": end, "primes": found}, version=job.version)
    except UnknownToken:
        return False  # the session has ended during this step; the next look finds that
    return bool(end == state["below"])


def main(store: str) -> None:
    """Work on whatever there is to do."""
    under_way: dict[str, str | None] = {}
    with SessionTokens.open(store) as tokens:
        print("worker: ready", flush=True)
        while True:
            jobs = jobs_in(tokens)
            for id in under_way.keys() - {job.id for job in jobs}:
                print(f"worker: the session of {under_way.pop(id)} has ended; its job is dropped", flush=True)
            for job in jobs:
                under_way[job.id] = job.owner
                if work(tokens, job):
                    print(f"worker: the job of {under_way.pop(job.id)} is done", flush=True)
            if not jobs:
                time.sleep(LOOK_AGAIN_S)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit(0)
