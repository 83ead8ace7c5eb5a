"""Nobody becomes an operator by opening, renewing or showing a console session over the API."""

from __future__ import annotations

import re
from typing import Any

import pytest

from session_tokens import InvalidInput
from session_tokens.service.console.access import COOKIE
from session_tokens.service_keys.keys import create_key
from tests.helpers.console_desk import Desk


async def asked(desk: Desk, role: str, method: str, path: str, **options: Any) -> Any:
    key = await create_key(desk.tokens.store, role)
    async with desk.browser() as http:
        return await http.request(method, path, headers={"Authorization": f"Bearer {key.secret}"}, **options)


async def sees_keys(desk: Desk, secret: str) -> bool:
    async with desk.browser() as http:
        http.cookies.set(COOKIE.name, secret, domain="desk.test")
        return "Programs that may call" in (await http.get("/console/keys")).text


async def test_a_program_cannot_open_a_console_session(desk: Desk) -> None:
    await desk.entered("admin")
    owner = f"console:{desk.keys['admin'].key.id}"
    answer = await asked(desk, "issue", "POST", "/v1/sessions", json={"owner": owner})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_the_library_opens_no_session_for_an_owner_of_the_console(desk: Desk) -> None:
    """An application may have users who choose such a name: whoever holds such a session holds the console."""
    await desk.entered("admin")
    for client in (None, "key_of_an_application", "console"):
        with pytest.raises(InvalidInput, match="reserved"):
            await desk.tokens.open_session(f"console:{desk.keys['admin'].key.id}", client_id=client)


async def test_an_owner_named_like_a_key_does_not_enter(desk: Desk) -> None:
    await desk.entered("admin")
    named = await desk.tokens.open_session(desk.keys["admin"].key.id, client_id="console")

    assert not await sees_keys(desk, named.secret)


async def test_no_token_gets_to_an_owner_of_the_console(desk: Desk) -> None:
    """Not by transfer, issue or claim, over HTTP or by the library; nor does a gift wait there for the next log-in."""
    await desk.entered("admin")
    owner = f"console:{desk.keys['admin'].key.id}"
    console = (await desk.tokens.list_sessions(owner)).items[0]
    alice = await desk.tokens.open_session("alice")
    token = await desk.tokens.issue_token(alice.session.id, "seat", transferable=True)
    unassigned = await desk.tokens.issue_token(alice.session.id, "seat", transferable=True)
    transfer = {"giver": "alice", "receiver": owner}
    answers = [
        await asked(desk, "admin", "POST", f"/v1/tokens/{token.token.id}/transfer", json=transfer),
        await asked(desk, "admin", "POST", "/v1/tokens", json={"session": console.id, "value": "v"}),
        await asked(
            desk, "admin", "POST", "/v1/tokens", json={"session": console.id, "value": "v", "transferable": True}
        ),
    ]
    with pytest.raises(InvalidInput):
        await desk.tokens.transfer_token(token.token.id, giver="alice", receiver=owner)
    with pytest.raises(InvalidInput):
        await desk.tokens.issue_token(console.id, "v")
    await desk.tokens.destroy_session(alice.session.id)
    answers.append(
        await asked(desk, "admin", "POST", f"/v1/tokens/{unassigned.token.id}/claim", json={"session": console.id})
    )
    with pytest.raises(InvalidInput):
        await desk.tokens.claim_token(unassigned.token.id, session_key=console.id)

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(422, "invalid_input")] * 4
    assert (await desk.tokens.list_tokens(owner=owner)).items == []
    assert (await desk.tokens.get_token(unassigned.token.id)) is not None


@pytest.mark.parametrize(
    ("method", "act", "body"),
    [
        ("POST", "/rotate", {}),
        ("POST", "/detach", {}),
        ("POST", "/attach", {}),
        ("PATCH", "", {"detachable": True}),
        ("PATCH", "", {"data": {"a": 1}}),
    ],
)
async def test_a_program_cannot_take_over_a_console_session(
    desk: Desk,
    method: str,
    act: str,
    body: dict[str, Any],
) -> None:
    browser = await desk.entered("admin")
    session = (await desk.tokens.list_sessions(f"console:{desk.keys['admin'].key.id}")).items[0]
    answer = await asked(desk, "admin", method, f"/v1/sessions/{session.id}{act}", json=body)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "Programs that may call" in (await browser.get("/console/keys")).text


async def test_the_library_makes_no_new_secret_for_a_console_session(desk: Desk) -> None:
    """Whoever has the library and an id, or the command line, would else walk into the console as that operator."""
    browser = await desk.entered("admin")
    secret = browser.cookies[COOKIE.name]
    session = (await desk.tokens.list_sessions(f"console:{desk.keys['admin'].key.id}")).items[0]
    for key in (session.id, secret):
        for options in ({}, {"authenticated": True}, {"idempotency_key": "once"}):
            with pytest.raises(InvalidInput, match="console"):
                await desk.tokens.rotate_session(key, **options)
    await desk.tokens.change_session(session.id, detachable=True)
    await desk.tokens.detach_session(session.id)
    with pytest.raises(InvalidInput, match="console"):
        await desk.tokens.attach_session(session.id)

    assert not await sees_keys(desk, secret)  # detached it stays, until it ends


async def test_a_console_session_can_be_ended_from_outside(desk: Desk) -> None:
    browser = await desk.entered("admin")
    session = (await desk.tokens.list_sessions(f"console:{desk.keys['admin'].key.id}")).items[0]
    answer = await asked(desk, "revoke", "DELETE", f"/v1/sessions/{session.id}")

    assert answer.status_code == 204
    assert "Secret of the service key" in (await browser.get("/console")).text


async def test_a_console_session_lets_nobody_into_an_application(desk: Desk) -> None:
    browser = await desk.entered("operator")
    secret = browser.cookies[COOKIE.name]
    async with desk.browser() as http:
        guarded = await http.get("/forward-auth", headers={"Authorization": f"Bearer {secret}"})
    introspected = await asked(desk, "verify", "POST", "/introspect", data={"token": secret})

    assert guarded.status_code == 401
    assert introspected.content == b'{"active":false}'


@pytest.mark.parametrize("role", ["revoke", "operator", "admin"])
@pytest.mark.parametrize("path", ["/v1/owners/{owner}/disable", "/v1/owners/disable?owner={owner}"])
async def test_nobody_shuts_an_admin_out_by_disabling_their_owner(desk: Desk, role: str, path: str) -> None:
    browser = await desk.entered("admin")
    owner = f"console:{desk.keys['admin'].key.id}"
    answer = await asked(desk, role, "POST", path.format(owner=owner), json={})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert "revoke" in answer.json()["detail"]
    assert "Programs that may call" in (await browser.get("/console/keys")).text


async def test_an_operator_in_the_console_does_not_either(desk: Desk) -> None:
    admin, operator = await desk.entered("admin"), await desk.entered("operator")
    owner = f"console:{desk.keys['admin'].key.id}"
    page = await operator.get(f"/console/owners/{owner}")
    csrf = re.search(r'name="csrf" value="(\w+)"', page.text)
    assert csrf is not None
    answer = await operator.post(f"/console/owners/{owner}/disable", data={"csrf": csrf[1], "typed": owner})

    assert answer.status_code == 422
    assert ">Disable<" not in page.text
    assert "Programs that may call" in (await admin.get("/console/keys")).text
