"""What a store examines, when it opens, of all the servers that may be its primary one day. No I/O."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from typing import Any

from ...errors import StoreUnavailable
from .packing import fields_of, milliseconds, pack
from .primaries import Primary, Question
from .schema import check_memory, check_server

log = logging.getLogger("session_tokens.stores")

CLOCKS_APART_MS = 1000
SURVEY = b"".join(map(pack, ([b"INFO", b"server"], [b"INFO", b"memory"], [b"TIME"])))
SURVEY_REPLIES = 3


def surveying(primary: Primary) -> Generator[Question, list[Any], None]:
    """Yield questions to all servers that may be the primary one day, take their replies; log what may be so or not.

    Raises:
        StoreError: one of them is too old, throws keys away, or is replaced sooner than the store waits for it.
    """
    clocks: list[float] = []
    for options in (yield from primary.listing()):
        try:
            server, memory, told = yield Question(options, SURVEY, SURVEY_REPLIES)
        except StoreUnavailable as error:
            log.warning("a server that may be the primary one day cannot be looked at (%s): %s", _name(options), error)
            continue
        check_server(fields_of(server))
        check_memory(fields_of(memory))
        clocks.append(milliseconds(told) - time.time() * 1000)
    if clocks and (apart_ms := max(clocks) - min(clocks)) > CLOCKS_APART_MS:
        log.warning(
            "the clocks of the servers are %.1f s apart; what is over at one is alive again at another after a "
            "fail-over. Let them keep time (NTP)",
            apart_ms / 1000,
        )


def _name(options: Any) -> str:
    return f"{options.get('host')}:{options.get('port')}"
