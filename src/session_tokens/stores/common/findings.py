"""What a check of a store says: one thing that is not as it should be, and what was done about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

FINDINGS_MAX: Final = 1_000
"""Findings that are answered; more are counted in one last finding."""
ASIDE: Final = "moved to quarantine"
"""What is done about a record that nobody with the pepper wrote."""

Progress = Callable[[int, int], None]
"""``progress(done, total)`` records."""


class Finding(NamedTuple):
    """One thing that is not as it should be.

    Attributes:
        kind: of the record (``session``, ``token``, ``owner``, ``idempotency``, ``setting``, ``service key``);
            ``index``, ``table``, ``function``, ``sequence``, ``events`` or ``file``.
        id: of the record, or the name of the thing; empty for the file.
        message: what is wrong, for people; never a secret.
        fixed: what was done about it, ``None`` where nothing was.
        what: ``forged``, ``malformed``, ``unknown_pepper``, ``older_pepper``, ``orphan``, ``lost_entry``, ``twin``,
            ``index``, ``lookup``, ``structure``, ``foundation``, ``held_back`` or ``more``.
        space: the name space, empty for the main one or the whole store.
    """

    kind: str
    id: str
    message: str
    fixed: str | None = None
    what: str = "index"
    space: str = ""

    def __str__(self) -> str:
        where = " ".join(word for word in (self.space, self.kind, self.id) if word)
        return f"{where}: {self.message}" + (f" ({self.fixed})" if self.fixed else "")


class Findings:
    """Gathers what is found, at most ``FINDINGS_MAX`` of it.

    Args:
        fix: whether it is mended.
    """

    def __init__(self, fix: bool) -> None:
        self._fix = fix
        self._found: list[Finding] = []
        self._more = 0

    def add(self, finding: Finding) -> None:
        """Note something, or count it."""
        if len(self._found) < FINDINGS_MAX:
            self._found.append(finding)
        else:
            self._more += 1

    @property
    def all(self) -> list[Finding]:
        """What was found; a last finding counts what is not listed."""
        if not self._more:
            return self._found
        fixed = "as those" if self._fix else None
        return [*self._found, Finding("file", "", f"{self._more} more of the same kinds", fixed, "more")]
