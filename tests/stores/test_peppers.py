"""Changing the pepper while processes go on: one that lacks a pepper in use never says that a secret is none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from session_tokens import InvalidInput, SessionTokens, Settings, StoreUnavailable, TokenTables, UnknownPepper
from session_tokens._async.owners import OWNERS_READ
from session_tokens.crypto.minting import PepperKeyring
from session_tokens.service_keys import keys as service_keys
from session_tokens.settings import HANDED_AT_ONCE, WAITING_READ
from session_tokens.stores.connect import open_store
from session_tokens.stores.sqlite.connections import FileOptions

OLD, NEW = {"old": bytes(range(32))}, {"new": bytes(range(1, 33))}
STORES = ("sqlite", "valkey", "postgres", "mariadb")
NO_CAP = Settings(max_sessions=None)


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sessions.db'}"
    else:
        yield request.getfixturevalue(f"{request.param}_url")


def opened(url: str, pepper: dict[str, bytes]) -> SessionTokens:
    return SessionTokens.open(url, pepper=pepper, sweep=False, settings=NO_CAP)


def test_a_process_without_a_pepper_in_use_says_so_for_what_it_does_not_find(url: str) -> None:
    with opened(url, OLD) as before:
        mine = before.open_session("ann")
        with opened(url, NEW | OLD) as after:
            theirs = after.open_session("ann", detachable=True)
            token = after.issue_token(theirs.id, "v", transferable=True)

            assert before.verify_session(mine.secret) is not None
            for call in (before.verify_session, before.rotate_session, before.destroy_session, before.detach_session):
                with pytest.raises(StoreUnavailable, match="new"):
                    call(theirs.secret)
            with pytest.raises(StoreUnavailable, match="new"):
                before.verify_token(token.secret)
            with pytest.raises(StoreUnavailable, match="new"):
                before.destroy_token(token.secret)
            with pytest.raises(UnknownPepper, match="new"):
                before.get_session(theirs.id)
            page = before.list_sessions("ann")
            assert ([session.id for session in page], page.unreadable) == ([mine.id], (theirs.id,))
            assert after.verify_session(theirs.secret) is not None
            assert after.verify_session(mine.secret) is not None, "and moves it to the new pepper"
            with pytest.raises(StoreUnavailable, match="new"):
                before.verify_session(mine.secret)


async def test_such_a_process_is_not_ready_and_knows_no_service_key(url: str) -> None:
    before = await open_store(url, pepper=OLD)
    try:
        await before.ready()
        after = await open_store(url, pepper=NEW | OLD)
        issued = await service_keys.create_key(after, "verify")
        await after.ready()
        await after.close()

        with pytest.raises(UnknownPepper) as caught:
            await before.ready()
        assert caught.value.details["key_id"] == "new"
        with pytest.raises(StoreUnavailable):
            await service_keys.authenticate(before, issued.secret)
    finally:
        await before.close()


def test_what_is_behind_many_that_cannot_be_read_is_found(url: str) -> None:
    """More than one step of each search reads, so that a whole step brings nothing."""
    with opened(url, OLD) as before, opened(url, NEW | OLD) as after:
        holder = before.open_session("ann")
        leaving = after.open_session("zoe")
        for number in range(HANDED_AT_ONCE + 1):
            after.issue_token(leaving.id, number, transferable=True)
        for number in range(WAITING_READ + 1):
            token = after.issue_token(leaving.id, number, transferable=True)
            after.release_token(token.id, owner="zoe")
        for number in range(OWNERS_READ + 1):
            after.open_session(f"owner {number}")
        staying = before.open_session("zoe")
        handed, waiting = (before.issue_token(staying.id, transferable=True) for _ in range(2))
        before.release_token(waiting.id, owner="zoe")

        claimed = before.claim_next_token(session_key=holder.id)
        assert claimed is not None and claimed.id == waiting.id
        assert before.hand_over("zoe", receiver="ann") == 1
        assert {token.id for token in before.list_tokens(owner="ann")} == {waiting.id, handed.id}
        owners = before.list_owners(newest=True)
        assert [owner.owner for owner in owners] == ["zoe", "ann"]
        assert len(owners.unreadable) == OWNERS_READ + 2


def test_a_pepper_that_was_only_added_is_in_nobodys_way(url: str) -> None:
    """The order of a rotation: first everywhere as the second, then everywhere as the first."""
    with opened(url, OLD) as not_yet, opened(url, OLD | NEW) as added:
        session = added.open_session("ann")

        assert not_yet.verify_session(session.secret) is not None
        not_yet.destroy_session(session.id)
        assert not_yet.verify_session(session.secret) is None
        with opened(url, OLD) as late:
            assert late.list_sessions().items == []
    with opened(url, OLD | NEW) as added, opened(url, NEW | OLD) as promoted:
        issued = promoted.open_session("ann")
        assert added.verify_session(issued.secret) is not None


def test_a_retry_gets_the_first_outcome_whatever_peppers_came_meanwhile(url: str) -> None:
    """Also where it names a session or token by its secret, and where the outcome is that an owner is forgotten."""
    with opened(url, OLD) as before:
        ann, bob = before.open_session("ann"), before.open_session("bob", detachable=True)
        token = before.issue_token(ann.secret, "v", transferable=True, uses=3, idempotency_key="once")
        before.consume_token(token.secret, idempotency_key="once")
        passed = before.transfer_token(token.secret, giver="ann", receiver="bob", idempotency_key="once")
        before.detach_session(bob.secret, idempotency_key="once")
        turned = before.rotate_session(ann.secret, idempotency_key="once")
        again = before.rotate_session(turned.secret, grace=60, idempotency_key="late")
        before.update_session_data(again.secret, {"a": 1}, idempotency_key="once")
        kept = before.log_in("cyn", former=again.secret, idempotency_key="once")
        assert before.destroy_sessions("cyn", except_session=kept.secret, idempotency_key="once") == 0
        assert before.destroy_session(kept.secret, idempotency_key="once")
        forgotten = before.forget_owner("dan", idempotency_key="once")
    for peppers in (OLD | NEW, NEW | OLD):
        with opened(url, peppers) as after:
            issued = after.issue_token(ann.secret, "v", transferable=True, uses=3, idempotency_key="once")
            assert issued.secret == token.secret
            assert after.consume_token(token.secret, idempotency_key="once").uses_left == 2
            handed = after.transfer_token(token.secret, giver="ann", receiver="bob", idempotency_key="once")
            assert handed.secret == passed.secret
            assert after.detach_session(bob.secret, idempotency_key="once").is_detached
            assert after.rotate_session(ann.secret, idempotency_key="once").secret == turned.secret
            assert after.rotate_session(turned.secret, grace=60, idempotency_key="late").secret == again.secret
            assert after.update_session_data(again.secret, {"a": 1}, idempotency_key="once").data == {"a": 1}
            assert after.log_in("cyn", former=again.secret, idempotency_key="once").secret == kept.secret
            assert after.destroy_sessions("cyn", except_session=kept.secret, idempotency_key="once") == 0
            assert after.destroy_session(kept.secret, idempotency_key="once")
            assert after.forget_owner("dan", idempotency_key="once")[1:] == forgotten[1:]


def test_a_pepper_that_came_into_use_later_is_needed_though_nothing_is_under_it_yet(url: str) -> None:
    opened(url, OLD).close()
    with opened(url, NEW | OLD):
        pass
    with pytest.raises(InvalidInput, match="new"):
        opened(url, OLD)


def test_an_older_pepper_under_which_nothing_is_may_be_left_out(url: str) -> None:
    if url.startswith(("valkey", "redis")):
        return  # there it is session-tokens pepper retire that looks; see test_pepper_commands
    opened(url, OLD).close()
    opened(url, NEW | OLD).close()
    with opened(url, NEW) as tokens:
        tokens.open_session("ann")
    with pytest.raises(InvalidInput, match="new"):
        opened(url, OLD)


def test_the_wrong_and_the_missing_pepper_are_told_apart_when_a_store_is_opened(url: str) -> None:
    with opened(url, OLD) as tokens:
        tokens.open_session("ann")
    with pytest.raises(InvalidInput, match="pepper old, which is not among the keys") as caught:
        opened(url, NEW)
    assert caught.value.details["key_id"] == "old"
    with pytest.raises(InvalidInput, match=r"the pepper old .*is not the one"):
        opened(url, {"old": bytes(32)})


def test_the_seeds_names_are_not_denied_either(url: str) -> None:
    with TokenTables.open(url, pepper=OLD, sweep=False) as before:
        before.add_session("s0", "ann")
        with TokenTables.open(url, pepper=NEW | OLD, sweep=False) as after:
            after.add_session("s1", "bob")
            after.add_transferable_token("t1", "value", "bob")

            assert before.active_session("s0", "ann") is True
            assert after.active_session("s0", "ann") is True
            with pytest.raises(StoreUnavailable):
                before.active_session("s1", "bob")
            with pytest.raises(StoreUnavailable):
                before.transition_token_is_active("t1")


def test_sweeping_and_ending_an_owner_go_on_without_a_pepper(url: str) -> None:
    with opened(url, OLD) as before:
        mine = [before.open_session("ann") for _ in range(3)]
        with opened(url, NEW | OLD) as after:
            after.open_session("ann")
            assert before.destroy_sessions("ann") >= len(mine)
            assert before.list_sessions("ann").items == []
            with suppress(UnknownPepper):
                before.sweep()


def test_all_sessions_end_with_those_whose_pepper_is_not_given(url: str) -> None:
    """A user who logs out everywhere is logged out everywhere, whichever process answered."""
    with opened(url, OLD) as before:
        mine, kept = before.open_session("ann"), before.open_session("ann")
        with opened(url, NEW | OLD) as after:
            theirs = after.open_session("ann")
            before.destroy_sessions("ann", except_session=kept.id)

            assert after.verify_session(theirs.secret) is None
            assert after.verify_session(mine.secret) is None
            assert [session.id for session in after.list_sessions("ann")] == [kept.id]
            again = after.open_session("ann")
            assert after.verify_session(again.secret) is not None
            before.destroy_sessions("ann")
            assert after.list_sessions("ann").items == []
            assert after.verify_session(again.secret) is None
            assert before.verify_session(before.open_session("ann").secret) is not None


def test_of_first_processes_with_other_peppers_one_makes_the_store(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one has seen no pepper, and is refused all the same: no store is under two that nobody has together."""
    kept: list[str] = []

    def made_by_another() -> None:
        monkeypatch.undo()
        with opened(url, NEW) as tokens:
            kept.append(tokens.open_session("ann").secret)

    before_recording(monkeypatch, made_by_another)
    with pytest.raises(InvalidInput, match="pepper new"):
        opened(url, OLD)

    with opened(url, NEW) as tokens:
        assert tokens.verify_session(kept[0]) is not None
    with pytest.raises(InvalidInput, match="pepper new"):
        opened(url, OLD)


def test_of_first_processes_that_want_values_otherwise_one_makes_the_store(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the other one is told that, not of the keys that a sealed store records."""
    refused: list[str] = []

    def made(sealed: bool) -> None:
        try:
            SessionTokens.open(url, pepper=NEW, sealed=sealed, sweep=False).close()
        except InvalidInput as error:
            refused.append(str(error))

    def made_by_another() -> None:
        monkeypatch.undo()
        made(True)

    before_recording(monkeypatch, made_by_another)
    made(False)
    assert [True] == ["keeps its values" in said for said in refused]


def before_recording(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Have something happen when the next process to open a store has read what is recorded, and records nothing yet.

    On SQLite it happens before that: nobody else comes in between there.
    """
    held_for = PepperKeyring.check_of
    begin = FileOptions.begin_writing

    def then(self: PepperKeyring, key_id: str) -> str:
        act()
        return held_for(self, key_id)

    def first(self: FileOptions, connection: sqlite3.Connection) -> None:
        act()
        begin(self, connection)

    monkeypatch.setattr(PepperKeyring, "check_of", then)
    monkeypatch.setattr(FileOptions, "begin_writing", first)
