"""How addresses of the console are written."""

from __future__ import annotations

from urllib.parse import urlencode


def address(path: str, **query: str | int | None) -> str:
    """Return an address with what of its query is not empty."""
    kept = {name.rstrip("_"): value for name, value in query.items() if value not in ("", None)}
    return f"{path}?{urlencode(kept)}" if kept else path
