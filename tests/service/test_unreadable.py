"""What the service says of records that it cannot read, and of a pepper that it was not given."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from session_tokens import AsyncSessionTokens
from session_tokens.clock import ManualClock
from tests.helpers.service_world import World

OLD, NEW = {"old": b"o" * 32}, {"new": b"n" * 32}


@pytest.fixture
async def on_file(tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
    async with await AsyncSessionTokens.open(_url(tmp_path), clock=clock, sweep=False, pepper=OLD) as tokens:
        world = World(tokens, clock)
        await world.key()
        async with world.http:
            yield world


def _url(folder: Path) -> str:
    return f"sqlite:///{folder}/tokens.db"


async def test_a_list_names_what_it_leaves_out_and_the_metrics_count_it(on_file: World, tmp_path: Path) -> None:
    whole, damaged = await on_file.open_session(owner="ann"), await on_file.open_session(owner="bob")
    id = damaged["session"]["id"]
    with closing(sqlite3.connect(tmp_path / "tokens.db")) as raw, raw:
        raw.execute("UPDATE sessions SET mac = '?' || mac WHERE id = ?", (id,))
    listed = (await on_file.ask("GET", "/v1/sessions")).json()
    metrics = (await on_file.ask("GET", "/metrics")).text

    assert [session["id"] for session in listed["sessions"]] == [whole["session"]["id"]]
    assert listed["unreadable"] == [id]
    assert "session_tokens_unreadable_records 1.0" in metrics


async def test_a_service_without_a_pepper_in_use_is_not_ready_and_denies_nobody(
    on_file: World, tmp_path: Path, clock: ManualClock
) -> None:
    mine = await on_file.open_session(owner="ann")
    assert (await on_file.http.get("/readyz")).status_code == 200
    async with await AsyncSessionTokens.open(_url(tmp_path), clock=clock, sweep=False, pepper=NEW | OLD) as after:
        theirs = await after.open_session("ann")
    ready = await on_file.http.get("/readyz")
    answers = [
        (await on_file.http.get("/forward-auth", headers={"Authorization": f"Bearer {secret}"})).status_code
        for secret in (mine["secret"], theirs.secret)
    ]

    assert (ready.status_code, ready.json()["code"]) == (503, "unknown_pepper")
    assert answers == [204, 503]
