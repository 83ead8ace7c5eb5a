"""What a Valkey or Redis store looks at when it is opened: version, eviction, function library, peppers. No I/O."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from typing import Any
from urllib.parse import quote

from ...crypto.minting import PepperKeyring
from ...crypto.sealing import named_key
from ...crypto.secret_form import PARTITIONS
from ...errors import InvalidInput, StoreError
from ..common.pepper_records import CLEAR, SEALED, VALUES, Mark, is_recorded_as_sealed, keys_lost, missing_error
from ..common.retry import TIMEOUT_S_MAX, RetryPolicy
from ..common.store_url import PORTS, SENTINEL_PORT, StoreURL, store_url_of
from .connections import Steps
from .errors import NotPermitted, not_permitted
from .keys import PEPPERS, keys_of
from .library import LIBRARY, NEEDED, library_text
from .packing import fields_of
from .primaries import ClusterPrimary, DriverPool, Host, Primary, WatchedPrimary
from .rows import Reply, ValkeyCodec

log = logging.getLogger("session_tokens.stores")

OLDEST = {"valkey": (7, 2), "redis": (7, 0)}
"""The first versions with function libraries."""

TLS_SCHEMES = ("valkeys", "rediss")
OURS = frozenset({"timeout", "durability", "replicas", "namespace"})
OF_SENTINELS = frozenset({"sentinel_user", "sentinel_password"})
OF_CLUSTERS = frozenset({"partitions"})
DRIVERS_OWN = frozenset({
    "client_name", "db", "health_check_interval", "protocol", "socket_keepalive", "ssl_ca_certs", "ssl_ca_path",
    "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_ciphers", "ssl_keyfile", "ssl_password",
})  # fmt: skip
"""What of the drivers' options a store's URL may hold; how connections are made is the store's own."""

_SWITCH = (re.compile("(?i:true|false|yes|no|1|0)"), "true or false")
_TAKEN = {
    "client_name": (re.compile("[!-~]+"), "ASCII without blanks"),
    "db": (re.compile("[0-9]{1,9}", re.ASCII), "the number of a database"),
    "health_check_interval": (re.compile("[0-9]{1,9}", re.ASCII), "a whole number of seconds"),
    "protocol": (re.compile("[23]"), "2 or 3"),
    "socket_keepalive": _SWITCH,
    "ssl_cert_reqs": (re.compile("none|optional|required"), "none, optional or required"),
    "ssl_check_hostname": _SWITCH,
}
"""What the values of these options are; the drivers raise errors of many kinds for others, or take them for true."""


def preparing(codec: ValkeyCodec, keyring: PepperKeyring, replicas: int) -> Steps:
    """Make sure that a server can hold the store and knows its functions and peppers.

    Args:
        codec: of the store.
        keyring: its peppers.
        replicas: how many are to confirm each commit.

    Raises:
        StoreError: the server is too old, would throw records away, or holds another text of the library.
        InvalidInput: a pepper under which records may be was not given, or is not the one that the store knows.
    """
    yield from fitting(codec, replicas)
    yield from enrolling(codec, keyring)


def fitting(codec: ValkeyCodec, replicas: int) -> Steps:
    """Make sure that a server can hold keys of the store, and knows its functions; as ``preparing``."""
    check_server(fields_of((yield [b"INFO", b"server"])))
    check_memory(fields_of((yield [b"INFO", b"memory"])))
    if replicas:
        _look_for_replicas(fields_of((yield [b"INFO", b"replication"])), replicas)
    yield from loading()
    allowed = yield [
        b"FCALL", b"session_tokens_allowed_v1", b"1", codec.last_stamp_key, *(words.encode() for words in NEEDED),
    ]  # fmt: skip
    if missing := [words for words, may in zip(NEEDED, allowed, strict=True) if not may]:
        raise not_permitted(missing, NEEDED, keys_of(codec.last_stamp_key))


def enrolling(codec: ValkeyCodec, keyring: PepperKeyring) -> Steps:
    """Make sure that the store knows its peppers; as ``preparing``."""
    while not (yield from _enrolled(codec, keyring)):
        pass  # another first process was faster, and what it recorded stays


def _look_for_replicas(told: dict[str, str], wanted: int) -> None:
    """Say where commits could not be confirmed any more after the loss of one server."""
    connected = int(told.get("connected_slaves", "0"))
    if connected <= wanted:
        log.warning(
            "%d of %d replicas are there that durability=replicated needs to go on after the loss of one server: until "
            "another one is back, no command would be confirmed then",
            connected,
            wanted + 1,
        )


def _enrolled(codec: ValkeyCodec, keyring: PepperKeyring) -> Generator[list[bytes], Reply, bool]:
    """Keep values as is recorded; compare the keys with those recorded, and record new ones and which are in use.

    Return ``False`` if another first process has just recorded its own.
    """
    recorded = yield from _recorded(codec)
    if not recorded and (yield [b"EXISTS", codec.last_stamp_key]):
        recorded = yield from _recorded(codec)  # unless another first process has just recorded its own
        if not recorded:
            raise keys_lost("the store")
    said = {
        field.decode("ascii", "replace"): row.partition(b" ")[0].decode("ascii", "replace")
        for field, row in recorded.items()
    } or {VALUES: SEALED if keyring.wants_sealing else CLEAR}
    keyring.settle(is_recorded_as_sealed(said, "the store"))
    checks = {key_id: keyring.check_of(key_id) for key_id in keyring.recorded}
    checks[VALUES] = said[VALUES]
    for current in keyring.written_under:  # the first one that is given is recorded to be in use
        marks = [b"FCALL", b"session_tokens_enrol_v1", b"1", codec.last_stamp_key, PEPPERS]
        for key_id in sorted(checks, key=lambda key_id: key_id != current):
            marks += (key_id.encode("ascii"), checks[key_id].encode("ascii"))
        wrong = (yield marks).decode("ascii", "replace")
        if wrong == VALUES or (wrong and not recorded):
            return False
        if wrong in checks:
            raise InvalidInput(
                f"the {named_key(wrong)} is not the one that the store was written with; give that one", key_id=wrong
            )
        if wrong:
            given = "this process (pepper=, SESSION_TOKENS_PEPPER or SESSION_TOKENS_PEPPER_FILE)"
            raise missing_error("the store", [wrong], given)
    return True


def marking(codec: ValkeyCodec) -> Generator[list[bytes], Reply, dict[str, Mark]]:
    """Yield what asks which peppers are recorded; return what is said of each."""
    marks = {}
    for key_id, said in (yield from _recorded(codec)).items():
        if key_id == VALUES.encode("ascii"):
            continue
        _, added, used = said.split()
        marks[key_id.decode("ascii", "replace")] = Mark(int(added), used != b"0")
    return marks


def forgetting(codec: ValkeyCodec, key_id: str) -> Generator[list[bytes], Reply, None]:
    """Yield what records of a pepper nothing any more."""
    yield [b"FCALL", b"session_tokens_forget_v1", b"1", codec.last_stamp_key, PEPPERS, key_id.encode("ascii")]


def _recorded(codec: ValkeyCodec) -> Generator[list[bytes], Reply, dict[bytes, bytes]]:
    said = yield [b"HGETALL", codec.prefix + PEPPERS]
    return said if isinstance(said, dict) else dict(zip(said[::2], said[1::2], strict=True))


def loading() -> Steps:
    """Load the function library where the server does not hold it."""
    text = library_text()
    try:
        listed = yield [b"FUNCTION", b"LIST", b"LIBRARYNAME", LIBRARY.encode("ascii"), b"WITHCODE"]
    except NotPermitted:  # an administrator has loaded it, or the first call says so
        return
    if not listed:
        try:
            yield [b"FUNCTION", b"LOAD", text]
        except NotPermitted as error:
            raise StoreError(
                f"the server does not hold the function library {LIBRARY} and this user may not load it; an "
                "administrator loads it with FUNCTION LOAD, see deploy/valkey"
            ) from error
        except StoreError as error:
            if "already exists" not in str(error):  # else another process was faster
                raise
    elif text not in _flat(listed[0]):
        raise StoreError(
            f"the server holds another text of the function library {LIBRARY}; load that of this version with "
            "FUNCTION LOAD REPLACE, see deploy/valkey"
        )


def _flat(listed: Any) -> list[bytes]:
    """Return the words in which a library is described: a list in RESP2, a mapping in RESP3."""
    return list(listed.values()) if isinstance(listed, dict) else listed


def check_server(fields: dict[str, str]) -> None:
    """Refuse a server without function libraries."""
    kind = "valkey" if "valkey_version" in fields else "redis"
    version = fields.get(f"{kind}_version", "0")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < OLDEST[kind]:
        raise StoreError(f"the server is {kind} {version}; the store needs Valkey 7.2 or Redis 7.0, or a later one")


def check_memory(fields: dict[str, str]) -> None:
    """Refuse a server that throws keys away."""
    error = evicting(fields)
    if error is not None:
        raise StoreError(error)


def evicting(fields: dict[str, str]) -> str | None:
    """Return what is said of a server that throws keys away, from what it says of its memory."""
    policy = fields.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return None
    return (
        f"the server throws keys away when memory is short (maxmemory-policy {policy}), which would log owners out "
        "and bring ended sessions back; set maxmemory-policy noeviction"
    )


def _speaks_tls(named: StoreURL) -> bool:
    return named.scheme.partition("+")[0] in TLS_SCHEMES


def _check_options(named: StoreURL) -> None:
    """Raise ``InvalidInput`` for an option of the driver's that can never be right."""
    options = named.options
    for name, (form, told) in _TAKEN.items():
        if name in options and not form.fullmatch(options[name]):
            raise InvalidInput(f"the option {name} of the store's URL is {told}")
    if not _speaks_tls(named) and (misplaced := [name for name in options if name.startswith("ssl_")]):
        raise InvalidInput(f"the option {misplaced[0]} of the store's URL is for TLS; write valkeys:// or leave it out")
    if options.get("ssl_cert_reqs") == "none" and "ssl_check_hostname" in options:
        raise InvalidInput("with ssl_cert_reqs=none nothing is checked; leave ssl_check_hostname out, or ssl_cert_reqs")


class Address:
    """A store's URL, taken apart: what is ours, and the rest for the driver.

    Attributes:
        driver_url: the URL without our options.
        namespace: what key names begin with; stores of two of them know nothing of each other.
        replicas: how many replicas must have a commit before it is answered; 0 for durability ``fast``.
        partitions: how many the keys lie in.
        sentinel_credentials: user and password that Sentinels take: the server's, where no others are given.
        policy: time-outs.
    """

    def __init__(self, url: str) -> None:
        self._named = store_url_of(url if "://" in url else f"valkey://{url}")
        if self._named.kind != "valkey":
            raise InvalidInput("a Valkey store's URL begins with valkey:// or redis://")
        of_way = {"sentinel": OF_SENTINELS, "cluster": OF_CLUSTERS}.get(self.way, frozenset())
        self._named.known_options(OURS | DRIVERS_OWN | of_way)
        _check_options(self._named)
        options = dict(self._named.options)
        self.namespace = options.pop("namespace", "st")
        durability = options.pop("durability", "fast")
        replicas = options.pop("replicas", "1" if durability == "replicated" else "0")
        has_timeout = options.pop("timeout", None) is not None
        several = str(PARTITIONS)
        partitions = options.pop("partitions", several if self.way == "cluster" else "1")
        if partitions not in ("1", several):
            raise InvalidInput(f"the option partitions of the store's URL is {several}, or 1 for one slot")
        self.partitions = int(partitions)
        if durability not in ("fast", "replicated"):
            raise InvalidInput("the option durability of the store's URL is fast or replicated")
        if not replicas.isdecimal() or not replicas.isascii() or (durability == "replicated") != (int(replicas) > 0):
            raise InvalidInput("the option replicas of the store's URL is 1 or more, with durability=replicated")
        self.replicas = int(replicas)
        timeout_s = self._named.number("timeout", RetryPolicy().timeout_s, 0.001, TIMEOUT_S_MAX)
        self.policy = RetryPolicy(timeout_s=timeout_s) if has_timeout else RetryPolicy()
        self.sentinel_credentials = (
            options.pop("sentinel_user", self._named.user or "") or None,
            options.pop("sentinel_password", self._named.password or "") or None,
        )
        self._options = options

    @property
    def way(self) -> str:
        """How the server is found: ``sentinel``, ``cluster``, or by itself (``unix``, or empty)."""
        return self._named.way

    @property
    def hosts(self) -> list[Host]:
        """The hosts of the URL with their ports."""
        usual = SENTINEL_PORT if self.way == "sentinel" else PORTS["valkey"]
        return [(host, port or usual) for host, port in self._named.hosts]

    def primary(self, pool: DriverPool, key: bytes) -> Primary:
        """Return what finds the primary.

        Args:
            pool: how connections to it are made.
            key: one of the store's.
        """
        timeout_s = self.policy.timeout_s
        if self.way == "sentinel":
            return WatchedPrimary(pool, self.hosts, self._named.path, self.sentinel_credentials, timeout_s)
        return ClusterPrimary(pool, self.hosts, key, timeout_s) if self.way == "cluster" else Primary(pool)

    def driver_url(self, scheme: str) -> str:
        """Return the URL for a driver whose schemes are ``scheme`` and ``scheme + "s"``."""
        named, options = self._named, dict(self._options)
        if self.way == "unix":
            scheme = "unix"
        elif _speaks_tls(named):
            scheme += "s"
            if options.get("ssl_cert_reqs") != "none":
                # Not every driver checks for whom a certificate was made, unless asked to.
                options.setdefault("ssl_check_hostname", "true")
        credentials = quote(named.user or "", safe="")
        if named.password is not None:
            credentials += ":" + quote(named.password, safe="")
        host, port = named.hosts[0] if named.hosts else ("", None)
        where = (f"[{host}]" if ":" in host else quote(host, safe="")) + (f":{port}" if port else "")
        path = named.path if self.way == "unix" else "/" if self.way else f"/{named.path}"
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
        return f"{scheme}://{credentials}{'@' if credentials else ''}{where}{quote(path)}{'?' if query else ''}{query}"
