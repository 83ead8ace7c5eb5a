"""The indexes of the memory store: what stands under a key, however many there are."""

from __future__ import annotations

from random import Random

import pytest

from session_tokens.stores.memory.indexes import FEW, Bucket, add_member, drop_member, member_count, members


@pytest.mark.parametrize("count", [1, 2, 3, FEW, FEW + 1, 3 * FEW])
def test_members_stand_in_the_order_in_which_they_came_until_they_go(count: int) -> None:
    index: dict[str, Bucket] = {}
    names = [f"member {number}" for number in range(count)]
    for name in names:
        add_member(index, "ann", name)
    assert names == list(members(index, "ann"))
    assert count == member_count(index, "ann")

    drop_member(index, "ann", "nobody")
    drop_member(index, "bob", names[0])
    going = list(names)
    Random(count).shuffle(going)
    for name in going:
        drop_member(index, "ann", name)
        names.remove(name)
        assert names == list(members(index, "ann"))
        assert len(names) == member_count(index, "ann")
    assert {} == index


def test_few_members_take_no_room_for_others() -> None:
    index: dict[str, Bucket] = {}
    add_member(index, "ann", "one")
    alone = dict(index)
    add_member(index, "ann", "two")
    both = dict(index)
    drop_member(index, "ann", "one")

    assert {"ann": "one"} == alone
    assert {"ann": ("one", "two")} == both
    assert {"ann": "two"} == index
