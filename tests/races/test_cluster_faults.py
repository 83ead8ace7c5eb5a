"""Several processes on a store in 64 partitions while its nodes die, freeze, part and change places."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from session_tokens import SessionTokens
from session_tokens.stores.valkey.store import open_valkey_blocking
from tests.helpers.effort import PROVING
from tests.helpers.races.endurance import endurance_of
from tests.helpers.races.enduring import Enduring
from tests.helpers.races.field import ALL, PEPPER
from tests.helpers.races.history import Operation, Recorder, mark
from tests.helpers.races.promises import AT_THE_END, LOOKS, alive_again, lost, unexplained
from tests.helpers.races.registers import TokenRegister
from tests.helpers.servers.cluster import DEAFENED, cluster_of
from tests.helpers.servers.nemesis import WITH_CLOCKS, WITH_NETWORKS, WITHOUT_TOOLS, Nemesis, clocks_in
from tests.helpers.servers.networks import may_make_networks, networks_of
from tests.helpers.waiting import eventually, wait_until

pytestmark = pytest.mark.server

PROCESSES = 8 if PROVING else 4
TIMEOUT_S = 1
REPLICATED = "&durability=replicated&replicas=1"
FAULTS_S = 150
SEED = 1
NEAR_S = 0.25
FIRST = (0, 1, 2)


@dataclass
class Seen:
    """What processes saw of a cluster that failed.

    Attributes:
        operations, start: the history, and what the tokens began as.
        findings: what `check` finds at the end.
        faults: how often which happened.
        hits: how often a near cache answered.
        near_s: its bound.
    """

    operations: list[Operation]
    start: dict[str, TokenRegister]
    findings: list[str]
    faults: Counter[str]
    hits: int
    near_s: float

    def alive_again(self) -> list[str]:
        """Return the verifications that accepted what had ended before."""
        return alive_again(self.operations, bound_s=self.near_s)

    def figures(self) -> str:
        """Return them in one line."""
        ends = Counter(
            "look" if each.kind in LOOKS else each.outcome
            for each in self.operations if not each.worker.endswith(AT_THE_END)
        )  # fmt: skip
        longest_s = max(each.returned_ns - each.invoked_ns for each in self.operations if each.outcome == "ok") / 1e9
        return (
            f"{dict(self.faults)}; {len(self.operations)} operations, {dict(ends)}; the longest took "
            f"{longest_s:.1f} s; lost {len(lost(self.operations, self.start))}, alive again "
            f"{len(self.alive_again())}, in no order {len(unexplained(self.operations, self.start))}, found "
            f"by check {len(self.findings)}, answered near {self.hits}"
        )


def seen_through(seconds: float, options: str, faults: tuple[str, ...], folder: Path, *, near_s: float = 0) -> Seen:
    """Let processes use a cluster for so long while faults happen to it."""
    with ExitStack() as stack:
        networks = stack.enter_context(networks_of(6)) if "link" in faults else None
        places = [] if networks is None else networks.places
        if "clock" in faults:
            places = clocks_in(folder, *([places] if places else []))
        words = [*DEAFENED, "--protected-mode", "no"]
        cluster = stack.enter_context(cluster_of(3, FIRST, *words, places=places))
        url = f"{cluster.url}?namespace=faults&timeout={TIMEOUT_S}{options}"
        nemesis = Nemesis(cluster, SEED, faults, "faults", networks)
        endurance = stack.enter_context(endurance_of(url, PROCESSES, SEED, folder, near_s))
        operations = endurance.through(lambda: nemesis.go_on_for(seconds))
        with SessionTokens(eventually(lambda: open_valkey_blocking(url, pepper=PEPPER)), ALL) as tokens:
            time.sleep(TIMEOUT_S)  # what nobody decided meanwhile can be given up
            eventually(tokens.sweep)
            findings = [str(one) for one in eventually(lambda: tokens.store.check_now())]  # type: ignore[attr-defined]  # a store on a server has it
        return Seen(operations, endurance.start, findings, nemesis.done, endurance.hits, near_s)


@pytest.mark.parametrize("near_s", [0, NEAR_S])
def test_what_was_acknowledged_outlives_nodes_that_die_freeze_and_change_places(near_s: float, tmp_path: Path) -> None:
    seen = seen_through(8, REPLICATED, WITHOUT_TOOLS, tmp_path, near_s=near_s)

    assert seen.faults.keys() >= set(WITHOUT_TOOLS)
    assert lost(seen.operations, seen.start) == []
    assert seen.alive_again() == []
    assert seen.findings == []


@pytest.mark.proof
@pytest.mark.parametrize("is_standing_still", [True, False])
def test_what_a_replica_lacks_that_stands_still_is_found_lost(*, is_standing_still: bool) -> None:
    """What the other tests find nothing of, where nobody waits for replicas; and nothing, where they stood by."""
    with cluster_of(3, FIRST) as cluster:
        url = f"{cluster.url}?namespace=lost&timeout={TIMEOUT_S}"
        with SessionTokens(open_valkey_blocking(url, pepper=PEPPER), ALL) as st:
            homes = {owner: st.open_session(owner).id for owner in ("ann", "bob", "cyn")}
            recorder = Recorder()
            one = Enduring(st, recorder, "one", 1, homes)
            start = {}
            for _ in range(12):
                issued = st.issue_token(homes["ann"], "at first", transferable=True)
                one.known[issued.id] = [str(issued.secret)]
                start[issued.id] = TokenRegister(
                    born=True, alive=True, owner="ann", secret=mark(issued.secret), value="at first"
                )
            for _ in range(20):
                one.hand_on()
                one.come_and_go()
            wait_until(cluster.is_whole)
            primary = cluster.nodes[0]
            (replica,) = cluster.followers(primary)
            if is_standing_still:
                replica.freeze()
                primary.say("CLIENT", "KILL", "TYPE", "replica")  # else what was sent is read when it wakes
            for _ in range(20):
                one.hand_on()
                one.come_and_go()
            if not is_standing_still:
                primary.say("WAIT", 1, 5000)
            primary.kill()
            if is_standing_still:
                replica.wake()
            wait_until(lambda: cluster.holder(0) is replica)
            one.look_at_the_end()

    assert (lost(recorder.operations, start) != []) == is_standing_still
    assert (alive_again(recorder.operations) != []) == is_standing_still


if PROVING:

    @pytest.mark.needs_faketime
    @pytest.mark.needs_iproute
    @pytest.mark.parametrize(("durability", "near_s"), [("replicated", 0), ("replicated", NEAR_S), ("fast", 0)])
    def test_what_was_acknowledged_outlives_all_faults_at_length(
        durability: str, near_s: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Where nobody waits for replicas what a fail-over loses is counted."""
        faults = WITH_NETWORKS if may_make_networks() else WITH_CLOCKS
        seen = seen_through(FAULTS_S, REPLICATED if durability == "replicated" else "", faults, tmp_path, near_s=near_s)
        with capsys.disabled():
            sys.stdout.write(f"\n{durability}: {seen.figures()}\n")

        assert seen.faults.keys() >= set(faults)
        assert (seen.hits > 0) == (near_s > 0)
        if durability == "replicated":
            assert lost(seen.operations, seen.start) == []
            assert seen.alive_again() == []
            assert seen.findings == []
