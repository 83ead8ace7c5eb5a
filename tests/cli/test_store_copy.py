"""`session-tokens store copy` and `store abandon`: every kind of store to every other, broken off and gone on with."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, AsyncTokenTables, SessionTokens, Settings
from session_tokens._sync.token_tables import TokenTables
from session_tokens.errors import StoreError
from session_tokens.rules.copied_settings import setting_moved
from session_tokens.stores.common.copy_marks import mark_of, new_mark, put_mark
from session_tokens.stores.common.copying import batches
from session_tokens.stores.common.kinds import KINDS
from session_tokens.stores.connect import (
    abandon_store,
    closing_now,
    copy_mark_of,
    copy_store,
    open_anyway_now,
    open_store_now,
)
from tests.helpers.command_line import Cli
from tests.helpers.effort import PROVING, times
from tests.helpers.filled_store import FIRST, Filled, StoreOf, everything, library, listings

pytestmark = pytest.mark.usefixtures("one_key_file")

OK, BAD_INPUT, UNAVAILABLE, CONFLICT = 0, 2, 3, 4
KINDS_OF_STORES = ("sqlite", "postgres", "mariadb", "valkey")
ALL = tuple(kind for kind in KINDS_OF_STORES if PROVING or kind != "mariadb")
"""Those with which every part is tried; MariaDB is copied into and from in each run."""


@pytest.fixture(params=ALL)
def target(request: pytest.FixtureRequest, store_of: StoreOf) -> str:
    """The URL of an empty store, of each kind."""
    return store_of(request.param)


class BrokenOff(Exception):
    pass


def break_off(source: str, target: str, at: int = 0) -> None:
    """Begin a copy that ends with its first records, or after so many."""

    def stop(done: int, total: int) -> None:
        if done >= at:
            raise BrokenOff

    with pytest.raises(BrokenOff):
        copy_store(source, target, stop, setting_moved)
    assert 0 < len(everything(target)) < len(everything(source))


# A way through all pairs, a kind to itself too.
WAY = (
    "sqlite", "sqlite", "postgres", "postgres", "valkey", "valkey", "sqlite", "valkey", "postgres", "sqlite", "mariadb",
    *(("mariadb", "postgres", "mariadb", "valkey", "mariadb") if PROVING else ()), "sqlite",
)  # fmt: skip


@pytest.mark.server
def test_a_copy_from_any_kind_of_store_to_any_keeps_everything(cli: Cli, store_of: StoreOf) -> None:
    filled = Filled(FIRST)
    role = cli("keys", "create", "--role", "verify", "--json", "--store", FIRST).json
    expected, listed = everything(FIRST), listings(FIRST)
    stores = [FIRST, *map(store_of, WAY[1:])]
    assert len(set(pairwise(WAY)) & set(product(ALL, ALL))) == len(ALL) ** 2
    for source, target in pairwise(stores):
        said = cli("store", "copy", source, target, "--json")

        assert said.code == OK, said.err
        assert said.json["written"] == sum(said.json["records"].values()) == len(expected)
        assert {kind for kind, count in said.json["records"].items() if count} == set(KINDS)
        assert everything(target) == expected
        assert listings(target) == listed
        assert cli("store", "check", target).out == "nothing is wrong\n"
        assert cli("audit", "verify", "--store", target, "--json").json["findings"] == []
        assert [key["id"] for key in cli("keys", "list", "--store", target, "--json").json["items"]] == [role["id"]]
    assert everything(FIRST) == expected
    for target in stores[1:]:  # not before all are copied: to ask what holds is to use the store
        filled.must_hold_in(target)


def test_how_far_a_copy_is_is_told(target: str) -> None:
    """Up to the very end, also by a source of each kind, which counts its records."""
    Filled(FIRST)
    count = len(everything(FIRST))
    told: list[tuple[int, int]] = []
    for source, filled, passes in ((FIRST, target, 4), (FIRST, target, 2), (target, "sqlite:///back.db", 4)):
        told.clear()
        copy_store(source, filled, lambda done, total: told.append((done, total)), setting_moved)

        assert told == sorted(told) and {total for _, total in told} == {passes * count}
        assert told[-1] == (passes * count, passes * count)


def test_a_copy_that_is_complete_is_only_compared(cli: Cli, valkey_url: str) -> None:
    Filled(FIRST)
    cli("store", "copy", FIRST, valkey_url)

    said = cli("store", "copy", FIRST, valkey_url, "--json")
    assert (said.code, said.json["written"]) == (OK, 0)

    with library(valkey_url) as tokens:
        tokens.open_session("somebody since")
    before = everything(valkey_url)
    said = cli("store", "copy", FIRST, valkey_url, "--json")
    assert said.code == CONFLICT
    assert everything(valkey_url) == before


def is_killed_midway(target: str) -> bool:
    """Kill a copy into a store once some of it is there; whether it was some only, and is marked as such."""
    copying = subprocess.Popen(
        [sys.executable, "-m", "session_tokens.cli.main", "store", "copy", FIRST, target],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    with closing_now(open_anyway_now(target)) as watched:
        while not any(True for _ in batches(watched, "session")):
            assert copying.poll() is None, copying.communicate()
            time.sleep(0.001)
        copying.send_signal(signal.SIGKILL)
        copying.communicate(timeout=30)
        there = sum(len(batch) for batch in batches(watched, "session"))
        return 0 < there < 800 and mark_of(watched) is not None


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.process
def test_a_copy_that_was_killed_goes_on(cli: Cli, store_of: StoreOf, kind: str) -> None:
    """Killed with some of it written, the target tells so and is used by nobody; the next run completes it."""
    with SessionTokens.open(FIRST, settings=Settings(max_sessions=None), sweep=False) as tokens:
        issued = [tokens.open_session(f"owner {number}") for number in range(800)]
        tokens.disable_owner("owner 7")
    # A copy may be done before it is killed, where this process had to wait for its turn.
    target = next(filter(is_killed_midway, (store_of(kind) for _ in range(5))))
    refused = cli("sessions", "--store", target)
    assert (refused.code, "store abandon" in refused.err) == (UNAVAILABLE, True)
    with SessionTokens.open(FIRST, settings=Settings(max_sessions=None), sweep=False) as tokens:
        tokens.destroy_session(issued[0].id)  # a source that went on is copied as it is now

    said = cli("store", "copy", FIRST, target, "--json")

    assert said.code == OK, said.err
    assert said.json["written"] > 0  # what came in between the count and the kill was written by the first run
    assert everything(target) == everything(FIRST)
    assert listings(target) == listings(FIRST)
    with library(target) as tokens:
        assert tokens.verify_session(issued[0].secret) is None
        assert tokens.verify_session(issued[7].secret) is None
        assert tokens.verify_session(issued[799].secret) is not None


def test_a_copy_goes_on_though_secrets_lead_to_others_by_then(cli: Cli, target: str) -> None:
    """What the first run wrote under a look-up key has another one by now; and only sessions are counted as such."""
    with library(FIRST) as tokens:
        opened = [tokens.open_session(f"owner {number}") for number in range(12)]
        lent = tokens.issue_token(opened[0].id, "lent")
    break_off(FIRST, target, at=len(opened))
    with library(FIRST) as tokens:
        renewed = [tokens.rotate_session(each.secret, grace=3600) for each in opened[:8]]
        again = tokens.rotate_session(renewed[0].secret, grace=3600)
        user = tokens.log_in("somebody", former=opened[11].secret, secret=opened[11].secret)
        loan = tokens.lend_token(lent.id, borrower="somebody")
    assert len(everything(target)) == len(opened)

    said = cli("store", "copy", FIRST, target, "--json")

    assert said.code == OK, said.err
    assert everything(target) == everything(FIRST)
    counts = said.json["records"]
    assert (counts["session"], counts["previous secret"], counts["token"], counts["loan"]) == (13, 9, 1, 1)
    assert cli("store", "check", target).out == "nothing is wrong\n"
    with library(target) as tokens:
        for each in (*opened[:11], *renewed, again, user):
            assert tokens.verify_session(each.secret) is not None
        assert tokens.rotate_session(opened[3].secret, grace=60).secret == renewed[3].secret
        assert tokens.verify_token(loan.secret) is not None


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.process
def test_a_copy_may_be_killed_at_any_moment_again_and_again(cli: Cli, store_of: StoreOf, kind: str) -> None:
    """Wherever it was, the target is empty, marked or complete; never a part that looks like a whole."""
    target, chance = store_of(kind), random.Random(f"killed copies into {kind}")
    Filled(FIRST)
    with SessionTokens.open(FIRST, settings=Settings(max_sessions=None), sweep=False) as tokens:
        for number in range(times(100, proving=400)):
            tokens.issue_token(tokens.open_session(f"owner {number}").id, number, transferable=True)
    expected, command = everything(FIRST), [sys.executable, "-m", "session_tokens.cli.main", "store", "copy"]
    for _ in range(times(1, proving=40)):
        with subprocess.Popen([*command, FIRST, target], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as one:
            time.sleep(chance.uniform(0.2, 1.2))  # any moment will do: this waits for nothing
            one.kill()
        with closing_now(open_anyway_now(target)) as store:
            marked = mark_of(store) is not None
        there = everything(target)
        assert marked or there in ({}, expected)

    assert cli("store", "copy", FIRST, target).code == OK
    assert everything(target) == expected


def test_a_store_that_holds_a_part_is_opened_by_nobody(cli: Cli, target: str) -> None:
    """The error names both remedies; a check looks at it all the same, and says what it is."""
    Filled(FIRST)
    break_off(FIRST, target)

    async def opened_for_asyncio() -> None:
        with pytest.raises(StoreError, match=r"store copy FROM TO.*store abandon TO"):
            await AsyncSessionTokens.open(target)
        with pytest.raises(StoreError, match="store abandon TO"):
            await AsyncTokenTables.open(target)

    with pytest.raises(StoreError, match=r"store copy FROM TO.*store abandon TO"):
        SessionTokens.open(target)
    with pytest.raises(StoreError, match="store abandon TO"):
        TokenTables.open(target)
    asyncio.run(opened_for_asyncio())
    for command in (["serve", "--port", "0"], ["sessions"], ["audit", "list"], ["keys", "list"]):
        said = cli(*command, "--store", target)
        assert (said.code, said.out, "store abandon" in said.err) == (UNAVAILABLE, "", True), command
    assert cli("store", "copy", target, "sqlite:///elsewhere.db").code == UNAVAILABLE
    checked = cli("store", "check", target, "--json")
    assert checked.code == CONFLICT
    assert [finding[:29] for finding in checked.json["findings"]] == ["a copy into this store was no"]

    assert cli("store", "copy", FIRST, target).code == OK
    with library(target), TokenTables.open(target):
        assert cli("store", "check", target).code == OK


def test_a_copy_that_is_given_up_leaves_an_empty_store(cli: Cli, target: str) -> None:
    Filled(FIRST)
    with library("sqlite:///other.db") as tokens:
        tokens.open_session("from elsewhere")
    break_off(FIRST, target)
    assert cli("store", "copy", "sqlite:///other.db", target).code == CONFLICT

    said = cli("store", "abandon", target, "--json")

    assert (said.code, said.json) == (OK, {"abandoned": True})
    assert everything(target) == {}
    assert listings(target) == listings("sqlite:///empty.db")
    assert cli("store", "copy", "sqlite:///other.db", target).code == OK
    assert everything(target) == everything("sqlite:///other.db")


@pytest.mark.parametrize("kind", ALL)
def test_giving_up_can_be_broken_off_too(store_of: StoreOf, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two name spaces: the store is still marked, and is emptied the next time."""
    Filled(FIRST)
    target = store_of(kind)
    break_off(FIRST, target)
    with closing_now(open_anyway_now(target)) as store:
        abilities: Any = type(store)
    clear, cleared = abilities.clear_now, list[object]()

    def clear_one(store: object) -> None:
        if cleared:
            raise BrokenOff
        cleared.append(store)
        clear(store)

    monkeypatch.setattr(abilities, "clear_now", clear_one)
    with pytest.raises(BrokenOff):
        abandon_store(target)
    monkeypatch.setattr(abilities, "clear_now", clear)
    with pytest.raises(StoreError, match="store abandon TO"):
        SessionTokens.open(target)
    abandon_store(target)

    assert listings(target) == listings("sqlite:///empty.db")


def test_a_store_into_which_nothing_was_copied_is_not_emptied(cli: Cli, target: str, tmp_path: Path) -> None:
    with library(target) as tokens:
        alice = tokens.open_session("alice")

    said = cli("store", "abandon", target)

    assert said.code == CONFLICT and "nothing was deleted" in said.err
    with library(target) as tokens:
        assert tokens.verify_session(alice.secret) == alice.session
    assert cli("store", "abandon", "memory://").code == BAD_INPUT
    assert cli("store", "abandon", "sqlite:///not_there.db").code == BAD_INPUT
    assert not (tmp_path / "not_there.db").exists()


def test_what_the_source_has_forgotten_since_is_deleted(cli: Cli, valkey_url: str) -> None:
    """A session that an unfinished copy brought over must not outlive its record in the source."""
    with library(FIRST) as tokens:
        tokens.open_session("alice")
    with library(valkey_url) as tokens:
        left = tokens.open_session("left behind")
    assert cli("store", "copy", FIRST, valkey_url).code == CONFLICT
    target = open_store_now(valkey_url)
    target.run_now(put_mark, None, new_mark(copy_mark_of(FIRST)))
    target.close_now()

    said = cli("store", "copy", FIRST, valkey_url, "--json")

    assert said.code == OK, said.err
    assert everything(valkey_url) == everything(FIRST)
    with library(valkey_url) as tokens:
        assert tokens.verify_session(left.secret) is None


def test_a_copy_begun_from_elsewhere_is_not_overwritten(cli: Cli, valkey_url: str) -> None:
    with library(FIRST) as tokens:
        tokens.open_session("alice")
    target = open_store_now(valkey_url)
    target.run_now(put_mark, None, new_mark(copy_mark_of("sqlite:///another.db")))
    target.close_now()

    said = cli("store", "copy", FIRST, valkey_url)

    assert said.code == CONFLICT
    assert "another store" in said.err


def test_a_target_with_another_pepper_is_refused(
    cli: Cli, valkey_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SQLite finds its own key file; the server is given another pepper, so no secret would be valid there."""
    Filled(FIRST)
    monkeypatch.delenv("SESSION_TOKENS_PEPPER_FILE")
    other = "sqlite:///other.db"

    said = cli("store", "copy", FIRST, other)

    assert said.code == BAD_INPUT
    assert "SESSION_TOKENS_PEPPER_FILE" in said.err
    assert [] == list(tmp_path.glob("other.db*"))  # else it would be there with keys of its own the next time

    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", "first.db.key")
    assert cli("store", "copy", FIRST, other).code == 0


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("memory://", FIRST),
        (FIRST, "memory://"),
        (FIRST, "sqlite:///./first.db"),
        ("sqlite:///not_there.db", "sqlite:///new.db"),
        ("ftp://host/x", FIRST),
    ],
)
def test_a_copy_that_makes_no_sense_is_bad_input(cli: Cli, source: str, target: str, tmp_path: Path) -> None:
    said = cli("store", "copy", source, target, "--json")

    assert said.code == BAD_INPUT
    assert not (tmp_path / "not_there.db").exists() and not (tmp_path / "new.db").exists()
