"""kill -9 of those who change a store and of those who follow it: each committed change is told, at least once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from session_tokens import Event, SessionTokens, Settings
from tests.helpers.effort import times

FOLDER = Path(__file__).parent
CYCLES = times(2, proving=20)
PEPPER = bytes(range(32))
LINES_MAX = 120


@contextmanager
def running(program: str, url: str, errors: Path) -> Iterator[Callable[[int], list[Any]]]:
    """Run a program; give a function that waits for so many lines, kills it, and answers all that it told."""
    with errors.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(FOLDER / program), url], stdout=subprocess.PIPE, stderr=log, bufsize=0
        )
    assert process.stdout is not None
    output = process.stdout.fileno()

    def killed_after(lines: int) -> list[Any]:
        received = b""
        while received.count(b"\n") < lines:
            more = os.read(output, 65_536)
            assert more, f"{program} ended by itself: {errors.read_text()}"
            received += more
        process.send_signal(signal.SIGKILL)
        while more := os.read(output, 65_536):
            received += more
        return [json.loads(line) for line in received.splitlines(keepends=True) if line.endswith(b"\n")]

    try:
        yield killed_after
    finally:
        process.kill()
        process.stdout.close()
        process.wait(60)


def whole_log(tokens: SessionTokens) -> list[Event]:
    events: list[Event] = []
    after: str | None = None
    while True:
        page = tokens.events(after=after, limit=500)
        events += page.items
        if page.after is None:
            return events
        after = page.after


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "valkey", "mariadb"])
@pytest.mark.process
def test_whoever_is_killed_each_committed_change_is_told_once_in_its_order(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}" if kind == "sqlite" else request.getfixturevalue(f"{kind}_url")
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    acknowledged: Counter[tuple[str, str]] = Counter()
    taken: list[dict[str, Any]] = []
    settings = Settings(max_sessions=None, events="durable")
    with SessionTokens.open(url, pepper=PEPPER, settings=settings, sweep=False) as tokens:
        for _ in range(CYCLES):
            with (
                running("changing.py", url, tmp_path / "errors") as one,
                running("changing.py", url, tmp_path / "errors") as another,
                running("following.py", url, tmp_path / "errors") as follower,
            ):
                taken += follower(chance.randint(1, LINES_MAX))  # while the others go on
                for killed_after in (one, another):
                    acknowledged.update((kind, id) for kind, id in killed_after(chance.randint(1, LINES_MAX)))
        log, living = _standing(tokens)
        with tokens.follow_events(name="crash") as rest:
            taken += _caught_up(rest, log)

    told = Counter((event.kind, event.subject_id) for event in log)
    assert max(told.values()) == 1, f"seed {seed}: a change is told twice"
    assert acknowledged.keys() - told.keys() == set(), f"seed {seed}: a change was acknowledged and is not told"
    opened = {id for kind, id in told if kind == "session_opened"}
    ended = {id for kind, id in told if kind == "session_ended"}
    assert opened - ended == living, f"seed {seed}: what is told and what is there differ"
    by_id = {event.id: event.to_dict() for event in log}
    assert len(by_id) == len(log)
    assert all(by_id[event["id"]] == event for event in taken), f"seed {seed}: an id tells of two events"
    first_taken = list(dict.fromkeys(event["id"] for event in taken))
    assert sorted(first_taken) == [event.id for event in log], f"seed {seed}: an event was never taken"
    for id in ended:
        kinds = [by_id[each]["kind"] for each in first_taken if by_id[each]["subject_id"] == id]
        assert kinds in (
            ["session_opened", "session_rotated", "session_ended"], ["session_opened", "session_ended"],
        ), f"seed {seed}"  # fmt: skip


def _standing(tokens: SessionTokens) -> tuple[list[Event], set[str]]:
    """Return the whole log and the ids of living sessions, once servers have done what the killed had sent them."""
    log = whole_log(tokens)
    while True:
        living = {session.id for session in _all_sessions(tokens)}
        after = whole_log(tokens)
        if after == log:
            return log, living
        log = after


def _caught_up(follower: Iterator[Event], log: list[Event]) -> list[dict[str, Any]]:
    """Answer what the follower takes up to the last event of the log."""
    taken: list[dict[str, Any]] = []
    for event in follower:
        taken.append(event.to_dict())
        if event.id == log[-1].id:
            return taken
    return taken


def _all_sessions(tokens: SessionTokens) -> list[Any]:
    sessions: list[Any] = []
    after: str | None = None
    while True:
        page = tokens.list_sessions(after=after, limit=500)
        sessions += page.items
        if page.after is None:
            return sessions
        after = page.after
