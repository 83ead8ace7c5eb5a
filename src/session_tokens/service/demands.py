"""What a location demands beside a living session: a recent log-in, one that proved enough, a token with a scope.

A proxy says so in the query with which it asks. Some send the query of the page along, so whoever asks may add demands:
each that stands there must be met, and none takes another one away. None lets a token in either: that is what another
address says, which no page can write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from ..errors import InvalidInput, ReauthenticationRequired
from ..records import Session, Token
from ..validation import scope_of
from .callers import REALM
from .problems import Problem, bad_request

RECENT_DIGITS_MAX: Final = 9
"""So that it is a duration that can be."""
ANY_AGE_S: Final = 3_000_000_000


class Demands(NamedTuple):
    """What must hold of what was shown.

    Attributes:
        recent_s: how many seconds ago the log-in may have been; ``None`` for any.
        acr: of each demand, the values of which the log-in must have proved one (RFC 9470, ``acr_values``).
        scope: the words that a token's scope must hold all of; a session's is ``session``.
        audience: for whom a token must have been issued, all of them.
    """

    recent_s: int | None = None
    acr: tuple[frozenset[str], ...] = ()
    scope: frozenset[str] = frozenset()
    audience: frozenset[str] = frozenset()

    def check_for_tokens(self) -> None:
        """Check that they say which tokens do.

        Raises:
            Problem: 400 where any token would do.
        """
        if not (self.scope or self.audience):
            raise bad_request("tokens are taken for a scope or an audience, such as /forward-auth-tokens?scope=read")

    def are_for(self, record: Session | Token) -> bool:
        """Whether something was issued for here: a token for an audience opens only what demands that one.

        A token of nobody says nothing about who asks, and opens nothing.
        """
        if isinstance(record, Session):
            return not self.audience
        return record.owner is not None and (
            self.audience <= set(record.audience) if self.audience else not record.audience
        )

    def lacking(self, record: Session | Token) -> Problem | None:
        """Return why what is alive does not do, ``None`` where it does.

        401 where another log-in is needed (RFC 9470), 403 where the scope is too small (RFC 6750).
        """
        if not self.scope <= set(record.told_scope.split(" ")):
            words = " ".join(sorted(self.scope))
            detail = f"this needs the scope {words}"
            return _refusal(403, "insufficient_scope", detail, f'scope="{words}"', "The scope is too small")
        if self.recent_s is None and not self.acr:
            return None
        try:
            self._check_log_in(record)
        except ReauthenticationRequired as error:
            told = [f'acr_values="{" ".join(sorted(acr))}"' for acr in self.acr]
            told += [] if self.recent_s is None else [f'max_age="{self.recent_s}"']
            title = "Another log-in is needed"
            return _refusal(401, "insufficient_user_authentication", str(error), ", ".join(told), title)
        return None

    def _check_log_in(self, record: Session | Token) -> None:
        """Accept the session of somebody who has logged in, as recently and as surely as is demanded."""
        if isinstance(record, Token):
            raise ReauthenticationRequired("this needs a log-in")
        for acr in self.acr or (None,):
            record.require_recent(ANY_AGE_S if self.recent_s is None else self.recent_s, acr=acr)

    @property
    def of_log_in(self) -> str:
        """What a log-in page is told of them, as OpenID Connect names it; empty for nothing."""
        return "" if self.recent_s is None else f"max_age={self.recent_s}"


NONE: Final = Demands()


def demands_of(query: bytes) -> Demands:
    """Return what is demanded in a query; parameters of any other name are the page's own.

    Raises:
        Problem: 400 for a demand that can never be right: nobody is let in by a misspelt one.
    """
    if not query:
        return NONE
    demands = NONE
    for parameter in query.split(b"&"):
        name, _, value = parameter.partition(b"=")
        read = READERS.get(name)
        if read is not None:
            demands = read(demands, unquote_plus(value.decode("latin-1")))
    return demands


def _with_recent(demands: Demands, value: str) -> Demands:
    if not (value.isascii() and value.isdigit() and len(value) <= RECENT_DIGITS_MAX and int(value)):
        raise bad_request("recent is whole seconds, such as recent=600")
    seconds = int(value)
    return demands._replace(recent_s=seconds if demands.recent_s is None else min(seconds, demands.recent_s))


def _with_acr(demands: Demands, value: str) -> Demands:
    return demands._replace(acr=(*demands.acr, frozenset(_words("acr", value))))


def _with_scope(demands: Demands, value: str) -> Demands:
    return demands._replace(scope=demands.scope | set(_words("scope", value)))


def _with_audience(demands: Demands, value: str) -> Demands:
    if not value:
        raise bad_request("audience is for whom a token was issued, such as audience=https://api.example")
    return demands._replace(audience=demands.audience | {value})


def _words(name: str, value: str) -> list[str]:
    try:
        return (scope_of(value) or "").split(" ")
    except InvalidInput:
        raise bad_request(f"{name} is words with blanks between, such as {name}=read+write") from None


READERS: Final[dict[bytes, Callable[[Demands, str], Demands]]] = {
    b"recent": _with_recent,
    b"acr": _with_acr,
    b"scope": _with_scope,
    b"audience": _with_audience,
}


def _refusal(status: int, error: str, detail: str, told: str, title: str) -> Problem:
    challenge = f'Bearer {REALM.decode("ascii")}, error="{error}", error_description="{detail}", {told}'
    return Problem(status, error, detail, headers=[(b"www-authenticate", challenge.encode("ascii"))], title=title)
