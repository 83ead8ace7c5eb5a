"""The commands as the service takes them: one line each, with its method, its address and what its answer becomes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlencode

from .. import json_values
from .. import validation as inputs
from ..crypto.secret_form import (
    SESSION_ID,
    TOKEN_ID,
    TOKEN_SECRET,
    holds_secret,
    is_id,
    is_secret,
    is_session_secret,
)
from ..errors import InvalidInput, UnknownSession, UnknownToken
from ..records import Forgotten, Issued, OwnerSummary, Page
from ..records.explanation import Explanation
from ..settings import DATA_BYTES_MAX, UNSET, duration_ms
from ..stored_settings import GeneralSetting, stored_name_of
from ..stores.common.server_clock import ServerClock
from ..terms import price_of, uses_of
from .records import event_of, session_of, token_of


class Reply(NamedTuple):
    """What the service answered."""

    status: int
    headers: Mapping[str, str]
    body: Any
    clock: ServerClock


class Call(NamedTuple):
    """A command over HTTP.

    Attributes:
        method: of HTTP.
        path: ``{session}``, ``{token}``, ``{id}`` and ``{name}`` stand for the key, id or name that is the first
            argument.
        answer: makes of the reply what the command returns.
        query: arguments that go into the query, where others go into the body.
        missing_is_none: whether 404 is answered by ``None``.
    """

    method: str
    path: str
    answer: Callable[[Reply], Any]
    query: tuple[str, ...] = ()
    missing_is_none: bool = False

    @property
    def changes(self) -> bool:
        """Whether it may change something, and is to be done once however often it is sent."""
        return self.method != "GET" and self.path != VERIFY


class Request(NamedTuple):
    """What is sent."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes | None


def issued_session(reply: Reply) -> Issued:
    """Return a session with its secret."""
    return Issued(session_of(reply.body["session"], reply.clock), reply.body["secret"])


def issued_token(reply: Reply) -> Issued:
    """Return a token with its secret."""
    return Issued(token_of(reply.body["token"]), reply.body["secret"])


def claimed_token(reply: Reply) -> Issued | None:
    """Return a token with its secret, ``None`` where none waits."""
    return None if reply.body["token"] is None else issued_token(reply)


def handed(reply: Reply) -> int:
    """Return how many tokens were handed over."""
    return int(reply.body["handed"])


def session(reply: Reply) -> Any:
    """Return a session."""
    return session_of(reply.body["session"], reply.clock)


def token(reply: Reply) -> Any:
    """Return a token."""
    return token_of(reply.body["token"])


def has_changed(reply: Reply) -> bool:
    """Return whether there was something to end."""
    return reply.headers["session-tokens-changed"] == "true"


def changed(reply: Reply) -> bool:
    """Return whether the owner's state was another one before."""
    return bool(reply.body["changed"])


def ended(reply: Reply) -> int:
    """Return how many were ended."""
    return int(reply.body["ended"])


def sessions(reply: Reply) -> Page[Any]:
    """Return a page of sessions."""
    items = [session_of(each, reply.clock) for each in reply.body["sessions"]]
    return Page(items, reply.body["next"], tuple(reply.body["unreadable"]))


def tokens(reply: Reply) -> Page[Any]:
    """Return a page of tokens."""
    return Page([token_of(each) for each in reply.body["tokens"]], reply.body["next"], tuple(reply.body["unreadable"]))


def events(reply: Reply) -> Page[Any]:
    """Return a page of events."""
    return Page([event_of(each) for each in reply.body["events"]], reply.body["next"], tuple(reply.body["unreadable"]))


def explanation(reply: Reply) -> Explanation:
    """Return why something is as it is."""
    told = {name: reply.body[name] for name in Explanation._fields}
    return Explanation(**{**told, "because": tuple(told["because"])})


def audit_entries(reply: Reply) -> Page[Any]:
    """Return a page of the audit log."""
    return Page(reply.body["entries"], reply.body["next"])


def owners(reply: Reply) -> Page[OwnerSummary]:
    """Return a page of owners."""
    items = [OwnerSummary(**{name: each[name] for name in OwnerSummary._fields}) for each in reply.body["owners"]]
    return Page(items, reply.body["next"], tuple(reply.body["unreadable"]))


def renamed(reply: Reply) -> int:
    """Return how many sessions and tokens have another owner's name now."""
    return int(reply.body["renamed"])


def forgotten(reply: Reply) -> Forgotten:
    """Return what forgetting an owner came to."""
    return Forgotten(**{name: reply.body[name] for name in Forgotten._fields})


def _setting_of(answer: Mapping[str, Any]) -> GeneralSetting:
    return GeneralSetting(**{name: answer[name] for name in GeneralSetting._fields})


def settings(reply: Reply) -> list[GeneralSetting]:
    """Return the general settings of the store, as they hold in the service."""
    return [_setting_of(each) for each in reply.body["settings"]]


def setting(reply: Reply) -> GeneralSetting:
    """Return one of them."""
    return _setting_of(reply.body["setting"])


S, T, VERIFY = "/v1/sessions", "/v1/tokens", "/v1/verify"
CALLS = {
    "open_session": Call("POST", S, issued_session),
    "log_in": Call("POST", "/v1/log-in", issued_session),
    "rotate_session": Call("POST", S + "/{session}/rotate", issued_session),
    "detach_session": Call("POST", S + "/{session}/detach", session),
    "attach_session": Call("POST", S + "/{session}/attach", issued_session),
    "change_session": Call("PATCH", S + "/{session}", session),
    "update_session_data": Call("PATCH", S + "/{session}", session),
    "destroy_session": Call("DELETE", S + "/{session}", has_changed),
    "destroy_sessions": Call("DELETE", "/v1/owners/sessions", ended),
    "disable_owner": Call("POST", "/v1/owners/disable", changed, query=("owner",)),
    "enable_owner": Call("POST", "/v1/owners/enable", changed, query=("owner",)),
    "get_session": Call("GET", S + "/{session}", session, missing_is_none=True),
    "list_sessions": Call("GET", S, sessions),
    "issue_token": Call("POST", T, issued_token),
    "transfer_token": Call("POST", T + "/{token}/transfer", issued_token),
    "claim_token": Call("POST", T + "/{token}/claim", issued_token),
    "reissue_token": Call("POST", T + "/{token}/reissue", issued_token),
    "offer_token": Call("POST", T + "/{token}/offer", token),
    "withdraw_token": Call("POST", T + "/{token}/withdraw", token),
    "accept_offer": Call("POST", T + "/{token}/accept", issued_token),
    "lend_token": Call("POST", T + "/{token}/lend", issued_token),
    "recall_token": Call("POST", T + "/{token}/recall", token),
    "consume_token": Call("POST", T + "/{token}/consume", token),
    "release_token": Call("POST", T + "/{token}/release", token),
    "claim_next_token": Call("POST", T + "/claim-next", claimed_token),
    "hand_over": Call("POST", "/v1/owners/hand-over", handed, query=("owner",)),
    "change_token": Call("PATCH", T + "/{token}", token),
    "destroy_token": Call("DELETE", T + "/{token}", has_changed),
    "get_token": Call("GET", T + "/{token}", token, missing_is_none=True),
    "list_tokens": Call("GET", T, tokens),
    "events": Call("GET", "/v1/events", events),
    "explain": Call("GET", "/v1/explain/{id}", explanation),
    "list_audit": Call("GET", "/v1/audit", audit_entries),
    "list_owners": Call("GET", "/v1/owners", owners),
    "list_disabled_owners": Call("GET", "/v1/owners?disabled=true", owners),
    "rename_owner": Call("POST", "/v1/owners/rename", renamed),
    "forget_owner": Call("POST", "/v1/owners/forget", forgotten),
    "list_settings": Call("GET", "/v1/settings", settings),
    "set_setting": Call("PUT", "/v1/settings/{name}", setting),
    "unset_setting": Call("DELETE", "/v1/settings/{name}", setting),
}
"""Each command of the library that the service offers, by its name."""
VERIFY_SESSION = Call("POST", VERIFY, session, missing_is_none=True)
VERIFY_TOKEN = Call("POST", VERIFY, token, missing_is_none=True)

NAMES = {"session_key": "session", "changes": "data"}
"""How arguments are called over HTTP, where that is otherwise."""
BY_SECRET = "by-secret"
PUBLIC_ID = re.compile(r"(ses|tok|key)_[0-9A-Za-z]{1,64}")


def request_of(call: Call, arguments: Mapping[str, Any], idempotency_key: str | None) -> Request:
    """Return what is sent for a command.

    Args:
        call: the command.
        arguments: by their names; those that were not given are not there.
        idempotency_key: for what changes something; that of the caller goes before it.

    Raises:
        UnknownSession, UnknownToken: a key that can be none.
        InvalidInput, TypeError: what can never be right, or is not offered here.
    """
    given = {name: value for name, value in arguments.items() if value is not UNSET}
    headers: dict[str, str] = {}
    own = given.pop("idempotency_key", None)
    if own is not None:
        idempotency_key = _key_in_header(own)
    if call.method != "GET" and idempotency_key is not None:
        headers["Idempotency-Key"] = idempotency_key
    if given.pop("client_id", None) is not None:
        raise InvalidInput("client_id is the service key that asks, here; leave it out")
    body: dict[str, Any] = {}
    path = _path_of(call, given, body)
    _name_what_is_kept(given, body)
    if call.method == "DELETE" and (version := given.pop("version", None)) is not None:
        headers["If-Match"] = f'"{inputs.version_of("version", version)}"'
    in_query = given if call.method in ("GET", "DELETE") else {name: given.pop(name) for name in call.query}
    query = {NAMES.get(name, name): _in_query(name, value) for name, value in in_query.items() if _says(name, value)}
    for name, value in query.items():
        if holds_secret(value):  # the service would refuse it, but it would have been sent, and written down, by then
            raise InvalidInput(f"{name} looks like a secret, and goes into an address, which others log; give an id")
    if call.method not in ("GET", "DELETE"):
        body |= {NAMES.get(name, name): value for name, value in given.items()}
    has_body = bool(body) or call.method in ("POST", "PATCH")
    if has_body:
        headers["Content-Type"] = "application/json"
    try:
        content = _content_of(body, () if call.path.startswith(T) else ("value",)) if has_body else None
        if query:
            path += f"{'&' if '?' in path else '?'}{urlencode(query)}"
    except InvalidInput:
        raise
    except ValueError:  # encodings that fail are such errors
        raise InvalidInput("what is given holds NaN, infinity or lone surrogates, which cannot be sent") from None
    return Request(call.method, path, headers, content)


def _key_in_header(given: object) -> str:
    key = inputs.idempotency_key_of(given)
    if not key.isascii():
        raise InvalidInput("over HTTP an idempotency key stands in a header, and is ASCII; give a fresh random string")
    return key


def _content_of(body: dict[str, Any], as_they_are: Collection[str]) -> bytes:
    """Return a body as JSON; values and data are checked as the library does, a price is sent in its digits.

    Raises:
        TypeError, InvalidInput: as the library; or ``ValueError``, for a number or text that cannot be sent.
    """
    for name in ("value", "data"):
        if name in body and name not in as_they_are:
            json_values.json_text(name, _at_top(body[name]), DATA_BYTES_MAX)
    for name, given in body.items():
        check = _CHECKED.get(name)
        if check is not None:
            check(name, given)
    if isinstance(body.get("price"), Decimal):
        body["price"] = format(body["price"], "f")
    return json.dumps(body, ensure_ascii=False, allow_nan=False, default=_plain).encode()


def _at_top(given: Any) -> Any:
    return dict(given) if isinstance(given, Mapping) else given


def _path_of(call: Call, given: dict[str, Any], body: dict[str, Any]) -> str:
    """Return the path with the id in its place; a secret goes into the body, for addresses are written down."""
    for what, kind, is_secret_of, unknown in _KEYS:
        if f"{{{what}}}" in call.path:
            name = "key" if "key" in given else "id"
            key = given.pop(name)
            if not isinstance(key, str):
                raise TypeError(f"a {what}'s key is its id or secret (str), not {type(key).__name__}")
            if not is_id(kind, key):
                if not is_secret_of(key):
                    raise unknown(f"that is neither the id nor the secret of a {what}")
                body["secret"], key = key, BY_SECRET
            return call.path.replace(f"{{{what}}}", key)
    if "{name}" in call.path:
        stored_name_of(given["name"])
        return call.path.replace("{name}", given.pop("name"))
    if "{id}" in call.path:
        id = given.pop("id")
        if not isinstance(id, str):
            raise TypeError(f"an id is a str, not {type(id).__name__}")
        if not PUBLIC_ID.fullmatch(id):
            raise InvalidInput("that is no id of a session (ses_…), token (tok_…) or service key (key_…)")
        return call.path.replace("{id}", id)
    return call.path


def _name_what_is_kept(given: dict[str, Any], body: dict[str, Any]) -> None:
    """Put the secret of a session that is to be kept into the body, as ``_path_of`` does."""
    kept = given.get("except_session")
    if isinstance(kept, str) and not is_id(SESSION_ID, kept):
        if not is_session_secret(kept):
            raise UnknownSession("that is neither the id nor the secret of a session")
        body["secret"], given["except_session"] = kept, BY_SECRET


def _is_token_secret(text: str) -> bool:
    return is_secret(TOKEN_SECRET, text)


_KEYS = (
    ("session", SESSION_ID, is_session_secret, UnknownSession),
    ("token", TOKEN_ID, _is_token_secret, UnknownToken),
)  # fmt: skip


def _check_text(name: str, given: object) -> None:
    if not isinstance(given, str | None):
        raise TypeError(f"{name} is a str, not {type(given).__name__}")


_CHECKED: dict[str, Callable[[str, Any], object]] = {
    **dict.fromkeys(
        "timeout max_age idle_timeout detached_timeout disownment_timeout until grace".split(), duration_ms
    ),
    **dict.fromkeys("owner giver receiver borrower to label tag scope currency settlement".split(), _check_text),
    **dict.fromkeys(("uses", "amount"), uses_of),
    "price": lambda _, given: price_of(given),
}
"""Arguments in a body that are checked here, so that a wrong one is told in the library's words."""


def _says(name: str, value: object) -> bool:
    """Whether an argument says something: ``None`` does where the library does not take it, and is refused then."""
    return value is not None or name == "reason"


def _in_query(name: str, value: Any) -> str:
    if name == "reason" and not isinstance(value, str):
        raise TypeError(f"{name} is a str, not {type(value).__name__}")
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int):
        raise TypeError(f"a {type(value).__name__} is not taken here")
    return inputs.plain(value) if isinstance(value, str) else str(int(value))


def _plain(value: Any) -> Any:
    """Return what JSON does not know as the service takes it."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(f"a {type(value).__name__} cannot be sent as JSON")
