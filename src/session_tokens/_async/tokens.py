"""The commands on tokens, for asyncio."""

from __future__ import annotations

from collections.abc import Sequence

from .. import json_values
from .. import validation as inputs
from ..contract.queries import Get, Scan
from ..crypto.minting import new_id
from ..crypto.secret_form import SESSION_ID, TOKEN_ID, TOKEN_SECRET, is_id, is_secret
from ..errors import InvalidInput, UnknownToken
from ..records import JSON, NO_TOKEN_DETAILS, Issued, Page, Session, Token, TokenDetails, TokenKind
from ..records.traits import token_traits
from ..rules import tokens as rules
from ..rules.expiry import shown_until
from ..rules.idempotency import canonical
from ..rules.listing import tokens_listed
from ..rules.loans import borrowed as borrowed_token
from ..settings import LABEL_BYTES_MAX, UNSET, Duration, Unset, duration_ms
from ..terms import uses_of
from .core import CHUNK, AsyncCore

NOBODY = (None, None)


class AsyncTokenCommands(AsyncCore):
    """Tokens."""

    async def issue_token(
        self,
        session_key: str | None,
        value: JSON = None,
        *,
        transferable: bool = False,
        timeout: Duration | None | Unset = UNSET,
        disownment_timeout: Duration | None | Unset = UNSET,
        uses: int | None = None,
        tag: str | None = None,
        scope: str | None = None,
        audience: str | Sequence[str] | None = None,
        for_client: str | None = None,
        client_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Issued:
        """Issue a token under a session, or a free one with ``None``, and return it with its secret.

        A transferable one with ``None`` is unassigned from birth: a seat, a job, a voucher that somebody will claim. It
        has no secret yet (``Issued.secret`` is ``None``), and waits for ever unless ``disownment_timeout`` is given.

        Args:
            session_key: id or secret of the session that holds it.
            value: a ``str``, kept verbatim, or any JSON value; at most 16 KiB; never interpreted.
            transferable: whether it may change hands and outlives its session unassigned; else it is session-bound.
            timeout: its own; a session-bound token ends with its session at the latest.
            disownment_timeout: how long it may wait unassigned; transferable tokens only.
            uses: how often ``consume_token`` uses it up, 1 to 10^9; at none left it ends. ``None``: not counted.
            tag: what it is for, up to 64 bytes; ``list_tokens(tag=)`` finds it, ``claim_next_token(tag=)`` takes it.
            scope: what it allows, words with blanks between (RFC 6749, section 3.3); introspection answers it.
            audience: for whom it is, one text or up to 16; introspection answers it as ``aud``.
            for_client: the client for whom it is issued, such as an app or an agent, as the application calls it, up to
                255 bytes; introspection answers it as ``client_id`` (RFC 7662, section 2.2).
            client_id: the id of the service key on whose behalf it is issued.

        Raises:
            UnknownSession, SessionEnded: no living session answers to ``session_key``.
            LimitReached: the session holds as many tokens as the settings allow.
            InvalidInput: a value, number or duration that can never be right.
        """
        transferable = inputs.flag_of("transferable", transferable)
        named = None if session_key is None else self._session_key(session_key)
        if disownment_timeout is not UNSET and not transferable:
            raise InvalidInput("only a transferable token is ever unassigned; leave disownment_timeout away")
        await self._know_settings()
        policy, is_waiting = self._policy, transferable and named is None
        kind = TokenKind.TRANSFERABLE if transferable else TokenKind.FREE if named is None else TokenKind.BOUND
        text, is_json = json_values.token_value_of("value", value)
        traits = token_traits(
            kind, is_json, _chosen("timeout", timeout, policy.token_timeout_ms),
            _chosen("disownment_timeout", disownment_timeout, None if is_waiting else policy.disownment_timeout_ms),
            inputs.optional_text("client_id", client_id, bytes_max=LABEL_BYTES_MAX),
        )  # fmt: skip
        details = _details_of(tag, scope, audience, uses, for_client)
        issue = rules.Issue(
            new_id(TOKEN_ID, self.store.partitioning.of_key(named)), None, text, traits, details=details
        )
        asked = () if idempotency_key is None else inputs.asked_of(timeout, disownment_timeout)
        said = canonical(text) if is_json and idempotency_key is not None else text
        if issue.details is not NO_TOKEN_DETAILS:
            asked = (*asked, *issue.details[1:5], issue.details.for_client)
        request = (session_key, kind, said, is_json, *asked, issue.traits.client_id)
        if is_waiting:
            waiting = await self._do("issue_token", idempotency_key, request, rules.issue_token, policy, None, issue)
            return Issued(waiting, None)
        return await self._issue(
            "issue_token", idempotency_key, request, TOKEN_SECRET, rules.issue_token,
            lambda lookup: (policy, named, issue.looked_up_by(lookup)), issue.id[4:6],
        )  # fmt: skip

    async def verify_token(self, secret: str) -> Token | None:
        """Return the living, owned (or free) token of a secret, ``None`` for every other string.

        Reading never writes, restarts no clock and uses nothing up. An unassigned token does not authenticate. The
        secret of a loan opens the token that is lent, which then names its ``borrower``.

        Raises:
            TypeError: ``secret`` is not a ``str``.
            StoreUnavailable: the store cannot be asked; this does not mean that the secret is not valid.
        """
        token, session = await self._authenticated(secret)
        if token is None:
            return None
        if token.details is not NO_TOKEN_DETAILS and token.details.lent is not None:
            return await self._borrowed(token, session)
        return token.seen_with(session)

    async def verify_token_until(self, secret: str) -> tuple[Token, int | None] | None:
        """Verify as ``verify_token``; return also until when it may be kept, in milliseconds, ``None`` for ever.

        The secret of a token that a session holds opens nothing after that session's end, whatever the token's kind;
        a transferable one itself goes on, unassigned, so that its ``expires_at`` may be later.
        """
        token, session = await self._authenticated(secret)
        if token is None:
            return None
        if token.is_loan:
            borrowed = await self._borrowed(token, session)
            return None if borrowed is None else (borrowed, borrowed.expires_at)
        return shown_until(token, session)

    async def _borrowed(self, loan: Token, holder: Session | None) -> Token | None:
        """Return the token that a loan opens, which is read after the loan; ``None`` if that is over."""
        id = loan.details.lent
        assert id is not None, "it is a loan"
        now, found = await self.store.read([Get("token", id)])
        return borrowed_token(loan, holder, now, found[0].value)

    async def _authenticated(self, secret: str) -> tuple[Token | None, Session | None]:
        """Return the token that a secret opens, and the session that holds it."""
        if not isinstance(secret, str):
            raise TypeError(f"a secret is a str, not {type(secret).__name__}")
        near = self.store.near_cache
        if near is not None and (kept := near.token(secret, self._keyring)) is not None:
            now, token, session = kept
        elif not is_secret(TOKEN_SECRET, secret):
            return NOBODY
        else:
            now, found, session, entry = await self.store.find_token(self._keyring.lookups(secret))
            if found is None or not found.authenticates(now, session, entry):
                return NOBODY
            token = found
        return token if token.details is NO_TOKEN_DETAILS else token.offered_at(now), session

    async def transfer_token(
        self,
        key: str,
        *,
        giver: str | None,
        receiver: str,
        epoch: int | None = None,
        idempotency_key: str | None = None,
    ) -> Issued:
        """Hand a transferable token to another owner and return it with the receiver's new secret; the giver's is dead.

        Args:
            giver: its present owner; for an unassigned token ``None`` or its previous owner.
            receiver: holds it in their newest living session, or parked until their next.
            epoch: transfer it only if it has not changed hands since this epoch.

        Raises:
            UnknownToken: no living token answers to ``key``.
            NotTransferable: it is free or session-bound.
            NotOwner: the giver does not own it.
            OwnerDisabled: the receiver is disabled.
            Conflict: ``epoch`` is not its epoch any more.
        """
        named = self._token_key(key)
        giver = None if giver is None else inputs.owner_of("giver", giver)
        receiver = inputs.receiver_of("receiver", receiver)
        expected = None if epoch is None else inputs.version_of("epoch", epoch)
        return await self._issue(
            "transfer_token",
            idempotency_key,
            (key, giver, receiver, expected),
            TOKEN_SECRET,
            rules.transfer_token,
            lambda lookup: (named, giver, receiver, lookup, expected),
            self.store.partitioning.of_key(named),
        )

    async def claim_token(self, key: str, *, session_key: str, idempotency_key: str | None = None) -> Issued:
        """Take an unassigned token into a living session and return it with its new secret.

        Raises:
            UnknownToken: no living token answers to ``key``.
            UnknownSession, SessionEnded: no living session answers to ``session_key``.
            NotTransferable: it is free or session-bound.
            Conflict: someone owns it.
        """
        named, holder = self._token_key(key), self._session_key(session_key)
        return await self._issue(
            "claim_token",
            idempotency_key,
            (key, session_key),
            TOKEN_SECRET,
            rules.claim_token,
            lambda lookup: (named, holder, lookup),
            self.store.partitioning.of_key(named),
        )

    async def reissue_token(self, key: str, *, owner: str | None, idempotency_key: str | None = None) -> Issued:
        """Give a token a new secret at its owner's wish; the old one is dead at once.

        Args:
            owner: its present owner; ``None`` for a free token.

        Raises:
            UnknownToken: no living token answers to ``key``.
            NotOwner: it is not that owner's, or unassigned.
        """
        named = self._token_key(key)
        owner = None if owner is None else inputs.owner_of("owner", owner)
        return await self._issue(
            "reissue_token",
            idempotency_key,
            (key, owner),
            TOKEN_SECRET,
            rules.reissue_token,
            lambda lookup: (named, owner, lookup),
            self.store.partitioning.of_key(named),
        )

    async def change_token(
        self,
        key: str,
        *,
        timeout: Duration | None | Unset = UNSET,
        disownment_timeout: Duration | None | Unset = UNSET,
        value: JSON | Unset = UNSET,
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Token:
        """Change value or clocks of a token; what is not given stays.

        Args:
            timeout: its own, counting from now.
            disownment_timeout: counts from its being unassigned; transferable tokens only.
            version: change it only if its version is still this one.

        Raises:
            UnknownToken: no living token answers to ``key``.
            InvalidInput: a disownment timeout for another kind of token.
            Conflict: ``version`` is not its version any more.
        """
        named = self._token_key(key)
        text, is_json = (UNSET, False) if value is UNSET else json_values.token_value_of("value", value)
        change = rules.TokenChange(
            UNSET if timeout is UNSET else duration_ms("timeout", timeout),
            UNSET if disownment_timeout is UNSET else duration_ms("disownment_timeout", disownment_timeout),
            text,
            is_json,
            inputs.version_of("version", version),
        )
        request = (key, *change)
        if idempotency_key is not None and text is not UNSET and is_json:
            request = (key, *change._replace(text=canonical(text)))
        return await self._do("change_token", idempotency_key, request, rules.change_token, named, change)

    async def destroy_token(self, key: str, *, version: int | None = None, idempotency_key: str | None = None) -> bool:
        """End a token; return whether one lived under ``key``. Ending what is over or unknown changes nothing.

        Raises:
            Conflict: ``version`` is given and is not its version any more.
        """
        try:
            named = self._token_key(key)
        except UnknownToken:
            return False
        expected = inputs.version_of("version", version)
        request = (key, expected)
        ended = await self._do("destroy_token", idempotency_key, request, rules.destroy_token, named, expected)
        if not ended and not isinstance(named, str):
            await self.store.insist_on_peppers()
        return ended

    async def get_token(self, id: str) -> Token | None:
        """Return the living token of an id as it stands now, unassigned ones too; ``None`` for every other string."""
        if not isinstance(id, str):
            raise TypeError(f"an id is a str, not {type(id).__name__}")
        if not is_id(TOKEN_ID, id):
            return None
        now, found = await self.store.read([Get("token", id)])
        token, session, entry = found[0].value.followed()
        present = None if token is None else token.as_of(now, session, entry)
        return None if present is None or present.is_loan else present.seen_with(session)

    async def list_tokens(
        self,
        *,
        owner: str | None = None,
        session: str | None = None,
        transferable: bool | None = None,
        sellable: bool | None = None,
        unassigned: bool | None = None,
        tag: str | None = None,
        newest: bool = False,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[Token]:
        """Return living tokens in order of their issue, a page at a time, each as it stands now.

        Args:
            owner: only those that they own now.
            session: only those that the session of this id holds now.
            transferable: only transferable (``True``) or only other ones (``False``).
            sellable: only listed (``True``) or only other ones (``False``).
            unassigned: only unassigned (``True``) or only other ones (``False``).
            tag: only those that were issued with it.
            newest: the last issued first; each page of one listing is asked for in the same order.
            after: the ``next`` of the page before.
            limit: 1 to 500. A page may hold less, even nothing, and name a next one: one call looks at about 1,000
                records at the most, however few of them match.
        """
        limit = inputs.limit_of(limit)
        if session is not None and not isinstance(session, str):
            raise TypeError(f"session is the id of a session (str), not {type(session).__name__}")
        if session is not None and not is_id(SESSION_ID, session):
            raise InvalidInput("session is the id of a session (ses_…)")
        listing = Scan(
            "tokens",
            inputs.place_of_cursor(TOKEN_ID, after),
            max(limit + 1, CHUNK),
            owner=None if owner is None else inputs.owner_of("owner", owner),
            session_id=session,
            tag=inputs.tag_of(tag),
            sellable=None if sellable is None else inputs.flag_of("sellable", sellable),
            unassigned=None if unassigned is None else inputs.flag_of("unassigned", unassigned),
            transferable=None if transferable is None else inputs.flag_of("transferable", transferable),
            newest=inputs.flag_of("newest", newest),
        )
        return await self._page(listing, tokens_listed, limit)


def _chosen(name: str, given: Duration | None | Unset, general_ms: int | None) -> int | None:
    """Return a duration in milliseconds: what was given, else the general one."""
    return general_ms if given is UNSET else duration_ms(name, given)


def _details_of(tag: object, scope: object, audience: object, uses: object, for_client: object) -> TokenDetails:
    """Return what few tokens are issued with."""
    if tag is None and scope is None and audience is None and uses is None and for_client is None:
        return NO_TOKEN_DETAILS
    return TokenDetails(
        scope=inputs.scope_of(scope),
        audience_text=inputs.audience_of(audience),
        tag=inputs.tag_of(tag),
        uses_left=uses_of("uses", uses),
        for_client=inputs.for_client_of(for_client),
    )
