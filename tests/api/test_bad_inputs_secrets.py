"""Bad input of kind A, strings given as secrets: each row answers "inactive", and junk is never asked about."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from typing import Any
from zlib import crc32

import pytest

from session_tokens import Issued, SessionTokens, UnknownSession, UnknownToken
from session_tokens.crypto.minting import new_secret
from session_tokens.crypto.secret_form import ALPHABET, SESSION_SECRET, TOKEN_SECRET, base62
from session_tokens.testing import ManualClock
from tests.helpers.counting_store import CountingStore

CHECKSUM_LENGTH = 6


@pytest.fixture(params=["session", "token"])
def issued(request: pytest.FixtureRequest, st: SessionTokens) -> Issued:
    """A living session, or a living token."""
    opened = st.open_session("ann")
    return opened if request.param == "session" else st.issue_token(opened.id, transferable=True)


@pytest.fixture
def inactive(st: SessionTokens, issued: Issued) -> Callable[[Any], bool]:
    """Whether a string verifies as nothing and is a key for nothing, while the right secret still verifies."""

    def is_inactive(string: Any) -> bool:
        answers = [st.verify_session(string), st.verify_token(string), st.destroy_session(string)]
        answers.append(st.destroy_token(string))
        for command in (lambda: st.rotate_session(string), lambda: st.withdraw_token(string)):
            with pytest.raises((UnknownSession, UnknownToken)) as refused:
                command()
            assert len(string) < 8 or string not in str(refused.value) + repr(refused.value.details)
        right = st.verify_session(issued.secret) or st.verify_token(issued.secret)
        return answers == [None, None, False, False] and right == issued.record

    return is_inactive


@pytest.fixture
def never_asked(inactive: Callable[[Any], bool], store: CountingStore) -> Callable[[Any], bool]:
    """The same, without a single call to the store about it."""

    def is_never_asked_about(string: Any) -> bool:
        before = store.calls
        is_inactive = inactive(string)
        return is_inactive and store.calls - before == 1  # the one that sees that the right secret still verifies

    return is_never_asked_about


def with_checksum(covered: str) -> str:
    """Return a string of the right form with its right checksum, whatever it is worth."""
    return covered + base62(crc32(covered.encode("ascii")), CHECKSUM_LENGTH)


Inactive = Callable[[Any], bool]


def test_row_01_the_empty_string(never_asked: Inactive) -> None:
    assert never_asked("")


@pytest.mark.parametrize("given", [None, 5, ["sts_"], {"secret": "x"}, 1.5, object()], ids=type)
def test_row_02_what_is_no_string(st: SessionTokens, given: Any) -> None:
    for verify in (st.verify_session, st.verify_token, st.get_session, st.get_token):
        with pytest.raises(TypeError):
            verify(given)
    for command in (st.rotate_session, st.detach_session, st.destroy_session, st.destroy_token, st.withdraw_token):
        with pytest.raises(TypeError):
            command(given)


def test_row_03_bytes(st: SessionTokens, issued: Issued) -> None:
    for verify in (st.verify_session, st.verify_token):
        with pytest.raises(TypeError):
            verify(issued.secret.encode())  # type: ignore[arg-type]  # that is the point


def test_row_04_one_character_short_or_long(never_asked: Inactive, issued: Issued) -> None:
    secret = issued.secret

    assert all(map(never_asked, (secret[:-1], secret[1:], secret + "0", "s" + secret, secret[:20] + secret[21:])))


@pytest.mark.parametrize("size", [2**20, 100 * 2**20], ids=["1 MiB", "100 MiB"])
def test_row_05_very_long(st: SessionTokens, store: CountingStore, size: int) -> None:
    """Seen by its length alone."""
    string = "sts_" + "0" * size

    assert st.verify_session(string) is None
    assert st.verify_token("stt_" + string) is None
    assert 0 == store.calls


def test_row_06_one_flipped_character(never_asked: Inactive, issued: Issued) -> None:
    for place in range(0, len(issued.secret), 3):
        letter = issued.secret[place]
        other = "A" if letter != "A" else "B"
        assert never_asked(issued.secret[:place] + other + issued.secret[place + 1 :])


@pytest.mark.parametrize("prefix", [SESSION_SECRET, TOKEN_SECRET])
def test_row_07_right_checksum_of_an_unknown_secret(st: SessionTokens, store: CountingStore, prefix: str) -> None:
    verify = st.verify_session if prefix == SESSION_SECRET else st.verify_token

    assert verify(new_secret(prefix)) is None
    assert 1 == store.calls


def test_row_08_43_characters_worth_2_to_the_256_or_more(never_asked: Inactive, issued: Issued) -> None:
    prefix = issued.secret[:4]
    highest = with_checksum(f"{prefix}00{base62(2**256 - 1, 43)}")
    beyond = [with_checksum(f"{prefix}00{base62(2**256, 43)}"), with_checksum(f"{prefix}00{'z' * 43}")]

    assert len(issued.secret) == len(highest) == len(beyond[0])
    assert all(map(never_asked, beyond))
    assert not never_asked(highest)  # it is well-formed, so it is asked about; nobody has it


def test_row_09_case_swapped(never_asked: Inactive, issued: Issued) -> None:
    assert all(map(never_asked, (issued.secret.swapcase(), issued.secret.upper(), issued.secret.lower())))


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\r\n", "\xa0", "\u3000"], ids=repr)
def test_row_10_white_space_around(never_asked: Inactive, issued: Issued, blank: str) -> None:
    """Nothing is trimmed."""
    assert all(map(never_asked, (blank + issued.secret, issued.secret + blank, blank + issued.secret[len(blank) :])))


def test_row_11_embedded_nul(never_asked: Inactive, issued: Issued) -> None:
    secret = issued.secret

    assert all(map(never_asked, (secret + "\0", secret[:30] + "\0" + secret[31:], "\0" + secret, "\0" * 55)))


@pytest.mark.parametrize("letter", ["０", "а", "٣", "ａ", "¹", "Ⅷ"])
def test_row_12_letters_and_digits_of_other_alphabets(never_asked: Inactive, issued: Issued, letter: str) -> None:
    for place in (2, 10, len(issued.secret) - 1):
        assert never_asked(issued.secret[:place] + letter + issued.secret[place + 1 :])


@pytest.mark.parametrize("mark", ["\u0301", "\u200d", "\u202e", "\ufeff", "\u200b"], ids=ascii)
def test_row_13_combining_and_invisible_marks(never_asked: Inactive, issued: Issued, mark: str) -> None:
    secret = issued.secret

    assert all(map(never_asked, (mark + secret, secret + mark, secret[:20] + mark + secret[21:])))


def test_row_14_a_lone_surrogate(never_asked: Inactive, issued: Issued) -> None:
    assert all(map(never_asked, ("\ud800", issued.secret[:-1] + "\ud800", "\udc80" * 55)))


def test_row_15_what_a_comparison_of_strings_would_refuse(never_asked: Inactive, issued: Issued) -> None:
    string = issued.secret[:-1] + "é"
    with pytest.raises(TypeError):
        hmac.compare_digest(string, issued.secret)

    assert never_asked(string)


def test_row_17_an_encoding_of_a_valid_secret(never_asked: Inactive, issued: Issued) -> None:
    raw = issued.secret.encode()

    assert all(map(never_asked, (raw.hex(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode())))


def test_row_18_the_public_id_as_a_secret(st: SessionTokens, issued: Issued) -> None:
    assert st.verify_session(issued.id) is None
    assert st.verify_token(issued.id) is None


def test_row_19_what_the_store_keeps_as_a_secret(st: SessionTokens, store: CountingStore, issued: Issued) -> None:
    """A copy of the database opens nothing; the memory store keeps the secret itself, and dies with the process."""
    lookup = store.keyring.lookup(issued.secret)
    if lookup == issued.secret:
        lookup = hmac.digest(bytes(32), issued.secret.encode(), "sha256").hex()
    digest = lookup.partition(":")[2] or lookup
    dumped = [lookup, digest, "sts_" + lookup, SESSION_SECRET + "00" + base62(int(digest, 16), 43)]

    for string in (*dumped, with_checksum(dumped[-1])):
        assert st.verify_session(string) is None
        assert st.verify_token(string) is None


def test_row_20_a_secret_of_the_other_kind(st: SessionTokens, store: CountingStore) -> None:
    opened = st.open_session("ann")
    token = st.issue_token(opened.id)
    before = store.calls

    assert st.verify_token(opened.secret) is None
    assert st.verify_session(token.secret) is None
    assert before == store.calls
    with pytest.raises(UnknownSession):
        st.rotate_session(token.id)
    with pytest.raises(UnknownToken):
        st.offer_token(opened.secret)
    with pytest.raises(UnknownSession):
        st.issue_token(token.secret)


@pytest.mark.parametrize(
    "string",
    [
        "ghp_" + "a" * 36, "hvs." + "A" * 90, "stk_" + "0" * 51, "xoxb-1-2-abc",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.", "sts_" + "eyJhbGciOiJub25lIn0" + "0" * 32,
    ],
    ids=lambda string: string[:6],
)  # fmt: skip
def test_row_22_tokens_of_other_products(never_asked: Inactive, string: str) -> None:
    assert never_asked(string)


@pytest.mark.parametrize("between", [",", ", ", " ", ";", "\n", ""])
def test_row_23_two_secrets_joined(never_asked: Inactive, issued: Issued, between: str) -> None:
    assert never_asked(issued.secret + between + issued.secret)


def test_row_24_a_secret_of_another_store(inactive: Inactive) -> None:
    with SessionTokens.open("memory://", sweep=False) as other:
        opened = other.open_session("ann")
        token = other.issue_token(opened.id)

        assert inactive(opened.secret)
        assert inactive(token.secret)


@pytest.mark.parametrize(("late_ms", "alive"), [(-1, True), (0, False), (1, False)])
def test_row_25_expired_or_expiring_exactly_now(
    st: SessionTokens, clock: ManualClock, late_ms: int, alive: bool
) -> None:
    opened = st.open_session("ann", max_age=60)
    token = st.issue_token(None, timeout=60)
    clock.advance(ms=60_000 + late_ms)

    assert [alive, alive] == [st.verify_session(opened.secret) is not None, st.verify_token(token.secret) is not None]


def test_row_26_ended_rotated_away_and_given_away(st: SessionTokens) -> None:
    ended, rotated = st.open_session("ann"), st.open_session("ann")
    given, reissued = (st.issue_token(rotated.id, transferable=True) for _ in range(2))
    st.destroy_session(ended.id)
    st.rotate_session(rotated.id)
    st.transfer_token(given.id, giver="ann", receiver="bob")
    st.reissue_token(reissued.id, owner="ann")

    assert [None, None] == [st.verify_session(issued.secret) for issued in (ended, rotated)]
    assert [None, None] == [st.verify_token(issued.secret) for issued in (given, reissued)]


@pytest.mark.parametrize(
    "string", ["*", "?", "[a-z]*", "%", "_", "sts_*", "sts_00%", "sts_00" + "_" * 49, "stt_" + "?" * 51]
)
def test_row_28_patterns_are_only_strings(never_asked: Inactive, string: str) -> None:
    assert never_asked(string)


def test_every_one_spelling_of_a_secret_is_its_own(issued: Issued) -> None:
    assert set(issued.secret[4:]) <= set(ALPHABET)
    assert 55 == len(issued.secret)
