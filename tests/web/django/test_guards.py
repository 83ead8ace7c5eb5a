"""Views that are guarded by the secret of a token."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import AsyncClient, Client

from session_tokens.web.django.opened import BlockingSessions


async def answer(view: str, bearer: str | None) -> Any:
    headers = {} if bearer is None else {"Authorization": bearer}
    if view.endswith("async"):
        return await AsyncClient().get(view, headers=headers)
    return await asyncio.to_thread(Client().get, view, headers=headers)


@pytest.mark.parametrize("view", ["/report", "/report-async"])
async def test_only_a_living_token_opens_the_view(tokens: BlockingSessions, view: str) -> None:
    session = tokens.open_session("ann")
    issued = tokens.issue_token(session.id, {"report": 7})
    assert issued.secret is not None

    opened = await answer(view, f"Bearer {issued.secret}")
    assert (opened.status_code, opened.json()) == (200, {"owner": "ann", "value": {"report": 7}})
    assert (await answer(view, f"bearer  {issued.secret}")).status_code == 200

    nothing = await answer(view, None)
    assert (nothing.status_code, nothing.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (await answer(view, "Basic YTpi")).headers["WWW-Authenticate"] == "Bearer"
    for bad in (session.secret, issued.id, issued.secret[:-1], "x"):
        refused = await answer(view, f"Bearer {bad}")
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')
        assert str(bad) not in refused.content.decode()
    tokens.destroy_session(session.id)
    assert (await answer(view, f"Bearer {issued.secret}")).status_code == 401
