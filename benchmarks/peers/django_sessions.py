"""Measure Django's `db` session backend on a SQLite file, driven like every other side.

A session holds what a log-in leaves there at the least, the user's id, and one number that the writers change.
`load` is what every request with a session costs: one SELECT through the ORM and the check of the signed data.
The journal mode is the file's as Django makes it ("delete") or WAL; `synchronous=FULL` in both, so that a commit that
was answered is on the disk, as on the side of session-tokens.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction

from benchmarks.sides.names import owner_name, picks
from benchmarks.sides.serving import Stopwatch, serve

JOURNAL, DATABASE = sys.argv[1], sys.argv[2]

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATABASE,
            "OPTIONS": {
                "timeout": 60,
                "init_command": f"PRAGMA journal_mode={JOURNAL}; PRAGMA synchronous=FULL;",
            },
        }
    },
    INSTALLED_APPS=["django.contrib.sessions"],
    SECRET_KEY="only for this benchmark",
    SESSION_ENGINE="django.contrib.sessions.backends.db",
    USE_TZ=True,
)
django.setup()

from django.contrib.sessions.backends.db import SessionStore  # noqa: E402  (Django must be set up first)

keys: list[str] = []


def prepare(sessions: int) -> dict[str, Any]:
    """Make the table and so many sessions."""
    call_command("migrate", verbosity=0)
    with transaction.atomic():
        for number in range(sessions):
            session = SessionStore()
            session["user_id"] = owner_name(number)
            session["visits"] = 0
            session.create()
            keys.append(str(session.session_key))
    return {"sessions": len(keys)}


def verify(count: int) -> dict[str, Any]:
    """Load `count` sessions on one thread, checking whose they are."""
    asked = [("".join(keys[number]), owner_name(number)) for number in picks(count, len(keys))]
    right = 0
    watch = Stopwatch()
    for key, owner in asked:
        if SessionStore(key).load().get("user_id") == owner:
            right += 1
    return watch.answer(count, right)


def write(writers: int, commands: int, how: str = "threads") -> dict[str, Any]:
    """Let each of `writers` threads load, change and save its own session `commands` times."""
    ready, failures = threading.Barrier(writers + 1), []
    before = [_visits(number) for number in range(writers)]

    def change(number: int) -> None:
        connection.ensure_connection()
        ready.wait()
        try:
            for _ in range(commands):
                session = SessionStore(keys[number])
                session["visits"] += 1
                session.save()
        except Exception as failure:
            failures.append(repr(failure))
        finally:
            connection.close()

    threads = [threading.Thread(target=change, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    ready.wait()
    watch = Stopwatch()
    for thread in threads:
        thread.join()
    watch.stop()
    if failures:
        raise RuntimeError(f"{len(failures)} writers failed, the first with {failures[0]}")
    right = sum(_visits(number) - before[number] for number in range(writers))
    return watch.answer(writers * commands, right)


def describe() -> dict[str, Any]:
    """Tell what the connection really uses, and the versions."""
    with connection.cursor() as cursor:
        journal = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
    return {
        "django": django.get_version(),
        "sqlite": sqlite3.sqlite_version,
        "journal": journal,
        "synchronous": synchronous,
    }


def _visits(number: int) -> int:
    return int(SessionStore(keys[number]).load()["visits"])


if __name__ == "__main__":
    serve({"prepare": prepare, "verify": verify, "write": write, "describe": describe})
