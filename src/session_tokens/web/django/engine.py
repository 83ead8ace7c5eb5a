"""Django's ``SessionStore`` on our store: each method is one generator of ``Command``, run blocking or awaited.

A session's key is its secret, for Django puts the key into the cookie. What is asked of the store is written down once,
as generators of ``Command``; the blocking methods and their twins for asyncio only carry it there and back, so
that both may be used on one object.

``cycle_key()`` mints the new secret at once and writes nothing: packages read the key in the signal of a log-in, and a
view that fails afterwards (Django saves nothing then, and sets no cookie) must not cost the visitor their session. The
next ``save()`` writes secret, owner and data in one step. Until then this process knows the key by ``_unsaved``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from django.contrib.auth import SESSION_KEY as USER
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.core.exceptions import PermissionDenied

from ...crypto.minting import new_secret
from ...crypto.secret_form import SESSION_ID, SHORT_SECRET, is_id, is_session_secret
from ...errors import AlreadyExists, Conflict, LimitReached, OwnerDisabled, SessionEnded, UnknownSession
from ...records import Session
from ...records.compact import read_compact
from ...settings import ANONYMOUS_OWNERS
from ..moving_in import moving_in_as
from .asking import Steps, arun, ask, run
from .moving_in import ReadingOnThread, peer
from .opened import opened, replaced
from .texts import as_in_django, texts_of

Data = dict[str, Any]

EXPIRY = "_session_expiry"
SWEPT_AT_ONCE = 1_000


class SessionStore(SessionBase):
    """One session of one request.

    Args:
        session_key: its secret, as the cookie has it. One that is unknown, over or malformed is never adopted: reading
            forgets it, and the session gets a key of its own when it is saved.
    """

    _unsaved: ClassVar[WeakValueDictionary[str, SessionStore]] = WeakValueDictionary()
    _has_response = False  # that hands another key out: only our middleware surely does
    _goes_by_id = False  # once it was read: another request may replace the key meanwhile, and the session goes on
    _is_outdated = False  # whether one has, so that the key is not to be handed out again
    _has_ended = False  # with this object
    _session_cache: Data
    _session_key: str | None  # Django's property, which refuses what is no key

    def __init__(self, session_key: str | None = None) -> None:
        self._is_marked = False
        self._seen: Mapping[str, str] = {}  # the data as it was when nothing was modified
        self._client: Mapping[str, str | None] = {}
        self._forget()
        super().__init__(session_key)
        before = None if session_key is None else self._unsaved.get(session_key)
        if before is not None:
            self._adopt(before)

    def _forget(self) -> None:
        """Know nothing of what the store has."""
        self._record: Session | None = None
        self._kept: Mapping[str, str] = {}  # field → JSON text, as it was last read or written here
        self._minted: str | None = None  # the key, as long as no store has it
        self._left: str | None = None  # the key that it takes the place of
        self._given: str | None = None  # by this request, in the place of the key that it came with
        self._is_proven = False
        self._how: dict[str, Any] = {}

    def _adopt(self, before: SessionStore) -> None:
        """Go on where another object stands that has the same unsaved key."""
        self._record, self._kept, self._minted = before._record, before._kept, before._minted
        self._left, self._is_proven, self._client = before._left, before._is_proven, before._client
        self._how = before._how
        if hasattr(before, "_session_cache"):
            self._session_cache = dict(before._session_cache)
        if self._minted is not None:
            self._unsaved[self._minted] = self

    # --- what is known of the session ---------------------------------------------------------------------------------

    @property
    def record(self) -> Session | None:
        """The session as the store had it when it was last read or written here; ``None`` without one."""
        self._get_session()
        return self._record

    @property
    def id(self) -> str | None:
        """The public id, which may be shown and logged; ``None`` as long as there is no record."""
        record = self.record
        return None if record is None else record.id

    def came_from(self, *, user_agent: str | None, address: str | None) -> None:
        """Remember which client logs in; kept with the session that the log-in opens."""
        self._client = {"user_agent": user_agent, "address": address}

    def proved_by(self, *, acr: str | None = None, amr: Collection[str] = ()) -> None:
        """Keep how the user has just proved who they are: call it after ``login(request, user)``, or for a step-up.

        It is written when the session is saved; the step-up clock (``recent_login_required``) restarts.

        Args:
            acr: how surely, a value of the application's (OpenID Connect Core 1.0, section 2).
            amr: by which methods, such as ``["pwd", "otp"]`` (RFC 8176).
        """
        self._how = {"acr": acr, "amr": list(amr)}
        self._is_proven = self._is_marked = True

    @property
    def modified(self) -> bool:
        """Whether something was changed; also what lies within a field."""
        if self._is_marked:
            return True
        try:
            return texts_of(self._session_cache) != self._seen
        except AttributeError:
            return False
        except (TypeError, ValueError):
            return True  # saving it says what is wrong

    @modified.setter
    def modified(self, value: bool) -> None:
        self._is_marked = value
        if not value:
            try:
                self._seen = texts_of(self._session_cache)
            except (AttributeError, TypeError, ValueError):
                self._seen = {}

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._noticed(key)

    async def aset(self, key: str, value: Any) -> None:
        """Set a field."""
        await super().aset(key, value)
        self._noticed(key)

    def _noticed(self, key: str) -> None:
        """Take a new secret when somebody logs in who was not; who logs in again keeps theirs here, as in Django."""
        if key == USER:
            self._is_proven = True
            if self._minted is None and (self._record is None or _user_of(self._record) != str(self._session[USER])):
                self._cycle()

    def _get_session(self, no_load: bool = False) -> Data:
        """Return the data, read when it is first asked for; by the secret, which the key need not be."""
        self.accessed = True
        if not hasattr(self, "_session_cache"):
            self._session_cache = {} if self._session_key is None or no_load else self.load()
        return self._session_cache

    async def _aget_session(self, no_load: bool = False) -> Data:
        self.accessed = True
        if not hasattr(self, "_session_cache"):
            self._session_cache = {} if self._session_key is None or no_load else await self.aload()
        return self._session_cache

    _session = property(_get_session)

    # --- reading ------------------------------------------------------------------------------------------------------

    def load(self) -> Data:
        """Return the data; of what is no living session: nothing, and the key is forgotten.

        Raises:
            StoreUnavailable: the store cannot be read; nobody is logged out by this.
        """
        return run(self._load())

    async def aload(self) -> Data:
        """Do the same on an event loop."""
        return await arun(self._load())

    def _load(self) -> Steps[Data]:
        key = self._session_key
        if key is not None and key == self._minted:
            return {field: read_compact(text) for field, text in self._kept.items()}
        record: Session | None
        if self._goes_by_id and self._record is not None:
            record = yield ask("get_session", self._record.id)
            self._look_at_key(record)
            record = None if record is None or record.detached_at is not None else record
        else:
            record = None if key is None else (yield ask("verify_session", key))
            if record is None and key is not None and not is_session_secret(key):
                record = yield from self._move_in(key)
            else:
                record = yield from self._rotated(record, key)
        if record is None:
            self._forget()
            self._session_key = None
            self._seen = {}
            return {}
        data = self._take(record)
        if not self._is_marked:
            self._seen = self._kept
        return data

    def _rotated(self, record: Session | None, key: str | None) -> Steps[Session | None]:
        """Give the session a new key where that is due; the response hands it out."""
        how = replaced() if self._has_response else None
        issued = None if how is None else (yield from how.steps(record, key))
        if issued is None:
            return record
        self._session_key = self._given = issued.secret
        self._is_marked = True
        return issued.session

    def _move_in(self, key: str) -> Steps[Session | None]:
        """Return the session into which the key of another engine moves, whose secret is the key from now on."""
        engine = peer()
        former = None if engine is None else (yield ReadingOnThread("read", (engine, key)))
        if former is None:
            return None
        client = self._client.get("user_agent"), self._client.get("address")
        issued = yield from moving_in_as(former, encode=as_in_django, client=lambda: client)
        if issued is not None:
            self._session_key = self._given = issued.secret
            self._is_marked = True  # so that the response hands the new key out
        return None if issued is None else issued.session

    def _take(self, record: Session) -> Data:
        """Go on from what was read; return its data."""
        data: Data = read_compact(record.details.data_text)
        self._hold(record, texts_of(data))
        return data

    def _hold(self, record: Session, kept: Mapping[str, str]) -> None:
        """Keep a record that has the present key, and the data that was read or written here."""
        self._record, self._kept = record, kept

    def exists(self, session_key: str | None) -> bool:
        """Whether a living session has that key, or that id."""
        return run(self._exists(session_key))

    async def aexists(self, session_key: str | None) -> bool:
        """Do the same on an event loop."""
        return await arun(self._exists(session_key))

    def _exists(self, key: str | None) -> Steps[bool]:
        if not key or key == self._left:
            return False
        if key in self._unsaved:
            return True
        if is_id(SESSION_ID, key):
            return (yield ask("get_session", key)) is not None
        return is_session_secret(key) and (yield ask("verify_session", key, touch=False)) is not None

    # --- keys ---------------------------------------------------------------------------------------------------------

    def _get_new_session_key(self) -> str:
        """Return a new secret; nobody else can have it."""
        self._minted = new_secret(SHORT_SECRET)
        self._unsaved[self._minted] = self
        return self._minted

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()

    def _cycle(self) -> None:
        if self._record is not None and self._left is None:
            self._left = self._session_key
        self._session_key = self._get_new_session_key()
        self.modified = True

    def cycle_key(self) -> None:
        """Take a new key and keep the data. It is final at once; the store gets it when the session is saved."""
        self._get_session()
        self._cycle()

    async def acycle_key(self) -> None:
        """Do the same on an event loop."""
        await self._aget_session()
        self._cycle()

    def flush(self) -> None:
        """End the session and forget it."""
        super().flush()
        self._has_ended = True
        self._forget()

    async def aflush(self) -> None:
        """Do the same on an event loop."""
        await super().aflush()
        self._has_ended = True
        self._forget()

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Open a session of its own, at once."""
        run(self._create())

    async def acreate(self) -> None:
        """Do the same on an event loop."""
        await arun(self._create())

    def _create(self) -> Steps[None]:
        client, proven, how = self._client, self._is_proven, self._how
        self._forget()
        self._client, self._is_proven, self._how = client, proven, how
        self._session_key = self._get_new_session_key()
        yield from self._save(must_create=True)
        self.modified = True

    def save(self, must_create: bool = False) -> None:
        """Write what was changed, and nothing else: changes of other fields by other requests survive.

        Raises:
            UpdateError: the session has ended meanwhile, or has another secret; it is not revived.
            CreateError: ``must_create``, and the key was not minted for this object.
            PermissionDenied: the user is disabled, or has all the sessions that they may have.
            InvalidInput: the data is larger than ``max_data_bytes``, or is no JSON.
            StoreUnavailable: the store cannot be written.
        """
        run(self._save(must_create=must_create))

    async def asave(self, must_create: bool = False) -> None:
        """Do the same on an event loop."""
        await arun(self._save(must_create=must_create))

    def _save(self, *, must_create: bool) -> Steps[None]:
        if self._session_key is None:
            yield from self._create()
            return
        if must_create and self._session_key != self._minted:
            raise CreateError
        if not hasattr(self, "_session_cache"):
            self._session_cache = {} if must_create else (yield from self._load())
            self.accessed = True
        try:
            if self._minted is None and self._record is None:
                self._take((yield from self._find()))
            yield from self._write(self._session_cache)
        except (UnknownSession, SessionEnded, Conflict) as error:
            raise UpdateError("the session has ended, or has another key by now") from error
        except AlreadyExists as error:
            raise CreateError from error
        except (OwnerDisabled, LimitReached) as error:
            raise PermissionDenied(str(error)) from error
        self._unsaved.pop(self._session_key, None)
        self._minted = self._left = None
        self._is_proven, self._how = False, {}

    def look_again(self) -> None:
        """See whether the key is still the one to hand out, with nothing to write."""
        run(self._look_again())

    async def alook_again(self) -> None:
        """Do the same on an event loop."""
        await arun(self._look_again())

    def _look_again(self) -> Steps[None]:
        try:
            yield from self._find()
        except UpdateError:
            self._is_outdated = True

    def _find(self) -> Steps[Session]:
        """Return the record: of a session whose data was set without reading it, or to see that it lives."""
        found: Session | None = None
        if self._goes_by_id and self._record is not None:
            found = yield ask("get_session", self._record.id)
            self._look_at_key(found)
        elif self._session_key is not None:
            found = yield ask("verify_session", self._session_key)
        if found is None or found.detached_at is not None:
            raise UpdateError("there is no such session")
        return found

    def _look_at_key(self, now: Session | None) -> None:
        """See whether the session has another secret by now than when it was read."""
        read = self._record
        if read is not None and now is not None:
            self._is_outdated |= now.lookup != read.lookup or read.secret_until is not None

    def _write(self, data: Data) -> Steps[None]:
        texts = texts_of(data)
        record = self._record
        owner = None if data.get(USER) is None else str(data[USER])
        is_anothers = record is None or owner != _user_of(record)
        is_moving = is_anothers or self._is_proven
        if is_moving and self._goes_by_id and self._has_response and record is not None and self._minted is None:
            self._cycle()  # the one of before may be no more than a previous one by now, or dead
        key = self._session_key
        named = record.id if self._goes_by_id and record is not None else self._left or key
        if self._is_over(data):
            self._record, self._kept, self._has_ended = None, {}, True
            if record is not None:
                yield ask("destroy_session", named, reason="expired")
            return
        changes = {field: read_compact(text) for field, text in texts.items() if text != self._kept.get(field)}
        removed = [field for field in self._kept if field not in texts]
        if record is None or is_anothers:
            is_carried = record is not None and _user_of(record) is None
            issued = yield ask(
                "log_in",
                owner,
                former=None if record is None else named,
                secret=key,
                data=changes if is_carried else {field: read_compact(text) for field, text in texts.items()},
                removed=removed if is_carried else (),
                **self._clocks(data, is_anonymous=owner is None),
                **self._client,
                **self._how,
            )
            self._hold(issued.record, texts)
            return
        if not changes and not removed and self._left is None and not self._is_proven:
            self._hold((yield from self._find()), self._kept)  # a use
            return
        if EXPIRY in changes or EXPIRY in removed:
            clocks = self._clocks(data, is_anonymous=owner is None, record=record)
            yield ask("change_session", named, **(clocks or _general_clocks(is_anonymous=owner is None)))
        if self._left is not None or self._is_proven:  # last: with what fails before, the key of before is good
            by, proven = key if self._left is None else named, self._is_proven
            record = yield ask("renew", by, key, changes, removed=removed, authenticated=proven, **self._how)
        else:
            record = yield ask("update_session_data", named, changes, removed=removed)
            self._look_at_key(record)
        # What other requests wrote meanwhile is in the record and not here: it is not to be taken out, or written over,
        # when this object is saved once more.
        self._hold(record, texts)

    def _is_over(self, data: Data) -> bool:
        expiry = data.get(EXPIRY)
        return bool(expiry) and self.get_expiry_age(expiry=expiry) <= 0

    def _clocks(self, data: Data, *, is_anonymous: bool, record: Session | None = None) -> dict[str, Any]:
        """Return what ``set_expiry`` asks for: seconds without use, or an instant; nothing for the general settings."""
        expiry = data.get(EXPIRY)
        if not expiry:
            return {}
        age_s = self.get_expiry_age(expiry=expiry)
        if not isinstance(expiry, str):
            return {"idle_timeout": age_s, "max_age": None} if is_anonymous else {"idle_timeout": age_s}
        opened_s_ago = 0 if record is None else (record.clock.now() - record.opened_at) / 1000
        return {"idle_timeout": None, "max_age": opened_s_ago + age_s}

    def delete(self, session_key: str | None = None) -> None:
        """End the session of a key or id, this one where none is given; ending what is over changes nothing."""
        run(self._delete(session_key))

    async def adelete(self, session_key: str | None = None) -> None:
        """Do the same on an event loop."""
        await arun(self._delete(session_key))

    def _delete(self, key: str | None) -> Steps[None]:
        key = self._session_key if key is None else key
        holder = None if key is None else self._unsaved.get(key)
        if holder is not None:
            key = holder._left if holder._record is None or holder._left is None else holder._record.id
            holder._unsaved.pop(holder._minted or "", None)
            holder._forget()
        elif key is not None and key in (self._session_key, self._left):
            if self._record is not None:  # it has ended though another request has taken a new key meanwhile
                key = self._record.id
            self._forget()
        if key is not None and (is_session_secret(key) or is_id(SESSION_ID, key)):
            yield ask("destroy_session", key)

    @classmethod
    def clear_expired(cls) -> None:
        """Clean up behind sessions that are over; the library does so by itself while a process runs."""
        run(_swept())

    @classmethod
    async def aclear_expired(cls) -> None:
        """Do the same on an event loop."""
        await arun(_swept())


def _swept() -> Steps[None]:
    while (yield ask("sweep", SWEPT_AT_ONCE)) == SWEPT_AT_ONCE:
        pass


def _user_of(record: Session) -> str | None:
    """Return whose session it is, ``None`` for a visitor's."""
    return None if record.owner.startswith(ANONYMOUS_OWNERS) else record.owner


def _general_clocks(*, is_anonymous: bool) -> dict[str, Any]:
    general = opened.blocking().settings
    lasts = general.anonymous_max_age if is_anonymous else general.max_age
    return {"idle_timeout": general.idle_timeout, "max_age": lasts}
