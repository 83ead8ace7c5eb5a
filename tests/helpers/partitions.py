"""The shipped suite on a store in 64 partitions of a real cluster."""

from __future__ import annotations

from typing import Any

from session_tokens.stores.valkey.placement import Placement, partition_of
from tests.helpers.conformance import OnValkey
from tests.helpers.servers.cluster import Cluster


class OnPartitions(OnValkey):
    """A store on a cluster.

    Attributes:
        cluster: the cluster.
    """

    cluster: Cluster

    def damage(self, kind: str, id: str, *, key_id: str | None = None) -> None:
        name = f"{kind[0]}:{id}".encode()
        placement, partition = Placement(self.url.partition("namespace=")[2].partition("&")[0]), partition_of(name)
        client = self.cluster.holder(placement.slots[partition]).client
        self._damage(client, placement.prefixes[partition] + name, key_id)

    def damage_all(self, kind: str) -> None:
        for prefix in Placement(self.url.partition("namespace=")[2].partition("&")[0]).prefixes:
            for node in self.cluster.nodes[:3]:
                keys: Any = node.client.keys(f"{prefix.decode()}{kind[0]}:*")
                for key in keys:
                    self._damage(node.client, key, None)
