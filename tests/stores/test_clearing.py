"""A store that is emptied, its events too: who follows them is told that some are gone."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_tokens import SessionTokens, Settings
from session_tokens.clock import ManualClock
from session_tokens.events import GAP
from session_tokens.stores.common.copying import copyable
from session_tokens.stores.connect import open_store_now


@pytest.fixture(params=["sqlite", "valkey", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sessions.db'}"
    else:
        yield request.getfixturevalue(f"{request.param}_url")


def test_a_follower_is_told_of_what_went_with_a_store_that_was_emptied(url: str) -> None:
    pepper = None if url.startswith("sqlite") else bytes(32)
    with SessionTokens(open_store_now(url, pepper=pepper), Settings(events="durable")) as tokens:
        tokens.record_events()
        for owner in ("ann", "bea", "cyn"):
            tokens.open_session(owner)
        first, *_, last = list(tokens.events())
        copyable(tokens.store).clear_now()
        assert [event.kind for event in tokens.events(after=first.id)] == [GAP]
        tokens.record_events()
        before = tokens.last_event_id()
        tokens.open_session("dan")

        assert [event.owner for event in tokens.events(after=before)] == ["dan"]
        told = list(tokens.events(after=first.id))
        assert (told[0].kind, told[-1].owner) == (GAP, "dan")
        assert [event.id for event in told] == sorted(event.id for event in told)
        assert last.id < told[-1].id


@pytest.mark.parametrize("is_cleared", [True, False], ids=["cleared", "trimmed"])
def test_what_comes_within_the_millisecond_in_which_all_events_went_stands_after_them(
    tmp_path: Path, is_cleared: bool
) -> None:
    store = open_store_now(f"sqlite:///{tmp_path}/s.db", clock=ManualClock())  # which stands still
    with SessionTokens(store, Settings(events="durable")) as tokens:
        tokens.record_events()
        for owner in ("ann", "bea", "cyn"):
            tokens.open_session(owner)
        if is_cleared:
            copyable(tokens.store).clear_now()
            tokens.record_events()
        else:
            tokens.store.trim_events_now(0)
        before = tokens.last_event_id()
        tokens.open_session("dan")

        (event,) = tokens.events(after=before)
        assert event.owner == "dan" and event.id > before


@pytest.mark.parametrize(
    "act",
    [
        lambda store: copyable(store).clear_now(),
        lambda store: store.trim_events_now(0),
        lambda store: store.check(fix=True),
        lambda store: store.forget_pepper("other"),
        lambda store: store.fix_clock(),
    ],
    ids=["clear", "trim", "fix", "forget", "clock"],
)
def test_care_of_a_file_waits_for_whoever_writes(tmp_path: Path, act: Callable[[Any], object]) -> None:
    path, ends = tmp_path / "sessions.db", list[BaseException | None]()
    with SessionTokens(open_store_now(f"sqlite:///{path}?busy_timeout=30"), Settings(events="durable")) as tokens:
        tokens.record_events()
        tokens.open_session("ann")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        def care() -> None:
            try:
                act(tokens.store)
                ends.append(None)
            except BaseException as error:
                ends.append(error)

        thread = threading.Thread(target=care)
        thread.start()
        thread.join(0.1)  # one that does not wait has failed by now
        assert ends == []
        other.execute("ROLLBACK")
        other.close()
        thread.join(30)

        assert ends == [None]
