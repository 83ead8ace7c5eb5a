"""Users move in from another library with the cookie that they have, while requests run: ``migrate_from=``.

Theory of operation. A request that brings no cookie of ours may bring one of the library that was there before. Its
``Peer`` reads what lies behind it, and never writes there: workers that still run the old library go on with it. Where
there is a living session, ``SessionTokens.move_in`` opens one of ours with the same owner and fields, in one step with
a mark for the cookie; the response hands out our cookie. The mark stands for as long as the other library would take
the cookie, so that who logs out here is not brought back by it, and two tabs that bring it at once get one session.
Records without fields are no sessions: several libraries leave such behind. Nobody is moved in bulk only, for some
leave the records of those who logged out, too: a record counts when a browser presents its cookie.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable
from uuid import UUID

from ..._async.api import AsyncSessionTokens
from ...contract.queries import Get
from ...crypto.secret_form import is_session_secret
from ...errors import Conflict, InvalidInput, Refused
from ...records import Issued, Session
from ...rules.moving_in import FINISHED
from ..session import Command, WebSession
from .plain import Unreadable, as_json

log = logging.getLogger("session_tokens.moving_in")

__all__ = [
    "ENDLESS_KEPT_S",
    "Former",
    "OwnerOf",
    "Peer",
    "Reading",
    "moving_in",
    "moving_in_as",
    "moving_in_stored",
    "owner_in",
    "peers_of",
    "time_left_s",
]

KEPT_S = 31 * 86_400
"""For how long a mark stands at the least: old workers may prolong the life of what was moved."""
INSTANT_MAX_S = 1e11
"""Beyond the year 5000: not even a number of milliseconds is an instant in seconds."""
ENDLESS_KEPT_S = 400 * 86_400
"""For how long it stands where a session never ended: as long as browsers keep a cookie (RFC 6265bis)."""
S = TypeVar("S", bound=WebSession)

REFUSED = (Refused, InvalidInput, TypeError, ValueError, RecursionError)
"""What says that a session is none that could be kept here."""


class Former(NamedTuple):
    """A living session of another library.

    Attributes:
        key: names it: the same for every spelling of the cookie.
        fields: what it holds, as Python values.
        owner: who is logged in; ``None`` for a visitor.
        time_left_s: when it ends there, whatever its use; ``None`` where each use gives it a new life.
        kept_s: for how long the other library would take the cookie.
    """

    key: str
    fields: Mapping[str, Any]
    owner: str | None
    time_left_s: float | None
    kept_s: float


@runtime_checkable
class Peer(Protocol):
    """Where another library keeps its sessions, which is read and never written.

    Attributes:
        cookie: the name of its cookie.
    """

    cookie: str

    def read(self, value: str) -> Former | None:
        """Return what lies behind the value of a cookie; ``None`` for one that is unknown, over, forged or empty.

        It may block; an application of asyncio calls it on a thread.

        Raises:
            StoreUnavailable: it cannot be asked, which does not mean that nobody is logged in.
        """
        ...


OwnerOf = str | Callable[[Mapping[str, Any]], object]
"""The field that holds who is logged in, or what finds it among the fields."""


def owner_in(fields: Mapping[str, Any], owner: OwnerOf) -> str | None:
    """Return who is logged in by the fields of a session; ``None`` for a visitor.

    Raises:
        Unreadable: what is there names nobody: several users might be one by it, such as ``True``.
    """
    found = fields.get(owner) if isinstance(owner, str) else owner(fields)
    if found is None or found == "":
        return None
    if isinstance(found, bool) or not isinstance(found, str | int | UUID):
        log.warning(
            "a session of another library was not moved in: the field that says who is logged in holds a %s, and an "
            "owner is a text or a whole number; owner= may be a function of the fields", type(found).__name__,
        )  # fmt: skip
        raise Unreadable("its owner is no text and no whole number")
    return str(found)


def time_left_s(since: object, lasts_s: float) -> float:
    """Return for how many seconds more something lasts, by the instant in a record that it counts from.

    Args:
        since: seconds since the epoch, as the record has them.
        lasts_s: how long it lasts from then on.

    Raises:
        Unreadable: that is no instant.
    """
    if isinstance(since, bool) or not isinstance(since, int | float) or not abs(since) < INSTANT_MAX_S:
        raise Unreadable("it has no instant where one should be")
    return since + lasts_s - time.time()


def peers_of(given: object) -> tuple[Peer, ...]:
    """Return where users move in from.

    Raises:
        TypeError: it is no peer and no list of them.
    """
    if given is None:
        return ()
    several = (given,) if isinstance(given, Peer) else tuple(given) if isinstance(given, list | tuple) else (None,)
    peers = tuple(peer for peer in several if isinstance(peer, Peer))
    if len(peers) != len(several):
        raise TypeError("migrate_from is one of session_tokens.web.moving_in.peers, such as FlaskCookie, or a list")
    return peers


class Reading(Command):
    """A step that asks another library's store in place of ours: its name is unused, its arguments peer and value."""

    def do(self, tokens: Any) -> Any:
        """Read; where ``tokens`` is of asyncio, on a thread."""
        peer, value = self.args
        return asyncio.to_thread(peer.read, value) if isinstance(tokens, AsyncSessionTokens) else peer.read(value)


class _WhetherFinished(Command):
    """A step that reads whether nobody is moved in any more, on a thread: its name is unused."""

    def do(self, tokens: Any) -> Any:
        """Read."""
        return tokens.store.read_now([Get("setting", FINISHED)])


def moving_in(
    peers: Sequence[Peer],
    presented: Callable[[str], str | None],
    *,
    encode: Callable[[Any], Any] = as_json,
    client: Callable[[], tuple[str | None, str | None]] = lambda: (None, None),
    options: Mapping[str, Any] | None = None,
    sets_cookie: bool = True,
) -> Generator[Command, Any, Issued | None]:
    """Move in whom a request's cookies name; return their living session of ours, ``None`` where there is none.

    Args:
        peers: whose cookies are looked for, in this order.
        presented: returns the value of a cookie by its name.
        encode: makes JSON of a field.
        client: returns the user agent and the address of the client.
        options: ``max_age`` and ``idle_timeout`` of the framework's sessions.
        sets_cookie: whether the response can hand our cookie out: that of a WebSocket cannot, and the other library's
            leads to the session afterwards as long as it did.

    Raises:
        StoreUnavailable: one of the stores cannot be asked.
    """
    options = {**(options or {}), "presented": sets_cookie}
    for peer in peers:
        value = presented(peer.cookie)
        if not value or is_session_secret(value):
            continue
        former: Former | None = yield Reading("read", (peer, value))
        if former is not None:
            return (yield from moving_in_as(former, encode=encode, client=client, options=options))
    return None


def taken_in(make: Callable[[Any, Any], S], issued: Issued, *, sets_cookie: bool) -> S:
    """Return a request's session of who has just moved in.

    Where the response cannot hand our cookie out, or may not be sent, it gets none: the browser goes on with the other
    library's, which has not been presented yet as long as that is all that it has.

    Args:
        make: makes a session of a record and a secret.
        issued: the session.
        sets_cookie: as for ``moving_in``.
    """
    session = make(issued.session, issued.secret if sets_cookie else None)
    if sets_cookie:
        session.rotated(issued)
    return session


def moving_in_as(
    former: Former,
    *,
    encode: Callable[[Any], Any] = as_json,
    client: Callable[[], tuple[str | None, str | None]] = lambda: (None, None),
    options: Mapping[str, Any] | None = None,
) -> Generator[Command, Any, Issued | None]:
    """Move in who was read; as ``moving_in``."""
    try:
        issued = yield from _moved(former, encode, client, options or {})
    except REFUSED as error:
        log.warning("a session of another library could not be moved in: %s", error)
        return None
    if issued is None:
        return None
    record: Session | None = yield Command("verify_session", (issued.secret,))
    return None if record is None else Issued(record, issued.secret)


def _moved(
    former: Former,
    encode: Callable[[Any], Any],
    client: Callable[[], tuple[str | None, str | None]],
    options: Mapping[str, Any],
) -> Generator[Command, Any, Issued | None]:
    """Return the session into which it moves, or has moved and which may be over; ``None`` where it leads nowhere."""
    user_agent, address = client()
    fields = {str(name): encode(field) for name, field in former.fields.items()}
    json.dumps(fields, allow_nan=False)
    issued: Issued | None = yield Command(
        "move_in",
        (former.key, former.owner),
        {
            "data": fields,
            "time_left": former.time_left_s,
            "kept": max(former.kept_s + 86_400, KEPT_S),
            "user_agent": user_agent,
            "address": address,
            **options,
        },
    )
    return issued


def _insist_on_going_on() -> Generator[Command, Any, None]:
    _, (finished,) = yield _WhetherFinished("read", ())
    if finished.value is not None:
        raise Conflict("moving in is finished on this store: no cookie from before leads anywhere, and none is moved")


def moving_in_stored(
    peer: Any,
    do: Callable[[Generator[Command, Any, Issued | None]], Issued | None],
    show: Callable[[int], object] = lambda number: None,
    *,
    encode: Callable[[Any], Any] = as_json,
    wants_owners: bool = False,
) -> dict[str, int]:
    """Move in all that a peer has stored, before any cookie is presented; return how many were moved, or were not.

    What has moved before is counted as moved, whatever has become of it since.

    Args:
        peer: has ``ids()``, and ``stored(id)`` as ``Peer.read``.
        do: takes the steps on a store.
        show: is told how many were read.
        encode: makes JSON of a field.
        wants_owners: whether to move nobody where all are visitors: the field that says who is logged in was named by
            hand then, and what moved as a visitor's stays one.

    Raises:
        StoreUnavailable: one of the stores cannot be asked; what was moved by then stays.
        Conflict: moving in is finished.
        InvalidInput: all are visitors, and owners are wanted; nothing was moved.
    """
    do(_insist_on_going_on())
    counts = {"moved": 0, "visitors_among_them": 0, "empty_or_unreadable": 0, "refused": 0}

    def move(former: Former) -> None:
        try:
            do(_moved(former, encode, lambda: (None, None), {"presented": False}))
        except REFUSED as error:
            log.warning("a session of another library could not be moved in: %s", error)
            counts["refused"] += 1
        else:
            counts["moved"] += 1
            counts["visitors_among_them"] += former.owner is None

    visitors = list[str]()
    for number, id in enumerate(peer.ids(), 1):
        former = peer.stored(id)
        if former is None:
            counts["empty_or_unreadable"] += 1
        elif wants_owners and former.owner is None:
            visitors.append(id)
        else:
            wants_owners = False
            move(former)
        show(number)
    if wants_owners and visitors:
        raise InvalidInput(
            f"none of the {len(visitors)} sessions there says who is logged in, and nothing was moved; name the field "
            "that does with --owner"
        )
    for id in visitors:
        former = peer.stored(id)
        if former is None:
            counts["empty_or_unreadable"] += 1
        else:
            move(former)
    return counts
