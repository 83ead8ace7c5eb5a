"""Sessions that other libraries keep in Redis: what is taken, what is refused, and that nothing is written there.

`tests/interop` has the libraries write them themselves; here are the forms, and what nobody should write.
"""

from __future__ import annotations

import hmac
import json
import pickle
import uuid
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha1, sha256
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import valkey

from session_tokens import InvalidInput, SessionTokens, Settings, StoreUnavailable
from session_tokens.web.moving_in import Former, moving_in_as, plain
from session_tokens.web.moving_in.peers import ExpressRedis, FlaskSessionRedis, StarsessionsRedis
from session_tokens.web.moving_in.plain import Unreadable, as_json, inflated, plain_pickle
from session_tokens.web.session import drive
from tests.helpers.servers.valkey import ValkeyServer

SID = "k" * 43
FIELDS = {"_user_id": "7", "_permanent": True, "cart": [1, {"n": None}]}


class Prefixed:
    """A server, and a prefix that no other test uses."""

    def __init__(self, server: ValkeyServer) -> None:
        self.client: Any = valkey.Valkey.from_url(server.url)
        self.prefix = f"m{uuid.uuid4().hex[:10]}:"
        self.url = server.url

    def put(self, content: bytes | str, *, id: str = SID, seconds: int | None = 600) -> None:
        self.client.set(self.prefix + id, content, ex=seconds)

    def all(self) -> dict[bytes, tuple[bytes, bool]]:
        return {
            key: (self.client.get(key), self.client.ttl(key) > 0) for key in self.client.scan_iter(f"{self.prefix}*")
        }


@pytest.fixture
def there(valkey_server: ValkeyServer) -> Iterator[Prefixed]:
    prefixed = Prefixed(valkey_server)
    yield prefixed
    prefixed.client.close()


def flask_peer(there: Prefixed, **options: Any) -> FlaskSessionRedis:
    return FlaskSessionRedis(there.client, prefix=there.prefix, **options)


def found(former: Former | None) -> Former:
    assert former is not None
    return former


@pytest.mark.parametrize(
    "content",
    [msgspec.msgpack.encode(FIELDS), json.dumps(FIELDS), *(pickle.dumps(FIELDS, version) for version in range(2, 6))],
    ids=["msgpack", "json", "pickle 2", "pickle 3", "pickle 4", "pickle 5"],
)
def test_flask_session_is_read_in_every_form_that_lies_there(there: Prefixed, content: bytes | str) -> None:
    there.put(content)
    before = there.all()
    former = found(flask_peer(there).read(SID))

    assert ("7", FIELDS, None) == (former.owner, dict(former.fields), former.time_left_s)
    assert 590 < former.kept_s <= 600
    assert before == there.all()


def test_an_aware_instant_is_one_again(there: Prefixed) -> None:
    moment = datetime(2026, 11, 28, 12, 30, tzinfo=UTC)
    there.put(msgspec.msgpack.encode({"_user_id": "7", "when": moment}))

    assert moment == found(flask_peer(there).read(SID)).fields["when"]


def test_plain_values_of_a_pickle_are_read() -> None:
    values = {
        "set": {1, 2}, "when": datetime(2026, 1, 2, tzinfo=UTC), "id": uuid.UUID(int=5), "price": Decimal("1.50"),
        "raw": b"\x00", "pair": (1, 2), "pairs": [(number, 4) for number in range(30)],
        "aware": [datetime(2026, 1, 2, tzinfo=UTC)] * 30,
    }  # fmt: skip
    for version in range(2, 6):
        assert values == plain_pickle(pickle.dumps(values, version))


class Harmful:
    """What unpickles by running a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch /tmp/should-not-be-there",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"_user_id": Harmful()}),
        pickle.dumps({"_user_id": eval}),
        b"cposix\nsystem\n(S'id'\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
        b"\x80\x04.",
        b"",
        b"\x80",
        b"\xff" * 100,
        pickle.dumps([1, 2]),
        b"[1]",
        b'"text"',
        b"{" * 100_000,
    ],
)
def test_what_is_more_than_plain_values_or_none_at_all_is_nobodys(there: Prefixed, content: bytes) -> None:
    there.put(content)

    assert flask_peer(there).read(SID) is None


def test_a_small_pickle_of_a_huge_value_is_refused() -> None:
    nested: list[Any] = [0]
    for _ in range(40):
        nested = [nested, nested]
    with pytest.raises(Unreadable, match="too many"):
        plain_pickle(pickle.dumps(nested))


def test_as_large_a_pickle_is_read_as_a_session_may_be_here(there: Prefixed) -> None:
    """More than 1 MiB of it, and more than 100,000 values, are no more than half a MiB as JSON."""
    fields = {"_user_id": "7", "prices": [1.5] * 120_000}
    there.put(pickle.dumps(fields))
    former = found(flask_peer(there).read(SID))
    with SessionTokens.open(settings=Settings(max_data_bytes=1_048_576)) as st:
        issued = drive(st, moving_in_as(former))

    assert issued is not None
    assert fields == issued.session.data


def test_a_pickle_of_more_steps_than_values_can_need_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert plain.OPCODES_MAX > plain.VALUES_MAX > 500_000
    monkeypatch.setattr(plain, "OPCODES_MAX", 1_000)
    assert plain_pickle(pickle.dumps([None] * 990)) == [None] * 990
    with pytest.raises(Unreadable, match="too many"):
        plain_pickle(pickle.dumps([None] * 1_000))


@pytest.mark.parametrize(
    "tuples",
    [b"2\x86" * 40, b"\x94" + b"".join(b"h%c\x86\x94" % place for place in range(40)), b"N0\x94h\x00\x86\x94" * 40],
)
def test_a_small_pickle_that_takes_for_ever_to_hash_is_refused(tuples: bytes) -> None:
    with pytest.raises(Unreadable, match="tuples"):
        plain_pickle(b"\x80\x04})" + tuples + b"Ns.")


@pytest.mark.parametrize("place", [b"cuuid\nUUID\n", b"c_codecs\nencode\n", b"cuuid\nSafeUUID\n"])
def test_a_pickle_changes_no_class_and_no_function(place: bytes) -> None:
    with pytest.raises(Unreadable):
        plain_pickle(b"\x80\x02" + place + pickle.dumps((None, {"mark": 1}), 2)[2:-1] + b"b.")


def test_a_uuid_in_a_pickle_is_one() -> None:
    state = pickle.dumps({"int": (1, 2)}, 2)[2:-1]
    with pytest.raises(Unreadable, match="UUID"):
        plain_pickle(b"\x80\x02cuuid\nUUID\n)\x81" + state + b"b.")


def test_fields_nested_too_deep_for_us_move_nobody_and_fail_no_request(there: Prefixed) -> None:
    there.put(b"\x80\x04}\x8c\x08_user_id\x8c\x03anns\x8c\x04deep" + b"]" * 5000 + b"a" * 4999 + b"s.")
    former = flask_peer(there).read(SID)
    assert former is not None
    with pytest.raises(StopIteration) as done:
        next(moving_in_as(former))
    assert done.value.value is None


def test_what_inflates_beyond_bounds_is_refused() -> None:
    import zlib

    with pytest.raises(Unreadable):
        inflated(zlib.compress(b"0" * 5_000_000))
    with pytest.raises(Unreadable):
        inflated(zlib.compress(b"0" * 100)[:-3])


@pytest.mark.parametrize("fields", [{}, {"_permanent": True}, {"_permanent": True, "_fresh": False, "_id": "x"}])
def test_flags_alone_are_no_session(there: Prefixed, fields: dict[str, Any]) -> None:
    there.put(msgspec.msgpack.encode(fields))

    assert flask_peer(there).read(SID) is None


def test_a_signed_id_is_taken_with_the_right_signature_alone(there: Prefixed) -> None:
    there.put(msgspec.msgpack.encode(FIELDS))
    key = hmac.digest(b"secret", b"flask-session", sha1)
    signature = b64encode(hmac.digest(key, SID.encode(), sha1), altchars=b"-_").rstrip(b"=").decode()
    peer = flask_peer(there, secret_key=["another", "secret"])

    assert peer.read(f"{SID}.{signature}") is not None
    assert [None] * 3 == [peer.read(value) for value in (SID, f"{SID}.x", f"{SID}.{signature[:-2]}AA")]


@pytest.mark.parametrize("value", ["", "*", "short", SID + "*", "k" * 500, "ü" * 30, SID + "\n"])
def test_an_id_that_can_be_none_is_not_asked_for(value: str) -> None:
    peer = FlaskSessionRedis("redis://127.0.0.1:1/0")  # where nobody listens: asking would raise

    assert peer.read(value) is None


def test_a_server_that_cannot_be_asked_is_unavailable_and_nobody_is_logged_out() -> None:
    with pytest.raises(StoreUnavailable, match="try again"):
        FlaskSessionRedis("redis://127.0.0.1:1/0").read(SID)


def starsession(**fields: Any) -> str:
    return json.dumps({**fields, "__metadata__": {"lifetime": 600, "created": 1.5, "last_access": 2.5}})


@pytest.mark.parametrize("rolling", [False, True])
def test_starsessions_says_when_it_ends_unless_it_rolls(there: Prefixed, rolling: bool) -> None:
    there.put(starsession(user_id=7, cart=[1]), id="a" * 32)
    peer = StarsessionsRedis(there.url, prefix=there.prefix, owner="user_id", rolling=rolling)
    former = found(peer.read("a" * 32))

    assert ("7", {"user_id": 7, "cart": [1]}) == (former.owner, dict(former.fields))
    assert former.time_left_s is None if rolling else 590 < (former.time_left_s or 0) <= 600


def test_metadata_alone_is_no_session(there: Prefixed) -> None:
    there.put(starsession(), id="a" * 32)

    assert StarsessionsRedis(there.client, prefix=there.prefix, owner="user_id").read("a" * 32) is None


def signed_for_express(id: str, secret: str) -> str:
    return f"s:{id}." + b64encode(hmac.digest(secret.encode(), id.encode(), sha256)).rstrip(b"=").decode()


def test_express_is_read_with_its_cookie_encoded_or_not(there: Prefixed) -> None:
    id = "b" * 32
    stored = {"cookie": {"originalMaxAge": None, "expires": "2020-01-01T00:00:00Z"}, "passport": {"user": 7}, "n": 1}
    there.put(json.dumps(stored), id=id)
    peer = ExpressRedis(there.client, prefix=there.prefix, secret=["new", "old"])
    raw = signed_for_express(id, "old")
    for value in (raw, quote(raw, safe="")):
        former = found(peer.read(value))

        assert ("7", {"passport": {"user": 7}, "n": 1}) == (former.owner, dict(former.fields))
    forged = signed_for_express(id, "another")
    assert [None] * 4 == [peer.read(value) for value in (forged, id, f"s:{id}", "s:" + raw)]
    assert found(ExpressRedis(there.client, prefix=there.prefix, secret="old", owner="n").read(raw)).owner == "1"


def test_a_key_without_an_end_is_read(there: Prefixed) -> None:
    there.put(msgspec.msgpack.encode(FIELDS), seconds=None)
    former = found(flask_peer(there).read(SID))

    assert former.kept_s >= 30 * 86_400


@pytest.mark.parametrize("server", ["http://localhost", 5, None])
def test_a_server_that_is_none_is_refused(server: Any) -> None:
    with pytest.raises(InvalidInput):
        FlaskSessionRedis(server)


def test_plain_values_become_json_or_are_refused() -> None:
    assert {"1": ["2026-01-01", "1.5", [1, 2]]} == as_json(
        {1: (datetime(2026, 1, 1, tzinfo=UTC).date(), Decimal("1.5"), {2, 1})}
    )
    with pytest.raises(TypeError):
        as_json({"a": b"raw"})
