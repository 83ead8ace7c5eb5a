"""Say whether the core runs as it is written or compiled; this file is compiled with the core, so it knows."""

from __future__ import annotations

from typing import Final

COMPILED: Final = not __file__.endswith(".py")
"""Whether the core was compiled when this package was built. What it answers is the same either way."""
