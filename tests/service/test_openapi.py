"""The document that describes the service: complete, offline, and true when strange requests are drawn from it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance, unsupported_method

from session_tokens.service.openapi import document
from session_tokens.service.routes import OPERATIONS
from tests.helpers.effort import times
from tests.helpers.running_service import RunningService
from tests.helpers.service_world import World

schema = schemathesis.openapi.from_dict(document("0"))


@pytest.mark.share(3)
@schema.parametrize()
@settings(max_examples=times(5, proving=400), suppress_health_check=list(HealthCheck), deadline=None)
def test_the_service_answers_as_it_is_described(case: schemathesis.Case[Any], running: RunningService) -> None:
    """Right and wrong requests are drawn from the document; status, type and shape of each answer must be in it.

    Two of its checks do not fit: it expects 401 however often it fails to authenticate, where we answer 429 in the end,
    and success for whatever has the right shape, where the rules may refuse what it says.
    """
    # Proxies ask with the method of the page: every method is answered there alike.
    alike = [unsupported_method] if case.path.startswith("/forward-auth") else []
    case.call_and_validate(
        base_url=running.url,
        headers={"Authorization": f"Bearer {running.secret}"},
        excluded_checks=[ignored_auth, positive_data_acceptance, *alike],
    )


async def test_the_document_names_every_address(world: World) -> None:
    described = (await world.http.get("/openapi.json")).json()
    named = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    served = {(operation.method, operation.path.replace(":path", "")) for operation in OPERATIONS}

    assert described["openapi"] == "3.1.0"
    assert served <= named
    assert {path for _, path in named - served} == {
        "/introspect", "/revoke", "/forward-auth", "/forward-auth-tokens", "/.well-known/oauth-authorization-server",
        "/openapi.json", "/docs", "/livez", "/readyz", "/metrics",
    }  # fmt: skip


async def test_bodies_are_described_as_closed(world: World) -> None:
    schemas: dict[str, Any] = (await world.http.get("/openapi.json")).json()["components"]["schemas"]
    bodies = {operation.body.__name__ for operation in OPERATIONS if operation.body is not None}

    assert all(schemas[name]["additionalProperties"] is False for name in bodies)
    assert set(schemas["OpenSession"]["required"]) == {"owner"}


async def test_the_page_for_people_needs_nothing_from_elsewhere(world: World) -> None:
    answer = await world.http.get("/docs")
    described = (await world.http.get("/openapi.json")).json()

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" not in answer.text
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!#|openapi\.json)""", answer.text) == []
    assert all(path in answer.text for path in described["paths"])
