"""The slot of a store in one moves to other nodes while it is used: no commit is halved, nothing read as absent."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from session_tokens import AsyncSessionTokens, SessionTokens, StoreUnavailable
from session_tokens.contract.optimistic import Commit
from session_tokens.contract.partitioning import partition_of_owner
from session_tokens.crypto.minting import PepperKeyring
from session_tokens.stores.valkey.placement import UNSPREAD, Placement
from session_tokens.stores.valkey.schema import Address
from session_tokens.stores.valkey.store import BlockingValkeyStore, _pool_of_url, open_valkey, open_valkey_blocking
from tests.helpers.acknowledged import ALL, Acknowledged
from tests.helpers.effort import PROVING, times
from tests.helpers.servers.cluster import (
    DEAFENED,
    SLOTS,
    Cluster,
    Mover,
    Node,
    cluster_of,
    shared_cluster,
    slot_of_namespace,
)
from tests.helpers.servers.nemesis import is_primary
from tests.helpers.waiting import eventually, until_answered, wait_until

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
REPLICATED = "&durability=replicated&replicas=1"
MOVES = times(8, proving=100)
"""Each command leaves a record in the slot, so that a move takes longer and longer."""
TURNS = times(5, proving=50)


@pytest.fixture
def cluster() -> Cluster:
    return shared_cluster()


@pytest.fixture
def namespace() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def slot(namespace: str) -> int:
    return slot_of_namespace(namespace)


# --- as a whole, as Valkey 9 moves slots ---


async def test_commands_go_on_while_the_slot_moves(cluster: Cluster, namespace: str, slot: int) -> None:
    """By tasks and threads. A commit answered as others find the keys elsewhere is not believed, and its key tells."""
    url = f"{cluster.url}?partitions=1&timeout=30&namespace={namespace}"
    store = await open_valkey(url, pepper=PEPPER)
    tokens, blocking = AsyncSessionTokens(store, ALL), SessionTokens(open_valkey_blocking(url, pepper=PEPPER), ALL)
    for owner in ("alice", "bob"):
        await tokens.open_session(owner)
    mover = Mover(cluster, [slot], MOVES)
    handed_on: dict[str, tuple[str, int]] = {}

    async def hand_on(session_id: str) -> None:
        issued = await tokens.issue_token(session_id, "v", transferable=True)
        hands = ["alice", "bob"]
        while not mover.has_moved_enough.is_set():
            issued = await until_answered(
                lambda issued=issued: tokens.transfer_token(  # type: ignore[misc]  # the argument is bound here
                    issued.id, giver=hands[0], receiver=hands[1], idempotency_key=f"{issued.id} {issued.token.epoch}"
                )
            )
            hands.reverse()
            found = await until_answered(lambda issued=issued: tokens.verify_token(issued.secret))  # type: ignore[misc]  # as above
            assert found is not None and (found.owner, found.epoch) == (hands[0], issued.token.epoch)
        handed_on[issued.id] = hands[0], issued.token.epoch

    def open_and_end() -> int:
        count = 0
        while not mover.has_moved_enough.is_set():
            issued = eventually(lambda: blocking.open_session("carol"))
            assert eventually(lambda issued=issued: blocking.verify_session(issued.secret)) == issued.session  # type: ignore[misc]  # as above
            eventually(lambda issued=issued: blocking.destroy_session(issued.secret))  # type: ignore[misc]  # as above
            assert eventually(lambda issued=issued: blocking.verify_session(issued.secret)) is None  # type: ignore[misc]  # as above
            count += 1
        return count

    session = (await tokens.list_sessions("alice")).items[0]
    with mover.going_on():
        *_, first, second = await asyncio.gather(
            *(hand_on(session.id) for _ in range(4)), *(asyncio.to_thread(open_and_end) for _ in range(2))
        )

    assert len(handed_on) == 4 and min(epoch for _, epoch in handed_on.values()) > MOVES
    assert mover.moves >= MOVES and min(first or 0, second or 0) > MOVES
    for id, (owner, epoch) in handed_on.items():
        token = await tokens.get_token(id)
        assert token is not None and (token.owner, token.epoch) == (owner, epoch)
    assert await store.check() == []
    blocking.close()
    await tokens.close()


# --- key by key, as clusters moved slots before ---


class HalfMoved:
    """A slot on its way from one node to another, of which some keys are here and some there."""

    def __init__(self, cluster: Cluster, slot: int) -> None:
        self._cluster, self._slot = cluster, slot
        holder = cluster.holder(slot)
        self.target = next(node for node in cluster.nodes[:3] if node is not holder)
        self.source = cluster.begin_move(slot, self.target)

    def keys(self, node: Node) -> list[bytes]:
        return sorted(node.ask("CLUSTER", "GETKEYSINSLOT", self._slot, 10_000))

    def stands(self) -> dict[bytes, bytes]:
        """Return every key of the slot, wherever it is, with what stands there."""
        found = {}
        for node in (self.source, self.target):
            for key in self.keys(node):
                found[key] = node.dump(key)
        return found

    def end(self) -> None:
        self._cluster.move_keys(self.source, self.target, self.keys(self.source))
        self._cluster.end_move(self._slot, self.source, self.target)


class HoldingBack(BlockingValkeyStore):
    """A store that waits a short while only, and keeps commits back while it is told to."""

    held: list[Commit] | None = None

    def commit_now(self, commit: Commit) -> bool:
        if self.held is None:
            return super().commit_now(commit)
        self.held.append(commit)
        raise StoreUnavailable("held back")

    @contextmanager
    def holding(self) -> Iterator[list[Commit]]:
        self.held = []
        yield self.held
        self.held = None


@contextmanager
def holding_back(url: str) -> Iterator[tuple[SessionTokens, HoldingBack]]:
    address = Address(f"{url}&timeout=0.3")
    store = HoldingBack(address, _pool_of_url(address, ""), PepperKeyring(PEPPER), "")
    store.open()
    with SessionTokens(store, ALL) as tokens:
        yield tokens, store


def is_refused(store: BlockingValkeyStore, command: Callable[[], object]) -> bool:
    """Whether a command is refused as one whose keys are on the move, each by itself: the breaker is to let it by."""
    store._core.retrying.breaker.succeeded()
    try:
        command()
    except StoreUnavailable as error:
        assert "is moving these keys" in str(error), error
        return True
    return False


REDIS = pytest.param("/usr/bin/redis-server", marks=pytest.mark.needs_redis, id="redis")


@pytest.mark.parametrize("program", ["", REDIS] if PROVING else [""])
@pytest.mark.parametrize("share", ["none", "the stamp", "half", "all"] if PROVING else ["none", "half"])
def test_a_slot_that_moves_key_by_key_halves_nothing(namespace: str, slot: int, share: str, program: str) -> None:
    cluster = shared_cluster(program)
    url = f"{cluster.url}?partitions=1&namespace={namespace}"
    with holding_back(url) as (tokens, store):
        for owner in ("alice", "bob"):  # so that they have an entry: else a commit reads first that they have none
            tokens.disable_owner(owner)
            tokens.enable_owner(owner)
        alice, bob = (tokens.open_session(owner) for owner in ("alice", "bob"))
        issued = [tokens.issue_token(alice.id, number, transferable=True) for number in range(4)]
        commands: list[Callable[[], object]] = [
            lambda: tokens.open_session("carol"),
            lambda: tokens.issue_token(alice.id, "new", transferable=True),
            lambda: tokens.transfer_token(issued[0].id, giver="alice", receiver="bob"),
            lambda: tokens.rotate_session(bob.id),
            lambda: tokens.destroy_session(alice.id),
        ]
        questions: list[Callable[[], object]] = [
            lambda: tokens.verify_session(alice.secret),
            lambda: tokens.verify_token(issued[1].secret),
            lambda: [token.id for token in tokens.list_tokens(owner="alice").items],
        ]
        answers = [ask() for ask in questions]
        with store.holding() as held:
            for command in commands:
                with pytest.raises(StoreUnavailable, match="held back"):
                    command()
        moved = HalfMoved(cluster, slot)
        try:
            keys = moved.keys(moved.source)
            last = f"{{{namespace}:00}}:n".encode()
            part = {"none": [], "the stamp": [last], "half": keys[::2], "all": keys}[share]
            if part:
                cluster.move_keys(moved.source, moved.target, part)
            before = moved.stands()
            assert len(before) == len(keys) > 20
            refused = [is_refused(store, partial(store.commit_now, commit)) for commit in held]
            for ask, answer in zip(questions, answers, strict=True):
                found: list[object] = []
                if not is_refused(store, lambda ask=ask, found=found: found.append(ask())):  # type: ignore[misc]  # the arguments are bound here
                    assert found == [answer]

            assert len(held) == len(commands)
            assert moved.stands() == before
            assert all(refused)
        finally:
            moved.end()
        store._core.retrying.breaker.succeeded()
        assert [eventually(ask) for ask in questions] == answers
        for command in commands:
            eventually(command)
        assert tokens.verify_session(alice.secret) is None
        assert store.check_now() == []


# --- nodes that fail ---


async def test_no_acknowledged_write_is_lost_when_the_primary_of_the_slot_dies(namespace: str, slot: int) -> None:
    """With a replica that confirms each commit, and another so that writes go on; then a fail-over in order."""
    followed = slot * 3 // SLOTS
    with cluster_of(3, (followed, followed)) as cluster:
        store = await Acknowledged.at(
            f"{cluster.url}?partitions=1&namespace={namespace}&durability=replicated&replicas=1"
        )
        await store.write(TURNS)
        holder = await asyncio.to_thread(cluster.holder, slot)
        writing = asyncio.create_task(store.write(2 * TURNS))
        await asyncio.sleep(0)
        holder.kill()
        await writing
        survivor = await asyncio.to_thread(cluster.holder, slot)
        assert survivor is not holder
        await asyncio.to_thread(wait_until, lambda: cluster.followers(survivor))
        cluster.followers(survivor)[0].say("CLUSTER", "FAILOVER")
        await store.write(TURNS)

        assert len(store.issued) == 20 * TURNS
        await asyncio.to_thread(wait_until, lambda: cluster.holder(slot) is not survivor)
        assert await store.lost() == []
        await store.close()


if PROVING:

    async def test_without_a_replica_that_confirms_writes_are_lost_and_it_is_seen(namespace: str, slot: int) -> None:
        """What the test above finds nothing of: the replica stands still, and the primary dies meanwhile."""
        with cluster_of(3, (slot * 3 // SLOTS,)) as cluster:
            store = await Acknowledged.at(f"{cluster.url}?partitions=1&namespace={namespace}")
            await store.write(TURNS)
            holder = await asyncio.to_thread(cluster.holder, slot)
            await asyncio.to_thread(wait_until, lambda: cluster.is_whole() and cluster.followers(holder))
            (replica,) = cluster.followers(holder)
            replica.freeze()
            holder.say("CLIENT", "KILL", "TYPE", "replica")  # else what was sent is read when it wakes
            before = len(store.issued)
            await store.write(2)
            holder.kill()
            replica.wake()
            await asyncio.to_thread(wait_until, lambda: cluster.holder(slot) is replica)

            assert await store.lost() == store.issued[before:]
            await store.close()


@pytest.mark.parametrize("partitions", [1, 64])
def test_a_woken_primary_that_was_replaced_is_not_believed(namespace: str, slot: int, partitions: int) -> None:
    """It carries out what lies in its sockets before it learns that it is no primary any more, which may be late."""
    with cluster_of(3, (0, 1, 2), *DEAFENED) as cluster:
        url = f"{cluster.url}?namespace={namespace}&partitions={partitions}"
        placement = Placement(namespace)
        slot = placement.slots[partition_of_owner("alice") if partitions > 1 else UNSPREAD]
        with SessionTokens(open_valkey_blocking(url, pepper=PEPPER)) as idle:
            issued = idle.open_session("alice")
            assert idle.verify_session(issued.secret) == idle.verify_session(issued.secret) == issued.session
            wait_until(lambda: cluster.followers(cluster.holder(slot)) and cluster.is_whole())
            old = cluster.holder(slot)
            old.deafen()  # as a machine that was moved: the network of its clients is back, the other not yet
            old.freeze()
            try:
                wait_until(lambda: cluster.holder(slot) is not old)
                with SessionTokens(eventually(lambda: open_valkey_blocking(url, pepper=PEPPER))) as other:
                    eventually(lambda: other.destroy_session(issued.id))
                found: list[object] = []
                asking = threading.Thread(
                    target=lambda: found.append(eventually(lambda: idle.verify_session(issued.secret)))
                )
                asking.start()
                asking.join(0.2)  # so that the question lies in its socket
            finally:
                old.wake()
            asking.join(60)

            assert found == [None]


@pytest.mark.parametrize("partitions", [1, 64])
def test_a_node_that_is_cut_off_is_not_asked_where_the_others_are(namespace: str, partitions: int) -> None:
    """Its slot map is that of the day on which it was cut off, and it says so to whoever asks it first."""
    with cluster_of(3, (0, 1, 2), *DEAFENED) as cluster:
        url = f"{cluster.url}?namespace={namespace}&partitions={partitions}"
        with SessionTokens(open_valkey_blocking(url, pepper=PEPPER)) as tokens:
            issued = tokens.open_session("alice")
        first = cluster.nodes[0]
        (replica,) = cluster.followers(first)
        first.deafen()
        wait_until(lambda: is_primary(replica))

        with SessionTokens(open_valkey_blocking(url, pepper=PEPPER)) as anew:
            assert eventually(lambda: anew.verify_session(issued.secret)) == issued.session
            for owner in map(str, range(20)):  # on all nodes
                eventually(partial(anew.open_session, owner))
