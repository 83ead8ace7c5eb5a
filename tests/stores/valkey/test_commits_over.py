"""What becomes of a commit over partitions by what their servers answer; ``test_joint`` has it carried out by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from session_tokens.clock import NEVER
from session_tokens.contract.changes import Changes
from session_tokens.contract.drive import drive_now
from session_tokens.contract.optimistic import Commit
from session_tokens.contract.partitioning import spread
from session_tokens.crypto.minting import PepperKeyring
from session_tokens.stores.common.retry import Full
from session_tokens.stores.valkey.cluster_core import ClusterCore
from session_tokens.stores.valkey.joint import Call
from session_tokens.stores.valkey.schema import Address

NOW = 1_700_000_000_000


def test_an_end_that_a_full_server_would_take_is_judged_again_where_it_came_too_late() -> None:
    """There is room for ends, but somebody was faster meanwhile: that is no lack of room."""
    core = ClusterCore(Address("valkey://127.0.0.1:1"), PepperKeyring(bytes(range(32))), "")
    changes = Changes()
    changes.only_ends, changes.not_after = True, NEVER
    for number in range(2):
        changes.others().settings.append((spread("one", number), None))
    asked: list[bytes] = []

    def answer(calls: Sequence[Call]) -> list[Any]:
        asked.extend(call.words[1] for call in calls)
        full = any(call.words[1] == b"session_tokens_hold_v1" for call in calls)
        return [Full("the server is out of memory") if full else [NOW, 0] for _ in calls]

    written = drive_now(core.committing_over([core.placed(Commit(changes, {}, NOW))]), answer)

    assert {b"session_tokens_hold_v1", b"session_tokens_hold_end_v1"} <= set(asked)
    assert written.results == [False]
