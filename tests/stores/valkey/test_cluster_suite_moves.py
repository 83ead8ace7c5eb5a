"""The shipped suite on a store in 64 partitions, of which one is moved to another node every 200 ms."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from session_tokens.stores.valkey.placement import Placement
from session_tokens.testing.checks.late import LateChecks
from session_tokens.testing.checks.transactions import IsolationChecks
from session_tokens.testing.harness import checks_of
from tests.helpers.conformance import only_checks_of
from tests.helpers.partitions import OnPartitions
from tests.helpers.servers.cluster import Mover, shared_cluster

pytestmark = pytest.mark.server


@only_checks_of(IsolationChecks)
class TestPartitionsOnTheMove(OnPartitions):
    @pytest.fixture(autouse=True)
    def _on_a_cluster_that_moves(self) -> Iterator[None]:
        self.cluster, namespace = shared_cluster(), f"t{uuid.uuid4().hex[:12]}"
        self.url = f"{self.cluster.url}?namespace={namespace}"
        with Mover(self.cluster, Placement(namespace).slots, 1).going_on():
            yield


for _name in checks_of(LateChecks):  # they count how often a rule ran: once more where its partition went elsewhere
    setattr(TestPartitionsOnTheMove, _name, None)
