"""Measure log-ins of one owner whose former session holds many transferable tokens; each log-in replaces the last."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.sides.serving import Stopwatch, serve
from session_tokens import SessionTokens, Settings
from session_tokens.contract.transaction import Transaction
from session_tokens.crypto.minting import new_id, new_secret
from session_tokens.crypto.secret_form import TOKEN_ID, TOKEN_SECRET
from session_tokens.records import TRANSFERABLE
from session_tokens.records.traits import token_traits
from session_tokens.rules.tokens import Issue, issue_under
from session_tokens.settings import Policy

OWNER = "collector"
LOADED_AT_ONCE = 1_000
TRAITS = token_traits(TRANSFERABLE, False, None, None, None)
PEPPER = bytes(range(32))


def load(tx: Transaction, policy: Policy, session_id: str, issues: list[Issue]) -> None:
    """Issue many tokens in one transaction; a rule for the benchmark alone."""
    session = tx.session(session_id)
    for issue in issues:
        issue_under(tx, policy, session, issue)


class Measured:
    """One store with one owner; nothing is swept, so that each log-in finds what the first one left."""

    def __init__(self, url: str) -> None:
        settings = Settings(max_age=None, max_sessions=1)
        self.st = SessionTokens.open(url, settings=settings, sweep=False, pepper=PEPPER)
        self.samples: list[str] = []

    def prepare(self, tokens: int) -> dict[str, Any]:
        """Give the owner a session with so many tokens."""
        session, lookup = self.st.open_session(OWNER), self.st.store.keyring.lookup
        for first in range(0, tokens, LOADED_AT_ONCE):
            secrets = [new_secret(TOKEN_SECRET) for _ in range(min(LOADED_AT_ONCE, tokens - first))]
            issues = [Issue(new_id(TOKEN_ID), lookup(secret), "value", TRAITS) for secret in secrets]
            self.st.store.run_now(load, Policy(self.st.settings), session.id, issues)
            self.samples = [*self.samples[:2], secrets[-1]]
        return {"tokens": tokens}

    def log_in(self, count: int) -> dict[str, Any]:
        """Time so many log-ins; each must bring the tokens along and end the session before it."""
        former, watch = self.st.list_sessions(OWNER).items[0].id, Stopwatch(running=False)
        right = 0
        for _ in range(count):
            watch.start()
            issued = self.st.open_session(OWNER)
            watch.stop()
            held = {token and token.session_id for token in map(self.st.verify_token, self.samples)}
            right += held == {issued.id} and self.st.get_session(former) is None
            former = issued.id
        return watch.answer(count, right)


if __name__ == "__main__":
    side = Measured(sys.argv[1])
    serve({"prepare": side.prepare, "log_in": side.log_in})
    side.st.close()
