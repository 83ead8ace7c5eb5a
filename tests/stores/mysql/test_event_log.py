"""The log of events in MariaDB as old events go: a follower is told, whoever else trims, and the log is not counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from session_tokens.contract.drive import drive_now
from session_tokens.contract.event_log import TRIMMED_AT_ONCE
from session_tokens.stores.common.pools import Link
from session_tokens.stores.common.server_store import ServerStore
from session_tokens.stores.mysql.event_log import trimming_events
from session_tokens.stores.mysql.statements import Packet
from session_tokens.stores.mysql.store import open_mysql_blocking

pytestmark = pytest.mark.needs_mariadb

PREFIX = "session_tokens_"
EVENTS = TRIMMED_AT_ONCE + 1000


def filled(url: str) -> tuple[ServerStore, Link]:
    """Return a store whose log has ``EVENTS`` rows, and a connection."""
    store = open_mysql_blocking(url + "?timeout=20", pepper=bytes(32))
    link = store.backend.links.connect(20, 20)
    rows = f"SELECT seq, 0, 0, '', '' FROM seq_1_to_{EVENTS}"
    link.ask(Packet([f"INSERT INTO {PREFIX}events {rows}", f"UPDATE {PREFIX}event_log SET place = {EVENTS}"]), 20)
    return store, link


def trim(link: Link, keep: int, before_each: Callable[[Packet], None] = lambda step: None) -> int:
    def ask(step: Packet) -> Any:
        before_each(step)
        return link.ask(step, 20)

    return drive_now(trimming_events(PREFIX, keep), ask)


def test_who_trims_slowly_does_not_take_back_what_followers_are_told(mariadb_url: str) -> None:
    store, link = filled(mariadb_url)

    def overtaken(step: Packet) -> None:
        if step.lasts:
            assert store.trim_events_now(EVENTS - 20) == 20

    assert trim(link, EVENTS - 10, overtaken) == 0
    read = store.read_events_now((5, 0), 1)
    assert (read.trimmed, read.last) == ((20, 0), (21, 0))
    link.close()
    store.close_now()


def test_looking_for_old_events_does_not_count_the_log(mariadb_url: str) -> None:
    store, link = filled(mariadb_url)
    read = [0]

    def rows_read() -> int:
        (rows,) = link.ask(Packet(["SHOW SESSION STATUS LIKE 'Handler_read%'"]), 20)
        return sum(int(count) for _, count in rows)

    def look(step: Packet) -> None:
        read.append(rows_read())

    assert trim(link, 10, look) == TRIMMED_AT_ONCE
    _, first, second, *_ = read
    assert second - first < 100
    assert trim(link, 10) == EVENTS - TRIMMED_AT_ONCE - 10
    assert trim(link, 10) == 0
    link.close()
    store.close_now()
