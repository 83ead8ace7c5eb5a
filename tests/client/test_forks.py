"""A client that is used before a process is forked and after: each process has connections of its own."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from session_tokens import SessionTokens, StoreUnavailable
from tests.helpers.at_once import forked_silently, in_a_child
from tests.helpers.running_service import RunningService

TIMES = 150


def forked(act: Callable[[], object]) -> int:
    """Do ``act`` in a forked child; return its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the threads that are not there
        child = os.fork()
    if child == 0:
        os._exit(in_a_child(act))
    return child


@pytest.mark.parametrize("fork", [forked, forked_silently])
def test_processes_never_read_each_others_answers(running: RunningService, fork: Callable[..., int]) -> None:
    with SessionTokens.connect(running.url, key=running.secret) as tokens:
        secrets = {name: tokens.open_session(name).secret for name in ("ann", "bob", "cat")}

        def look(name: str) -> None:
            for _ in range(TIMES):
                found: Any = tokens.verify_session(secrets[name])
                assert found.owner == name

        children = [fork(lambda name=name: look(name)) for name in ("bob", "cat")]
        look("ann")
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
        look("ann")


def test_what_was_closed_before_a_fork_is_closed_after_it(running: RunningService) -> None:
    tokens = SessionTokens.connect(running.url, key=running.secret)
    tokens.close()

    def act() -> None:
        with pytest.raises(StoreUnavailable, match="closed; connect again"):
            tokens.list_sessions("ann")

    assert in_a_child(act) == 0
