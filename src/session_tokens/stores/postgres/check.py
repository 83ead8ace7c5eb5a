"""The check of a whole store in PostgreSQL: its functions, indexes and sequence, and its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..common.findings import Findings, Progress
from ..common.kinds import Kind
from ..common.sql_check import checking_records
from ..common.sql_upkeep import SqlUpkeep
from .address import Address
from .check_indexes import Foundations
from .rows import NUMBERS
from .schema import Script


def checking(backend: SqlUpkeep, address: Address, fix: bool = False, progress: Progress | None = None) -> Script:
    """A script that answers what is wrong, as a list, and mends what can be mended where ``fix``."""
    findings, numbers = Findings(fix), [0]
    foundations = Foundations(address, fix, findings)
    if not (yield from foundations.functions()):
        return findings.all  # nothing can be asked without them
    yield from foundations.indexes()

    def heard(kind: Kind, columns: Sequence[Any]) -> None:
        numbers[0] = max(numbers[0], columns[-1] & NUMBERS)

    yield from checking_records(backend, findings, fix, progress, heard)
    yield from foundations.stamps(numbers[0])
    return findings.all
