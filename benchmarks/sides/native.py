"""Measure the native API, `SessionTokens` and `AsyncSessionTokens`, in memory or on a SQLite file.

The garbage collector stays on, and secrets are checked and hashed as in an application.
Arguments are strings made anew, equal to the real ones, as they would arrive with a request.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.sides.names import VALUE, owner_name, picks
from benchmarks.sides.serving import Stopwatch, serve
from session_tokens import AsyncSessionTokens, SessionTokens, Settings

DAY_S = 24 * 60 * 60
TOKENS_TO_END = 10
TRANSFERABLES_MAX = 10_000
PAGE = 10
OPENED_AT_ONCE = 1_000


class Measured:
    """A store with a population that stays the same from one operation to the next."""

    def __init__(self, url: str, idle_timeout: float | None, sweep: bool) -> None:
        self.url = url
        self.settings = Settings(max_age=DAY_S, idle_timeout=idle_timeout)
        self.sweep = sweep
        self.st = SessionTokens.open(url, settings=self.settings, sweep=sweep)
        self.secrets: list[str] = []
        self.token_secrets: list[str] = []
        self.session_ids: list[str] = []
        self.next_number = 0
        self.holders: list[list[Any]] = []
        self.turn = 0
        self.mark = ""

    def prepare(self, sessions: int, tokens: bool = True, transferables: bool = True) -> dict[str, Any]:
        """Open the population, one bound token each if wanted, and some transferable tokens to hand around."""
        to_hand_around = min(sessions, TRANSFERABLES_MAX) if transferables else 0
        if self.url.startswith("memory:"):
            for number in range(sessions):
                issued = self.st.open_session(owner_name(number), data={"visits": 0})
                self.secrets.append(issued.secret)
                self.session_ids.append(issued.record.id)
                if tokens:
                    self.token_secrets.append(self.st.issue_token(issued.record.id, VALUE).secret)
            for number in range(to_hand_around):
                issued = self.st.issue_token(self.session_ids[number], VALUE, transferable=True)
                self.holders.append([issued.record.id, number])
        else:
            asyncio.run(self._prepare_at_once(sessions, tokens, to_hand_around))
        self.next_number = sessions
        session = self.st.verify_session(self.secrets[-1])
        assert session is not None and session.owner == owner_name(sessions - 1)
        return {"sessions": len(self.secrets)}

    async def _prepare_at_once(self, sessions: int, tokens: bool, to_hand_around: int) -> None:
        """Do the same with many tasks, which share commits: one after the other, a million would take an hour."""
        async with await AsyncSessionTokens.open(self.url, settings=self.settings, sweep=False) as st:

            async def open_one(number: int) -> tuple[str, str, str, str]:
                issued = await st.open_session(owner_name(number), data={"visits": 0})
                session_id = issued.record.id
                token = (await st.issue_token(session_id, VALUE)).secret if tokens else ""
                if number >= to_hand_around:
                    return issued.secret, session_id, token, ""
                return issued.secret, session_id, token, (await st.issue_token(session_id, VALUE, transferable=True)).id

            for first in range(0, sessions, OPENED_AT_ONCE):
                numbers = range(first, min(sessions, first + OPENED_AT_ONCE))
                opened = await asyncio.gather(*map(open_one, numbers))
                for number, (secret, session_id, token, handed) in zip(numbers, opened, strict=True):
                    self.secrets.append(secret)
                    self.session_ids.append(session_id)
                    if tokens:
                        self.token_secrets.append(token)
                    if handed:
                        self.holders.append([handed, number])

    def time_operation(self, operation: str, count: int, **more: Any) -> dict[str, Any]:
        """Time one operation `count` times."""
        return dict(getattr(self, f"_{operation}")(count, **more))

    def _verify_session(
        self, count: int, touch: bool = True, hot: int | None = None, commit_every: int | None = None
    ) -> dict[str, Any]:
        """Verify at random; `commit_every` changes the store, untimed, after so many, so that no cache stays whole."""
        among = len(self.secrets) if hot is None else min(hot, len(self.secrets))
        asked = [(_anew(self.secrets[number]), owner_name(number)) for number in picks(count, among)]
        verify_session = self.st.verify_session
        right, watch = 0, Stopwatch(running=False)
        stretch = commit_every or count
        for first in range(0, count, stretch):
            if commit_every is not None:
                self.st.update_session_data(self.session_ids[first % len(self.session_ids)], {"visits": first})
            watch.start()
            for secret, owner in asked[first : first + stretch]:
                session = verify_session(secret, touch=touch)
                if session is not None and session.owner == owner:
                    right += 1
            watch.stop()
        return watch.answer(count, right)

    def _verify_token(self, count: int) -> dict[str, Any]:
        asked = [(_anew(self.token_secrets[number]), owner_name(number)) for number in picks(count, len(self.secrets))]
        verify_token = self.st.verify_token
        right = 0
        watch = Stopwatch()
        for secret, owner in asked:
            token = verify_token(secret)
            if token is not None and token.owner == owner:
                right += 1
        return watch.answer(count, right)

    def _refuse_session(self, count: int) -> dict[str, Any]:
        """Verify secrets of the right form whose sessions have ended: what an attacker or a stale cookie costs."""
        ended = []
        for number in range(self.next_number, self.next_number + count):
            issued = self.st.open_session(owner_name(number))
            self.st.destroy_session(issued.record.id)
            ended.append(issued.secret)
        self.next_number += count
        verify_session = self.st.verify_session
        right = 0
        watch = Stopwatch()
        for secret in ended:
            if verify_session(secret) is None:
                right += 1
        return watch.answer(count, right)

    def _open_session(self, count: int) -> dict[str, Any]:
        owners = [owner_name(number) for number in range(self.next_number, self.next_number + count)]
        self.next_number += count
        open_session = self.st.open_session
        watch = Stopwatch()
        issued = [open_session(owner) for owner in owners]
        watch.stop()
        right = 0
        for opened, owner in zip(issued, owners, strict=True):
            session = self.st.verify_session(opened.secret)
            right += session is not None and session.owner == owner
            self.st.destroy_session(opened.record.id)
        return watch.answer(count, right)

    def _issue_token(self, count: int) -> dict[str, Any]:
        asked = [self.session_ids[number] for number in picks(count, len(self.session_ids))]
        issue_token = self.st.issue_token
        watch = Stopwatch()
        issued = [issue_token(session_id, VALUE) for session_id in asked]
        watch.stop()
        right = 0
        for made, session_id in zip(issued, asked, strict=True):
            token = self.st.verify_token(made.secret)
            right += token is not None and token.session_id == session_id
            self.st.destroy_token(made.record.id)
        return watch.answer(count, right)

    def _transfer_token(self, count: int) -> dict[str, Any]:
        asked = []
        for turn in range(count):
            holder = self.holders[turn % len(self.holders)]
            receiver = (holder[1] + 7919) % len(self.secrets)
            asked.append((_anew(holder[0]), owner_name(holder[1]), owner_name(receiver)))
            holder[1] = receiver
        transfer_token = self.st.transfer_token
        watch = Stopwatch()
        issued = [transfer_token(token_id, giver=giver, receiver=taker) for token_id, giver, taker in asked]
        watch.stop()
        last = list(zip(issued, asked, strict=True))[-len(self.holders) :]
        right = 0
        for made, (_, _, taker) in last:
            token = self.st.verify_token(made.secret)
            right += token is not None and token.owner == taker
        return watch.answer(count, right, len(last))

    def _destroy_session(self, count: int) -> dict[str, Any]:
        opened = []
        for number in range(self.next_number, self.next_number + count):
            issued = self.st.open_session(owner_name(number))
            tokens = [self.st.issue_token(issued.record.id, VALUE).secret for _ in range(TOKENS_TO_END)]
            opened.append((issued.record.id, issued.secret, tokens))
        self.next_number += count
        destroy_session = self.st.destroy_session
        watch = Stopwatch()
        for session_id, _, _ in opened:
            destroy_session(session_id)
        watch.stop()
        right = 0
        for _, secret, tokens in opened:
            right += self.st.verify_session(secret) is None and not any(map(self.st.verify_token, tokens))
        return watch.answer(count, right)

    def _list_sessions(self, count: int) -> dict[str, Any]:
        """List the first page of all sessions, each time after one was opened and ended."""
        watch, right = Stopwatch(running=False), 0
        for number in range(self.next_number, self.next_number + count):
            self.st.destroy_session(self.st.open_session(owner_name(number)).record.id)
            watch.start()
            page = self.st.list_sessions(limit=PAGE)
            watch.stop()
            right += len(page.items) == min(PAGE, len(self.secrets))
        self.next_number += count
        return watch.answer(count, right)

    def write(self, writers: int, commands: int, how: str, change: str = "update_session_data") -> dict[str, Any]:
        """Let `writers` threads or tasks each change things of their own `commands` times, all at once."""
        before = [self._visits(number) for number in range(writers)]
        self.turn += 1
        self.mark = f"written in turn {self.turn}"
        if how == "threads":
            watch = self._write_on_threads(writers, commands, change)
        else:
            watch = asyncio.run(self._write_in_tasks(writers, commands, change))
        if change == "update_session_data":
            right = sum(self._visits(number) - before[number] for number in range(writers))
        else:
            right = self._marked(writers)
        return watch.answer(writers * commands, right)

    def _write_on_threads(self, writers: int, commands: int, change: str) -> Stopwatch:
        ready, failures = threading.Barrier(writers + 1), []
        visits = [self._visits(number) for number in range(writers)]

        def write_own(number: int) -> None:
            ready.wait()
            try:
                for turn in range(commands):
                    if change == "update_session_data":
                        self.st.update_session_data(self.session_ids[number], {"visits": visits[number] + turn + 1})
                    else:
                        self.st.issue_token(self.session_ids[number], self.mark)
            except Exception as failure:
                failures.append(repr(failure))

        threads = [threading.Thread(target=write_own, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
        ready.wait()
        watch = Stopwatch()
        for thread in threads:
            thread.join()
        watch.stop()
        if failures:
            raise RuntimeError(f"{len(failures)} writers failed, the first with {failures[0]}")
        return watch

    async def _write_in_tasks(self, writers: int, commands: int, change: str) -> Stopwatch:
        visits = [self._visits(number) for number in range(writers)]
        async with await AsyncSessionTokens.open(self.url, settings=self.settings, sweep=False) as st:

            async def write_own(number: int) -> None:
                for turn in range(commands):
                    if change == "update_session_data":
                        await st.update_session_data(self.session_ids[number], {"visits": visits[number] + turn + 1})
                    else:
                        await st.issue_token(self.session_ids[number], self.mark)

            watch = Stopwatch()
            await asyncio.gather(*(write_own(number) for number in range(writers)))
            watch.stop()
        return watch

    def _visits(self, number: int) -> int:
        session = self.st.get_session(self.session_ids[number])
        assert session is not None
        return int(session.data["visits"])  # type: ignore[arg-type]  # a JSON value; these sessions hold a number

    def _marked(self, writers: int) -> int:
        """Count the tokens that carry the mark of this turn."""
        pages = (self.st.list_tokens(session=self.session_ids[number], limit=500) for number in range(writers))
        return sum(token.value == self.mark for page in pages for token in page.items)

    def idle(self, window_s: float) -> dict[str, Any]:
        """Take the processor time and the commits of the store over a fixed time of doing nothing."""
        watcher = sqlite3.connect(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:") else None
        commits_before = watcher.execute("PRAGMA data_version").fetchone()[0] if watcher else 0
        cpu_before, window_start = time.process_time(), time.perf_counter()
        time.sleep(window_s)
        cpu_s, window = time.process_time() - cpu_before, time.perf_counter() - window_start
        wrote = bool(watcher and watcher.execute("PRAGMA data_version").fetchone()[0] != commits_before)
        alive = sum(
            self.st.verify_session(self.secrets[number], touch=False) is not None
            for number in picks(100, len(self.secrets))
        )
        return {"window_s": window, "cpu_s": cpu_s, "alive": alive, "asked": 100, "wrote": wrote}

    def describe(self) -> dict[str, Any]:
        """Tell the journal mode of the file (`synchronous` belongs to a connection and cannot be seen from here)."""
        if not self.url.startswith("sqlite:"):
            return {}
        path = Path(self.url.removeprefix("sqlite:///"))
        with sqlite3.connect(path) as looking:
            return {"journal": looking.execute("PRAGMA journal_mode").fetchone()[0], "bytes": path.stat().st_size}


def _anew(text: str) -> str:
    """Make an equal string that is not the same object."""
    return "".join([text[:1], text[1:]])


if __name__ == "__main__":
    url, idle_timeout, sweep = sys.argv[1], sys.argv[2], sys.argv[3]
    measured = Measured(url, None if idle_timeout == "none" else float(idle_timeout), sweep == "sweep")
    serve(
        {
            "prepare": measured.prepare,
            "time_operation": measured.time_operation,
            "write": measured.write,
            "idle": measured.idle,
            "describe": measured.describe,
        }
    )
