"""The invariants of every store, checked through the public API alone after each step, without asking the model."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.model.worlds import World


class Watch:
    """Remembers what one store has shown so far, so that it can see what must never happen afterwards.

    Attributes:
        left_alone: names of secrets that are not looked at: that would end a session.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.gone: set[str] = set()
        self.left_alone: list[str] = []
        self.refused: set[str] = set()
        self.counts: dict[str, tuple[int, int]] = {}
        self.versions: dict[tuple[str, int], Any] = {}

    def check(self, max_sessions: int | None) -> None:
        sessions = self.world.listed("list_sessions")
        tokens = self.world.listed("list_tokens")
        self.a_token_has_one_owner_or_is_unassigned(tokens)
        self.a_bound_token_lives_in_a_living_session(sessions, tokens)
        self.what_is_dead_never_lives_again(sessions, tokens)
        self.versions_and_epochs_only_grow(sessions, tokens)
        self.owners_keep_to_their_cap(sessions, max_sessions)
        self.listings_equal_a_scan(sessions, tokens)
        self.no_deadline_is_beyond_max_age(sessions, tokens)

    def a_token_has_one_owner_or_is_unassigned(self, tokens: list[Any]) -> None:
        """I1."""
        for token in tokens:
            if token.kind == "free":
                assert (token.owner, token.session_id, token.is_unassigned) == (None, None, False), token
            else:
                assert (token.owner is None) == token.is_unassigned, token
                assert token.session_id is None or token.owner is not None, token
                assert token.kind == "transferable" or token.session_id is not None, token

    def a_bound_token_lives_in_a_living_session(self, sessions: list[Any], tokens: list[Any]) -> None:
        """I2, and the session that holds a token is its owner's."""
        owners = {session.id: session.owner for session in sessions}
        for token in tokens:
            if token.session_id is not None:
                assert owners.get(token.session_id) == token.owner, token

    def what_is_dead_never_lives_again(self, sessions: list[Any], tokens: list[Any]) -> None:
        """I3, for ids in the listings and for secrets."""
        living = {record.id for record in (*sessions, *tokens)}
        assert not living & self.gone, f"alive again: {living & self.gone}"
        store = self.world.store
        for name, string in self.world.strings.items():
            if name in self.left_alone:
                continue
            if "#" in name:
                verify: Any = store.verify_token if name.startswith("t") else store.verify_session
                accepted = verify(string) if name.startswith("t") else verify(string, touch=False)
                assert accepted is None or string not in self.refused, f"{name} authenticates again"
                if accepted is None:
                    self.refused.add(string)
            elif string not in living:
                self.gone.add(string)

    def versions_and_epochs_only_grow(self, sessions: list[Any], tokens: list[Any]) -> None:
        """I4."""
        for record in (*sessions, *tokens):
            before = self.counts.get(record.id, (0, 0))
            seen = (record.version, getattr(record, "epoch", 0))
            assert seen[0] >= before[0] and seen[1] >= before[1], (before, seen, record)
            self.counts[record.id] = seen
        for token in tokens:  # whatever moves a token, and whenever that is written down, gives it a new version
            if token.kind != "session-bound":
                assert self.versions.setdefault((token.id, token.version), token) == token

    def owners_keep_to_their_cap(self, sessions: list[Any], max_sessions: int | None) -> None:
        """I5."""
        for owner, count in Counter(session.owner for session in sessions).items():
            assert max_sessions is None or count <= max_sessions, (owner, count)

    def listings_equal_a_scan(self, sessions: list[Any], tokens: list[Any]) -> None:
        """I6: of all records that were ever given out, those that answer by id; then each index against that scan."""
        listed, store = self.world.listed, self.world.store
        ids = [(name, string) for name, string in self.world.strings.items() if "#" not in name]
        scanned = [store.get_session(string) for name, string in ids if name.startswith("s")]
        assert [record for record in scanned if record is not None] == in_order(sessions, ids)
        scanned_tokens = [store.get_token(string) for name, string in ids if name.startswith("t")]
        assert [record for record in scanned_tokens if record is not None] == in_order(tokens, ids)
        for owner in {record.owner for record in (*sessions, *tokens)} - {None}:
            assert listed("list_sessions", owner=owner) == [s for s in sessions if s.owner == owner]
            assert listed("list_tokens", owner=owner) == [t for t in tokens if t.owner == owner]
        for session in sessions:
            held = [token for token in tokens if token.session_id == session.id]
            assert listed("list_tokens", session=self.world.names[session.id]) == held
        for yes in (True, False):
            assert listed("list_sessions", detached=yes) == [s for s in sessions if (s.detached_at is not None) == yes]
            assert listed("list_tokens", transferable=yes) == [t for t in tokens if t.is_transferable == yes]
            assert listed("list_tokens", unassigned=yes) == [t for t in tokens if t.is_unassigned == yes]
            assert listed("list_tokens", sellable=yes) == [t for t in tokens if t.is_sellable == yes]
        for tag in {token.tag for token in tokens} - {None}:
            assert listed("list_tokens", tag=tag) == [token for token in tokens if token.tag == tag]

    def no_deadline_is_beyond_max_age(self, sessions: list[Any], tokens: list[Any]) -> None:
        """I7."""
        ends = {s.id: s.created_at + round(s.max_age * 1000) for s in sessions if s.max_age is not None}
        for session in sessions:
            assert session.id not in ends or session.expires_at <= ends[session.id], session
        for token in tokens:
            if token.kind == "session-bound" and token.session_id in ends:
                assert token.expires_at <= ends[token.session_id], token


def in_order(records: list[Any], ids: list[tuple[str, str]]) -> list[Any]:
    """Sort records as their ids were given out."""
    place = {string: position for position, (_, string) in enumerate(ids)}
    return sorted(records, key=lambda record: place[record.id])
