"""No secret in logs, metrics or database files: everything is done once, then everything written is searched."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from session_tokens import AsyncSessionTokens, Settings
from session_tokens.events import event_id
from session_tokens.service.app import Service
from session_tokens.service.logs import FIELDS, JSONLines
from tests.helpers.running_service import RunningService, request
from tests.helpers.service_world import World

pytestmark = pytest.mark.server


def test_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    """Each secret that the service ever gave out, and each that was shown to it in a wrong place, is looked for."""
    service = RunningService(f"sqlite:///{tmp_path}/tokens.db", tmp_path / "log")
    secrets = {service.secret}
    with service.http() as http:

        def post(path: str, **body: object) -> dict[str, object]:
            answer = http.post(path, json=body, headers={"Idempotency-Key": f"{path}{len(secrets)}"})
            assert answer.status_code in (200, 201), answer.text
            given: dict[str, object] = answer.json()
            secrets.add(str(given.get("secret", service.secret)))
            return given

        session = post("/v1/sessions", owner="canary-owner", detachable=True)["session"]
        assert isinstance(session, dict)
        path = f"/v1/sessions/{session['id']}"
        post(path + "/rotate")
        post(path + "/detach")
        post(path + "/attach")
        ticket = post("/v1/tokens", session=session["id"], transferable=True)["token"]
        assert isinstance(ticket, dict)
        post(f"/v1/tokens/{ticket['id']}/transfer", giver="canary-owner", receiver="canary-owner")
        post(f"/v1/tokens/{ticket['id']}/reissue", owner="canary-owner")
        key = post("/v1/keys", role="audit")
        post(f"/v1/keys/{key['id']}/rotate")
        for secret in sorted(secrets):
            http.post("/introspect", data={"token": secret})
            http.post("/introspect", params={"token": secret}, data={"token": secret})
            http.post("/revoke", data={"token": secret, "client_id": "key_x", "client_secret": secret})
            http.get(f"/v1/sessions/{secret}")
            http.get("/v1/sessions", params={"owner": secret, "after": secret})
            http.post("/v1/sessions", json={secret: secret})
            http.post("/v1/sessions", json={"owner": 1, "label": secret})
            http.request("BREW", "/introspect", content=secret)
            service.raw(request("GET", f"/{secret} x", {"Cookie": f"session={secret}"}))
            service.raw(request("GET", "/forward-auth", {"Authorization": f"Bearer {secret} {secret}"}))
        metrics = http.get("/metrics").text
    service.stop()
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()} | {"metrics": metrics.encode()}
    found = [
        (name, secret[:4]) for name, content in written.items() for secret in secrets if secret[6:].encode() in content
    ]

    assert len(secrets) >= 9
    assert {"log", "tokens.db", "metrics"} <= set(written)
    assert found == []
    assert b"canary-owner" not in written["metrics"]
    assert b"canary-owner" not in written["log"]
    assert b"Traceback" not in written["log"]


def test_each_line_of_the_log_is_a_json_object_of_known_fields(running: RunningService) -> None:
    with running.http() as http:
        http.post("/v1/sessions", json={"owner": "log-reader"})
        http.get("/v1/sessions", headers={"Authorization": "Bearer wrong"})
    lines = [json.loads(line) for line in running.log().splitlines()]
    known = {"time", "level", "logger", "message", "traceback", *FIELDS}
    events = {line.get("event") for line in lines}

    assert all(set(line) <= known for line in lines)
    assert all(line["time"].endswith("+00:00") for line in lines)
    assert {"request", "authentication_failed"} <= events | (
        {"authentication_failed"} if "throttled" in events else set()
    )


def test_a_line_break_in_a_message_forges_no_second_line() -> None:
    record = logging.LogRecord("x", logging.INFO, "x", 1, 'a\n{"event": "forged"}\u2028\x1b[31m', None, None)
    line = JSONLines().format(record)

    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert json.loads(line)["message"].startswith("a\n")


async def test_metrics_count_answers_problems_and_events_without_owners(world: World) -> None:
    opened = await world.open_session("metric-owner")
    await world.ask("DELETE", f"/v1/sessions/{opened['session']['id']}")
    await world.introspect(opened["secret"])
    await world.ask("GET", "/v1/sessions/ses_none")
    await world.ask("MAGIC", "/introspect")
    text = (await world.ask("GET", "/metrics")).text

    assert 'session_tokens_http_requests_total{method="POST",route="/introspect",status="200"} 1.0' in text
    assert 'session_tokens_http_requests_total{method="other",route="/introspect",status="405"} 1.0' in text
    assert 'session_tokens_http_problems_total{code="unknown_session"} 1.0' in text
    assert 'session_tokens_events_total{kind="session_opened",reason=""} 1.0' in text
    assert 'session_tokens_events_total{kind="session_ended",reason="logout"} 1.0' in text
    assert 'session_tokens_http_request_seconds_count{route="/v1/sessions/{id}"}' in text
    assert "metric-owner" not in text
    assert opened["session"]["id"] not in text


async def test_metrics_do_not_grow_with_replays(world: World) -> None:
    """Where a replay begins is the id of an event, which is no label."""
    await AsyncSessionTokens(world.tokens.store, Settings(events="durable")).record_events()
    made = (await world.ask("POST", "/v1/webhooks", json={"url": "https://app.example/hooks"})).json()["webhook"]
    for after in (None, event_id((1, 1)), event_id((2, 2))):
        replayed = await world.ask("POST", f"/v1/webhooks/{made['id']}/replay", json={"after": after})
        assert replayed.status_code == 200
    text = (await world.ask("GET", "/metrics")).text

    assert 'session_tokens_events_total{kind="webhook_replayed",reason=""} 1.0' in text
    assert 'session_tokens_events_total{kind="webhook_replayed",reason="after"} 2.0' in text
    assert "evt_" not in text


async def test_metrics_do_not_grow_with_what_callers_send(world: World) -> None:
    """110: strange methods, addresses and ids are one label each."""

    def size(service: Service) -> int:
        return len(service.metrics.text().splitlines())

    await world.ask("BREW", "/v1/sessions")
    await world.ask("GET", "/nowhere")
    await world.ask("GET", "/v1/tokens/tok_x")
    before = size(world.service)
    for number in range(50):
        await world.ask(f"BREW{number}", "/v1/sessions")
        await world.ask("GET", f"/nowhere/{number}")
        await world.ask("GET", f"/v1/tokens/tok_{number}")
        await world.open_session(f"owner{number}")
    after = size(world.service)
    grown = [line for line in world.service.metrics.text().decode().splitlines() if re.search(r"owner\d", line)]

    assert after - before < 40
    assert grown == []
