"""The commit function of PostgreSQL: every stamp counts, of what is there, of what is absent, and of sets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_tokens import SessionTokens, Settings
from session_tokens.contract.changes import Changes
from session_tokens.contract.optimistic import Commit
from session_tokens.contract.queries import Count, Get, Members, Query
from session_tokens.records import IdempotencyRecord, OwnerEntry, ServiceKey
from session_tokens.stores.postgres.commit import NAMES_MAX
from session_tokens.stores.postgres.store import (
    BlockingPostgresStore,
    PostgresStore,
    migrate_postgres,
    open_postgres,
    open_postgres_blocking,
)
from tests.helpers.servers.postgres import execute

PEPPER = bytes(range(32))
Change = Callable[[SessionTokens], Any]


@pytest.fixture
def tokens(postgres_url: str) -> Iterator[SessionTokens]:
    store = open_postgres_blocking(postgres_url, pepper=PEPPER)
    with SessionTokens(store, Settings(max_sessions=None, disownment_timeout=None)) as opened:
        yield opened


@pytest.fixture
def store(tokens: SessionTokens) -> BlockingPostgresStore:
    assert isinstance(tokens.store, BlockingPostgresStore)
    return tokens.store


def setting(name: str, text: str | None) -> Changes:
    changes = Changes()
    changes.others().settings.append((name, text))
    return changes


def put(store: BlockingPostgresStore, changes: Changes) -> None:
    """Write whatever is there already."""
    assert store.commit_now(Commit(changes, {}, 0))


class Scene:
    """Ann and bob with a session each, some tokens of ann's, and what another process may do meanwhile."""

    def __init__(self, tokens: SessionTokens, store: BlockingPostgresStore) -> None:
        self.tokens, self.store = tokens, store
        ann, self.bob = tokens.open_session("ann", detachable=True), tokens.open_session("bob")
        self.ann, self.ann_lookup = ann.session, str(ann.session.lookup)
        self.held = [tokens.issue_token(self.ann.id, n, transferable=True) for n in range(3)]
        self.bound = tokens.issue_token(self.ann.id, "bound").token
        self.parked = tokens.transfer_token(self.held.pop().id, giver="ann", receiver="carol").token
        self.token = self.held[0].token
        self.token_lookup = store.keyring.lookup(self.held[0].secret)
        key = Changes()
        key.others().keys.append((None, ServiceKey("key_1", "x:1", "verify", 1, None, None)))
        put(store, key)
        put(store, setting("there", "1"))
        known = Changes()
        known.others().idempotency.append(IdempotencyRecord("there", "r", "n", "k", True, 1))
        known.others().entries.append((None, OwnerEntry("eve", 0, None, 0)))
        put(store, known)
        self.key = ServiceKey("key_2", "x:2", "verify", 1, None, None)

    def retold(self, id: str, **changed: Any) -> None:
        """Rewrite a session as it is, as a touch would."""
        found = self.tokens.get_session(id)
        assert found is not None
        changes = Changes()
        changes.sessions.append((found, found.replace(**changed)))
        put(self.store, changes)

    def other(self, list_name: str, *pairs: Any) -> None:
        changes = Changes()
        of = changes if list_name in ("sessions", "tokens") else changes.others()
        getattr(of, list_name).extend(pairs)
        put(self.store, changes)


CASES: dict[str, tuple[Callable[[Scene], Query], Callable[[Scene], Any]]] = {
    "a session changed": (lambda s: Get("session", s.ann.id), lambda s: s.retold(s.ann.id, last_seen_at=5)),
    "a session ended": (lambda s: Get("session", s.ann.id), lambda s: s.tokens.destroy_session(s.ann.id)),
    "its owner was disabled": (lambda s: Get("session", s.ann.id), lambda s: s.tokens.disable_owner("ann")),
    "an absent session appeared": (
        lambda s: Get("session", "ses_new"),
        lambda s: s.other("sessions", (None, s.ann.replace(id="ses_new", lookup=None))),
    ),
    "a secret was rotated": (
        lambda s: Get("session_lookup", s.ann_lookup),
        lambda s: s.tokens.rotate_session(s.ann.id),
    ),
    "an unknown secret became one": (
        lambda s: Get("session_lookup", "x:new"),
        lambda s: s.other("sessions", (None, s.ann.replace(id="ses_new", lookup="x:new"))),
    ),
    "a session was opened": (lambda s: Members("sessions_of", "ann"), lambda s: s.tokens.open_session("ann")),
    "a first session was opened": (lambda s: Members("sessions_of", "dora"), lambda s: s.tokens.open_session("dora")),
    "a session left its owner": (lambda s: Members("sessions_of", "ann"), lambda s: s.tokens.destroy_session(s.ann.id)),
    "one of a set was touched": (lambda s: Members("sessions_of", "ann"), lambda s: s.retold(s.ann.id, last_seen_at=5)),
    "an owner was disabled": (lambda s: Get("entry", "ann"), lambda s: s.tokens.disable_owner("ann")),
    "an entry changed": (
        lambda s: Get("entry", "eve"),
        lambda s: s.other("entries", (OwnerEntry("eve", 0, None, 0), OwnerEntry("eve", 1, 1, 1))),
    ),
    "a token changed": (lambda s: Get("token", s.token.id), lambda s: s.tokens.change_token(s.token.id, value="new")),
    "a token was destroyed": (lambda s: Get("token", s.token.id), lambda s: s.tokens.destroy_token(s.token.id)),
    "its session ended": (lambda s: Get("token", s.bound.id), lambda s: s.tokens.destroy_session(s.ann.id)),
    "its session was touched": (lambda s: Get("token", s.token.id), lambda s: s.retold(s.ann.id, last_seen_at=5)),
    "an absent token appeared": (
        lambda s: Get("token", "tok_new"),
        lambda s: s.other("tokens", (None, s.token.replace(id="tok_new", lookup=None))),
    ),
    "a token was reissued": (
        lambda s: Get("token_lookup", s.token_lookup),
        lambda s: s.tokens.reissue_token(s.token.id, owner="ann"),
    ),
    "an unknown token's secret became one": (
        lambda s: Get("token_lookup", "x:new"),
        lambda s: s.other("tokens", (None, s.token.replace(id="tok_new", lookup="x:new"))),
    ),
    "a token was issued": (
        lambda s: Members("tokens_of", s.ann.id, None),
        lambda s: s.tokens.issue_token(s.ann.id, "v"),
    ),
    "one of all tokens changed": (
        lambda s: Members("tokens_of", s.ann.id, None),
        lambda s: s.tokens.change_token(s.bound.id, value="new"),
    ),
    "one of the first tokens left": (
        lambda s: Members("tokens_of", s.ann.id, 2),
        lambda s: s.tokens.destroy_token(s.token.id),
    ),
    "a first token was issued": (
        lambda s: Members("tokens_of", s.bob.id, 5),
        lambda s: s.tokens.issue_token(s.bob.id, "v"),
    ),
    "a transferable token left": (
        lambda s: Members("transferables_of", s.ann.id),
        lambda s: s.tokens.transfer_token(s.token.id, giver="ann", receiver="bob"),
    ),
    "a transferable token came": (
        lambda s: Members("transferables_of", s.bob.id),
        lambda s: s.tokens.transfer_token(s.token.id, giver="ann", receiver="bob"),
    ),
    "a count went up": (lambda s: Count("tokens_of", s.ann.id), lambda s: s.tokens.issue_token(s.ann.id, "v")),
    "a token was parked": (
        lambda s: Members("parked_tokens", "dora"),
        lambda s: s.tokens.transfer_token(s.token.id, giver="ann", receiver="dora"),
    ),
    "a parked token was joined": (
        lambda s: Members("parked_tokens", "carol"),
        lambda s: s.tokens.open_session("carol"),
    ),
    "a setting appeared": (lambda s: Get("setting", "new"), lambda s: put(s.store, setting("new", "1"))),
    "a setting changed": (lambda s: Get("setting", "there"), lambda s: put(s.store, setting("there", "2"))),
    "a setting went": (lambda s: Get("setting", "there"), lambda s: put(s.store, setting("there", None))),
    "an outcome appeared": (
        lambda s: Get("idempotency", "new"),
        lambda s: s.other("idempotency", IdempotencyRecord("new", "r", "n", "k", 1, 1)),
    ),
    "an outcome was forgotten": (lambda s: Get("idempotency", "there"), lambda s: s.other("forgotten", "there")),
    "a service key appeared": (lambda s: Get("key", "key_2"), lambda s: s.other("keys", (None, s.key))),
    "a service key's secret appeared": (lambda s: Get("key_lookup", "x:2"), lambda s: s.other("keys", (None, s.key))),
    "a service key went": (
        lambda s: Get("key", "key_1"),
        lambda s: s.other("keys", (ServiceKey("key_1", "x:1", "verify", 1, None, None), None)),
    ),
}


@pytest.mark.share(4)
@pytest.mark.parametrize("case", CASES)
def test_a_commit_is_refused_when_what_it_rests_on_has_changed(
    tokens: SessionTokens, store: BlockingPostgresStore, case: str
) -> None:
    scene = Scene(tokens, store)
    query, change = CASES[case]
    now, (found,) = store.read_now([query(scene)])
    stamps = dict(found.stamps)

    assert stamps
    assert store.commit_now(Commit(setting("before", "written"), stamps, now))
    change(scene)
    assert not store.commit_now(Commit(setting("after", "written"), stamps, now))
    written, refused = store.read_now([Get("setting", "before"), Get("setting", "after")]).found
    assert ("written", None) == (written.value, refused.value)


def test_what_changes_elsewhere_does_not_refuse_a_commit(tokens: SessionTokens, store: BlockingPostgresStore) -> None:
    scene = Scene(tokens, store)
    queries: list[Query] = [
        Get("session", scene.bob.id),
        Members("sessions_of", "bob"),
        Members("tokens_of", scene.bob.id, None),
        Members("parked_tokens", "bob"),
    ]
    now, found = store.read_now(queries)
    stamps = {part: stamp for answer in found for part, stamp in answer.stamps}
    tokens.destroy_session(scene.ann.id)
    tokens.open_session("carol")

    assert store.commit_now(Commit(setting("name", "text"), stamps, now))


def test_creating_what_is_there_is_refused_without_a_stamp_too(
    tokens: SessionTokens, store: BlockingPostgresStore
) -> None:
    session = tokens.open_session("ann").session
    changes = Changes()
    changes.sessions.append((None, session.replace(owner="eve", lookup=None)))

    assert not store.commit_now(Commit(changes, {}, 0))
    found = tokens.get_session(session.id)
    assert found is not None and found.owner == "ann"


def test_updating_what_is_gone_is_refused_without_a_stamp_too(
    tokens: SessionTokens, store: BlockingPostgresStore
) -> None:
    session = tokens.open_session("ann").session
    gone, ghost = Changes(), Changes()
    gone.sessions.append((session, None))
    ghost.sessions.append((session, session.replace(version=9)))
    put(store, gone)

    assert not store.commit_now(Commit(ghost, {}, 0))
    assert tokens.get_session(session.id) is None


def test_a_commit_of_more_names_than_a_lock_table_holds_is_whole(
    tokens: SessionTokens, store: BlockingPostgresStore
) -> None:
    model = tokens.open_session("ann").session
    changes = Changes()
    many = NAMES_MAX * 3
    for number in range(many):
        changes.sessions.append((None, model.replace(id=f"ses_{number:04}", owner=f"o{number}", lookup=f"x:{number}")))
    put(store, changes)

    found = store.read_now([Get("session", f"ses_{number:04}") for number in range(many)]).found
    assert [f"o{number}" for number in range(many)] == [answer.value.session.owner for answer in found]


def test_commits_that_cross_each_other_never_wait_for_ever(tokens: SessionTokens, store: BlockingPostgresStore) -> None:
    """Each thread reads one session and writes the other, in every order: without one order of locks, a deadlock."""
    pair = [tokens.open_session(owner).session for owner in ("ann", "bob")]
    outcomes: list[bool | Exception] = []

    def cross(read: int, write: int) -> None:
        for number in range(15):
            now, found = store.read_now([Get("session", pair[read].id), Get("session", pair[write].id)])
            stamps = {part: stamp for answer in found for part, stamp in answer.stamps}
            old = found[1].value.session
            changes = Changes()
            changes.sessions.append((old, old.replace(last_seen_at=old.last_seen_at + number)))
            try:
                outcomes.append(store.commit_now(Commit(changes, stamps, now)))
            except Exception as error:
                outcomes.append(error)

    threads = [threading.Thread(target=cross, args=(number % 2, 1 - number % 2)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 8 * 15 == len(outcomes)
    assert {bool} == {type(outcome) for outcome in outcomes}
    assert True in outcomes


async def test_of_a_batch_each_command_is_whole_or_refused_and_sees_those_before_it(postgres_url: str) -> None:
    store: PostgresStore = await open_postgres(postgres_url, pepper=PEPPER)
    now, (found,) = await store.read([Get("setting", "name")])
    stamps = dict(found.stamps)
    commits = [Commit(setting("name", str(number)), stamps, now) for number in range(3)]
    commits.append(Commit(setting("other", "x"), {}, now))

    assert [True, False, False, True] == list(await store.commit_batch(commits))
    answers = (await store.read([Get("setting", "name"), Get("setting", "other")])).found
    assert ["0", "x"] == [answer.value for answer in answers]
    await store.close()


async def test_one_command_that_cannot_be_written_does_not_take_the_others_of_its_batch_along(
    postgres_url: str,
) -> None:
    store: PostgresStore = await open_postgres(postgres_url, pepper=PEPPER)
    with SessionTokens(open_postgres_blocking(postgres_url, pepper=PEPPER)) as tokens:
        session = tokens.open_session("ann").session
    taken = Changes()
    taken.sessions.append((None, session.replace(lookup=None)))

    assert [True, False, True] == list(
        await store.commit_batch(
            [Commit(setting("one", "x"), {}, 0), Commit(taken, {}, 0), Commit(setting("two", "x"), {}, 0)]
        )
    )
    answers = (await store.read([Get("setting", "one"), Get("setting", "two")])).found
    assert ["x", "x"] == [answer.value for answer in answers]
    await store.close()


def test_what_is_read_in_sql_is_planned_once_and_not_at_each_call(postgres_url: str) -> None:
    """A function in SQL that reads from something is planned anew at each call; one in PL/pgSQL keeps its plans."""
    migrate_postgres(postgres_url)

    reading = execute(
        postgres_url,
        "SELECT proname FROM pg_proc JOIN pg_language l ON l.oid = prolang WHERE l.lanname = 'sql' "
        "AND pronamespace = 'session_tokens'::regnamespace AND prosrc ~* '\\mFROM\\s+(unnest|jsonb?_|session_tokens)'",
    )

    assert [] == reading
