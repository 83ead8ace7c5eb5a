"""The thread that follows a store: it ends when it is told to, whoever begins it meanwhile and whoever was forked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from session_tokens.contract.near_cache import Lease, NearCache
from session_tokens.stores.common.following import Following
from session_tokens.stores.common.seen_parts import NAMES
from session_tokens.testing import ManualClock
from tests.helpers.at_once import in_a_child
from tests.helpers.waiting import PATIENCE_S

SHORTLY_S = 0.1


class Idle(Following):
    """Follows a store in which nothing happens."""

    def follow(self, lease: Lease) -> None:
        """Wait for the end."""
        self.pause(PATIENCE_S)

    def wake(self) -> None:
        """Do nothing: it waits for the end alone."""


@pytest.fixture
def following(clock: ManualClock) -> Iterator[Any]:
    """As ``Any``: who begins and who forks is caught in the middle."""
    following = Idle(NearCache(NAMES, clock.now, 1), 1)
    yield following
    following.stop()


def test_a_forked_process_ends_it_though_the_thread_was_looking_at_that_very_instant(following: Any) -> None:
    following.start()

    def in_the_child() -> None:
        ending = threading.Thread(target=following.stop, daemon=True)
        ending.start()
        ending.join(PATIENCE_S / 4)
        assert not ending.is_alive()

    with following._stopping._cond:  # as the thread has it for an instant, each time it looks
        assert in_a_child(in_the_child) == 0


def test_a_process_that_is_forked_after_the_end_does_not_begin(following: Any) -> None:
    following.stop()

    def in_the_child() -> None:
        following.start()
        assert following._thread is None

    assert in_a_child(in_the_child) == 0


def test_who_ends_it_waits_for_who_is_beginning_it(following: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        with following._starting:  # as ``start``, which has made the thread and not yet let it run
            following._thread = threading.Thread(target=following._run)
            ending = pool.submit(following.stop)
            has_ended, _ = wait([ending], timeout=SHORTLY_S)
            following._thread.start()

        assert not has_ended
        assert ending.exception() is None
