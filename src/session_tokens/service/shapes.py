"""The bodies, queries and answers of the service: what is decoded, what is encoded, and what OpenAPI says about it.

Durations are seconds; ``null`` is never, left out is the general default (or, in a change, as it is). Instants are
milliseconds since the epoch on the store's clock. Every body is closed: an unknown field is refused.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from ..events import Event
from ..records import ServiceKey, Session, Token
from ..service_keys.networks import networks_of

Seconds = Annotated[int | float | None, Meta(description="Seconds; null: never.")]
SessionKey = Annotated[str, Meta(description="The id (ses_…) or secret (sts_…) of a living session.")]
Owner = Annotated[str, Meta(description="The application's identity string: 1 to 255 bytes of UTF-8 in NFC.")]
AnyJSON = Annotated[Any, Meta(description="A string, kept verbatim, or any JSON value; at most 16 KiB.")]
Version = Annotated[int, Meta(description="Only if the record still has this version (or send If-Match).")]
Instant = Annotated[int, Meta(description="Milliseconds since the epoch.")]
HowSurely = Annotated[
    str | None, Meta(description="How surely the owner has just proved who they are (OpenID Connect Core 1.0).")
]
Methods = Annotated[list[str], Meta(description="By which methods, such as pwd and otp (RFC 8176).")]
Grace = Annotated[
    int | float | None,
    Meta(
        description="Seconds for which the old secret stays good, up to an hour; its use after that ends the session. "
        "With the old secret as the key, the same new one is answered again. null: it is dead at once."
    ),
]
Secret = Annotated[str, Meta(description="The bearer string: shown this once and kept nowhere.")]


class Body(Struct, kw_only=True, forbid_unknown_fields=True):
    """What all bodies have in common."""


class OpenSession(Body):
    """Open a session for an owner."""

    owner: Owner
    idle_timeout: Seconds | UnsetType = UNSET
    max_age: Seconds | UnsetType = UNSET
    detached_timeout: Seconds | UnsetType = UNSET
    detachable: bool = False
    data: dict[str, Any] | None = None
    label: str | None = None
    user_agent: str | None = None
    address: str | None = None
    acr: HowSurely = None
    amr: Methods = []


class ChangeSession(Body):
    """Change a session: either its data, field by field, or its clocks, label and detachability."""

    idle_timeout: Seconds | UnsetType = UNSET
    max_age: Seconds | UnsetType = UNSET
    detached_timeout: Seconds | UnsetType = UNSET
    detachable: bool | UnsetType = UNSET
    label: str | None | UnsetType = UNSET
    data: Annotated[dict[str, Any], Meta(description="Fields to write; null is a value.")] | UnsetType = UNSET
    removed: Annotated[list[str], Meta(description="Names of fields of the data that shall go.")] | UnsetType = UNSET
    version: Version | UnsetType = UNSET


class RotateSession(Body):
    """Give a session a new secret."""

    grace: Grace = None
    authenticated: Annotated[bool, Meta(description="Whether its owner has just proved who they are.")] = False
    acr: HowSurely = None
    amr: Methods = []


class NoBody(Body):
    """Nothing is asked for; the body may be left out."""


class IssueToken(Body):
    """Issue a token under a session, or a free one."""

    session: SessionKey | None = None
    value: AnyJSON = None
    transferable: bool = False
    timeout: Seconds | UnsetType = UNSET
    disownment_timeout: Seconds | UnsetType = UNSET
    uses: Annotated[int, Meta(description="How often it can be used up; at none left it ends.")] | None = None
    tag: Annotated[str, Meta(description="What it is for, up to 64 bytes; tokens are listed by it.")] | None = None
    scope: Annotated[str, Meta(description="What it allows, words with blanks between (RFC 6749, 3.3).")] | None = None
    audience: Annotated[list[str] | str, Meta(description="For whom it is: one text, or up to 16.")] | None = None
    for_client: Annotated[str, Meta(description="The client for whom it is: client_id (RFC 7662).")] | None = None


class ChangeToken(Body):
    """Change value or clocks of a token."""

    timeout: Seconds | UnsetType = UNSET
    disownment_timeout: Seconds | UnsetType = UNSET
    value: AnyJSON | UnsetType = UNSET
    version: Version | UnsetType = UNSET


class TransferToken(Body):
    """Hand a transferable token to another owner."""

    receiver: Owner
    giver: Annotated[str | None, Meta(description="Its present owner; null or left out if it is unassigned.")] = None
    epoch: Annotated[int, Meta(description="Only if it has not changed hands since.")] | UnsetType = UNSET


class ClaimToken(Body):
    """Take an unassigned token into a living session."""

    session: SessionKey


class ReissueToken(Body):
    """Give a token a new secret."""

    owner: Annotated[str | None, Meta(description="Its present owner; null for a free token.")]


class CreateKey(Body):
    """Make a service key."""

    role: Annotated[str, Meta(description="verify, issue, transfer, revoke, audit, operator or admin.")]
    label: str | None = None
    networks: (
        Annotated[list[str], Meta(description="Those that it may be used from, such as 10.0.0.0/8.")] | UnsetType
    ) = UNSET
    owner_prefix: (
        Annotated[str, Meta(description="How the owners begin for whom it acts, such as app1:.")] | UnsetType
    ) = UNSET
    namespace: Annotated[str, Meta(description="What it makes belongs to it; it sees nothing else.")] | UnsetType = (
        UNSET
    )
    audience: (
        Annotated[str, Meta(description="It sees tokens that were issued for it, and nothing else.")] | UnsetType
    ) = UNSET
    max_age: Annotated[int | float, Meta(description="Seconds: the longest life that it may give.")] | UnsetType = UNSET
    rate: Annotated[int, Meta(description="Requests a second.")] | UnsetType = UNSET
    owner_creations: Annotated[int, Meta(description="What it may make for one owner a minute.")] | UnsetType = UNSET
    lifetime: Seconds | UnsetType = UNSET


class RotateKey(Body):
    """Make a second key beside one, which ends after the overlap."""

    overlap: Annotated[int | float, Meta(description="Seconds for which both live.")] | UnsetType = UNSET
    lifetime: Seconds | UnsetType = UNSET


class NoQuery(Body):
    """No query is taken."""


class ListSessions(Body):
    """Which sessions to list."""

    owner: str | UnsetType = UNSET
    detached: bool | UnsetType = UNSET
    anonymous: Annotated[bool, Meta(description="Also those of visitors before a log-in.")] | UnsetType = UNSET
    newest: Annotated[bool, Meta(description="The last made first, on each page of a listing.")] | UnsetType = UNSET
    after: Annotated[str, Meta(description="The next of the page before.")] | UnsetType = UNSET
    limit: Annotated[int, Meta(description="1 to 500.")] = 100


class ListEvents(Body):
    """Which events to list."""

    after: Annotated[str, Meta(description="The id of the last event that you have.")] | UnsetType = UNSET
    owner: Annotated[str, Meta(description="Only what concerns them, as owner or as the one before.")] | UnsetType = (
        UNSET
    )
    limit: Annotated[int, Meta(description="1 to 500.")] = 100


class ListTokens(Body):
    """Which tokens to list."""

    owner: str | UnsetType = UNSET
    session: Annotated[str, Meta(description="The id of the session that holds them.")] | UnsetType = UNSET
    transferable: bool | UnsetType = UNSET
    sellable: bool | UnsetType = UNSET
    unassigned: bool | UnsetType = UNSET
    tag: Annotated[str, Meta(description="That they were issued with.")] | UnsetType = UNSET
    newest: Annotated[bool, Meta(description="The last made first, on each page of a listing.")] | UnsetType = UNSET
    after: Annotated[str, Meta(description="The next of the page before.")] | UnsetType = UNSET
    limit: Annotated[int, Meta(description="1 to 500.")] = 100


Why = Annotated[str, Meta(description="logout, revoked, theft, or another reason why sessions end.")]


class EndSession(Body):
    """Why to end a session."""

    reason: Why = "logout"


class EndSessions(Body):
    """Which sessions of an owner to end, and why."""

    reason: Why = "logout"
    except_session: (
        Annotated[str, Meta(description="The id of one to keep; or by-secret: then the body has its secret.")]
        | UnsetType
    ) = UNSET


NamedOwner = Annotated[Owner, Meta(description="The owner: any, also one that a path cannot hold, such as ..")]


class OwnerNamed(Body):
    """Whose."""

    owner: NamedOwner


class EndSessionsNamed(EndSessions, kw_only=True):
    """Whose sessions to end, which, and why."""

    owner: NamedOwner


class SessionShape(Struct, kw_only=True):
    """A session, without its secret."""

    id: str
    owner: str
    created_at: Instant
    last_seen_at: Instant
    authenticated_at: Instant
    expires_at: Instant | None
    idle_timeout: float | int | None
    max_age: float | int | None
    detached_timeout: float | int | None
    detachable: bool
    detached_at: Instant | None
    label: str | None
    user_agent: str | None
    address: str | None
    acr: str | None
    amr: list[str]
    data: dict[str, Any]
    version: int
    client_id: str | None
    rotated_at: Annotated[Instant | None, Meta(description="When it got its present secret, if that was with grace.")]
    secret_until: Annotated[
        Instant | None, Meta(description="Until when the secret is good that was verified, if that is a previous one.")
    ]


class TokenShape(Struct, kw_only=True):
    """A token, without its secret."""

    id: str
    kind: str
    owner: str | None
    session_id: str | None
    value: Any
    created_at: Instant
    expires_at: Instant | None
    held_since: Instant
    unassigned_at: Instant | None
    previous_owner: str | None
    timeout: float | int | None
    disownment_timeout: float | int | None
    sellable: bool
    price: str | None
    currency: str | None
    gift: bool
    epoch: int
    version: int
    tag: str | None
    scope: str | None
    audience: list[str]
    for_client: Annotated[str | None, Meta(description="The client for whom it was issued.")]
    uses_left: Annotated[int | None, Meta(description="How often it can still be used up; null: not counted.")]
    reserved_for: Annotated[str | None, Meta(description="The owner to whom alone it is offered.")]
    reserved_until: Instant | None
    borrower: Annotated[str | None, Meta(description="Who uses it on loan, where that is who asks.")]
    client_id: str | None


class KeyShape(Struct, kw_only=True):
    """A service key, without its secret."""

    id: str
    role: str
    label: str | None
    networks: Annotated[list[str], Meta(description="Those that it may be used from; none: everywhere.")]
    owner_prefix: Annotated[str | None, Meta(description="How the owners begin for whom it acts; null: all.")]
    namespace: Annotated[str | None, Meta(description="Beyond which it sees nothing; null: it sees everything.")]
    audience: Annotated[str | None, Meta(description="For which the tokens were issued that it sees; null: all.")]
    max_age: Annotated[float | None, Meta(description="Seconds: the longest life that it may give; null: any.")]
    rate: Annotated[int | None, Meta(description="Requests a second; null: any.")]
    owner_creations: Annotated[int | None, Meta(description="What it may make for one owner a minute; null: any.")]
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Annotated[Instant | None, Meta(description="Up to a minute early; null: never.")]


class EventShape(Struct, kw_only=True):
    """A committed state change; it holds no value, data or secret."""

    id: Annotated[str, Meta(description="By which a reader goes on (after, Last-Event-ID) and knows it again.")]
    kind: Annotated[str, Meta(description="Such as session_ended; gap where events are not kept any more.")]
    at: Instant
    subject_id: Annotated[str, Meta(description="Of the session, token or service key; else the owner; empty for gap.")]
    owner: str | None
    reason: str | None
    previous_owner: str | None
    terms: Annotated[
        dict[str, Any] | None, Meta(description="Price, currency and settlement of a sale; borrower and end of a loan.")
    ]


class EventPage(Struct):
    """A page of events, in the order in which they were committed."""

    events: list[EventShape]
    next: Annotated[str | None, Meta(description="For the next page; null when no more are there yet.")]
    unreadable: list[str]


class IssuedSession(Struct):
    """A session and its secret."""

    session: SessionShape
    secret: Secret


class IssuedToken(Struct):
    """A token and its secret."""

    token: TokenShape
    secret: Annotated[str | None, Meta(description="The bearer string, shown this once; null: it waits for a claim.")]


class OneSession(Struct):
    """A session."""

    session: SessionShape


class OneToken(Struct):
    """A token."""

    token: TokenShape


class IssuedKeyShape(Struct):
    """A service key with its secret: user name and password of Basic, or the secret alone as Bearer."""

    id: str
    secret: Secret
    role: str
    expires_at: Instant | None


class SessionPage(Struct):
    """A page of sessions, in order of their opening."""

    sessions: list[SessionShape]
    next: str | None
    unreadable: list[str]


class TokenPage(Struct):
    """A page of tokens, in order of their issue."""

    tokens: list[TokenShape]
    next: str | None
    unreadable: list[str]


class KeyList(Struct):
    """All service keys, oldest first."""

    keys: list[KeyShape]


class Ended(Struct):
    """How many sessions were ended."""

    ended: int


class OwnerState(Struct):
    """Whether an owner is disabled, and whether this request made it so."""

    owner: str
    disabled: bool
    changed: bool


class Actor(Struct):
    """Who acts for the owner (RFC 8693, section 4.1)."""

    sub: str


class Introspection(Struct, omit_defaults=True):
    """What RFC 7662 answers: ``active`` alone for whatever is not alive. ``exp`` and ``iat`` are whole seconds.

    ``auth_time`` (whole seconds), ``acr`` and ``amr`` say how a session's owner last proved who they are (RFC 9470).
    ``exp`` is until when the answer may be kept: half of a session's idle timeout from now, the end of everything else.
    ``st_expires_at`` is the end itself, in milliseconds as in all other answers. ``sub`` and ``username`` are the
    owner; ``client_id`` is the client for whom a token was issued, ``st_issuer`` the service key that made it.
    """

    active: bool
    sub: str | UnsetType = UNSET
    username: str | UnsetType = UNSET
    exp: int | UnsetType = UNSET
    iat: int | UnsetType = UNSET
    token_type: str | UnsetType = UNSET
    scope: str | UnsetType = UNSET
    aud: list[str] | str | UnsetType = UNSET
    client_id: str | UnsetType = UNSET
    auth_time: int | UnsetType = UNSET
    acr: str | UnsetType = UNSET
    amr: list[str] | UnsetType = UNSET
    st_issuer: str | UnsetType = UNSET
    st_id: str | UnsetType = UNSET
    st_kind: str | UnsetType = UNSET
    st_epoch: int | UnsetType = UNSET
    st_value: Any | UnsetType = UNSET
    act: Actor | UnsetType = UNSET
    st_uses_left: int | UnsetType = UNSET
    st_expires_at: int | UnsetType = UNSET


def session_shape(session: Session) -> SessionShape:
    """Return a session as it goes out."""
    fields: dict[str, Any] = session.to_dict()
    return SessionShape(**fields)


def token_shape(token: Token) -> TokenShape:
    """Return a token as it goes out."""
    fields: dict[str, Any] = token.to_dict()
    return TokenShape(**fields)


def event_shape(event: Event) -> EventShape:
    """Return an event as it goes out."""
    fields: dict[str, Any] = event.to_dict()
    return EventShape(**fields)


def key_shape(key: ServiceKey, last_used_at: int | None) -> KeyShape:
    """Return a service key as it goes out."""
    return KeyShape(
        id=key.id,
        role=key.role,
        label=key.label,
        networks=list(map(str, networks_of(key))),
        owner_prefix=key.owner_prefix,
        namespace=key.namespace,
        audience=key.audience,
        max_age=None if key.max_age_ms is None else key.max_age_ms / 1000,
        rate=key.rate,
        owner_creations=key.owner_creations,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=last_used_at,
    )


def given(body: Struct) -> dict[str, Any]:
    """Return the fields of a body that were given or have a default, as arguments of a command."""
    fields = {name: getattr(body, name) for name in body.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not UNSET}
