"""Structured logs: one JSON object a line, in UTC, with public ids only, written by a thread of their own.

Whoever reads the log may stop reading: a full pipe blocks who writes to it. The loop only hands lines over, to a queue
that is bounded; what does not fit is dropped and counted, and the log says how many once it goes on.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Final, TextIO

from .exchange import Exchange

log = logging.getLogger("session_tokens.service")

LINES_MAX: Final = 2_000
"""Lines that wait to be written; more are dropped."""
LINES_AT_ONCE: Final = 200
TOGETHER_S: Final = 0.02
"""For how long lines are gathered: were each written by itself, two threads would hand each other the interpreter."""
WHOLE_BYTES_MAX: Final = select.PIPE_BUF
CLOSING_S_MAX: Final = 1.0

FIELDS = (
    "event", "request_id", "key_id", "method", "route", "status", "code", "source", "act", "outcome", "subject_id",
    "duration_ms",
)  # fmt: skip
"""What a line may say beside time, level and message. Nothing that a caller sent is among them."""


class JSONLines(logging.Formatter):
    """Writes a record as one line of JSON; whatever it holds, control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


class WrittenBeside(logging.Handler):
    """Hands lines to a thread that writes them, some together.

    Args:
        stream: written to through its file where it has one: a thread that waits for a pipe then holds no lock of the
            stream, which would keep the process from ending.

    Attributes:
        dropped: how many lines were dropped, because the queue was full or nothing could be written.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.dropped = 0
        self._told = 0
        self._stream = stream
        try:
            self._file: int | None = stream.fileno()
        except OSError:  # io.UnsupportedOperation is one
            self._file = None
        self._lines: deque[str] = deque()
        self._has_lines = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._write_all, name="session-tokens log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a line over, or drop it."""
        if len(self._lines) >= LINES_MAX:
            self.dropped += 1
            return
        self._lines.append(self.format(record) + "\n")
        if not self._has_lines.is_set():
            self._has_lines.set()

    def close(self) -> None:
        """Write what there is, for a second at most; twice is the same."""
        self._is_closing = True
        self._has_lines.set()
        self._thread.join(CLOSING_S_MAX)
        super().close()

    def _write_all(self) -> None:
        while True:
            self._has_lines.wait()
            if not self._is_closing:
                time.sleep(TOGETHER_S)
            self._has_lines.clear()
            while self._lines:
                self._write_some()
            if self._is_closing:
                return

    def _write_some(self) -> None:
        """Write some lines; behind a gap, how many are missing there."""
        taken = [self._lines.popleft() for _ in range(min(len(self._lines), LINES_AT_ONCE))]
        missing = self.dropped - self._told
        if missing:
            self._told += missing
            taken.append(self.format(_gap(missing)) + "\n")
        try:
            self._write("".join(taken))
        except OSError:
            self.dropped += len(taken)
            self._told += len(taken)

    def _write(self, text: str) -> None:
        if self._file is None:
            self._stream.write(text)
            self._stream.flush()
            return
        left = memoryview(text.encode("ascii"))
        while left:
            try:
                left = left[os.write(self._file, _lines_at_once(left)) :]
            except BlockingIOError:
                select.select((), (self._file,), ())


def _lines_at_once(left: memoryview) -> memoryview:
    """Return the lines at the beginning that a pipe takes in one piece: other workers write to the same one."""
    end = bytes(left[:WHOLE_BYTES_MAX]).rfind(b"\n") + 1
    return left[:end] if end else left


def _gap(missing: int) -> logging.LogRecord:
    record = logging.LogRecord(
        log.name, logging.WARNING, "", 0, "%d lines of the log were dropped: nobody read it in time", (missing,), None
    )
    record.event = "log_dropped"
    return record


def lines_dropped() -> int:
    """Return how many lines of the log this process has dropped."""
    handlers = logging.getLogger("session_tokens").handlers
    return sum(handler.dropped for handler in handlers if isinstance(handler, WrittenBeside))


def log_to(stream: TextIO = sys.stderr, level: int = logging.INFO) -> logging.Handler:
    """Send the logs of the library and the server to a stream as JSON lines; return the handler."""
    handler = WrittenBeside(stream)
    handler.setFormatter(JSONLines())
    for name in ("session_tokens", "uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    # What uvicorn logs at INFO the service logs itself, in words of its own.
    for name in ("uvicorn", "asyncio"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    return handler


def log_answer(exchange: Exchange, duration_s: float, level: int) -> None:
    """Write down an answered request: who, what, outcome. Reads on the hot path are counted, not written.

    One that failed by our side is a warning, whatever it asked for.
    """
    if exchange.status >= 500:
        level = max(level, logging.WARNING)
    if log.isEnabledFor(level):
        log.log(
            level,
            "request",
            extra={
                "event": "request",
                "request_id": exchange.request_id,
                "key_id": exchange.key_id,
                "method": exchange.method if exchange.method.isalpha() and len(exchange.method) < 8 else "other",
                "route": exchange.route,
                "status": exchange.status,
                "code": exchange.code,
                "duration_ms": round(duration_s * 1000, 3),
            },
        )
