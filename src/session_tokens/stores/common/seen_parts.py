"""What the record cache remembers of stores in SQL: parts as ``locking`` names them, read or written by us.

Theory of operation. A stamp there is a random number that no record ever had, and that of a set follows from its
members. So equal stamps say equal content on every server, after a fail-over and a restored backup too, and what was
remembered of a lost branch is refused by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...contract.changes import Rare, owner_of_living
from ...contract.optimistic import Commit
from ...contract.queries import Members
from ...contract.record_cache import PartNames, RecordCache
from ...records import NO_DETAILS, Session, Token
from .locking import ABSENT, Part, part_asked

TEXT_MAX = 2_048
"""Characters of the longest data, value or setting that is remembered."""


def _named(kind: str) -> Callable[[str], Part]:
    return lambda key: (kind, key)


NAMES = PartNames(
    session=_named("session"),
    token=_named("token"),
    entry=_named("entry"),
    setting=_named("setting"),
    service_key=_named("key"),
    idempotency=_named("idempotency"),
    session_lookup=_named("session_lookup"),
    token_lookup=_named("token_lookup"),
    sessions_of=_named("sessions_of"),
    absent=ABSENT,
)


def new_stamp() -> int:
    """Return a stamp that no record ever had: 61 random bits and one that is set, so never 0."""
    return int.from_bytes(os.urandom(8), "big") >> 2 | 1


class SeenParts(RecordCache):
    """What was seen lately of one store in SQL.

    Args:
        now: the server's time as well as it is known, in milliseconds.
        set_stamp: returns the stamp of a set from the ids and stamps of its members.
    """

    def __init__(self, now: Callable[[], int], set_stamp: Callable[[Sequence[tuple[str, int]]], str]) -> None:
        def set_part(query: Members, members: Sequence[tuple[str, str]]) -> tuple[Part, str]:
            return part_asked(query), set_stamp([(id, int(stamp)) for id, stamp in members])

        super().__init__(now, NAMES, set_part)

    def saw(self, part: Part, stamp: str, record: Any, length: int = 0) -> None:
        """Remember a record, or a setting's text.

        Args:
            part: what it is.
            stamp: that of the part.
            record: ``None`` for its absence.
            length: how long the text is that makes it large, if any.
        """
        if length <= TEXT_MAX:
            self.keep(part, (None, stamp, record))
        else:
            self.forget(part)

    def saw_session(self, session: Session, stamp: str) -> Part:
        """Remember a session; return its part."""
        part, details = ("session", session.id), session.details
        self.saw(part, stamp, session, 0 if details is NO_DETAILS else len(details.data_text))
        return part

    def saw_token(self, token: Token, stamp: str) -> Part:
        """Remember a token; return its part."""
        part = ("token", token.id)
        self.saw(part, stamp, token, len(token.text))
        return part

    def saw_sessions_of(self, query: Members, parts: Sequence[Part], are_whole: bool) -> None:
        """Remember the sessions of an owner where all are known; forget what was, where it was other ones.

        Args:
            query: what was asked.
            parts: those that could be read, oldest first.
            are_whole: whether these are all that were asked for.
        """
        name, limit = ("sessions_of", query.whose), query.limit
        if are_whole and (limit is None or len(parts) < limit):
            self.saw_set(name, None, parts)
            return
        part = self.get(name)
        known = [] if part is None else part[2]
        if not are_whole or limit is None or (known[-limit:] if query.newest else known[:limit]) != parts:
            self.forget(name)

    def led(self, asked: Part, part: Part) -> None:
        """Remember what a look-up key led to."""
        self.keep(asked, (None, None, part))

    def _moved(self, part: Part, before: str | None, after: str | None, created: tuple[int, str]) -> None:
        """Take a session out of the set of one owner's and into another's, where it is the newest by what is known."""
        if before is not None and (kept := self.get(("sessions_of", before))) is not None:
            self.saw_set(("sessions_of", before), None, [member for member in kept[2] if member != part])
        if after is None:
            return
        if (kept := self.get(("sessions_of", after))) is not None and self._is_newest(created, kept[2]):
            self.saw_set(("sessions_of", after), None, [*kept[2], part])
        else:
            self.forget(("sessions_of", after))

    def _is_newest(self, created: tuple[int, str], members: Sequence[Part]) -> bool:
        """Whether what was created then, by instant and id, comes after all members of a set in its order."""
        if not members:
            return True
        last = self.get(members[-1])
        return last is not None and (last[2].created_at, last[2].id) < created

    def wrote(self, commit: Commit, stamps: int | Mapping[Part, int]) -> None:
        """Take in what a commit of ours has written, once it is confirmed.

        Args:
            commit: what was written.
            stamps: of each part that was written, or one of all of them.
        """
        changes = commit.changes
        for old_session, session in changes.sessions:
            part = ("session", (session or old_session).id)  # type: ignore[union-attr]  # one of them is there
            before, after = owner_of_living(old_session), owner_of_living(session)
            if before != after:
                created = (0, "") if session is None else (session.created_at, session.id)
                self._moved(part, before, after, created)
            if session is None:
                self.forget(part)
            else:
                self.saw_session(session, _stamp_of(part, stamps))
        for old_token, token in changes.tokens:
            part = ("token", (token or old_token).id)  # type: ignore[union-attr]
            if token is None:
                self.forget(part)
            else:
                self.saw_token(token, _stamp_of(part, stamps))
        if changes.rare is not None:
            self._wrote_rare(commit, changes.rare, stamps)

    def _wrote_rare(self, commit: Commit, changes: Rare, stamps: int | Mapping[Part, int]) -> None:
        for old_entry, entry in changes.entries:
            part = ("entry", (entry or old_entry).owner)  # type: ignore[union-attr]
            if entry is None:
                self.forget(part)
            else:
                self.saw(part, _stamp_of(part, stamps), entry)
        for name, text in changes.settings:
            part = ("setting", name)
            if text is None or part not in commit.stamps:  # what was not read before it is written will not be
                self.forget(part)
            else:
                self.saw(part, _stamp_of(part, stamps), text, len(text))
        for old_key, key in changes.keys:
            part = ("key", (key or old_key).id)  # type: ignore[union-attr]
            if key is None:
                self.forget(part)
            else:
                self.saw(part, _stamp_of(part, stamps), key)


def _stamp_of(part: Part, stamps: int | Mapping[Part, int]) -> str:
    return str(stamps if isinstance(stamps, int) else stamps[part])
