"""What authors of stores and applications test with: a clock that tests move, and the suite every store passes."""

from ..clock import ManualClock

__all__ = ["ManualClock"]
