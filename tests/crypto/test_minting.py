"""Secrets: 256 random bits each, no two alike, no place favoured, none foreseen by a fork, junk refused by its form."""

from __future__ import annotations

import hmac
import random
import re
from array import array
from collections import Counter
from pathlib import Path
from zlib import crc32

import pytest

from session_tokens import SessionTokens
from session_tokens.crypto.minting import PepperKeyring, PlainKeyring, new_id, new_secret, secret_of
from session_tokens.crypto.secret_form import (
    ALPHABET,
    KEY_SECRET,
    SESSION_ID,
    SESSION_SECRET,
    TOKEN_ID,
    TOKEN_SECRET,
    base62,
    is_id,
    is_secret,
)
from tests.helpers.at_once import in_a_child
from tests.helpers.counting_store import CountingStore
from tests.helpers.effort import PROVING, times

MANY = times(100_000, proving=10_000_000)
JUNK = times(100_000, proving=10_000_000)
PREFIXES = (SESSION_SECRET, TOKEN_SECRET, KEY_SECRET)

# Of 43 letters the first is worth less than a whole one: 2**256 / 62**42 is 60.7, so it is one of 0 to y.
FIRST_LETTERS = 2**256 // 62**42 + 1
CHI_SQUARE_MAX = 132  # 61 degrees of freedom: one place in 3 million comes out above, none of 42 by chance


def test_secrets_are_all_different_and_favour_no_letter_at_any_place() -> None:
    """10^5 secrets, 10^7 when everything is proven; kept as 64-bit hashes there, which would show a duplicate too."""
    seen = [array("q") for _ in range(64)]  # by their last six bits, so that duplicates are looked for in small sets
    counts = [Counter[str]() for _ in range(43)]
    sample = min(MANY, 200_000)
    for number in range(MANY):
        body = new_secret(SESSION_SECRET)[6:49]
        seen[hash(body) & 63].append(hash(body))
        if number < sample:
            for count, letter in zip(counts, body, strict=True):
                count[letter] += 1
    different = sum(len(set(hashes)) for hashes in seen)

    assert MANY - different <= (2 if PROVING else 0)  # the hashes of 10^7 may collide by chance, the secrets not
    assert set(counts[0]) == set(ALPHABET[:FIRST_LETTERS])
    for place, count in enumerate(counts[1:], 1):
        expected = sample / 62
        chi_square = sum((count[letter] - expected) ** 2 / expected for letter in ALPHABET)
        assert chi_square < CHI_SQUARE_MAX, f"place {place}"


def test_the_first_letter_is_as_likely_as_256_bits_make_it() -> None:
    count = Counter(new_secret(TOKEN_SECRET)[6] for _ in range(40_000))
    shares = [62**42 / 2**256] * (FIRST_LETTERS - 1) + [2**256 % 62**42 / 2**256]
    chi_square = sum(
        (count[letter] - 40_000 * share) ** 2 / (40_000 * share)
        for letter, share in zip(ALPHABET, shares, strict=False)
    )

    assert chi_square < CHI_SQUARE_MAX


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_secret_is_of_its_kind_only(prefix: str) -> None:
    secret = new_secret(prefix)

    assert re.fullmatch(prefix + "[0-9A-Za-z]{51}", secret)
    assert [prefix == other for other in PREFIXES] == [is_secret(other, secret) for other in PREFIXES]
    assert secret[49:] == base62(crc32(secret[:49].encode()), 6)


def test_ids_are_all_different_and_never_secrets() -> None:
    ids = {new_id(SESSION_ID) for _ in range(20_000)}

    assert 20_000 == len(ids)
    assert all(is_id(SESSION_ID, id) and not is_id(TOKEN_ID, id) for id in ids)
    assert not any(is_secret(SESSION_SECRET, id) for id in ids)


def test_an_id_is_worth_128_bits_and_each_value_as_likely() -> None:
    """Of 22 letters the first is one of 0 to 7, for 2**128 / 62**21 is 7.8."""
    sample = 60_000
    bodies = [new_id(TOKEN_ID)[6:] for _ in range(sample)]
    shares = [62**21 / 2**128] * 7 + [2**128 % 62**21 / 2**128]
    first = Counter(body[0] for body in bodies)

    assert max(bodies) <= base62(2**128 - 1, 22)
    assert set("01234567") == set(first)
    assert sum((first[str(n)] - sample * share) ** 2 / (sample * share) for n, share in enumerate(shares)) < 40
    for place in range(2, 22):  # after a 7 the second is an n at most
        count = Counter(body[place] for body in bodies)
        chi_square = sum((count[letter] - sample / 62) ** 2 / (sample / 62) for letter in ALPHABET)
        assert chi_square < CHI_SQUARE_MAX, f"place {place}"


def test_there_is_one_spelling_of_each_value() -> None:
    for number in (0, 1, 61, 62, 2**255, 2**256 - 1):
        secret = secret_of(TOKEN_SECRET, number.to_bytes(32))
        value = 0
        for letter in secret[6:49]:
            value = value * 62 + ALPHABET.index(letter)

        assert is_secret(TOKEN_SECRET, secret)
        assert number == value


def test_forks_mint_different_secrets(tmp_path: Path) -> None:
    """Both sides of a fork go on from the same memory; the operating system gives each its own randomness."""
    new_secret(SESSION_SECRET)

    def minted() -> list[str]:
        return [new_secret(SESSION_SECRET) for _ in range(1000)] + [new_id(TOKEN_ID) for _ in range(1000)]

    files = [tmp_path / str(number) for number in range(4)]
    assert [0] * 4 == [in_a_child(lambda file=file: file.write_text(" ".join(minted()))) for file in files]  # type: ignore[misc]
    assert 10_000 == len({*minted(), *" ".join(file.read_text() for file in files).split()})


def test_random_strings_are_refused_without_asking_the_store(st: SessionTokens, store: CountingStore) -> None:
    script = random.Random(7)
    for _ in range(JUNK // 2):
        string = SESSION_SECRET + "00" + "".join(script.choices(ALPHABET, k=49))
        assert st.verify_session(string) is None
        assert st.verify_token("stt_" + string[4:]) is None

    assert store.calls <= JUNK * 3 // 2**32 + 1  # one in 2^32 has the right checksum


def test_every_single_typing_error_is_seen_by_the_checksum() -> None:
    secret = new_secret(TOKEN_SECRET)
    for place in range(4, len(secret)):
        for letter in ALPHABET:
            if letter != secret[place]:
                assert not is_secret(TOKEN_SECRET, secret[:place] + letter + secret[place + 1 :])


# What is kept of a secret.


@pytest.mark.parametrize("length", [32, 63, 64, 65, 500])
def test_look_up_keys_and_macs_are_hmac_sha256_of_peppers_of_every_length(length: int) -> None:
    pepper = bytes(range(256)) * 2
    keyring = PepperKeyring({"k": pepper[:length]})
    for message in ("", "sts_", "x" * 1_000):
        raw = message.encode()
        assert keyring.lookup(message) == "k:" + hmac.digest(pepper[:length], raw, "sha256").hex()
        assert keyring.mac(raw) == "k:" + hmac.digest(pepper[:length], b"mac" + raw, "sha256").hex()
        assert keyring.mac_is_right(keyring.mac(raw), raw) and not keyring.mac_is_right(keyring.mac(b"!"), raw)


def test_a_durable_store_keeps_an_hmac_under_the_current_pepper() -> None:
    ring = PepperKeyring({"new": b"n" * 32, "old": b"o" * 32})
    secret = new_secret(SESSION_SECRET)
    new, old = ring.lookups(secret)

    assert ("new", ring.lookup(secret)) == (ring.current, new)
    assert old == PepperKeyring({"old": b"o" * 32}).lookup(secret)
    assert secret not in new + old
    assert new.partition(":")[2] != old.partition(":")[2]


def test_another_pepper_keeps_something_else() -> None:
    secret = new_secret(SESSION_SECRET)

    assert PepperKeyring(b"a" * 32).lookup(secret) != PepperKeyring(b"b" * 32).lookup(secret)


def test_a_mac_is_right_for_its_message_and_pepper_only() -> None:
    ring, other = PepperKeyring(b"a" * 32), PepperKeyring(b"b" * 32)
    mac = ring.mac(b"message")

    assert ring.mac_is_right(mac, b"message")
    assert not ring.mac_is_right(mac, b"massage")
    assert not other.mac_is_right(mac, b"message")
    for forged in ("", ":", mac[:-1], mac + "0", mac.upper(), "é" + mac, mac.partition(":")[2]):
        assert not ring.mac_is_right(forged, b"message")


def test_derived_bytes_need_the_pepper_and_differ_by_message() -> None:
    ring = PepperKeyring(b"a" * 32)

    assert ring.derive(ring.current, b"one") == ring.derive(ring.current, b"one")
    assert ring.derive(ring.current, b"one") != ring.derive(ring.current, b"two")
    with pytest.raises(KeyError):
        ring.derive("unknown", b"one")
    assert PlainKeyring().derive("process", b"one") != PlainKeyring().derive("process", b"one")
