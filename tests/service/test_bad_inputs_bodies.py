"""Bad input B, C and D: owners, numbers and JSON. Refused with 400 or 422, nothing stored, nothing repeated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helpers.service_world import World

JSON = {"Content-Type": "application/json"}
# What is refused before a store is asked needs no second store.
pytestmark = pytest.mark.parametrize("world", ["memory"], indirect=True)


async def refused(world: World, body: bytes | dict[str, Any], *statuses: int, path: str = "/v1/sessions") -> str:
    """Send a body that must change nothing; answer the detail."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    before = (await world.tokens.list_sessions()).items, (await world.tokens.list_tokens()).items
    answer = await world.ask("POST", path, content=content, headers=JSON)
    after = (await world.tokens.list_sessions()).items, (await world.tokens.list_tokens()).items

    assert answer.status_code in statuses, (body[:100] if isinstance(body, bytes) else body, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] in ("invalid_input", "body_too_large")
    assert "Traceback" not in answer.text
    assert before == after
    detail: str = answer.json()["detail"]
    return detail


OWNERS = {
    "29 empty": "",
    "30 256 bytes": "a" * 256,
    "30 256 bytes of UTF-8": "é" * 128,
    "31 NUL": "a\0b",
    "32 not NFC": "e\u0301",
    "33 trailing space": "alice ",
    "33 leading space": " alice",
    "34 line feed": "a\nb",
    "34 escape": "\x1b[31ma",
    "34 delete": "a\x7f",
    "37 a RESP command": "\r\n*1\r\n$8\r\nFLUSHALL",
    "41 orphan": "orphan",
    "41 system": "system",
    "64 lone surrogate": "\ud800",
}


@pytest.mark.parametrize("case", OWNERS)
async def test_an_owner_that_is_none_is_refused(world: World, case: str) -> None:
    await refused(world, {"owner": OWNERS[case]}, 400, 422)


STRANGE = [
    "alice", "Alice", "{tag}", "'; DROP TABLE sessions; --", "$1", ":name", "%s", "{0}", "${jndi:ldap://x}",
    "<script>alert(1)</script>", "javascript:alert(1)", "=HYPERLINK(1)", "é", "../..", "*", "%", "a" * 255,
]  # fmt: skip


@pytest.mark.parametrize("owner", STRANGE)
async def test_a_strange_owner_is_data(world: World, owner: str) -> None:
    """33, 35, 36, 38: kept to the letter, found by the same letters and no others."""
    await world.open_session("neighbour")
    opened = await world.open_session(owner)
    listed = (await world.ask("GET", "/v1/sessions", params={"owner": owner})).json()["sessions"]

    assert [session["owner"] for session in listed] == [owner]
    assert (await world.introspect(opened["secret"]))["sub"] == owner


@pytest.mark.parametrize(
    "path", ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "a/b", "*", "%25", "tok_" + "0" * 24, "ses_short"]
)
async def test_a_path_that_names_nothing_is_not_found(world: World, path: str) -> None:
    """39."""
    answer = await world.ask("GET", f"/v1/sessions/{path}")

    assert answer.status_code == 404
    assert answer.json()["code"] in ("unknown_session", "not_found")


@pytest.mark.parametrize("field", ["__proto__", "constructor", "__class__", "_owner", "_price", "id", "secret", "name"])
async def test_an_unknown_field_is_refused_by_name(world: World, field: str) -> None:
    """40, 42, 70: a client cannot choose ids or secrets."""
    detail = await refused(world, {"owner": "alice", field: "ses_" + "0" * 24}, 422)

    assert field in detail
    assert "ses_" not in detail


async def test_a_field_that_may_be_a_secret_is_not_repeated(world: World) -> None:
    secret = (await world.open_session())["secret"]
    detail = await refused(world, {"owner": "alice", secret: 1}, 422)

    assert secret not in detail


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"owner": None},
        {"owner": 1},
        {"owner": ["a"]},
        {"owner": "a", "detachable": "true"},
        {"owner": "a", "detachable": 1},
        {"owner": "a", "data": []},
        {"owner": "a", "label": 5},
    ],
)
async def test_a_wrong_type_is_refused_by_the_name_of_its_field(world: World, body: dict[str, Any]) -> None:
    """70."""
    await refused(world, body, 422)


@pytest.mark.parametrize("body", [b"1", b'"a"', b"[]", b"null", b"true"])
async def test_a_body_that_is_no_object_is_refused(world: World, body: bytes) -> None:
    await refused(world, body, 422)


NUMBERS = [
    "0", "-1", "-0.0", "0.0001", "NaN", "Infinity", "-Infinity", "1e400", "9223372036854775808",
    "18446744073709551616", "1" + "0" * 5_000, "true", "false", '"3600"', '"1_000"', '"１２３"', '" 5\\n"',
    "3200000000", "[1]", "{}", "0x10", "01", "1_000", "+1", ".5", "5.",
]  # fmt: skip


@pytest.mark.parametrize("field", ["idle_timeout", "max_age", "detached_timeout"])
async def test_a_number_that_is_no_duration_is_refused(world: World, field: str) -> None:
    """47-53."""
    for number in NUMBERS:
        await refused(world, f'{{"owner":"a","{field}":{number}}}'.encode(), 400, 422)


async def test_a_bound_token_may_ask_for_more_than_its_session_has(world: World) -> None:
    """54: accepted, and it ends with the session."""
    session = (await world.open_session(max_age=10))["session"]
    issued = await world.issue_token(session["id"], timeout=100)

    assert issued["token"]["expires_at"] == session["expires_at"]


async def test_a_disownment_timeout_is_for_transferable_tokens(world: World) -> None:
    """55."""
    session = (await world.open_session())["session"]["id"]
    await refused(world, {"session": session, "disownment_timeout": 5}, 422, path="/v1/tokens")
    await refused(world, {"disownment_timeout": 5}, 422, path="/v1/tokens")


@pytest.mark.parametrize("price", ["1.5", "NaN", "1" + "0" * 30, '"1,50"', '"1_0"', '"NaN"', '" 1"', '"1e30"', "true"])
async def test_a_price_is_a_whole_number_or_a_decimal_as_text(world: World, price: str) -> None:
    """56."""
    ticket = await world.issue_token((await world.open_session())["session"]["id"], transferable=True)
    path = f"/v1/tokens/{ticket['token']['id']}/offer"
    await refused(world, f'{{"price":{price}}}'.encode(), 400, 422, path=path)


async def test_a_negative_price_is_a_price(world: World) -> None:
    """56: then the giver pays."""
    ticket = await world.issue_token((await world.open_session())["session"]["id"], transferable=True)
    answer = await world.ask("POST", f"/v1/tokens/{ticket['token']['id']}/offer", json={"price": -5})

    assert answer.json()["token"]["price"] == "-5"


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "0"}, {"limit": "-1"}, {"limit": "1000000000"}, {"limit": "501"}, {"limit": "１"}, {"limit": "1.0"},
        {"limit": ""}, {"limit": " 1"}, {"after": "x"}, {"after": "1.tok_" + "0" * 24}, {"after": "-1.ses_" + "0" * 24},
        {"detached": "yes"}, {"detached": "True"}, {"detached": "1"}, {"owner": ""}, {"owner": "a\n"},
    ],
)  # fmt: skip
async def test_a_page_that_cannot_be_is_refused(world: World, params: dict[str, str]) -> None:
    """59."""
    answer = await world.ask("GET", "/v1/sessions", params=params)

    assert answer.status_code in (400, 422), answer.text


async def test_a_value_of_16_kib_is_kept_and_a_byte_more_is_not(world: World) -> None:
    """60."""
    kept = await world.issue_token(None, value="a" * 16_384)
    await refused(world, {"value": "a" * 16_385}, 422, path="/v1/tokens")
    await refused(world, {"value": ["a" * 16_384]}, 422, path="/v1/tokens")

    assert kept["token"]["value"] == "a" * 16_384


NO_JSON = {
    "61 a name twice": b'{"owner":"a","owner":"b"}',
    "61 a name twice, escaped": b'{"owner":"a","\\u006fwner":"b"}',
    "61 a name twice, deep": b'{"owner":"a","data":{"x":[{"y":1,"y":2}]}}',
    "62 deep": b'{"owner":"a","data":{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}}",
    "62 deep and open": b"[" * 60_000,
    "62 deep objects": b'{"a":' * 10_000,
    "62 35 levels": b'{"owner":"a","data":' + b'{"x":' * 34 + b"1" + b"}" * 35,
    "63 NaN": b'{"owner":"a","data":{"x":NaN}}',
    "63 a comment": b'{"owner":"a"/* x */}',
    "63 a trailing comma": b'{"owner":"a",}',
    "63 single quotes": b"{'owner':'a'}",
    "63 a byte order mark": b'\xef\xbb\xbf{"owner":"a"}',
    "63 UTF-16": '{"owner":"a"}'.encode("utf-16"),
    "63 UTF-16 without a mark": '{"owner":"a"}'.encode("utf-16-le"),
    "63 UTF-32": '{"owner":"a"}'.encode("utf-32-be"),
    "63 Latin-1": '{"owner":"é"}'.encode("latin-1"),
    "63 two values": b'{"owner":"a"}{"owner":"b"}',
    "63 nothing": b"",
    "63 white space": b"   ",
    "63 a raw control character": b'{"owner":"a\tb"}',
    "64 a lone surrogate": b'{"owner":"a","label":"\\ud800"}',
    "64 a lone surrogate as name": b'{"owner":"a","data":{"\\udfff":1}}',
    "64 surrogates the wrong way round": b'{"owner":"a","label":"\\udc00\\ud800"}',
    "64 an encoded surrogate": b'{"owner":"a","label":"\xed\xa0\x80"}',
    "67 a pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94.",
    "67 YAML": b"owner: a",
}


@pytest.mark.parametrize("case", NO_JSON)
async def test_what_is_no_json_or_has_no_single_meaning_is_refused(world: World, case: str) -> None:
    await refused(world, NO_JSON[case], 400)


async def test_32_levels_and_a_pair_of_surrogates_are_json(world: World) -> None:
    """What stands just inside the limits is taken, as in the library; brackets in strings are no levels."""
    deep = b'{"value":' + b"[" * 32 + b'"' + b"[" * 500 + b'\\"' + b'"' + b"]" * 32 + b"}"
    one = await world.ask("POST", "/v1/tokens", content=deep, headers=JSON)
    two = await world.ask("POST", "/v1/tokens", content=b'{"value":"\\ud83d\\ude00"}', headers=JSON)

    assert (one.status_code, two.status_code) == (201, 201)
    assert two.json()["token"]["value"] == "😀"
    data: dict[str, Any] = {}
    for _ in range(31):
        data = {"x": data}
    assert (await world.ask("POST", "/v1/sessions", json={"owner": "a", "data": data})).status_code == 201
    await refused(world, {"owner": "a", "data": {"x": data}}, 422)
    await refused(world, {"value": [data]}, 422, path="/v1/tokens")


async def test_a_body_with_very_many_or_very_long_names_is_refused(world: World) -> None:
    """66."""
    many = json.dumps({"owner": "a", "data": {str(number): 1 for number in range(6_000)}}).encode()
    await refused(world, many, 413, 422)
    await refused(world, {"owner": "a", "data": {"k" * 65_536: 1}}, 413)
    await refused(world, {"owner": "a", "data": {"k" * 20_000: 1}}, 422)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/v1/sessions/{session}"), ("DELETE", "/v1/tokens/{token}"), ("DELETE", "/v1/owners/alice/sessions"),
        ("DELETE", "/v1/owners/sessions?owner=alice"), ("DELETE", "/v1/keys/key_000000000000000000000000"),
        ("GET", "/v1/sessions"), ("GET", "/v1/sessions/{session}"), ("GET", "/v1/tokens"), ("GET", "/v1/keys"),
    ],
)  # fmt: skip
async def test_a_body_that_means_nothing_is_refused_everywhere(world: World, method: str, path: str) -> None:
    """So that `{"reason": "theft"}` in a body is not ignored without a word."""
    session = (await world.open_session())["session"]["id"]
    token = (await world.issue_token(session))["token"]["id"]
    path = path.format(session=session, token=token)

    refused = await world.ask(method, path, content=b'{"reason": "theft"}', headers=JSON)
    no_json = await world.ask(method, path, content=b"{reason", headers=JSON)
    no_type = await world.ask(method, path, content=b"reason=theft", headers={"Content-Type": "text/plain"})

    assert refused.status_code == 422 and "reason" in refused.json()["detail"] and "query" in refused.json()["detail"]
    assert (no_json.status_code, no_type.status_code) == (400, 415)
    assert [one.id for one in await world.tokens.list_sessions()] == [session]
    assert [one.id for one in await world.tokens.list_tokens()] == [token]
    for harmless in ({"content": b"{}", "headers": JSON}, {"headers": JSON}, {}):
        assert (await world.ask(method, path, **harmless)).status_code in (200, 204)
