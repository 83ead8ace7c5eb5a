"""What the errors of a Valkey or Redis server and of its driver mean to us, in the library's words. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import StoreError, StoreUnavailable
from ..common.retry import Declined, Elsewhere, Full, NotExecuted, OnTheMove
from .library import library_text

UNKNOWN_OUTCOME = "the outcome of a command is unknown, the same idempotency key shows it when it is sent again"

_NOT_DONE = {
    "LOADING": "the server is loading its data; it will answer soon",
    "BUSYLOADING": "the server is loading its data; it will answer soon",
    "READONLY": "the server is a read-only replica; give the address of the primary",
    "MASTERDOWN": "the server is a replica that has lost its primary; give the address of the primary",
    "MISCONF": "the server refuses writes because it cannot save to disk; look at its log",
    "OOM": "the server is out of memory; give it more (maxmemory), end sessions, or sweep",
    "OUTOFMEMORY": "the server is out of memory; give it more (maxmemory), end sessions, or sweep",
    "NOAUTH": "the server wants a password; put user and password into the URL",
    "AUTHENTICATION": "the server refused user or password; correct the URL",
    "WRONGPASS": "the server refused user or password; correct the URL",
    "MOVED": "another node of the cluster holds these keys; it will be found when the nodes agree",
    "ASK": "the cluster is moving these keys from one node to another; it will answer when they are there",
    "CLUSTERDOWN": "the cluster is down: too many of its nodes are, or nobody holds some of its slots",
    "CROSSSLOT": "the server belongs to a cluster; name it with valkey+cluster://host:port",
    "NOREPLICAS": "the server has too few replicas to accept writes",
    "BUSY": "the server is held up by another script; it will answer later",
    "TRYAGAIN": "the cluster is moving these keys from one node to another; it will answer when they are there",
    "MAXCLIENTS": "the server has no connection to spare; raise maxclients",
    "UNBLOCKED": "the server was demoted meanwhile; give the address of the primary",
}
"""First word of a server's error, or of the driver's name for it → what it means; nothing was carried out."""

_FULL = frozenset({"OOM", "OUTOFMEMORY"})
_DECLINED = frozenset({"MISCONF", "NOREPLICAS"})
"""Those after which the server goes on answering others: reads, mostly."""
_OF_ANOTHER_ROLE = frozenset(
    {"READONLY", "MASTERDOWN", "LOADING", "BUSYLOADING", "UNBLOCKED", "NOREPLICAS", "MOVED", "CLUSTERDOWN"}
)
"""Those that say that this may not be the primary (any more): the address may lead to another one by now."""
_OF_A_PRIMARY = frozenset({"MISCONF", "NOREPLICAS", "OOM", "OUTOFMEMORY"})
"""Those with which a primary refuses to write: for others to ask, it still is one."""

_ON_THE_MOVE = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"})

_COMMAND = re.compile(r"permissions to run the '([^' ]+)")
_IN_LIBRARY = re.compile(r"can't run this command .*on @user_function:([0-9]+)")
_UNKNOWN = re.compile(r"unknown command '(\w+)'")
_HALF_MOVED = re.compile(r"(?i:attempted) to access (a non local key|keys that do not hash to the same slot)")
_KEYS = re.compile(r"permissions to access (a|one of the) key|can't access at least one of the keys")


class LibraryLost(NotExecuted):
    """The server does not know our function library (any more); it is loaded again."""


class NotReached(NotExecuted):
    """No connection came about, and the driver does not say why; ``diagnosis`` may.

    Attributes:
        options: how it was to be made, where not as those to the primary.
    """

    options: Mapping[str, Any] | None = None


class NotPermitted(Declined):
    """The server's ACL forbids the user something that the store needs."""


def trouble(error: BaseException, *, sent: bool, is_done: bool = False, keys: str = "{st*") -> StoreError:
    """Return what an error of the driver or the server means.

    Args:
        sent: whether the commands may have reached the server.
        is_done: whether a commit was answered before, so that only its confirmation failed.
        keys: a pattern that the names of the store's keys match.
    """
    if isinstance(error, StoreError):
        return error
    text = str(error)[:300]
    forbidden = _forbidden(text, keys)
    word = word_of(error)
    if is_done:
        meaning = forbidden or _NOT_DONE.get(word)
        return StoreUnavailable(
            f"the replicas were not asked whether they have it ({meaning or type(error).__name__}); {UNKNOWN_OUTCOME}"
        )
    if "function not found" in text.lower():
        return LibraryLost("the server lost the function library; it is being loaded again")
    if forbidden:
        return NotPermitted(forbidden)
    if word in _ON_THE_MOVE or _HALF_MOVED.search(text):
        return OnTheMove(_NOT_DONE.get(word, _NOT_DONE["ASK"]))
    if word in _FULL:
        return Full(_NOT_DONE[word])
    if word:
        kind = Declined if word in _DECLINED else Elsewhere if word in _OF_ANOTHER_ROLE else NotExecuted
        return kind(_NOT_DONE[word])
    if unknown := _UNKNOWN.search(text):
        return StoreError(
            f"the server does not know the command {unknown[1]}: it is a Sentinel, or something else than Valkey or "
            "Redis; give the address of the primary"
        )
    if is_refusal(error):
        return StoreUnavailable(f"the server refused a command of the store: {text}")
    if not sent:
        return _not_reached(type(error).__name__, text)
    return StoreUnavailable(f"the server did not answer in time or the connection broke; {UNKNOWN_OUTCOME}")


def word_of(error: BaseException) -> str:
    """Return the word by which a server's error is known here, empty for none."""
    text = str(error)[:300]
    for word in (type(error).__name__.removesuffix("Error").upper(), text.partition(" ")[0].rstrip(":").upper()):
        if word in _NOT_DONE:
            return word
    return "MAXCLIENTS" if "max number of clients" in text else ""


def is_of_another_role(error: BaseException) -> bool:
    """Whether it says that the server may not be the primary (any more)."""
    return is_driver_error(error) and word_of(error) in _OF_ANOTHER_ROLE


def is_of_a_primary(error: BaseException) -> bool:
    """Whether it says that the server does not write now, for a reason that a primary may have."""
    return is_driver_error(error) and word_of(error) in _OF_A_PRIMARY


def not_permitted(missing: Sequence[str], needed: Sequence[str], keys: str) -> NotPermitted:
    """Return the error for commands that the user may not give, of those that the store needs."""
    if {words for words in needed if "*" in words} <= set(missing):
        return NotPermitted(_without_keys(keys))
    return NotPermitted(_without_command(" ".join(missing).partition(" ")[0].lower()))


def _forbidden(text: str, keys: str) -> str | None:
    """Return what the server's ACL forbids and how to grant it, ``None`` where it forbids nothing."""
    named, placed = _COMMAND.search(text), _IN_LIBRARY.search(text)
    if named or placed:
        return _without_command(named[1] if named else _command_at(int(placed[1]) if placed else 0))
    return _without_keys(keys) if _KEYS.search(text) else None


def _without_command(command: str) -> str:
    return (
        f"the server's ACL forbids this user the command {command}; grant it (ACL SETUSER … +{command}), and all that "
        "the store needs as in deploy/valkey"
    )


def _without_keys(keys: str) -> str:
    return (
        f"the server's ACL forbids this user the keys of the store; grant their pattern (ACL SETUSER … ~{keys}), see "
        "deploy/valkey"
    )


def _command_at(line: int) -> str:
    """Return the command that stands in a line of the function library: Redis 7.0 names no more than the line."""
    lines = library_text().decode().split("\n")
    found = re.search(r"redis\.call\('([A-Z]+)'", lines[line - 1]) if 0 < line <= len(lines) else None
    return found[1].lower() if found else f"in line {line} of the function library"


def _not_reached(kind: str, text: str) -> NotExecuted:
    """Return why a server was not reached, for people who have only the store's URL to change."""
    distrust = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0].rstrip(".")
    if distrust:
        return NotExecuted(f"the server's certificate is not trusted ({distrust}); {_remedy_of(distrust)}")
    if "No such file" in text:
        return NotExecuted(
            "a file that the store's URL names is not there: the socket, or one of ssl_ca_certs, ssl_certfile, "
            "ssl_keyfile"
        )
    if "[SSL" in text:
        return NotReached(
            "the server and the store do not agree on TLS; is its TLS port named, and is TLS wanted (valkeys://)?"
        )
    return NotReached(
        f"the server cannot be reached ({kind}); is it running, is the address right, does it want TLS (valkeys://)?"
    )


def _remedy_of(distrust: str) -> str:
    """Return what to do about a certificate, by what OpenSSL says of it."""
    if "mismatch" in distrust.lower() or "not valid for" in distrust:
        return "name the host in the store's URL as the certificate does"
    if distrust.startswith("Missing "):  # from Python 3.13 on, which asks for what RFC 5280 asks of an authority
        return "the authority has to make the certificate anew with that extension; Python 3.13 and later demand it"
    if "expired" in distrust or "not yet valid" in distrust:
        return "the server needs a new certificate, or one of the two clocks is wrong"
    return "name the authority that signed it: ?ssl_ca_certs=FILE in the store's URL"


def is_refusal(error: BaseException) -> bool:
    """Whether the server itself answered with an error."""
    return any(kind.__name__ == "ResponseError" for kind in type(error).__mro__)


def is_driver_error(error: BaseException) -> bool:
    """Whether a driver or the operating system raised it."""
    return isinstance(error, OSError | EOFError) or type(error).__module__.partition(".")[0] in ("valkey", "redis")
