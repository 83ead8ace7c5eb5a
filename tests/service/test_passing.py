"""Tokens that are used up, waiting, offered, lent and handed over, through HTTP."""

from __future__ import annotations

from tests.helpers.service_world import World


async def test_a_counted_token_is_used_up_and_then_says_so(world: World) -> None:
    link = await world.issue_token(None, uses=2)
    path = f"/v1/tokens/{link['token']['id']}/consume"
    before = await world.introspect(link["secret"])
    first = await world.ask("POST", path, json={})
    second = await world.ask("POST", path, json={"amount": 1})
    third = await world.ask("POST", path, json={})

    assert before["st_uses_left"] == 2
    assert [answer.json()["token"]["uses_left"] for answer in (first, second)] == [1, 0]
    assert (third.status_code, third.json()["code"]) == (409, "limit_reached")
    assert await world.introspect(link["secret"]) == {"active": False}


async def test_the_pool_gives_the_next_and_takes_it_back(world: World) -> None:
    session = (await world.open_session())["session"]["id"]
    job = await world.issue_token(None, value="job", transferable=True, tag="resize")
    wanted = {"session": session, "tag": "resize"}
    claimed = (await world.ask("POST", "/v1/tokens/claim-next", json=wanted)).json()
    none = await world.ask("POST", "/v1/tokens/claim-next", json=wanted)
    path = f"/v1/tokens/{job['token']['id']}/release"
    not_hers = await world.ask("POST", path, json={"owner": "bob"})
    released = await world.ask("POST", path, json={"owner": "alice"})

    assert (job["secret"], job["token"]["owner"]) == (None, None)
    assert (claimed["token"]["id"], claimed["token"]["owner"]) == (job["token"]["id"], "alice")
    assert (none.status_code, none.json()) == (200, {"token": None, "secret": None})
    assert (not_hers.status_code, not_hers.json()["code"]) == (403, "not_owner")
    assert released.json()["token"]["previous_owner"] == "alice"
    assert await world.introspect(claimed["secret"]) == {"active": False}


async def test_an_offer_to_one_owner_is_accepted_by_them_alone(world: World) -> None:
    ticket = await world.issue_token((await world.open_session())["session"]["id"], transferable=True)
    path = f"/v1/tokens/{ticket['token']['id']}"
    terms = {"price": "12.50", "currency": "EUR"}
    offered = await world.ask("POST", f"{path}/offer", json={**terms, "to": "bob", "until": 60})
    no_end = await world.ask("POST", f"{path}/offer", json={**terms, "until": 60})
    carol = await world.ask("POST", f"{path}/accept", json={**terms, "receiver": "carol"})
    stale = await world.ask("POST", f"{path}/accept", json={"receiver": "bob", "price": "12"})
    bob = await world.ask("POST", f"{path}/accept", json={**terms, "receiver": "bob", "settlement": "payment 7"})

    assert offered.json()["token"]["reserved_for"] == "bob"
    assert (no_end.status_code, no_end.json()["code"]) == (422, "invalid_input")
    assert [answer.json()["code"] for answer in (carol, stale)] == ["conflict", "conflict"]
    assert (bob.json()["token"]["owner"], bob.json()["token"]["sellable"]) == ("bob", False)
    assert (await world.introspect(bob.json()["secret"]))["sub"] == "bob"
    assert await world.introspect(ticket["secret"]) == {"active": False}


async def test_a_loan_is_introspected_with_who_acts_and_given_back_by_revocation(world: World) -> None:
    mailbox = await world.issue_token((await world.open_session())["session"]["id"], scope="mail.read")
    path = f"/v1/tokens/{mailbox['token']['id']}"
    no_end = await world.ask("POST", f"{path}/lend", json={"borrower": "agent"})
    lent = (await world.ask("POST", f"{path}/lend", json={"borrower": "agent", "until": 60})).json()
    seen = await world.introspect(lent["secret"])
    again = (await world.ask("POST", f"{path}/lend", json={"borrower": "agent", "until": 60})).json()
    revoked = await world.ask("POST", "/revoke", data={"token": lent["secret"]})
    after = [await world.introspect(secret) for secret in (lent["secret"], again["secret"], mailbox["secret"])]
    await world.ask("POST", f"{path}/recall", json={})

    assert (no_end.status_code, no_end.json()["code"]) == (409, "conflict")
    assert (seen["sub"], seen["act"], seen["scope"]) == ("alice", {"sub": "agent"}, "mail.read")
    assert seen["st_id"] == mailbox["token"]["id"]
    assert seen["exp"] * 1000 <= lent["token"]["expires_at"]
    assert revoked.status_code == 200
    assert [each["active"] for each in after] == [False, True, True]
    assert await world.introspect(again["secret"]) == {"active": False}
    assert (await world.introspect(mailbox["secret"]))["active"] is True


async def test_what_a_leaving_owner_has_is_handed_over(world: World) -> None:
    session = (await world.open_session())["session"]["id"]
    held = [await world.issue_token(session, transferable=True) for _ in range(3)]
    some = await world.ask("POST", "/v1/owners/alice/hand-over", json={"receiver": "bob", "limit": 2})
    rest = await world.ask("POST", "/v1/owners/alice/hand-over", json={"receiver": "bob"})

    assert (some.json(), rest.json()) == ({"handed": 2}, {"handed": 1})
    assert [await world.introspect(each["secret"]) for each in held] == [{"active": False}] * 3
