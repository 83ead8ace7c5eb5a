"""What verifications found, kept in this process for as long as nothing of it can have changed unnoticed.

Theory of operation. A verification that was read is kept with the *parts* that it rests on: session, token, owner's
entry (a record says its look-up key itself). Somebody follows the changes of the store (``stores.common.following``)
and says two things here:

- *these parts have changed* (``changed``): what rests on them is not answered any more. What this process writes is
  said in the same way, before the command is answered, so that own writes are seen at once.
- *I asked the store at that instant, and have said everything that had changed by then* (``renew``): what is kept may
  be answered until ``lease_s`` after that instant of asking. No clock is compared but this process's own steady one, so
  a store that is frozen, cut off or gone is not trusted for longer, whatever it says late.

Of a store on several servers each is followed by itself. What is kept is kept under the ``Lease`` of who followed the
server that answered, so a server that is gone ends what it told, and no more.

Of a store whose changes nobody is sure to tell, what was verified is answered for ``lease_s`` after it was asked for.

So an answer is at most ``bound_s`` older than a change that was acknowledged to whoever made it. Of that the lease is
all but ``MARGIN_S``, which the verification itself may take between looking at the lease and being answered.

- Only what authenticates is answered from here, judged at that moment by the store's clock; anything else is asked for.
  So nothing is absent because it was, and a deadline that was moved elsewhere is not taken for over.
- A reading may be under way while its parts change, and arrive after that was said. So each reading begins with
  ``begin``, and what changed since then is not kept.
- On any doubt everything is dropped.

Where a reading that is followed takes longer than one that is not (it goes over the one connection of who follows),
what changes with each request would be read for nothing. So what changed before it was answered once is read as if
there were no near cache the next time, and what was read so is kept to compare with alone.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple
from weakref import WeakSet, WeakValueDictionary

from ..crypto.minting import Keyring
from ..crypto.secret_form import SECRET_LENGTH
from ..errors import InvalidInput
from ..records import Session, Token
from .changes import Changes
from .forks import in_children
from .generational_cache import GenerationalCache
from .queries import SessionResult, TokenResult
from .record_cache import PartNames

KEPT_MAX: Final = 16_384
"""Sessions, and tokens, that are kept in each of two generations."""
RECENT_MAX: Final = 8_192
"""Changed parts that are remembered for readings that are under way."""
NEAR_CACHE_VARIABLE: Final = "SESSION_TOKENS_NEAR_CACHE"
MARGIN_S: Final = 0.05
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
BOUND_S_MIN: Final = 0.2
BOUND_S_MAX: Final = 60.0
NOT_KEPT: Final = -1
_NEVER_S: Final = float("inf")


class _Part:
    """Something that kept verifications rest on.

    Attributes:
        has_changed: whether it is not any more what it was.
    """

    __slots__ = ("__weakref__", "has_changed")

    def __init__(self) -> None:
        self.has_changed = False


class Lease:
    """That one server is followed, over one connection.

    Attributes:
        until_s: until when what is kept under it may be answered, on the steady clock.
        is_over: whether it is not renewed any more.
    """

    __slots__ = ("is_over", "until_s")

    def __init__(self, until_s: float = -_NEVER_S) -> None:
        self.until_s = until_s
        self.is_over = False

    def end(self) -> None:
        """Allow nothing any more."""
        self.is_over = True
        self.until_s = -_NEVER_S


UNFOLLOWED: Final = Lease()
"""Of what was read where nobody tells of its changes; never renewed."""
UNFOLLOWED.end()


class _Kept:
    """What was verified.

    Attributes:
        found: the records.
        parts: on which it rests.
        lease: under which it may be answered.
        until_s: until when, on the steady clock.
        is_of_use: whether it was answered from here, or would have been had the reading before been kept.
    """

    __slots__ = ("found", "is_of_use", "lease", "parts", "until_s")

    def __init__(self, found: Any, parts: Sequence[_Part], lease: Lease, until_s: float, is_of_use: bool) -> None:
        self.found = found
        self.parts = parts
        self.lease = lease
        self.until_s = until_s
        self.is_of_use = is_of_use

    @property
    def has_changed(self) -> bool:
        """Whether anything of it is known to be not any more what it was."""
        return any(part.has_changed for part in self.parts)


_Known = tuple[Sequence[str], _Kept]
"""What is kept of a secret, with its look-up keys."""


class Reading(NamedTuple):
    """A reading that begins.

    Attributes:
        since: how many changes had been told of; ``NOT_KEPT`` where it will not be kept.
        lease: under which its answer may be kept.
        until_s: until when, on the steady clock.
    """

    since: int
    lease: Lease
    until_s: float

    @property
    def is_followed(self) -> bool:
        """Whether it is to be read where changes are told of."""
        return self.lease is not UNFOLLOWED


_of_this_process: WeakSet[NearCache] = WeakSet()


def _begin_anew() -> None:
    """Forget everything in a forked process: who follows the changes is a thread of the other one."""
    for near in list(_of_this_process):
        near._lock = threading.Lock()  # another thread may have held it
        near.drop()


in_children(_begin_anew)


def bound_of(near_cache: object, environment: Mapping[str, str]) -> float:
    """Return how many seconds old an answer may be; 0 where there is to be no near cache.

    Args:
        near_cache: a number of seconds, a ``timedelta`` or 0; ``None``: as the environment says.
        environment: ``SESSION_TOKENS_NEAR_CACHE`` in it is that number.

    Raises:
        TypeError: it is nothing of that.
        InvalidInput: it is out of bounds, or the variable says no number.
    """
    name, bound_s = "near_cache", near_cache
    if near_cache is None:
        text = environment.get(NEAR_CACHE_VARIABLE)
        if text is None:
            return 0.0
        name = NEAR_CACHE_VARIABLE
        bound_s = float(text) if _NUMBER.fullmatch(text) else float("nan")
    elif isinstance(near_cache, timedelta):
        bound_s = near_cache.total_seconds()
    if isinstance(bound_s, bool) or not isinstance(bound_s, int | float):
        raise TypeError(f"near_cache is a number of seconds or a timedelta, not {type(near_cache).__name__}")
    if bound_s != 0 and not BOUND_S_MIN <= bound_s <= BOUND_S_MAX:
        raise InvalidInput(f"{name} is a number of seconds from {BOUND_S_MIN:g} to {BOUND_S_MAX:g}, or 0 for none")
    return float(bound_s)


class NearCache:
    """Verifications of one store; safe for threads.

    Args:
        names: of the parts.
        now: the store's time as well as it is known, in milliseconds.
        bound_s: seconds that an answer may be older than an acknowledged change.
        is_followed: whether somebody tells all that changes in the store, and says that it is all (``renew``).
        monotonic_s: seconds on a clock that never goes back.

    Attributes:
        hits: verifications that were answered from here.
        misses: those that were not.
        drops: how often what was kept of one server, or of all, was dropped.
        lease: the last one that has begun.
    """

    def __init__(
        self,
        names: PartNames,
        now: Callable[[], int],
        bound_s: float,
        *,
        is_followed: bool = True,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.names = names
        self.lease_s = bound_s - MARGIN_S
        self.hits = self.misses = self.drops = 0
        self._now = now
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._sessions: GenerationalCache[str, _Kept] = GenerationalCache(KEPT_MAX)
        self._tokens: GenerationalCache[str, _Kept] = GenerationalCache(KEPT_MAX)
        self._known_sessions: GenerationalCache[str, _Known] = GenerationalCache(KEPT_MAX)
        self._known_tokens: GenerationalCache[str, _Known] = GenerationalCache(KEPT_MAX)
        self._parts: WeakValueDictionary[Any, _Part] = WeakValueDictionary()
        self._is_followed = is_followed
        self.lease = Lease(-_NEVER_S if is_followed else _NEVER_S)
        self._leases: set[Lease] = set()
        self._serial = self._forgotten = 0
        self._recent: dict[Any, int] = {}
        _of_this_process.add(self)

    def session(self, secret: str, keyring: Keyring) -> tuple[Sequence[str], int, Session] | None:
        """Return a secret's look-up keys, now and the session that it opens; ``None`` where the store is to be asked.

        What is kept was well-formed, so it need not be checked again. Its look-up keys take longer than all else here,
        and are remembered under the secret, which such a process is shown all the time.

        Args:
            secret: any string.
            keyring: looks it up.
        """
        known = self._known_sessions.get(secret)
        if known is None or not self._holds(known[1]):
            known = self._known(secret, keyring, self._sessions, self._known_sessions)
        if known is not None:
            lookups, kept = known
            session, entry = kept.found
            now = self._now()
            if session.authenticates(now, entry):
                self.hits += 1
                return lookups, now, session
        self.misses += 1
        return None

    def token(self, secret: str, keyring: Keyring) -> tuple[int, Token, Session | None] | None:
        """Return now, the token that a secret opens and the session that holds it; as ``session``."""
        known = self._known_tokens.get(secret)
        if known is None or not self._holds(known[1]):
            known = self._known(secret, keyring, self._tokens, self._known_tokens)
        if known is not None:
            token, session, entry = known[1].found
            now = self._now()
            if token.authenticates(now, session, entry):
                self.hits += 1
                return now, token, session
        self.misses += 1
        return None

    def _known(
        self,
        secret: str,
        keyring: Keyring,
        verified: GenerationalCache[str, _Kept],
        known: GenerationalCache[str, _Known],
    ) -> _Known | None:
        """Return what is kept of a secret that is looked up, if it holds, and remember it under the secret."""
        if len(secret) > SECRET_LENGTH or not secret.isascii():
            return None
        lookups = keyring.lookups(secret)
        kept = verified.get(lookups[0])
        if kept is None or not self._holds(kept):
            known.forget(secret)
            return None
        kept.is_of_use = True
        found = (lookups, kept)
        known.keep(secret, found)
        return found

    def _holds(self, kept: _Kept) -> bool:
        """Whether nothing of it has changed, as far as can be known now."""
        now_s = self._monotonic_s()
        if now_s >= kept.lease.until_s or now_s >= kept.until_s:
            return False
        for part in kept.parts:  # noqa: SIM110  # all() would take as long as everything else here
            if part.has_changed:
                return False
        return True

    def begin(self, lease: Lease | None = None) -> Reading:
        """Return what ``keep_…`` is given once what is asked for now is answered.

        Args:
            lease: of who follows the server that is asked; the last one where there is one server.
        """
        now_s = self._monotonic_s()
        if lease is None:
            lease = self.lease
        if not self._is_followed:
            return Reading(self._serial, lease, now_s + self.lease_s)
        return Reading(self._serial if now_s < lease.until_s else NOT_KEPT, lease, _NEVER_S)

    def begin_session(self, lookup: str, lease: Lease | None = None) -> Reading:
        """Return what ``keep_session`` is given; as ``begin``, where readings that are followed take longer."""
        return self._begin(self._sessions.get(lookup), lease)

    def begin_token(self, lookup: str, lease: Lease | None = None) -> Reading:
        """Return what ``keep_token`` is given; as ``begin_session``."""
        return self._begin(self._tokens.get(lookup), lease)

    def _begin(self, kept: _Kept | None, lease: Lease | None) -> Reading:
        if kept is not None and kept.has_changed:
            if not kept.is_of_use:
                return Reading(self._serial, UNFOLLOWED, _NEVER_S)
            kept.is_of_use = False  # word of an own write may come so late that nothing is kept: tried once
        return self.begin(lease)

    def keep_session(self, reading: Reading, lookup: str, found: SessionResult) -> None:
        """Keep what a look-up key led to, if it is a session and nothing of it has changed since."""
        session, names = found.session, self.names
        if reading.since == NOT_KEPT or session is None or session.former_of is not None:
            return
        parts = (names.session(session.id), names.entry(session.owner))
        self._keep(self._sessions, reading, lookup, found, parts)

    def keep_token(self, reading: Reading, lookup: str, found: TokenResult) -> None:
        """Keep what a look-up key led to, as callers see it, if it is a token and no loan; as ``keep_session``."""
        token, names = found.token, self.names
        if reading.since == NOT_KEPT or token is None or token.is_loan:
            return
        parts = [names.token(token.id)]
        for session in (found.session, found.heir):
            if session is not None:
                parts += (names.session(session.id), names.entry(session.owner))
        token, holder, entry = found.followed()
        if token is not None:
            self._keep(self._tokens, reading, lookup, (token.seen_with(holder), holder, entry), parts)

    def _keep(
        self, kept: GenerationalCache[str, _Kept], reading: Reading, lookup: str, found: Any, names: Sequence[Any]
    ) -> None:
        with self._lock:
            if reading.since < self._forgotten or any(self._recent.get(name, 0) > reading.since for name in names):
                return
            parts = []
            for name in names:
                part = self._parts.get(name)
                if part is None:
                    part = self._parts[name] = _Part()
                parts.append(part)
            before = kept.get(lookup)
            is_of_use = before is not None and not before.has_changed
            kept.keep(lookup, _Kept(found, parts, reading.lease, reading.until_s, is_of_use))

    def changed(self, names: Iterable[Any]) -> None:
        """Answer nothing any more that rests on these parts, nor what is being read of them."""
        with self._lock:
            for name in names:
                self._serial += 1
                self._recent[name] = self._serial
                part = self._parts.pop(name, None)
                if part is not None:
                    part.has_changed = True
            if len(self._recent) > RECENT_MAX:
                self._recent.clear()
                self._forgotten = self._serial

    def wrote(self, changes: Changes) -> None:
        """Take note that a change set of this process was written, or may have been."""
        names = self.names
        parts = [names.session((new or old).id) for old, new in changes.sessions]  # type: ignore[union-attr]  # one is there
        parts += [names.token((new or old).id) for old, new in changes.tokens]  # type: ignore[union-attr]
        parts += [names.entry((new or old).owner) for old, new in changes.entries]  # type: ignore[union-attr]
        self.changed(parts)

    def forget_readings(self) -> None:
        """Keep nothing of what is being read now."""
        with self._lock:
            self._serial += 1
            self._forgotten = self._serial

    def new_lease(self) -> Lease:
        """Return a lease of who begins to follow a server; nothing is kept under it where not all changes are told."""
        with self._lock:
            lease = Lease()
            if self._is_followed:
                self.lease = lease
                self._leases.add(lease)
            return lease

    def renew(self, lease: Lease, asked_at_s: float) -> None:
        """All changes of a server were said that were acknowledged before it was asked.

        Args:
            lease: of who says so; one that is over stays so.
            asked_at_s: when the server was asked, on the steady clock.
        """
        with self._lock:
            if not lease.is_over:
                lease.until_s = asked_at_s + self.lease_s

    def end(self, lease: Lease) -> None:
        """Forget what was kept under a lease, and what is being read too."""
        with self._lock:
            lease.end()
            if lease in self._leases:
                self._leases.remove(lease)
                self.drops += 1

    def drop(self) -> None:
        """Forget everything, and what is being read too."""
        with self._lock:
            for lease in self._leases:
                lease.end()
            self._leases.clear()
            self._serial += 1
            self._forgotten = self._serial
            self._recent.clear()
            for kept in (self._sessions, self._tokens, self._known_sessions, self._known_tokens):
                kept.clear()
            self.drops += 1
