"""The audit log in 64 partitions of a cluster: an entry lies where its command commits, so that it needs no other."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from session_tokens import SessionTokens
from session_tokens.audit.log import Audit, read_anchors
from session_tokens.audit.reader import read_now, verifying
from session_tokens.contract.partitioning import partition_of_owner
from session_tokens.crypto.secret_form import PARTITIONS
from session_tokens.rules.audit import CHAINS, entry_name, head_name, place_of_entry
from session_tokens.stores.valkey.placement import partition_of
from tests.helpers.servers.cluster import shared_cluster

pytestmark = pytest.mark.server

PEPPER = bytes(range(32))
OWNERS = [f"owner {number}" for number in range(24)]


def opened(audit: Audit | None = None) -> SessionTokens:
    url = f"{shared_cluster().url}?timeout=20&namespace=t{uuid.uuid4().hex[:12]}"
    return SessionTokens.open(url, pepper=PEPPER, audit=audit, sweep=False)


def test_a_chain_lies_where_its_number_says() -> None:
    for chain in range(CHAINS):
        assert partition_of(b"c:" + head_name(chain).encode()) == chain % PARTITIONS
        assert partition_of(b"c:" + entry_name(17, chain).encode()) == chain % PARTITIONS
        assert place_of_entry(entry_name(17, chain)) == (chain, 17)


def test_a_command_adds_to_a_chain_of_its_owners_partition(tmp_path: Path) -> None:
    with opened(Audit(tmp_path / "anchors")) as tokens:
        for owner in OWNERS:
            issued = tokens.open_session(owner)
            tokens.update_session_data(issued.secret, {"n": 1})
            token = tokens.issue_token(issued.secret, "seat", idempotency_key=f"seat of {owner}")
            tokens.reissue_token(token.secret, owner=owner)
            tokens.destroy_session(issued.id)
        entries = tokens.list_audit(limit=500)

    assert len(entries) == 5 * len(OWNERS)
    assert {entry["chain"] % PARTITIONS == partition_of_owner(entry["owner"]) for entry in entries} == {True}
    assert len({entry["chain"] % PARTITIONS for entry in entries}) > len(OWNERS) // 2


def test_commands_side_by_side_leave_whole_chains_that_reach_their_anchors(tmp_path: Path) -> None:
    with opened(Audit(tmp_path / "anchors", every=1)) as tokens:

        def work(owner: str) -> None:
            issued = tokens.open_session(owner)
            token = tokens.issue_token(issued.id, "deed", transferable=True)
            tokens.open_session(f"{owner}'s friend")
            tokens.transfer_token(token.id, giver=owner, receiver=f"{owner}'s friend")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, OWNERS))
        tokens.sweep()
        keyring = tokens.store.keyring
        verdict = read_now(tokens.store, verifying(keyring, read_anchors(tmp_path / "anchors"), lambda number: None))
        transfers = [entry for entry in tokens.list_audit(limit=500) if entry["kind"] == "token_transferred"]

    assert verdict.findings == []
    assert verdict.anchors > 0
    assert len(transfers) == len(OWNERS)
