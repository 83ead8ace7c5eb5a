"""What authors of stores and applications test with: a clock that moves when told, and the suite every store passes."""

from ..clock import ManualClock

__all__ = ["ManualClock"]
