"""What passes tokens on is on every surface, and each act is told of by events, audit log, explain and console."""

from __future__ import annotations

import argparse
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from session_tokens import AsyncSessionTokens, Settings
from session_tokens._sync.api import SessionTokens
from session_tokens.audit.log import Audit
from session_tokens.cli.arguments import parser
from session_tokens.client.async_client import AsyncRemoteTokens
from session_tokens.client.blocking_client import RemoteTokens
from session_tokens.clock import ManualClock
from session_tokens.service.console.activity import said_of
from session_tokens.service.routes import OPERATIONS
from session_tokens.service_keys.roles import PERMISSIONS
from tests.helpers.console_desk import Desk

JAVASCRIPT = Path(__file__).parents[2] / "clients" / "js" / "src"
TOKEN = "/v1/tokens/{id}"


class Row(NamedTuple):
    """One act: where it is, what is sent, and what tells of it.

    Attributes:
        path: of the service.
        body: what is sent; ``bob`` stands for the session of bob.
        verb: of the command line.
        event: the kind of event.
        roles: who may do it over HTTP.
        said: what ``explain`` says of the token afterwards.
        before: what is done first, each with its body.
    """

    path: str
    body: dict[str, Any]
    verb: str
    event: str
    roles: set[str]
    said: str
    before: tuple[tuple[str, dict[str, Any]], ...] = ()


OFFERED = (f"{TOKEN}/offer", {"price": "5", "currency": "EUR"})
LENT = (f"{TOKEN}/lend", {"borrower": "bob"})
RELEASED = (f"{TOKEN}/release", {"owner": "ann"})
ACTS: dict[str, Row] = {
    "offer_token": Row(*OFFERED, "offer", "token_offered", {"transfer"}, "It is offered to everybody"),
    "accept_offer": Row(
        f"{TOKEN}/accept", {"receiver": "bob", "price": "5", "currency": "EUR"}, "accept", "token_transferred",
        {"transfer"}, "Its owner holds it since", (OFFERED,),
    ),
    "withdraw_token": Row(
        f"{TOKEN}/withdraw", {}, "withdraw", "token_withdrawn", {"transfer"}, "Its owner holds it since", (OFFERED,)
    ),
    "lend_token": Row(*LENT, "lend", "token_lent", {"transfer"}, "It was lent"),
    "recall_token": Row(
        f"{TOKEN}/recall", {}, "recall", "token_recalled", {"transfer"}, "Its owner holds it since", (LENT,)
    ),
    "consume_token": Row(
        f"{TOKEN}/consume", {}, "consume", "token_consumed", {"worker"}, "It can be used 1 more times"
    ),
    "release_token": Row(
        *RELEASED, "release", "token_released", {"transfer", "worker"}, "It has no owner since"
    ),
    "claim_next_token": Row(
        "/v1/tokens/claim-next", {"session": "bob", "tag": "job"}, "claim", "token_claimed", {"worker"},
        "Its owner holds it since", (RELEASED,),
    ),
    "hand_over": Row(
        "/v1/owners/ann/hand-over", {"receiver": "bob"}, "hand-over", "token_transferred", {"transfer"},
        "Its owner holds it since",
    ),
}  # fmt: skip


class Told(NamedTuple):
    """A service with a console, events and an audit log, and who asks it."""

    desk: Desk
    browser: httpx.AsyncClient
    http: httpx.AsyncClient
    ann: str
    bob: str

    async def token(self) -> str:
        """Return the id of another token that ann holds."""
        held = await self.desk.tokens.issue_token(
            self.ann, transferable=True, uses=2, tag="job", disownment_timeout=None
        )
        return held.id

    async def do(self, token: str, path: str, body: dict[str, Any]) -> None:
        sent = {name: self.bob if value == "bob" and name == "session" else value for name, value in body.items()}
        done = await self.http.post(path.replace("{id}", token), json=sent)
        assert done.status_code in (200, 201), done.text

    async def read(self, path: str, **query: str) -> Any:
        return (await self.http.get(path, params=query)).raise_for_status().json()


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    clock, settings = ManualClock(), Settings(events="durable")
    async with await AsyncSessionTokens.open(
        "memory://", clock=clock, settings=settings, sweep=False, audit=Audit()
    ) as tokens:
        desk = Desk(tokens, clock)
        browser = await desk.entered()
        async with desk.browser() as http:
            http.headers["Authorization"] = f"Bearer {desk.keys['admin'].secret}"
            sessions = [(await tokens.open_session(owner)).id for owner in ("ann", "bob")]
            yield Told(desk, browser, http, *sessions)
        await browser.aclose()


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


@pytest.mark.parametrize("name", ACTS)
def test_an_act_is_on_every_surface(name: str) -> None:
    row = ACTS[name]
    path = row.path.replace("/ann/", "/{owner:path}/")
    (operation,) = (each for each in OPERATIONS if (each.method, each.path) == ("POST", path))
    (choices,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    words, types = ((JAVASCRIPT / file).read_text() for file in ("index.js", "index.d.ts"))

    assert all(hasattr(api, name) for api in (SessionTokens, AsyncSessionTokens, RemoteTokens, AsyncRemoteTokens))
    assert row.verb in choices.choices
    assert re.search(rf"\b{camel(name)}\b", words) and re.search(rf"\b{camel(name)}\(", types)
    assert PERMISSIONS[operation.act] == {*row.roles, "admin"}


async def test_an_act_is_told_of_wherever_somebody_looks(told: Told) -> None:
    for name, row in ACTS.items():
        token = await told.token()
        for path, body in row.before:
            await told.do(token, path, body)
        after = (await told.read("/v1/events", limit="500"))["events"][-1]["id"]
        await told.do(token, row.path, row.body)
        events = (await told.read("/v1/events", after=after))["events"]
        entry = (await told.read("/v1/audit", subject=token))["entries"][0]
        explained = await told.read(f"/v1/explain/{token}")
        page = unescape((await told.browser.get(f"/console/tokens/{token}")).text)
        await told.desk.tokens.destroy_token(token)  # the next one is the only one again

        key = told.desk.keys["admin"].key.id
        assert [(row.event, token)] == [(event["kind"], event["subject_id"]) for event in events], name
        assert (entry["kind"], entry["subject_id"], entry["actor"]) == (row.event, token, key), name
        assert row.said in " ".join(explained["because"]), name
        assert said_of(row.event) in page.partition("What happened")[2], name
