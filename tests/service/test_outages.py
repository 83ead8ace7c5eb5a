"""A store that cannot be asked is 503 with a time to try again, never "not valid", and never a traceback."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from session_tokens import AsyncSessionTokens
from session_tokens.clock import ManualClock
from tests.helpers.service_world import World


@pytest.fixture
async def on_file(tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
    url = f"sqlite:///{tmp_path}/tokens.db?busy_timeout=0.1"
    async with await AsyncSessionTokens.open(url, clock=clock, sweep=False, pepper=b"p" * 32) as tokens:
        world = World(tokens, clock)
        await world.key()
        async with world.http:
            yield world


async def test_a_store_that_is_locked_by_another_is_503_for_changes(on_file: World, tmp_path: Path) -> None:
    opened = await on_file.open_session()
    blocker = sqlite3.connect(tmp_path / "tokens.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    refused = await on_file.ask("POST", "/v1/sessions", json={"owner": "bob"})
    read = await on_file.introspect(opened["secret"])
    blocker.execute("ROLLBACK")
    blocker.close()
    again = await on_file.ask("POST", "/v1/sessions", json={"owner": "bob"})

    assert refused.status_code == 503
    assert refused.json()["code"] in ("store_busy", "store_unavailable")
    assert refused.headers["retry-after"] == "1"
    assert read["active"] is True
    assert again.status_code == 201


async def test_a_session_in_use_stays_valid_while_its_use_cannot_be_written_down(
    on_file: World, tmp_path: Path
) -> None:
    opened = await on_file.open_session(idle_timeout=60)
    on_file.clock.advance(30)
    with closing(sqlite3.connect(tmp_path / "tokens.db", isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        shown = {"Authorization": f"Bearer {opened['secret']}"}
        answers = [(await on_file.http.get("/forward-auth", headers=shown)).status_code for _ in range(3)]
    metrics = (await on_file.ask("GET", "/metrics")).text

    assert answers == [204, 204, 204]
    assert "session_tokens_unwritten_uses 1.0" in metrics


async def test_a_forged_row_is_told_to_the_caller_and_named_to_the_operator(
    on_file: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = await on_file.open_session()
    connection = sqlite3.connect(tmp_path / "tokens.db", isolation_level=None)
    connection.execute("UPDATE sessions SET owner = 'eve'")
    connection.close()
    id = opened["session"]["id"]
    listed = (await on_file.ask("GET", "/v1/sessions")).json()
    asked = await on_file.ask("GET", f"/v1/sessions/{id}")

    assert (listed["sessions"], listed["unreadable"]) == ([], [id])
    assert (asked.status_code, asked.json()["code"]) == (503, "corrupt_record")
    assert "check --fix" in asked.json()["detail"]
    assert "retry-after" not in asked.headers
    alerts = [record.getMessage() for record in caplog.records if record.name == "session_tokens.alerts"]
    assert any(id in alert for alert in alerts)


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
async def test_a_store_whose_file_is_gone_is_not_ready(on_file: World, tmp_path: Path, how: str) -> None:
    """Open connections go on without an error, with what nobody will find again."""
    file = tmp_path / "tokens.db"
    ready = await on_file.http.get("/readyz")
    file.rename(tmp_path / "elsewhere.db")
    if how == "deleted":
        (tmp_path / "elsewhere.db").unlink()
    elif how == "replaced":
        file.write_bytes(b"another")
    gone = await on_file.http.get("/readyz")

    assert (ready.status_code, gone.status_code, gone.json()["code"]) == (200, 503, "store_unavailable")


async def test_a_closed_store_is_not_ready_and_says_of_nobody_that_they_are_not_valid(on_file: World) -> None:
    opened = await on_file.open_session()
    ready = await on_file.http.get("/readyz")
    secret = (await on_file.key()).secret
    await on_file.tokens.close()
    key = {"Authorization": f"Bearer {secret}"}
    answers = [
        await on_file.http.get("/readyz"),
        await on_file.http.post("/introspect", data={"token": opened["secret"]}, headers=key),
        await on_file.http.post("/revoke", data={"token": opened["secret"]}, headers=key),
        await on_file.http.get("/forward-auth", headers={"Cookie": f"session={opened['secret']}"}),
        await on_file.http.get("/v1/sessions", headers=key),
    ]
    alive = await on_file.http.get("/livez")

    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert [answer.status_code for answer in answers] == [503] * len(answers)
    assert all("retry-after" in answer.headers for answer in answers)
    assert answers[1].json()["error"] == "temporarily_unavailable"
    assert all("active" not in answer.json() for answer in answers)
    assert alive.status_code == 200


async def test_a_record_changed_by_somebody_without_the_pepper_opens_nothing(on_file: World, tmp_path: Path) -> None:
    """68, 69: a row of another owner copied over a session's is refused, not believed."""
    opened = await on_file.open_session("alice")
    await on_file.open_session("root")
    forger = sqlite3.connect(tmp_path / "tokens.db")
    tables = [name for (name,) in forger.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    table = next(
        name for name in tables if "owner" in columns(forger, name) and "idle_timeout_ms" in columns(forger, name)
    )
    forger.execute(f"UPDATE {table} SET owner = 'root' WHERE id = ?", (opened["session"]["id"],))
    forger.commit()
    forger.close()
    key = {"Authorization": f"Bearer {(await on_file.key()).secret}"}
    introspected = await on_file.http.post("/introspect", data={"token": opened["secret"]}, headers=key)
    shown = await on_file.http.get("/forward-auth", headers={"Cookie": f"session={opened['secret']}"})

    assert introspected.status_code in (200, 503)
    assert introspected.json().get("active", False) is False
    assert shown.status_code in (401, 503)
    assert "root" not in introspected.text


def columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
