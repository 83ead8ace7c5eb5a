"""Where keys lie that are spread over a cluster, and what ids, secrets and look-up keys say of it."""

from __future__ import annotations

from collections import Counter

import pytest

from session_tokens.contract.partitioning import (
    NUMBERS,
    Partitioned,
    named_by_lookup,
    partition_named_in,
    partition_of_owner,
)
from session_tokens.crypto.minting import PepperKeyring, new_id, new_secret
from session_tokens.crypto.secret_form import (
    PARTITION,
    PARTITION_NAMES,
    PARTITIONS,
    SECRET_BEGINNINGS,
    SESSION_ID,
    SESSION_SECRET,
    is_id,
    is_secret,
)
from session_tokens.stores.valkey.keys import lookup_part, owner_part
from session_tokens.stores.valkey.placement import (
    FIRST,
    UNSPREAD,
    Placement,
    middle_slot,
    partition_of,
    prefixes,
)
from session_tokens.stores.valkey.primaries import SLOTS, slot_of

KEYRING = PepperKeyring({"one": bytes(32), "two": bytes(range(32))})
ALONE = PepperKeyring({"one": bytes(32)})


@pytest.mark.parametrize("name", ["st", "st.tt", "a", "A" * 32, "x.y-z_0"])
def test_each_partition_lies_in_the_middle_of_its_stretch_of_slots(name: str) -> None:
    slots = [slot_of(prefix + b"n") for prefix in prefixes(name)]

    assert slots == [middle_slot(partition) for partition in range(PARTITIONS)]
    assert slots[0] == 128 and slots[-1] == SLOTS - 128


def test_nodes_that_share_slots_evenly_share_partitions_evenly() -> None:
    for nodes in range(1, PARTITIONS + 1):
        bounds = [number * SLOTS // nodes for number in range(nodes + 1)]
        holders = Counter(
            next(number for number in range(nodes) if bounds[number] <= middle_slot(partition) < bounds[number + 1])
            for partition in range(PARTITIONS)
        )
        assert len(holders) == nodes and max(holders.values()) - min(holders.values()) <= 1, (nodes, holders)


def test_owners_are_spread_evenly() -> None:
    counts = Counter(partition_of_owner(f"owner {number}") for number in range(64_000))

    assert len(counts) == PARTITIONS and min(counts.values()) > 800 and max(counts.values()) < 1200


@pytest.mark.parametrize("owner", ["alice", "", "\u00e9\ud800", "x" * 255])
def test_what_is_an_owners_lies_where_the_owner_does(owner: str) -> None:
    number, name = partition_of_owner(owner), Partitioned().of_owner(owner)
    id, secret = new_id(SESSION_ID, name), new_secret(SESSION_SECRET, name)
    of_owner = [kind + owner_part(owner) for kind in (b"e:", b"bo:", b"bp:")]
    of_id = [kind + id.encode() for kind in (b"s:", b"t:", b"k:", b"bh:", b"lx:", b"bs:", b"q:s:")]
    of_secret = [kind + lookup_part(lookup) for kind in (b"S:", b"T:", b"K:") for lookup in KEYRING.lookups(secret)]

    assert NUMBERS[name] == number and is_id(SESSION_ID, id) and is_secret(SESSION_SECRET, secret)
    assert {partition_of(name) for name in (*of_owner, *of_id, *of_secret)} == {number}
    assert partition_named_in(id) == partition_named_in(KEYRING.lookups(secret)) == name


def test_what_names_no_partition_lies_where_its_digest_says() -> None:
    """What was minted where there is one place, or chosen by somebody; evenly, and the same each time."""
    ids = [new_id(SESSION_ID) for _ in range(6_400)]
    assert {partition_named_in(id) for id in ids} == {PARTITION}
    counts = Counter(partition_of(b"s:" + id.encode()) for id in ids)
    assert len(counts) == PARTITIONS and max(counts.values()) < 200
    for text in ("any name", "sts_zzz", "stx_01", *SECRET_BEGINNINGS, new_secret(SESSION_SECRET)):
        lookup = KEYRING.lookup(text)
        assert named_by_lookup(lookup) == PARTITION and lookup.partition(":")[0] == "one"
    assert partition_of(b"c:anything") == FIRST
    assert 0 <= partition_of(b"t:~" + b"0" * 64) < PARTITIONS


def test_a_look_up_key_names_the_partition_of_its_secret_alone() -> None:
    """With one pepper or several: records can be copied from store to store."""
    for name in PARTITION_NAMES:
        secret = new_secret(SESSION_SECRET, name)
        assert KEYRING.lookup(secret) == ALONE.lookup(secret) == KEYRING.lookups(secret)[0] == ALONE.lookups(secret)[0]
        assert [lookup[-3:] for lookup in KEYRING.lookups(secret)] == [f"-{name}"] * 2
    for text in (new_secret(SESSION_SECRET), "", "short", "sts_000", "any text of an application's"):
        assert KEYRING.lookup(text) == ALONE.lookup(text) == KEYRING.lookups(text)[0] == ALONE.lookups(text)[0]
        assert KEYRING.lookup(text).count("-") == 0


def test_one_slot_is_known_beside_the_partitions() -> None:
    placement = Placement("st")

    assert placement.prefixes[UNSPREAD] == b"{st:00}:" and placement.slots[UNSPREAD] == slot_of(b"{st:00}:n")
