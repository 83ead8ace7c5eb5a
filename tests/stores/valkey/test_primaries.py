"""Whether a node of a cluster has heard the others, by what it says of them and of its clock."""

from __future__ import annotations

import pytest

from session_tokens.stores.valkey.primaries import is_deaf

NOW_MS = 1_700_000_000_000
ME = "a 127.0.0.1:1@2 myself,master - 0 0 1 connected 0-5460"
OTHER = "b 127.0.0.1:3@4 master - 0 {} 2 connected 5461-16383"
REPLICA = "c 127.0.0.1:5@6 slave a 0 {} 1 connected"


def deaf(*lines: str, now_ms: int = NOW_MS) -> bool:
    told = "".join(f"{line}\n" for line in (ME, *lines)).encode()
    return is_deaf(2.5, told, [b"%d" % (now_ms // 1000), b"%d" % (now_ms % 1000 * 1000)])


def test_a_node_that_is_alone_is_not_deaf() -> None:
    assert not deaf()


def test_a_replica_that_is_gone_makes_nobody_deaf_that_no_other_node_can_replace() -> None:
    assert not deaf(REPLICA.format(NOW_MS - 60_000))


@pytest.mark.parametrize(("ago_ms", "is_so"), [(0, False), (2500, False), (2501, True), (NOW_MS, True)])
def test_who_heard_nobody_for_longer_than_the_others_wait_is_deaf(ago_ms: int, is_so: bool) -> None:
    assert deaf(OTHER.format(NOW_MS - ago_ms), REPLICA.format(NOW_MS - ago_ms)) is is_so


def test_who_hears_one_of_the_others_is_not_deaf() -> None:
    assert not deaf(OTHER.format(NOW_MS - 60_000), REPLICA.format(NOW_MS - 1000))


@pytest.mark.parametrize(("set_by_ms", "is_so"), [(-2000, False), (-60_000, True), (60_000, True)])
def test_who_heard_the_others_on_another_clock_is_to_hear_them_again(set_by_ms: int, is_so: bool) -> None:
    assert deaf(OTHER.format(NOW_MS), now_ms=NOW_MS + set_by_ms) is is_so


def test_a_host_whose_name_says_so_is_not_the_node_itself() -> None:
    assert deaf(OTHER.format(NOW_MS - 60_000).replace("127.0.0.1:3@4", "127.0.0.1:3@4,myself.example"))
