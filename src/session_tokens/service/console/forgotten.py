"""The names of owners who were forgotten, kept out of what the console remembers of what happened."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from ...audit.log import audit_keys
from ...crypto.minting import Keyring
from ...events import Event
from ...rules.audit import pseudonym_of

FORGOTTEN_MAX = 1_000


class ForgottenNames:
    """Knows by their pseudonyms who was forgotten while this process runs; it keeps no name."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._gone: OrderedDict[str, str] = OrderedDict()

    def note(self, event: Event) -> None:
        """Take note of an owner who is being forgotten."""
        also = (event.terms or {}).get("also", ())
        for pseudonym in (event.subject_id, *(also if isinstance(also, Sequence) else ())):
            self._gone[str(pseudonym)] = event.subject_id
        while len(self._gone) > FORGOTTEN_MAX:
            self._gone.popitem(last=False)

    def begins_anew(self, owner: str | None) -> None:
        """Take note that somebody has a name again: until an owner is forgotten, nothing is opened for them."""
        for pseudonym in self._pseudonyms(owner):
            self._gone.pop(pseudonym, None)

    def shown(self, owner: str | None) -> str | None:
        """Return by which name an owner is shown: a pseudonym stands for those who were forgotten."""
        return next((self._gone[each] for each in self._pseudonyms(owner) if each in self._gone), owner)

    def _pseudonyms(self, owner: str | None) -> list[str]:
        if owner is None or not self._gone:
            return []
        return [pseudonym_of(key, owner) for key in audit_keys(self._keyring).values()]
