"""Reads cookies as browsers send them, in one pass and each value as it stands; and writes ours, with every attribute.

The reader of the standard library takes quoted values apart in a time that grows with the square of their length, and
before that of every cookie, wanted or not. RFC 6265 has servers give back what they set, so that nothing needs to be
unquoted: here a value is the bytes between ``=`` and the next ``;``.

Flask and Django write theirs through their own responses; ASGI through ``SessionCookie``.

The writer is our own too: that of the standard library knows ``Partitioned`` from Python 3.14 on only.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal

from ..errors import InvalidInput

log = logging.getLogger("session_tokens.web")

SameSite = Literal["lax", "strict", "none"]
NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
ATTRIBUTE: Final = re.compile(r"[!-:<-~]+")
"""What a path or a domain may hold: visible ASCII without ``;`` (RFC 6265, section 4.1.1)."""
HOST_PREFIX, SECURE_PREFIX = "__Host-", "__Secure-"
LONGEST_S: Final = 400 * 86_400
"""What browsers cut ``Max-Age`` to (RFC 6265bis, section 5.5)."""


class Cookie:
    """Finds one cookie in the headers of requests.

    Args:
        name: letters, digits and ``!#$%&'*+.^_`|~-`` only; upper and lower case differ.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._has_warned = False
        self._pair = name.encode("ascii") + b"="
        self._header = re.compile(rb"(?:^|;)[ \t]*" + re.escape(self._pair) + rb"([^;]*)")

    def value_in(self, header: bytes) -> bytes:
        """Return the value in a ``Cookie`` header, without the white space around it; empty where there is none.

        Two different values under one name are none: one of them was put there by somebody else. A cookie without a
        name (``=name=value``) is never taken for one with that name, nor is one in other letters.
        """
        if header.count(self._pair) < 2:
            only = self._header.search(header)
            return b"" if only is None else only[1].strip(b" \t")
        found = b""
        for match in self._header.finditer(header):
            value = match[1].strip(b" \t")
            if found and value != found:
                self._warn()
                return b""
            found = value
        return found

    def _warn(self) -> None:
        """Tell once, not with each request of whoever sends two."""
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "a request came with two different cookies named %s, and neither is taken, for one of them is somebody "
                "else's; applications that lie below one another, or on subdomains, need cookie names of their own",
                self.name,
            )

    def value_of(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return the value in the headers of a request, whose names are in lower case, as ``value_in`` does.

        HTTP/2 lets a client send one ``Cookie`` header for each cookie; they count as one.
        """
        sent = [value for name, value in headers if name == b"cookie"]
        return self.value_in(b"; ".join(sent)) if sent else b""

    def is_set_by(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether the headers of a response, whose names are in lower case, set this cookie."""
        return any(name == b"set-cookie" and value.startswith(self._pair) for name, value in headers)


def cookies_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return every cookie in the headers of a request, whose names are in lower case, each value as it stands.

    For applications that look at cookies of their own; of several values under one name the last counts, as in Django.
    """
    found = {}
    for name, value in headers:
        if name == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                shown, equals, text = pair.partition("=")
                if equals and shown.strip():
                    found[shown.strip()] = text.strip()
    return found


@lru_cache(maxsize=64)
def cookie_named(name: str) -> Cookie:
    """Return what finds the cookie of that name, made once."""
    return Cookie(name)


class SessionCookie:
    """Our cookie: how it is called, how it is set, and how it is cleared with the attributes that it was set with.

    Without a name of its own it is ``__Host-session`` on https, which no other host and no page on http can set;
    ``__Secure-session`` where a domain or a path rules that out; and ``session`` on http, where browsers refuse both.

    Args:
        name: a name of the application's own, used as it is.
        path: below which browsers send it.
        domain: to whose hosts browsers send it; without one to the host alone that set it.
        same_site: whether it goes along when another site leads here: ``lax`` with links, ``strict`` never, ``none``
            always (browsers want https for that).
        https_only: whether browsers are always on https, also where a proxy in front of us speaks it.
        partitioned: whether it is kept apart for each site that frames us (CHIPS); needs https.

    Raises:
        InvalidInput: a name, path or domain that no cookie can have, or attributes that browsers refuse together.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        path: str = "/",
        domain: str | None = None,
        same_site: SameSite = "lax",
        https_only: bool = False,
        partitioned: bool = False,
    ) -> None:
        if name is not None and NAME.fullmatch(name) is None:
            raise InvalidInput("a cookie's name is letters, digits and !#$%&'*+.^_`|~- only")
        if same_site not in ("lax", "strict", "none"):
            raise InvalidInput("same_site is 'lax', 'strict' or 'none'")
        for what, text in (("path", path), ("domain", domain)):
            if text is not None and ATTRIBUTE.fullmatch(text) is None:
                raise InvalidInput(f"a cookie's {what} is visible ASCII without a semicolon")
        is_for_host = path == "/" and domain is None
        if name is not None and name.startswith(HOST_PREFIX) and not is_for_host:
            raise InvalidInput("a cookie named __Host-… has the path / and no domain; use another name")
        if partitioned and same_site != "none":
            raise InvalidInput("a partitioned cookie is for pages within other sites: give same_site='none' too")
        secure_name = name or (HOST_PREFIX if is_for_host else SECURE_PREFIX) + "session"
        self._https_only = https_only
        self._has_warned = False
        self._readers = {True: Cookie(secure_name), False: Cookie(name or "session")}
        flags = f"; httponly; samesite={same_site}"
        where = f"; path={path}" + ("" if domain is None else f"; domain={domain}")
        self._tails = {
            True: f"{where}{flags}; secure" + ("; partitioned" if partitioned else ""),
            False: where + flags,
        }

    def name(self, *, is_https: bool) -> str:
        """Return what it is called on https, or on http."""
        return self._readers[is_https or self._https_only].name

    def value_of(self, headers: Iterable[tuple[bytes, bytes]], *, is_https: bool) -> str | None:
        """Return its value in the headers of a request; ``None`` where there is none, or are two different ones."""
        value = self._readers[is_https or self._https_only].value_of(headers)
        return value.decode("latin-1") if value else None

    def value_among(self, sent: list[bytes], *, is_https: bool) -> str | None:
        """Return its value in the ``Cookie`` headers of a request, as ``value_of`` does."""
        value = self._readers[is_https or self._https_only].value_in(b"; ".join(sent))
        return value.decode("latin-1") if value else None

    def value_in(self, header: str, *, is_https: bool) -> str | None:
        """Return its value in a ``Cookie`` header, as ``value_of`` does."""
        return self.value_of([(b"cookie", header.encode("latin-1", "replace"))], is_https=is_https)

    def look_for_another(self, headers: Iterable[tuple[bytes, bytes]], *, is_https: bool) -> None:
        """Tell once where an application sets a cookie of this name itself, which logs out whoever is logged in."""
        reader = self._readers[is_https or self._https_only]
        if not self._has_warned and reader.is_set_by(headers):
            self._has_warned = True
            log.warning(
                "the application sets a cookie named %s itself, by a session middleware of its own or of a library, "
                "and logs out whose session ours keeps under that name: give ours another one, session_cookie=",
                reader.name,
            )

    def set(self, secret: str, *, is_https: bool, max_age_s: int | None = None) -> str:
        """Return the ``Set-Cookie`` header that hands a secret out.

        Args:
            max_age_s: how long browsers keep it; ``None``: until they are closed.
        """
        is_secure = is_https or self._https_only
        age = "" if max_age_s is None else f"; Max-Age={min(max_age_s, LONGEST_S)}"
        return f"{self._readers[is_secure].name}={secret}{age}{self._tails[is_secure]}"

    def clear(self, *, is_https: bool) -> str:
        """Return the ``Set-Cookie`` header that has browsers forget it."""
        is_secure = is_https or self._https_only
        gone = "=; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0"
        return f"{self._readers[is_secure].name}{gone}{self._tails[is_secure]}"
