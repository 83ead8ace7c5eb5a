"""The sessions of Beaker, which applications of Bottle, Pyramid and others have: in files, in Redis.

A record is wrapped: a pickle, of a dictionary in a file and of a text in Redis, and in it, as base64, a pickle or
compressed JSON of the fields. When it was last used stands among them, and nothing else says when it ends. Log-outs by
``invalidate()`` leave the record whole under the old id, those by ``delete()`` leave it without fields.
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import b64decode
from collections.abc import Mapping
from hashlib import sha1
from pathlib import Path
from typing import Any

from ...errors import InvalidInput, StoreUnavailable
from ...settings import Duration
from . import ENDLESS_KEPT_S, Former, OwnerOf, owner_in, time_left_s
from .plain import BYTES_MAX, Unreadable, inflated, json_object, plain_pickle
from .redis import RedisReader
from .signed import Keys, keys_of, seconds_of

ID = re.compile(r"[0-9a-f]{32}")
SIGNATURE_LENGTH = 40
NOT_FIELDS = frozenset({"_accessed_time", "_creation_time", "_domain", "_path"})
PREFIX, SUFFIX = "beaker_cache:", ":session"


class _Beaker:
    """What both places have in common: how a cookie is signed, what a record holds, and when it is over."""

    def __init__(self, timeout: Duration | None, owner: OwnerOf, secret: Keys | None, cookie: str) -> None:
        self.cookie = cookie
        self._timeout_s = None if timeout is None else seconds_of("timeout", timeout)
        self._owner = owner
        self._keys = () if secret is None else keys_of(secret)

    def read(self, value: str) -> Former | None:
        """Return the session that a cookie names; ``None`` where there is none, or it holds nothing.

        Raises:
            StoreUnavailable: where they are kept cannot be asked.
        """
        id = self.id_in(value)
        return None if id is None else self.stored(id)

    def id_in(self, value: str) -> str | None:
        """Return the id in a cookie, whose signature must be right where there is one; ``None``: it can be none."""
        if self._keys:
            given, value = value[:SIGNATURE_LENGTH], value[SIGNATURE_LENGTH:]
            right = (hmac.new(key, value.encode("utf-8", "replace"), sha1).hexdigest() for key in self._keys)
            if not any(hmac.compare_digest(each.encode(), given.encode("utf-8", "replace")) for each in right):
                return None
        return value if ID.fullmatch(value) else None

    def stored(self, id: str) -> Former | None:
        """Return the session of an id, as ``read``."""
        try:
            all_fields = self._fields(id)
            if all_fields is None:
                return None
            used_at, left_s = all_fields.get("_accessed_time", 0), float(ENDLESS_KEPT_S)
            if self._timeout_s is not None:
                left_s = time_left_s(used_at, self._timeout_s)
            fields = {name: field for name, field in all_fields.items() if name not in NOT_FIELDS}
            owner = owner_in(fields, self._owner)
        except Unreadable:
            return None
        if not fields or left_s < 0.001:
            return None
        # Each use puts the end off; it is not one that would hold with us too.
        return Former(f"Beaker {id}", fields, owner, None, left_s)

    def _fields(self, id: str) -> dict[str, Any] | None:
        """Return all that a record holds; ``None`` where there is none.

        Raises:
            Unreadable: it is not what Beaker writes, or is encrypted.
        """
        raise NotImplementedError


class BeakerFiles(_Beaker):
    """The sessions that Beaker keeps in files: ``session.type = file``.

    Args:
        data_dir: ``session.data_dir``, or the folder that is ``session.file_dir``.
        timeout: ``session.timeout``, in seconds or a ``timedelta``; ``None`` where it is not set: a session never ends.
        owner: the field that says who is logged in, or a function of the fields.
        secret: ``session.secret``, where it is set.
        cookie: ``session.key``.

    Raises:
        InvalidInput: there is no such folder, or a timeout that can never be right.
    """

    def __init__(
        self,
        data_dir: str | Path,
        *,
        timeout: Duration | None,
        owner: OwnerOf,
        secret: Keys | None = None,
        cookie: str = "beaker.session.id",
    ) -> None:
        super().__init__(timeout, owner, secret, cookie)
        below = Path(data_dir, "container_file")
        self._folder = below if below.is_dir() else Path(data_dir)
        if not self._folder.is_dir():
            raise InvalidInput("data_dir is session.data_dir of Beaker: a folder that is there, and can be read")

    def ids(self) -> list[str]:
        """Return the ids of all that is stored, of users who logged out too."""
        found = (path.stem for path in self._folder.glob("*/*/*.cache"))
        return sorted(id for id in found if ID.fullmatch(id))

    def _fields(self, id: str) -> dict[str, Any] | None:
        path = self._folder / id[:1] / id[:2] / f"{id}.cache"
        try:
            with path.open("rb") as file:
                content = file.read(BYTES_MAX + 1)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and self._folder.is_dir():
                return None
            raise StoreUnavailable(
                f"the sessions of the library before cannot be read ({type(error).__name__}); try again"
            ) from error
        file_of = plain_pickle(content)
        return _unwrapped(file_of.get("session") if isinstance(file_of, dict) else None)


class BeakerRedis(_Beaker):
    """The sessions that Beaker keeps in Redis: ``session.type = ext:redis``.

    Args:
        server: a URL (``session.url``), or a blocking client.
        timeout, owner, secret, cookie: as for ``BeakerFiles``.

    Raises:
        InvalidInput: no server, or a timeout that can never be right.
    """

    def __init__(
        self,
        server: Any,
        *,
        timeout: Duration | None,
        owner: OwnerOf,
        secret: Keys | None = None,
        cookie: str = "beaker.session.id",
    ) -> None:
        super().__init__(timeout, owner, secret, cookie)
        self._reader = RedisReader(server)

    def ids(self) -> list[str]:
        """Return the ids of all that is stored, of users who logged out too."""
        found = (key[len(PREFIX) : -len(SUFFIX)] for key in self._reader.keys(PREFIX, SUFFIX))
        return [id for id in found if ID.fullmatch(id)]

    def _fields(self, id: str) -> dict[str, Any] | None:
        found = self._reader.get(f"{PREFIX}{id}{SUFFIX}")
        return None if found is None else _unwrapped(plain_pickle(found[0]))


def _unwrapped(text: object) -> dict[str, Any]:
    """Return the fields in what a file or Redis has.

    Raises:
        Unreadable: it is not what Beaker writes.
    """
    if not isinstance(text, str):
        raise Unreadable("it holds no session")
    try:
        content = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("it is no base64") from None
    fields: Mapping[Any, Any] | Any = json_object(inflated(content)) if content[:1] == b"x" else plain_pickle(content)
    if not isinstance(fields, dict):
        raise Unreadable("it is no mapping")
    return {str(name): field for name, field in fields.items()}
