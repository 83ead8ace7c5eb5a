"""Authlib, a client that others wrote, introspects and revokes with both ways of authentication."""

from __future__ import annotations

import httpx
import pytest
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]  # it brings no types

from tests.helpers.running_service import RunningService


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_introspects_and_revokes(running: RunningService, admin: httpx.Client, method: str) -> None:
    key = admin.post("/v1/keys", json={"role": "admin"}).json()
    opened = admin.post("/v1/sessions", json={"owner": f"authlib-{method}"}).json()
    described = admin.get("/.well-known/oauth-authorization-server").json()
    with OAuth2Session(
        key["id"], key["secret"], token_endpoint_auth_method=method, revocation_endpoint_auth_method=method
    ) as client:
        before = client.introspect_token(described["introspection_endpoint"], token=opened["secret"])
        revoked = client.revoke_token(described["revocation_endpoint"], token=opened["secret"])
        after = client.introspect_token(described["introspection_endpoint"], token=opened["secret"])

    assert before.json()["sub"] == f"authlib-{method}"
    assert revoked.status_code == 200
    assert after.json() == {"active": False}


def test_a_wrong_secret_is_refused(running: RunningService) -> None:
    with OAuth2Session("key_x", "stk_x") as client:
        answer = client.introspect_token(f"{running.url}/introspect", token="x")

    assert answer.status_code in (401, 429)
    assert answer.json()["error"] == "invalid_client"
