"""Lets mypyc, which compiles the core, read ``mypyc_attr`` where ``mypy_extensions`` is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

C = TypeVar("C")

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**_: bool) -> Callable[[C], C]:
        """Leave a class as it is: without a compiler nobody needs the hint.

        ``allow_interpreted_subclasses``: classes outside the compiled core derive from it.
        ``acyclic``: its objects refer to nothing that could refer back, so the collector need not look at them.
        """
        return lambda kind: kind


__all__ = ["mypyc_attr"]
