"""A key of one application neither sees nor touches what another's made: what is beyond it is as if it were missing."""

from __future__ import annotations

import itertools
from typing import Any

import httpx
import pytest

from session_tokens import InvalidInput
from session_tokens.records import ServiceKey
from session_tokens.service.quotas import Quotas
from session_tokens.service.tallies import NAMES_MAX, OwnTallies
from session_tokens.service_keys import keys
from tests.helpers.service_world import World

MISSING_SESSION = "ses_00" + "0" * 22
MISSING_TOKEN = "tok_00" + "0" * 22


@pytest.mark.parametrize(
    ("bound", "seen"),
    [
        ({"audience": "https://a"}, [True, True]),
        ({"owner_prefix": "a:"}, [True, False]),
        ({"namespace": "a"}, [False] * 2),
    ],
)
async def test_a_key_sees_a_loan_as_it_sees_the_token_and_not_by_who_borrowed(
    world: World, bound: dict[str, Any], seen: list[bool]
) -> None:
    made = await world.ask("POST", "/v1/keys", json={"role": "verify", **bound})
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    for owner in ("a:ann", "b:bob"):
        await world.open_session(owner)

    async def is_active(lender: str, borrower: str) -> bool:
        session = await world.open_session(lender)
        token = await world.issue_token(session["session"]["id"], audience="https://a")
        lent = await world.ask("POST", f"/v1/tokens/{token['token']['id']}/lend", json={"borrower": borrower})
        secret = lent.json()["secret"]
        said = await world.http.post("/introspect", data={"token": secret}, headers=headers)
        whole = await world.http.post("/v1/verify", json={"secret": secret}, headers=headers)
        assert (whole.status_code == 200) is said.json()["active"]
        active: bool = said.json()["active"]
        return active

    assert seen == [await is_active("a:ann", "b:bob"), await is_active("b:bob", "a:ann")]


class Applications:
    """Two applications on one service, each with a key of every role that can be bound."""

    def __init__(self, world: World, bounds: dict[str, dict[str, Any]]) -> None:
        self.world, self.bounds = world, bounds
        self.made: dict[tuple[str, str], keys.IssuedKey] = {}

    async def key(self, name: str, role: str) -> keys.IssuedKey:
        """Return the key of an application for a role, the same each time."""
        if (name, role) not in self.made:
            self.made[name, role] = await keys.create_key(self.world.tokens.store, role, **self.bounds[name])
        return self.made[name, role]

    async def ask(self, name: str, role: str, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request with a key of an application."""
        headers = {"Authorization": f"Bearer {(await self.key(name, role)).secret}"}
        return await self.world.http.request(method, path, headers=headers, **options)

    async def opened(self, name: str, owner: str, **fields: Any) -> dict[str, Any]:
        """Open a session with a key of an application."""
        answer = await self.ask(name, "issue", "POST", "/v1/sessions", json={"owner": owner, **fields})
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def issued(self, name: str, session: str | None, **fields: Any) -> dict[str, Any]:
        """Issue a token with a key of an application."""
        answer = await self.ask(name, "issue", "POST", "/v1/tokens", json={"session": session, "value": "v", **fields})
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture(params=["owner prefixes", "name spaces"])
async def both(request: pytest.FixtureRequest, world: World) -> Applications:
    bounds: dict[str, dict[str, Any]] = {"a": {"namespace": "a"}, "b": {"namespace": "b"}}
    if request.param == "owner prefixes":
        bounds = {"a": {"owner_prefix": "a:"}, "b": {"owner_prefix": "b:"}}
    return Applications(world, bounds)


def told(answer: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return all of an answer that could tell one thing from another."""
    kept = sorted((name, value) for name, value in answer.headers.items() if name not in ("x-request-id", "date"))
    return answer.status_code, answer.content, kept


SESSION_CALLS: list[tuple[str, str, str, Any]] = [
    ("issue", "GET", "/v1/sessions/{}", None),
    ("issue", "PATCH", "/v1/sessions/{}", {"label": "mine"}),
    ("issue", "PATCH", "/v1/sessions/{}", {"data": {"a": 1}}),
    ("issue", "POST", "/v1/sessions/{}/rotate", {}),
    ("issue", "POST", "/v1/sessions/{}/detach", {}),
    ("issue", "POST", "/v1/sessions/{}/attach", {}),
    ("revoke", "DELETE", "/v1/sessions/{}", None),
    ("issue", "POST", "/v1/tokens", {"session": "{}", "value": "v"}),
]
TOKEN_CALLS: list[tuple[str, str, str, Any]] = [
    ("issue", "GET", "/v1/tokens/{}", None),
    ("transfer", "GET", "/v1/tokens/{}", None),
    ("issue", "PATCH", "/v1/tokens/{}", {"value": "mine"}),
    ("issue", "POST", "/v1/tokens/{}/reissue", {"owner": "b:alice"}),
    ("issue", "POST", "/v1/tokens/{}/reissue", {"owner": None}),
    ("transfer", "POST", "/v1/tokens/{}/reissue", {"owner": "b:alice"}),
    ("transfer", "POST", "/v1/tokens/{}/transfer", {"giver": "a:alice", "receiver": "b:alice"}),
    ("transfer", "POST", "/v1/tokens/{}/offer", {"price": 1}),
    ("transfer", "POST", "/v1/tokens/{}/withdraw", {}),
    ("revoke", "DELETE", "/v1/tokens/{}", None),
]


def filled_in(shape: Any, id: str) -> Any:
    if isinstance(shape, dict):
        return {name: id if value == "{}" else value for name, value in shape.items()}
    return shape


@pytest.mark.parametrize(("role", "method", "path", "body"), SESSION_CALLS)
async def test_a_session_of_another_application_is_as_if_it_were_missing(
    both: Applications, role: str, method: str, path: str, body: Any
) -> None:
    session = await both.opened("a", "a:alice", detachable=True)
    id = session["session"]["id"]
    there = await both.ask("b", role, method, path.format(id), json=filled_in(body, id))
    missing = await both.ask("b", role, method, path.format(MISSING_SESSION), json=filled_in(body, MISSING_SESSION))

    assert told(there) == told(missing)
    assert there.status_code in (404, 204)
    mine = await both.ask("a", "issue", "GET", f"/v1/sessions/{id}")
    assert mine.json()["session"] == session["session"]


@pytest.mark.share(4)
@pytest.mark.parametrize("kind", ["bound", "transferable", "unassigned", "free"])
@pytest.mark.parametrize(("role", "method", "path", "body"), TOKEN_CALLS)
async def test_a_token_of_another_application_is_as_if_it_were_missing(
    both: Applications, kind: str, role: str, method: str, path: str, body: Any
) -> None:
    session = await both.opened("a", "a:alice")
    session_id = None if kind == "free" else session["session"]["id"]
    token = await both.issued("a", session_id, transferable=kind in ("transferable", "unassigned"))
    if kind == "unassigned":
        await both.ask("a", "revoke", "DELETE", f"/v1/sessions/{session_id}")
    before = (await both.ask("a", "issue", "GET", f"/v1/tokens/{token['token']['id']}")).json()
    there = await both.ask("b", role, method, path.format(token["token"]["id"]), json=body)
    missing = await both.ask("b", role, method, path.format(MISSING_TOKEN), json=body)

    assert told(there) == told(missing)
    assert there.status_code in (404, 204)
    assert (await both.ask("a", "issue", "GET", f"/v1/tokens/{token['token']['id']}")).json() == before


async def test_nothing_of_another_application_is_claimed(both: Applications) -> None:
    """Neither its token into a session of one's own, nor one's own token into its session."""
    a, b = await both.opened("a", "a:alice"), await both.opened("b", "b:bob")
    token = await both.issued("a", a["session"]["id"], transferable=True)
    mine = await both.issued("b", b["session"]["id"], transferable=True)
    living = await both.opened("a", "a:carol")
    for name, session in (("a", a), ("b", b)):
        await both.ask(name, "revoke", "DELETE", f"/v1/sessions/{session['session']['id']}")
    own = await both.opened("b", "b:dora")
    body = {"session": own["session"]["id"]}
    theirs = await both.ask("b", "transfer", "POST", f"/v1/tokens/{token['token']['id']}/claim", json=body)
    body = {"session": living["session"]["id"]}
    into_theirs = await both.ask("b", "transfer", "POST", f"/v1/tokens/{mine['token']['id']}/claim", json=body)

    assert (theirs.status_code, theirs.json()["code"]) == (404, "unknown_token")
    assert (into_theirs.status_code, into_theirs.json()["code"]) == (404, "unknown_session")


async def test_secrets_of_another_application_are_inactive_and_are_not_revoked(both: Applications) -> None:
    session = await both.opened("a", "a:alice", idle_timeout=600)
    token = await both.issued("a", session["session"]["id"])
    for secret in (session["secret"], token["secret"]):
        asked = await both.ask("b", "verify", "POST", "/introspect", data={"token": secret})
        assert asked.content == b'{"active":false}'
        for role in ("issue", "revoke"):
            revoked = await both.ask("b", role, "POST", "/revoke", data={"token": secret})
            junk = await both.ask("b", role, "POST", "/revoke", data={"token": "junk"})
            assert told(revoked) == told(junk)
        assert (await both.ask("a", "verify", "POST", "/introspect", data={"token": secret})).json()["active"]


async def test_lists_show_only_what_is_ones_own(both: Applications) -> None:
    for number, name in enumerate("ababa"):
        session = await both.opened(name, f"{name}:{number}")
        await both.issued(name, session["session"]["id"])
        await both.issued(name, None)
    listed: dict[str, list[str]] = {}
    for name, what in itertools.product("ab", ("sessions", "tokens")):
        after, ids = "", []
        while True:
            page = (await both.ask(name, "issue", "GET", f"/v1/{what}?limit=2{after}")).json()
            ids += [one["client_id"] for one in page[what]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        listed[f"{name} {what}"] = ids

    a, b = both.made["a", "issue"].key.id, both.made["b", "issue"].key.id
    assert listed == {"a sessions": [a] * 3, "a tokens": [a] * 6, "b sessions": [b] * 2, "b tokens": [b] * 4}
    others = (await both.ask("b", "issue", "GET", "/v1/sessions?owner=a:0")).json()
    assert (others["sessions"], others["next"]) == ([], None)


async def test_a_rotated_key_goes_on_with_what_the_first_made_and_so_does_one_like_a_revoked_one(
    both: Applications,
) -> None:
    session = await both.opened("a", "a:alice")
    free = await both.issued("a", None)
    first = await both.key("a", "issue")
    both.made["a", "issue"] = await keys.rotate_key(both.world.tokens.store, first.key.id)
    for revoked in (first, None):
        if revoked is not None:
            assert await keys.revoke_key(both.world.tokens.store, revoked.key.id)
        for path in (f"/v1/sessions/{session['session']['id']}", f"/v1/tokens/{free['token']['id']}"):
            assert (await both.ask("a", "issue", "GET", path)).status_code == 200
            assert (await both.ask("b", "issue", "GET", path)).status_code == 404
    both.world.service.scopes._makers.clear()  # as another process, which has never seen the key that is gone
    assert (await both.ask("a", "issue", "GET", f"/v1/tokens/{free['token']['id']}")).status_code == 200
    assert (await both.ask("b", "issue", "GET", f"/v1/tokens/{free['token']['id']}")).status_code == 404


async def test_owners_beyond_the_prefix_are_refused(world: World) -> None:
    apps = Applications(world, {"a": {"owner_prefix": "a:"}, "all": {}})
    session = await apps.opened("a", "a:alice")
    token = await apps.issued("a", session["session"]["id"], transferable=True)
    await apps.opened("all", "b:bob")
    transfer = {"giver": "a:alice", "receiver": "b:bob"}
    answers = [
        await apps.ask("a", "issue", "POST", "/v1/sessions", json={"owner": "b:bob"}),
        await apps.ask("a", "issue", "POST", "/v1/sessions", json={"owner": "a"}),
        await apps.ask("a", "transfer", "POST", f"/v1/tokens/{token['token']['id']}/transfer", json=transfer),
        await apps.ask("a", "revoke", "POST", "/v1/owners/b:bob/disable", json={}),
        await apps.ask("a", "revoke", "POST", "/v1/owners/disable?owner=b:bob", json={}),
        await apps.ask("a", "revoke", "DELETE", "/v1/owners/b:bob/sessions"),
        await apps.ask("a", "revoke", "DELETE", "/v1/owners/sessions?owner=b:bob"),
    ]
    nobody = await apps.ask("a", "revoke", "DELETE", "/v1/owners/a:nobody/sessions")

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "forbidden")] * 7
    assert (nobody.status_code, nobody.json()) == (200, {"ended": 0})
    assert len((await world.tokens.list_sessions("b:bob")).items) == 1
    assert (await apps.ask("a", "revoke", "DELETE", "/v1/owners/a:alice/sessions")).json() == {"ended": 1}


@pytest.mark.parametrize("path", ["/v1/owners/alice/sessions", "/v1/owners/sessions?owner=alice"])
async def test_a_key_of_a_name_space_ends_no_sessions_of_others_by_their_owner(world: World, path: str) -> None:
    apps = Applications(world, {"a": {"namespace": "a"}, "b": {"namespace": "b"}})
    session = await apps.opened("a", "alice")
    answer = await apps.ask("b", "revoke", "DELETE", path)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert [one.id for one in await world.tokens.list_sessions("alice")] == [session["session"]["id"]]


async def test_a_key_gives_no_longer_life_than_it_may(world: World) -> None:
    apps = Applications(world, {"a": {"max_age": 600}})
    session = await apps.opened("a", "alice")  # the general one is an hour
    shorter = await apps.opened("a", "bob", max_age=60)
    token = await apps.issued("a", None)  # the general one is for ever
    id, token_id = session["session"]["id"], token["token"]["id"]
    refused = [
        await apps.ask("a", "issue", "POST", "/v1/sessions", json={"owner": "alice", "max_age": 601}),
        await apps.ask("a", "issue", "POST", "/v1/sessions", json={"owner": "alice", "max_age": None}),
        await apps.ask("a", "issue", "PATCH", f"/v1/sessions/{id}", json={"max_age": None}),
        await apps.ask("a", "issue", "PATCH", f"/v1/sessions/{id}", json={"max_age": 3600}),
        await apps.ask("a", "issue", "POST", "/v1/tokens", json={"session": id, "value": 1, "timeout": 601}),
        await apps.ask("a", "issue", "PATCH", f"/v1/tokens/{token_id}", json={"timeout": None}),
    ]
    kept = await apps.ask("a", "issue", "PATCH", f"/v1/sessions/{id}", json={"label": "desk", "max_age": 600})

    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(403, "forbidden")] * 6
    assert "600 seconds" in refused[0].json()["detail"]
    assert (session["session"]["max_age"], shorter["session"]["max_age"]) == (600, 60)
    assert token["token"]["expires_at"] - token["token"]["created_at"] == 600_000
    assert kept.status_code == 200


@pytest.mark.parametrize(("most", "ages"), [(600, [600, 600, 600]), (40 * 86_400, [3600, 30 * 86_400, 900])])
async def test_a_key_cuts_no_log_in_shorter_than_it_must(world: World, most: int, ages: list[int]) -> None:
    """One that is remembered, and a visitor's, last as long as the settings say of these."""
    apps = Applications(world, {"a": {"max_age": most}})
    await world.tokens.set_setting("anonymous_max_age", 900)
    said: list[dict[str, Any]] = [{"owner": "ann"}, {"owner": "ben", "remember": True}, {"owner": None}]
    logged_in = [await apps.ask("a", "issue", "POST", "/v1/log-in", json=body) for body in said]

    assert ages == [answer.json()["session"]["max_age"] for answer in logged_in]


async def test_a_key_makes_no_more_for_one_owner_than_it_may(world: World) -> None:
    apps = Applications(world, {"a": {"owner_creations": 3}, "b": {}})
    session = await apps.opened("a", "alice")
    await apps.issued("a", session["session"]["id"])
    await apps.issued("a", session["session"]["id"])
    refused = await apps.ask("a", "issue", "POST", "/v1/sessions", json={"owner": "alice"})
    token = await apps.ask("a", "issue", "POST", "/v1/tokens", json={"session": session["session"]["id"], "value": 1})
    await apps.opened("a", "bob")
    await apps.opened("b", "alice")

    assert [(one.status_code, one.json()["code"]) for one in (refused, token)] == [(429, "rate_limited")] * 2
    assert 1 <= int(refused.headers["retry-after"]) <= 60


async def test_what_the_names_of_tables_make_is_counted_too(world: World) -> None:
    issued = await keys.create_key(world.tokens.store, "admin", owner_creations=3)

    async def called(name: str, *arguments: object) -> int:
        headers = {"Authorization": f"Bearer {issued.secret}"}
        answer = await world.http.post(f"/v1/tables/{name}", headers=headers, json={"arguments": arguments})
        return answer.status_code

    made = [await called("add_session", f"s{number}", "ann") for number in range(2)]
    made.append(await called("add_transferable_token", "t", 1, "ann"))
    refused = [
        await called("add_session", "s2", "ann"), await called("add_session_bounded_token", "t2", 1, "ann"),
        await called("add_transferable_token", "t3", 1, "ann"),
    ]  # fmt: skip
    others = [await called("add_session", "s3", "bob"), await called("session_from_owner", "ann"), await called("x")]
    free = [await called("add_token", f"f{number}", 1) for number in range(4)]

    assert (made, refused, others) == ([404] * 3, [429] * 3, [404] * 3), "404: no tables are served here"
    assert free == [404, 404, 404, 429]


async def test_a_key_sends_no_more_than_its_rate(world: World) -> None:
    issued = await keys.create_key(world.tokens.store, "issue", rate=2)
    other = await keys.create_key(world.tokens.store, "issue")
    answers = [
        await world.http.get("/v1/sessions", headers={"Authorization": f"Bearer {one.secret}"})
        for one in (issued, other) * 40
    ]

    assert 200 in [one.status_code for one in answers[::2]] and 429 in [one.status_code for one in answers[::2]]
    assert {one.status_code for one in answers[1::2]} == {200}


def bucket_of(rate: int | None = None, owner_creations: int | None = None, id: str = "key_a") -> ServiceKey:
    return ServiceKey(id, "", "issue", 0, None, None, rate=rate, owner_creations=owner_creations)


def test_a_bucket_fills_as_fast_as_its_rate_and_holds_no_more_than_a_second() -> None:
    quotas, key = Quotas(), bucket_of(rate=4)

    def passes(at_s: float) -> bool:
        try:
            quotas.asked(key, at_s)
        except Exception as problem:
            assert getattr(problem, "status", None) == 429
            return False
        return True

    assert [passes(0.0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert [passes(0.5) for _ in range(3)] == [True] * 2 + [False]
    assert [passes(100.0) for _ in range(5)] == [True] * 4 + [False]


def test_what_is_counted_is_forgotten_at_last() -> None:
    buckets, made = OwnTallies(), OwnTallies()
    quotas = Quotas(buckets, made)
    for number in range(NAMES_MAX + 50):
        quotas.asked(bucket_of(rate=1, id=f"key_{number}"), 0.0)
        quotas.makes(bucket_of(owner_creations=1), f"owner-{number}", 0.0)

    assert len(buckets) == len(made) == NAMES_MAX


@pytest.mark.parametrize("role", ["audit", "operator", "admin"])
@pytest.mark.parametrize("bound", [{"owner_prefix": "a:"}, {"namespace": "a"}, {"max_age": 60}])
async def test_a_role_that_sees_everything_cannot_be_bound(world: World, role: str, bound: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="sees everything"):
        await keys.create_key(world.tokens.store, role, **bound)


@pytest.mark.parametrize(
    "bound",
    [
        {"owner_prefix": "app1"},
        {"owner_prefix": ""},
        {"owner_prefix": "console:"},
        {"owner_prefix": "a" * 300 + ":"},
        {"owner_prefix": " a:"},
        {"namespace": ""},
        {"namespace": "a b"},
        {"namespace": "ü"},
        {"namespace": "a" * 65},
        {"max_age": 0},
        {"max_age": -1},
        {"rate": 0},
        {"rate": 10**9},
        {"owner_creations": 0},
    ],
)
async def test_bounds_that_can_never_be_right_are_refused(world: World, bound: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await keys.create_key(world.tokens.store, "issue", **bound)
    answer = await world.ask("POST", "/v1/keys", json={"role": "issue", **bound})

    assert answer.status_code == 422


async def test_bounds_are_shown_and_kept_by_a_rotated_key(world: World) -> None:
    bounds = {"owner_prefix": "a:", "namespace": "shop", "max_age": 60, "rate": 5, "owner_creations": 7}
    made = (await world.ask("POST", "/v1/keys", json={"role": "issue", **bounds})).json()
    rotated = (await world.ask("POST", f"/v1/keys/{made['id']}/rotate", json={})).json()
    listed = {key["id"]: key for key in (await world.ask("GET", "/v1/keys")).json()["keys"]}

    for id in (made["id"], rotated["id"]):
        assert {name: listed[id][name] for name in bounds} == bounds


async def test_a_verify_key_of_an_audience_sees_tokens_that_were_issued_for_it_and_nothing_else(world: World) -> None:
    made = await world.ask("POST", "/v1/keys", json={"role": "verify", "audience": "https://b"})
    headers = {"Authorization": f"Bearer {made.json()['secret']}"}
    session = await world.open_session(idle_timeout=100)
    seen = await world.issue_token(session["session"]["id"], audience=["https://a", "https://b"])
    others = await world.issue_token(session["session"]["id"], audience="https://a")
    nobodys = await world.issue_token(session["session"]["id"])
    world.clock.advance(20)

    async def is_active(secret: str) -> bool:
        said = await world.http.post("/introspect", data={"token": secret}, headers=headers)
        whole = await world.http.post("/v1/verify", json={"secret": secret}, headers=headers)
        assert (whole.status_code == 200) is said.json()["active"]
        active: bool = said.json()["active"]
        return active

    secrets = (seen["secret"], others["secret"], nobodys["secret"], session["secret"])
    assert [True, False, False, False] == [await is_active(secret) for secret in secrets]
    unused = await world.ask("GET", f"/v1/sessions/{session['session']['id']}")
    assert unused.json()["session"]["last_seen_at"] == session["session"]["last_seen_at"]


async def test_an_audience_is_for_keys_that_verify(world: World) -> None:
    for role, audience in (("issue", "https://b"), ("admin", "https://b"), ("verify", ""), ("verify", " b")):
        answer = await world.ask("POST", "/v1/keys", json={"role": role, "audience": audience})

        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
