"""A server that dies under the service: 503 with a time to try again, never "not valid"; back when the server is."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import valkey

from tests.helpers.running_service import RunningService
from tests.helpers.servers.mariadb import MariaDBServer
from tests.helpers.servers.postgres import PostgresServer
from tests.helpers.servers.valkey import ValkeyServer

BACK_WITHIN_S = 30


@dataclass(frozen=True)
class Mortal:
    """A server of the test's own that keeps what it acknowledged."""

    url: str
    kill: Callable[[], object]
    start: Callable[[], object]


@pytest.fixture(params=["postgres", "mariadb", "valkey"])
def server(request: pytest.FixtureRequest) -> Mortal:
    if request.param == "postgres":
        postgres: PostgresServer = request.getfixturevalue("private_postgres")
        return Mortal(postgres.new_database(), lambda: postgres.stop(signal.SIGQUIT), postgres.start)
    if request.param == "mariadb":
        mariadb: MariaDBServer = request.getfixturevalue("private_mariadb")
        return Mortal(mariadb.new_database(), lambda: mariadb.stop(signal.SIGKILL), mariadb.start)
    start: Callable[..., ValkeyServer] = request.getfixturevalue("private_valkey")
    valkey = start("--appendonly", "yes", "--appendfsync", "always")
    return Mortal(valkey.url, valkey.kill, valkey.start)


@pytest.fixture
def service(server: Mortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningService]:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)
    running = RunningService(server.url, tmp_path / "log")
    yield running
    running.stop()


def asked(http: httpx.Client, secret: str) -> list[httpx.Response]:
    """Ask in every way whether a session is valid, for what lives, and for changes."""
    as_session = {"Authorization": f"Bearer {secret}"}
    return [
        http.post("/introspect", data={"token": secret}),
        http.get("/forward-auth", headers=as_session),
        http.post("/revoke", data={"token": "stt_00" + "0" * 49}),
        http.get("/v1/sessions"),
        http.post("/v1/sessions", json={"owner": "bob"}),
    ]


def test_the_service_outlives_its_server(server: Mortal, service: RunningService) -> None:
    with service.http(timeout=20) as http:
        opened = http.post("/v1/sessions", json={"owner": "alice"}).json()
        ended = http.post("/v1/sessions", json={"owner": "carol"}).json()
        http.delete(f"/v1/sessions/{ended['session']['id']}")
        ready = http.get("/readyz")
        server.kill()
        down = [http.get("/readyz"), *asked(http, opened["secret"])]
        alive = http.get("/livez")
        server.start()
        until_s = time.monotonic() + BACK_WITHIN_S
        while http.get("/readyz").status_code != 200:
            assert time.monotonic() < until_s, service.log()
            time.sleep(0.02)
        back = asked(http, opened["secret"])
        still_ended = http.post("/introspect", data={"token": ended["secret"]}).json()

    assert (ready.status_code, alive.status_code) == (200, 200)
    assert [answer.status_code for answer in down] == [503] * len(down)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in down)
    assert not any("active" in answer.text for answer in down)
    assert [answer.status_code for answer in back] == [200, 204, 200, 200, 201]
    assert back[0].json()["active"] is True
    assert [session["owner"] for session in back[3].json()["sessions"]] == ["alice"]
    assert still_ended == {"active": False}
    said = service.log()
    assert "Traceback" not in said
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    goes, comes = [[line for line in lines if f"the store is {word}" in line["message"]] for word in ("away", "back")]
    assert (len(goes), len(comes)) == (1, 1), said
    assert not any("sweep" in line["message"] for line in lines), said
    warned = {line["route"] for line in lines if line.get("status") == 503 and line["level"] == "warning"}
    assert warned == {"/readyz", "/introspect", "/forward-auth", "/revoke", "/v1/sessions"}


def test_one_can_log_out_while_the_server_is_out_of_memory(
    private_valkey: Callable[..., ValkeyServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)
    server = private_valkey()
    service = RunningService(server.url, tmp_path / "log")
    try:
        with service.http(timeout=20) as http, valkey.from_url(server.url) as client:  # type: ignore[no-untyped-call]  # the driver's
            opened = [
                http.post("/v1/sessions", json={"owner": f"owner {number}", "idle_timeout": 1}).json()
                for number in range(4)
            ]
            time.sleep(0.15)  # a sixteenth of the idle timeout on the server's clock: each use is to be written down
            client.config_set("maxmemory", 1)
            in_use = [
                http.get("/forward-auth", headers={"Authorization": f"Bearer {each['secret']}"}).status_code
                for each in opened
            ]
            grows = http.post("/v1/sessions", json={"owner": "bob"})
            ends = [
                http.post("/revoke", data={"token": opened[0]["secret"]}).status_code,
                http.delete(f"/v1/sessions/{opened[1]['session']['id']}").status_code,
                http.delete(
                    f"/v1/sessions/{opened[2]['session']['id']}", headers={"Idempotency-Key": "x" * 32}
                ).status_code,
                http.delete("/v1/owners/owner%203/sessions").status_code,
            ]
            left = [http.post("/introspect", data={"token": each["secret"]}).json()["active"] for each in opened]
            uses = http.get("/metrics").text
    finally:
        service.stop()

    assert in_use == [204] * 4
    assert (grows.status_code, grows.json()["code"]) == (503, "store_unavailable")
    assert all(200 <= status < 300 for status in ends), ends
    assert left == [False] * 4
    assert "session_tokens_unwritten_uses 1.0" in uses
