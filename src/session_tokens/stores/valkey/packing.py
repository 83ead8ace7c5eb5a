"""What goes over the wire: commands packed as the server reads them, and what its plain replies say. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any


def _pack(words: Sequence[bytes]) -> bytes:
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))


def _packer() -> Callable[[Sequence[bytes]], bytes]:
    """Return what packs words: the C code that the drivers' fast parsers bring along, else our own line."""
    for name in ("libvalkey", "hiredis"):
        try:
            packer: Callable[[tuple[bytes, ...]], bytes] = import_module(name).pack_command
        except (ImportError, AttributeError):
            continue
        return lambda words: packer(tuple(words))
    return _pack


pack = _packer()
"""Return a command as the server reads it."""


def fields_of(info: bytes) -> dict[str, str]:
    """Return what a reply to ``INFO`` says: name → text."""
    lines = info.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def mapping_of(reply: Any) -> dict[str, Any]:
    """Return a reply that is a mapping: a list in RESP2."""
    pairs = reply.items() if isinstance(reply, Mapping) else list(pairwise(reply))[::2]
    return {_text(name): _text(value) for name, value in pairs}


def _text(word: Any) -> Any:
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else word


def milliseconds(time: Any) -> int:
    """Return the instant of a reply to ``TIME``."""
    seconds, microseconds = time
    return int(seconds) * 1000 + int(microseconds) // 1000
