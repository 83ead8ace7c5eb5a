"""The addresses of the service: one table from which routing, roles, decoding and OpenAPI are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from msgspec import UNSET, UnsetType

from ..contract.queries import Get
from ..crypto.secret_form import KEY_ID, SESSION_ID, TOKEN_SECRET, is_id, is_session_secret
from ..errors import InvalidInput, UnknownKey, UnknownSession, UnknownToken
from ..records import Issued, Page, Session, Token
from ..rules.lookup import living_session_in
from ..rules.reserved import applications, is_console
from ..service_keys import keys
from ..service_keys.keys import last_used
from . import client_shapes, passing_shapes, shapes
from .calls import Call, Operation, Snapshot
from .operator_routes import OPERATOR_OPERATIONS
from .passing_routes import PASSING_OPERATIONS, issued_token, one_token, token_id
from .problems import Problem
from .reserved import refuse_to_disable
from .setting_routes import SETTING_OPERATIONS
from .shapes import event_shape, given, key_shape, session_shape, token_shape
from .table_routes import call_tables
from .webhook_routes import WEBHOOK_OPERATIONS

R = TypeVar("R", Session, Token)

BY_SECRET = "by-secret"
"""In the place of an id in an address: the session or token whose secret stands in the body."""
PAGES_PASSED_MAX = 10
"""How many pages of which a bound key sees nothing are passed over in one answer."""


def _version(call: Call) -> int | None:
    """Return the version that the record must still have."""
    in_body: int | UnsetType = getattr(call.body, "version", UNSET)
    if in_body is UNSET:
        return call.version
    if call.version is not None:
        raise InvalidInput("the version stands in If-Match and in the body; send it once")
    return in_body


def _session_id(call: Call) -> str:
    if not is_id(SESSION_ID, call.subject) and not is_session_secret(call.subject):
        raise UnknownSession("no living session has that id")
    return call.subject


async def _applications_session_id(call: Call) -> str:
    """Return the id of a session that may be changed from outside: the console's may only be read and ended."""
    id = _session_id(call)
    find = call.tokens.get_session if is_id(SESSION_ID, id) else partial(call.tokens.verify_session, touch=False)
    session = await find(id)  # who opened it never changes, so that asking before is enough
    if session is not None and is_console(session):
        raise Problem(403, "forbidden", "that session is the console's; it may be read and ended, nothing else")
    return id


def _issued_session(issued: Issued) -> Snapshot:
    session = issued.session
    return Snapshot(shapes.IssuedSession(session_shape(session), issued.secret), session.version)


def _session(session: Session) -> Snapshot:
    return Snapshot(shapes.OneSession(session_shape(session)), session.version)


async def _listed(call: Call, listing: Callable[..., Awaitable[Page[R]]]) -> Page[R]:
    """Return what a key sees of a page; of the next ones where it sees nothing of one, a few at the most."""
    query = given(call.query)
    page = await listing(**query)
    if call.sees is None:
        return page
    seen: list[R] = []
    for _ in range(PAGES_PASSED_MAX):
        seen = [record for record in page.items if await call.sees(record)]
        if seen or page.after is None:
            break
        page = await listing(**{**query, "after": page.after})
    return Page(seen, page.after)


async def open_session(call: Call) -> Snapshot:
    """Open a session for an owner; its secret is in the answer and nowhere else."""
    issued = await call.tokens.open_session(
        **given(call.body), client_id=call.key.id, idempotency_key=call.idempotency_key
    )
    return _issued_session(issued)


async def log_in(call: Call) -> Snapshot:
    """Open a session for a user in the place of the one that their browser had; its secret is in the answer."""
    fields = given(call.body)
    issued = await call.tokens.log_in(fields.pop("owner"), **fields, idempotency_key=call.idempotency_key)
    return _issued_session(issued)


async def list_sessions(call: Call) -> Snapshot:
    """List living sessions in order of their opening, a page at a time."""
    page = await _listed(call, call.tokens.list_sessions)
    return Snapshot(
        shapes.SessionPage([session_shape(session) for session in page.items], page.after, list(page.unreadable))
    )


async def get_session(call: Call) -> Snapshot:
    """Read a living session; one that ended within the last hour answers with its reason."""
    now, found = await call.tokens.store.read([Get("session", _session_id(call))])
    return _session(living_session_in(now, found[0].value))


async def change_session(call: Call) -> Snapshot:
    """Change a session's data, or its clocks, label and detachability; what is left out stays."""
    changes = given(call.body)
    version = _version(call)
    changes.pop("version", None)
    id = await _applications_session_id(call)
    if changes.keys().isdisjoint(("data", "removed")):
        changed = await call.tokens.change_session(id, **changes, version=version, idempotency_key=call.idempotency_key)
    elif changes.keys() - {"data", "removed"}:
        raise InvalidInput("data is changed by itself; send data and removed in a request of their own")
    else:
        changed = await call.tokens.update_session_data(
            id,
            changes.get("data", {}),
            removed=changes.get("removed", ()),
            version=version,
            idempotency_key=call.idempotency_key,
        )
    return _session(changed)


async def end_session(call: Call) -> Snapshot:
    """End a session in one step: its bound tokens are dead, its transferable ones unassigned. Twice is the same."""
    ended = await call.tokens.destroy_session(
        _session_id(call), **given(call.query), version=call.version, idempotency_key=call.idempotency_key
    )
    return Snapshot(None, changed=ended)


async def rotate_session(call: Call) -> Snapshot:
    """Give a session a new secret; the old one is dead at once, or after a grace, when its use ends the session."""
    issued = await call.tokens.rotate_session(
        await _applications_session_id(call),
        **given(call.body),
        idempotency_key=call.idempotency_key,
    )
    return _issued_session(issued)


async def detach_session(call: Call) -> Snapshot:
    """Log a detachable session out but let it and its tokens go on; its secret is dead."""
    id = await _applications_session_id(call)
    return _session(await call.tokens.detach_session(id, idempotency_key=call.idempotency_key))


async def attach_session(call: Call) -> Snapshot:
    """Log a detached session in again, with a new secret."""
    id = await _applications_session_id(call)
    return _issued_session(await call.tokens.attach_session(id, idempotency_key=call.idempotency_key))


async def end_sessions(call: Call) -> Snapshot:
    """End all sessions of an owner, or all but one."""
    which = given(call.query)
    which.pop("owner", None)
    ended = await call.tokens.destroy_sessions(call.subject, **which, idempotency_key=call.idempotency_key)
    return Snapshot(shapes.Ended(ended))


async def disable_owner(call: Call) -> Snapshot:
    """Disable an owner: their sessions are dead at once, and none is opened until they are enabled."""
    refuse_to_disable(call.subject)
    changed = await call.tokens.disable_owner(call.subject, idempotency_key=call.idempotency_key)
    return Snapshot(shapes.OwnerState(call.subject, True, changed))


async def enable_owner(call: Call) -> Snapshot:
    """Let a disabled owner open sessions again; those that died stay dead."""
    changed = await call.tokens.enable_owner(call.subject, idempotency_key=call.idempotency_key)
    return Snapshot(shapes.OwnerState(call.subject, False, changed))


def _named(call: Call) -> Call:
    """Return a call whose subject is the owner in its query."""
    return replace(call, subject=call.query.owner)


async def end_sessions_named(call: Call) -> Snapshot:
    """End all sessions of an owner, or all but one; the owner stands in the query."""
    return await end_sessions(_named(call))


async def disable_owner_named(call: Call) -> Snapshot:
    """Disable an owner, who stands in the query."""
    return await disable_owner(_named(call))


async def enable_owner_named(call: Call) -> Snapshot:
    """Let a disabled owner open sessions again; the owner stands in the query."""
    return await enable_owner(_named(call))


async def verify(call: Call) -> Snapshot:
    """Return the living session or token of a secret, whole; everything else is one 404."""
    secret: str = call.body.secret
    record: Session | Token | None
    if secret.startswith(TOKEN_SECRET):
        record = await call.tokens.verify_token(secret)
    elif call.sees is None:
        record = applications(await call.tokens.verify_session(secret, touch=call.body.touch))
    else:  # what the key does not see is not used by asking
        record = applications(await call.tokens.verify_session(secret, touch=False))
    if record is not None and call.sees is not None:
        if not await call.sees(record):
            record = None
        elif isinstance(record, Session) and call.body.touch:
            record = await call.tokens.verify_session(secret)
    if isinstance(record, Token):
        return Snapshot(client_shapes.Verified(token=token_shape(record)), record.version)
    if record is not None:
        return Snapshot(client_shapes.Verified(session=session_shape(record)), record.version)
    if secret.startswith(TOKEN_SECRET):
        raise UnknownToken("no living token has that secret")
    raise UnknownSession("no living session has that secret")


async def issue_token(call: Call) -> Snapshot:
    """Issue a token under a session, or a free one; its secret is in the answer and nowhere else."""
    fields = given(call.body)
    issued = await call.tokens.issue_token(
        fields.pop("session"), fields.pop("value"), **fields, client_id=call.key.id,
        idempotency_key=call.idempotency_key,
    )  # fmt: skip
    return issued_token(issued)


async def list_tokens(call: Call) -> Snapshot:
    """List living tokens in order of their issue, a page at a time."""
    page = await _listed(call, call.tokens.list_tokens)
    return Snapshot(shapes.TokenPage([token_shape(token) for token in page.items], page.after, list(page.unreadable)))


async def get_token(call: Call) -> Snapshot:
    """Read a living token as it stands now, unassigned ones too."""
    token = await call.tokens.get_token(token_id(call))
    if token is None:
        raise UnknownToken("no living token has that id")
    return one_token(token)


async def change_token(call: Call) -> Snapshot:
    """Change value or clocks of a token; what is left out stays. A new timeout counts from now."""
    changes = given(call.body)
    changes["version"] = _version(call)
    return one_token(await call.tokens.change_token(token_id(call), **changes, idempotency_key=call.idempotency_key))


async def destroy_token(call: Call) -> Snapshot:
    """End a token. Twice is the same."""
    ended = await call.tokens.destroy_token(token_id(call), version=call.version, idempotency_key=call.idempotency_key)
    return Snapshot(None, changed=ended)


async def transfer_token(call: Call) -> Snapshot:
    """Hand a transferable token to another owner; the answer has the receiver's secret, the giver's is dead."""
    issued = await call.tokens.transfer_token(token_id(call), **given(call.body), idempotency_key=call.idempotency_key)
    return issued_token(issued)


async def claim_token(call: Call) -> Snapshot:
    """Take an unassigned token into a living session, with a new secret."""
    issued = await call.tokens.claim_token(
        token_id(call), session_key=call.body.session, idempotency_key=call.idempotency_key
    )
    return issued_token(issued)


async def reissue_token(call: Call) -> Snapshot:
    """Give a token a new secret at its owner's wish; the old one is dead at once."""
    issued = await call.tokens.reissue_token(
        token_id(call), owner=call.body.owner, idempotency_key=call.idempotency_key
    )
    return issued_token(issued)


async def offer_token(call: Call) -> Snapshot:
    """Advertise a transferable token; that locks nothing, and money never moves here."""
    terms = given(call.body)
    terms["version"] = _version(call)
    return one_token(await call.tokens.offer_token(token_id(call), **terms, idempotency_key=call.idempotency_key))


async def withdraw_token(call: Call) -> Snapshot:
    """Take a token's listing, price and gift mark away."""
    return one_token(
        await call.tokens.withdraw_token(token_id(call), version=_version(call), idempotency_key=call.idempotency_key)
    )


async def list_events(call: Call) -> Snapshot:
    """List events in the order of their commits, a page at a time; or, as text/event-stream, as they come."""
    page = await call.tokens.events(**given(call.query))
    return Snapshot(shapes.EventPage([event_shape(event) for event in page], page.after, list(page.unreadable)))


async def create_key(call: Call) -> Snapshot:
    """Make a service key; its secret is in the answer and nowhere else."""
    issued = await keys.create_key(
        call.tokens.store, **given(call.body), idempotency_key=call.idempotency_key, audit=call.tokens.audit
    )
    return _issued_key(issued)


async def list_keys(call: Call) -> Snapshot:
    """List all service keys, oldest first."""
    listed = await keys.list_keys(call.tokens.store)
    used = await last_used(call.tokens.store, listed)
    return Snapshot(shapes.KeyList([key_shape(key, used.get(key.id)) for key in listed]))


async def revoke_key(call: Call) -> Snapshot:
    """End a service key at once. Twice is the same."""
    ended = await keys.revoke_key(call.tokens.store, _key_id(call), audit=call.tokens.audit)
    return Snapshot(None, changed=ended)


async def rotate_key(call: Call) -> Snapshot:
    """Make a second key of the same role; the first one ends after the overlap."""
    issued = await keys.rotate_key(
        call.tokens.store,
        _key_id(call),
        **given(call.body),
        idempotency_key=call.idempotency_key,
        audit=call.tokens.audit,
    )
    return _issued_key(issued)


def _key_id(call: Call) -> str:
    if not is_id(KEY_ID, call.subject):
        raise UnknownKey("no service key has that id")
    return call.subject


def _issued_key(issued: keys.IssuedKey) -> Snapshot:
    key = issued.key
    return Snapshot(shapes.IssuedKeyShape(key.id, issued.secret, key.role, key.expires_at))


S, T, OWNERS, EVENTS = "/v1/sessions", "/v1/tokens", "/v1/owners", "/v1/events"
ONE_S, ONE_T, OWNER, ONE_KEY = S + "/{id}", T + "/{id}", OWNERS + "/{owner:path}", "/v1/keys/{id}"

OPERATIONS = (
    Operation("POST", S, "open_session", open_session, shapes.IssuedSession, 201, shapes.OpenSession),
    Operation("GET", S, "read_sessions", list_sessions, shapes.SessionPage, query=shapes.ListSessions),
    Operation("GET", ONE_S, "read_sessions", get_session, shapes.OneSession),
    Operation(
        "PATCH", ONE_S, "change_session", change_session, shapes.OneSession, body=shapes.ChangeSession, conditional=True
    ),
    Operation("DELETE", ONE_S, "end_session", end_session, None, 204, query=shapes.EndSession, conditional=True),
    Operation(
        "POST", ONE_S + "/rotate", "rotate_session", rotate_session, shapes.IssuedSession, body=shapes.RotateSession
    ),
    Operation("POST", ONE_S + "/detach", "detach_session", detach_session, shapes.OneSession, body=shapes.NoBody),
    Operation("POST", ONE_S + "/attach", "attach_session", attach_session, shapes.IssuedSession, body=shapes.NoBody),
    Operation("DELETE", OWNER + "/sessions", "end_session", end_sessions, shapes.Ended, query=shapes.EndSessions),
    Operation("POST", OWNER + "/disable", "disable_owner", disable_owner, shapes.OwnerState, body=shapes.NoBody),
    Operation("POST", OWNER + "/enable", "enable_owner", enable_owner, shapes.OwnerState, body=shapes.NoBody),
    # Clients take . and .. out of a path before they send it, so that owners of these names must stand elsewhere.
    Operation(
        "DELETE", OWNERS + "/sessions", "end_session", end_sessions_named, shapes.Ended, query=shapes.EndSessionsNamed
    ),
    Operation(
        "POST", OWNERS + "/disable", "disable_owner", disable_owner_named, shapes.OwnerState, body=shapes.NoBody,
        query=shapes.OwnerNamed,
    ),
    Operation(
        "POST", OWNERS + "/enable", "enable_owner", enable_owner_named, shapes.OwnerState, body=shapes.NoBody,
        query=shapes.OwnerNamed,
    ),
    *PASSING_OPERATIONS,  # of which one stands where the id of a token would
    Operation("POST", T, "issue_token", issue_token, shapes.IssuedToken, 201, shapes.IssueToken),
    Operation("GET", T, "read_tokens", list_tokens, shapes.TokenPage, query=shapes.ListTokens),
    Operation("GET", ONE_T, "read_tokens", get_token, shapes.OneToken),
    Operation("PATCH", ONE_T, "change_token", change_token, shapes.OneToken, body=shapes.ChangeToken, conditional=True),
    Operation("DELETE", ONE_T, "destroy_token", destroy_token, None, 204, conditional=True),
    Operation("POST", ONE_T + "/transfer", "move_token", transfer_token, shapes.IssuedToken, body=shapes.TransferToken),
    Operation("POST", ONE_T + "/claim", "move_token", claim_token, shapes.IssuedToken, body=shapes.ClaimToken),
    Operation("POST", ONE_T + "/reissue", "reissue_token", reissue_token, shapes.IssuedToken, body=shapes.ReissueToken),
    Operation(
        "POST", ONE_T + "/offer", "move_token", offer_token, shapes.OneToken, body=passing_shapes.OfferToken,
        conditional=True,
    ),
    Operation(
        "POST", ONE_T + "/withdraw", "move_token", withdraw_token, shapes.OneToken, body=passing_shapes.WithdrawToken,
        conditional=True,
    ),
    Operation("POST", "/v1/log-in", "open_session", log_in, shapes.IssuedSession, 201, client_shapes.LogIn),
    Operation("POST", "/v1/verify", "introspect", verify, client_shapes.Verified, body=client_shapes.VerifySecret),
    Operation(
        "POST", "/v1/tables/{call}", "call_tables", call_tables, client_shapes.TablesAnswer,
        body=client_shapes.CallTables,
    ),
    Operation("GET", EVENTS, "read_events", list_events, shapes.EventPage, query=shapes.ListEvents),
    Operation("GET", "/v1/keys", "read_keys", list_keys, shapes.KeyList),
    Operation("POST", "/v1/keys", "manage_keys", create_key, shapes.IssuedKeyShape, 201, shapes.CreateKey),
    Operation("DELETE", ONE_KEY, "manage_keys", revoke_key, None, 204),
    Operation("POST", ONE_KEY + "/rotate", "manage_keys", rotate_key, shapes.IssuedKeyShape, 201, shapes.RotateKey),
    *WEBHOOK_OPERATIONS,
    *SETTING_OPERATIONS,
    *OPERATOR_OPERATIONS,
)  # fmt: skip
