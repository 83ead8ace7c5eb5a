"""Measure `TokenTables`, the seed's names, in memory or on a SQLite file: the side that stands against the npm package.

Every loop does what the same loop of `peers/npm_tokens.cjs` does. The garbage collector stays on, as in an application.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from typing import Any

from benchmarks.sides.names import DAY_MS, VALUE, owner_name, picks, session_name, token_name
from benchmarks.sides.serving import Stopwatch, count_right, rss_bytes, serve
from session_tokens import TokenTables

TOKENS_TO_END = 10
TRANSFERABLES_MAX = 10_000


class Measured:
    """Tables with a population that stays the same from one operation to the next."""

    def __init__(self, url: str | None) -> None:
        self.tables = TokenTables.open(url) if url else TokenTables()
        self.tables.set_general_session_timeout(DAY_MS)
        self.population = 0
        self.next_number = 0
        self.holders: list[list[int]] = []

    def prepare(self, sessions: int) -> dict[str, Any]:
        """Open the population, one bound token each, and some transferable tokens to hand around."""
        self.population = self.next_number = sessions
        for number in range(sessions):
            self.tables.add_session(session_name(number), owner_name(number), token_name(number))
        for number in range(min(sessions, TRANSFERABLES_MAX)):
            self.tables.add_transferable_token(token_name(sessions + number), VALUE, owner_name(number))
            self.holders.append([sessions + number, number])
        last = sessions - 1
        assert self.tables.active_session(session_name(last), owner_name(last)) is True
        return {"sessions": sessions}

    def time_operation(self, operation: str, count: int, hot: int | None = None) -> dict[str, Any]:
        """Time one operation `count` times; `hot` limits the reads to the first so many sessions."""
        measure = getattr(self, f"_{operation}")
        if hot is None:
            return dict(measure(count))
        whole, self.population = self.population, min(hot, self.population)
        try:
            return dict(measure(count))
        finally:
            self.population = whole

    def _active_session(self, count: int) -> dict[str, Any]:
        asked = [(session_name(number), owner_name(number)) for number in picks(count, self.population)]
        active_session = self.tables.active_session
        right = 0
        watch = Stopwatch()
        for session, owner in asked:
            if active_session(session, owner):
                right += 1
        return watch.answer(count, right)

    def _transition_token_is_active(self, count: int) -> dict[str, Any]:
        asked = [token_name(number) for number in picks(count, self.population)]
        transition_token_is_active = self.tables.transition_token_is_active
        right = 0
        watch = Stopwatch()
        for token in asked:
            if transition_token_is_active(token) is not None:
                right += 1
        return watch.answer(count, right)

    def _from_token(self, count: int) -> dict[str, Any]:
        asked = [(token_name(number), owner_name(number)) for number in picks(count, self.population)]
        from_token = self.tables.from_token
        right = 0
        watch = Stopwatch()
        for token, owner in asked:
            if from_token(token) == owner:
                right += 1
        return watch.answer(count, right)

    def _add_session(self, count: int) -> dict[str, Any]:
        numbers = range(self.next_number, self.next_number + count)
        asked = [(session_name(n), owner_name(n), token_name(f"added/{n}")) for n in numbers]
        add_session = self.tables.add_session
        watch = Stopwatch()
        for session, owner, token in asked:
            add_session(session, owner, token)
        watch.stop()
        right = 0
        for session, owner, token in asked:
            if self.tables.active_session(session, owner) and self.tables.from_token(token) == owner:
                right += 1
            self.tables.destroy_session(token)
        self.next_number += count
        return watch.answer(count, right)

    def _transfer_token(self, count: int) -> dict[str, Any]:
        asked = []
        for turn in range(count):
            holder = self.holders[turn % len(self.holders)]
            receiver = (holder[1] + 7919) % self.population
            asked.append((token_name(holder[0]), owner_name(holder[1]), owner_name(receiver)))
            holder[1] = receiver
        transfer_token = self.tables.transfer_token
        watch = Stopwatch()
        for token, giver, receiver_name in asked:
            transfer_token(token, giver, receiver_name)
        watch.stop()
        last = asked[-len(self.holders) :]
        right = sum(
            self.tables.from_token(token) == receiver_name and bool(self.tables.token_is_transferable(token))
            for token, _, receiver_name in last
        )
        return watch.answer(count, right, len(last))

    def _destroy_session(self, count: int) -> dict[str, Any]:
        asked = []
        for number in range(self.next_number, self.next_number + count):
            session, owner = session_name(number), owner_name(number)
            tokens = [token_name(f"{number}/{k}") for k in range(TOKENS_TO_END)]
            self.tables.add_session(session, owner, tokens[0])
            for token in tokens[1:]:
                self.tables.add_session_bounded_token(token, VALUE, owner)
            asked.append((token_name(f"{number}/0"), session, owner, tokens))
        destroy_session = self.tables.destroy_session
        watch = Stopwatch()
        for first_token, *_ in asked:
            destroy_session(first_token)
        watch.stop()
        right = 0
        for _, session, owner, tokens in asked:
            tokens_gone = all(self.tables.from_token(token) == "" for token in tokens)
            right += tokens_gone and not self.tables.active_session(session, owner)
        self.next_number += count
        return watch.answer(count, right)


class RawDict:
    """A plain dict asked in the same random order: what the machine's memory alone costs as a population grows."""

    def __init__(self) -> None:
        self.owner_of: dict[str, tuple[str]] = {}

    def prepare(self, sessions: int) -> dict[str, Any]:
        """Fill the dict with one small tuple for each session."""
        self.owner_of = {session_name(number): (owner_name(number),) for number in range(sessions)}
        return {"sessions": len(self.owner_of)}

    def look_up(self, count: int) -> dict[str, Any]:
        """Look up `count` sessions and read what was found."""
        numbers = picks(count, len(self.owner_of))
        asked = [(session_name(number),) for number in numbers]
        return count_right(lambda name: self.owner_of[name][0], asked, [owner_name(number) for number in numbers])


def prepare_idle(sessions: int) -> dict[str, Any]:
    """Open so many sessions, each with the token it can be ended by, and leave them alone."""
    measured.tables.set_general_session_timeout(DAY_MS)
    measured.population = sessions
    for number in range(sessions):
        measured.tables.add_session(session_name(number), owner_name(number), token_name(number))
    return {"sessions": sessions}


def idle(window_s: float) -> dict[str, Any]:
    """One sweep by hand, then the processor time that this process takes over a fixed time of doing nothing."""
    start = time.perf_counter()
    measured.tables.decrement_timers()
    tick_s = time.perf_counter() - start
    cpu_before, window_start = time.process_time(), time.perf_counter()
    time.sleep(window_s)
    cpu_s, window = time.process_time() - cpu_before, time.perf_counter() - window_start
    asked = picks(1000, measured.population)
    alive = sum(measured.tables.active_session(session_name(n), owner_name(n)) is True for n in asked)
    return {"tick_s": tick_s, "window_s": window, "cpu_s": cpu_s, "alive": alive, "asked": len(asked)}


def footprint(sessions: int, tokens_per_session: int, kind: str, method: str) -> dict[str, Any]:
    """Measure bytes before, with sessions, with their further tokens; the key strings are made first and not counted.

    Args:
        kind: of the further tokens, "bound" or "transferable"; "bare" for sessions without a first token.
        method: "live" counts allocated bytes with tracemalloc, "rss" the resident memory of the process.
    """
    tables = measured.tables
    names = [(session_name(n), owner_name(n), None if kind == "bare" else token_name(n)) for n in range(sessions)]
    tokens = [token_name(f"{n}/{k}") for n in range(sessions) for k in range(tokens_per_session)]
    gc.collect()
    if method == "live":
        tracemalloc.start()
    read = _live_bytes if method == "live" else rss_bytes
    before = read()
    for session, owner, token in names:
        tables.add_session(session, owner, token)
    gc.collect()
    with_sessions = read()
    add = tables.add_transferable_token if kind == "transferable" else tables.add_session_bounded_token
    for place, further in enumerate(tokens):
        add(further, VALUE, names[place // tokens_per_session][1])
    gc.collect()
    with_tokens = read()
    tracemalloc.stop()
    right = sum(tables.active_session(session, owner) is True for session, owner, _ in names)
    right += sum(tables.from_token(further) != "" for further in tokens)
    return {
        "before": before,
        "with_sessions": with_sessions,
        "with_tokens": with_tokens,
        "right": right,
        "expected": sessions + len(tokens),
    }


def _live_bytes() -> int:
    return tracemalloc.get_traced_memory()[0]


measured = Measured(sys.argv[1] if len(sys.argv) > 1 else None)
raw = RawDict()

if __name__ == "__main__":
    serve(
        {
            "prepare": measured.prepare,
            "time_operation": measured.time_operation,
            "prepare_raw": raw.prepare,
            "look_up_raw": raw.look_up,
            "prepare_idle": prepare_idle,
            "idle": idle,
            "footprint": footprint,
        }
    )
