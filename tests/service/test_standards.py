"""RFC 7662, 7009, 6750 and 8414, as their texts have it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import httpx
import pytest

from session_tokens.crypto.minting import new_id, new_secret
from session_tokens.service.app import Options
from session_tokens.service_keys.keys import create_key
from tests.helpers.service_world import World

INACTIVE = b'{"active":false}'


def basic(id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{id}:{secret}".encode()).decode()}


async def test_introspection_of_a_session_says_what_7662_names(world: World) -> None:
    opened = await world.open_session(idle_timeout=None)
    session = opened["session"]

    assert await world.introspect(opened["secret"]) == {
        "active": True,
        "sub": "alice",
        "username": "alice",
        "exp": session["expires_at"] // 1000,
        "iat": session["created_at"] // 1000,
        "token_type": "Bearer",
        "auth_time": session["authenticated_at"] // 1000,
        "scope": "session",
        "st_issuer": session["client_id"],
        "st_id": session["id"],
        "st_kind": "session",
        "st_expires_at": session["expires_at"],
    }


@pytest.mark.parametrize("transferable", [False, True])
@pytest.mark.parametrize(("timeout", "held_for"), [(None, 600), (7_200, 600), (60, 60)])
async def test_a_token_that_a_session_holds_expires_with_it_at_the_latest(
    world: World, transferable: bool, timeout: int | None, held_for: int
) -> None:
    """A client that keeps what it was told until ``exp`` must not outlive the session: the secret is dead then."""
    session = (await world.open_session(max_age=600))["session"]
    own = {} if timeout is None else {"timeout": timeout}
    issued = await world.issue_token(session["id"], transferable=transferable, **own)
    said = await world.introspect(issued["secret"])

    assert said["exp"] == session["created_at"] // 1000 + held_for
    assert said["st_expires_at"] == session["created_at"] + held_for * 1000
    world.clock.advance(held_for - 0.001)
    assert (await world.introspect(issued["secret"]))["active"] is True
    world.clock.advance(ms=1)
    assert await world.introspect(issued["secret"]) == {"active": False}


async def test_a_parked_and_a_free_token_expire_by_their_own_time_alone(world: World) -> None:
    session = (await world.open_session(max_age=600))["session"]
    given = await world.issue_token(session["id"], transferable=True, timeout=7_200)
    hands = {"giver": "alice", "receiver": "bob"}
    parked = (await world.ask("POST", f"/v1/tokens/{given['token']['id']}/transfer", json=hands)).json()
    free = await world.issue_token(None, timeout=7_200)
    for secret in (parked["secret"], free["secret"]):
        said = await world.introspect(secret)

        assert (said["exp"], said["st_expires_at"]) == (
            session["created_at"] // 1000 + 7_200,
            session["created_at"] + 7_200_000,
        )


async def test_who_asks_again_at_exp_keeps_a_session_with_an_idle_timeout_alive(world: World) -> None:
    opened = await world.open_session(idle_timeout=100, max_age=1_000)
    began_s = opened["session"]["created_at"] // 1000
    for number in range(1, 21):
        said = await world.introspect(opened["secret"])
        now_s = world.clock.now() // 1000

        assert said["exp"] == min(now_s + 50, began_s + 1_000)
        assert said["exp"] * 1000 <= said["st_expires_at"]
        assert said["st_expires_at"] >= min(world.clock.now() + 100_000, (began_s + 1_000) * 1000)
        world.clock.advance(said["exp"] - now_s)
        assert (await world.introspect(opened["secret"]))["active"] is (number < 20)


@pytest.mark.parametrize(("idle_timeout", "later_ms", "ahead_s"), [(1, 0, 1), (1, 500, 1), (3, 700, 2), (1.2, 999, 2)])
async def test_exp_is_a_second_away_where_half_the_idle_time_is_less(
    world: World, idle_timeout: float, later_ms: int, ahead_s: int
) -> None:
    """Whole seconds, as clients insist: never past the real end, and else never less than a second from now."""
    world.clock.advance(ms=later_ms)
    opened = await world.open_session(idle_timeout=idle_timeout)
    said = await world.introspect(opened["secret"])

    assert said["exp"] == world.clock.now() // 1000 + ahead_s
    assert said["exp"] * 1000 <= said["st_expires_at"]


async def test_introspection_of_a_token_says_its_kind_epoch_and_value(world: World) -> None:
    session = (await world.open_session(max_age=None))["session"]
    issued = await world.issue_token(session["id"], value={"n": 1}, transferable=True)
    token = issued["token"]

    assert await world.introspect(issued["secret"]) == {
        "active": True,
        "sub": "alice",
        "username": "alice",
        "iat": token["created_at"] // 1000,
        "token_type": "Bearer",
        "scope": "transferable",
        "st_issuer": token["client_id"],
        "st_id": token["id"],
        "st_kind": "transferable",
        "st_epoch": 0,
        "st_value": {"n": 1},
    }


@pytest.mark.parametrize(
    ("audience", "aud"),
    [("https://api", "https://api"), (["https://api"], "https://api"), (["a", "b"], ["a", "b"])],
)
async def test_introspection_says_scope_audience_and_client_as_issued(
    world: World, audience: object, aud: object
) -> None:
    issued = await world.issue_token(None, scope="read write", audience=audience, tag="a seat", for_client="app")
    said = await world.introspect(issued["secret"])
    listed = await world.ask("GET", "/v1/tokens", params={"tag": "a seat"})

    assert ("read write", aud, "app") == (said["scope"], said["aud"], said["client_id"])
    assert [issued["token"]["id"]] == [token["id"] for token in listed.json()["tokens"]]
    assert ("a seat", "read write") == (issued["token"]["tag"], issued["token"]["scope"])


async def test_every_cause_of_being_inactive_has_the_same_bytes_and_headers(world: World) -> None:
    key = await world.key()
    opened = await world.open_session()
    expired = await world.open_session("bob", max_age=1)
    ended = await world.open_session("carol")
    detached = await world.open_session("dave", detachable=True)
    ticket = await world.issue_token(opened["session"]["id"], transferable=True)
    await world.ask("DELETE", f"/v1/sessions/{ended['session']['id']}")
    await world.ask("POST", f"/v1/sessions/{detached['session']['id']}/detach")
    await world.ask("POST", f"/v1/tokens/{ticket['token']['id']}/transfer", json={"giver": "alice", "receiver": "erin"})
    world.clock.advance(1)
    causes = [
        "", "nonsense", expired["secret"], ended["secret"], detached["secret"], ticket["secret"], key.secret,
        key.key.id, opened["session"]["id"], ticket["token"]["id"], new_secret("sts_"), new_secret("stt_"),
        new_id("ses_"), opened["secret"][:-1], opened["secret"] + "0", opened["secret"].swapcase(),
    ]  # fmt: skip
    answers = [await world.ask("POST", "/introspect", data={"token": cause}) for cause in causes]

    def shown(answer: httpx.Response) -> Any:
        headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
        return answer.status_code, answer.content, headers

    assert {answer.content for answer in answers} == {INACTIVE}
    assert all(shown(answer) == shown(answers[0]) for answer in answers)


async def test_both_ways_of_client_authentication_and_bearer_introspect(world: World) -> None:
    key = await world.key("verify")
    secret = (await world.open_session())["secret"]
    with_basic = await world.http.post("/introspect", data={"token": secret}, headers=basic(key.key.id, key.secret))
    with_post = await world.http.post(
        "/introspect", data={"token": secret, "client_id": key.key.id, "client_secret": key.secret}
    )
    with_bearer = await world.http.post(
        "/introspect", data={"token": secret}, headers={"Authorization": f"bearer {key.secret}"}
    )

    assert [answer.json()["active"] for answer in (with_basic, with_post, with_bearer)] == [True, True, True]


async def test_empty_parameters_beside_basic_are_not_sent(world: World) -> None:
    """RFC 6749, 3.2: a parameter without a value counts as left out; Dovecot sends two beside Basic."""
    key = await world.key("verify")
    secret = (await world.open_session())["secret"]
    form = {"token": secret, "client_id": "", "client_secret": "", "token_type_hint": ""}
    answer = await world.http.post("/introspect", data=form, headers=basic(key.key.id, key.secret))

    assert (answer.status_code, answer.json()["active"]) == (200, True)


async def test_the_same_client_id_beside_the_header_is_no_second_way_and_another_one_is_refused(world: World) -> None:
    key = await world.key("verify")
    secret = (await world.open_session())["secret"]
    for header in (basic(key.key.id, key.secret), {"Authorization": f"Bearer {key.secret}"}):
        same = await world.http.post("/introspect", data={"token": secret, "client_id": key.key.id}, headers=header)
        other = await world.http.post("/introspect", data={"token": secret, "client_id": "key_other"}, headers=header)

        assert (same.status_code, same.json()["active"]) == (200, True)
        assert (other.status_code, other.json()["error"]) == (400, "invalid_request")


async def test_a_hint_is_only_a_hint(world: World) -> None:
    issued = await world.issue_token(None)
    for hint in ("access_token", "refresh_token", "nonsense"):
        answer = await world.ask("POST", "/introspect", data={"token": issued["secret"], "token_type_hint": hint})

        assert answer.json()["active"] is True


@pytest.mark.parametrize("path", ["/introspect", "/revoke"])
async def test_nobody_asks_without_a_key(world: World, path: str) -> None:
    answer = await world.http.post(path, data={"token": new_secret("sts_")})
    challenges = answer.headers.get_list("www-authenticate")

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"] == "invalid_client"
    assert [challenge.split()[0] for challenge in challenges] == ["Basic", "Bearer"]
    assert all("error" not in challenge for challenge in challenges)


async def test_a_wrong_bearer_key_is_an_invalid_token_and_a_small_role_an_insufficient_scope(world: World) -> None:
    wrong = await world.http.get("/v1/sessions", headers={"Authorization": f"Bearer {new_secret('stk_')}"})
    small = await world.ask("GET", "/v1/sessions", role="verify")
    wrong_basic = await world.http.get("/v1/sessions", headers=basic("key_x", new_secret("stk_")))

    assert (wrong.status_code, small.status_code, wrong_basic.status_code) == (401, 403, 401)
    assert wrong.headers["www-authenticate"] == 'Bearer realm="session-tokens", error="invalid_token"'
    assert 'error="insufficient_scope"' in small.headers["www-authenticate"]
    assert wrong_basic.headers["www-authenticate"].startswith("Basic realm=")


async def test_a_basic_key_needs_its_own_id(world: World) -> None:
    key, other = await world.key("admin"), await world.key("verify")
    answer = await world.http.post("/introspect", data={"token": "x"}, headers=basic(other.key.id, key.secret))

    assert answer.status_code == 401


@pytest.mark.parametrize("kind", ["session", "token"])
async def test_revocation_ends_what_the_secret_is_of(world: World, kind: str) -> None:
    session = await world.open_session()
    issued = session if kind == "session" else await world.issue_token(session["session"]["id"])
    revoked = await world.ask("POST", "/revoke", data={"token": issued["secret"], "token_type_hint": "x"})
    again = await world.ask("POST", "/revoke", data={"token": issued["secret"]})

    assert [(revoked.status_code, revoked.content), (again.status_code, again.content)] == [(200, b""), (200, b"")]
    assert await world.introspect(issued["secret"]) == {"active": False}
    assert (await world.introspect(session["secret"]))["active"] is (kind == "token")


async def test_a_key_that_issues_revokes_its_own_and_nobody_elses(world: World) -> None:
    other = await create_key(world.tokens.store, "issue")
    own = await world.ask("POST", "/v1/sessions", role="issue", json={"owner": "bob"})
    foreign = await world.http.post(
        "/v1/sessions", json={"owner": "carol"}, headers={"Authorization": f"Bearer {other.secret}"}
    )
    refused = await world.ask("POST", "/revoke", role="issue", data={"token": foreign.json()["secret"]})
    done = await world.ask("POST", "/revoke", role="issue", data={"token": own.json()["secret"]})

    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await world.introspect(foreign.json()["secret"]))["active"] is True
    assert done.status_code == 200
    assert await world.introspect(own.json()["secret"]) == {"active": False}


async def test_ids_revoke_nothing(world: World) -> None:
    opened = await world.open_session()
    answer = await world.ask("POST", "/revoke", data={"token": opened["session"]["id"]})

    assert answer.status_code == 200
    assert (await world.introspect(opened["secret"]))["active"] is True


async def test_a_service_key_is_no_token_that_can_be_revoked(world: World) -> None:
    """RFC 7009, 2.2.1: who is answered 200 would take a leaked key for ended."""
    key = await create_key(world.tokens.store, "verify")
    answer = await world.ask("POST", "/revoke", data={"token": key.secret})
    unknown = await world.ask("POST", "/revoke", data={"token": new_secret("stk_")})
    mistyped = await world.ask("POST", "/revoke", data={"token": key.secret[:-1]})
    listed = (await world.ask("GET", "/v1/keys")).json()["keys"]

    assert [(each.status_code, each.json()["error"]) for each in (answer, unknown)] == [
        (400, "unsupported_token_type")
    ] * 2
    assert "/v1/keys" in answer.json()["error_description"]
    assert key.secret not in answer.text
    assert mistyped.status_code == 200
    assert key.key.id in [one["id"] for one in listed]


@pytest.mark.parametrize("path", ["/introspect", "/revoke"])
async def test_a_form_without_token_or_with_a_field_twice_is_an_invalid_request(world: World, path: str) -> None:
    key = await world.key()
    headers = {"Authorization": f"Bearer {key.secret}", "Content-Type": "application/x-www-form-urlencoded"}
    for form in (b"", b"token_type_hint=x", b"token=a&token=b", b"token=a&client_id=k&client_secret=s"):
        answer = await world.http.post(path, content=form, headers=headers)

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), form


async def test_metadata_names_the_addresses_and_the_ways_to_authenticate(world: World) -> None:
    answer = await world.http.get("/.well-known/oauth-authorization-server")
    described = answer.json()

    assert answer.headers["content-type"] == "application/json"
    assert described["issuer"] == "http://service.test"
    assert described["introspection_endpoint"] == "http://service.test/introspect"
    assert described["revocation_endpoint"] == "http://service.test/revoke"
    assert described["introspection_endpoint_auth_methods_supported"] == ["client_secret_basic", "client_secret_post"]
    assert described["response_types_supported"] == []


async def test_the_issuer_is_the_public_url_where_one_is_set(world: World) -> None:
    public = World(world.tokens, world.clock, Options(public_url="https://tokens.example"))
    async with public.http:
        described = (await public.http.get("/.well-known/oauth-authorization-server")).json()

    assert described["issuer"] == "https://tokens.example"
    assert described["introspection_endpoint"] == "https://tokens.example/introspect"


async def test_introspection_is_a_use_of_a_session(world: World) -> None:
    secret = (await world.open_session(idle_timeout=100, max_age=None))["secret"]
    for _ in range(4):
        world.clock.advance(90)

        assert (await world.introspect(secret))["active"] is True
