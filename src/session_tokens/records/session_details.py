"""The parts of a session that few sessions have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from .rotation import Rotation


class SessionDetails(NamedTuple):
    """The parts of a session that few sessions have.

    Attributes:
        label: a name for the owner to tell sessions apart.
        user_agent: of the client that logged in.
        address: of the client that logged in.
        data_text: the session's data as JSON text of an object.
        data_versions: for each field of the data, the session's version at its last change.
        successor: the id of the session that the transferable tokens of this replaced one are in, until they are
            written down there; ``None`` for all others.
        moves: in how many steps they have come there: how much each token's version has grown.
        ahead_ms: how much later than its opening ``created_at`` is, so that no two openings of an owner have the same.
        secret_kind: how its secrets begin; ``None`` for ``sts_``.
        acr: how surely its owner proved who they are: the class reference of OpenID Connect Core 1.0.
        amr_text: by which methods (RFC 8176), as JSON text of an array.
        timed_from: since when the maximum age counts that an application gave it in its life, in milliseconds;
            ``None`` where none was given since its opening.
        db_hash: the hash that an application's own DB made of the session, for ``TokenTables`` over such a DB.
        rotation: how it came to its present secret, where that was with grace.
    """

    label: str | None = None
    user_agent: str | None = None
    address: str | None = None
    data_text: str = "{}"
    data_versions: Mapping[str, int] = {}
    successor: str | None = None
    moves: int = 0
    ahead_ms: int = 0
    secret_kind: str | None = None
    acr: str | None = None
    amr_text: str | None = None
    timed_from: int | None = None
    db_hash: str | None = None
    rotation: Rotation | None = None


NO_DETAILS: Final = SessionDetails()
