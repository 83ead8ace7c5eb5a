"""The log of events on PostgreSQL: transactions that cross lose nothing, and one that stays open is told of."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from session_tokens import SessionTokens, Settings
from tests.helpers.held_rows import row_held, wait_for_waiting

PEPPER = bytes(range(32))
DURABLE = Settings(max_sessions=None, events="durable")


def kept(url: str) -> SessionTokens:
    url += ("&" if "?" in url else "?") + "timeout=30"  # commands wait for others here
    return SessionTokens.open(url, pepper=PEPPER, settings=DURABLE, sweep=False)


def subjects(tokens: SessionTokens) -> list[str]:
    return [event.subject_id for event in tokens.events() if event.kind == "session_ended" or event.owner == "ben"]


def test_of_two_transactions_that_cross_a_follower_loses_none(postgres_url: str) -> None:
    """The one that began first commits last: who goes on behind the greatest number they have seen would miss it."""
    with kept(postgres_url) as first, kept(postgres_url) as second, ThreadPoolExecutor(2) as threads:
        ids = sorted(first.open_session("ann").id for _ in range(2))
        seen: list[str] = []

        def follow() -> None:
            with second.follow_events(name="follower") as follower:
                for event in follower:
                    seen.append(event.subject_id)
                    if len(seen) == 5:
                        return

        following = threads.submit(follow)
        with row_held(postgres_url, ids[1]):  # the commit below has its number by now, for it holds the other row
            crossing = threads.submit(first.destroy_sessions, "ann")
            wait_for_waiting(postgres_url)
            overtaking = second.open_session("ben")
            assert subjects(second) == [], "it is committed, and stands behind one that may still commit"
        assert crossing.result(30) == 2
        following.result(30)
        assert sorted(seen[2:4]) == ids
        assert seen[4] == overtaking.id
        assert subjects(first) == seen[2:]

    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute("SELECT place, text FROM session_tokens.events ORDER BY place, minor").fetchall()
    assert [overtaking.id in text for _, text in rows[2:]] == [False, False, True]
    assert rows[2][0] == rows[3][0] < rows[4][0]


def test_a_transaction_left_open_in_another_database_is_told_of(
    postgres_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("session_tokens._sync.events.LATE_MS", 0)
    with kept(postgres_url) as tokens:
        before = tokens.open_session("ben")
        elsewhere = psycopg.conninfo.make_conninfo(postgres_url, dbname="postgres")
        with psycopg.connect(elsewhere) as other:
            other.execute("SELECT pg_current_xact_id()")
            after = tokens.open_session("ben")
            threading.Event().wait(0.01)
            with caplog.at_level(logging.WARNING, "session_tokens.events"):
                assert subjects(tokens) == subjects(tokens) == [before.id]
            (record,) = caplog.records
            assert "another database" in record.getMessage()
            assert "pg_stat_activity" in record.getMessage()
            assert tokens.events_held_back_ms >= 10
            assert tokens.verify_session(after.secret) is not None, "nobody waits for it but followers"
        assert subjects(tokens) == [before.id, after.id]
        assert tokens.events_held_back_ms == 0


def test_what_came_with_a_dump_from_another_server_blocks_nothing(postgres_url: str) -> None:
    """Numbers of transactions are the server's own: those of a dump may lie beyond all that this one has given out."""
    with kept(postgres_url) as tokens:
        first = tokens.open_session("ben")
        with psycopg.connect(postgres_url) as connection:
            connection.execute(
                "INSERT INTO session_tokens.events SELECT place + (1::bigint << 44), minor, at, text, mac"
                " FROM session_tokens.events"
            )
        second = tokens.open_session("ben")
        foreign = "evt_00" + f"{(2 << 44) + 1:016x}" + "00000000"
        assert subjects(tokens) == [first.id, second.id]
        assert [event.kind for event in tokens.events(after=foreign)] == ["gap"]
        tokens.sweep()
        with psycopg.connect(postgres_url) as connection:
            assert connection.execute("SELECT count(*) FROM session_tokens.events").fetchone() == (2,)


def test_a_forged_event_is_left_out_and_told_once(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with kept(postgres_url) as tokens:
        first, forged, last = (tokens.open_session("ben") for _ in range(3))
        with psycopg.connect(postgres_url) as connection:
            connection.execute(
                "UPDATE session_tokens.events SET text = replace(text, 'opened', 'ended') WHERE text LIKE %s",
                (f"%{forged.id}%",),
            )
        with caplog.at_level(logging.ERROR, "session_tokens.alerts"):
            page = tokens.events()
            assert tokens.events() == page
        assert [event.subject_id for event in page] == [first.id, last.id]
        assert len(page.unreadable) == len(caplog.records) == 1
        assert page.unreadable[0] in caplog.records[0].getMessage()
