"""Makes the library's records of what the service answers, on the clock of the service's store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ..clock import NEVER
from ..events import Event
from ..records import Session, Token
from ..records.rotation import Rotation
from ..records.session_details import SessionDetails
from ..records.token_details import Offer, TokenDetails
from ..records.traits import TokenKind
from ..stores.common.server_clock import ServerClock

Answer = Mapping[str, Any]


def session_of(answer: Answer, clock: ServerClock) -> Session:
    """Return a session; what a service of a later version answers beside is left out."""
    details = SessionDetails(
        label=answer["label"],
        user_agent=answer["user_agent"],
        address=answer["address"],
        data_text=_text(answer["data"]),
        acr=answer.get("acr"),
        amr_text=_text(answer["amr"]) if answer.get("amr") else None,
        rotation=_rotation_of(answer.get("rotated_at"), answer.get("secret_until")),
    )
    return Session._of(
        answer["id"], answer["owner"], None, answer["created_at"], answer["last_seen_at"], answer["authenticated_at"],
        _deadline(answer["expires_at"]), _ms(answer["idle_timeout"]), _ms(answer["max_age"]),
        _ms(answer["detached_timeout"]), answer["detachable"], answer["detached_at"], None, None, 0, 0,
        answer["version"], details, answer["client_id"], None, clock,
    )  # fmt: skip


def _rotation_of(rotated_at: int | None, secret_until: int | None) -> Rotation | None:
    return None if rotated_at is None else Rotation(at=rotated_at, presented_until=secret_until)


def token_of(answer: Answer) -> Token:
    """Return a token, as ``session_of``."""
    value, price = answer["value"], answer["price"]
    offer = None
    if answer["sellable"] or answer["gift"]:
        offer = Offer(answer["sellable"], None if price is None else Decimal(price), answer["currency"], answer["gift"])
    details = TokenDetails(
        offer=offer,
        scope=answer["scope"],
        audience_text=_text(answer["audience"]) if answer["audience"] else None,
        for_client=answer.get("for_client"),
        tag=answer["tag"],
        uses_left=answer.get("uses_left"),
        reserved_for=answer.get("reserved_for"),
        reserved_until=answer.get("reserved_until"),
        borrower=answer.get("borrower"),
    )
    deadline = _deadline(answer["expires_at"])
    return Token._of(
        answer["id"], answer["owner"], None, TokenKind(answer["kind"]), answer["session_id"],
        value if isinstance(value, str) else _text(value), not isinstance(value, str), answer["created_at"],
        _ms(answer["timeout"]), deadline, deadline, _ms(answer["disownment_timeout"]), answer["held_since"],
        answer["unassigned_at"], answer["previous_owner"], answer["epoch"], answer["version"], details,
        answer["client_id"], None,
    )  # fmt: skip


def event_of(answer: Answer) -> Event:
    """Return an event."""
    return Event(**{name: answer[name] for name in Event._fields if name in answer})


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _deadline(expires_at: int | None) -> int:
    return NEVER if expires_at is None else expires_at
