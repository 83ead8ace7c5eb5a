"""Which tests start servers or other processes, and carry `server` or `process`; what is left to `make prove`."""

import re
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from zlib import crc32

import pytest

from tests.helpers.effort import PROVING, QUICK, QUICK_PART

STARTING_SERVERS = frozenset({
    "valkey_server", "valkey_url", "private_valkey", "postgres_server", "postgres_url", "postgres_database",
    "private_postgres", "mariadb_server", "mariadb_url", "mariadb_database", "private_mariadb", "bouncer", "running",
    "admin",
})  # fmt: skip
"""Who asks for one of these starts a server, and gets the mark `server`."""
STORES_ON_SERVERS = ("postgres", "mariadb", "valkey", "cluster")
"""How a parameter begins that names a store on a server."""
SERVERS_OF_DEBIAN = frozenset({
    "needs_chromium", "needs_nginx", "needs_njs", "needs_apache", "needs_dovecot", "needs_caddy", "needs_haproxy",
    "needs_pgbouncer", "needs_redis", "needs_postgresql",
})  # fmt: skip
"""Marks of programs that are servers or browsers."""
STARTING_PROCESSES = frozenset({"process", "other_process"})
"""Fixtures that start another Python."""
CASES_QUICK = 2
"""Of a test with several cases, or of a suite that several stores pass, so many run in a quick run."""
LONG = frozenset({
    "test_a_backup_of_a_live_sqlite_file_holds_what_was_acknowledged_before_it_began",
    "test_a_function_fits_a_screen",
    "test_a_list_of_which_nothing_matches_costs_the_same_over_many",
    "test_a_listing_reads_far_beyond_what_does_not_match",
    "test_a_python_file_begins_by_saying_why_it_exists", "test_docstrings_of_the_package_say_it_plainly",
    "test_more_than_fills_an_answer_may_be_unreadable", "test_no_file_imports_a_test_file_or_a_conftest",
    "test_no_order_of_two_commands_and_an_end_revives_or_loses_a_token",
    "test_no_ten_lines_stand_twice", "test_of_a_damaged_file_it_says_what_can_be_read_and_to_restore_it",
    "test_of_a_session_with_very_many_tokens_none_lives_on", "test_row_66_very_many_fields_of_data",
    "test_secrets_are_all_different_and_favour_no_letter_at_any_place",
    "test_sessions_of_an_epoch_of_which_no_entry_tells_are_found_and_end", "test_signs_of_life_pile_up_nowhere",
    "test_the_measure_finds_what_is_quadratic", "test_the_script_means_something",
})  # fmt: skip
"""Tests that take a second and more, as long as a hundred others: a quick run leaves them out."""
SERVERS_SHARE = 3
"""Of the cases of a test that differ in the store on a server, about one in so many runs where not all is proven."""
NAMED_MAX = 400
"""Tests up to which a run is one of a few files, not of the whole suite: then nothing is left out."""
STARTERS = ("server", "process")
"""The marks of tests that start processes; `make quick` leaves them out."""
WHOLLY_MARKED = re.compile(rb"^pytestmark = .*mark\.(?:server|process|needs_)", re.MULTILINE)
"""How a file says that all its tests start something: a quick run does not even load it, which takes seconds of all."""
MAY_START = True
"""Whether the test that runs now carries such a mark; outside of tests whoever likes may start what they like."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out, of a quick run, the files of which every test starts something."""
    if QUICK and collection_path.suffix == ".py" and WHOLLY_MARKED.search(collection_path.read_bytes()):
        return True
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what starts a server by its fixtures and parameters, before a choice by marks is made.

    Of a test with the mark `share` a part of the cases is kept, where not everything is proven. A quick run takes a few
    cases of a test that has many. They are the same ones each time, spread over all of them.
    """
    for item in items:
        if isinstance(item, pytest.Function) and starts_a_server(item):
            item.add_marker(pytest.mark.server)
        elif not STARTING_PROCESSES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.process)
    kept = dict.fromkeys(items) if PROVING else shares_of(items)
    if QUICK and len(kept) > CASES_QUICK:
        kept = a_few_cases(list(kept))
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def shares_of(items: list[pytest.Item]) -> dict[pytest.Item, None]:
    """Return the items without those that are left to `make prove`; who names a few tests gets all of them.

    What is marked `proof` is left out. Of a test with several cases that is marked `share`, each n-th is kept; it
    begins with another one than the next test does. Of a suite whose tests have one case each, about one test in n is.
    Of a test that is asked of several stores on servers, each third of these cases is kept, in the same way, and one at
    least where it has no others.
    """
    if len(items) <= NAMED_MAX:
        return dict.fromkeys(items)
    cases = Counter(map(test_of, items))
    on_servers = Counter(test_of(item) for item in items if names_a_store_on_a_server(item))
    kept: dict[pytest.Item, None] = {}
    seen: Counter[str] = Counter()
    for item in items:
        test = test_of(item)
        mark = item.get_closest_marker("share")
        share = 1 if mark is None else int(mark.args[0]) * (QUICK_PART if QUICK else 1)
        if mark is None and on_servers[test] > 1 and names_a_store_on_a_server(item):
            share = SERVERS_SHARE if on_servers[test] < cases[test] else min(SERVERS_SHARE, cases[test])
        seen[test] += share > 1
        is_left_out = share > 1 and (seen[test] + crc32(test.encode())) % share
        if not is_left_out and item.get_closest_marker("proof") is None:
            kept[item] = None
    return kept


def test_of(item: pytest.Item) -> str:
    """Return what the cases of a test have in common."""
    return item.nodeid.partition("[")[0]


def a_few_cases(items: list[pytest.Item]) -> dict[pytest.Item, None]:
    """Return the items without long tests and without most cases of those that have more than `CASES_QUICK`.

    A test of a suite that several stores pass is a case for each of them. Which stores it keeps follows from its name.
    """
    cases: dict[object, list[pytest.Item]] = {}
    for item in items:
        if test_of(item).rpartition("::")[2] not in LONG:
            cases.setdefault(getattr(item, "function", item), []).append(item)
    kept: dict[pytest.Item, None] = {}
    for of_one in cases.values():
        step = -(-len(of_one) // CASES_QUICK)
        kept |= dict.fromkeys(of_one[crc32(of_one[0].name.encode()) % step :: step])
    return {item: None for item in items if item in kept}


def starts_a_server(item: pytest.Function) -> bool:
    """Tell it from what the test asks for: a fixture that starts one, a store on one, or a program that is one."""
    if not STARTING_SERVERS.isdisjoint(item.fixturenames):
        return True
    return any(mark.name in SERVERS_OF_DEBIAN for mark in item.iter_markers()) or names_a_store_on_a_server(item)


def names_a_store_on_a_server(item: pytest.Item) -> bool:
    """Whether one of its parameters names a store on a server."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    words = [word for given in parameters for word in (given if isinstance(given, tuple) else (given,))]
    return any(isinstance(word, str) and word.startswith(STORES_ON_SERVERS) for word in words)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note whether the test, its fixtures included, may start processes."""
    global MAY_START
    MAY_START = any(item.get_closest_marker(mark) is not None for mark in STARTERS)
    try:
        return (yield)
    finally:
        MAY_START = True


def only_where_marked(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse a process to a test that carries no mark for it; git, which is asked for names of files, is none."""
    if event == "subprocess.Popen" and not MAY_START and arguments[0] != "git":
        raise AssertionError(f"mark this test with `process` or `server`: it starts {arguments[0]}")


sys.addaudithook(only_where_marked)
