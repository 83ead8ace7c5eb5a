"""The addresses of the standards, as plain ASGI: introspection (RFC 7662), revocation (7009), metadata (8414)."""

from __future__ import annotations

import msgspec

from .._async.api import AsyncSessionTokens
from ..crypto.secret_form import KEY_SECRET, TOKEN_SECRET, is_secret
from ..records import Session, Token
from ..service_keys.roles import may
from .callers import Callers
from .exchange import FORM_TYPE, Exchange, pairs_of
from .problems import Problem, bad_request
from .quick import FAILED, QuickIntrospection
from .scoping import Scopes
from .verifying import INACTIVE, told_of_session, told_of_token, verification, verified_session, verified_token


class OAuth:
    """Introspection and revocation over one store."""

    def __init__(self, tokens: AsyncSessionTokens, callers: Callers, scopes: Scopes, quick: QuickIntrospection) -> None:
        self._tokens = tokens
        self._callers = callers
        self._scopes = scopes
        self._quick = quick

    async def introspect(self, exchange: Exchange) -> None:
        """Say whether a secret is alive, and what it stands for; one answer for everything that is not.

        Verifying a session is a use of it: its idle clock restarts.
        """
        if FAILED in exchange.scope:
            raise exchange.scope[FAILED]  # asking once more would take as long again
        form = await _form(exchange)
        tokens = self._tokens
        queries = verification(tokens.store.keyring, form.get("token", ""))
        key, snapshot = await self._callers.key_with(exchange, "introspect", form, queries)
        secret = _token_of(form)
        if key.is_bound and not await self._scopes.sees_named(key, secret):
            body = INACTIVE
        elif secret.startswith(TOKEN_SECRET):
            body = told_of_token(await verified_token(tokens, secret, snapshot))
        else:
            body = told_of_session(await verified_session(tokens, secret, queries, snapshot))
        self._quick.learn(exchange, key)
        await exchange.answer(200, body)

    async def revoke(self, exchange: Exchange) -> None:
        """End the session or destroy the token of a secret; what is unknown or over already is answered the same.

        A service key is none that could be revoked here, and that is said, whether it lives or not.
        """
        form = await _form(exchange)
        tokens = self._tokens
        queries = verification(tokens.store.keyring, form.get("token", ""))
        key, snapshot = await self._callers.key_with(exchange, "revoke", form, queries)
        secret = _token_of(form)
        if is_secret(KEY_SECRET, secret):
            raise Problem(
                400,
                "unsupported_token_type",
                "that is a service key, which is not revoked here: an admin key does it, DELETE /v1/keys/{id}",
                oauth_error="unsupported_token_type",
            )
        revokes_all = may(key.role, "revoke_all")
        record: Session | Token | None
        if secret.startswith(TOKEN_SECRET):
            verified = await verified_token(tokens, secret, snapshot)
            record = None if verified is None else verified[0]
        else:
            record = await verified_session(tokens, secret, queries, snapshot, touch=False)
        if record is not None and not await self._scopes.sees(key, record):
            record = None
        if record is not None and not revokes_all and record.client_id != key.id:
            raise Problem(
                400,
                "not_yours",
                "it was made with another service key; a key of the role revoke ends it",
                oauth_error="invalid_grant",
            )
        if isinstance(record, Token):
            await tokens.destroy_token(secret)
        elif record is not None:
            await tokens.destroy_session(secret, reason="revoked")
        await exchange.answer(200, b"", content_type=None)


async def _form(exchange: Exchange) -> dict[str, str]:
    if exchange.scope["query_string"]:
        raise bad_request("nothing is taken from the query of this address; send a form in the body")
    sent = pairs_of(await exchange.read_body(FORM_TYPE), "the form")
    # RFC 6749, 3.2: what has no value is not sent; an empty secret is one that is not alive, as everywhere else.
    return {name: value for name, value in sent.items() if value or name == "token"}


def _token_of(form: dict[str, str]) -> str:
    secret = form.get("token")
    if secret is None:
        raise bad_request("the form has no field token; put the secret there")
    return secret


def metadata(issuer: str) -> bytes:
    """Return what RFC 8414 says about this service.

    It issues nothing through OAuth itself, so there is no authorization endpoint and no response type.
    """
    methods = ["client_secret_basic", "client_secret_post"]
    return msgspec.json.encode(
        {
            "issuer": issuer,
            "response_types_supported": [],
            "grant_types_supported": [],
            "introspection_endpoint": f"{issuer}/introspect",
            "introspection_endpoint_auth_methods_supported": methods,
            "revocation_endpoint": f"{issuer}/revoke",
            "revocation_endpoint_auth_methods_supported": methods,
            "service_documentation": f"{issuer}/docs",
        }
    )
