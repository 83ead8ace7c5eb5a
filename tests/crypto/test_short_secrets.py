"""The short secret of a session, which other people's tables keep in 40 characters: one spelling, and never shown."""

from __future__ import annotations

import re
from collections import Counter
from zlib import crc32

import pytest

from session_tokens import SessionTokens
from session_tokens.crypto.minting import new_secret, secret_of
from session_tokens.crypto.secret_form import (
    ALPHABET,
    SESSION_SECRET,
    SHORT_SECRET,
    TOKEN_SECRET,
    base62,
    begins_with_secret,
    holds_secret,
    is_secret,
    is_session_secret,
)
from tests.helpers.counting_store import CountingStore

CHI_SQUARE_MAX = 132  # 61 degrees of freedom: one place in 3 million comes out above


def test_a_short_secret_has_forty_characters_and_is_of_its_kind_only() -> None:
    secret = new_secret(SHORT_SECRET)

    assert re.fullmatch("std_00[0-9A-Za-z]{34}", secret)
    assert secret[38:] == base62(crc32(secret[:38].encode()) % 62**2, 2)
    assert is_secret(SHORT_SECRET, secret)
    assert is_session_secret(secret)
    assert not is_secret(SESSION_SECRET, secret)
    assert not is_secret(TOKEN_SECRET, secret)


def test_short_secrets_are_all_different_and_favour_no_letter_at_any_place() -> None:
    bodies = [new_secret(SHORT_SECRET)[6:38] for _ in range(60_000)]

    assert len(set(bodies)) == 60_000
    for place in range(32):
        count = Counter(body[place] for body in bodies)
        expected = 60_000 / 62
        assert sum((count[letter] - expected) ** 2 / expected for letter in ALPHABET) < CHI_SQUARE_MAX, f"place {place}"


@pytest.mark.parametrize("number", [0, 1, 62**32 - 1, 62**32, 2**256 - 1])
def test_a_derived_short_secret_is_the_number_modulo_its_values(number: int) -> None:
    secret = secret_of(SHORT_SECRET, number.to_bytes(32))

    assert is_secret(SHORT_SECRET, secret)
    assert secret[6:38] == base62(number % 62**32, 32)


def test_what_is_not_spelt_so_is_refused_without_asking_the_store(st: SessionTokens, store: CountingStore) -> None:
    secret = new_secret(SHORT_SECRET)
    checked = secret[38:]
    other = "A" if secret[20] != "A" else "B"
    spelt = [
        secret[:-1], secret + "0", " " + secret, secret + "\n", secret.replace("std_", "STD_"),
        secret[:4] + "-" + secret[5:],
        secret[:20] + other + secret[21:], secret[:38] + ("00" if checked != "00" else "01"), "std_" + "é" * 36, "std_",
        "sts_" + secret[4:], "std_" + new_secret(SESSION_SECRET)[4:],
    ]  # fmt: skip

    assert [st.verify_session(text) for text in spelt] == [None] * len(spelt)
    assert store.calls == 0
    assert st.verify_session(secret) is None
    assert store.calls == 1


def test_a_short_secret_is_taken_for_one_wherever_secrets_are_looked_for() -> None:
    secret = new_secret(SHORT_SECRET)

    assert holds_secret(f"cookie sessionid={secret}; path=/")
    assert begins_with_secret(secret + " and more")
    assert not begins_with_secret(secret[:39])
