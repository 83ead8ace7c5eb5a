"""What ``/forward-auth`` hands on of who was let in, beside owner and id: headers that were allowed by name, no others.

Values are percent-encoded UTF-8, several with commas between. A header that has nothing to say is there and empty:
proxies put what is there in the place of what the client sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from ..errors import InvalidInput
from ..records import Session, Token
from .problems import Headers

READABLE: Final = "@+:"
"""What is not encoded beside letters, digits and ``-._~``: an e-mail address arrives readable."""
OWNER_HEADER: Final = "X-Session-Owner"
ID_HEADER: Final = "X-Session-Id"
VALUE_BYTES_MAX: Final = 1_024
"""How long a header may be; proxies take heads of 4 KiB and more."""

HEADER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
SPOKEN_FOR: Final = frozenset({
    "authorization", "cache-control", "connection", "cookie", "date", "expect", "forwarded", "host", "keep-alive",
    "location", "max-forwards", "origin", "range", "referer", "referrer-policy", "retry-after", "server", "set-cookie",
    "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "www-authenticate",
    "x-content-type-options", "x-real-ip", "x-request-id", "x-sendfile", ID_HEADER.lower(),
})  # fmt: skip
"""Headers that mean something else, on the answer or on the request that the proxy passes on."""
SPOKEN_FOR_SO: Final = (
    "accept", "access-control-", "content-", "if-", "proxy-", "sec-", "x-accel-", "x-forwarded-", "x-original-",
)  # fmt: skip
"""How such headers begin: an application or the proxy would take an owner's name for where a request is from."""
CUSTOMARY: Final = frozenset({
    "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username", "x-forwarded-user",
})  # fmt: skip
"""Headers that begin so and are the custom for saying who was let in."""

FIELDS: Final[dict[str, Callable[[Session | Token], object]]] = {
    "acr": lambda record: record.acr if isinstance(record, Session) else None,
    "amr": lambda record: record.amr if isinstance(record, Session) else None,
    "auth_time": lambda record: record.authenticated_at // 1000 if isinstance(record, Session) else None,
    "borrower": lambda record: record.borrower if isinstance(record, Token) else None,
    "expires_at": lambda record: record.expires_at,
    "for_client": lambda record: record.for_client if isinstance(record, Token) else None,
    "label": lambda record: record.label if isinstance(record, Session) else None,
    "scope": lambda record: record.told_scope.split(" "),
}
"""What can be handed on, beside ``data.NAME``: a field of a session's data."""
OF_DATA: Final = "data."


def check_header(name: str) -> None:
    """Check the name of a header that will say who was let in.

    Raises:
        InvalidInput: it is no name, or means something else.
    """
    if not HEADER_NAME.fullmatch(name):
        raise InvalidInput("the name of a header is letters, digits and hyphens, such as Remote-User")
    low = name.lower()
    if low in SPOKEN_FOR or (low.startswith(SPOKEN_FOR_SO) and low not in CUSTOMARY):
        raise InvalidInput(f"the header {name} means something else; take another name, such as Remote-User")


class Identity(NamedTuple):
    """The headers that say who was let in.

    Attributes:
        owner_header: the one that names the owner, in lower case.
        more: others, in lower case, each with what it says.
    """

    owner_header: bytes = OWNER_HEADER.lower().encode("ascii")
    more: tuple[tuple[bytes, Callable[[Session | Token], object]], ...] = ()

    @classmethod
    def told_in(cls, owner_header: str = OWNER_HEADER, more: Sequence[str] = ()) -> Identity:
        """Return it for a name, and others written ``NAME=FIELD``, such as ``Remote-Email=data.email``.

        Raises:
            InvalidInput: a name is none, means something else or is there twice; or there is no such field.
        """
        check_header(owner_header)
        named = {owner_header.lower()}
        readers = []
        for written in more:
            name, _, field = written.partition("=")
            check_header(name)
            if name.lower() in named:
                raise InvalidInput(f"the header {name} is given twice; each says one thing")
            named.add(name.lower())
            readers.append((name.lower().encode("ascii"), _reader_of(field)))
        return cls(owner_header.lower().encode("ascii"), tuple(readers))

    def headers(self, record: Session | Token, owner: str) -> Headers:
        """Return the headers for what was shown, whose owner it is."""
        told = [(self.owner_header, _told(owner)), (b"x-session-id", record.id.encode("ascii"))]
        for name, read in self.more:
            value = _told(read(record))
            told.append((name, value if len(value) <= VALUE_BYTES_MAX else b""))
        return told


PLAIN: Final = Identity()
"""Owner and id, under their own names."""


def _reader_of(field: str) -> Callable[[Session | Token], object]:
    if field.startswith(OF_DATA) and len(field) > len(OF_DATA):
        key = field.removeprefix(OF_DATA)
        return lambda record: record.data.get(key) if isinstance(record, Session) else None
    if field not in FIELDS:
        raise InvalidInput(f"a header is written NAME=FIELD, where FIELD is {', '.join(sorted(FIELDS))} or data.NAME")
    return FIELDS[field]


def _told(value: object) -> bytes:
    """Return a value as a header has it."""
    if value is None:
        return b""
    several: Iterable[Any] = value if isinstance(value, list | tuple) else (value,)
    return ",".join(quote(_text(each), safe=READABLE) for each in several).encode("ascii")


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
