"""The check of a whole store in PostgreSQL: its functions and indexes, and its records."""

from __future__ import annotations

from ..common.findings import Findings, Progress
from ..common.sql_check import checking_records
from ..common.sql_upkeep import SqlUpkeep
from .address import Address
from .check_indexes import Foundations
from .schema import Script


def checking(backend: SqlUpkeep, address: Address, fix: bool = False, progress: Progress | None = None) -> Script:
    """A script that answers what is wrong, as a list, and mends what can be mended where ``fix``."""
    findings = Findings(fix)
    foundations = Foundations(address, fix, findings)
    if not (yield from foundations.functions()):
        return findings.all  # nothing can be asked without them
    yield from foundations.indexes()
    yield from checking_records(backend, findings, fix, progress)
    return findings.all
