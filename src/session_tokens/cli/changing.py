"""The commands that change a session, token or owner, each by its id; each is the call of the library by its verb."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..crypto.secret_form import SESSION_ID, TOKEN_ID, is_id
from ..settings import UNSET
from .commands import issued, opened, told
from .exits import UsageError

SESSION_CHANGES = ("idle_timeout", "max_age", "detached_timeout", "detachable", "label")
TOKEN_CHANGES = ("timeout", "disownment_timeout", "value")


def rotate(options: Namespace) -> int:
    """Give a session a new secret and print it; the old one is dead, or good for a grace."""
    with opened(options) as tokens:
        rotated = tokens.rotate_session(
            options.id,
            grace=options.grace,
            authenticated=options.authenticated,
            acr=options.acr,
            amr=options.amr,
            idempotency_key=options.idempotency_key,
        )
        return issued(options, rotated)


def detach(options: Namespace) -> int:
    """Log a detachable session out and let it go on."""
    with opened(options) as tokens:
        return told(options, tokens.detach_session(options.id, idempotency_key=options.idempotency_key).to_dict())


def attach(options: Namespace) -> int:
    """Log a detached session in again and print its new secret."""
    with opened(options) as tokens:
        return issued(options, tokens.attach_session(options.id, idempotency_key=options.idempotency_key))


def change(options: Namespace) -> int:
    """Change a session's clocks, label or data, or a token's clocks or value; what is not given stays."""
    if options.value_json is not UNSET:
        options.value = options.value_json
    given = {name: value for name in SESSION_CHANGES if (value := getattr(options, name)) is not UNSET}
    of_token = {name: value for name in TOKEN_CHANGES if (value := getattr(options, name)) is not UNSET}
    has_data = options.data is not None or bool(options.remove)
    if is_id(TOKEN_ID, options.id) and of_token and not (given or has_data):
        with opened(options) as tokens:
            return told(options, tokens.change_token(options.id, **_how(options), **of_token).to_dict())
    if not is_id(SESSION_ID, options.id) or of_token or has_data == bool(given):
        raise UsageError(
            "of a session (ses_…) change either its data (--data, --remove) or the rest; of a token (tok_…) --value, "
            "--value-json, --timeout, --disownment-timeout"
        )
    with opened(options) as tokens:
        if has_data:
            return told(options, _with_data(tokens, options).to_dict())
        return told(options, tokens.change_session(options.id, **_how(options), **given).to_dict())


def _how(options: Namespace) -> dict[str, Any]:
    """Return which version is to be changed, and under which idempotency key."""
    return {"version": options.expected, "idempotency_key": options.idempotency_key}


def _with_data(tokens: Any, options: Namespace) -> Any:
    changes = {} if options.data is None else options.data
    return tokens.update_session_data(options.id, changes, removed=options.remove or (), **_how(options))


def reissue(options: Namespace) -> int:
    """Give a token a new secret and print it; the old one is dead."""
    with opened(options) as tokens:
        fresh = tokens.reissue_token(options.token, owner=options.owner, idempotency_key=options.idempotency_key)
        return issued(options, fresh)


def offer(options: Namespace) -> int:
    """Advertise a transferable token."""
    with opened(options) as tokens:
        offered = tokens.offer_token(
            options.token,
            price=options.price,
            currency=options.currency,
            gift=options.gift,
            to=options.to,
            until=options.until,
            idempotency_key=options.idempotency_key,
        )
        return told(options, offered.to_dict())


def withdraw(options: Namespace) -> int:
    """Take a token's offer away."""
    with opened(options) as tokens:
        withdrawn = tokens.withdraw_token(options.token, idempotency_key=options.idempotency_key)
        return told(options, withdrawn.to_dict())
