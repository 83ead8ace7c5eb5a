"""The commands that work on sessions and tokens; each opens the store, does one thing and answers an exit code."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any, cast

from .._sync.api import SessionTokens
from ..audit.log import Audit
from ..audit.reader import is_kept, read_now
from ..crypto.secret_form import SESSION_ID, TOKEN_ID, is_id, is_session_secret
from ..errors import UnknownSession, UnknownToken
from ..records import Issued, Page
from ..stores.connect import insist_it_is_there, open_store_now
from . import exits
from .exits import UsageError
from .inputs import secret_from, service_key_of
from .operating import is_service, settings_of, store_url
from .output import print_json, print_record, print_table, progress

SESSION_COLUMNS = (
    "id", "owner", "created_at", "last_seen_at", "expires_at", "detached_at", "label", "address", "user_agent",
)  # fmt: skip
TOKEN_COLUMNS = ("id", "kind", "owner", "session_id", "value", "expires_at", "price", "currency", "epoch")
SWEEP_STEP = 1_000


def opened(options: Namespace, *, make: bool = False) -> SessionTokens:
    """Open the store, or connect to the service, that the options name, without a background sweeper.

    An audit log that a store has is gone on with.

    Args:
        make: whether a store that is not there is made; else it is ``InvalidInput``: most likely a mistyped name.
    """
    if is_service(options):
        # The same names, records and errors; what works on the inside of a store is refused by ``store_url``.
        return cast("SessionTokens", SessionTokens.connect(options.store, key=service_key_of(options)))
    url = store_url(options)
    if not make:
        insist_it_is_there(url)
    store = open_store_now(url)
    try:
        audit = Audit() if read_now(store, is_kept()) else None
        return SessionTokens(store, settings_of(options), audit=audit)
    except BaseException:
        store.close_now()
        raise


def told(options: Namespace, record: dict[str, Any], secret: str | None = None) -> int:
    """Print a record, and a secret where there is one."""
    shown = record if secret is None else {**record, "secret": secret}
    if options.json:
        print_json(shown)
    else:
        print_record(shown)
    return exits.OK


def issued(options: Namespace, made: Issued) -> int:
    """Print what was issued, with its secret."""
    return told(options, made.record.to_dict(), made.secret)


def open_session(options: Namespace) -> int:
    """Open a session and print it with its secret."""
    with opened(options, make=True) as tokens:
        return issued(
            options,
            tokens.open_session(
                options.owner,
                idle_timeout=options.idle_timeout,
                max_age=options.max_age,
                detachable=options.detachable,
                detached_timeout=options.detached_timeout,
                data=options.data,
                label=options.label,
                user_agent=options.user_agent,
                address=options.address,
                acr=options.acr,
                amr=options.amr,
                idempotency_key=options.idempotency_key,
            ),
        )


def log_in(options: Namespace) -> int:
    """Open a session for who has logged in, end the one that they had, and print the new one with its secret."""
    with opened(options, make=True) as tokens:
        return issued(
            options,
            tokens.log_in(
                options.owner,
                former=options.former,
                data=options.data,
                removed=options.remove or (),
                remember=options.remember,
                idle_timeout=options.idle_timeout,
                max_age=options.max_age,
                label=options.label,
                user_agent=options.user_agent,
                address=options.address,
                acr=options.acr,
                amr=options.amr,
                idempotency_key=options.idempotency_key,
            ),
        )


def verify(options: Namespace) -> int:
    """Say whether a secret is that of a living session or token; exit code 1 if it is not."""
    secret = secret_from(options.secret_file)
    if is_id(SESSION_ID, secret) or is_id(TOKEN_ID, secret):
        print("an id never authenticates; give the secret (sts_…, stt_…)", file=sys.stderr)
    with opened(options) as tokens:
        if is_session_secret(secret):
            session = tokens.verify_session(secret, touch=not options.no_touch)
            found = None if session is None else {"session": session.to_dict()}
        else:
            token = tokens.verify_token(secret)
            found = None if token is None else {"token": token.to_dict()}
    if options.json:
        print_json({"active": found is not None, **(found or {})})
    elif found is None:
        print("inactive")
    else:
        for record in found.values():
            print_record({"active": True, **record})
    return exits.INACTIVE if found is None else exits.OK


def list_sessions(options: Namespace) -> int:
    """List living sessions."""
    with opened(options) as tokens:
        if options.id is not None:
            session = tokens.get_session(options.id)
            if session is None:
                raise UnknownSession("no living session has that id; session-tokens explain ID says why")
            return told(options, session.to_dict())
        page = tokens.list_sessions(
            options.owner, detached=options.detached, anonymous=options.anonymous, newest=options.newest,
            after=options.after, limit=options.limit,
        )  # fmt: skip
    return _paged(options, SESSION_COLUMNS, [session.to_dict() for session in page], page)


def list_tokens(options: Namespace) -> int:
    """List living tokens."""
    with opened(options) as tokens:
        if options.id is not None:
            token = tokens.get_token(options.id)
            if token is None:
                raise UnknownToken("no living token has that id; session-tokens explain ID says why")
            return told(options, token.to_dict())
        page = tokens.list_tokens(
            owner=options.owner,
            session=options.session,
            transferable=options.transferable,
            sellable=options.sellable,
            unassigned=options.unassigned,
            tag=options.tag,
            newest=options.newest,
            after=options.after,
            limit=options.limit,
        )
    return _paged(options, TOKEN_COLUMNS, [token.to_dict() for token in page], page)


def _paged(options: Namespace, columns: tuple[str, ...], rows: list[dict[str, Any]], page: Page[Any]) -> int:
    if options.json:
        print_json({"items": rows, "next": page.after, "unreadable": list(page.unreadable)})
        return exits.OK
    if rows:
        print_table(columns, rows)
    say_what_is_missing(page)
    return exits.OK


def say_what_is_missing(page: Page[Any]) -> None:
    """Say to people what a page does not show: what cannot be read, and where the next one begins."""
    if page.unreadable:
        print(f"left out, as they cannot be read: {', '.join(page.unreadable)}; see check", file=sys.stderr)
    if page.after is not None:
        print(f"more: --after {page.after}", file=sys.stderr)


def issue(options: Namespace) -> int:
    """Issue a token under a session (named by id), or a free one, and print it with its secret."""
    value = options.value_json if options.value is None else options.value
    with opened(options, make=options.session is None) as tokens:
        return issued(
            options,
            tokens.issue_token(
                options.session,
                value,
                transferable=options.transferable,
                uses=options.uses,
                tag=options.tag,
                scope=options.scope,
                audience=options.audience,
                for_client=options.for_client,
                timeout=options.timeout,
                disownment_timeout=options.disownment_timeout,
                idempotency_key=options.idempotency_key,
            ),
        )


def transfer(options: Namespace) -> int:
    """Hand a token to another owner and print it with the receiver's secret."""
    with opened(options) as tokens:
        return issued(
            options,
            tokens.transfer_token(
                options.token,
                giver=options.giver,
                receiver=options.receiver,
                epoch=options.epoch,
                idempotency_key=options.idempotency_key,
            ),
        )


def claim(options: Namespace) -> int:
    """Take an unassigned token, or the next one, into a session and print it with its new secret."""
    if (options.token is None) != options.next or (options.tag is not None and not options.next):
        raise UsageError("name a token by its id, or take the next one: --next, with or without --tag")
    with opened(options) as tokens:
        if options.next:
            taken = tokens.claim_next_token(
                session_key=options.session, tag=options.tag, idempotency_key=options.idempotency_key
            )
            if taken is None:
                raise UnknownToken("no token waits that this session could claim")
            return issued(options, taken)
        return issued(
            options,
            tokens.claim_token(options.token, session_key=options.session, idempotency_key=options.idempotency_key),
        )


def end(options: Namespace) -> int:
    """End a session or token by its id, or all sessions of an owner."""
    if (options.id is None) == (options.owner is None):
        raise UsageError("name one: the id of a session or token, or --owner")
    if options.owner is None and options.except_session is not None:
        raise UsageError("--except goes with --owner; with an id that one alone is ended")
    if options.reason is not None and options.owner is None and is_id(TOKEN_ID, options.id):
        raise UsageError("--reason goes with a session, or --owner; a token that is ended by its id is always revoked")
    if options.owner is not None and not options.yes:
        insist_on("ends all sessions of", options.owner)
    key = options.idempotency_key
    reason: Any = options.reason or "revoked"
    with opened(options) as tokens:
        if options.owner is not None:
            count = tokens.destroy_sessions(
                options.owner, except_session=options.except_session, reason=reason, idempotency_key=key
            )
        elif is_id(SESSION_ID, options.id):
            count = int(tokens.destroy_session(options.id, reason=reason, idempotency_key=key))
        elif is_id(TOKEN_ID, options.id):
            count = int(tokens.destroy_token(options.id, idempotency_key=key))
        else:
            raise UsageError("that is no id of a session (ses_…) or token (tok_…)")
    if options.json:
        print_json({"ended": count})
    else:
        print(f"ended: {count}")
    return exits.OK if count or options.owner is not None else exits.INACTIVE


def insist_on(what: str, owner: str) -> None:
    """Ask at a terminal for an owner's name before something that cannot be taken back.

    Raises:
        UsageError: nobody can be asked, or the answer is another one.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"this {what} an owner, and nobody can be asked here; add --yes")
    print(f"This {what} {owner!r}. Type the owner to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().rstrip("\n") != owner:
        raise UsageError("not confirmed; nothing was changed")


def sweep(options: Namespace) -> int:
    """Clean up behind deadlines until nothing is due, or until a limit."""
    store_url(options)
    if options.limit == 0:
        raise UsageError("--limit is 1 or more; leave it out to clean up whatever is due")
    cleaned = 0
    with opened(options) as tokens, progress("swept", quiet=options.json) as show:
        while options.limit is None or cleaned < options.limit:
            step = SWEEP_STEP if options.limit is None else min(SWEEP_STEP, options.limit - cleaned)
            done = tokens.sweep(step)
            cleaned += done
            show(cleaned)
            if done == 0:
                break
    if options.json:
        print_json({"swept": cleaned})
    else:
        print(f"swept: {cleaned}")
    return exits.OK
