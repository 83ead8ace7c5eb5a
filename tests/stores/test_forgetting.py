"""An owner who is forgotten, or has another name, is named nowhere any more: on every store, in each place."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import valkey

from session_tokens import Conflict, SessionTokens, Settings
from session_tokens.audit.log import Audit, audit_keys
from session_tokens.audit.reader import read_now, verifying
from session_tokens.contract.queries import Get
from session_tokens.events import NOWHERE
from session_tokens.rules.audit import pseudonym_of
from session_tokens.rules.names import mark_of
from session_tokens.rules.renaming import rename_owner
from session_tokens.rules.webhooks import STATE, Dead, Hook, State, Waiting, add_hook, state_of, text_of_state
from session_tokens.stores.common.kinds import KINDS
from tests.helpers.effort import PROVING
from tests.helpers.whole_store import stolen

PEPPER = bytes(range(32))
STORES = ("memory", "sqlite", "postgres", "valkey", "mariadb")
EMBEDDED = pytest.mark.parametrize("url", STORES[:2], indirect=True)
MAJA = "maja.secret-name@example.org"
HOOK = Hook("whk_00abc", "https://app.example/", None, 0, "k")


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    kind: str = request.param
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/store.db"}
    return urls.get(kind) or str(request.getfixturevalue(f"{kind}_url"))


def opened(url: str, sealed: bool | None = None) -> SessionTokens:
    pepper = None if url.startswith("memory") else PEPPER
    settings = Settings(events="durable", disownment_timeout=None)
    return SessionTokens.open(url, pepper=pepper, settings=settings, sealed=sealed, sweep=False, audit=Audit())


@pytest.fixture
def st(url: str) -> Iterator[SessionTokens]:
    with opened(url) as tokens:
        yield tokens


def kept(st: SessionTokens, url: str) -> str:
    """Return all that a store holds, as its own server has it where there is one."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        with closing(sqlite3.connect(parts.path.removeprefix("/"))) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path = Path(parts.path.removeprefix("/"))
        return "".join(file.read_bytes().decode("latin-1") for file in path.parent.glob("store.db*"))
    if parts.scheme == "postgresql":
        with psycopg.connect(url) as postgres:
            tables = [name for (name,) in postgres.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'session_tokens'")]  # fmt: skip
            rows = [postgres.execute(f'SELECT t::text FROM session_tokens."{name}" t').fetchall() for name in tables]
        return repr(rows)
    if parts.scheme == "valkey":
        namespace = parse_qs(parts.query).get("namespace", ["st"])[0]
        with valkey.Valkey.from_url(url.partition("?")[0]) as server:
            keys: Any = list(server.scan_iter(f"{{{namespace}*"))
            assert not [key for key in keys if key.endswith((b":ew",))]
            texts = [_told(server, key) for key in keys]
        return repr((keys, texts))
    of: Any = st.store
    records = [of.dump_now(kind, "", 500)[0] for kind in KINDS if kind not in ("setting", "service key")]
    settings = getattr(of, "settings", None) or of.dump_now("setting", "", 500)
    named = {"session": KINDS["session"], "token": KINDS["token"]}
    rows_of = [[named[k].row(one) for one in of.dump_now(k, "", 500)[0]] for k in named]
    return repr((records, rows_of, settings, of.read_events_now(NOWHERE, 500).events))


def _told(server: Any, key: bytes) -> Any:
    how = {b"string": server.get, b"stream": server.xrange, b"hash": server.hgetall}
    read = how.get(server.type(key))
    return read(key) if read is not None else server.zrange(key, 0, -1)


def filled(st: SessionTokens) -> dict[str, str]:
    """Give Maja something in each place that outlives her; return ids."""
    ended = st.open_session(MAJA, label="Maja's", data={"mail": "Maja"}, user_agent="Maja", address="192.0.2.1")
    st.destroy_session(ended.id)
    living = st.open_session(MAJA, label="phone", detachable=True, idempotency_key="opening")
    st.open_session(MAJA)
    bob = st.open_session("bob")
    held = st.issue_token(living.id, "seat", transferable=True, idempotency_key="issuing")
    st.issue_token(living.id, "bound")
    given = st.issue_token(living.id, "given", transferable=True)
    st.transfer_token(given.id, giver=MAJA, receiver="bob")
    parked = st.issue_token(bob.id, "parked", transferable=True)
    offered = st.issue_token(bob.id, "offered", transferable=True)
    st.offer_token(offered.id, to=MAJA, price=5)
    lent = st.issue_token(bob.id, "lent", transferable=True)
    st.lend_token(lent.id, borrower=MAJA, until=3000, idempotency_key="lending")
    st.destroy_session(living.id)
    released = st.open_session(MAJA)
    st.claim_token(held.id, session_key=released.id)
    st.release_token(held.id, owner=MAJA)
    for session in st.list_sessions(MAJA):
        st.destroy_session(session.id)
    st.lend_token(lent.id, borrower=MAJA, until=3000)  # a loan that no session of hers ends
    st.transfer_token(parked.id, giver="bob", receiver=MAJA)
    hook = st.store.run_now(add_hook, HOOK, "")
    events = st.store.read_events_now(NOWHERE, 500).events
    mine = [event for event in events if event.owner == MAJA][:2]
    state = State(events[-1].id, [Waiting(mine[0], 1, 9**12)], [Dead(mine[1], 9, 5, "500")])
    st.store.run_now(lambda tx: tx.put_setting(STATE + hook.id, text_of_state(state)))
    ids = {"ended": ended.id, "offered": offered.id, "parked": parked.id, "given": given.id}
    return {**ids, "held": held.id, "lent": lent.id, "bob": bob.id}


def findings(st: SessionTokens) -> list[str]:
    """Return what is wrong with the store, or with its audit log."""
    check: Any = getattr(st.store, "check_now", None) or getattr(st.store, "check", None)
    store = [] if check is None else [finding.what for finding in check()]
    return store + read_now(st.store, verifying(st.store.keyring, [], lambda number: None)).findings


def test_who_is_forgotten_is_named_nowhere(st: SessionTokens, url: str) -> None:
    ids = filled(st)
    assert MAJA in kept(st, url)
    st.open_session(MAJA, label="still there")
    forgotten = st.forget_owner(MAJA)

    assert MAJA not in kept(st, url) and "Maja" not in kept(st, url) and "still there" not in kept(st, url)
    assert min(forgotten[1:]) > 0 and 2 == forgotten.webhook_events and forgotten.sessions == 5
    pseudonym = forgotten.pseudonym
    ended, parked, offered = st.explain(ids["ended"]), st.get_token(ids["parked"]), st.get_token(ids["offered"])
    assert (pseudonym, "logout") == (ended.owner, ended.reason)
    assert parked is not None and (None, pseudonym) == (parked.owner, parked.previous_owner)
    assert offered is not None and (None, "bob") == (offered.reserved_for, offered.owner) and not offered.is_sellable
    given, held, lent = (st.get_token(ids[name]) for name in ("given", "held", "lent"))
    assert given is not None and ("bob", pseudonym) == (given.owner, given.previous_owner)
    assert held is not None and pseudonym == held.previous_owner
    assert lent is not None and "bob" == lent.owner
    assert [] == findings(st)
    assert [] == list(st.list_audit(owner=MAJA)) and len(st.list_audit(owner=pseudonym)) > 10
    assert [] == [event for event in st.events(owner=MAJA, limit=500) if event.kind != "gap"]
    assert {"session_opened", "token_lent", "owner_disabled", "owner_forgotten"} <= {
        event.kind for event in st.events(limit=500) if pseudonym in (event.owner, (event.terms or {}).get("borrower"))
    }
    state = state_of(st.store.read_now([Get("setting", STATE + HOOK.id)]).found[0].value)
    assert {pseudonym} == {state.waiting[0].event.owner, state.dead[0].event.owner}
    assert pseudonym == st.open_session(MAJA, detachable=True, label="phone", idempotency_key="opening").session.owner
    assert [] == list(st.list_disabled_owners())


@pytest.mark.parametrize("url", STORES[1:] if PROVING else ("sqlite", "valkey"), indirect=True)
def test_nor_in_a_sealed_store_which_stays_sealed(url: str) -> None:
    with opened(url, sealed=True) as st:
        ids = filled(st)
        moved = st.rename_owner("bob", "robert")
        opening = st.open_session(MAJA, detachable=True, label="phone", idempotency_key="opening")
        st.open_session(MAJA, label="still there")
        assert MAJA.encode() in stolen(url) and b"still there" not in stolen(url)
        forgotten = st.forget_owner(MAJA)

        assert moved > 1 and min(forgotten[1:]) > 0
        for name in (MAJA, "Maja", "still there", "bob"):
            assert name not in read_in_clear(st), name
        assert MAJA not in kept(st, url)
        again = st.open_session(MAJA, detachable=True, label="phone", idempotency_key="opening")
        assert (again.secret, again.session.owner) == (opening.secret, forgotten.pseudonym)
        held, offered = st.get_token(ids["held"]), st.get_token(ids["offered"])
        assert held is not None and (held.value, held.previous_owner) == ("seat", forgotten.pseudonym)
        assert offered is not None and (offered.owner, offered.reserved_for) == ("robert", None)
        assert [] == findings(st)


def read_in_clear(st: SessionTokens) -> str:
    """Return all records as the store itself reads them."""
    kinds = ("owner", "session", "token", "idempotency")
    return repr([[KINDS[kind].row(one) for one in st.store.dump_now(kind, "", 500)[0]] for kind in kinds])


@EMBEDDED
def test_a_name_can_be_used_and_forgotten_again(st: SessionTokens, url: str) -> None:
    first = st.forget_owner("nobody")
    opened = st.open_session("nobody")
    second = st.forget_owner("nobody", idempotency_key="once")
    again = st.forget_owner("nobody", idempotency_key="once")

    assert first.pseudonym == second.pseudonym and (0, 1) == (first.sessions, second.sessions)
    assert second == again
    assert opened.secret is not None and st.verify_session(opened.secret) is None
    assert [] == findings(st)
    st.open_session("nobody")


def test_a_renamed_owner_keeps_the_old_name_nowhere_but_in_what_was_told(st: SessionTokens, url: str) -> None:
    ids = filled(st)
    living = st.open_session(MAJA)
    moved = st.rename_owner(MAJA, "petra")

    assert 2 == moved
    assert "petra" == st.explain(ids["ended"]).owner
    offered, given = st.get_token(ids["offered"]), st.get_token(ids["given"])
    assert offered is not None and "petra" == offered.reserved_for
    assert given is not None and "petra" == given.previous_owner
    assert "petra" == st.open_session(MAJA, label="phone", detachable=True, idempotency_key="opening").session.owner
    accepted = st.accept_offer(offered.id, receiver="petra", price=5)
    assert living.id == accepted.token.session_id
    assert [] == findings(st)
    for kind in ("session", "token", "idempotency"):
        assert MAJA not in repr([KINDS[kind].row(one) for one in st.store.dump_now(kind, "", 500)[0]])


@EMBEDDED
def test_renaming_that_was_broken_off_goes_on(st: SessionTokens) -> None:
    ended = st.open_session("ann")
    st.destroy_session(ended.id)
    st.open_session("ann")
    key = next(iter(audit_keys(st.store.keyring).values()))
    old, new = pseudonym_of(key, "ann"), pseudonym_of(key, "anna")
    st.store.run_now(rename_owner, "ann", "anna", mark_of(old), new)
    before = st.explain(ended.id).owner

    assert 0 == st.rename_owner("ann", "anna")
    assert ("ann", "anna") == (before, st.explain(ended.id).owner)
    with pytest.raises(Conflict):  # it was settled, and both may be people now
        st.rename_owner("ann", "anna")
