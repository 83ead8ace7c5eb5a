"""Where the keys of a store come from: an argument, the environment, or a key file that only its owner can read.

A key file is text, one key a line, the first of a kind being the current one::

    session-tokens-keys 1
    # Keep this file apart from copies of the database.
    pepper 5f0c2a9e 6d1f…(hex)
    pepper 77b1d3c4 02aa…(hex)

Kinds are ``pepper`` (secrets are looked up by HMAC under it), ``data`` and ``index`` (for sealed values and names).
A file without that first line holds bare peppers in hex or base64, one a line and the current one first, as secret
managers write them; the other keys are then derived from the peppers. To change the pepper see ``peppers.py``.
"""

from __future__ import annotations

import base64
import binascii
import errno
import logging
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InvalidInput, StoreUnavailable
from .minting import PEPPER_BYTES_MIN, Pepper, PepperKeyring, checked_peppers
from .safe_places import insist_on_safe_folder

log = logging.getLogger("session_tokens.keys")

PEPPER_VARIABLE = "SESSION_TOKENS_PEPPER"
PEPPER_FILE_VARIABLE = "SESSION_TOKENS_PEPPER_FILE"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what a unit loads with ``LoadCredential=`` (systemd.exec(5))."""
KEY_FILE_SUFFIX = ".key"
KEY_FILE_BYTES_MAX = 65_536

_FIRST_WORD = "session-tokens-keys"
_FORMAT = "1"
_KINDS = ("pepper", "data", "index")
_HEAD = (
    f"{_FIRST_WORD} {_FORMAT}\n"
    "# Keep this file apart from copies of the database: with it they are usable, without it they are not.\n"
)
_HEX = frozenset("0123456789abcdefABCDEF")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one store, and where they were found.

    Attributes:
        peppers: key id → pepper, the current one first.
        data: key id → key for sealed values, the current one first; empty where there is none.
        index: key id → key for sealed names, the current one first; empty where there is none.
        source: where they come from, for messages; holds no key.
    """

    peppers: Mapping[str, bytes] = field(repr=False)
    source: str
    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    index: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def key_file_of(database: Path) -> Path:
    """Return where the key file of an SQLite database stands: beside it, ``<database>.key``."""
    return database.with_name(database.name + KEY_FILE_SUFFIX)


def given_keys(pepper: Pepper | None) -> Keys | None:
    """Return the keys that are given by argument or environment; ``None`` where none are.

    Raises:
        InvalidInput: a pepper that can never be right, or a file that keys may not be kept in; the message names
            where it was given.
        TypeError: a pepper that is neither bytes nor a mapping.
    """
    if pepper is not None:
        return Keys(checked_peppers(pepper), "the argument pepper=")
    text = os.environ.get(PEPPER_VARIABLE)
    if text is not None:
        return Keys(checked_peppers(_bare_pepper(text, PEPPER_VARIABLE)), f"the environment's {PEPPER_VARIABLE}")
    path = os.environ.get(PEPPER_FILE_VARIABLE)
    if path is not None:
        if not path:
            raise InvalidInput(f"{PEPPER_FILE_VARIABLE} is empty; give a path, or unset it")
        return read_key_file(Path(path))
    return None


def insist_on_keys_of_source(database: Path) -> None:
    """Refuse a new database that would be made with keys of its own, though it is to hold another store's records.

    Raises:
        InvalidInput: no keys are given, and none stand beside it.
    """
    beside = key_file_of(database)
    if given_keys(None) is None and not beside.exists():
        raise InvalidInput(
            "a new database would have keys of its own, and no secret would be valid there; name the key file of the "
            f"store that it comes from: SESSION_TOKENS_PEPPER_FILE=<database>.key, or put a copy of it at {beside}"
        )


def read_key_file(path: Path) -> Keys:
    """Read the keys from a file.

    Args:
        path: the file; a regular one of this user that nobody else may read or write. One that systemd made for its
            unit, in ``$CREDENTIALS_DIRECTORY``, may be root's: an entry of its access list lets this user read it.

    Raises:
        InvalidInput: there is no such file, or it is a link, a folder, someone else's, open to others, empty, or not
            a key file; the message says how to mend it and holds nothing of what was read.
    """
    return _parsed(_read_private(path), path)


def key_path_of(database: Path | None) -> Path:
    """Return the file from which a store's keys come when none are given as an argument.

    Args:
        database: the SQLite database, ``None`` for a store on a server.

    Raises:
        InvalidInput: they come from the environment's variable, or from nowhere.
    """
    if os.environ.get(PEPPER_VARIABLE) is not None:
        raise InvalidInput(
            f"the pepper comes from {PEPPER_VARIABLE}, which nothing here can change; keep it in a file of mode 0600 "
            f"and name that in {PEPPER_FILE_VARIABLE}"
        )
    named = os.environ.get(PEPPER_FILE_VARIABLE)
    if named:
        return Path(named)
    if database is None:
        raise InvalidInput(f"no key file is named; set {PEPPER_FILE_VARIABLE}")
    return key_file_of(database)


def replace_key_file(path: Path, keys: Keys) -> None:
    """Write a key file anew, in place of the one that is there: who reads it finds either one whole.

    Raises:
        StoreUnavailable: it cannot be written there.
    """
    draft = _draft_of(path)
    try:
        _write_private(draft, _text_of(keys))
        try:
            os.replace(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreUnavailable(
            f"the key file {path} cannot be written, and is as it was: {error.strerror}; {_remedy(error)}"
        ) from error


def make_key_file(path: Path) -> bool:
    """Make a key file with three new keys of 32 random bytes each; return whether this call made it.

    The file appears whole or not at all. Of two processes that make it at the same time, one wins.

    Raises:
        StoreUnavailable: it cannot be written there.
    """
    pepper, data, index = (checked_peppers(secrets.token_bytes(PEPPER_BYTES_MIN)) for _ in _KINDS)
    if not put_key_file(path, Keys(pepper, f"the key file {path}", data, index)):
        return False
    (key_id,) = pepper
    log.info("made the key file %s with the pepper %s; keep it apart from copies of the database", path, key_id)
    return True


def put_key_file(path: Path, keys: Keys) -> bool:
    """Write keys into a new key file, unless there is one; return whether this call made it.

    It appears as that of ``make_key_file`` does, and raises what that raises.
    """
    draft = _draft_of(path)
    try:
        _write_private(draft, _text_of(keys))
        try:
            os.link(draft, path, follow_symlinks=False)
        except FileExistsError:
            return False
        finally:
            os.unlink(draft)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreUnavailable(
            f"the key file {path} cannot be made: {error.strerror}; {_remedy(error)}, or give pepper="
        ) from error
    return True


def _draft_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")


def _text_of(keys: Keys) -> bytes:
    kinds = zip(_KINDS, (keys.peppers, keys.data, keys.index), strict=True)
    lines = [f"{kind} {key_id} {key.hex()}\n" for kind, held in kinds for key_id, key in held.items()]
    return (_HEAD + "".join(lines)).encode("ascii")


def given_keyring(pepper: Pepper | None, store: str, sealed: bool | None = None) -> PepperKeyring:
    """Return the keyring of a store on a server, from the argument or the environment.

    Args:
        pepper: the argument.
        store: what the store is called, for the error.
        sealed: see ``PepperKeyring``.

    Raises:
        InvalidInput: none is given, or one that can never be right.
    """
    keys = given_keys(pepper)
    if keys is None:
        raise InvalidInput(
            f"a {store} store needs a pepper that is kept apart from it: give pepper=, or set {PEPPER_VARIABLE} "
            f"or {PEPPER_FILE_VARIABLE}"
        )
    return keyring_of(keys, sealed)


def keyring_of(keys: Keys, sealed: bool | None = None) -> PepperKeyring:
    """Return the keyring of a store's keys; for ``sealed`` see there."""
    return PepperKeyring(keys.peppers, data=keys.data, index=keys.index, sealed=sealed)


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # a umask may have taken even the owner's rights
        left = content
        while left:  # where the room ends, a part is written, and only the next attempt is an error
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def _remedy(error: OSError) -> str:
    return "make room" if error.errno in _NO_ROOM else "make the folder writable"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_private(path: Path) -> str:
    insist_on_safe_folder(path, "key file")
    try:
        # Not waiting for a writer, should it be a pipe; not following the last link.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InvalidInput(f"the key file {path} is a symbolic link; name the file itself") from None
        if error.errno == errno.ENOENT:
            raise InvalidInput(f"there is no key file {path}; restore it, or give the pepper another way") from None
        raise InvalidInput(f"the key file {path} cannot be opened: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        _refuse_unsafe(path, status)
        content = os.read(descriptor, KEY_FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(content) > KEY_FILE_BYTES_MAX:
        raise InvalidInput(f"the key file {path} has more than {KEY_FILE_BYTES_MAX} bytes, so it is none")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(
            f"the key file {path} is not text; write the pepper as hex or base64, or restore the file"
        ) from None


def _refuse_unsafe(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise InvalidInput(f"the key file {path} is a folder; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInput(f"the key file {path} is not a regular file; name one")
    if status.st_uid == 0 and not status.st_mode & 0o027 and _is_credential(path):
        return  # the bits of the group are the mask of the access list
    if status.st_uid != os.geteuid():
        raise InvalidInput(f"the key file {path} belongs to user {status.st_uid}; chown it to user {os.geteuid()}")
    if status.st_mode & 0o077:
        raise InvalidInput(f"the key file {path} is open to others ({stat.filemode(status.st_mode)}); chmod 600 it")


def _is_credential(path: Path) -> bool:
    """Tell whether a file stands in the folder that systemd made for this unit, which only its user can enter."""
    folder = os.environ.get(CREDENTIALS_VARIABLE)
    return bool(folder) and path.absolute().parent == Path(folder or "").absolute()


def _parsed(text: str, path: Path) -> Keys:
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    if not lines:
        raise InvalidInput(f"the key file {path} is empty; restore it, or give the pepper another way")
    source = f"the key file {path}"
    first = lines[0].split()
    try:
        if first[0] != _FIRST_WORD:
            return Keys(_bare_peppers(lines), source)
        if first[1:] != [_FORMAT]:
            raise InvalidInput("it is of a newer format; upgrade session-tokens")
        kinds = _keys_by_kind(lines[1:])
        return Keys(checked_peppers(kinds["pepper"]), source, kinds["data"], kinds["index"])
    except InvalidInput as error:
        raise InvalidInput(f"{source} cannot be used: {error}") from None


def _bare_peppers(lines: list[str]) -> dict[str, bytes]:
    """Return the peppers of a file that holds one a line, the current one first."""
    peppers: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        where = "it" if len(lines) == 1 else f"line {number}"
        if line.split()[0] in _KINDS:
            raise InvalidInput(f"it does not begin with the line {_FIRST_WORD} {_FORMAT}; write that before the keys")
        try:
            (made,) = checked_peppers(_bare_pepper(line, where)).items()
        except InvalidInput as error:
            if len(lines) == 1:
                raise
            raise InvalidInput(
                f"{error}; write one pepper a line in hex or base64, the current one first, or a key file that begins "
                f"with the line {_FIRST_WORD} {_FORMAT}"
            ) from None
        if made[0] in peppers:
            raise InvalidInput(f"{where} holds a pepper that stands before it already; take one of them away")
        peppers[made[0]] = made[1]
    return peppers


def _keys_by_kind(lines: list[str]) -> dict[str, dict[str, bytes]]:
    kinds: dict[str, dict[str, bytes]] = {kind: {} for kind in _KINDS}
    for number, line in enumerate(lines, 2):
        words = line.split()
        if len(words) != 3 or words[0] not in kinds:
            raise InvalidInput(f"key line {number} is not a kind ({', '.join(_KINDS)}), an id and a key in hex")
        kind, key_id, digits = words
        if key_id in kinds[kind]:
            raise InvalidInput(f"it names the {kind} {key_id} twice")
        try:
            kinds[kind][key_id] = bytes.fromhex(digits)
        except ValueError:
            raise InvalidInput(f"the {kind} {key_id} is not in hex") from None
    return kinds


def _bare_pepper(text: str, where: str) -> bytes:
    """Return the bytes of a pepper in hex or base64, also URL-safe and without padding."""
    text = text.strip()
    if not text:
        raise InvalidInput(f"{where} is empty; give at least {PEPPER_BYTES_MIN} bytes in hex or base64")
    if _HEX.issuperset(text) and len(text) % 2:  # nobody's base64, though it could be read as that
        raise InvalidInput(f"{where} is hex with an odd number of digits; one is missing, or one too many")
    try:
        if _HEX.issuperset(text):
            pepper = bytes.fromhex(text)
        else:
            plain = text.replace("-", "+").replace("_", "/").rstrip("=")
            pepper = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{where} is neither hex nor base64") from None
    if len(pepper) < PEPPER_BYTES_MIN:
        raise InvalidInput(
            f"{where} has {len(pepper)} bytes; give at least {PEPPER_BYTES_MIN}, such as from openssl rand -hex 32"
        )
    return pepper
