"""Bad input A: strings in the place of secrets. Each gets the one inactive answer, or 401; none is repeated."""

from __future__ import annotations

import unicodedata
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from session_tokens.crypto.minting import new_id, new_secret
from tests.helpers.running_service import RunningService, request, status_of
from tests.helpers.service_world import World

INACTIVE = b'{"active":false}'
TRUE_SECRET = new_secret("sts_")


@pytest.fixture(scope="module")
def living(running: RunningService) -> Iterator[dict[str, str]]:
    """A living session, token and key to twist."""
    with running.http() as client:
        session = client.post("/v1/sessions", json={"owner": "bad-inputs-a"}).json()
        token = client.post("/v1/tokens", json={"session": session["session"]["id"], "transferable": True}).json()
        yield {
            "session": session["secret"], "session_id": session["session"]["id"], "token": token["secret"],
            "token_id": token["token"]["id"],
        }  # fmt: skip


def twists(secret: str) -> dict[str, str]:
    """Return strings that are nearly the secret."""
    other = "1" if secret[20] != "1" else "2"
    return {
        "1 empty": "",
        "4 a character short": secret[:-1],
        "4 a character long": secret + "a",
        "6 a flipped character": secret[:20] + other + secret[21:],
        "6 a wrong checksum": secret[:-6] + "000000",
        "8 beyond 2^256": secret[:6] + "z" * 43 + secret[49:],
        "9 case swapped": secret[:4] + secret[4:].swapcase(),
        "10 leading space": " " + secret,
        "10 trailing space": secret + " ",
        "10 trailing tab": secret + "\t",
        "10 trailing line feed": secret + "\n",
        "10 trailing CR LF": secret + "\r\n",
        "11 embedded NUL": secret[:10] + "\0" + secret[11:],
        "11 trailing NUL": secret + "\0",
        "12 full-width digits": secret.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
        "12 Cyrillic a": secret.replace("s", "ѕ", 1),
        "12 Arabic digits": secret.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
        "13 combining mark": secret[:10] + "\u0301" + secret[10:],
        "13 zero-width joiner": secret[:10] + "\u200d" + secret[10:],
        "13 right-to-left override": "\u202e" + secret,
        "13 byte order mark": "\ufeff" + secret,
        "15 not ASCII": "é" * 55,
        "16 encoded twice": quote(quote(secret, safe="") + "%"),
        "16 percent-encoded prefix": "%73" + secret[1:],
        "17 base64": b64encode(secret.encode()).decode(),
        "17 hexadecimal": secret.encode().hex(),
        "22 another product": "ghp_" + secret[4:],
        "22 a vault": "hvs." + secret[4:],
        "22 an unsigned JWT": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
        "23 two by comma": f"{secret},{secret}",
        "23 two by space": f"{secret} {secret}",
        "28 *": "*",
        "28 ?": "sts_?",
        "28 class": "sts_[a-z]*",
        "28 percent": "sts_%",
        "28 underscore": "sts_" + "_" * 51,
        "5 64 kB": secret + "a" * 60_000,
    }


@pytest.mark.parametrize("kind", ["session", "token"])
@pytest.mark.parametrize("case", twists(TRUE_SECRET))
def test_a_twisted_secret_is_inactive(admin: httpx.Client, living: dict[str, str], kind: str, case: str) -> None:
    twisted = twists(living[kind])[case]
    introspected = admin.post("/introspect", data={"token": twisted})
    revoked = admin.post("/revoke", data={"token": twisted})
    alive = admin.post("/introspect", data={"token": living[kind]})

    assert (introspected.status_code, introspected.content) == (200, INACTIVE)
    assert (revoked.status_code, revoked.content) == (200, b"")
    assert alive.json()["active"] is True


@pytest.mark.parametrize("case", [name for name in twists(TRUE_SECRET) if not name.startswith(("10 t", "10 l", "1 "))])
def test_a_twisted_secret_opens_no_door_of_a_proxy(running: RunningService, living: dict[str, str], case: str) -> None:
    """White space around a header's value is not part of it, so those rows are left to the form."""
    value = twists(living["session"])[case].encode("utf-8")
    head = b"GET /forward-auth HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer " + value + b"\r\n\r\n"
    answer = running.raw(head)

    assert status_of(answer) in ((400,) if "\0" in value.decode() else (431,) if len(value) > 10_000 else (401,))
    assert value not in answer


def test_an_empty_bearer_is_401_without_an_error_code(running: RunningService) -> None:
    """1: nothing was shown, so nothing is called invalid."""
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"Cookie": "session="}):
        answer = running.raw(request("GET", "/forward-auth", headers))

        assert status_of(answer) == 401
        assert b"error=" not in answer


def test_the_same_string_percent_encoded_once_is_the_secret(admin: httpx.Client, living: dict[str, str]) -> None:
    """16: decoded once, as forms are; the prefix's underscore written as %5F is the same form."""
    body = "token=" + living["session"].replace("_", "%5F")
    answer = admin.post("/introspect", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})

    assert answer.json()["active"] is True


def test_bytes_that_are_no_utf_8_are_inactive(admin: httpx.Client) -> None:
    """14: a lone surrogate, encoded as some do, and other bytes that no text has."""
    for value in ("%ed%a0%80", "%ff%fe", "sts_%80"):
        answer = admin.post(
            "/introspect", content="token=" + value, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )

        assert (answer.status_code, answer.content) == (200, INACTIVE)


def test_a_well_formed_unknown_secret_is_inactive(admin: httpx.Client) -> None:
    """7."""
    for prefix in ("sts_", "stt_"):
        assert admin.post("/introspect", data={"token": new_secret(prefix)}).content == INACTIVE


def test_public_ids_are_no_secrets(admin: httpx.Client, running: RunningService, living: dict[str, str]) -> None:
    """18."""
    for id in (living["session_id"], living["token_id"], new_id("key_")):
        assert admin.post("/introspect", data={"token": id}).content == INACTIVE
        assert status_of(running.raw(request("GET", "/forward-auth", {"Authorization": f"Bearer {id}"}))) == 401
        assert status_of(running.raw(request("GET", "/v1/sessions", {"Authorization": f"Bearer {id}"}))) in (401, 429)


async def test_what_the_store_keeps_is_no_secret(world: World) -> None:
    """19: whoever read the database holds look-up keys, which open nothing."""
    opened = await world.open_session()
    lookup = world.tokens.store.keyring.lookup(opened["secret"])
    if lookup != opened["secret"]:
        for stolen in (lookup, lookup.partition(":")[2], "sts_" + lookup.partition(":")[2][:51]):
            assert await world.introspect(stolen) == {"active": False}


def test_kinds_are_not_mixed_up(running: RunningService, living: dict[str, str]) -> None:
    """20, 21: a token opens no session's door, a user's secret is no service key, a service key no user's secret."""
    token = running.raw(request("GET", "/forward-auth", {"Authorization": f"Bearer {living['token']}"}))
    key = running.raw(request("GET", "/forward-auth", {"Authorization": f"Bearer {running.secret}"}))
    as_keys = [
        status_of(running.raw(request("GET", "/v1/sessions", {"Authorization": f"Bearer {living[kind]}"})))
        for kind in ("session", "token")
    ]

    assert (status_of(token), status_of(key)) == (401, 401)
    assert set(as_keys) <= {401, 429}


async def test_a_secret_ends_exactly_at_its_deadline(world: World) -> None:
    """25: the deadline itself is too late."""
    opened = await world.open_session(max_age=10)
    issued = await world.issue_token(None, timeout=10)
    world.clock.advance(ms=9_999)
    before = [(await world.introspect(thing["secret"]))["active"] for thing in (opened, issued)]
    world.clock.advance(ms=1)

    assert before == [True, True]
    assert [await world.introspect(thing["secret"]) for thing in (opened, issued)] == [{"active": False}] * 2


def test_texts_that_look_the_same_are_normalised_by_nobody() -> None:
    """12: the twisted digits do fold to the right ones, so only a service that normalised would take them."""
    full_width = twists(TRUE_SECRET)["12 full-width digits"]

    assert full_width != TRUE_SECRET
    assert unicodedata.normalize("NFKC", full_width) == TRUE_SECRET
