"""The forms that pages send, and the files that they load."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from urllib.parse import parse_qsl

from starlette.requests import Request

FORM_BYTES_MAX = 24_576
FIELDS_MAX = 80
MANY = "id"
"""The one field that may be sent more than once; its values are put together with blanks between."""
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


async def fields_of(request: Request) -> dict[str, str] | None:
    """Return the fields of a form; ``None`` for what is none, is too large or names a field twice."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            return None
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict",
            max_num_fields=FIELDS_MAX,
        )  # fmt: skip
    except ValueError:
        return None
    fields = dict(pairs)
    many = [value for name, value in pairs if name == MANY]
    if len(fields) + max(0, len(many) - 1) != len(pairs):
        return None
    return {**fields, MANY: " ".join(many)} if many else fields


def static_files() -> dict[str, tuple[bytes, str, str]]:
    """Return the files that pages load: content, type and tag by name."""
    root = files(__package__) / "static"
    found: dict[str, tuple[bytes, str, str]] = {}
    for folder, prefix in ((root, ""), (root / "vendor", "vendor/")):
        for file in folder.iterdir():
            kind = TYPES.get("." + file.name.rpartition(".")[2])
            if file.is_file() and kind is not None:
                content = file.read_bytes()
                found[prefix + file.name] = (content, kind, f'"{hashlib.sha256(content).hexdigest()[:16]}"')
    return found
