"""Public arguments are checked and normalised here, once, before rules and stores see them."""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections.abc import Collection, Set
from hashlib import sha256

from .crypto.secret_form import SECRET_LIKE, SECRET_LIKE_LENGTH_MIN, holds_secret, is_id
from .errors import InvalidInput
from .settings import (
    AUDIENCES_MAX,
    DURATION_MS_MAX,
    GRACE_MS_MAX,
    IDEMPOTENCY_KEY_BYTES_MAX,
    LABEL_BYTES_MAX,
    METHODS_MAX,
    OWNER_BYTES_MAX,
    PAGE_LIMIT_MAX,
    RESERVED_BEGINNINGS,
    RESERVED_OWNERS,
    SCOPE_BYTES_MAX,
    TAG_BYTES_MAX,
    UNSET,
    Duration,
    Unset,
    duration_ms,
)

log = logging.getLogger("session_tokens.validation")

HOST_LENGTH_MAX = 253
INTEGER_MAX = 2**63 - 1
_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of characters that no text may hold: controls, lone surrogates, separators of lines."""


_SCOPE = re.compile(r"[!#-\[\]-~]+( [!#-\[\]-~]+)*")
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""What is not seen, or turns the order of what is: Unicode's Default_Ignorable_Code_Point with every control of
direction (UAX #9), and the annotations and the blank that are left out there. With them two owners look the same."""
MARKS_MAX = 30
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def plain(text: str) -> str:
    """Return a text as a ``str`` and nothing more: of a ``StrEnum`` or any other subclass, what it holds.

    What is kept is written, signed and compared as it is seen, and a subclass may show itself otherwise.
    """
    return text if text.__class__ is str else str.__str__(text)


def text_of(name: str, given: object, *, bytes_max: int) -> str:
    """Return a text that is safe to store, log and show.

    Raises:
        TypeError: it is not a ``str``.
        InvalidInput: it is too long, holds control or invisible characters or lone surrogates, is not in NFC, or
            begins or ends with white space.
    """
    if not isinstance(given, str):
        raise TypeError(f"{name} is a str, not {type(given).__name__}")
    if given.isascii():
        if len(given) <= bytes_max and given.isprintable() and given[:1] != " " and given[-1:] != " ":
            return plain(given)
        size = len(given)
    else:
        size = encoded_size(name, given)
    if size > bytes_max:
        raise InvalidInput(f"{name} is {size} bytes of UTF-8; at most {bytes_max} are kept")
    if any(unicodedata.category(character) in _UNSEEN for character in given):
        raise InvalidInput(f"{name} holds control characters; take them out")
    invisible = INVISIBLE.search(given)
    if invisible is not None:
        code = ord(invisible.group())
        raise InvalidInput(f"{name} holds an invisible character (U+{code:04X}); take it out")
    if given != given.strip():
        raise InvalidInput(f"{name} begins or ends with white space; strip it")
    if not unicodedata.is_normalized("NFC", given):
        raise InvalidInput(f"{name} is not in Unicode NFC; normalise it with unicodedata.normalize('NFC', …)")
    return plain(given)


def optional_text(name: str, given: object, *, bytes_max: int) -> str | None:
    """Return a text as ``text_of`` does, or ``None``; it is kept and shown, and so holds no secret."""
    if given is None:
        return None
    text = text_of(name, given, bytes_max=bytes_max)
    if holds_secret(text):
        raise InvalidInput(f"{name} holds what looks like a secret, which would be kept and shown; take it out")
    return text


def tag_of(given: object) -> str | None:
    """Return a tag: 1 to 64 bytes of text, or ``None``."""
    return _some_text("tag", given, TAG_BYTES_MAX)


def _some_text(name: str, given: object, bytes_max: int) -> str | None:
    """Return a text as ``optional_text`` does, which is not empty."""
    if given == "":
        raise InvalidInput(f"{name} is empty; leave it away")
    return optional_text(name, given, bytes_max=bytes_max)


def scope_of(given: object) -> str | None:
    """Return a scope as RFC 6749, section 3.3 has it, or ``None``.

    Raises:
        InvalidInput: it is not words of printable ASCII without quotes and backslashes, one blank between them.
    """
    scope = optional_text("scope", given, bytes_max=SCOPE_BYTES_MAX)
    if scope is not None and not _SCOPE.fullmatch(scope):
        raise InvalidInput("scope is words of printable ASCII without quotes and backslashes, one blank between them")
    return scope


def audience_of(given: object) -> str | None:
    """Return an audience, one text or up to 16, as JSON text of an array; ``None`` for none.

    Raises:
        TypeError: it is neither a ``str`` nor a list or tuple of them.
        InvalidInput: there are too many, or one is no text that can be kept.
    """
    if given is None:
        return None
    if not isinstance(given, str | list | tuple):
        raise TypeError(f"audience is a str or a list of them, not {type(given).__name__}")
    several = [given] if isinstance(given, str) else list(given)
    if not 1 <= len(several) <= AUDIENCES_MAX:
        raise InvalidInput(f"audience is 1 to {AUDIENCES_MAX} texts")
    if None in several:
        raise TypeError("audience is a str or a list of them, none of them None")
    texts = [_some_text("audience", each, LABEL_BYTES_MAX) for each in several]
    return json.dumps(texts, separators=(",", ":"))


def for_client_of(given: object) -> str | None:
    """Return the name of a client for whom something is issued, or ``None``.

    Raises:
        TypeError: it is no ``str``.
        InvalidInput: it is empty, too long, or no text that can be kept.
    """
    return _some_text("for_client", given, LABEL_BYTES_MAX)


def sent_text(name: str, given: object, *, bytes_max: int) -> str | None:
    """Return what a client sent, such as its user agent, as it can be kept: cleaned and shortened, never refused.

    Control characters become a blank; invisible ones and what looks like a secret are taken out.

    Raises:
        TypeError: it is neither a ``str`` nor ``None``.
    """
    if given is None:
        return None
    if not isinstance(given, str):
        raise TypeError(f"{name} is a str, not {type(given).__name__}")
    if len(given) > bytes_max or not (given.isascii() and given.isprintable()):
        text = given[: 2 * bytes_max].encode("utf-8", "replace").decode("utf-8")
        text = unicodedata.normalize("NFC", _few_marks(INVISIBLE.sub("", CONTROLS.sub(" ", text))))
        given = text.encode("utf-8")[:bytes_max].decode("utf-8", "ignore")
    return SECRET_LIKE.sub("", given).strip()


def _few_marks(text: str) -> str:
    """Return a text without marks beyond 30 on one letter (UAX #15, Stream-Safe): to order them is quadratic."""
    kept: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= MARKS_MAX:
            kept.append(character)
    return "".join(kept)


def label_of(given: object) -> str | None:
    """Return a session's label, cleaned and shortened as ``sent_text`` does, for users type them.

    Raises:
        TypeError: it is neither a ``str`` nor ``None``.
        InvalidInput: it holds a secret, which would be kept and shown.
    """
    if isinstance(given, str) and holds_secret(given):
        raise InvalidInput("label holds what looks like a secret, which would be kept and shown; take it out")
    return sent_text("label", given, bytes_max=LABEL_BYTES_MAX)


def class_of(given: object) -> str | None:
    """Return how surely somebody proved who they are, as ``optional_text`` does (``acr``, OpenID Connect Core 1.0)."""
    return optional_text("acr", given, bytes_max=LABEL_BYTES_MAX)


def methods_of(given: object) -> str | None:
    """Return by which methods somebody proved who they are (``amr``, RFC 8176), as JSON text; ``None`` for none.

    Raises:
        TypeError: it is not a collection of ``str``.
        InvalidInput: there are more than ``METHODS_MAX``, or one can never be kept.
    """
    if isinstance(given, str) or not isinstance(given, Collection):
        raise TypeError("amr is a collection of str, such as ['pwd', 'otp']")
    if len(given) > METHODS_MAX:
        raise InvalidInput(f"amr names more than {METHODS_MAX} methods; name those of this log-in")
    methods = [text_of("amr", each, bytes_max=LABEL_BYTES_MAX) for each in given]
    if isinstance(given, Set):
        methods.sort()  # the order of a set is another in each process
    if any(map(holds_secret, methods)):
        raise InvalidInput("amr holds what looks like a secret, which would be kept and shown; take it out")
    return json.dumps(methods, ensure_ascii=False, separators=(",", ":")) if methods else None


def owner_of(name: str, given: object) -> str:
    """Return an owner: 1 to 255 bytes of UTF-8 in NFC, no control characters, no reserved word.

    Raises:
        TypeError: it is not a ``str``.
        InvalidInput: it can never be an owner.
    """
    if (
        type(given) is str
        and given.isascii()
        and given.isprintable()
        and given.strip(" ") is given
        and given
        and len(given) <= OWNER_BYTES_MAX
        and given not in RESERVED_OWNERS
    ):
        return given  # the common case, recognised quickly
    owner = text_of(name, given, bytes_max=OWNER_BYTES_MAX)
    if not owner:
        raise InvalidInput(f"{name} is empty; give the application's identity string")
    if owner in RESERVED_OWNERS:
        raise InvalidInput(f"{name} is a reserved word; use another identity string")
    return owner


def receiver_of(name: str, given: object, own: str = "") -> str:
    """Return an owner for whom something is opened, handed over or ended for good: one that is not reserved.

    Args:
        own: the reserved beginning that the caller's own owners have; none if empty.

    Raises:
        TypeError, InvalidInput: as ``owner_of``; an owner of the console or of a session before log-in, or what looks
            like a secret.
    """
    owner = owner_of(name, given)
    if len(owner) >= SECRET_LIKE_LENGTH_MIN and holds_secret(owner):
        raise InvalidInput(f"{name} looks like a secret, which would be kept and shown; give the identity string")
    if ":" in owner and owner.startswith(RESERVED_BEGINNINGS) and not (own and owner.startswith(own)):
        reserved = owner.partition(":")[0]
        raise InvalidInput(f"owners that begin with {reserved}: are reserved; use another identity string")
    return owner


def encoded_size(name: str, text: str) -> int:
    """Return the size of a text in bytes of UTF-8; a lone surrogate is ``InvalidInput``."""
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise InvalidInput(f"{name} holds lone surrogates, which no encoding can carry; take them out") from None


def flag_of(name: str, given: object) -> bool:
    """Return a flag; only ``True`` and ``False`` are taken."""
    if not isinstance(given, bool):
        raise TypeError(f"{name} is True or False, not {type(given).__name__}")
    return given


def version_of(name: str, given: object) -> int | None:
    """Return an expected version or epoch: a whole number from 0, or ``None`` for any."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"{name} is an int or None, not {type(given).__name__}")
    if not 0 <= given <= INTEGER_MAX:
        raise InvalidInput(f"{name} is a number that a record has shown you")
    return given


def grace_of(given: Duration | None) -> int | None:
    """Return for how long a previous secret is good, in milliseconds: up to an hour; ``None``: not at all."""
    grace_ms = duration_ms("grace", given)
    if grace_ms is not None and grace_ms > GRACE_MS_MAX:
        raise InvalidInput("grace is at most an hour: it is for requests that are under way; a few seconds will do")
    return grace_ms


def limit_of(given: object, limit_max: int = PAGE_LIMIT_MAX) -> int:
    """Return the size of a page: 1 to 500."""
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"limit is an int, not {type(given).__name__}")
    if not 1 <= given <= limit_max:
        raise InvalidInput(f"limit is 1 to {limit_max}; ask for further pages")
    return given


def idempotency_key_of(given: object) -> str:
    """Return an idempotency key: 1 to 255 printable characters of the caller's own."""
    key = text_of("idempotency_key", given, bytes_max=IDEMPOTENCY_KEY_BYTES_MAX)
    if not key:
        raise InvalidInput("idempotency_key is empty; give a fresh random string for each request")
    return key


def cursor_of(place: tuple[int, str]) -> str:
    """Return the cursor of a place in a listing."""
    return f"{place[0]}.{place[1]}"


def place_of_cursor(prefix: str, given: object) -> tuple[int, str] | None:
    """Return the place that a cursor names.

    Args:
        prefix: of the ids in the listing, so that another listing's cursor is refused.

    Raises:
        TypeError: it is neither ``str`` nor ``None``.
        InvalidInput: it was not the ``next`` of such a listing.
    """
    if given is None:
        return None
    if not isinstance(given, str):
        raise TypeError(f"after is a page's .after or None, not {type(given).__name__}")
    created_at, _, id = given.partition(".")
    if not (created_at.isascii() and created_at.isdigit() and len(created_at) <= 19 and is_id(prefix, id)):
        raise InvalidInput("after is not what a page of this listing gave for the next one; begin without it")
    return int(created_at), id


def digest_of(*parts: object) -> str:
    """Return a digest of plain values (texts, numbers, flags, ``None`` and tuples of them)."""
    return sha256(ascii(parts).encode("ascii")).hexdigest()


def general_timeout_of(text: object, last: int | None) -> int | None:
    """Return the general session timeout (milliseconds, ``None`` for never) that a shared store holds as text.

    Args:
        text: decimal milliseconds, or ``never``.
        last: the last value known, which stands when ``text`` is missing or bad (the latter is logged).
    """
    if text == "never":
        return None
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 15:
        milliseconds = int(text)
        if 1 <= milliseconds <= DURATION_MS_MAX:
            return milliseconds
    if text not in (None, False, ""):
        log.warning(
            "the general session timeout in the store is no decimal number of milliseconds; the last one stands"
        )
    return last


def may_be_host(host: str) -> bool:
    """Whether a name or address can be looked up at all: else the system raises ``UnicodeError`` when it is."""
    try:
        return len(host.encode("idna")) <= HOST_LENGTH_MAX
    except UnicodeError:
        return False


def asked_of(*durations: Duration | None | Unset) -> tuple[int | str | None, ...]:
    """Return durations as a caller asked for them, in milliseconds, for the digest of a request.

    General values that fill in for what was not given may change between a request and its retry.
    """
    return tuple("general" if given is UNSET else duration_ms("duration", given) for given in durations)
