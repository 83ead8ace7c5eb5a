"""Structured logs: one JSON object a line, in UTC, with public ids only."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from .exchange import Exchange

log = logging.getLogger("session_tokens.service")

FIELDS = ("event", "request_id", "key_id", "method", "route", "status", "code", "source", "duration_ms")
"""What a line may say beside time, level and message. Nothing that a caller sent is among them."""


class JSONLines(logging.Formatter):
    """Writes a record as one line of JSON; whatever it holds, control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Answer the line."""
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


def log_to(stream: TextIO = sys.stderr, level: int = logging.INFO) -> logging.Handler:
    """Send the logs of the library and the server to a stream as JSON lines; answer the handler."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONLines())
    for name in ("session_tokens", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    # What uvicorn says at INFO is told by the service itself, in words of its own.
    logging.getLogger("uvicorn").setLevel(max(level, logging.WARNING))
    return handler


def log_answer(exchange: Exchange, duration_s: float, level: int) -> None:
    """Write down an answered request: who, what, outcome. Reads on the hot path are counted, not written."""
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
