"""What a Valkey store writes down: records that every process reads, and how long the server keeps them."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from session_tokens import CorruptRecord, SessionTokens
from session_tokens.records import JSON
from session_tokens.stores.valkey.store import open_valkey_blocking
from tests.helpers.servers.valkey import client_of

PEPPER = bytes(range(32))

VALUES: list[JSON] = ["plain", "ä – 語 🙂", "line\n\u2028", {"k": ["ü", 1.5, None]}]


@pytest.mark.parametrize("without", ["writer", "reader"])
def test_records_are_the_same_with_and_without_msgspec(valkey_url: str, without: str) -> None:
    """What one process wrote another reads, whichever of them has the package."""
    script = """
        import sys
        sys.modules["msgspec"] = sys.modules["msgspec.json"] = None
        from session_tokens import SessionTokens
        from session_tokens.stores.valkey.store import open_valkey_blocking
        from tests.stores.valkey.test_rows import PEPPER, VALUES
        with SessionTokens(open_valkey_blocking(sys.argv[1], pepper=PEPPER)) as tokens:
            if len(sys.argv) == 2:
                for value in VALUES:
                    sys.stdout.write(tokens.issue_token(None, value).secret + " ")
            else:
                for secret, value in zip(sys.argv[2:], VALUES, strict=True):
                    assert tokens.verify_token(secret).value == value, value
    """
    argv = [sys.executable, "-c", textwrap.dedent(script), valkey_url]
    with SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER)) as tokens:
        if without == "writer":
            other = subprocess.run(argv, capture_output=True, text=True, check=True)
            for secret, value in zip(other.stdout.split(), VALUES, strict=True):
                token = tokens.verify_token(secret)
                assert token is not None and token.value == value
        else:
            subprocess.run([*argv, *(tokens.issue_token(None, value).secret for value in VALUES)], check=True)


def test_a_new_look_up_key_expires_with_its_record(valkey_url: str) -> None:
    prefix = "{" + valkey_url.partition("namespace=")[2] + ":00}:"
    week_ms = 7 * 86_400_000
    with SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER)) as tokens, client_of(valkey_url) as client:
        session = tokens.open_session("alice", max_age=60)
        token = tokens.issue_token(None, "v", timeout=60)
        free = tokens.issue_token(None, "v")
        rotated, again = tokens.rotate_session(session.id), tokens.reissue_token(token.id, owner=None)
        lasting = tokens.reissue_token(free.id, owner=None)
        for name in (f"s:{session.id}", f"S:{rotated.session.lookup}", f"t:{token.id}", f"T:{again.token.lookup}"):
            assert week_ms < client.pttl(prefix + name) <= week_ms + 60_000
        for name in (f"t:{free.id}", f"T:{lasting.token.lookup}"):
            assert client.pttl(prefix + name) == -1
        gone = (f"S:{session.session.lookup}", f"T:{token.token.lookup}", f"T:{free.token.lookup}")
        assert client.exists(*(prefix + name for name in gone)) == 0


def test_a_record_copied_over_another_is_not_believed(valkey_url: str) -> None:
    prefix = "{" + valkey_url.partition("namespace=")[2] + ":00}:"
    with (
        SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER)) as opener,
        SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER)) as tokens,
    ):
        victim, mallory = opener.open_session("victim").session, opener.open_session("mallory").session
        with client_of(valkey_url) as client:
            client.copy(f"{prefix}s:{victim.id}", f"{prefix}s:{mallory.id}", replace=True)
        for _ in range(2):
            with pytest.raises(CorruptRecord):
                tokens.issue_token(mallory.id, "v")
        assert tokens.list_tokens(owner="victim").items == []
