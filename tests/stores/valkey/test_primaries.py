"""Which node of a cluster is asked, and whether it has heard the others, by what it says of them and of its clock."""

from __future__ import annotations

import pytest
from valkey import ConnectionPool

from session_tokens.stores.valkey.cluster_map import ClusterMap
from session_tokens.stores.valkey.placement import Placement
from session_tokens.stores.valkey.primaries import SLOTS, Host, is_deaf

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


def learned_from(cluster: ClusterMap) -> Host:
    """Have who is asked first tell that it is alone and holds all slots; return where it is."""
    learning = cluster.learning()
    asked = next(learning).options
    host: Host = asked["host"], asked["port"]
    with pytest.raises(StopIteration):
        learning.send([[[0, SLOTS - 1, [host[0].encode(), host[1]]]], ME.encode(), [b"1", b"0"]])
    return host


@pytest.mark.parametrize("calls", range(1, 7))
def test_who_told_where_nothing_was_is_asked_last_however_many_calls_failed(calls: int) -> None:
    first, second, third = hosts = [("127.0.0.1", port) for port in (1, 2, 3)]
    cluster = ClusterMap(ConnectionPool(), hosts, Placement("t"), 1.0)
    told_by = learned_from(cluster)
    for _ in range(calls):
        cluster.doubt(second)

    assert told_by == first
    assert learned_from(cluster) == third
