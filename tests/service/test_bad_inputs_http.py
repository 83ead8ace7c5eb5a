"""Bad input E: requests that are whole but wrong; those that cannot be read are in ``test_framing.py``."""

from __future__ import annotations

import gzip
import ipaddress
import logging
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from session_tokens.service.app import Options
from session_tokens.service.console.app import Console
from session_tokens.service.routes import OPERATIONS
from tests.helpers.running_service import RunningService, request, status_of
from tests.helpers.service_world import World

FORM = "application/x-www-form-urlencoded"
pytestmark = pytest.mark.parametrize("world", ["memory"], indirect=True)


@pytest.mark.parametrize("name", ["token", "access_token", "client_secret", "anything"])
@pytest.mark.parametrize(
    ("place", "status"),
    [
        ("POST /introspect", 400),
        ("POST /revoke", 400),
        ("GET /v1/sessions", 400),
        ("GET /livez", 400),
        ("GET /forward-auth", 401),  # the query is the page's own, and is not read
    ],
)
async def test_a_secret_in_the_query_is_refused_and_not_logged(
    world: World, place: str, status: int, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """71."""
    method, path = place.split()
    secret = (await world.open_session())["secret"]
    with caplog.at_level(logging.DEBUG):
        options: dict[str, Any] = {"data": {"token": "x"}} if method == "POST" else {}
        answer = await world.ask(method, path, params={name: secret}, **options)
    words = " ".join(str(record.__dict__) for record in caplog.records if record.name.startswith("session_tokens"))

    assert answer.status_code == status
    assert "request" in words
    assert secret not in words
    assert secret not in answer.text


@pytest.mark.parametrize("around", ["{}", "x={}", "https://app.example/?x={}"])
@pytest.mark.parametrize("mistyped", ["", "0", "!"])
async def test_a_secret_in_place_of_an_owner_is_refused(
    world: World, around: str, mistyped: str, caplog: pytest.LogCaptureFixture
) -> None:
    """71: also one that was pasted with what stood around it, or is mistyped: in an address it would be logged."""
    secret = (await world.open_session())["secret"][:-1] + mistyped
    owner = around.format(secret)
    with caplog.at_level(logging.DEBUG):
        answers = [
            await world.ask("GET", "/v1/sessions", params={"owner": owner}),
            await world.ask("GET", "/v1/tokens", params={"owner": owner}),
            await world.ask("POST", "/v1/owners/disable", params={"owner": owner}),
            await world.ask("POST", f"/v1/owners/{quote(owner, safe='')}/disable"),
            await world.ask("DELETE", f"/v1/owners/{quote(owner, safe='')}/sessions"),
            await world.ask("POST", "/v1/sessions", json={"owner": owner}),
        ]
    words = " ".join(str(record.__dict__) for record in caplog.records if record.name.startswith("session_tokens"))

    assert {answer.status_code for answer in answers} <= {400, 422}
    assert not any(secret in answer.text for answer in answers)
    assert secret not in words


async def test_a_secret_in_place_of_an_id_is_refused_and_told_where_it_goes(world: World) -> None:
    """71: it was answered as an id that is not there, and who had logged nobody out did not know why."""
    opened = await world.open_session()
    address = f"/v1/sessions/{opened['secret']}"
    answers = [await world.ask(method, address) for method in ("DELETE", "GET")]
    answers.append(await world.ask("POST", f"{address}/rotate", json={}))
    answers.append(await world.ask("DELETE", f"/v1/tokens/{opened['secret']}"))

    assert [400] * 4 == [answer.status_code for answer in answers]
    assert all("by-secret" in answer.json()["detail"] for answer in answers)
    assert not any(opened["secret"] in answer.text for answer in answers)
    assert (await world.ask("GET", f"/v1/sessions/{opened['session']['id']}")).status_code == 200


async def test_a_key_in_two_places_is_refused(world: World) -> None:
    """72."""
    key = await world.key()
    answer = await world.ask(
        "POST", "/introspect", data={"token": "x", "client_id": key.key.id, "client_secret": key.secret}
    )

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_the_same_header_twice_is_refused(world: World) -> None:
    """73."""
    secret = (await world.key()).secret
    for name, value in (("Authorization", f"Bearer {secret}"), ("Content-Type", FORM), ("Idempotency-Key", "a")):
        headers = [
            ("Authorization", f"Bearer {secret}"),
            ("Content-Type", FORM),
            ("Idempotency-Key", "a"),
            (name, value),
        ]
        answer = await world.http.post("/introspect", content=b"token=x", headers=headers)

        assert answer.status_code == 400, name


BROKEN = {
    "an empty bearer": "Bearer",
    "a bearer of a space": "Bearer  ",
    "basic without anything": "Basic",
    "broken base64": "Basic !!!!",
    "base64 without padding": "Basic a2V5",
    "basic without a colon": "Basic " + b64encode(b"key").decode(),
    "basic that is no UTF-8": "Basic " + b64encode(b"\xff:\xff").decode(),
    "an unknown scheme": "Digest username=x",
    "a proof of possession": "DPoP abc",
    "no scheme": "stk_00",
    "nothing": "",
}


@pytest.mark.parametrize("case", BROKEN)
async def test_a_broken_authorization_is_401(world: World, case: str) -> None:
    """73, 88."""
    answer = await world.http.get("/v1/sessions", headers={"Authorization": BROKEN[case]})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith(("Basic ", "Bearer "))
    if not BROKEN[case].lower().startswith(("basic", "bearer")) and BROKEN[case]:
        assert "Authorization: Bearer" in answer.json()["detail"]


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
async def test_a_scheme_is_read_in_any_case(world: World, scheme: str) -> None:
    """73."""
    secret = (await world.key()).secret

    assert (await world.http.get("/v1/sessions", headers={"Authorization": f"{scheme} {secret}"})).status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        b"token=a&token=b", b"token=a&token_type_hint=x&token_type_hint=y", b"token", b"token=a&",
        b"&".join([b"a=b"] * 30), "token=é".encode(), b"{}",
    ],
)  # fmt: skip
async def test_a_form_that_has_no_single_meaning_is_refused(world: World, form: bytes) -> None:
    """74."""
    answer = await world.ask("POST", "/introspect", content=form, headers={"Content-Type": FORM})

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "text/plain", FORM + "; charset=utf-7", "multipart/form-data; boundary=x", "x"],
)
async def test_a_form_of_another_type_is_refused(world: World, content_type: str) -> None:
    """75."""
    answer = await world.ask("POST", "/introspect", content=b"token=x", headers={"Content-Type": content_type})

    assert answer.status_code == 415


@pytest.mark.parametrize(
    "content_type", ["text/plain", FORM, "application/json; charset=utf-16", "application/problem+json", "text/json"]
)
async def test_a_body_of_another_type_is_refused(world: World, content_type: str) -> None:
    """75, 81: a form that a browser may send to any site is none of these."""
    answer = await world.ask("POST", "/v1/sessions", content=b'{"owner":"a"}', headers={"Content-Type": content_type})

    assert answer.status_code == 415
    assert (await world.tokens.list_sessions()).items == []


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", 'APPLICATION/JSON;charset="UTF-8"'])
async def test_the_usual_spellings_of_json_are_taken(world: World, content_type: str) -> None:
    answer = await world.ask("POST", "/v1/sessions", content=b'{"owner":"a"}', headers={"Content-Type": content_type})

    assert answer.status_code == 201


PLACES: dict[str, set[str]] = {"/introspect": {"POST"}, "/revoke": {"POST"}}
for operation in OPERATIONS:
    place = operation.path.replace("{id}", "x").replace("{owner:path}", "x")
    PLACES.setdefault(place, set()).update({operation.method} | ({"HEAD"} if operation.method == "GET" else set()))


@pytest.mark.parametrize("path", PLACES)
async def test_a_wrong_method_is_told_the_right_ones(world: World, path: str) -> None:
    """76, 82: an OPTIONS of a browser gets no grant either."""
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} - PLACES[path]:
        answer = await world.ask(
            method, path, headers={"Origin": "http://service.test", "Access-Control-Request-Private-Network": "true"}
        )

        assert answer.status_code == 405, method
        assert set(answer.headers["allow"].split(", ")) == PLACES[path]
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_nothing_of_a_trace_comes_back(running: RunningService, world: World) -> None:
    """76."""
    answer = running.raw(request("TRACE", "/livez", {"Authorization": "Bearer canary", "X-Canary": "canary"}))

    assert status_of(answer) == 405
    assert b"canary" not in answer


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity"])
async def test_an_encoded_body_is_refused(world: World, encoding: str) -> None:
    """79: a small one that would unfold to a large one is never unfolded."""
    bomb = gzip.compress(b"0" * 10_000_000)
    answer = await world.ask(
        "POST", "/v1/sessions", content=bomb, headers={"Content-Encoding": encoding, "Content-Type": "application/json"}
    )

    assert answer.status_code == 415


COOKIES = {
    "nameless": "={name}={secret}",
    "another name": "x{name}={secret}",
    "another case": "{NAME}={secret}",
    "quoted": '{name}="{secret}"',
    "percent-encoded": "{name}=%73{tail}",
    "with a space": "{name} ={secret}",
    "two that differ": "{name}=x; {name}={secret}",
    "two that differ, the right one first": "{name}={secret}; {name}=x",
    "backslashes": "{name}=" + "\\" * 3_000,
    "a comma": "a=b, {name}={secret}",
}


@pytest.mark.parametrize("case", COOKIES)
@pytest.mark.parametrize("name", ["session", "__Host-sid"])
async def test_a_cookie_that_is_not_quite_the_session_is_none(world: World, case: str, name: str) -> None:
    """80: values are taken as they stand, and two different ones under one name are none."""
    secret = (await world.open_session())["secret"]
    header = COOKIES[case].format(name=name, NAME=name.swapcase(), secret=secret, tail=secret[1:])
    named = World(world.tokens, world.clock, Options(session_cookie=name))
    async with named.http:
        answer = await named.http.get("/forward-auth", headers={"Cookie": header})
        right = await named.http.get("/forward-auth", headers={"Cookie": f"a=b; {name}={secret}; c=d"})

    assert (answer.status_code, right.status_code) == (401, 204)


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://service.test.evil.test", "service.test", ""])
async def test_a_page_of_another_origin_changes_nothing(world: World, origin: str) -> None:
    """81."""
    answer = await world.ask("POST", "/v1/sessions", json={"owner": "a"}, headers={"Origin": origin})
    form = await world.ask("POST", "/revoke", data={"token": "x"}, headers={"Origin": origin})

    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    assert form.status_code == 403
    assert (await world.tokens.list_sessions()).items == []


async def test_the_same_origin_is_no_foreign_one(world: World) -> None:
    answer = await world.ask("POST", "/v1/sessions", json={"owner": "a"}, headers={"Origin": "http://service.test"})

    assert answer.status_code == 201


async def failures(world: World, count: int, **headers: str) -> list[int]:
    return [
        (await world.http.get("/v1/sessions", headers={"Authorization": "Bearer x", **headers})).status_code
        for _ in range(count)
    ]


async def test_a_forged_source_does_not_escape_the_throttle(world: World) -> None:
    """83: nobody is believed about where a request comes from unless a trusted proxy says it."""
    statuses = []
    for number in range(25):
        forged = {"X-Forwarded-For": f"192.0.2.{number}", "Forwarded": f"for=192.0.2.{number}", "X-User-Id": "root"}
        statuses += await failures(world, 1, **forged)

    assert statuses == [401] * 20 + [429] * 5


async def test_a_trusted_proxy_is_believed_about_the_last_hop_only(world: World) -> None:
    """83: what the client wrote in front of it is not."""
    behind = World(world.tokens, world.clock, Options(trusted_proxies=[ipaddress.ip_network("127.0.0.0/8")]))
    async with behind.http:
        guesser = [
            await failures(behind, 1, **{"X-Forwarded-For": f"198.51.100.{number}, 192.0.2.1"}) for number in range(22)
        ]
        other = await failures(behind, 1, **{"X-Forwarded-For": "192.0.2.2"})
        junk = await failures(behind, 1, **{"X-Forwarded-For": "junk"})

    assert guesser == [[401]] * 20 + [[429]] * 2
    assert (other, junk) == ([401], [401])


async def test_only_allowed_hosts_are_answered(world: World) -> None:
    """84."""
    strict = World(world.tokens, world.clock, Options(allowed_hosts=["tokens.example", "[::1]"]))
    expected = {
        "tokens.example": 200, "TOKENS.example": 200, "tokens.example:8443": 200, "[::1]": 200, "[::1]:80": 200,
        "evil.test": 421, "tokens.example.evil.test": 421, "a b": 400, "a/b": 400, "a@b": 400, "tokens.example:x": 400,
        "": 400,
    }  # fmt: skip
    async with strict.http:
        found = {host: (await strict.http.get("/livez", headers={"Host": host})).status_code for host in expected}

    assert found == expected


async def test_the_console_beside_the_service_is_asked_by_an_allowed_host_alone(world: World) -> None:
    """84."""
    console = Console(world.tokens)
    strict = World(world.tokens, world.clock, Options(allowed_hosts=["tokens.example"], more_routes=console.routes))
    paths = ["/console", "/console/sessions", "/console/nowhere", "/console/static/console.css"]
    key = (await world.key()).secret
    async with strict.http as http:
        allowed = [(await http.get(path, headers={"Host": "tokens.example:80"})).status_code for path in paths]
        others = [
            (await http.get(path, headers={"Host": host})).status_code for path in paths for host in ("evil.test", "[")
        ]
        entering = await http.post("/console/enter", data={"secret": key}, headers={"Host": "evil.test"})
        text = (await strict.ask("GET", "/metrics", headers={"Host": "tokens.example"})).text
        apart = httpx.AsyncClient(
            transport=httpx.ASGITransport(strict.service.apart(console.routes)), base_url="http://127.0.0.1:8081"
        )
        async with apart:
            own = await apart.get("/console")
    console.activity.stop()

    assert 421 not in allowed
    assert [421, 400] * len(paths) == others
    assert (421, "set-cookie" in entering.headers) == (entering.status_code, False)
    assert 'route="/console/enter",status="421"} 1.0' in text
    assert own.status_code == 200, "where only operators are, under whatever name they have for it"


async def test_every_answer_forbids_storing_and_has_a_request_id(world: World) -> None:
    answers: list[httpx.Response] = [
        await world.http.get("/livez"), await world.http.get("/nowhere"), await world.http.put("/introspect"),
        await world.ask("GET", "/v1/sessions"), await world.http.get("/docs"), await world.http.get("/forward-auth"),
    ]  # fmt: skip
    ids = {answer.headers["x-request-id"] for answer in answers}

    assert len(ids) == len(answers)
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert {"Authorization", "Cookie"} <= set(answer.headers["vary"].split(", "))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


async def test_if_match_is_an_etag_and_stands_where_it_means_something(world: World) -> None:
    opened = await world.open_session()
    path = f"/v1/sessions/{opened['session']['id']}"
    bad: list[Any] = [
        (await world.ask("PATCH", path, json={"label": "x"}, headers={"If-Match": tag})).status_code
        for tag in ("1", 'W/"1"', '"1", "2"', '"x"', "", '"' + "9" * 30 + '"')
    ]
    elsewhere = await world.ask("GET", path, headers={"If-Match": '"1"'})
    both = await world.ask("PATCH", path, json={"label": "x", "version": 1}, headers={"If-Match": '"1"'})
    anything = await world.ask("PATCH", path, json={"label": "x"}, headers={"If-Match": "*"})

    assert bad == [400] * 6
    assert (elsewhere.status_code, both.status_code, anything.status_code) == (400, 422, 200)
