"""Reads cookies as browsers send them: in one pass, and each value as it stands.

The reader of the standard library takes quoted values apart in a time that grows with the square of their length, and
before that of every cookie, wanted or not. RFC 6265 has servers give back what they set, so that nothing needs to be
unquoted: here a value is the bytes between ``=`` and the next ``;``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


class Cookie:
    """Finds one cookie in the headers of requests.

    Args:
        name: letters, digits and ``!#$%&'*+.^_`|~-`` only; upper and lower case differ.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._header = re.compile(rb"(?:^|;)[ \t]*" + re.escape(name.encode("ascii")) + rb"=([^;]*)")

    def value_in(self, header: bytes) -> bytes:
        """Return the value in a ``Cookie`` header, without the white space around it; empty where there is none.

        Two different values under one name are none: one of them was put there by somebody else. A cookie without a
        name (``=name=value``) is never taken for one with that name, nor is one in other letters.
        """
        found = b""
        for match in self._header.finditer(header):
            value = match[1].strip(b" \t")
            if found and value != found:
                return b""
            found = value
        return found

    def value_of(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return the value in the headers of a request, whose names are in lower case, as ``value_in`` does.

        HTTP/2 lets a client send one ``Cookie`` header for each cookie; they count as one.
        """
        return self.value_in(b"; ".join(value for name, value in headers if name == b"cookie"))
