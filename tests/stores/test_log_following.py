"""What a near cache forgets by what a log of events says; ``test_near_caches`` tries it on servers."""

from __future__ import annotations

import pytest

from session_tokens import SessionTokens
from session_tokens.contract.event_log import LogRead
from session_tokens.contract.near_cache import NearCache
from session_tokens.contract.queries import SessionResult
from session_tokens.crypto.minting import PlainKeyring
from session_tokens.events import (
    GAP,
    OWNER_DISABLED,
    OWNER_RENAMED,
    SESSION_ENDED,
    SESSION_OPENED,
    SESSION_ROTATED,
    TOKEN_TRANSFERRED,
    Event,
)
from session_tokens.records import Session
from session_tokens.stores.common.following import BEAT_S
from session_tokens.stores.common.log_following import pause_after, take_in
from session_tokens.stores.common.seen_parts import NAMES
from session_tokens.testing import ManualClock

BEFORE, HERE, NEWEST = (10, 0), (12, 0), (15, 0)


class Kept:
    """A near cache that keeps the session of an owner."""

    def __init__(self, clock: ManualClock) -> None:
        with SessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
            self.session: Session = tokens.open_session("ann").session
        assert self.session.lookup is not None
        self.near = NearCache(NAMES, clock.now, 60, is_followed=False)
        self.near.keep_session(self.near.begin(), self.session.lookup, SessionResult(self.session, None))

    @property
    def is_answered(self) -> bool:
        assert self.session.lookup is not None
        return self.near.session(self.session.lookup, PlainKeyring()) is not None

    def hears(self, *events: Event, trimmed: tuple[int, int] = (0, 0), unreadable: tuple[str, ...] = ()) -> bool:
        """Tell it of a stretch; return whether the session is answered still."""
        assert take_in(self.near, LogRead(events, HERE, False, trimmed, NEWEST, unreadable), BEFORE) == max(
            HERE, trimmed
        )
        return self.is_answered


@pytest.fixture
def kept(clock: ManualClock) -> Kept:
    return Kept(clock)


def test_it_is_kept_while_others_change(kept: Kept) -> None:
    assert kept.hears(
        Event(SESSION_ENDED, 1, "ses_other", "bob"),
        Event(TOKEN_TRANSFERRED, 1, "tok_other", "ann", None, "bob"),
        Event(SESSION_OPENED, 1, "ses_another", "ann"),
    )


@pytest.mark.parametrize("kind", [SESSION_ENDED, SESSION_ROTATED])
def test_it_is_forgotten_when_it_changes(kept: Kept, kind: str) -> None:
    assert not kept.hears(Event(kind, 1, kept.session.id, "ann"))


def test_it_is_forgotten_with_the_first_session_of_its_owner_that_ends(kept: Kept) -> None:
    """All of them may have ended in that commit; who is told of one alone would wait for the word of the others."""
    assert not kept.hears(Event(SESSION_ENDED, 1, "ses_first", "ann"))


@pytest.mark.parametrize(
    "event", [Event(OWNER_DISABLED, 1, "ann", "ann"), Event(OWNER_RENAMED, 1, "eve", "eve", None, "ann")]
)
def test_it_is_forgotten_when_something_becomes_of_its_owner(kept: Kept, event: Event) -> None:
    assert not kept.hears(event)


def test_all_is_forgotten_where_some_of_the_log_is_lost(clock: ManualClock) -> None:
    assert not Kept(clock).hears(Event(GAP, 1, "", None, "events were off"))
    assert not Kept(clock).hears(trimmed=(11, 0))
    assert not Kept(clock).hears(trimmed=(14, 0))
    assert not Kept(clock).hears(unreadable=("evt_1",))


def test_of_another_log_the_end_is_the_beginning(kept: Kept) -> None:
    """As after a restore: places that were given out there mean nothing here."""
    assert take_in(kept.near, LogRead((), (99, 0), False, (0, 0), NEWEST), (99, 0)) == NEWEST
    assert not kept.is_answered


def test_the_log_is_read_on_at_once_where_more_of_it_stands_there() -> None:
    """As after many ends at once: at a page a beat it would be heard of the last of them seconds later."""
    pauses = [pause_after(LogRead((), HERE, is_full, (0, 0), NEWEST)) for is_full in (True, False)]

    assert pauses == [0, BEAT_S]
