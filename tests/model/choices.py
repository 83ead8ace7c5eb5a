"""What the state machine draws from: arguments, keys, settings, steps of time, and when a rule makes sense at all."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tests.model.naive import Record

if TYPE_CHECKING:
    from tests.model.machine_core import MachineCore

START_MS = 1_700_000_000_000
IDEMPOTENCY_MS = 86_400_000
OWNERS = ("ann", "bob", "cyn", "dan")
NO_KEY = (
    "no key at all", "", "strange session", "strange session secret", "strange token", "strange token secret",
)  # fmt: skip
USE_EVERY_MS = (0, 99, 100, 101, 1_000, 1_600, 10_000)
STEPS_MS = (1, 10, 100, 999, 1_000, 1_000, 3_000, 3_000, 5_000, 16_000, 60_000, 600_000, 3_600_000, 86_400_000)

owners = st.sampled_from(OWNERS)
idle_timeouts = st.sampled_from([None, 1_600, 16_000, 160_000])  # multiples of 16 ms, so that no rounding is at stake
ages = st.sampled_from([None, 30_000, 600_000, 3_600_000])
token_timeouts = st.sampled_from([None, 5_000, 60_000, 7_200_000])
values = st.sampled_from(["plain", "", {"_owner": "x", "_price": 1}, ["a", 1, None], 7, True, None])
prices = st.sampled_from([None, Decimal(0), Decimal("12.50"), Decimal("-3.25")])
tags = st.sampled_from([None, "seat", "job"])
uses = st.sampled_from([1, 1, 2, 3])
spans = st.sampled_from([1_000, 5_000, 60_000])
loan_times = st.sampled_from([1, 1, 1, 2, 17])
small_limits = st.integers(1, 3)
general_settings = st.fixed_dictionaries(
    {
        "max_age": ages, "idle_timeout": idle_timeouts, "token_timeout": token_timeouts,
        "disownment_timeout": token_timeouts, "max_sessions": st.sampled_from([1, 2, None]),
        "session_policy": st.sampled_from(["replace_oldest", "replace_all", "refuse"]),
    },
    optional={"detached_timeout": ages},  # where it is left out, it is the general `max_age`
)  # fmt: skip


def drawn(choices: str) -> st.SearchStrategy[Any]:
    """Draw from what the machine's method `choices` answers at that moment."""
    return st.runner().flatmap(lambda machine: st.sampled_from(getattr(machine, choices)()))


def when_sessions_live(machine: MachineCore) -> bool:
    return bool(machine.model.living_sessions())


def when_secrets_are_former(machine: MachineCore) -> bool:
    return bool(machine.former_secrets_now())


def when_tokens_live(machine: MachineCore) -> bool:
    return bool(machine.model.living_tokens())


def when_sessions_are_detached(machine: MachineCore) -> bool:
    return bool(machine.detached_keys_now())


def when_tokens_are_owned(machine: MachineCore) -> bool:
    return bool(machine.owned_keys_now())


def when_tokens_are_offered(machine: MachineCore) -> bool:
    return bool(machine.offered_keys_now())


def when_tokens_are_counted(machine: MachineCore) -> bool:
    return bool(machine.counted_keys_now())


def when_tokens_are_unassigned(machine: MachineCore) -> bool:
    return bool(machine.unassigned_keys_now())


def when_commands_are_kept(machine: MachineCore) -> bool:
    return bool(machine.kept_now())


def when_owners_are_disabled(machine: MachineCore) -> bool:
    return bool(machine.model.disabled)


def when_all_stores_are_durable(machine: MachineCore) -> bool:
    return all(world.kind.durable for world in machine.worlds)


def when_a_store_is_durable(machine: MachineCore) -> bool:
    return any(world.kind.durable for world in machine.worlds)


session_keys, token_keys = drawn("session_keys_now"), drawn("token_keys_now")
holders = drawn("holders_now")


def some(**options: st.SearchStrategy[Any]) -> st.SearchStrategy[Record]:
    """Draw keyword arguments of which any may be left out."""
    return st.fixed_dictionaries({}, optional=options)
