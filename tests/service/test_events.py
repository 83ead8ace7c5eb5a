"""Events over HTTP: pages, and streams that go on after a break, end with their key and let the service stop."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from session_tokens import AsyncSessionTokens, Settings
from session_tokens.service import event_stream
from tests.helpers.running_service import RunningService
from tests.helpers.servers.ports import free_port
from tests.helpers.servers.web_proxies import running_proxy
from tests.helpers.service_world import World

STREAM = {"Accept": "text/event-stream"}


async def kept(world: World) -> World:
    await AsyncSessionTokens(world.tokens.store, Settings(events="durable")).record_events()
    return world


async def test_a_page_of_events_goes_on_where_the_one_before_ended(world: World) -> None:
    await kept(world)
    await world.key()
    ids = [(await world.open_session(owner))["session"]["id"] for owner in ("ann", "ben", "ann")]
    await world.ask("DELETE", f"/v1/sessions/{ids[0]}?reason=theft")

    first = (await world.ask("GET", "/v1/events", params={"limit": "2"})).json()
    rest = (await world.ask("GET", "/v1/events", params={"after": first["next"]})).json()

    assert [event["kind"] for event in first["events"]] == ["key_created", "session_opened"]
    assert [event["subject_id"] for event in rest["events"]] == [ids[1], ids[2], ids[0]]
    assert (rest["events"][2]["reason"], rest["next"]) == ("theft", None)
    of_ben = (await world.ask("GET", "/v1/events", params={"owner": "ben"})).json()
    assert [event["subject_id"] for event in of_ben["events"]] == [ids[1]]
    assert set(of_ben["events"][0]) == {"id", "kind", "at", "subject_id", "owner", "reason", "previous_owner", "terms"}


async def test_what_cannot_be_asked_is_said(world: World) -> None:
    off = await world.ask("GET", "/v1/events")
    assert (off.status_code, off.json()["code"]) == (422, "invalid_input")
    assert "events --on" in off.text
    await kept(world)
    assert (await world.ask("GET", "/v1/events", params={"after": "evt_1"})).status_code == 422
    assert (await world.ask("GET", "/v1/events", headers=STREAM | {"Last-Event-ID": "evt_1"})).status_code == 422
    assert (await world.ask("GET", "/v1/events", role="operator")).status_code == 403


def sent(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """Return the events of a stream as they come."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "data" in fields:
            event = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (event["id"], event["kind"])
            yield event
            fields = {}


@pytest.mark.server
def test_a_stream_goes_on_after_the_service_was_killed(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'sessions.db'}"
    service = RunningService(store, tmp_path / "log", settings={"events": "durable"})
    try:
        with service.http() as http, http.stream("GET", "/v1/events", headers=STREAM) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            events = sent(answer)
            assert next(events)["kind"] == "key_created"
            opened = http.post("/v1/sessions", json={"owner": "ann"}).json()["session"]["id"]
            last = next(events)
            assert last["subject_id"] == opened
            http.delete(f"/v1/sessions/{opened}")
            service.stop(signal.SIGKILL)
        service = RunningService(store, tmp_path / "log", service.secret)
        headers = STREAM | {"Last-Event-ID": last["id"]}
        with service.http() as http, http.stream("GET", "/v1/events", headers=headers) as answer:
            events = sent(answer)
            ended = next(events)
            assert (ended["subject_id"], ended["reason"]) == (opened, "logout")
            second = http.post("/v1/keys", json={"role": "admin"}).json()
            assert next(events)["kind"] == "key_created"
            other = {"Authorization": f"Bearer {second['secret']}"}
            with http.stream("GET", "/v1/events", headers=STREAM | other | {"Last-Event-ID": ended["id"]}) as short:
                http.delete(f"/v1/keys/{second['id']}")
                assert [event["kind"] for event in sent(short)] == ["key_created", "key_revoked"]
            assert next(events)["kind"] == "key_revoked"
            service.process.send_signal(signal.SIGTERM)
            assert list(events) == [], "the stream ends when the service is told to stop"
        assert service.stop() == 0
    finally:
        service.stop(signal.SIGKILL)


@pytest.mark.needs_nginx
def test_a_proxy_that_gathers_answers_sends_a_stream_on_as_it_comes(tmp_path: Path) -> None:
    """As nginx does unless it is told otherwise: a few events would wait for a buffer to be full."""
    port, folder = free_port(), tmp_path / "proxy"
    folder.mkdir()
    service = RunningService(f"sqlite:///{tmp_path / 's.db'}", tmp_path / "log", settings={"events": "durable"})
    text = (
        f"server {{ listen 127.0.0.1:{port}; access_log off; "
        f"location / {{ proxy_pass http://127.0.0.1:{service.port}; }} }}"
    )
    key = {"Authorization": f"Bearer {service.secret}"}
    try:
        with (
            running_proxy("nginx", text, port, folder) as url,
            httpx.stream("GET", f"{url}/v1/events", headers=STREAM | key, timeout=5) as answer,
        ):
            events = sent(answer)
            assert next(events)["kind"] == "key_created"
            opened = httpx.post(f"{url}/v1/sessions", json={"owner": "ann"}, headers=key).json()["session"]["id"]
            assert next(events)["subject_id"] == opened
    finally:
        service.stop(signal.SIGKILL)


async def test_no_more_streams_than_there_may_be(world: World, monkeypatch: Any) -> None:
    await kept(world)
    monkeypatch.setattr(event_stream, "STREAMS_MAX", 0)
    refused = await world.ask("GET", "/v1/events", headers=STREAM)
    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")
    assert "retry-after" in refused.headers
