"""Keeping an audit log: who acts, which chain an act is added to, and where the heads of all chains are anchored."""

from __future__ import annotations

import errno
import hmac
import json
import logging
import os
import random
import stat
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from ..contract.forks import anew_in_children
from ..crypto.minting import Hmac, Keyring
from ..errors import InvalidInput
from ..rules.audit import CHAINS, Act, Audited, AuditKey, Head, anchor_mac, chains_in

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("session_tokens.audit")
alerts = logging.getLogger("session_tokens.alerts")

ANCHOR_EVERY = 100
"""After how many entries the heads are anchored, if nothing else is asked for."""
ANCHOR_GAP_S = 1.0
"""How far apart anchors are at the least, where commands go on side by side."""
ANCHOR_LATEST_S = 60.0
"""After what time entries are anchored, however few they are, where a sweeper runs."""

BEGINNING = '{"at":'
"""How each anchor begins."""

NOBODY = Act()
acting: ContextVar[Act] = ContextVar("session_tokens_acting", default=NOBODY)
"""On whose behalf this task or thread acts; the HTTP service sets it for each request."""


def act_of_user() -> Act:
    """Return on whose behalf a command is given: ``os:`` and the user that the operating system runs it as."""
    try:
        import pwd

        name = pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError, AttributeError):
        name = str(os.getuid()) if hasattr(os, "getuid") else "user"
    return Act(f"os:{name}")


class Anchor(NamedTuple):
    """Where chains ended when they were read, and what was signed.

    Attributes:
        heads: chain → where it ended; chains that have not moved since the writer's last anchor are left out.
        key_id: of the key that it is signed with.
        text: what was signed.
        mac: the signature.
    """

    heads: Mapping[int, Head]
    key_id: str
    text: str
    mac: str


class Audit:
    """An audit log on one store.

    Each command is given a chain of the log for itself while it runs; in a store that carries out one command after
    another it is always the first one, in a store of several partitions one that lies where the command commits. Where
    more go on at once than there are chains, some share one. A chain belongs to no process: where two use the same one,
    the store refuses one of two commits, which is done again, and both look for another chain.

    Args:
        anchor: a file to which the heads are appended, one JSON object a line; without one it goes to the logger
            ``session_tokens.audit``. Keep either where those who can write to the store cannot. The file is made at
            once, so that where there is none nobody takes that for a log without anchors yet.
        every: after how many entries; on a server at most once a second.

    Raises:
        InvalidInput: ``every`` is no whole number from 1, or the anchor file is a symbolic link.
    """

    def __init__(self, anchor: str | Path | None = None, *, every: int = ANCHOR_EVERY) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise InvalidInput("every is a whole number of entries from 1")
        self._anchor = None if anchor is None else Path(anchor)
        if self._anchor is not None and self._anchor.is_symlink():
            raise InvalidInput(f"the anchor file {self._anchor} is a symbolic link; name the file itself")
        self._every = every
        self.begin_anew()
        anew_in_children(self)
        self._seen: dict[int, int] = {}
        self._anchored: dict[int, Head] = {}
        self._pending = 0
        self._last_s: float | None = None
        self._key: tuple[Keyring, AuditKey] | None = None
        self._append(b"")

    def begin_anew(self) -> None:
        """Have all chains free: in the child of a fork, the threads that had some, or the lock, are not there."""
        self._free: dict[int | None, list[int]] = {}
        self._shared: list[int] = []
        self._lock = threading.Lock()

    def key_of(self, keyring: Keyring) -> AuditKey:
        """Return the key under which entries are added; it is made once."""
        if self._key is None or self._key[0] is not keyring:
            self._key = (keyring, next(iter(audit_keys(keyring).values())))
        return self._key[1]

    def take(self, *, side_by_side: bool, partition: int | None = None) -> int:
        """Return the chain for one command; ``wrote`` or ``gave_up`` hands it back.

        Args:
            side_by_side: whether the store carries out commands side by side.
            partition: where the command commits; ``None`` in a store that has no partitions.
        """
        if not side_by_side:
            return 0
        try:
            return self._free_in(partition).pop()
        except IndexError:
            chain = random.choice(chains_in(partition))
            self._shared.append(chain)
            return chain

    def _free_in(self, partition: int | None) -> list[int]:
        """Return the chains of a partition that no command of this process has; the next one to be taken is last."""
        free = self._free.get(partition)
        if free is None:
            first, *others = chains_in(partition)
            random.shuffle(others)
            free = self._free.setdefault(partition, [*others, first])
        return free

    def gave_up(self, chain: int, *, side_by_side: bool, partition: int | None = None) -> None:
        """Hand back the chain of a command that failed."""
        if side_by_side:
            self._put_back(chain, partition)

    def _put_back(self, chain: int, partition: int | None, *, is_used_elsewhere: bool = False) -> None:
        """Let a chain be taken again, once no other command of this process has it."""
        if self._shared:
            try:
                self._shared.remove(chain)
                return
            except ValueError:
                pass
        free = self._free_in(partition)
        free.insert(0 if is_used_elsewhere else len(free), chain)

    def wrote(self, chain: int, answer: Audited, *, side_by_side: bool, partition: int | None = None) -> None:
        """Hand back the chain of a command that was carried out, and take note of what it added."""
        if answer.head is not None:
            with self._lock:
                self._pending += answer.entries
        if not side_by_side:
            return
        if answer.head is None:
            self._put_back(chain, partition)
            return
        seen, number = self._seen.get(chain), answer.head.number
        self._seen[chain] = number
        is_used_elsewhere = seen is not None and seen != number - answer.entries
        self._put_back(chain, partition, is_used_elsewhere=is_used_elsewhere)

    def is_due(self, *, side_by_side: bool, idle: bool = False) -> bool:
        """Whether the heads should be anchored now; whoever gets ``True`` does it.

        Args:
            side_by_side: as for ``take``.
            idle: whether a sweeper asks, which anchors fewer entries too when they have waited long enough.
        """
        if not self._pending or (not idle and self._pending < self._every):
            return False
        now_s = time.monotonic()
        waited_s = None if self._last_s is None else now_s - self._last_s
        if self._pending >= self._every:
            is_due = not side_by_side or waited_s is None or waited_s >= ANCHOR_GAP_S
        else:
            is_due = waited_s is not None and waited_s >= ANCHOR_LATEST_S
        if is_due or self._last_s is None:
            self._last_s = now_s
        return is_due

    @property
    def pending(self) -> int:
        """How many entries were added that no anchor covers yet; read it before the heads."""
        return self._pending

    def chains(self, *, side_by_side: bool) -> range:
        """Return the chains whose heads may have moved since they were anchored here."""
        return range(CHAINS) if side_by_side or not self._anchored else range(1)

    def anchor(self, heads: Mapping[int, Head], now_ms: int, key: AuditKey, covered: int) -> None:
        """Sign and keep the heads of all chains; a failure is logged, and the next turn tries again.

        Args:
            heads: of all chains that have entries; those of one partition are as of one instant.
            now_ms: when they were read.
            key: of the chains.
            covered: what ``pending`` was before the heads were read: what was added since then may not be in them.
        """
        moved = {chain: head for chain, head in heads.items() if self._anchored.get(chain) != head}
        if moved and not self._keep(moved, now_ms, key):
            return
        self._anchored.update(moved)
        with self._lock:
            self._pending -= min(covered, self._pending)

    def _keep(self, moved: Mapping[int, Head], now_ms: int, key: AuditKey) -> bool:
        text = json.dumps(
            {"at": now_ms, "key": key.id, "heads": {str(chain): list(head) for chain, head in moved.items()}},
            separators=(",", ":"),
        )
        line = f'{text[:-1]},"mac":"{anchor_mac(key, text)}"}}'
        if self._anchor is None:
            log.warning("audit anchor %s", line)
        return self._append(line.encode("ascii") + b"\n")

    def _append(self, line: bytes) -> bool:
        """Add to the anchor file, if there is to be one; return whether that went well."""
        if self._anchor is None:
            return True
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self._anchor, flags, 0o600)
            try:
                _insist_it_is_a_file(descriptor)
                if line:
                    _add_line(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            remedy = (
                "name the file itself, a link is not followed" if error.errno == errno.ELOOP else "make it writable"
            )
            alerts.error("the anchor file %s cannot be written (%s); %s", self._anchor, error.strerror, remedy)
            return False
        return True


def _add_line(descriptor: int, line: bytes) -> None:
    """Add a whole line or nothing; half of one that a crash left is ended, so that nothing is written behind it."""
    is_alone = _locked(descriptor)
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line
    try:
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    except OSError:
        if is_alone:
            with suppress(OSError):  # a file to which can be added only keeps the half; whoever reads passes it over
                os.ftruncate(descriptor, size)
        raise


def _locked(descriptor: int) -> bool:
    """Return whether no other process adds to the file until it is closed; nobody is waited for, who may be frozen."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _insist_it_is_a_file(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def audit_keys(keyring: Keyring) -> dict[str, AuditKey]:
    """Return the keys of audit chains by id, the current one first: derived from the data keys of the key file."""
    return {
        key_id: AuditKey(key_id, Hmac(hmac.digest(data_key, b"audit", "sha256")).hex)
        for key_id, data_key in keyring.data_keys.items()
    }


def read_anchors(path: Path) -> list[Anchor]:
    """Return the anchors in an anchor file, in its order; whether they are signed is for ``verifying`` to judge.

    A line that was broken off, by a full disk or a crash as it was written, is passed over and told in the log.

    Raises:
        InvalidInput: it cannot be read, or a line of it is no anchor.
    """
    try:
        with open(path, encoding="ascii", opener=_without_following) as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        raise InvalidInput(
            f"there is no anchor file {path}; name the one that serve --audit-anchor was given"
        ) from None
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"the anchor file {path} cannot be read: {error}") from None
    anchors = []
    for number, line in enumerate(lines, 1):
        try:
            anchors.append(_anchor_of(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if not _is_broken_off(line, error):
                raise InvalidInput(f"line {number} of the anchor file {path} is no anchor") from None
            alerts.warning(
                "line %d of the anchor file %s was broken off (a full disk, a crash) and is passed over", number, path
            )
    return anchors


def _is_broken_off(line: str, error: Exception) -> bool:
    """Whether a line begins as an anchor does and is none to its end; taking it away whole would be noticed no more."""
    return isinstance(error, json.JSONDecodeError) and bool(line) and line[: len(BEGINNING)] == BEGINNING[: len(line)]


def _anchor_of(line: str) -> Anchor:
    anchor = json.loads(line)
    mac = str(anchor.pop("mac"))
    heads = {int(chain): Head(int(number), str(link)) for chain, (number, link) in anchor["heads"].items()}
    return Anchor(heads, str(anchor["key"]), json.dumps(anchor, separators=(",", ":")), mac)
