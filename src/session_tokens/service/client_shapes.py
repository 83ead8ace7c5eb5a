"""The bodies and answers of the addresses that clients in other processes and languages work through."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from .shapes import Body, Seconds, SessionShape, TokenShape


class LogIn(Body):
    """Log a user in: what their visitor's session held is carried over, and it ends."""

    owner: Annotated[str | None, Meta(description="Who has logged in; null opens a visitor's session.")]
    former: Annotated[str, Meta(description="The id or secret of the session that the browser had.")] | None = None
    secret: Annotated[str, Meta(description="That the new session is to have, where it was minted before.")] | None = (
        None
    )
    data: dict[str, Any] | None = None
    removed: Annotated[list[str], Meta(description="Names of fields that are not carried over.")] = field(
        default_factory=list
    )
    remember: Annotated[bool, Meta(description="Whether it lasts for remember_max_age.")] = False
    version: Annotated[int, Meta(description="Only if no field of data has changed in former since.")] | None = None
    idle_timeout: Seconds | UnsetType = UNSET
    max_age: Seconds | UnsetType = UNSET
    label: str | None = None
    user_agent: str | None = None
    address: str | None = None
    acr: str | None = None
    amr: list[str] = field(default_factory=list)


class VerifySecret(Body):
    """Verify a secret."""

    secret: Annotated[str, Meta(description="Of a session (sts_…, std_…) or token (stt_…).")]
    touch: Annotated[bool, Meta(description="Whether this is a use of the session: its idle clock restarts.")] = True


class CallTables(Body):
    """Call one of the names of TokenTables."""

    arguments: Annotated[list[Any], Meta(description="In the order of its parameters; durations in milliseconds.")] = (
        field(default_factory=list)
    )


class Verified(Struct, omit_defaults=True):
    """The living session or token of a secret, whole."""

    session: SessionShape | UnsetType = UNSET
    token: TokenShape | UnsetType = UNSET


class TablesAnswer(Struct):
    """What a name of TokenTables answers; a time without end is the text never."""

    answer: Any
