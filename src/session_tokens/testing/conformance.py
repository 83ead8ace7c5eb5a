'''The suite that every store passes, for authors of stores. This page is also how to write one.

A store keeps records and commits change sets; it knows stamps, not rules (``session_tokens.contract.store``). The
shortest way to one is ``BlockingOptimisticStore``, or ``OptimisticStore`` where it waits on an event loop: you answer
questions and commit if nothing moved, the base class does the rest. Here is a whole store. It is small because it has
one stamp for everything, a number that grows with each commit, and looks through all it has for each answer: right, and
slow. A store for many users has a stamp for each record and each index, and indexes::

    import threading
    from session_tokens.contract.event_log import EventLog
    from session_tokens.contract.changes import owner_of_living, parked_owner
    from session_tokens.errors import StoreUnavailable
    from session_tokens.events import Listeners
    from session_tokens.crypto.minting import PlainKeyring
    from session_tokens.contract.optimistic import BlockingOptimisticStore
    from session_tokens.contract.unreadable import Unreadables
    from session_tokens.contract.queries import *

    KINDS = ("sessions", "tokens", "entries", "outcomes", "settings", "keys")

    class TinyStore(BlockingOptimisticStore):
        """Keeps all records in dictionaries, by id."""

        durable = False
        keeps_events = True                                          # in the commit that they describe

        def __init__(self, clock):
            self.clock, self.keyring, self.listeners = clock, PlainKeyring(), Listeners()
            self.unreadables, self.log = Unreadables(), EventLog()
            self.kept = {kind: {} for kind in KINDS}
            self.number, self.closed, self.lock = 0, False, threading.Lock()

        def read_now(self, queries):
            with self.lock:
                self.check_open()
                found = [Result(self.answer(query), [("all", self.number)]) for query in queries]
                return Snapshot(self.clock.now(), found)

        def commit_now(self, commit):
            with self.lock:
                self.check_open()
                if any(stamp != self.number for stamp in commit.stamps.values()):
                    return False                                     # it moved: the rule will be run again
                if self.clock.now() >= commit.not_after:
                    return False                                     # what it judged alive is over by now
                self.number += 1
                changes = commit.changes
                for kind, pairs in (("sessions", changes.sessions), ("tokens", changes.tokens), ("keys", changes.keys)):
                    for old, new in pairs:
                        self.put(kind, (new or old).id, new)
                for old, entry in changes.entries:
                    self.put("entries", (entry or old).owner, entry)
                for record in changes.idempotency:
                    self.put("outcomes", record.key, record)
                for key in changes.forgotten:
                    self.put("outcomes", key, None)
                for name, text in changes.settings:
                    self.put("settings", name, text)
                self.log.append(changes.events, commit.now)
                return True

        def put(self, kind, id, record):
            if record is None:
                self.kept[kind].pop(id, None)
            else:
                self.kept[kind][id] = record

        def all(self, kind, test, after=None, limit=None, newest=False):
            place = lambda record: (record.created_at, record.id)    # the order of every list, or turned round
            records = sorted(filter(test, self.kept[kind].values()), key=place, reverse=newest)
            follows = lambda record: place(record) < after if newest else place(record) > after
            return [record for record in records if after is None or follows(record)][:limit]

        def with_entry(self, session):
            return NO_SESSION if session is None else SessionResult(session, self.kept["entries"].get(session.owner))

        def with_session(self, token):
            if token is None:
                return NO_TOKEN
            session, entry = self.with_entry(self.kept["sessions"].get(token.session_id))
            successor = None if session is None else session.details.successor
            return TokenResult(token, session, entry, self.kept["sessions"].get(successor))

        def answer(self, query):
            keys = lambda: (query.key, *query.others)                    # of a secret: one for each live pepper
            first = lambda kind: next(iter(self.all(kind, lambda record: record.lookup in keys())), None)
            match query:
                case Get("session", id):
                    return self.with_entry(self.kept["sessions"].get(id))
                case Get("session_lookup"):
                    return self.with_entry(first("sessions"))
                case Members("sessions_of", owner, limit, newest):
                    sessions = self.all("sessions", lambda session: owner_of_living(session) == owner)
                    return sessions if limit is None else sessions[-limit:] if newest else sessions[:limit]
                case Count("sessions_of", owner):
                    return len(self.all("sessions", lambda session: owner_of_living(session) == owner))
                case Members("predecessors_of", session_id):
                    return self.all("sessions", lambda session: session.details.successor == session_id)
                case Get("entry", owner):
                    return self.kept["entries"].get(owner)
                case Get("token", id):
                    return self.with_session(self.kept["tokens"].get(id))
                case Get("token_lookup"):
                    return self.with_session(first("tokens"))
                case Members("tokens_of", session_id, limit):
                    return self.all("tokens", lambda token: token.session_id == session_id, limit=limit)
                case Members("transferables_of", session_id, limit):
                    moving = lambda token: token.session_id == session_id and token.is_transferable
                    return self.all("tokens", moving, limit=limit)
                case Count("tokens_of", session_id):
                    return len(self.all("tokens", lambda token: token.session_id == session_id))
                case Count("transferables_of", session_id):
                    moving = lambda token: token.session_id == session_id and token.is_transferable
                    return len(self.all("tokens", moving))
                case Members("parked_tokens", owner, limit):
                    return self.all("tokens", lambda token: parked_owner(token) == owner, limit=limit)
                case Get("idempotency", key):
                    return self.kept["outcomes"].get(key)
                case Get("setting", name):
                    return self.kept["settings"].get(name)
                case Get("key_lookup"):
                    return first("keys")
                case Get("key", id):
                    return self.kept["keys"].get(id)
                case Scan("keys"):
                    return self.all("keys", lambda key: True)
                case Scan("peppers"):                                # of records that outlive the process
                    return []
                case Scan("sessions", after, limit, newest=newest):   # the filters are hints: more is never wrong
                    living = lambda session: session.ended_at is None
                    return [self.with_entry(session) for session in self.all("sessions", living, after, limit, newest)]
                case Scan("waiting", after, limit, tag=tag):        # in an order of its own
                    place = lambda found: (found.token.unassigned_at, found.token.id)
                    waiting = lambda token: token.is_unassigned and tag in (None, token.tag)
                    found = sorted(map(self.with_session, self.all("tokens", waiting)), key=place)
                    return [each for each in found if after is None or place(each) > after][:limit]
                case Scan("due", _, limit):
                    due = [each for each in self.kept["sessions"].values() if each.sweep_at <= self.clock.now()]
                    return [self.with_entry(each) for each in sorted(due, key=lambda due: due.sweep_at)[:limit]]
                case Scan("tokens", after, limit, newest=newest):
                    found = self.all("tokens", lambda token: True, after, limit, newest)
                    return [self.with_session(token) for token in found]

        def due_now(self, now, limit):
            with self.lock:
                self.check_open()
                kept = self.kept
                due = [(session.sweep_at, DueRecord("session", session.id)) for session in kept["sessions"].values()]
                due += [(token.deadline, DueRecord("token", token.id)) for token in kept["tokens"].values()]
                due += [(one.expires_at, DueRecord("idempotency", key)) for key, one in kept["outcomes"].items()]
                return [key for at, key in sorted(due) if at <= now][:limit]

        def read_events_now(self, after, limit):
            return self.log.read(after, limit)

        def trim_events_now(self, keep):
            return self.log.trim(keep)

        def rewrite_events_now(self, change):
            return self.log.rewrite(change)

        def dump_now(self, kind, after, limit):                      # all records of a kind, in some order
            name = {"session": "sessions", "token": "tokens", "owner": "entries", "idempotency": "outcomes"}[kind]
            with self.lock:
                keys = sorted(key for key in self.kept[name] if key > after)
                following = keys[limit - 1] if len(keys) > limit else None
                return [self.kept[name][key] for key in keys[:limit]], following

        def close_now(self):
            self.closed = True

        def check_open(self):
            if self.closed:
                raise StoreUnavailable("the store is closed; open it again")

And its tests, all of them::

    from session_tokens.testing.conformance import BlockingStoreConformance

    class TestTinyStore(BlockingStoreConformance):
        opens_again = False                                          # its records live and die with the object

        def open_store_now(self):
            return TinyStore(self.clock)

Run them with pytest, which shows what was compared when your ``conftest.py`` names the suite, before anything of it is
imported: ``pytest.register_assert_rewrite("session_tokens.testing")``. unittest runs them too, when
``unittest.TestCase`` is another base of the class.

The suite never asks which store it has. An embedded store takes ``self.clock``, a clock that the suite moves. A server
keeps its own time: say ``clock_is_manual = False``, and the few checks that must wait do wait, half a second each.
A store that outlives its process is damaged from outside by ``damage`` and ``damage_all``, which you write: what cannot
be read must stop nothing but itself.
'''

from __future__ import annotations

from .checks.care import CloseChecks, DueChecks
from .checks.events import EventChecks
from .checks.late import LateChecks
from .checks.listings import IndexChecks
from .checks.log_in import LogInChecks
from .checks.moving import EndingChecks, MovingChecks
from .checks.passing import PassingChecks
from .checks.queries import OtherQueryChecks, SessionQueryChecks, TokenQueryChecks
from .checks.races import RaceChecks
from .checks.rotation import RotationChecks
from .checks.sessions import SessionChecks
from .checks.threads import ThreadChecks
from .checks.tokens import TokenChecks
from .checks.transactions import IsolationChecks
from .checks.unreadable import UnreadableChecks

__all__ = ["BlockingStoreConformance", "StoreConformance"]


class StoreConformance(
    SessionQueryChecks,
    TokenQueryChecks,
    OtherQueryChecks,
    IsolationChecks,
    LateChecks,
    DueChecks,
    CloseChecks,
    IndexChecks,
    UnreadableChecks,
    SessionChecks,
    RotationChecks,
    LogInChecks,
    TokenChecks,
    MovingChecks,
    EndingChecks,
    RaceChecks,
    PassingChecks,
    EventChecks,
):
    """All checks of a store that is awaited; subclass it and write ``open_store``."""


class BlockingStoreConformance(StoreConformance, ThreadChecks):
    """All checks of a store with plain methods; subclass it and write ``open_store_now``.

    A store with two shells, one for asyncio and one for threads, writes ``open_store`` too.
    """
