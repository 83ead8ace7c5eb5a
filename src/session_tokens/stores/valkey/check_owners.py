"""Owners' entries that were lost on a Valkey or Redis store: found by what sessions tell, written anew. Pure."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

from ...clock import NEVER
from ...contract.lost_entries import end_after_loss
from ...contract.optimistic import Commit
from ...errors import UNREADABLE
from ...records import OwnerEntry
from ..common.json_rows import from_json
from ..common.kinds import OWNER, SESSION
from .commit import Writes
from .keys import STAMP_LENGTH, owner_part
from .rows import Reply, ValkeyCodec

_OWNER = SESSION.names.index("owner")
_EPOCH = SESSION.names.index("owner_epoch")


class LostEntry(NamedTuple):
    """An owner of whose sessions' epoch no entry tells.

    Attributes:
        part: the owner as part of a key.
        epoch: the latest of a session of theirs.
        is_anew: whether their entry was written anew.
    """

    part: bytes
    epoch: int
    is_anew: bool


class _Told:
    """What the sessions of an owner tell."""

    __slots__ = ("epochs", "first", "latest", "owner")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.epochs: set[int] = set()  # also of those that cannot be read
        self.latest = 0  # of those that can
        self.first: tuple[bytes, bytes] | None = None  # name and value of one that can


class Owners:
    """What the records of a store tell of the epochs of owners; it is shown entries before sessions.

    Args:
        codec: of the store.
    """

    def __init__(self, codec: ValkeyCodec) -> None:
        self._codec = codec
        self._told: dict[bytes, _Told] = {}
        self._unreadable: set[bytes] = set()
        self._epochs: dict[bytes, int] = {}

    def saw(self, name: bytes, value: bytes) -> None:
        """Note what a genuine record tells."""
        if name[:1] == b"e":
            self._epochs[name[2:]] = self._codec.record(OWNER, value).epoch
        elif name[:1] == b"s":
            told, epoch = self._heard(value)
            if told is not None:
                told.latest = max(told.latest, epoch)
                told.first = told.first or (name, value)

    def saw_unreadable(self, name: bytes, value: bytes) -> None:
        """Note what a record tells that cannot be read."""
        if name[:1] == b"e":
            self._unreadable.add(name[2:])
        elif name[:1] == b"s":
            self._heard(value)

    def _heard(self, value: bytes) -> tuple[_Told | None, int]:
        """Return what the owner's sessions tell by now, ``None`` where no entry can have been lost, and its epoch."""
        row = _row_in(value)
        owner, epoch = (row[_OWNER], row[_EPOCH]) if len(row) > _EPOCH else (None, None)
        if not isinstance(owner, str) or not isinstance(epoch, int):
            return None, 0
        part = owner_part(owner)
        if epoch <= self._epochs.get(part, 0) and part not in self._unreadable:
            return None, 0
        told = self._told.setdefault(part, _Told(owner))
        told.epochs.add(epoch)
        return told, epoch

    def set_aside(self, name: bytes, value: bytes) -> Generator[list[bytes], Reply, tuple[bool, bool]]:
        """Move an entry out of the way, and write the owner's new one in its place.

        Where neither it nor a session tells who the owner is, there is nothing that it could have ended.

        Returns:
            Whether it still was the one that was looked at, and whether a new one was written.
        """
        part = name[2:]
        quarantined = [b"p", b"q:" + name, b"0", value]
        told = self._told.get(part) or _owner_told(value, part)
        if told is None:
            reply = yield fix_words(self._codec, {name: value[:STAMP_LENGTH]}, [*quarantined, b"d", name])
            return bool(reply[1]), False
        done = yield from self._write_anew(told, None, name, value[:STAMP_LENGTH], quarantined)
        return done, done

    def lost(self, *, fix: bool) -> Generator[list[bytes], Reply, list[LostEntry]]:
        """Return the owners of whose sessions' epoch no entry tells, and write their entries anew where ``fix``.

        Each is looked at once more: an entry may have been written since its place was read, before the session was.
        """
        found = []
        for part, told in self._told.items():
            name = b"e:" + part
            if part in self._unreadable or told.latest == 0:
                continue
            (value,) = yield [b"MGET", self._codec.prefix + name]
            try:
                known = None if value is None else self._codec.record(OWNER, value)
            except UNREADABLE:
                continue
            if known is not None and known.epoch >= told.latest:
                continue
            stamp = b"" if value is None else value[:STAMP_LENGTH]
            done = fix and (yield from self._write_anew(told, known, name, stamp, ()))
            found.append(LostEntry(part, told.latest, done))
        return found

    def _write_anew(
        self, told: _Told, known: OwnerEntry | None, name: bytes, stamp: bytes, before: Sequence[bytes]
    ) -> Generator[list[bytes], Reply, bool]:
        """Write an owner's entry where theirs was lost; return whether nothing had moved meanwhile.

        A session is given to the sweeper with it, if it is as it was.
        """
        now = self._codec.clock.now()
        for with_session in (told.first, None):
            stamps = {name: stamp}
            session = None
            if with_session is not None:
                stamps[with_session[0]] = with_session[1][:STAMP_LENGTH]
                session = self._codec.record(SESSION, with_session[1])
            changes = end_after_loss(told.owner, known, told.epochs, session, now)
            writes = Writes(self._codec, Commit(changes, stamps, now))
            reply = yield fix_words(self._codec, writes.checks, [*before, *writes.words])
            if reply[1]:
                return True
        return False


def fix_words(codec: ValkeyCodec, checks: Mapping[bytes, bytes], writes: Sequence[bytes]) -> list[bytes]:
    """Return the call that writes if each of some records still has its stamp, empty for what is not there."""
    always = (b"0", b"%d" % NEVER)
    words = [b"FCALL", b"session_tokens_commit_v1", b"1", codec.last_stamp_key, *always, b"%d" % len(checks)]
    for check in checks.items():
        words += check
    return [*words, b"%d" % len(writes), *writes]


def _row_in(value: bytes) -> list[Any]:
    """Return the row of a stored value, whoever wrote it; an empty one for what holds none."""
    try:
        row = from_json(value[STAMP_LENGTH:].split(b"\n", 2)[2])
    except (ValueError, IndexError, RecursionError):
        return []
    return row if isinstance(row, list) else []


def _owner_told(value: bytes, part: bytes) -> _Told | None:
    """Return the owner whom an entry names that cannot be read, if it stands where theirs does."""
    owner = next(iter(_row_in(value)), None)
    return _Told(owner) if isinstance(owner, str) and owner_part(owner) == part else None
