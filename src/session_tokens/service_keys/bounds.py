"""What a service key may be bound to when it is made: networks, owners, a name space, lives and amounts.

Needs nothing of the ``[service]`` extra: the command line makes keys after a bare install.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .. import validation as inputs
from ..errors import InvalidInput
from ..settings import LABEL_BYTES_MAX, OWNER_BYTES_MAX, RESERVED_BEGINNINGS, Duration, duration_ms
from .networks import networks_given

BOUND_ROLES = ("verify", "issue", "transfer", "revoke")
"""Roles that see records by their owner alone; the others see the console, keys or metrics, which are everybody's."""
NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
AMOUNT_MAX = 1_000_000


class Bounds(NamedTuple):
    """The fields of a key's record that bind it, as they are kept; see ``records.ServiceKey``."""

    networks: str | None
    owner_prefix: str | None
    namespace: str | None
    audience: str | None
    max_age_ms: int | None
    rate: int | None
    owner_creations: int | None


def bounds_given(
    role: str,
    *,
    networks: Sequence[str] | None,
    owner_prefix: str | None,
    namespace: str | None,
    audience: str | None,
    max_age: Duration | None,
    rate: int | None,
    owner_creations: int | None,
) -> Bounds:
    """Return the bounds of a new key as they are kept.

    Raises:
        TypeError: a value of another type.
        InvalidInput: a bound that can never be right, or one that the role could go around.
    """
    named = [] if networks is None else networks_given(networks)
    bounds = Bounds(
        " ".join(named) or None,
        None if owner_prefix is None else _prefix_of(owner_prefix),
        None if namespace is None else _namespace_of(namespace),
        None if audience is None else _audience_of(audience),
        duration_ms("max_age", max_age),
        _amount_of("rate", rate),
        _amount_of("owner_creations", owner_creations),
    )
    is_bound = bounds.owner_prefix is not None or bounds.namespace is not None or bounds.max_age_ms is not None
    if is_bound and role not in BOUND_ROLES:
        raise InvalidInput(
            f"a key of the role {role} sees everything; owner prefix, name space and longest life are for keys of the "
            f"roles {', '.join(BOUND_ROLES)}"
        )
    if bounds.audience is not None and role != "verify":
        raise InvalidInput("an audience is for keys of the role verify, which ask about tokens and make none")
    return bounds


def _prefix_of(given: object) -> str:
    prefix = inputs.text_of("owner_prefix", given, bytes_max=OWNER_BYTES_MAX - 1)
    if not prefix or prefix[-1].isalnum():
        raise InvalidInput("an owner prefix ends with a sign, such as app1: (app1 alone would cover app10 too)")
    if prefix.startswith(RESERVED_BEGINNINGS):
        raise InvalidInput("owners that begin so are reserved; use another owner prefix")
    return prefix


def _namespace_of(given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(f"namespace is a str, not {type(given).__name__}")
    if not NAMESPACE.fullmatch(given):
        raise InvalidInput("a name space is 1 to 64 ASCII letters, digits, '_', '.' or '-', a letter or digit first")
    return inputs.plain(given)


def _audience_of(given: object) -> str:
    audience = inputs.text_of("audience", given, bytes_max=LABEL_BYTES_MAX)
    if not audience:
        raise InvalidInput("an audience is a text, as tokens are issued for it, such as https://api.example")
    return audience


def _amount_of(name: str, given: object) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"{name} is an int, not {type(given).__name__}")
    if not 1 <= given <= AMOUNT_MAX:
        raise InvalidInput(f"{name} is 1 to {AMOUNT_MAX}; leave it out for no limit")
    return int(given)
