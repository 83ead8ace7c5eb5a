"""The session of one Flask request: what ``WebSession`` is, with Flask's types and flags, loaded at its first use."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, Self

from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SessionMixin

from ...records import Session
from ...settings import Duration
from ..fields import SCALARS
from ..session import WebSession

PERMANENT: Final = "_permanent"
"""Where Flask keeps whether a session outlives the browser; alone it is no data."""

_tagged = TaggedJSONSerializer()


def encode(value: Any) -> Any:
    """Return a value as JSON with Flask's tags, for all types that Flask's signed cookie keeps."""
    return value if type(value) in SCALARS else json.loads(_tagged.dumps(value))


def decode(value: Any) -> Any:
    """Return what ``encode`` was given."""
    return value if type(value) in SCALARS else _tagged.loads(json.dumps(value))


class FlaskWebSession(WebSession):
    """What a ``FlaskSession`` holds.

    Attributes:
        is_forged: whether a page of another origin sent the request, which then opens no session.
    """

    is_forged = False


class FlaskSession(SessionMixin):
    """What ``flask.session`` is: the fields of a ``WebSession``, and who is logged in.

    What it wants to know itself it asks ``dict``: only what the application reads counts as read.

    Args:
        load: reads the session of the browser; it is called when the session is first read.
        is_presented: whether the browser sent a cookie of our name.
        is_forged: whether a page of another origin sent the request, which then logs nobody in.
        owner_key: the field that names who is logged in, where an extension keeps it in one.
        owner_of: maps that field to the owner.

    Attributes:
        modified: whether anything was assigned or removed; nested changes are noticed without it.
    """

    def __init__(
        self,
        load: Callable[[], WebSession],
        is_presented: bool,
        is_forged: bool,
        owner_key: str | None,
        owner_of: Callable[[Any], str],
    ) -> None:
        self._load = load
        self.is_presented, self.is_forged = is_presented, is_forged
        self._web: WebSession | None = None
        self._owner_key, self._owner_of = owner_key, owner_of
        self._had_key = self._was_permanent = self._is_remembered = False
        self._assigned: set[str] = set()
        self._new_owner: str | None = None
        self._log_in_options: dict[str, Any] = {}
        self._remembered_s: float | None = None
        self.modified = False

    @property
    def is_loaded(self) -> bool:
        """Whether anybody read it."""
        return self._web is not None

    @property
    def is_as_read(self) -> bool:
        """Whether it was read and nothing else: no field is another, nobody logs in or out, and its cookie stays."""
        web = self._web
        return not (web is None or self.modified or self._assigned or web.modified or web.has_moved)

    def read(self) -> None:
        """Read it from the store now, if it is not read."""
        if self._web is None:
            web = self._web = self._load()
            self._had_key = self._named() is not None
            # One that has just moved in from another library is given the lifetime of permanent sessions now.
            self._was_permanent = bool(dict.get(web, PERMANENT)) and not web.has_moved

    @property
    def web(self) -> WebSession:
        """The session without what is Flask's own, read from the store the first time."""
        if self._web is None:
            self.read()
            assert self._web is not None
        return self._web

    @property
    def record(self) -> Session | None:
        """The living session of the browser, as it was read or written; ``None`` without one."""
        return self.web.record

    @property
    def id(self) -> str | None:
        """The public id (``ses_…``), for lists of devices; ``None`` before there is a record."""
        return self.web.id

    @property
    def owner(self) -> str | None:
        """Who is logged in, as soon as they have logged in; ``None`` for a visitor."""
        new = self._owner_to_be()
        return self.web.owner if new is None and not self._is_left() else new

    def require_recent(self, max_age: Duration, *, acr: str | Collection[str] | None = None) -> None:
        """Accept only if the user logged in at most ``max_age`` ago, as ``WebSession.require_recent``.

        Raises:
            ReauthenticationRequired: it was longer ago or in another way, or nobody is logged in.
        """
        self.web.require_recent_of(self.owner, max_age, acr=acr)

    @property
    def is_logging_in(self) -> bool:
        """Whether somebody logs in with the response."""
        return self.web.is_logging_in or self._owner_to_be() is not None

    @property
    def is_leaving(self) -> bool:
        """Whether the session ends with the response."""
        return self.web.is_leaving or self._is_left()

    @property
    def permanent(self) -> bool:
        """Whether it outlives the browser."""
        return bool(dict.get(self.web, PERMANENT))

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self[PERMANENT] = bool(value)

    @property
    def sid(self) -> str | None:
        """The public id, as ``id``; Flask-Session has this name."""
        return self.id

    def be_permanent(self) -> None:
        """Make a session permanent that is opened with this response, unless the application said what it shall be."""
        is_new = self.web.record is None or self._owner_to_be() is not None or self.is_leaving
        has_data = bool(dict.__len__(self.web)) or self.web.is_logging_in
        if is_new and has_data and not dict.__contains__(self.web, PERMANENT):
            self.permanent = True

    # --- the mapping ---------------------------------------------------------------------------------------------

    def __getitem__(self, field: str) -> Any:
        return self.web[field]

    def __setitem__(self, field: str, value: Any) -> None:
        self.web[field] = value
        self._assigned.add(field)
        self.modified = True
        if field == self._owner_key:
            self._forget_another()

    def _forget_another(self) -> None:
        """Take out at once what is of another user than who logs in now; what this request has put in stays."""
        before, now = self.web.owner, self._owner_to_be()
        if before is not None and now is not None and now != before:
            for field in [name for name in dict.__iter__(self.web) if name not in self._assigned]:
                del self.web[field]

    def __delitem__(self, field: str) -> None:
        del self.web[field]
        self.modified = True

    def __iter__(self) -> Iterator[str]:
        return iter(self.web)

    def __len__(self) -> int:
        return len(self.web)

    def __contains__(self, field: object) -> bool:
        return field in self.web

    def get(self, field: str, default: Any = None) -> Any:
        """Return a field, ``default`` where it is not there."""
        return self.web.get(field, default)

    def popitem(self) -> tuple[str, Any]:
        """Take the field out that was put in last."""
        field = next(reversed(list(self.web)), None)
        if field is None:
            raise KeyError("the session is empty")
        return field, self.pop(field)

    def copy(self) -> dict[str, Any]:
        """Return the fields as a dictionary of its own."""
        return dict(self.web)

    def __or__(self, other: Any) -> dict[str, Any]:
        return self.copy() | dict(other)

    def __ror__(self, other: Any) -> dict[str, Any]:
        return dict(other) | self.copy()

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return "<FlaskSession, not read>" if self._web is None else f"<FlaskSession {self._web!r}>"

    def clear(self) -> None:
        """Empty it; one that is still empty with the response ends, and its cookie goes."""
        self.web.clear()
        self.modified = True

    # --- what is to happen at the response -------------------------------------------------------------------------

    def log_in(self, owner: str, **options: Any) -> None:
        """Let the response open a session for an owner; of a session of another owner nothing is carried over.

        Args:
            owner: who has logged in.
            options: ``label``, ``acr`` and ``amr``, as for ``SessionTokens.log_in``.
        """
        self.web.login(owner)
        self._new_owner, self._log_in_options, self._is_remembered = owner, options, False
        self.modified = True

    def proved_by(self, *, acr: str | None = None, amr: Collection[str] = ()) -> None:
        """Keep how the user has proved who they are in the log-in of this request, as an extension's ``login_user``.

        Args:
            acr: how surely, a value of the application's (OpenID Connect Core 1.0, section 2).
            amr: by which methods, such as ``["pwd", "otp"]`` (RFC 8176).
        """
        self._log_in_options |= {"acr": acr, "amr": amr}

    def remember(self, seconds: float | None) -> None:
        """Let the log-in of this request last for so long, ``None`` for ``Settings.remember_max_age``."""
        self._is_remembered, self._remembered_s = True, seconds

    def log_out(self) -> None:
        """Let the response end the session; its fields are gone now."""
        self.web.logout()
        self._new_owner, self._log_in_options, self._is_remembered = None, {}, False
        self.modified = True

    def conclude(self, lifetime: dict[str, Any]) -> bool:
        """Say in the words of ``WebSession`` what the request did; return whether it made it permanent, or not so.

        Args:
            lifetime: of sessions that are opened now, as options of ``log_in``.
        """
        web, owner = self.web, self._owner_to_be()
        if owner is None and self._is_left():
            rest = dict(web)
            web.logout()
            web.update(rest)
        is_alone = dict.__len__(web) == 1 and dict.__contains__(web, PERMANENT)
        if is_alone and owner is None and web.owner is None:
            del web[PERMANENT]
        web.options = dict(lifetime)
        if owner is not None:
            fresh = {field: web[field] for field in self._assigned if field in web}
            web.login(owner, remember=self._is_remembered, **self._log_in_options, **self._remembered())
            web.update(fresh)
        return self._was_permanent != self.permanent

    def _remembered(self) -> dict[str, Any]:
        if not self._is_remembered:
            return {}
        return {"idle_timeout": None} | ({} if self._remembered_s is None else {"max_age": self._remembered_s})

    def _owner_to_be(self) -> str | None:
        """Return who has just logged in: by ``log_in``, or by the field that an extension keeps."""
        if self._new_owner is not None or self._owner_key is None or self._owner_key not in self._assigned:
            return self._new_owner
        named = self._named()
        return None if named is None else self._owner_of(named)

    def _is_left(self) -> bool:
        """Whether an extension took away or emptied the field that says who is logged in."""
        return self._had_key and self._named() is None

    def _named(self) -> Any:
        """Return what the extension's field says of who is logged in; ``None`` for nobody, which "" is too."""
        named = None if self._owner_key is None else dict.get(self.web, self._owner_key)
        return None if named == "" else named
