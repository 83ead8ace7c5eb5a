"""Which partition a node of a cluster is followed over, while others change the map."""

from __future__ import annotations

import time

import pytest
import valkey

from session_tokens.contract.near_cache import Lease, NearCache
from session_tokens.crypto.secret_form import PARTITIONS
from session_tokens.stores.valkey.cluster_map import ClusterMap
from session_tokens.stores.valkey.keys import NAMES
from session_tokens.stores.valkey.node_tracking import NodeTrackings
from session_tokens.stores.valkey.placement import Placement
from session_tokens.stores.valkey.primaries import Host
from tests.helpers.servers.ports import free_port


class ChangingMap(ClusterMap):
    """A map that another thread changes after each look at it."""

    here: Host
    looks = 0

    @property
    def holders(self) -> list[Host | None]:
        self.looks += 1
        return [self.here if self.looks % 2 else None] * PARTITIONS

    @holders.setter
    def holders(self, _: list[Host | None]) -> None:
        pass


def test_a_node_that_loses_its_partitions_while_they_are_looked_at_is_asked_over_the_one_that_was_seen() -> None:
    placement, pool = Placement("t"), valkey.ConnectionPool()
    here = "127.0.0.1", free_port()
    cluster = ChangingMap(pool, [here], placement, 1.0)
    cluster.here = here
    near = NearCache(NAMES, lambda: int(time.time() * 1000), 1.0)
    tracking = NodeTrackings(near, lambda _: None, pool, cluster, placement, 1.0)._new(here)

    with pytest.raises(valkey.ConnectionError):  # nobody is there; that it was asked is what counts
        tracking.follow(Lease())
