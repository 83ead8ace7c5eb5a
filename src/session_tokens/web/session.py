"""A browser's session within one request, whatever the framework: what it holds, and what becomes of it at the end.

Theory of operation. A framework reads our cookie, and ``loading`` says what to ask the store; with the answer it
gives the application a ``WebSession``. When the response is known, ``settling`` says what to ask the store, and what
to do with the cookie. Both are generators: they yield ``Command``s and take the answers. ``drive`` and ``drive_async``,
which wait each in their own way, are all that differs between blocking frameworks and those of asyncio.

At the response, the first row that fits decides:

| what happened | store | cookie |
|---|---|---|
| logged out, or all fields were taken out | end | clear |
| logged in | one ``log_in``, which ends the session before | set |
| first fields of a visitor | one ``log_in(None)`` | set |
| the same, by a page of another origin | nothing | untouched |
| fields changed | one update of these fields | untouched |
| nothing changed | nothing, or a touch at the loading if one was due | untouched |

Where the session ended meanwhile, nothing revives it: the cookie is cleared, unless another log-in of the same browser
has replaced it (which set a cookie of its own). Where the store cannot do it, the error goes to the framework, which
answers 503 and leaves the cookie alone. A response of 500 or more saves no fields and logs nobody in, so that nothing
of the session before is lost; a log-out is done all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Mapping
from functools import partial
from typing import Any, TypeVar

from ..crypto.minting import new_secret
from ..crypto.secret_form import SESSION_SECRET
from ..errors import Conflict, InvalidInput, ReauthenticationRequired, SessionEnded, StoreBusy, UnknownSession
from ..records import JSON, Issued, Session
from ..records.compact import read_compact
from ..rules.reserved import applications, is_anonymous
from ..settings import ATTEMPTS_MAX, Duration
from .commands import Command, CookieChange, LogIn, drive, drive_async
from .contents import FLASH, HIDDEN, REMEMBER, Contents, Encode
from .cookies import LONGEST_S
from .fields import NOBODY, OwnerField, as_it_is, check_field
from .handing_out import handing_out
from .steps import retaken
from .withheld import dropped

Client = Callable[[], tuple[str | None, str | None]]
"""Returns the user agent and the address of a client, for the sessions that are opened here."""


__all__ = ["Command", "CookieChange", "LogIn", "OwnerField", "WebSession", "drive", "drive_async", "loading"]


class WebSession(Contents):
    """The fields of a browser's session, and who is logged in.

    It is a plain dictionary to the application: nested changes are noticed, ``None`` is a value. Only fields that
    changed are written, so that two requests which change different fields both survive.

    Attributes:
        record: the session as it was read; ``None`` where there is none.
        accessed: whether the application read it: the response then differs from browser to browser.
        kind: how the secrets begin that are minted here.
        options: further arguments of ``log_in`` for the sessions that are opened here, as ``max_age``.
        owner_field: where the application keeps who is logged in, if it does so in a field.
    """

    owner_field: OwnerField | None = None
    _is_named = False  # whether the log-in to be was asked for by the field

    # A dictionary of attributes would cost a visitor's request more than all the rest here.
    __slots__ = (
        "__dict__", "_client_of", "_ended", "_log_in", "_minted", "_moved", "_secret", "_seen", "kind", "options",
        "record",
    )  # fmt: skip

    def __init__(
        self,
        record: Session | None = None,
        secret: str | None = None,
        *,
        encode: Encode = as_it_is,
        decode: Encode = as_it_is,
        kind: str = SESSION_SECRET,
        client: Client | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.record = record
        self.kind = kind
        self.options = options or {}
        self._client_of = client
        self._encode = encode
        self._secret = None if record is None else secret
        self._log_in: LogIn | None = None
        self._minted: str | None = None
        self._moved: Session | None = None
        self._seen: int | None = None  # the version whose fields are in here, where the record is of a later one
        self._ended = self._cleared = self.accessed = False
        self._kept, self._steps, self._hidden = {}, {}, {}
        if record is not None:
            self._take(record, decode)

    # Who it is.

    @property
    def id(self) -> str | None:
        """The public id of the session; ``None`` where it has no record (yet)."""
        self.accessed = True
        return self._id()

    @property
    def owner(self) -> str | None:
        """Who is logged in; ``None`` for a visitor."""
        self.accessed = True
        if self._log_in is not None and not (self._is_named and self._is_left()):
            return self._log_in.owner
        if self.record is None or self._ended or is_anonymous(self.record.owner) or self._is_left():
            return None
        return self.record.owner

    @property
    def secret(self) -> str | None:
        """What the cookie holds after the response; ``None`` where there is no session. Never show it."""
        if self._log_in is not None:
            return self._minted
        return None if self._ended else self._secret

    @property
    def remember(self) -> bool:
        """Whether the cookie outlives the browser."""
        if self._log_in is not None:
            return self._log_in.remember
        return self._hidden.get(REMEMBER) is True and not self._ended

    @property
    def lasts_s(self) -> float | None:
        """Seconds that the session lasts at most, if it is used often enough; ``None`` for ever, or without one."""
        record = self.record
        if record is None or record.max_age_ms is None:
            return None
        return max(0, record.opened_at + record.max_age_ms - record.clock.now()) / 1000

    def cookie_age_s(self, *, is_kept: bool) -> int | None:
        """Return for how many seconds browsers keep the cookie; ``None``: until they are closed.

        Args:
            is_kept: whether it outlives the browser, as that of a session that is to be remembered: it then stays for
                as long as the session can last, by the store's clock and whatever the browser's says.
        """
        if not is_kept:
            return None
        return LONGEST_S if self.lasts_s is None else min(math.ceil(self.lasts_s), LONGEST_S)

    @property
    def authenticated_at(self) -> int | None:
        """When its owner last proved who they are, in milliseconds since the epoch; ``None`` for a visitor.

        Of who logs in with this request it is known from the next one on.
        """
        record = self._of(self.owner)
        return None if record is None else record.authenticated_at

    def require_recent(self, max_age: Duration, *, acr: str | Collection[str] | None = None) -> None:
        """Accept only if the user logged in at most ``max_age`` (seconds or ``timedelta``) ago.

        Args:
            acr: how surely, where that matters: the value of the log-in, or all that will do.

        Raises:
            ReauthenticationRequired: it was longer ago or in another way, or nobody is logged in; let them log in
                again (step-up). A log-in of this request counts from the next one on, when it is written.
        """
        self.require_recent_of(self.owner, max_age, acr=acr)

    def require_recent_of(self, owner: str | None, max_age: Duration, *, acr: str | Collection[str] | None) -> None:
        """As ``require_recent``, where a framework's own session knows who is logged in."""
        record = self._of(owner)
        if record is None:
            raise ReauthenticationRequired("nobody is logged in, or only with this request; log in first")
        record.require_recent(max_age, acr=acr)

    def _of(self, owner: str | None) -> Session | None:
        """Return the session as it was read, if it is an owner's: it says nothing of who only logs in now."""
        record = self.record
        return record if owner is not None and record is not None and record.owner == owner else None

    def login(self, owner: str, *, remember: bool = False, secret: str | None = None, **options: Any) -> None:
        """Log a user in: with the response, a new session of theirs takes the place of this one.

        A visitor's fields stay; those of another user who was logged in here are gone. What this request said by
        ``flash`` stays.

        Args:
            owner: the application's identity string of the user.
            remember: whether it lasts for ``Settings.remember_max_age``, and its cookie outlives the browser.
            secret: what the cookie will hold, where it was handed out before; without it one is minted.
            options: ``idle_timeout``, ``max_age``, ``label``, ``acr`` and ``amr``, as for ``SessionTokens.log_in``.
        """
        before = self.owner
        if before is not None and before != owner:
            self._forget_another()
        self._ended = self._is_named = False
        self._log_in = LogIn(owner, remember, options)
        self._minted = new_secret(self.kind) if secret is None else secret

    def logout(self) -> None:
        """Log out: with the response the session ends, and all its fields are gone now."""
        self._forget()
        self._log_in = None
        self._ended = True

    def begin_anew(self, decode: Encode = as_it_is) -> None:
        """Be as it was read: what was done in an attempt that a framework makes again is not.

        Args:
            decode: as it was made with.
        """
        dict.clear(self)
        self._kept, self._steps, self._hidden = {}, {}, {}
        self._log_in = self._minted = self._seen = None
        self._ended = self._cleared = self._is_named = False
        if self.record is not None:
            self._take(self.record, decode)

    def rotated(self, issued: Issued) -> None:
        """Take in that the session was given a new secret in the store: the cookie follows, whatever is answered."""
        read = self.record
        if read is not None and read.details.data_text != issued.session.details.data_text:
            self._seen = self._version(read)  # another request has changed fields since, which are not in here
        self.record, self._secret, self._moved = issued.session, issued.secret, issued.session

    def _version(self, record: Session) -> int:
        """Return the version of the record whose fields are in here, though this one may be of a later one."""
        return record.version if self._seen is None else self._seen

    @property
    def has_moved(self) -> bool:
        """Whether it has got a new secret in the store since it was read."""
        return self._moved is not None

    # What it holds.

    @property
    def modified(self) -> bool:
        """Whether any field is another than it was, or somebody logged in or out."""
        return any(self._changes()) or self._log_in is not None or self._ended or self._cleared

    @modified.setter
    def modified(self, value: bool) -> None:
        """Accept what applications say of other sessions; changes are noticed here without it."""

    @property
    def is_logging_in(self) -> bool:
        """Whether a log-in was asked for that is not done yet."""
        return self._log_in is not None

    @property
    def is_leaving(self) -> bool:
        """Whether the session ends with the response."""
        return self._ended or self._is_left()

    @property
    def log_in_to_be(self) -> LogIn | None:
        """The log-in that was asked for and is not done yet."""
        return self._log_in

    @property
    def is_forged(self) -> bool:
        """Whether a page of another origin sent the request, which then opens no session; frameworks know it."""
        return False

    @property
    def is_untouched(self) -> bool:
        """Whether there is no session, and nobody has looked for one: the response has nothing to do with any."""
        return self.record is None and not self.accessed and self._log_in is None

    @property
    def new(self) -> bool:
        """Whether there is no record of it yet."""
        return self.record is None

    def __setitem__(self, field: str, value: Any) -> None:
        self.accessed = True
        if not isinstance(field, str):
            raise TypeError(f"a session's field is named by a str, not {type(field).__name__}")
        if field.startswith(HIDDEN):
            raise InvalidInput(f"fields that begin with {HIDDEN} are the session's own; use another name")
        if type(value) is not str or not value.isascii() or not field.isascii():
            check_field(field, value, self._encode)
        if self.owner_field is not None and field == self.owner_field.key and value not in NOBODY:
            self._log_in_named(self.owner_field.owner_of(value))
        dict.__setitem__(self, field, value)

    def __repr__(self) -> str:
        return f"WebSession(id={self._id()!r}, fields={sorted(dict.__iter__(self))!r})"

    def _id(self) -> str | None:
        return None if self.record is None or self._ended else self.record.id

    def _log_in_named(self, owner: str) -> None:
        """Log in whom the application's field names; of another user's session stays what this request put in."""
        if self._log_in is not None and not self._is_named:
            return  # by ``login``, which knows more of it
        changes, _ = self._changes()
        mine = {field: dict.__getitem__(self, field) for field in changes if dict.__contains__(self, field)}
        self.login(owner)
        dict.update(self, mine)
        self._is_named = True

    def _is_left(self) -> bool:
        """Whether the application took out, or emptied, its field that named who is logged in."""
        key = None if self.owner_field is None else self.owner_field.key
        if key is None or dict.get(self, key) not in NOBODY:
            return False
        return self._is_named or self._kept.get(key) not in NOBODY

    def _leave(self) -> None:
        """Log out where the application's field names nobody any more; all else goes on in a visitor's session."""
        if self._ended or (self._log_in is not None and not self._is_named):
            return
        self._log_in, self._is_named = None, False
        if self.record is not None and not is_anonymous(self.record.owner):
            rest, messages = dict(self), self._hidden.get(FLASH)
            self.logout()
            dict.update(self, rest)
            self._hidden |= {} if messages is None else {FLASH: messages}

    # What becomes of it.

    def settling(self, status: int = 200) -> Generator[Command, Any, CookieChange]:
        """Do at the end of a request what the table of this module says; return what becomes of the cookie.

        Args:
            status: of the response.

        Raises:
            StoreUnavailable, StoreBusy: nothing was done; answer 503, with what ``failing`` says of the cookie.
            InvalidInput, TypeError: a field that can never be kept, or too many; the message names it.
        """
        if self._is_left():
            self._leave()
        if self._ended:
            return (yield from self._settle_end(status))
        if status >= 500:
            self._log_in = None
            return (yield from handing_out(self._moved, self._secret))
        if self._log_in is not None:
            return (yield from self._settle_log_in(self._log_in))
        changes, removed = self._changes()
        is_empty = self._is_empty()
        if self.record is None:
            return CookieChange.KEEP if is_empty else (yield from self._settle_visitor(changes))
        if is_empty and self._cleared:
            self._ended = True
            return (yield from self._settle_end(status))
        if is_empty and removed and is_anonymous(self.record.owner) and (yield from self._is_over(self.record)):
            return CookieChange.CLEAR
        if changes or removed:
            try:
                self.record = yield from self._write(self.record, changes, removed, partial(_updating, self.record.id))
                self._seen = None
            except (SessionEnded, UnknownSession) as error:
                self._secret = None
                is_replaced = isinstance(error, SessionEnded) and error.details.get("reason") == "replaced"
                return CookieChange.KEEP if is_replaced else CookieChange.CLEAR
        return (yield from handing_out(self._moved, self._secret))

    def failing(self) -> Generator[Command, Any, CookieChange]:
        """Return what becomes of the cookie where another answer takes the place of the application's.

        Nothing is done to the session, but a secret that it was given with this request is handed out all the same:
        the one that the browser has is of before, and ends the session when its grace is over.
        """
        self._log_in, self._ended = None, False
        return (yield from handing_out(self._moved, self._secret))

    def _write(
        self,
        record: Session | None,
        changes: dict[str, JSON],
        removed: list[str],
        command: Callable[[dict[str, JSON], list[str], int | None], Command],
    ) -> Generator[Command, Any, Any]:
        """Write the changes; where others changed a field that we took a step from, take it again from theirs.

        Args:
            record: the session that the steps were taken in.
            changes: of its fields.
            removed: those that are taken out.
            command: makes the command, of both and of the version of the record that they rest on, where they do.
        """
        steps = {field: each for field, each in self._steps.items() if self._holds_steps(field, changes)}
        version = self._version(record) if steps and record is not None else None
        for _ in range(ATTEMPTS_MAX):
            try:
                return (yield command(changes, removed, version))
            except Conflict:
                if record is None or version is None:
                    raise
                found: Session | None = yield Command("get_session", (record.id,))
            if found is None:  # it ended meanwhile, which the command tells, if that matters to it
                version = None
                continue
            data, version = read_compact(found.details.data_text), found.version
            changes |= {field: retaken(data.get(field), each, changes.get(field)) for field, each in steps.items()}
            if FLASH in steps:
                removed = [field for field in removed if field != FLASH]
                if not changes[FLASH]:
                    del changes[FLASH]
                    removed.append(FLASH)
        raise StoreBusy("other requests change the same fields of the session all the time; try again")

    def _is_over(self, record: Session) -> Generator[Command, Any, bool]:
        """End a visitor's session whose last field is gone; return whether no other request had changed it before."""
        try:
            if not (yield Command("destroy_session", (record.id,), {"version": self._version(record)})):
                return False
        except Conflict:
            return False
        self.record, self._secret, self._ended = None, None, True
        return True

    def _settle_end(self, status: int) -> Generator[Command, Any, CookieChange]:
        former = self.record
        if former is not None:
            yield Command("destroy_session", (former.id,))
        self.record = self._secret = None  # now: where that fails, or is cancelled, it can be done again
        if status < 500 and not self._is_empty():
            self._kept.clear()
            self._ended = False
            changes, _ = self._changes()
            return (yield from self._settle_visitor(changes))
        return CookieChange.KEEP if former is None else CookieChange.CLEAR

    def _settle_visitor(self, changes: Mapping[str, JSON]) -> Generator[Command, Any, CookieChange]:
        if self.is_forged:
            dropped.tell()
            return CookieChange.KEEP
        options = {**self._client(), **self.options, "data": changes}
        issued: Issued = yield Command("log_in", (None,), {**options, "secret": new_secret(self.kind)})
        self.record, self._secret = issued.session, issued.secret
        return CookieChange.SET

    def _settle_log_in(self, log_in: LogIn) -> Generator[Command, Any, CookieChange]:
        if log_in.remember:
            self._hidden[REMEMBER] = True
        else:
            self._hidden.pop(REMEMBER, None)
        if self.record is not None and not is_anonymous(self.record.owner) and self.record.owner != log_in.owner:
            self._kept.clear()  # nothing of another user is carried over: what is here now is all that there will be
        changes, removed = self._changes()
        options = {**self._client(), **self.options, **log_in.options, "secret": self._minted}
        if log_in.remember and "max_age" not in log_in.options:
            options.pop("max_age", None)
        options |= {"former": None if self.record is None else self.record.id, "remember": log_in.remember}
        issued: Issued = yield from self._write(
            self.record, changes, removed, partial(_logging_in, log_in.owner, options)
        )
        self.record, self._secret, self._log_in, self._seen = issued.session, issued.secret, None, None
        return CookieChange.SET

    def _client(self) -> dict[str, Any]:
        user_agent, address = (None, None) if self._client_of is None else self._client_of()
        return {"user_agent": user_agent, "address": address}


def _updating(id: str, changes: dict[str, JSON], removed: list[str], version: int | None) -> Command:
    return Command("update_session_data", (id, changes), {"removed": removed, "version": version})


def _logging_in(
    owner: str, options: dict[str, Any], changes: dict[str, JSON], removed: list[str], version: int | None
) -> Command:
    return Command("log_in", (owner,), {**options, "data": changes, "removed": removed, "version": version})


S = TypeVar("S", bound=WebSession)


def loading(make: Callable[..., S], secret: str | None, **options: Any) -> Generator[Command, Any, S]:
    """Read the session of a cookie; one that is unknown or over is a new, empty session, and is never adopted.

    Args:
        make: makes a session of a record and a secret, both ``None`` where there is none: ``WebSession``, or its like.
        secret: the cookie's value, ``None`` without one. What is no session's secret is somebody else's cookie: the
            store is not asked.
        options: further arguments of ``make``.

    Raises:
        StoreUnavailable: the store cannot be read, which does not mean that nobody is logged in: answer 503.
    """
    record: Session | None = None
    if secret is not None:  # what is no session's secret is told from one by its form, once, where it is verified
        record = applications((yield Command("verify_session", (secret,))))
    return make(record, secret, **options)
