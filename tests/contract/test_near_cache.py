"""What a near cache answers, and for how long: judged by a lease, by deadlines, and by what it was told has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytest

from session_tokens import InvalidInput, Issued, SessionTokens
from session_tokens.contract.changes import Changes
from session_tokens.contract.near_cache import (
    KEPT_MAX,
    MARGIN_S,
    NEAR_CACHE_VARIABLE,
    RECENT_MAX,
    NearCache,
    Reading,
    bound_of,
)
from session_tokens.contract.queries import SessionResult, TokenResult
from session_tokens.crypto.minting import Keyring, PepperKeyring, PlainKeyring
from session_tokens.records import OwnerEntry, Session
from session_tokens.stores.common.seen_parts import NAMES
from session_tokens.testing import ManualClock

BOUND_S = 2.0


@dataclass
class World:
    """A near cache on clocks that move when they are moved, and records of a store in memory."""

    near: NearCache
    clock: ManualClock
    tokens: SessionTokens
    steady_s: list[float]

    def renew(self) -> None:
        if self.near.lease.is_over:
            self.near.new_lease()
        self.near.renew(self.near.lease, self.steady_s[0])

    def answer(self, lookup: str) -> Session | None:
        """Return what is answered for a secret that is its own look-up key."""
        kept = self.near.session(lookup, PlainKeyring())
        return None if kept is None else kept[2]

    def keep(self, issued: Issued, since: Reading | None = None, entry: OwnerEntry | None = None) -> str:
        """Keep a session as if it had just been verified; return its look-up key."""
        lookup = issued.session.lookup
        assert lookup is not None
        begun = self.near.begin() if since is None else since
        self.near.keep_session(begun, lookup, SessionResult(issued.session, entry))
        return lookup


@pytest.fixture
def world(clock: ManualClock) -> World:
    steady_s = [1000.0]
    near = NearCache(NAMES, clock.now, BOUND_S, monotonic_s=lambda: steady_s[0])
    made = World(near, clock, SessionTokens.open("memory://", clock=clock, sweep=False), steady_s)
    near.new_lease()
    made.renew()
    return made


def test_what_was_verified_is_answered_until_the_lease_is_over(world: World) -> None:
    issued = world.tokens.open_session("ann")
    lookup = world.keep(issued)
    world.steady_s[0] += BOUND_S - MARGIN_S - 0.001
    assert world.near.session(lookup, PlainKeyring()) == ((lookup,), world.clock.now(), issued.session)
    world.steady_s[0] += 0.002
    assert world.answer(lookup) is None
    world.renew()

    assert world.answer(lookup) is not None
    assert (world.near.hits, world.near.misses) == (2, 1)


def test_what_changes_before_it_is_answered_once_is_read_where_nobody_tells_of_it_and_not_answered(
    world: World,
) -> None:
    issued = world.tokens.open_session("ann")
    lookup = world.keep(issued)
    world.near.changed([NAMES.session(issued.id)])
    reading = world.near.begin_session(lookup)
    assert not reading.is_followed
    world.keep(issued, reading)

    assert world.answer(lookup) is None
    assert world.near.begin_session(lookup).is_followed


def test_what_was_answered_is_read_once_where_it_is_followed_after_a_change(world: World) -> None:
    """Word of a change may come while that is read, so that it is not kept; then it is not tried again each time."""
    issued = world.tokens.open_session("ann")
    lookup = world.keep(issued)
    assert world.answer(lookup) is not None
    world.near.changed([NAMES.session(issued.id)])

    assert [True, False, False] == [world.near.begin_session(lookup).is_followed for _ in range(3)]


def test_a_lease_counts_from_when_it_was_asked_for(world: World) -> None:
    lookup, asked_s = world.keep(world.tokens.open_session("ann")), world.steady_s[0]
    world.steady_s[0] += 10
    world.near.renew(world.near.lease, asked_s)

    assert world.answer(lookup) is None


def test_where_nobody_tells_of_changes_an_answer_is_kept_from_when_it_was_asked_for(world: World) -> None:
    world.near = NearCache(NAMES, world.clock.now, BOUND_S, is_followed=False, monotonic_s=lambda: world.steady_s[0])
    issued = world.tokens.open_session("ann")
    reading = world.near.begin()
    world.steady_s[0] += 1
    lookup = world.keep(issued, reading)
    world.steady_s[0] += BOUND_S - MARGIN_S - 1.001
    assert world.answer(lookup) is not None
    world.steady_s[0] += 0.002
    assert world.answer(lookup) is None
    world.keep(issued)
    assert world.answer(lookup) is not None
    world.near.drop()

    assert world.answer(lookup) is None


def test_nothing_is_answered_at_its_deadline(world: World) -> None:
    lookup = world.keep(world.tokens.open_session("ann", max_age=60))
    world.clock.advance(59.999)
    assert world.answer(lookup) is not None
    world.clock.advance(0.001)

    assert world.answer(lookup) is None


def test_nothing_is_answered_that_its_owners_entry_has_ended(world: World) -> None:
    issued = world.tokens.open_session("ann")
    lookup = world.keep(issued, entry=OwnerEntry("ann", issued.session.owner_epoch + 1, None, 0))

    assert world.answer(lookup) is None


@pytest.mark.parametrize("part", ["session", "entry"])
def test_what_rests_on_something_that_changed_is_not_answered(world: World, part: str) -> None:
    issued, other = world.tokens.open_session("ann"), world.tokens.open_session("bea")
    lookup, others = world.keep(issued), world.keep(other)
    name = NAMES.session(issued.id) if part == "session" else NAMES.entry("ann")
    world.near.changed([name])
    assert world.answer(lookup) is None
    assert world.answer(others) is not None
    world.keep(issued)

    assert world.answer(lookup) is not None


@pytest.mark.parametrize("many", [1, RECENT_MAX + 1])
def test_a_reading_that_was_under_way_while_something_changed_is_not_kept(world: World, many: int) -> None:
    issued = world.tokens.open_session("ann")
    since = world.near.begin()
    world.near.changed([NAMES.session(issued.id), *range(many)])
    lookup = world.keep(issued, since)
    assert world.answer(lookup) is None
    since = world.near.begin()
    world.near.changed(["something else"])

    world.keep(issued, since)
    assert world.answer(lookup) is not None


def test_everything_is_dropped_and_what_was_being_read_too(world: World) -> None:
    issued = world.tokens.open_session("ann")
    lookup, since, lease = world.keep(issued), world.near.begin(), world.near.lease
    world.near.drop()
    assert world.answer(lookup) is None
    world.near.renew(lease, world.steady_s[0])  # of a connection that was made before
    assert world.answer(lookup) is None
    world.renew()
    world.keep(issued, since)
    assert world.answer(lookup) is None

    world.keep(issued)
    assert world.answer(lookup) is not None


def test_a_server_that_is_gone_ends_what_it_told_and_no_more(world: World) -> None:
    one, other = world.tokens.open_session("ann"), world.tokens.open_session("bea")
    lease, there = world.near.lease, world.near.new_lease()
    for each in (lease, there):
        world.near.renew(each, world.steady_s[0])
    lookup, others = world.keep(one, world.near.begin(lease)), world.keep(other, world.near.begin(there))
    begun = world.near.begin(lease)
    world.near.end(lease)
    world.near.renew(lease, world.steady_s[0])
    assert world.answer(lookup) is None
    assert world.answer(others) is not None
    assert world.answer(world.keep(one, begun)) is None
    assert world.answer(world.keep(one, world.near.begin(there))) is not None
    world.steady_s[0] += BOUND_S
    world.near.renew(there, world.steady_s[0])

    assert world.answer(others) is not None


def test_nothing_is_kept_while_nobody_follows(world: World) -> None:
    issued = world.tokens.open_session("ann")
    world.steady_s[0] += 10
    since = world.near.begin()
    world.renew()

    assert world.answer(world.keep(issued, since)) is None


def test_what_this_process_writes_is_not_answered_as_it_was(world: World) -> None:
    issued = world.tokens.open_session("ann")
    token = world.tokens.issue_token(issued.id, "deed")
    lookup, since = world.keep(issued), world.near.begin()
    world.near.keep_token(since, "a look-up key", TokenResult(token.token, issued.session, None))
    assert world.near.token("a look-up key", PlainKeyring()) == (world.clock.now(), token.token, issued.session)
    changes = Changes()
    changes.sessions.append((issued.session, issued.session.ended(world.clock.now(), "logout")))
    world.near.wrote(changes)

    assert world.answer(lookup) is None
    assert world.near.token("a look-up key", PlainKeyring()) is None


def test_a_token_is_no_session_and_a_session_no_token(world: World) -> None:
    issued = world.tokens.open_session("ann")
    token = world.tokens.issue_token(issued.id, "deed")
    world.near.keep_token(world.near.begin(), "one", TokenResult(token.token, issued.session, None))
    world.near.keep_session(world.near.begin(), "other", SessionResult(issued.session, None))

    assert world.answer("one") is None
    assert world.near.token("other", PlainKeyring()) is None


@pytest.mark.parametrize("secret", ["", "x" * 1_000_000, "\ud800", "ä"])
def test_a_string_that_can_be_no_secret_is_not_looked_up(world: World, secret: str) -> None:
    keyring = PepperKeyring(bytes(32))

    assert world.near.session(secret, keyring) is None
    assert world.near.token(secret, keyring) is None


def test_what_is_kept_is_bounded(world: World) -> None:
    issued = world.tokens.open_session("ann")
    found = SessionResult(issued.session, None)
    for number in range(3 * KEPT_MAX):
        world.near.keep_session(world.near.begin(), str(number), found)

    assert sum(world.answer(str(number)) is not None for number in range(3 * KEPT_MAX)) <= 2 * KEPT_MAX


@pytest.mark.parametrize(
    ("given", "environment", "bound_s"),
    [
        (None, {}, 0.0),
        (None, {NEAR_CACHE_VARIABLE: "2.5"}, 2.5),
        (0, {NEAR_CACHE_VARIABLE: "2.5"}, 0.0),
        (1, {}, 1.0),
        (timedelta(milliseconds=500), {}, 0.5),
    ],
)
def test_the_bound_is_what_is_given_else_what_the_environment_says(
    given: Any, environment: dict[str, str], bound_s: float
) -> None:
    assert bound_of(given, environment) == bound_s


@pytest.mark.parametrize("given", [-1, 0.1, 61, float("nan"), float("inf")])
def test_a_bound_that_cannot_be_kept_is_refused(given: float) -> None:
    with pytest.raises(InvalidInput, match=r"near_cache is a number of seconds from 0\.2 to 60"):
        bound_of(given, {})
    with pytest.raises(InvalidInput, match=NEAR_CACHE_VARIABLE):
        bound_of(None, {NEAR_CACHE_VARIABLE: str(given)})


@pytest.mark.parametrize("text", ["", "2s", " 2", "1_0", "１", "2e0", "+2", "two"])
def test_what_the_environment_says_is_a_number_in_digits(text: str) -> None:
    with pytest.raises(InvalidInput, match=NEAR_CACHE_VARIABLE):
        bound_of(None, {NEAR_CACHE_VARIABLE: text})


@pytest.mark.parametrize("given", ["2", True, [2]])
def test_a_bound_of_another_type_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="near_cache is a number"):
        bound_of(given, {})


def test_it_is_counted_as_emptied_once_each_time(world: World) -> None:
    """By who drops everything, whose followers end then; not by one that told of a change now and then."""
    world.near.end(world.near.lease)
    world.near.new_lease()
    world.near.drop()
    world.near.end(world.near.lease)
    by_the_way = NearCache(NAMES, world.clock.now, BOUND_S, is_followed=False)
    by_the_way.end(by_the_way.new_lease())

    assert (world.near.drops, by_the_way.drops) == (2, 0)


class CountedLookups:
    """A keyring that counts how often a secret is looked up; a compiled one has no heirs."""

    def __init__(self) -> None:
        self.count = 0

    def lookups(self, secret: str) -> Sequence[str]:
        self.count += 1
        return (secret,)


def test_a_secret_is_looked_up_once_and_again_when_what_it_opens_has_changed(world: World) -> None:
    issued, counted = world.tokens.open_session("ann"), CountedLookups()
    lookup, keyring = world.keep(issued), cast("Keyring", counted)
    for _ in range(3):
        assert world.near.session(lookup, keyring) is not None
    assert counted.count == 1

    world.near.changed([NAMES.session(issued.id)])
    assert world.near.session(lookup, keyring) is None
    world.keep(issued)
    assert world.near.session(lookup, keyring) is not None
    assert counted.count == 3
    world.near.drop()
    assert world.near.session(lookup, keyring) is None


def test_the_secret_of_a_token_opens_no_session_though_it_is_known(world: World) -> None:
    session = world.tokens.open_session("ann")
    token = world.tokens.issue_token(session.id, "v")
    lookup = token.token.lookup
    assert lookup is not None
    world.near.keep_token(world.near.begin(), lookup, TokenResult(token.token, session.session, None))
    kept = world.near.token(lookup, PlainKeyring())
    assert kept is not None
    assert kept[1].expires_at == session.session.expires_at, "as callers see it"
    assert world.near.session(lookup, PlainKeyring()) is None
