"""Several commands that fill one store, at once: one of them writes, the others end, and no part passes for a whole.

Each test has one command begin and do another within it, at a moment of its choice: so all orders are as those of two
processes, and none is left to luck.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from session_tokens import Conflict, SessionTokens, Settings
from session_tokens.rules.copied_settings import ENDS, setting_moved, within_ends
from session_tokens.stores.backup import Moving
from session_tokens.stores.common.copy_marks import mark_of
from session_tokens.stores.common.copying import Copying
from session_tokens.stores.connect import abandon_store, closing_now, copy_store, open_anyway_now
from session_tokens.stores.export import export_to_file, import_store
from tests.helpers.effort import PROVING
from tests.helpers.filled_store import FIRST, StoreOf, everything, library

pytestmark = pytest.mark.usefixtures("one_key_file")

KINDS_OF_STORES = ("sqlite", "postgres", "mariadb", "valkey")
ALL = tuple(kind for kind in KINDS_OF_STORES if PROVING or kind != "mariadb")
FILE = "all.jsonl"
SESSIONS = 450
"""More than go into two commits."""


@pytest.fixture(params=ALL)
def target(request: pytest.FixtureRequest, store_of: StoreOf) -> str:
    """The URL of an empty store, of each kind."""
    return store_of(request.param)


@pytest.fixture(autouse=True)
def filled(one_key_file: None) -> None:
    with SessionTokens.open(FIRST, settings=Settings(max_sessions=None), sweep=False) as tokens:
        for number in range(SESSIONS):
            tokens.open_session(f"owner {number}")
    export_to_file(FIRST, FILE, quiet, Moving(setting_moved, ENDS, within_ends))


def quiet(done: int, total: int) -> None:
    """Say nothing."""


Run = Callable[[str, Callable[[int, int], None]], object]
"""Fills a store, and tells how far it is."""


def copied(url: str, progress: Callable[[int, int], None]) -> object:
    return copy_store(FIRST, url, progress, setting_moved)


def imported(url: str, progress: Callable[[int, int], None]) -> object:
    return import_store(FILE, url, progress, setting_moved)


def at_first(act: Callable[[], object]) -> Callable[[int, int], None]:
    """Return what does something when it is first told how far it is: after the first commit of records."""
    acts = [act]

    def progress(done: int, total: int) -> None:
        if acts:
            acts.pop()()

    return progress


FILLING = pytest.mark.parametrize("fill", [copied, imported])


@FILLING
@pytest.mark.server
def test_a_run_that_another_one_went_on_from_writes_no_more(store_of: StoreOf, fill: Run) -> None:
    """The line to a host was lost, the command went on there, and somebody ran it again, as they are told to."""
    kinds = [kind for kind in ALL if fill is copied or kind != "sqlite"]  # a file is imported aside
    for target in map(store_of, kinds):
        since: list[str] = []

        def again(target: str = target, since: list[str] = since) -> None:
            fill(target, quiet)
            with library(target) as tokens:
                since.append(tokens.open_session("came since").secret)

        with pytest.raises(Conflict, match="another"):
            fill(target, at_first(again))

        with library(target) as tokens:
            assert tokens.verify_session(since[0]) is not None
            assert len(tokens.list_sessions(anonymous=True, limit=500)) == SESSIONS + 1


@FILLING
@pytest.mark.server
def test_what_was_given_up_is_not_gone_on_with(store_of: StoreOf, fill: Run) -> None:
    for target in map(store_of, (kind for kind in ALL if fill is copied or kind != "sqlite")):
        with pytest.raises(Conflict, match="another"):
            fill(target, at_first(partial(abandon_store, target)))

        assert everything(target) == {}
        with library(target) as tokens:
            assert tokens.open_session("alice").secret
        assert fill is imported or copy_refused(target)


def copy_refused(target: str) -> bool:
    with pytest.raises(Conflict, match="records that the source does not"):
        copied(target, quiet)
    return True


@pytest.mark.server
def test_two_that_begin_at_once_are_not_mixed(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From two stores, into one that both find empty: one of them fills it."""
    with library("sqlite:///other.db") as tokens:
        tokens.open_session("from elsewhere")
    is_empty = Copying._is_empty

    def and_then_another(one: Copying) -> bool:
        found = is_empty(one)
        monkeypatch.setattr(Copying, "_is_empty", is_empty)
        copy_store("sqlite:///other.db", target, quiet, setting_moved)
        return found

    monkeypatch.setattr(Copying, "_is_empty", and_then_another)
    with pytest.raises(Conflict):
        copied(target, quiet)

    assert everything(target) == everything("sqlite:///other.db")
    with closing_now(open_anyway_now(target)) as store:
        assert mark_of(store) is None
