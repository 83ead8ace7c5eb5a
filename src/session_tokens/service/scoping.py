"""Limits the calls of a bound service key to its bounds: what is beyond them is answered as if it were not there.

One place for all addresses: ``Service`` asks here before it carries out an operation, so that an address that is added
is held too. Records are read as the store has them, ended ones too: whose they are never changes while a call is under
way but by those who are bound to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from .._async.api import AsyncSessionTokens
from ..contract.queries import Get, Query
from ..crypto.secret_form import KEY_ID, SESSION_ID, TOKEN_ID, TOKEN_SECRET, is_id, is_secret, is_session_secret
from ..errors import UnknownSession, UnknownToken
from ..records import ServiceKey, Session, Token
from ..rules.scopes import EVERYTHING, SCOPE, Scope, scope_in, scope_of, shorter, within
from ..settings import duration_ms
from . import client_shapes, shapes
from .calls import Call, Operation, Snapshot
from .problems import Problem
from .quotas import Quotas
from .routes import OWNERS, S, T

MAKERS_MAX = 10_000
"""Keys whose bounds are remembered; they never change."""

NOTHING_ENDED = Snapshot(None, changed=False)
"""What is answered to who ends what is not there; a client needs it whole, and must not tell it from what is hidden."""

OWNER_AT = {"add_session": 1, "add_session_bounded_token": 2, "add_transferable_token": 2, "add_token": None}
"""The names of ``TokenTables`` that make something, and where among their arguments the owner stands."""


class Scopes:
    """Judges what a key sees and may make.

    Args:
        tokens: the library.
        quotas: counts what is made.
    """

    def __init__(self, tokens: AsyncSessionTokens, quotas: Quotas) -> None:
        self._tokens = tokens
        self._quotas = quotas
        self._makers: dict[str, Scope] = {}

    async def sees(self, key: ServiceKey, record: Session | Token) -> bool:
        """Whether a key sees a record."""
        return not key.is_bound or scope_of(key).covers(record, await self._maker_of(record.client_id))

    async def sees_named(self, key: ServiceKey, name: str) -> bool:
        """Whether a key sees what an id or secret names; not if that names nothing."""
        record = await self._record(name)
        return record is not None and await self.sees(key, record)

    async def hold(self, operation: Operation, call: Call) -> Snapshot | None:
        """Hold a call to the bounds of its key; return what is to be answered in its place, if anything.

        Raises:
            UnknownSession, UnknownToken: it names what the key does not see.
            Problem: 403 for owners and lives that the key may not give, 429 where it made too much for one owner.
        """
        key, body = call.key, call.body
        if key.is_bound:
            answer = await self._hold_subject(operation, call)
            if answer is not None:
                return answer
            named = getattr(body, "session", None)
            if isinstance(named, str) and not await self.sees_named(key, named):
                raise UnknownSession("no living session has that id")
            if isinstance(body, client_shapes.LogIn):
                await self._hold_log_in(key, body)
            for name in ("receiver", "owner", "borrower", "to"):
                owner = getattr(body, name, None)
                if isinstance(owner, str) and not scope_of(key).covers_owner(owner):
                    raise _forbidden(f"this service key acts for owners that begin with {key.owner_prefix} only")
        if key.max_age_ms is not None:
            await self._hold_life(key.max_age_ms, operation, body)
        if key.owner_creations is not None:
            if operation.act in ("open_session", "issue_token"):
                self._quotas.makes(key, await self._owner_in(body))
            elif operation.act == "call_tables" and call.subject in OWNER_AT:
                self._quotas.makes(key, _owner_among(body.arguments, OWNER_AT[call.subject]))
        return None

    async def _hold_log_in(self, key: ServiceKey, body: client_shapes.LogIn) -> None:
        """Refuse a log-in that the key could not find again, and one that would end what it does not see."""
        if key.namespace is not None or body.owner is None:
            raise _forbidden("a key that is bound logs owners of its prefix in; a log-in belongs to no name space")
        if body.former is not None and not await self.sees_named(key, body.former):
            raise UnknownSession("no living session has that id")

    async def _hold_subject(self, operation: Operation, call: Call) -> Snapshot | None:
        """Hold what the address names."""
        ends = operation.method == "DELETE"  # where nothing is there, ending it is done
        if operation.path.startswith(f"{S}/{{id}}"):
            if not (_names_session(call.subject) and await self.sees_named(call.key, call.subject)):
                if ends:
                    return NOTHING_ENDED
                raise UnknownSession("no living session has that id")
        elif operation.path.startswith(f"{T}/{{id}}"):
            if not (_names_token(call.subject) and await self.sees_named(call.key, call.subject)):
                if ends:
                    return NOTHING_ENDED
                raise UnknownToken("no living token has that id")
        elif operation.path.startswith(OWNERS):
            scope = scope_of(call.key)
            if not scope.covers_owner(call.subject or call.query.owner):
                raise _forbidden(f"this service key acts for owners that begin with {scope.owner_prefix} only")
            if scope.namespace is not None:
                raise _forbidden("an owner may be in other name spaces too; end their sessions one by one")
        return None

    async def _hold_life(self, longest_ms: int, operation: Operation, body: Any) -> None:
        """Refuse a longer life than may be given, and give what asks for none no longer one than that."""
        name = "timeout" if operation.path.startswith(T) else "max_age"
        asked = getattr(body, name, None) if name in getattr(body, "__struct_fields__", ()) else UNSET
        if asked is not UNSET:
            if name in body.__struct_fields__ and not within(duration_ms(name, asked), longest_ms):
                raise _forbidden(f"this service key gives {name} of {longest_ms / 1000:g} seconds at the most")
        elif operation.act in ("open_session", "issue_token"):
            general_ms = (await self._tokens.general_timeouts())[name == "timeout"]
            if isinstance(body, client_shapes.LogIn):
                general_ms = self._tokens._log_in_age_ms(body.owner, remember=body.remember)
            given_ms = shorter(general_ms, longest_ms)
            assert given_ms is not None
            setattr(body, name, given_ms / 1000)

    async def _owner_in(self, body: Any) -> str:
        """Return for whom something is made; empty for what has no owner."""
        if isinstance(body, shapes.OpenSession | client_shapes.LogIn):
            return body.owner or ""
        record = None if body.session is None else await self._record(body.session)
        return "" if record is None else record.owner or ""

    async def _record(self, name: str) -> Session | Token | None:
        """Return the session or token of an id or secret as the store has it, ended ones too; of a loan, the token."""
        lookups = self._tokens.store.keyring.lookups
        queries: list[Query]
        if is_id(SESSION_ID, name):
            queries = [Get("session", name)]
        elif is_id(TOKEN_ID, name):
            queries = [Get("token", name)]
        elif is_session_secret(name):
            queries = [Get("session_lookup", lookup) for lookup in lookups(name)]
        elif is_secret(TOKEN_SECRET, name):
            queries = [Get("token_lookup", lookup) for lookup in lookups(name)]
        else:
            return None
        _, found = await self._tokens.store.read(queries)
        record: Session | Token | None = next((one.value[0] for one in found if one.value[0] is not None), None)
        if isinstance(record, Session) and record.former_of is not None:
            return await self._record(record.former_of)
        if isinstance(record, Token) and record.details.lent is not None:
            return await self._record(record.details.lent)
        return record

    async def _maker_of(self, client_id: str | None) -> Scope:
        """Return the bounds of the key that made something, which may be gone by now."""
        if client_id is None or not is_id(KEY_ID, client_id):
            return EVERYTHING
        known = self._makers.get(client_id)
        if known is None:
            _, (key, gone) = await self._tokens.store.read([Get("key", client_id), Get("setting", SCOPE + client_id)])
            known = scope_in(gone.value) if key.value is None else scope_of(key.value)
            if len(self._makers) >= MAKERS_MAX:
                self._makers.clear()
            self._makers[client_id] = known
        return known


def _names_session(subject: str) -> bool:
    return is_id(SESSION_ID, subject) or is_session_secret(subject)


def _names_token(subject: str) -> bool:
    return is_id(TOKEN_ID, subject) or is_secret(TOKEN_SECRET, subject)


def _owner_among(arguments: Sequence[Any], place: int | None) -> str:
    """Return the owner whom a name of ``TokenTables`` is given; empty for none, and for what will be refused."""
    owner = arguments[place] if place is not None and place < len(arguments) else ""
    return owner if isinstance(owner, str) else ""


def _forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", detail, oauth_error="unauthorized_client")
