"""Sessions over HTTP: shapes, statuses and versions of api.md."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.helpers.running_service import RunningService
from tests.helpers.service_world import World

FIELDS = {
    "id", "owner", "created_at", "last_seen_at", "authenticated_at", "expires_at", "idle_timeout", "max_age",
    "detached_timeout", "detachable", "detached_at", "label", "user_agent", "address", "data", "version", "client_id",
    "acr", "amr", "rotated_at", "secret_until",
}  # fmt: skip


async def test_an_opened_session_is_answered_with_its_secret_once(world: World) -> None:
    opened = await world.open_session(
        "alice", idle_timeout=60, max_age=None, label="phone", user_agent="curl", address="192.0.2.7", data={"n": 1}
    )
    session = opened["session"]
    read = await world.ask("GET", f"/v1/sessions/{session['id']}")

    assert set(opened) == {"session", "secret"}
    assert set(session) == FIELDS
    assert (session["owner"], session["idle_timeout"], session["max_age"]) == ("alice", 60, None)
    assert (session["label"], session["user_agent"], session["address"]) == ("phone", "curl", "192.0.2.7")
    assert session["data"] == {"n": 1}
    assert session["client_id"] == (await world.key()).key.id
    assert read.json() == {"session": session}
    assert opened["secret"] not in read.text


async def test_null_is_never_and_what_is_left_out_is_the_default(world: World) -> None:
    never = (await world.open_session(max_age=None))["session"]
    default = (await world.open_session())["session"]

    assert never["expires_at"] is None
    assert default["expires_at"] == world.clock.now() + 3_600_000


async def test_sessions_are_listed_a_page_at_a_time(world: World) -> None:
    opened = [(await world.open_session(f"owner{number}"))["session"]["id"] for number in range(5)]
    listed: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = (await world.ask("GET", "/v1/sessions", params={"limit": "2", **after})).json()
        listed += [session["id"] for session in page["sessions"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}

    assert sorted(listed) == sorted(opened)
    assert len(listed) == 5


async def test_a_listing_is_narrowed_to_an_owner_and_to_detached_ones(world: World) -> None:
    first = await world.open_session("alice", detachable=True)
    await world.open_session("bob")
    await world.ask("POST", f"/v1/sessions/{first['session']['id']}/detach")
    of_alice = (await world.ask("GET", "/v1/sessions", params={"owner": "alice"})).json()["sessions"]
    detached = (await world.ask("GET", "/v1/sessions", params={"detached": "true"})).json()["sessions"]
    attached = (await world.ask("GET", "/v1/sessions", params={"detached": "false"})).json()["sessions"]

    assert [session["owner"] for session in of_alice] == ["alice"]
    assert [session["owner"] for session in detached] == ["alice"]
    assert [session["owner"] for session in attached] == ["bob"]


async def test_visitors_are_listed_only_where_they_are_asked_for(world: World) -> None:
    await world.open_session("alice")
    visitor = (await world.tokens.log_in(None)).session.owner
    usual, wanted, without, named = [
        [one["owner"] for one in (await world.ask("GET", "/v1/sessions", params=params)).json()["sessions"]]
        for params in ({}, {"anonymous": "true"}, {"anonymous": "false"}, {"owner": visitor})
    ]

    assert usual == without == ["alice"]
    assert sorted(wanted) == sorted(["alice", visitor])
    assert named == [visitor]
    assert (await world.ask("GET", "/v1/sessions", params={"anonymous": "maybe"})).status_code == 422


async def test_a_session_is_changed_at_the_version_that_was_read(world: World) -> None:
    id = (await world.open_session())["session"]["id"]
    path = f"/v1/sessions/{id}"
    changed = await world.ask("PATCH", path, json={"label": "desk", "idle_timeout": 30}, headers={"If-Match": '"1"'})
    stale_header = await world.ask("PATCH", path, json={"label": "sofa"}, headers={"If-Match": '"1"'})
    stale_body = await world.ask("PATCH", path, json={"label": "sofa", "version": 1})
    after = await world.ask("GET", path)

    assert changed.status_code == 200
    assert changed.headers["etag"] == '"2"'
    assert (stale_header.status_code, stale_header.json()["code"]) == (412, "conflict")
    assert (stale_body.status_code, stale_body.json()["code"]) == (409, "conflict")
    assert after.json()["session"]["label"] == "desk"


async def test_fields_of_data_are_merged_null_is_a_value_and_removed_names_what_goes(world: World) -> None:
    path = f"/v1/sessions/{(await world.open_session(data={'a': 1, 'b': 2}))['session']['id']}"
    changed = await world.ask("PATCH", path, json={"data": {"a": None, "c": [3]}})
    removed = await world.ask("PATCH", path, json={"removed": ["b", "not there"]})
    both = await world.ask("PATCH", path, json={"data": {"d": 1}, "removed": ["c"]})
    at_once = await world.ask("PATCH", path, json={"data": {"a": 1}, "removed": ["a"]})
    no_list = await world.ask("PATCH", path, json={"removed": "a"})
    together = await world.ask("PATCH", path, json={"data": {"a": 1}, "label": "x"})
    also_together = await world.ask("PATCH", path, json={"removed": ["a"], "label": "x"})

    assert changed.json()["session"]["data"] == {"a": None, "b": 2, "c": [3]}
    assert removed.json()["session"]["data"] == {"a": None, "c": [3]}
    assert both.json()["session"]["data"] == {"a": None, "d": 1}
    assert [answer.status_code for answer in (at_once, no_list, together, also_together)] == [422] * 4


async def test_rotating_gives_a_new_secret_and_kills_the_old_one(world: World) -> None:
    opened = await world.open_session()
    rotated = await world.ask("POST", f"/v1/sessions/{opened['session']['id']}/rotate", json={"authenticated": True})

    assert rotated.status_code == 200
    assert rotated.json()["session"]["id"] == opened["session"]["id"]
    assert await world.introspect(opened["secret"]) == {"active": False}
    assert (await world.introspect(rotated.json()["secret"]))["active"] is True


async def test_a_detached_session_lives_without_a_secret_until_it_is_attached(world: World) -> None:
    opened = await world.open_session(detachable=True)
    path = f"/v1/sessions/{opened['session']['id']}"
    detached = await world.ask("POST", path + "/detach")
    again = await world.ask("POST", path + "/detach")
    attached = await world.ask("POST", path + "/attach")
    twice = await world.ask("POST", path + "/attach")

    assert detached.json()["session"]["detached_at"] == world.clock.now()
    assert again.json() == detached.json()
    assert await world.introspect(opened["secret"]) == {"active": False}
    assert (await world.introspect(attached.json()["secret"]))["active"] is True
    assert (twice.status_code, twice.json()["code"]) == (409, "conflict")


async def test_only_a_detachable_session_is_detached(world: World) -> None:
    id = (await world.open_session())["session"]["id"]
    response = await world.ask("POST", f"/v1/sessions/{id}/detach")

    assert (response.status_code, response.json()["code"]) == (422, "not_detachable")


async def test_ending_a_session_ends_bound_tokens_and_orphans_transferable_ones(world: World) -> None:
    opened = await world.open_session()
    id = opened["session"]["id"]
    bound = await world.issue_token(id, value="b")
    ticket = await world.issue_token(id, value="t", transferable=True)
    first = await world.ask("DELETE", f"/v1/sessions/{id}")
    second = await world.ask("DELETE", f"/v1/sessions/{id}")
    read = await world.ask("GET", f"/v1/tokens/{ticket['token']['id']}")

    assert [(first.status_code, first.content), (second.status_code, second.content)] == [(204, b""), (204, b"")]
    assert await world.introspect(opened["secret"]) == {"active": False}
    assert await world.introspect(bound["secret"]) == {"active": False}
    assert await world.introspect(ticket["secret"]) == {"active": False}
    assert read.json()["token"]["owner"] is None
    assert read.json()["token"]["previous_owner"] == "alice"


async def test_what_ended_is_not_found_and_says_why(world: World) -> None:
    id = (await world.open_session(max_age=10))["session"]["id"]
    world.clock.advance(10)
    read = await world.ask("GET", f"/v1/sessions/{id}")
    rotated = await world.ask("POST", f"/v1/sessions/{id}/rotate")

    for answer in (read, rotated):
        assert (answer.status_code, answer.json()["code"], answer.json()["reason"]) == (404, "session_ended", "expired")


async def test_all_sessions_of_an_owner_end_but_the_kept_one(world: World) -> None:
    kept = (await world.open_session("müller/söhne"))["session"]["id"]
    path = "/v1/owners/m%C3%BCller%2Fs%C3%B6hne/sessions"
    none = await world.ask("DELETE", path, params={"except_session": kept})
    one = await world.ask("DELETE", path, params={"reason": "theft"})
    ended = await world.ask("POST", f"/v1/sessions/{kept}/rotate")

    assert [none.json(), one.json()] == [{"ended": 0}, {"ended": 1}]
    assert ended.json()["reason"] == "theft"


async def test_a_disabled_owner_opens_nothing_until_enabled(world: World) -> None:
    opened = await world.open_session("alice")
    disabled = await world.ask("POST", "/v1/owners/alice/disable")
    refused = await world.ask("POST", "/v1/sessions", json={"owner": "alice"})
    dead = await world.introspect(opened["secret"])
    enabled = await world.ask("POST", "/v1/owners/alice/enable")

    assert disabled.json() == {"owner": "alice", "disabled": True, "changed": True}
    assert (refused.status_code, refused.json()["code"]) == (403, "owner_disabled")
    assert dead == {"active": False}
    assert enabled.json() == {"owner": "alice", "disabled": False, "changed": True}
    assert (await world.open_session("alice"))["session"]["owner"] == "alice"


ODD_OWNERS = (".", "..", "a/../b", "%2e%2e", "sessions", "müller & söhne=+#?")


async def test_an_owner_may_stand_in_the_query(world: World) -> None:
    missing = await world.ask("DELETE", "/v1/owners/sessions")
    for owner in ODD_OWNERS:
        await world.open_session(owner)
        disabled = await world.ask("POST", "/v1/owners/disable", params={"owner": owner})
        enabled = await world.ask("POST", "/v1/owners/enable", params={"owner": owner})
        kept = (await world.open_session(owner))["session"]["id"]
        none = await world.ask("DELETE", "/v1/owners/sessions", params={"owner": owner, "except_session": kept})
        one = await world.ask("DELETE", "/v1/owners/sessions", params={"owner": owner, "reason": "theft"})

        assert disabled.json() == {"owner": owner, "disabled": True, "changed": True}
        assert enabled.json() == {"owner": owner, "disabled": False, "changed": True}
        assert [none.json(), one.json()] == [{"ended": 0}, {"ended": 1}]
    assert missing.status_code == 422
    assert "owner" in missing.json()["detail"]


@pytest.mark.needs_curl
@pytest.mark.parametrize("owner", [".", ".."])
def test_real_clients_reach_owners_that_are_parts_of_paths(owner: str, running: RunningService) -> None:
    """Clients take ``.`` and ``..`` out of paths before they send them, some of them percent-encoded ones too."""
    with running.http() as http:
        ends = []
        for target in (f"/v1/owners/{owner.replace('.', '%2E')}/sessions", f"/v1/owners/sessions?owner={owner}"):
            http.post("/v1/sessions", json={"owner": owner}).raise_for_status()
            ends.append(http.delete(target).json())
        http.post("/v1/sessions", json={"owner": owner}).raise_for_status()
        swallowed = http.delete(f"/v1/owners/{owner}/sessions")
        curl = subprocess.run(
            ["curl", "-sS", "-X", "DELETE", "-H", "@-", f"{running.url}/v1/owners/sessions?owner={owner}"],
            input=f"Authorization: Bearer {running.secret}", capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip

    assert ends == [{"ended": 1}] * 2
    assert swallowed.status_code in (405, 422)
    assert json.loads(curl.stdout) == {"ended": 1}


async def test_the_session_to_keep_may_be_named_by_its_secret_in_the_body(world: World) -> None:
    kept = await world.open_session("ann")
    await world.open_session("ann")
    path, by_secret = "/v1/owners/ann/sessions", {"except_session": "by-secret"}
    missing = await world.ask("DELETE", path, params=by_secret)
    unasked = await world.ask("DELETE", path, json={"secret": kept["secret"]})
    ended = await world.ask("DELETE", path, params=by_secret, json={"secret": kept["secret"]})

    assert (missing.status_code, unasked.status_code, ended.json()) == (422, 422, {"ended": 1})
    assert (await world.introspect(kept["secret"]))["active"] is True


async def test_an_owner_may_be_called_as_what_stands_in_place_of_an_id(world: World) -> None:
    await world.open_session("by-secret")
    ended = await world.ask("DELETE", "/v1/owners/by-secret/sessions")

    assert ended.json() == {"ended": 1}
