"""The text of the function library that a Valkey or Redis server runs for the store."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

LIBRARY = "session_tokens_v1"


@cache
def library_text() -> bytes:
    """Answer the text of the function library."""
    return files(__package__).joinpath("lua", f"{LIBRARY}.lua").read_bytes()
