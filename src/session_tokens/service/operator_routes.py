"""The addresses for those who run the service: explanations and the audit log."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from . import shapes
from .calls import Call, Operation, Snapshot

EXPLAIN = "/v1/explain/{id}"
AUDIT = "/v1/audit"
OWNERS = "/v1/owners"


class ListAudit(shapes.Body):
    """Which entries of the audit log to list."""

    kind: Annotated[str, Meta(description="What happened, such as session_ended.")] | UnsetType = UNSET
    owner: Annotated[str, Meta(description="Whose it is, or was before.")] | UnsetType = UNSET
    subject: Annotated[str, Meta(description="The id that an entry is about.")] | UnsetType = UNSET
    actor: Annotated[str, Meta(description="A service key (key_…), or a user (os:…).")] | UnsetType = UNSET
    since: shapes.Instant | UnsetType = UNSET
    until: shapes.Instant | UnsetType = UNSET
    after: Annotated[str, Meta(description="The next of the page before.")] | UnsetType = UNSET
    limit: Annotated[int, Meta(description="1 to 500.")] = 100


class AuditEntries(Struct):
    """A page of the audit log, the newest entries first."""

    entries: list[dict[str, Any]]
    next: Annotated[str | None, Meta(description="For the next page; null when no older ones are there.")]


class ExplanationShape(Struct, kw_only=True):
    """Why something is as it is."""

    id: str
    kind: Annotated[str, Meta(description="session, token or key.")]
    state: Annotated[str, Meta(description="active, detached, unassigned, ended, unreadable or unknown.")]
    reason: Annotated[str | None, Meta(description="Why it ended, as in events.")]
    since: Annotated[shapes.Instant | None, Meta(description="Since when it is in that state.")]
    owner: str | None
    because: Annotated[list[str], Meta(description="Sentences that say how it came to that.")]


class ListOwners(shapes.Body):
    """Which owners to list."""

    disabled: Annotated[bool, Meta(description="Those who are disabled; else those with living sessions.")] = False
    anonymous: Annotated[bool, Meta(description="Also visitors before a log-in.")] | UnsetType = UNSET
    newest: (
        Annotated[bool, Meta(description="Whose oldest session was opened last first, on each page.")] | UnsetType
    ) = UNSET
    after: Annotated[str, Meta(description="The next of the page before.")] | UnsetType = UNSET
    limit: Annotated[int, Meta(description="1 to 500.")] = 100


class OwnerShape(Struct, kw_only=True):
    """An owner."""

    owner: shapes.Owner
    sessions: Annotated[int, Meta(description="Those that ran out of time and were not swept are counted too.")]
    since: Annotated[shapes.Instant | None, Meta(description="The opening of their oldest living session.")]
    disabled_at: shapes.Instant | None


class OwnerPage(Struct):
    """A page of owners."""

    owners: list[OwnerShape]
    next: Annotated[str | None, Meta(description="For the next page; null when that was all.")]
    unreadable: list[str]


class RenameOwner(shapes.Body):
    """Give an owner another name."""

    owner: shapes.Owner
    to: shapes.Owner


class Renamed(Struct):
    """How many sessions and tokens have another owner's name now."""

    renamed: int


class ForgetOwner(shapes.Body):
    """Forget an owner."""

    owner: shapes.Owner


class ForgottenShape(Struct, kw_only=True):
    """In how much an owner's name was replaced by a pseudonym, or taken away."""

    pseudonym: Annotated[str, Meta(description="What stands in their place from now on.")]
    sessions: int
    tokens: Annotated[int, Meta(description="Theirs, offered to them, and loans to them.")]
    outcomes: Annotated[int, Meta(description="Of commands with an idempotency key.")]
    events: int
    webhook_events: Annotated[int, Meta(description="Events that wait for a webhook or were given up.")]
    audit_entries: int


async def list_owners(call: Call) -> Snapshot:
    """List owners who have living sessions, or those who are disabled, a page at a time."""
    query = shapes.given(call.query)
    if query.pop("disabled"):
        query.pop("anonymous", None)
        query.pop("newest", None)
        page = await call.tokens.list_disabled_owners(**query)
    else:
        page = await call.tokens.list_owners(**query)
    owners = [OwnerShape(**owner._asdict()) for owner in page]
    return Snapshot(OwnerPage(owners, page.after, list(page.unreadable)))


async def rename_owner(call: Call) -> Snapshot:
    """Give an owner another name: their living sessions and tokens go with them; refused where both names live."""
    body = call.body
    return Snapshot(Renamed(await call.tokens.rename_owner(body.owner, body.to, idempotency_key=call.idempotency_key)))


async def forget_owner(call: Call) -> Snapshot:
    """Forget an owner: end what is theirs, and put a pseudonym in place of their name wherever it is kept."""
    forgotten = await call.tokens.forget_owner(call.body.owner, idempotency_key=call.idempotency_key)
    return Snapshot(ForgottenShape(**forgotten._asdict()))


async def explain(call: Call) -> Snapshot:
    """Say why a session, token or service key is as it is, since when, and who ended it."""
    explained = await call.tokens.explain(call.subject)
    return Snapshot(ExplanationShape(**{**explained._asdict(), "because": list(explained.because)}))


async def list_audit(call: Call) -> Snapshot:
    """List entries of the audit log, the newest first; none where no log is kept."""
    page = await call.tokens.list_audit(**shapes.given(call.query))
    return Snapshot(AuditEntries(list(page), page.after))


OPERATOR_OPERATIONS = (
    Operation("GET", EXPLAIN, "explain", explain, ExplanationShape),
    Operation("GET", OWNERS, "read_owners", list_owners, OwnerPage, query=ListOwners),
    Operation("POST", OWNERS + "/rename", "rename_owner", rename_owner, Renamed, body=RenameOwner),
    Operation("POST", OWNERS + "/forget", "forget_owner", forget_owner, ForgottenShape, body=ForgetOwner),
    Operation("GET", AUDIT, "read_audit", list_audit, AuditEntries, query=ListAudit),
)
