"""Ids and secrets: their form and checksum, and whether a text has it. Asks no store.

A secret is ``sts_`` (session), ``stt_`` (token) or ``stk_`` (service key), two characters of partition, 43 base62
characters worth 256 bits from the operating system and 6 base62 characters of CRC-32 over all before them. Base62
here is 0-9A-Za-z, big-endian, zero-padded, so that there is exactly one spelling of each value and strings compare
as their values do. The checksum lets a scanner find leaked secrets, and junk be refused without asking a store.

Django's session key is its cookie, and other people's tables keep it in 40 characters. So there is a short secret of a
session: ``std_``, the partition, 32 base62 characters (190 bits) and 2 of CRC-32 modulo 62**2 over all before them.
"""

from __future__ import annotations

import re
from typing import Final
from zlib import crc32

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PARTITION: Final = "00"
SESSION_SECRET, TOKEN_SECRET, KEY_SECRET = "sts_", "stt_", "stk_"
SHORT_SECRET: Final = "std_"
"""Of a session whose secret other people's tables keep in 40 characters: Django's."""
SECRET_BEGINNINGS: Final = (SESSION_SECRET, SHORT_SECRET, TOKEN_SECRET, KEY_SECRET)
SESSION_ID, TOKEN_ID, KEY_ID = "ses_", "tok_", "key_"
SECRET_LENGTH: Final = 4 + 2 + 43 + 6
SHORT_SECRET_LENGTH: Final = 4 + 2 + 32 + 2
ID_LENGTH: Final = 4 + 2 + 22
SECRET_LIKE: Final = re.compile(r"(?<![0-9A-Za-z])st[sdtk]_[0-9A-Za-z]{20,}")
"""What might be a secret, also a mistyped one, alone or within what it was pasted with."""
SECRET_LIKE_LENGTH_MIN: Final = 24

PAIRS = tuple(high + low for high in ALPHABET for low in ALPHABET)


def base62(number: int, width: int) -> str:
    """Return ``number`` in base62, big-endian, zero-padded to ``width`` characters (even)."""
    pairs = []
    for _ in range((width + 1) // 2):
        number, pair = divmod(number, 3844)
        pairs.append(PAIRS[pair])
    pairs.reverse()
    return "".join(pairs)[-width:]


BODY_MAX = base62(2**256 - 1, 43)
_FORMS = {
    prefix: re.compile(f"{prefix}[0-9A-Za-z]{{{SECRET_LENGTH - 4}}}").fullmatch
    for prefix in (SESSION_SECRET, TOKEN_SECRET, KEY_SECRET)
}
"""How a secret begins → whether a text is spelt like one of these, its checksum aside."""
ID_BODY_MAX = base62(2**128 - 1, 22)  # begins with a 7: three bits choose the first letter


PARTITIONS: Final = 64
"""How many partitions a store has that has several; a power of two."""
PARTITION_NAMES: Final = tuple(base62(number + 1 + number // 61, 2) for number in range(PARTITIONS))
"""Their names, as ids and secrets have them. None ends as ``PARTITION`` does, that of a store in one place."""
PARTITION_MARK: Final = "-"
"""What precedes a partition's name at the end of a look-up key."""


def checksum(covered: bytes) -> str:
    """Return the end of a secret, from all that is before it."""
    number = crc32(covered)
    return PAIRS[number // 3844**2] + PAIRS[number // 3844 % 3844] + PAIRS[number % 3844]


def short_checksum(covered: bytes) -> str:
    """Return the end of a short secret, from all that is before it."""
    return PAIRS[crc32(covered) % 3844]


def is_secret(prefix: str, text: str) -> bool:
    """Whether ``text`` is a well-formed secret of that kind; asks no store.

    Other lengths, alphabets, spellings, partitions and values of 2^256 or more are not.
    """
    if prefix == SHORT_SECRET:
        return _is_short_secret(text)
    if _FORMS[prefix](text) is None or text[6:49] > BODY_MAX:
        return False
    number = crc32(text[:49].encode())  # as ``checksum``
    return PAIRS[number // 3844**2] + PAIRS[number // 3844 % 3844] + PAIRS[number % 3844] == text[49:]


def _is_short_secret(text: str) -> bool:
    if len(text) != SHORT_SECRET_LENGTH or not text.startswith(SHORT_SECRET) or not text.isascii():
        return False
    letters = text.encode()
    return letters[4:].isalnum() and short_checksum(letters[:38]) == text[38:]


def is_session_secret(text: str) -> bool:
    """Whether ``text`` is a well-formed secret of a session, of either length; asks no store."""
    return is_secret(SESSION_SECRET, text) or _is_short_secret(text)


def holds_secret(text: str) -> bool:
    """Whether a text holds what looks like a secret."""
    return len(text) >= SECRET_LIKE_LENGTH_MIN and SECRET_LIKE.search(text) is not None


def begins_with_secret(text: str) -> bool:
    """Whether a text begins with a whole, well-formed secret."""
    if not text.startswith(SECRET_BEGINNINGS):
        return False
    length = SHORT_SECRET_LENGTH if text.startswith(SHORT_SECRET) else SECRET_LENGTH
    return is_secret(text[:4], text[:length])


def is_id(prefix: str, text: str) -> bool:
    """Whether ``text`` is a well-formed public id of that kind; asks no store."""
    return len(text) == ID_LENGTH and text.startswith(prefix) and text.isascii() and text.encode()[4:].isalnum()
