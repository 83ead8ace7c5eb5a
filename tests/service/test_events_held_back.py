"""Events that a transaction left open holds back are told at /readyz and by check, and the service goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import psycopg
import pytest

from session_tokens import AsyncSessionTokens, Settings
from session_tokens.service.app import Service
from session_tokens.stores.connect import check_store


@pytest.fixture
async def tokens(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncSessionTokens]:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)
    async with await AsyncSessionTokens.open(postgres_url, settings=Settings(events="durable"), sweep=False) as made:
        yield made


async def test_events_that_are_held_back_are_told_and_hinder_nothing(
    tokens: AsyncSessionTokens, postgres_url: str
) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Service(tokens)), base_url="http://service.test"
    ) as http:
        with psycopg.connect(postgres_url) as left_open:
            left_open.execute("SELECT pg_current_xact_id()")
            opened = await tokens.open_session("ann")
            fresh = await http.get("/readyz")
            with psycopg.connect(postgres_url, autocommit=True) as clerk:
                clerk.execute("UPDATE session_tokens.events SET at = at - 60000")
            late, is_late, held_ms = (
                await http.get("/readyz"),
                await tokens.events_are_late(),
                tokens.events_held_back_ms,
            )
            found = await asyncio.to_thread(check_store, postgres_url, fix=False, progress=lambda *_: None)
            assert await tokens.verify_session(str(opened.secret)) is not None
        over = await http.get("/readyz")
        mended = await asyncio.to_thread(check_store, postgres_url, fix=False, progress=lambda *_: None)

    assert (fresh.status_code, fresh.json()) == (over.status_code, over.json()) == (200, {"status": "ready"})
    assert (late.status_code, late.json()["status"]) == (200, "ready")
    assert [warning["code"] for warning in late.json()["warnings"]] == ["events_held_back"]
    assert is_late and 60_000 <= held_ms < 120_000
    assert [str(finding) for finding in found] and "pg_stat_activity" in str(found[0])
    assert mended == []


async def test_a_store_that_keeps_no_events_is_never_late() -> None:
    async with await AsyncSessionTokens.open("memory://", sweep=False) as plain:
        assert not await plain.events_are_late()
