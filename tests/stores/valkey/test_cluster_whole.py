"""What goes through a whole store, on a cluster: copies, backups, checks, events, the audit log."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from session_tokens import SessionTokens, Settings, StoreUnavailable
from session_tokens.audit.log import Audit
from session_tokens.audit.reader import read_now, verifying
from session_tokens.rules.copied_settings import ENDS, setting_moved, within_ends
from session_tokens.stores.backup import Moving, backup_store, restore_store
from session_tokens.stores.connect import check_store, copy_store
from session_tokens.stores.valkey.placement import Placement
from session_tokens.stores.valkey.store import open_valkey_blocking
from tests.helpers.effort import times
from tests.helpers.servers.cluster import Mover, shared_cluster, slot_of_namespace

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
SESSIONS = times(10, proving=2_000)
IN_BATCHES = 40
"""Sessions that are not read in one step."""


def quiet(done: int, total: int) -> None:
    """Say nothing."""


def namespace_url(namespace: str, partitions: int = 64) -> str:
    return f"{shared_cluster().url}?timeout=10&partitions={partitions}&namespace={namespace}"


def assert_it_is_all_there(url: str, living: list[str], ended: str) -> None:
    with SessionTokens.open(url, sweep=False) as tokens:
        assert all(tokens.verify_session(secret) for secret in living)
        assert tokens.verify_session(ended) is None
        assert read_now(tokens.store, verifying(tokens.store.keyring, [], lambda number: None)).findings == []
        kinds = [event.kind for event in tokens.events(limit=500)]
        assert (kinds.count("session_opened"), kinds.count("session_ended")) == (SESSIONS + 1, 1)
    assert check_store(url, fix=False, progress=quiet) == []


@pytest.mark.parametrize("partitions", [(64, 64, 64), (64, 1, 64), (1, 64, 1)])
def test_a_store_is_copied_backed_up_checked_and_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partitions: tuple[int, int, int]
) -> None:
    """From a name space of a cluster to a file, from there to another, and by a backup to a third."""
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", PEPPER.hex())
    names = [f"t{uuid.uuid4().hex[:12]}" for _ in range(3)]
    first, second, third = map(namespace_url, names, partitions)
    file = f"sqlite:///{tmp_path}/copy.db"
    with SessionTokens.open(
        first, settings=Settings(events="durable"), audit=Audit(tmp_path / "anchor"), sweep=False
    ) as tokens:
        living = [str(tokens.open_session(f"owner {number}").secret) for number in range(SESSIONS)]
        ended = tokens.open_session("mallory")
        tokens.destroy_session(ended.id)
        assert "session_ended" in {entry["kind"] for entry in tokens.list_audit(limit=500)}
    copy_store(first, file, quiet, setting_moved)
    copy_store(file, second, quiet, setting_moved)
    made = backup_store(second, str(tmp_path / "backup.db"), quiet, Moving(setting_moved, ENDS, within_ends))
    again = restore_store(str(tmp_path / "backup.db"), third, quiet, setting_moved)

    assert made.records == again.records > SESSIONS
    for url in (second, third):
        assert_it_is_all_there(url, living, str(ended.secret))


def test_what_reads_a_store_through_is_broken_off_where_its_slot_moves() -> None:
    """A place of one server means nothing to the next, which would pass over what stands before it."""
    cluster, namespace = shared_cluster(), f"t{uuid.uuid4().hex[:12]}"
    slot = slot_of_namespace(namespace)
    store = open_valkey_blocking(namespace_url(namespace, 1), pepper=PEPPER)
    with SessionTokens(store, Settings(max_sessions=None)) as tokens:
        for _ in range(IN_BATCHES):
            tokens.open_session("alice")
        first = store.dump_now("session", "", 1)
        assert first.after is not None
        assert store.dump_now("session", first.after, 1) == store.dump_now("session", first.after, 1)
        cluster.move(slot, next(node for node in cluster.nodes[:3] if node is not cluster.holder(slot)))
        with pytest.raises(StoreUnavailable, match="begin again"):
            store.dump_now("session", first.after, 1)

        found, place = set(), ""
        while True:
            dump = store.dump_now("session", place, 10)
            found |= {record.id for record in dump.records}  # type: ignore[union-attr]  # sessions
            if dump.after is None:
                break
            place = dump.after
        assert len(found) == IN_BATCHES == len(tokens.list_sessions("alice", limit=500).items)


def test_what_reads_64_partitions_through_goes_on_where_their_slots_move() -> None:
    """The partition that went elsewhere is gone through once more, and no other."""
    cluster, namespace = shared_cluster(), f"t{uuid.uuid4().hex[:12]}"
    store = open_valkey_blocking(namespace_url(namespace), pepper=PEPPER)
    with SessionTokens(store, Settings(max_sessions=None)) as tokens:
        opened = {tokens.open_session(f"owner {number % 9}").id for number in range(4 * IN_BATCHES)}
        mover = Mover(cluster, Placement(namespace).slots, 1, 0.02)
        with mover.going_on():
            for _ in range(3):
                found, place = set(), ""
                while True:
                    dump = store.dump_now("session", place, 1)
                    found |= {record.id for record in dump.records}  # type: ignore[union-attr]  # sessions
                    if dump.after is None:
                        break
                    place = dump.after
                assert found == opened
                assert store.check_now() == []
        assert mover.moves > 3
        assert store.count_now() >= len(opened)
        store.clear_now()
        assert store.count_now() == 0


def test_tokens_are_listed_that_replaced_sessions_elsewhere_still_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied sessions of one owner lie in several partitions, and nobody has swept behind those that were replaced."""
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", PEPPER.hex())
    file, copied = f"sqlite:///{tmp_path}/copy.db", namespace_url(f"t{uuid.uuid4().hex[:12]}")
    one_each, held = Settings(max_sessions=1), dict[str, list[str]]()
    with SessionTokens.open(file, settings=one_each, sweep=False) as tokens:
        for owner in [f"owner {number}" for number in range(4)]:
            first = tokens.open_session(owner)
            held[owner] = sorted(tokens.issue_token(first.id, transferable=True).id for _ in range(40))
            tokens.open_session(owner)
    copy_store(file, copied, quiet, setting_moved)
    with SessionTokens.open(copied, settings=one_each, sweep=False) as tokens:
        for turn in ("as copied", "replaced once more, by one that lies with its owner"):
            for owner, ids in held.items():
                (session,) = tokens.list_sessions(owner=owner).items
                assert ids == sorted(token.id for token in tokens.list_tokens(owner=owner)), turn
                assert ids == sorted(token.id for token in tokens.list_tokens(session=session.id)), turn
                page = tokens.list_tokens(session=session.id, limit=25)
                rest = tokens.list_tokens(session=session.id, limit=25, after=page.after)
                assert ids == sorted(token.id for token in (*page, *rest)), turn
                tokens.open_session(owner)
        assert 40 == tokens.hand_over("owner 0", receiver="heir")
