"""What a location demands beside a living session, in the query of ``/forward-auth``, and what it is told of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from session_tokens import InvalidInput
from session_tokens.service.app import Options
from session_tokens.service.forward_auth import LogIn
from session_tokens.service.identity import VALUE_BYTES_MAX, Identity
from tests.helpers.service_world import World

Asking = Callable[[World, str, str], Awaitable[httpx.Response]]
BROWSER = {"Accept": "text/html", "X-Forwarded-Host": "app.example", "X-Forwarded-Uri": "/admin/?a=b"}


async def asked(world: World, query: str, secret: str, **headers: str) -> httpx.Response:
    return await world.http.get(f"/forward-auth{query}", headers={"Authorization": f"Bearer {secret}", **headers})


async def asked_for_tokens(world: World, query: str, secret: str) -> httpx.Response:
    return await world.http.get(f"/forward-auth-tokens{query}", headers={"Authorization": f"Bearer {secret}"})


async def test_a_log_in_longer_ago_than_a_location_allows_is_refused_in_the_words_of_rfc_9470(world: World) -> None:
    opened = await world.open_session(max_age=None)
    world.clock.advance(600)
    in_time = await asked(world, "?recent=600", opened["secret"])
    world.clock.advance(1)
    late = await asked(world, "?recent=600", opened["secret"])
    elsewhere = await asked(world, "", opened["secret"])

    assert (in_time.status_code, late.status_code, elsewhere.status_code) == (204, 401, 204)
    assert 'error="insufficient_user_authentication"' in late.headers["www-authenticate"]
    assert 'max_age="600"' in late.headers["www-authenticate"]
    assert late.json()["code"] == "insufficient_user_authentication"


@pytest.mark.parametrize("query", ["", "?recent=600", "?acr=phr"])
async def test_a_visitor_has_not_logged_in_however_recently_they_came(world: World, query: str) -> None:
    visitor = await world.tokens.log_in(None, acr="phr", data={"csrf": "of a log-in page"})

    assert (await asked(world, query, visitor.secret)).status_code == 401
    assert (await asked_for_tokens(world, "?scope=session", visitor.secret)).status_code == 401


async def test_a_log_in_must_have_proved_one_of_the_values_that_are_named(world: World) -> None:
    opened = await world.tokens.open_session("alice", acr="phr")
    answers = [await asked(world, query, opened.secret) for query in ("?acr=phr", "?acr=mfa+phr", "?acr=mfa")]

    assert [answer.status_code for answer in answers] == [204, 204, 401]
    assert 'acr_values="mfa"' in answers[2].headers["www-authenticate"]


@pytest.mark.parametrize(
    "query",
    ["?recent=600&recent=99999", "?recent=99999&recent=600", "/page?x=1&recent=600", "?recent=600&recent=99999&acr=a",
     "?scope=session&recent=600"],
)  # fmt: skip
async def test_what_a_page_adds_to_the_query_takes_no_demand_away(world: World, query: str) -> None:
    opened = await world.open_session(max_age=None)
    world.clock.advance(601)

    assert (await asked(world, query, opened["secret"])).status_code == 401


@pytest.mark.parametrize(
    "query",
    ["?recent=", "?recent", "?recent=10m", "?recent=-1", "?recent=0", "?recent=1e3", "?recent=9999999999",
     "?recent=%C2%B2", "?scope=", "?scope=%22", "?scope=a++b", "?acr=", "?audience=", "?recent=600&recent=x"],
)  # fmt: skip
async def test_a_demand_that_can_never_be_right_lets_nobody_in_and_names_the_remedy(world: World, query: str) -> None:
    opened = await world.open_session()
    answer = await asked(world, query, opened["secret"])

    assert answer.status_code == 400
    assert "such as" in answer.json()["detail"]


async def test_tokens_open_what_demands_their_scope_and_nothing_else(world: World) -> None:
    opened = await world.open_session("alice")
    token = await world.issue_token(opened["session"]["id"], scope="read write")
    queries = ["", "?recent=600", "?scope=read", "?scope=write+read", "?scope=read&scope=write", "?scope=rea",
               "?scope=read&scope=admin", "/page?scope=read"]  # fmt: skip
    answers = [await asked_for_tokens(world, query, token["secret"]) for query in queries]

    assert [answer.status_code for answer in answers] == [400, 400, 204, 204, 204, 403, 403, 204]
    assert "such as /forward-auth-tokens?scope=read" in answers[0].json()["detail"]
    assert answers[2].headers["x-session-owner"] == "alice"
    assert answers[2].headers["x-session-id"] == token["token"]["id"]
    assert 'error="insufficient_scope"' in answers[6].headers["www-authenticate"]
    assert 'scope="admin read"' in answers[6].headers["www-authenticate"]


@pytest.mark.parametrize("query", ["", "?scope=read", "?audience=https://api", "/page?scope=read&recent=600"])
async def test_a_page_that_writes_a_demand_does_not_let_a_token_in(world: World, query: str) -> None:
    """Caddy sends the page's own query along where it is told no other: ``/?scope=read`` must stay without effect."""
    session = (await world.open_session("alice"))["session"]["id"]
    named: list[dict[str, Any]] = [{}, {"audience": ["https://api"]}]
    tokens = [await world.issue_token(session, scope="read", **fields) for fields in named]

    assert [(await asked(world, query, token["secret"])).status_code for token in tokens] == [401, 401]


@pytest.mark.parametrize("asking", [asked, asked_for_tokens])
async def test_a_sessions_scope_is_session(world: World, asking: Asking) -> None:
    opened = await world.open_session("alice")

    assert (await asking(world, "?scope=session", opened["secret"])).status_code == 204
    assert (await asking(world, "?scope=read", opened["secret"])).status_code == 403


async def test_a_token_for_an_audience_opens_only_what_names_it(world: World) -> None:
    opened = await world.open_session("alice")
    session = opened["session"]["id"]
    ours = await world.issue_token(session, scope="read", audience=["https://api", "https://b"])
    plain = await world.issue_token(session, scope="read")
    naming, silent = "?scope=read&audience=https://api", "?scope=read"
    other = "?scope=read&audience=https://api&audience=https://c"

    asking = asked_for_tokens

    assert [(await asking(world, query, ours["secret"])).status_code for query in (naming, silent, other)] == [
        204, 401, 401,
    ]  # fmt: skip
    assert [(await asking(world, query, plain["secret"])).status_code for query in (naming, silent)] == [401, 204]
    assert (await asking(world, "?audience=https://api", opened["secret"])).status_code == 401


async def test_a_token_of_nobody_and_one_whose_session_ended_open_nothing(world: World) -> None:
    opened = await world.open_session("alice")
    free = await world.issue_token(None, scope="read")
    bound = await world.issue_token(opened["session"]["id"], scope="read")
    before = await asked_for_tokens(world, "?scope=read", bound["secret"])
    await world.ask("DELETE", f"/v1/sessions/{opened['session']['id']}")
    after = await asked_for_tokens(world, "?scope=read", bound["secret"])

    assert (before.status_code, after.status_code) == (204, 401)
    assert (await asked_for_tokens(world, "?scope=read", free["secret"])).status_code == 401


async def with_options(world: World, **options: Any) -> AsyncIterator[World]:
    """Yield a service on the same store that is set up otherwise."""
    other = World(world.tokens, world.clock, Options(**options))
    async with other.http:
        yield other


async def test_the_log_in_page_is_told_that_another_log_in_is_wanted(world: World) -> None:
    """It would send somebody who is logged in straight back."""
    opened = await world.open_session(max_age=None)
    world.clock.advance(601)
    async for other in with_options(world, log_in=LogIn.at("/log-in")):
        sent = await asked(other, "?recent=600", opened["secret"], **BROWSER)
        behind_nginx = await asked(other, "?recent=600", opened["secret"], **BROWSER, **{"X-Original-URI": "/admin/"})
        small = await asked(other, "?scope=read", opened["secret"], **BROWSER)

        where = urlsplit(sent.headers["location"])
        assert (sent.status_code, where.path) == (303, "/log-in")
        assert parse_qs(where.query) == {"max_age": ["600"], "next": ["/admin/?a=b"]}
        assert (behind_nginx.status_code, small.status_code) == (401, 403)
        assert "max_age=600" in behind_nginx.headers["location"]
        assert "location" not in small.headers


async def test_what_else_is_told_is_what_was_allowed_by_name(world: World) -> None:
    data: dict[str, Any] = {
        "email": "a@b.example",
        "groups": ["staff", "a,b ü"],
        "n": 3,
        "deep": {"x": None},
        "long": "x" * 1_025,
    }
    session = await world.tokens.open_session("alice", data=data, acr="phr", amr=["pwd", "otp"], label="home")
    more = ["Remote-Email=data.email", "Remote-Groups=data.groups", "X-N=data.n", "X-Deep=data.deep", "X-No=data.no",
            "X-Long=data.long", "X-Acr=acr", "X-Amr=amr", "X-At=auth_time", "X-Ends=expires_at", "X-Label=label",
            "X-Scope=scope", "X-Client=for_client", "X-By=borrower"]  # fmt: skip
    async for other in with_options(world, identity=Identity.told_in("Remote-User", more)):
        told = (await asked(other, "", session.secret)).headers

        assert (told["remote-user"], told["x-session-id"]) == ("alice", session.id)
        assert (told["remote-email"], told["remote-groups"]) == ("a@b.example", "staff,a%2Cb%20%C3%BC")
        assert (told["x-n"], told["x-deep"]) == ("3", "%7B%22x%22:null%7D")
        assert (told["x-acr"], told["x-amr"], told["x-label"]) == ("phr", "pwd,otp", "home")
        assert told["x-at"] == str(session.session.authenticated_at // 1000)
        assert told["x-ends"] == str(session.session.expires_at)
        assert (told["x-scope"], told["x-client"], told["x-by"]) == ("session", "", "")
        # What there is nothing to say of is there and empty, so that it takes the place of what a client sent.
        assert (told["x-no"], told["x-long"]) == ("", "")
        assert VALUE_BYTES_MAX == 1_024


async def test_of_a_token_its_scope_client_and_borrower_are_told(world: World) -> None:
    session = await world.tokens.open_session("alice", data={"email": "a@b.example"})
    token = await world.tokens.issue_token(session.id, scope="read write", for_client="app 1")
    loan = await world.tokens.lend_token(token.id, borrower="agent:1", until=60)
    more = ["X-Scope=scope", "X-Client=for_client", "X-By=borrower", "X-Email=data.email"]
    async for other in with_options(world, identity=Identity.told_in("Remote-User", more)):
        own = (await asked_for_tokens(other, "?scope=read", token.secret)).headers
        lent = (await asked_for_tokens(other, "?scope=read", loan.secret)).headers

        assert [own[name] for name in ("x-scope", "x-client", "x-by", "x-email")] == ["read,write", "app%201", "", ""]
        assert [lent[name] for name in ("remote-user", "x-by")] == ["alice", "agent:1"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["Remote-Email"], "NAME=FIELD"), (["Remote-Email="], "NAME=FIELD"), (["Remote-Email=email"], "NAME=FIELD"),
        (["Remote-Email=data."], "NAME=FIELD"), (["Set-Cookie=acr"], "means something else"),
        (["X-Session-Id=acr"], "means something else"), (["X Y=acr"], "letters, digits"),
        (["X-Session-Owner=acr"], "twice"), (["X-A=acr", "x-a=amr"], "twice"),
        *(([f"{name}=acr"], "means something else") for name in (
            "X-Forwarded-For", "x-forwarded-host", "X-Forwarded-Proto", "X-Forwarded-Anything", "Forwarded", "Via",
            "Proxy-Authorization", "X-Accel-Redirect", "X-Accel-Expires", "X-Original-URI", "X-Real-IP", "X-Sendfile",
            "Content-Type", "Accept-Encoding", "If-Match", "Origin", "User-Agent", "Access-Control-Allow-Origin",
        )),
    ],
)  # fmt: skip
def test_a_header_that_can_say_nothing_is_refused(more: list[str], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Identity.told_in(more=more)


def test_an_owner_is_named_under_customary_names_and_none_that_proxies_and_frameworks_believe() -> None:
    for name in ("Remote-User", "X-Forwarded-User", "X-Auth-Request-User", "X-WEBAUTH-USER"):
        assert Identity.told_in(name).owner_header == name.lower().encode()
    with pytest.raises(InvalidInput, match="such as Remote-User"):
        Identity.told_in("X-Forwarded-For")
