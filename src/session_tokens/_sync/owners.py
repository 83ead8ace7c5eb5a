# Generated from _async/owners.py by tools/generate_sync.py; change that file and run it again.
"""Owners as such, for threads: who there is, and who is disabled."""

from __future__ import annotations

from .. import validation as inputs
from ..contract.queries import Count, Get, Members, Query, Scan
from ..crypto.secret_form import SESSION_ID
from ..records import OwnerSummary, Page, Session
from ..rules.listing import cursor_of_text, sessions_listed, text_of_cursor, users_sessions_listed, what_follows
from ..rules.owners import leads_in_lists
from ..settings import NEWEST_READ
from .core import SyncCore

OWNERS_READ = 200
"""How many sessions one step of a list of owners looks at."""

STEPS_MAX = 5
"""How many steps one page of such a list is made of at the most; then it says that there may be more."""
ENTRY_STEPS_MAX = 50
"""As many of a list of disabled owners: on Valkey most steps come past other keys alone."""


class SyncOwnerCommands(SyncCore):
    """Owners as such."""

    def list_owners(
        self, *, anonymous: bool = False, newest: bool = False, after: str | None = None, limit: int = 100
    ) -> Page[OwnerSummary]:
        """Return owners who have living sessions, in order of their oldest one's opening, a page at a time.

        Args:
            anonymous: also those of visitors who have not logged in.
            newest: the last of that order first; each page of one listing is asked for in the same order.
            after: the ``after`` of the page before.
            limit: 1 to 500. A page may hold less, even nothing, and name a next one: one call looks at about 1,000
                sessions at the most, and many of them may be of the same owner.
        """
        limit = inputs.limit_of(limit)
        judged = sessions_listed if inputs.flag_of("anonymous", anonymous) else users_sessions_listed
        place = inputs.place_of_cursor(SESSION_ID, after)
        listing = rest = Scan("sessions", place, OWNERS_READ, newest=inputs.flag_of("newest", newest))
        listed: list[tuple[Session, OwnerSummary]] = []
        left_out: dict[str, None] = {}
        steps = 0
        while len(listed) <= limit and (steps < STEPS_MAX or rest.after == listing.after):
            now, (found,) = self.store.read_now([rest])
            listed += self._led_by(judged(rest, found.value, now), newest=rest.newest)
            left_out.update((each.id, None) for each in found.unreadable)
            following_stretch = what_follows(rest, found)
            if following_stretch is None:
                if len(listed) <= limit:
                    return Page([owner for _, owner in listed], None, tuple(left_out))
                break
            rest, steps = following_stretch, steps + 1
        if len(listed) <= limit:
            following = None if rest.after is None else inputs.cursor_of(rest.after)
        else:
            session = listed[limit - 1][0]
            following = inputs.cursor_of((session.created_at, session.id))
        return Page([owner for _, owner in listed[:limit]], following, tuple(left_out))

    def _led_by(self, sessions: list[Session], *, newest: bool) -> list[tuple[Session, OwnerSummary]]:
        """Return the owners of whom one of these sessions is the oldest living one, with that, in their order."""
        firsts: dict[str, Session] = {}
        for session in reversed(sessions) if newest else sessions:
            firsts.setdefault(session.owner, session)
        if not firsts:
            return []
        queries: list[Query] = [Members("sessions_of", owner, NEWEST_READ) for owner in firsts]
        queries += [Count("sessions_of", owner) for owner in firsts]
        queries += [Get("entry", owner) for owner in firsts]
        now, found = self.store.read_now(queries)
        many = len(firsts)
        leading = []
        for at, (owner, session) in enumerate(firsts.items()):
            oldest, count, entry = found[at].value, found[many + at].value, found[2 * many + at].value
            if len(oldest) == NEWEST_READ and not any(each.alive(now, entry) for each in oldest):
                _, (all_of_them,) = self.store.read_now([Members("sessions_of", owner)])
                oldest = all_of_them.value
            if leads_in_lists(session, oldest, now, entry):
                disabled_at = None if entry is None else entry.disabled_at
                leading.append((session, OwnerSummary(owner, count, session.opened_at, disabled_at)))
        return leading[::-1] if newest else leading

    def list_disabled_owners(self, *, after: str | None = None, limit: int = 100) -> Page[OwnerSummary]:
        """Return owners who are disabled, a page at a time, in no order of theirs.

        Args:
            after: the ``after`` of the page before.
            limit: 1 to 500, about: a page may hold less, even nothing, and name a next one.

        Raises:
            InvalidInput: ``after`` is no place in such a list, or the store cannot list them.
        """
        limit = inputs.limit_of(limit)
        disabled: dict[str, OwnerSummary] = {}
        following = text_of_cursor(after)
        for _ in range(ENTRY_STEPS_MAX):
            entries, following = self.store.owner_entries_now(following or "", limit)
            for entry in entries:
                if entry.disabled_at is not None:
                    disabled[entry.owner] = OwnerSummary(entry.owner, 0, None, entry.disabled_at)
            if following is None or disabled:
                break
        return Page(list(disabled.values()), None if following is None else cursor_of_text(following))
