"""Measure lists of which nothing matches, over many session-bound tokens."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.sides.log_in import OWNER, PEPPER, load
from benchmarks.sides.serving import Stopwatch, serve
from session_tokens import SessionTokens, Settings
from session_tokens.crypto.minting import new_id, new_secret
from session_tokens.crypto.secret_form import TOKEN_ID, TOKEN_SECRET
from session_tokens.records import BOUND
from session_tokens.records.traits import token_traits
from session_tokens.rules.tokens import Issue
from session_tokens.settings import Policy

SESSIONS = 10
TRAITS = token_traits(BOUND, False, None, None, None)
LOADED_AT_ONCE = 100  # all of one millisecond, which no application does with many


class Measured:
    """One store; nothing is swept."""

    def __init__(self, url: str) -> None:
        settings = Settings(max_age=None, max_sessions=None)
        self.st = SessionTokens.open(url, settings=settings, sweep=False, pepper=PEPPER)

    def prepare(self, tokens: int) -> dict[str, Any]:
        """Issue so many tokens under several sessions of one owner, in turn."""
        sessions = [self.st.open_session(OWNER).id for _ in range(SESSIONS)]
        lookup = self.st.store.keyring.lookup
        for turn, first in enumerate(range(0, tokens, LOADED_AT_ONCE)):
            count = min(LOADED_AT_ONCE, tokens - first)
            issues = [Issue(new_id(TOKEN_ID), lookup(new_secret(TOKEN_SECRET)), "value", TRAITS) for _ in range(count)]
            self.st.store.run_now(load, Policy(self.st.settings), sessions[turn % SESSIONS], issues)
        return {"tokens": tokens}

    def list_nothing(self, count: int, filters: dict[str, Any]) -> dict[str, Any]:
        """Time so many first pages, each of which must be empty."""
        watch = Stopwatch()
        pages = [self.st.list_tokens(**filters) for _ in range(count)]
        watch.stop()
        return watch.answer(count, sum(not page.items for page in pages))


if __name__ == "__main__":
    side = Measured(sys.argv[1])
    serve({"prepare": side.prepare, "list_nothing": side.list_nothing})
    side.st.close()
