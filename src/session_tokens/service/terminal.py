"""What is said to people, and whether one of them is there."""

from __future__ import annotations

import sys
from functools import partial

say = partial(print, flush=True)  # a log of a service manager should have it at once


def is_at_terminal() -> bool:
    """Whether somebody started this process at a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()
