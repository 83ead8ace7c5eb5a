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

    def note(self, pseudonyms: Sequence[str]) -> None:
        """Take note of an owner who is being forgotten, by all their pseudonyms; the first one stands for the name."""
        for pseudonym in pseudonyms:
            self._gone[pseudonym] = pseudonyms[0]
        while len(self._gone) > FORGOTTEN_MAX:
            self._gone.popitem(last=False)

    def begins_anew(self, owner: str | None) -> list[str]:
        """Take note that somebody has a name again: until an owner is forgotten, nothing is opened for them.

        Returns:
            The pseudonyms that stood for them.
        """
        pseudonyms = [each for each in self._pseudonyms(owner) if each in self._gone]
        self.remove(pseudonyms)
        return pseudonyms

    def remove(self, pseudonyms: Sequence[str]) -> None:
        """Take note that the owner of these pseudonyms has a name again."""
        for pseudonym in pseudonyms:
            self._gone.pop(pseudonym, None)

    def shown(self, owner: str | None) -> str | None:
        """Return by which name an owner is shown: a pseudonym stands for those who were forgotten."""
        return next((self._gone[each] for each in self._pseudonyms(owner) if each in self._gone), owner)

    def _pseudonyms(self, owner: str | None) -> list[str]:
        if owner is None or not self._gone:
            return []
        return [pseudonym_of(key, owner) for key in audit_keys(self._keyring).values()]


def pseudonyms_in(event: Event) -> list[str]:
    """Return the pseudonyms of an owner who was forgotten, the one that stands for the name first."""
    also = (event.terms or {}).get("also", ())
    return [event.subject_id, *map(str, also if isinstance(also, Sequence) else ())]
