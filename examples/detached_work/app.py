"""A job goes on while the session of its user is detached: a worker in another process works on.

Who comes back gets a new secret for the same session, and finds the result.
Run it with ``make example NAME=detached_work``: it starts the worker and tells what happens.
It needs nothing beside ``pip install session-tokens``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from session_tokens import Issued, SessionTokens, Token

WORKER = Path(__file__).with_name("worker.py")
BELOW = 200_000
LOOK_AGAIN_S = 0.05


def say(what: str, more: str = "") -> None:
    """Tell the next part of the story."""
    mark, plain, quiet = ("\033[1m", "\033[0m", "\033[2m") if sys.stdout.isatty() else ("", "", "")
    print(f"{mark}{what}{plain}" + (f"\n  {quiet}{more}{plain}" if more else ""), flush=True)


def wait_for(tokens: SessionTokens, job: Issued, at_least: int) -> Token:
    """Wait until a job is so far."""
    while True:
        seen = tokens.get_token(job.id)
        assert seen is not None, "the job has ended with its session"
        if seen.value["done"] >= at_least:
            return seen
        time.sleep(LOOK_AGAIN_S)


def play(tokens: SessionTokens) -> None:
    """Let a user log in, give a job, go, and come back."""
    log_in = tokens.open_session("alice", detachable=True, max_age=24 * 3600)
    job = tokens.issue_token(log_in.id, {"below": BELOW, "done": 0, "primes": 0})
    say("Alice logs in and asks how many primes there are.", f"session {log_in.id}, job {job.id}, bound to it")
    wait_for(tokens, job, 1)

    tokens.detach_session(log_in.id)
    say("She goes: her session is detached.", "its secret is dead, but the session lives, and so does the job")
    assert tokens.verify_session(log_in.secret or "") is None
    away_from = wait_for(tokens, job, 0).value["done"]

    seen = wait_for(tokens, job, BELOW)
    say("While she is away, the worker goes on.", f"from {away_from:,} numbers to {seen.value['done']:,}")

    (waiting,) = tokens.list_sessions("alice", detached=True)
    back = tokens.attach_session(waiting.id)
    assert tokens.verify_session(back.secret or "") is not None
    say("She comes back, proves who she is, and the session is attached.", f"the same session {back.id}, a new secret")
    say(f"The result is there: {seen.value['primes']:,} primes below {BELOW:,}.")

    other = tokens.issue_token(back.id, {"below": 1_000 * BELOW, "done": 0, "primes": 0})
    wait_for(tokens, other, 1)
    tokens.destroy_session(back.id)
    say("She asks for more, and logs out: the session ends, and the job with it.")
    assert tokens.get_token(other.id) is None


def main(store: str) -> None:
    """Start the worker, play, and stop it."""
    with SessionTokens.open(store) as tokens:
        worker = subprocess.Popen([sys.executable, str(WORKER), store], stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        try:
            say("A worker starts, in a process of its own.", worker.stdout.readline().strip())
            play(tokens)
            said = next(line for line in worker.stdout if "dropped" in line)
            say("The worker sees it at its next step.", said.strip())
        finally:
            worker.terminate()
            worker.wait()


if __name__ == "__main__":
    main(os.environ.get("SESSION_TOKENS_STORE", "sqlite:///work.db"))
