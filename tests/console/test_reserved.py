"""Nobody becomes an operator by opening, renewing or showing a console session over the API."""

from __future__ import annotations

import re
from typing import Any

import pytest

from session_tokens.service.console.access import COOKIE
from session_tokens.service.keys import create_key
from tests.console.conftest import Desk


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


async def test_an_owner_named_like_an_operator_does_not_enter(desk: Desk) -> None:
    """An application that opens sessions by the library may have users who choose such a name."""
    await desk.entered("admin")
    named = await desk.tokens.open_session(f"console:{desk.keys['admin'].key.id}", client_id="key_of_an_application")

    assert not await sees_keys(desk, named.secret)


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
    assert "Disable" not in page.text
    assert "Programs that may call" in (await admin.get("/console/keys")).text
