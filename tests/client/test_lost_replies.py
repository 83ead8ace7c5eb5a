"""Each command of the client whose reply is lost: done once, and answered as if nothing had been lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from session_tokens import AsyncSessionTokens
from session_tokens.client.async_client import AsyncRemoteTokens
from session_tokens.client.calls import CALLS
from session_tokens.records import Issued
from session_tokens.service.app import Service
from session_tokens.service_keys.keys import create_key

Act = Callable[[Any, str], Awaitable[Callable[[], Awaitable[Any]]]]


class Losing(httpx2.AsyncBaseTransport):
    """Carries requests to an application, and loses the next reply when it is told to."""

    def __init__(self, app: Any) -> None:
        self.inner = httpx2.ASGITransport(app)
        self.loses_next = False
        self.keys: list[str | None] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await self.inner.handle_async_request(request)
        content = await answer.aread()
        self.keys.append(request.headers.get("idempotency-key"))
        if self.loses_next:
            self.loses_next = False
            raise httpx2.ReadError("the connection was closed")
        return httpx2.Response(answer.status_code, headers=answer.headers, content=content)


def on_session(name: str, **arguments: Any) -> Act:
    """Return a command on the secret of a session."""

    async def prepare(st: Any, owner: str) -> Callable[[], Awaitable[Any]]:
        opened = await st.open_session(owner, detachable=True, max_age=None)
        if name == "attach_session":
            await st.detach_session(opened.id)
            return lambda: st.attach_session(opened.id, **arguments)
        return lambda: getattr(st, name)(opened.secret, **arguments)

    return prepare


def on_token(name: str, *before: tuple[str, dict[str, Any]], **arguments: Any) -> Act:
    """Return a command on a token, for which others were done before; ``OWNER`` stands for its owner."""

    def named(given: dict[str, Any], owner: str) -> dict[str, Any]:
        return {key: owner if value == "OWNER" else value for key, value in given.items()}

    async def prepare(st: Any, owner: str) -> Callable[[], Awaitable[Any]]:
        session = await st.open_session(owner)
        token = await st.issue_token(session.id, "v", transferable=True, uses=3)
        for command, given in before:
            await getattr(st, command)(token.id, **named(given, owner))
        return lambda: getattr(st, name)(token.id, **named(arguments, owner))

    return prepare


def on_owner(name: str, **arguments: Any) -> Act:
    """Return a command on an owner who has two sessions, and a token in each."""

    async def prepare(st: Any, owner: str) -> Callable[[], Awaitable[Any]]:
        for _ in range(2):
            await st.issue_token((await st.open_session(owner)).id, transferable=True)
        if name == "enable_owner":
            await st.disable_owner(owner)
        more = {"to": owner + " the second"} if name == "rename_owner" else arguments
        return lambda: getattr(st, name)(owner, **more)

    return prepare


async def issuing(st: Any, owner: str) -> Callable[[], Awaitable[Any]]:
    session = await st.open_session(owner)
    return lambda: st.issue_token(session.secret, "v")


async def claiming(st: Any, owner: str) -> Callable[[], Awaitable[Any]]:
    token = await st.issue_token(None, transferable=True, tag=owner)
    session = await st.open_session(owner)
    return lambda: st.claim_token(token.id, session_key=session.id)


async def claiming_next(st: Any, owner: str) -> Callable[[], Awaitable[Any]]:
    for _ in range(2):
        await st.issue_token(None, transferable=True, tag=owner)
    session = await st.open_session(owner)
    return lambda: st.claim_next_token(session_key=session.id, tag=owner)


async def setting(st: Any, owner: str) -> Callable[[], Awaitable[Any]]:
    return lambda: st.set_setting("token_timeout", 7200)


async def unsetting(st: Any, owner: str) -> Callable[[], Awaitable[Any]]:
    await st.set_setting("token_timeout", 3600)
    return lambda: st.unset_setting("token_timeout")


OFFERED = ("offer_token", {"price": "5", "currency": "EUR"})
LENT = ("lend_token", {"borrower": "agent", "until": 60})
ACTS: dict[str, Act] = {
    "open_session": on_owner("open_session"),
    "log_in": on_owner("log_in"),
    "rotate_session": on_session("rotate_session"),
    "detach_session": on_session("detach_session"),
    "attach_session": on_session("attach_session"),
    "change_session": on_session("change_session", label="x"),
    "update_session_data": on_session("update_session_data", changes={"n": 1}, version=0),
    "destroy_session": on_session("destroy_session"),
    "destroy_sessions": on_owner("destroy_sessions"),
    "disable_owner": on_owner("disable_owner"),
    "enable_owner": on_owner("enable_owner"),
    "issue_token": issuing,
    "transfer_token": on_token("transfer_token", giver="OWNER", receiver="bob"),
    "claim_token": claiming,
    "reissue_token": on_token("reissue_token", owner="OWNER"),
    "offer_token": on_token("offer_token", price="5", currency="EUR"),
    "withdraw_token": on_token("withdraw_token", OFFERED),
    "accept_offer": on_token("accept_offer", OFFERED, receiver="bob", price="5", currency="EUR"),
    "lend_token": on_token("lend_token", borrower="agent", until=60),
    "recall_token": on_token("recall_token", LENT),
    "consume_token": on_token("consume_token"),
    "release_token": on_token("release_token", owner="OWNER"),
    "claim_next_token": claiming_next,
    "hand_over": on_owner("hand_over", receiver="bob"),
    "change_token": on_token("change_token", value="w"),
    "destroy_token": on_token("destroy_token"),
    "rename_owner": on_owner("rename_owner"),
    "forget_owner": on_owner("forget_owner"),
    "set_setting": setting,
    "unset_setting": unsetting,
}


async def told(st: Any, owner: str, answer: Any) -> Any:
    """Return what an answer comes to, whatever the ids and the owner in it."""
    if isinstance(answer, Issued):
        record = answer.record
        verify = st.verify_session if answer.secret.startswith("sts_") else st.verify_token
        found = await verify(answer.secret)
        return (
            "issued",
            record.version,
            str(record.owner).replace(owner, ""),
            found is not None and found.id == record.id,
        )
    if hasattr(answer, "pseudonym"):
        return [value for name, value in answer._asdict().items() if name != "pseudonym"]
    return getattr(answer, "version", answer)


@pytest.mark.parametrize("name", sorted(ACTS))
async def test_a_command_whose_reply_is_lost_answers_as_if_it_were_not_and_is_done_once(name: str) -> None:
    async with await AsyncSessionTokens.open() as inner:
        key = (await create_key(inner.store, "admin")).secret
        transport = Losing(Service(inner))
        async with AsyncRemoteTokens("http://localhost", key=key, transport=transport) as st:
            seen = []
            for owner, loses in (("ann", False), ("eve", True)):
                act = await ACTS[name](st, owner)
                transport.loses_next, transport.keys = loses, []
                seen.append(await told(st, owner, await act()))
                held: list[Any] = [*await st.list_sessions(owner), *await st.list_tokens(owner=owner)]
                seen.append([(record.version, type(record).__name__) for record in held])

    assert seen[:2] == seen[2:]
    assert transport.keys[0] is not None and transport.keys[0] == transport.keys[1]


def test_no_command_is_left_out() -> None:
    assert {name for name, call in CALLS.items() if call.method != "GET"} == set(ACTS)
