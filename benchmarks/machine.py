"""Describe the machine and the versions that a result was measured with, without naming the machine itself."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib import metadata
from pathlib import Path


def describe() -> dict[str, str | int | float]:
    """Give processor model, cores this process may use, memory, operating system, and how busy the machine is."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1),
        "memory_gib": _memory_gib(),
        "load": round(os.getloadavg()[0], 1),  # of the last minute; our own two sides are part of it
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Give the versions of Python, SQLite and session-tokens."""
    try:
        ours = metadata.version("session-tokens")
    except metadata.PackageNotFoundError:
        ours = "from the source tree"
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "session-tokens": ours,
    }


def filesystem(path: Path) -> str:
    """Give the type of the file system that holds `path`, such as ext4 ("unknown" where it cannot be read)."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    best, kind = "", "unknown"
    for line in lines:
        _, where, what, *_ = line.split(" ")
        if str(path.resolve()).startswith(where) and len(where) >= len(best):
            best, kind = where, what
    return kind


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _memory_gib() -> int:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    except (ValueError, OSError):
        return 0
