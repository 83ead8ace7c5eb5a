"""What is sent for a command, how often, and what its answer means: a generator without I/O.

It yields a ``Request`` and is sent a ``Sent``, or the ``Unanswered`` that says why there is none; or it yields a
``Pause``. Whatever changes something is sent with one idempotency key however often, so that it is done once.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, NamedTuple

from .. import errors
from ..errors import (
    InvalidInput,
    Refused,
    SessionTokensError,
    StoreBusy,
    StoreError,
    StoreUnavailable,
    UnknownKey,
    UnknownSession,
    UnknownToken,
)
from ..stores.common.server_clock import ServerClock
from .calls import Call, Reply, Request, has_changed, request_of

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
NOW = "session-tokens-now"
NOTHING_LIVES = frozenset({"unknown_session", "unknown_token", "session_ended"})
AGAIN = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may be answered otherwise."""


class NotOffered(InvalidInput, AttributeError):
    """A name of the library that the service does not offer."""


class Forbidden(Refused):
    """The role of the service key, or what it is bound to, does not allow it."""

    code = "forbidden"


class Sent(NamedTuple):
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Unanswered(NamedTuple):
    """No answer: the service could not be reached, or the connection ended before it came."""

    why: str


CLOSED = "the client is closed; connect again"
FOREIGN = Unanswered("what answers there is no session-tokens service of this version")


class _Foreign(Exception):
    """An answer that is not the service's."""


class Pause(NamedTuple):
    """What to wait for before the next try."""

    seconds: float


Step = Request | Pause
Exchange = Generator[Step, Sent | Unanswered | None, Any]


def _kinds() -> Iterator[tuple[str, type[SessionTokensError]]]:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, SessionTokensError):
            yield kind.code, kind


KINDS = dict(_kinds())
"""The errors of the library by the code that stands in a problem."""


def exchange(
    call: Call,
    arguments: Mapping[str, Any],
    clock: ServerClock,
    retry_for_s: float,
    *,
    now_s: Callable[[], float] = time.monotonic,
) -> Exchange:
    """Send a command until it is answered, or has not been for so long; return what it returns.

    Args:
        call: the command.
        arguments: by their names.
        clock: is set by each answer.
        retry_for_s: for how long it is tried again.
        now_s: the time here, in seconds.

    Raises:
        SessionTokensError: as the library raises it.
        StoreUnavailable: the service did not answer for so long; what was asked for may have been done.
    """
    try:
        request = request_of(call, arguments, uuid.uuid4().hex if call.changes else None)
    except (UnknownSession, UnknownToken):
        if call.answer is has_changed:
            return False  # what can be nothing needs no end
        raise
    ends_s, pause_s = now_s() + retry_for_s, FIRST_PAUSE_S
    while True:
        sent = yield request
        assert sent is not None
        error: SessionTokensError
        least_s = 0.0
        if isinstance(sent, Sent):
            _set(clock, sent.headers)
            if 200 <= sent.status < 300:
                try:
                    return _answered(call, sent, clock)
                except _Foreign:
                    sent = FOREIGN
        if isinstance(sent, Unanswered):
            error = StoreUnavailable(f"the service does not answer ({sent.why}); try again")
        else:
            if sent.status == 404 and call.missing_is_none and _code(sent) in NOTHING_LIVES:
                return None
            error = error_of(sent)
            least_s = _retry_after_s(sent.headers)
            if sent.status not in AGAIN or (least_s == 0.0 and isinstance(error, StoreError) and _code(sent)):
                raise error
        wait_s = max(least_s, pause_s * random.uniform(0.5, 1.0))  # no secret
        if now_s() + wait_s > ends_s:
            raise error
        yield Pause(wait_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def _answered(call: Call, sent: Sent, clock: ServerClock) -> Any:
    """Return what a command returns, by its answer.

    Raises:
        _Foreign: the answer is not the service's: of something on the way, such as a page that says to wait.
    """
    if NOW not in sent.headers:
        raise _Foreign
    try:
        return call.answer(Reply(sent.status, sent.headers, json.loads(sent.content or b"null"), clock))
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise _Foreign from error


def error_of(sent: Sent) -> SessionTokensError:
    """Return the error that an answer stands for."""
    problem = _problem(sent)
    code, detail = str(problem.get("code", "")), str(problem.get("detail", ""))
    details = {"reason": problem["reason"]} if problem.get("reason") else {}
    kind = KINDS.get(code)
    if kind is not None and kind not in (SessionTokensError, Refused, StoreError):
        return kind(detail, **details)
    if sent.status == 401:
        return UnknownKey(detail or "the service takes no such key; give connect() the secret of a living service key")
    if sent.status == 429:
        return StoreBusy(detail or "the service has too many requests; try again later")
    if sent.status == 403:
        return Forbidden(detail or "the service key may not do that")
    if sent.status >= 500:
        return StoreUnavailable(detail or f"the service answers {sent.status}; try again")
    if code == "not_found" or not code:
        return InvalidInput(f"there is no session-tokens service of this version at that address ({sent.status})")
    return InvalidInput(detail or f"the service refuses it ({sent.status})")


def _problem(sent: Sent) -> dict[str, Any]:
    try:
        problem = json.loads(sent.content)
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) else {}


def _code(sent: Sent) -> str:
    return str(_problem(sent).get("code", ""))


def _retry_after_s(headers: Mapping[str, str]) -> float:
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def _set(clock: ServerClock, headers: Mapping[str, str]) -> None:
    text = headers.get(NOW, "")
    if text.isascii() and text.isdigit() and len(text) < 16:
        clock.heard(int(text))
