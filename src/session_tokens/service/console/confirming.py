"""What is said on the next page about an act that was done: what happened, and to how many.

It travels in a cookie that is read once. The cookie carries a MAC under the visitor's own CSRF token, so that nobody
else has the console say anything.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ...web.cookies import Cookie
from .access import Visitor

SAID = Cookie("__Secure-session-tokens-said")
WORDS_MAX = 600
"""Characters of a confirmation; the rest of a long name is cut."""


class Confirmed(RedirectResponse):
    """The way to a page that confirms an act.

    Attributes:
        is_done: whether something was done; if not, there was nothing to do.
    """

    def __init__(self, where: str, *, is_done: bool) -> None:
        super().__init__(where, 303)
        self.is_done = is_done


class Said(NamedTuple):
    """A confirmation: its words, and whether something was done."""

    words: str
    is_done: bool


def done(where: str, visitor: Visitor, words: str, *, is_done: bool = True) -> Confirmed:
    """Return the way to a page that confirms an act."""
    response = Confirmed(where, is_done=is_done)
    text = urlsafe_b64encode(json.dumps([words[:WORDS_MAX], is_done]).encode()).decode().rstrip("=")
    value = f"{text}.{_mac(visitor, text)}"
    response.set_cookie(SAID.name, value, max_age=60, path="/console", secure=True, httponly=True, samesite="strict")
    return response


def said_to(request: Request, visitor: Visitor) -> Said | None:
    """Return the confirmation that a request brings along."""
    value = SAID.value_of(request.scope["headers"]).decode("latin-1")
    text, _, mac = value.partition(".")
    if not value or not hmac.compare_digest(mac.encode("latin-1", "replace"), _mac(visitor, text).encode()):
        return None
    words, is_done = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return Said(words, is_done)


def forget(response: Response) -> None:
    """Have the browser forget a confirmation that was shown."""
    response.delete_cookie(SAID.name, path="/console", secure=True, httponly=True, samesite="strict")


def _mac(visitor: Visitor, text: str) -> str:
    return hmac.new(visitor.csrf.encode(), text.encode("latin-1", "replace"), sha256).hexdigest()
