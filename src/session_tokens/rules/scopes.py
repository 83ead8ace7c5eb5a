"""What a service key that is bound to an owner prefix or a name space can see: its own records and no others.

A record belongs to the name space of the key that made it, whoever changed it since. What has no owner (a free token)
belongs to those whose keys have the owner prefix of the key that made it; what lost its owner, to those of its previous
owner.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from ..contract.transaction import Transaction
from ..records import ServiceKey, Session, Token

SCOPE = "key_scope:"
"""The prefix of the settings that say what a key that is gone was bound to."""


class Scope(NamedTuple):
    """What a key is bound to.

    Attributes:
        owner_prefix: how the owners begin for whom it acts; ``None`` for all.
        namespace: the name space of what it makes and sees; ``None`` for all.
        audience: for which the tokens that it sees were issued; ``None`` for all, and for sessions.
    """

    owner_prefix: str | None
    namespace: str | None
    audience: str | None = None

    def covers_owner(self, owner: str) -> bool:
        """Whether an owner is one for whom the key acts."""
        return self.owner_prefix is None or owner.startswith(self.owner_prefix)

    def covers(self, record: Session | Token, maker: Scope) -> bool:
        """Whether the key sees a record that was made by a key with the scope ``maker``."""
        if self.namespace is not None and self.namespace != maker.namespace:
            return False
        if self.audience is not None and (isinstance(record, Session) or self.audience not in record.audience):
            return False
        owner = record.owner
        if owner is None and isinstance(record, Token):
            owner = record.previous_owner
        return self.owner_prefix in (None, maker.owner_prefix) if owner is None else self.covers_owner(owner)


EVERYTHING = Scope(None, None)


def scope_of(key: ServiceKey) -> Scope:
    """Return what a key is bound to."""
    return Scope(key.owner_prefix, key.namespace, key.audience)


def scope_in(text: str | None) -> Scope:
    """Return the scope in a setting; that of keys that are bound to nothing where there is none."""
    return EVERYTHING if text is None else Scope(*json.loads(text))


def keep_scope(tx: Transaction, key: ServiceKey) -> None:
    """Keep what a key was bound to when it goes: what it made stays where it is."""
    if key.is_bound:
        tx.put_setting(SCOPE + key.id, json.dumps(list(scope_of(key))))


def within(asked_ms: int | None, longest_ms: int | None) -> bool:
    """Whether a life is no longer than the longest that may be given; ``None`` is a life without end."""
    return longest_ms is None or (asked_ms is not None and asked_ms <= longest_ms)


def shorter(one_ms: int | None, other_ms: int | None) -> int | None:
    """Return the shorter of two lives; ``None`` is one without end."""
    if one_ms is None or other_ms is None:
        return other_ms if one_ms is None else one_ms
    return min(one_ms, other_ms)
