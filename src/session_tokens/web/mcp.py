"""Bearer tokens of agents in servers of the Model Context Protocol: ``FastMCP(auth=SessionTokensVerifier("…"))``.

The token is looked up at each request, in the store or at the service, so that a revocation holds at once. A store
that cannot be asked is an error and never "not valid". With FastMCP it is one of its verifiers; with the SDK alone it
is what ``token_verifier=`` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .._async.api import AsyncSessionTokens
from ..crypto.secret_form import TOKEN_SECRET, is_session_secret
from ..errors import InvalidInput
from ..records import Session, Token
from ..rules.reserved import applications, is_anonymous
from ..settings import Settings
from .shared_store import SharedStore

if TYPE_CHECKING:
    from ..client.async_client import AsyncRemoteTokens


def _base() -> tuple[type, Any]:
    """Return the class to derive from and that of what is answered: FastMCP's where it is installed, else the SDK's."""
    try:
        module = import_module("fastmcp.server.auth")
    except ModuleNotFoundError:
        return object, import_module("mcp.server.auth.provider").AccessToken
    return module.TokenVerifier, module.AccessToken


_Base, _AccessToken = _base()


class SessionTokensVerifier(_Base):  # type: ignore[misc, valid-type]  # it is FastMCP's, or none
    """Verifies the secrets of tokens and sessions.

    Its claims are named as introspection names them: ``act`` says who borrowed a token, and ``sub`` whose it is.

    Args:
        store: the URL of a store or of a service (``https://…``), or an API that is open already.
        key: the secret of a service key, for a service.
        audience: for whom a token must have been issued; sessions, which are for nobody in particular, are then
            refused.
        required_scopes: words that a token's scope must hold all of; a session's scope is ``session``.
        settings: as for ``AsyncSessionTokens.open``.
        options: what FastMCP's ``TokenVerifier`` takes beside, such as ``base_url``.

    Raises:
        InvalidInput: a service without a key, or a store with one.
    """

    def __init__(
        self,
        store: str | AsyncSessionTokens | AsyncRemoteTokens,
        *,
        key: str | None = None,
        audience: str | None = None,
        required_scopes: Sequence[str] | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        is_service = isinstance(store, str) and store.startswith(("https://", "http://"))
        if is_service is (key is None):
            raise InvalidInput("a service is asked with key= (stk_…), and a store without one")
        if _Base is not object:
            super().__init__(required_scopes=None if required_scopes is None else list(required_scopes), **options)
        self._required = frozenset(required_scopes or ())
        self._audience = audience
        self._url, self._key = (store if is_service else None), key
        self._remote: AsyncRemoteTokens | None = None
        self._shared: SharedStore | None = None
        if isinstance(store, AsyncSessionTokens) or (isinstance(store, str) and not is_service):
            self._shared = SharedStore(store, settings)
        elif not isinstance(store, str):
            self._remote = store

    async def close(self) -> None:
        """Close what was opened here: the store, or the connections to the service; an API that was given stays open.

        It may be used again afterwards, and opens them anew. Calling it again does nothing.
        """
        if self._shared is not None:
            await self._shared.close()
        elif self._url is not None and self._remote is not None:
            remote, self._remote = self._remote, None
            await remote.close()

    async def verify_token(self, token: str) -> Any:
        """Return what the SDK knows of a living token or session, ``None`` for everything else.

        Raises:
            StoreUnavailable: the store or service cannot be asked.
        """
        tokens = await self._tokens()
        record: Token | Session | None = None
        if token.startswith(TOKEN_SECRET):
            record = await tokens.verify_token(token)
        elif is_session_secret(token) and self._audience is None:
            session = applications(await tokens.verify_session(token))
            record = None if session is None or is_anonymous(session.owner) else session
        if record is None or not self._is_for_us(record):
            return None
        scopes = record.told_scope.split(" ")
        if not self._required <= set(scopes):
            return None if _Base is object else _access(record, token, scopes, self._audience)  # which answers 403
        return _access(record, token, scopes, self._audience)

    def _is_for_us(self, record: Token | Session) -> bool:
        return self._audience is None or (isinstance(record, Token) and self._audience in record.audience)

    async def _tokens(self) -> AsyncSessionTokens | AsyncRemoteTokens:
        if self._shared is not None:
            return await self._shared.tokens()
        if self._remote is None:
            self._remote = await AsyncSessionTokens.connect(str(self._url), key=str(self._key))
        return self._remote


def _access(record: Token | Session, secret: str, scopes: list[str], audience: str | None) -> Any:
    owner = record.owner
    claims: dict[str, Any] = {"st_id": record.id}
    if owner is not None:
        claims["sub"] = owner
    if isinstance(record, Token):
        if record.borrower is not None:
            claims["act"] = {"sub": record.borrower}
        if record.for_client is not None:
            claims["client_id"] = record.for_client
        claims |= {"st_kind": record.kind.value, "st_value": record.to_dict()["value"]}
    return _AccessToken(
        token=secret,
        client_id=owner or record.id,
        scopes=scopes,
        expires_at=None if record.expires_at is None else record.expires_at // 1000,
        resource=audience,
        subject=owner,
        claims=claims,
    )
