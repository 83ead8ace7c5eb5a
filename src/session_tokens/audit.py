"""Keeping an audit log: who acts, under which key the chain is made, and where its head is anchored."""

from __future__ import annotations

import hmac
import json
import logging
import os
from contextvars import ContextVar
from pathlib import Path

from .errors import InvalidInput
from .minting import Keyring
from .rules.audit import Act, AuditKey, Head

log = logging.getLogger("session_tokens.audit")
alerts = logging.getLogger("session_tokens.alerts")

ANCHOR_EVERY = 100
"""After how many entries the head is anchored, if nothing else is asked for."""

NOBODY = Act()
acting: ContextVar[Act] = ContextVar("session_tokens_acting", default=NOBODY)
"""On whose behalf this task or thread acts; the HTTP service sets it for each request."""


class Audit:
    """An audit log on one store.

    Args:
        anchor: a file to which the head is appended, one JSON object a line; without one it goes to the logger
            ``session_tokens.audit``. Keep either where those who can write to the store cannot. The file is made at
            once, so that where there is none nobody takes that for a log without anchors yet.
        every: after how many entries.

    Raises:
        InvalidInput: ``every`` is no whole number from 1.
    """

    def __init__(self, anchor: str | Path | None = None, *, every: int = ANCHOR_EVERY) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise InvalidInput("every is a whole number of entries from 1")
        self._anchor = None if anchor is None else Path(anchor)
        self._every = every
        self._seen: Head | None = None
        self._anchored = 0
        self._append(b"")

    def advance(self, head: Head, now_ms: int) -> None:
        """Take note of the head after a commit, and anchor it when its number passes a multiple of ``every``."""
        before = head.number - 1 if self._seen is None else self._seen.number
        self._seen = head
        if head.number // self._every > before // self._every:
            self._write(head, now_ms)

    def close(self, now_ms: int) -> None:
        """Anchor the last head that was seen here, if it is not anchored yet."""
        if self._seen is not None and self._seen.number > self._anchored:
            self._write(self._seen, now_ms)

    def _write(self, head: Head, now_ms: int) -> None:
        """Anchor a head; a failure is told to the log, and the next turn tries again."""
        self._anchored = head.number
        line = json.dumps({"n": head.number, "link": head.link, "at": now_ms}, separators=(",", ":"))
        if self._anchor is None:
            log.warning("audit anchor %s", line)
            return
        if not self._append(line.encode("ascii") + b"\n"):
            self._anchored = 0

    def _append(self, line: bytes) -> bool:
        """Add to the anchor file, if there is to be one; answer whether that went well."""
        if self._anchor is None:
            return True
        try:
            descriptor = os.open(self._anchor, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            alerts.error("the anchor file %s cannot be written (%s); make it writable", self._anchor, error.strerror)
            return False
        return True


def audit_keys(keyring: Keyring) -> dict[str, AuditKey]:
    """Answer the keys of audit chains by id, the current one first: derived from the data keys of the key file."""
    return {
        key_id: AuditKey(key_id, hmac.digest(data_key, b"audit", "sha256"))
        for key_id, data_key in keyring.data_keys.items()
    }


def read_anchors(path: Path) -> list[Head]:
    """Answer the heads in an anchor file, in its order.

    Raises:
        InvalidInput: it cannot be read, or a line of it is no anchor.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        raise InvalidInput(
            f"there is no anchor file {path}; name the one that serve --audit-anchor was given"
        ) from None
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"the anchor file {path} cannot be read: {error}") from None
    anchors = []
    for number, line in enumerate(lines, 1):
        try:
            anchor = json.loads(line)
            anchors.append(Head(int(anchor["n"]), str(anchor["link"])))
        except (ValueError, KeyError, TypeError):
            raise InvalidInput(f"line {number} of the anchor file {path} is no anchor") from None
    return anchors
