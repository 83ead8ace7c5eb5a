"""The general settings over HTTP: read and changed by admins alone, and held to by a service that is running."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from session_tokens import SessionTokens
from tests.helpers.running_service import RunningService
from tests.helpers.service_world import World
from tests.helpers.waiting import wait_until as until


async def test_what_is_put_is_listed_and_holds_at_once(world: World) -> None:
    put = await world.ask("PUT", "/v1/settings/idle_timeout", json={"value": 60})
    listed = (await world.ask("GET", "/v1/settings")).json()["settings"]
    opened = await world.open_session("ann")
    gone = await world.ask("DELETE", "/v1/settings/idle_timeout")

    assert {
        "name": "idle_timeout", "value": 60, "source": "stored", "is_stored": True, "stored": 60, "default": None,
    } == put.json()["setting"]  # fmt: skip
    assert put.json()["setting"] in listed
    assert 60 == opened["session"]["idle_timeout"]
    assert (None, False) == (gone.json()["setting"]["value"], gone.json()["setting"]["is_stored"])


@pytest.mark.parametrize("role", ["verify", "issue", "transfer", "revoke", "audit", "operator"])
async def test_settings_are_for_admins_alone(world: World, role: str) -> None:
    answers = [
        await world.ask("GET", "/v1/settings", role=role),
        await world.ask("PUT", "/v1/settings/max_sessions", role=role, json={"value": 1}),
        await world.ask("DELETE", "/v1/settings/max_sessions", role=role),
    ]

    assert [403, 403, 403] == [answer.status_code for answer in answers]


@pytest.mark.parametrize(
    ("name", "value"),
    [("colour", "red"), ("max_age", 0), ("max_sessions", 0), ("sweep_interval", 1), ("max_age", "1h")],
)
async def test_what_can_never_be_right_is_refused(world: World, name: str, value: object) -> None:
    answer = await world.ask("PUT", f"/v1/settings/{name}", json={"value": value})

    assert 422 == answer.status_code
    assert "invalid_input" == answer.json()["code"]


async def test_a_larger_body_is_taken_when_the_setting_says_so(world: World) -> None:
    opened = await world.open_session("ann")
    large = {"data": {"text": "x" * 200_000}}
    refused = await world.ask("PATCH", f"/v1/sessions/{opened['session']['id']}", json=large)
    await world.ask("PUT", "/v1/settings/max_data_bytes", json={"value": 1_048_576})
    taken = await world.ask("PATCH", f"/v1/sessions/{opened['session']['id']}", json=large)

    assert (413, 200) == (refused.status_code, taken.status_code)


def typed(url: str, *words: str) -> dict[str, object]:
    """Return what the command line says as JSON, in a process of its own."""
    command = [sys.executable, "-m", "session_tokens", *words, "--store", url, "--json"]
    said: dict[str, object] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    return said


@pytest.mark.process
@pytest.mark.server
def test_a_change_in_one_process_holds_in_a_service_a_library_and_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them changes one. Those that are open look every 100 ms here, and every 30 s by default."""
    monkeypatch.setenv("SESSION_TOKENS_REFRESH_INTERVAL", "0.1")
    url = f"sqlite:///{tmp_path}/store.db"
    service = RunningService(url, tmp_path / "log")
    try:
        with service.http() as http, SessionTokens.open(url, sweep=False) as library:
            large = {"owner": "ann", "data": {"text": "x" * 100_000}}
            assert 413 == http.post("/v1/sessions", json=large).status_code
            typed(url, "settings", "set", "idle_timeout", "77s")
            library.set_setting("max_data_bytes", 200_000)
            http.put("/v1/settings/max_age", json={"value": 999}).raise_for_status()

            until(lambda: 77 == library.open_session("ann").session.idle_timeout)
            until(lambda: 999 == library.open_session("ann").session.max_age)
            until(lambda: 77 == opened_by(http)["idle_timeout"])
            until(lambda: 201 == http.post("/v1/sessions", json=large).status_code)
            opened = typed(url, "open", "ann")
            assert (77, 999) == (opened["idle_timeout"], opened["max_age"])
    finally:
        service.stop()


def opened_by(http: httpx.Client) -> dict[str, object]:
    session: dict[str, object] = http.post("/v1/sessions", json={"owner": "ann"}).json()["session"]
    return session
