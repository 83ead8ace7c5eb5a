"""The ACL file in deploy/: the application's user can do all that the store needs, and no more."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import valkey

from session_tokens import SessionTokens, StoreError
from session_tokens.stores.valkey.library import library_text
from session_tokens.stores.valkey.store import open_valkey_blocking
from tests.helpers.near_caches import BOUND_S, answers_near
from tests.helpers.servers.cluster import shared_cluster
from tests.helpers.servers.valkey import ValkeyServer
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.server

ACL = Path(__file__).parents[3] / "deploy" / "valkey" / "users.acl"
PASSWORD, ADMIN_PASSWORD = "correct", "horse"
PEPPER = bytes(range(32))


@pytest.fixture(name="guarded")
def _guarded(private_valkey: Callable[..., ValkeyServer], tmp_path: Path) -> ValkeyServer:
    text = ACL.read_text()
    text = text.replace("REPLACE-WITH-SHA256-OF-ADMIN-PASSWORD", sha256(ADMIN_PASSWORD.encode()).hexdigest())
    text = text.replace("REPLACE-WITH-SHA256-OF-PASSWORD", sha256(PASSWORD.encode()).hexdigest())
    (tmp_path / "users.acl").write_text(text)
    return private_valkey("--aclfile", str(tmp_path / "users.acl"))


def rights_of_the_application() -> list[str]:
    """Return what the file grants the application's user, its password set."""
    (line,) = (line for line in ACL.read_text().splitlines() if line.startswith("user session-tokens "))
    words = line.replace("REPLACE-WITH-SHA256-OF-PASSWORD", sha256(PASSWORD.encode()).hexdigest()).split()
    return words[1:]


def client_of(server: ValkeyServer, user: str, password: str) -> valkey.Valkey:
    return valkey.Valkey(port=server.port, username=user, password=password)


def test_the_applications_user_can_do_what_the_store_needs_and_no_more(guarded: ValkeyServer) -> None:
    url = guarded.url.replace("//", f"//session-tokens:{PASSWORD}@")
    with pytest.raises(StoreError, match="an administrator loads it with FUNCTION LOAD"):
        open_valkey_blocking(url, pepper=PEPPER)
    with client_of(guarded, "session-tokens-admin", ADMIN_PASSWORD) as admin:
        admin.function_load(library_text().decode())

    store = open_valkey_blocking(url, pepper=PEPPER)
    with SessionTokens(store) as tokens:
        session = tokens.open_session("alice", detachable=True)
        token = tokens.issue_token(session.id, "v", transferable=True)
        tokens.transfer_token(token.id, giver="alice", receiver="bob")
        tokens.disable_owner("carol")
        assert tokens.verify_session(session.secret) == tokens.verify_session(session.secret) == session.session
        assert [listed.id for listed in tokens.list_tokens().items] == [token.id]
        tokens.destroy_session(session.id)
        tokens.sweep()
        assert store.check_now(fix=True) == []

    with client_of(guarded, "session-tokens", PASSWORD) as client:
        for words in (
            ("CONFIG", "GET", "*"), ("FLUSHALL",), ("KEYS", "*"), ("EVAL", "return 1", "0"), ("FUNCTION", "FLUSH"),
            ("GET", "another application's"), ("SET", "another application's", "x"), ("SHUTDOWN",),
        ):  # fmt: skip
            with pytest.raises(valkey.exceptions.NoPermissionError):
                client.execute_command(*words)
    with client_of(guarded, "default", "") as anyone, pytest.raises(valkey.exceptions.ValkeyError):
        anyone.ping()


@pytest.mark.parametrize("partitions", [1, 64])
def test_the_same_user_can_do_what_a_cluster_needs(partitions: int) -> None:
    cluster = shared_cluster()
    url = f"{cluster.url}?timeout=5&namespace=st{uuid.uuid4().hex[:12]}&partitions={partitions}"
    open_valkey_blocking(url, pepper=PEPPER).close_now()  # which loads the library
    try:
        for node in cluster.nodes:
            node.say("ACL", "SETUSER", *rights_of_the_application())
        as_user = url.replace("//", f"//session-tokens:{PASSWORD}@")
        with SessionTokens.open(as_user, pepper=PEPPER, sweep=False, near_cache=BOUND_S) as tokens:
            session, other = tokens.open_session("alice"), tokens.open_session("bob")
            token = tokens.issue_token(session.id, "v", transferable=True)
            tokens.transfer_token(token.id, giver="alice", receiver="bob", idempotency_key="sold")
            assert [listed.session_id for listed in tokens.list_tokens().items] == [other.id]
            wait_until(lambda: answers_near(tokens, session.secret))
            tokens.destroy_session(session.id)
            tokens.sweep()
            assert tokens.verify_session(session.secret) is None
        store = open_valkey_blocking(as_user, pepper=PEPPER)
        assert store.check_now(fix=True) == []
        store.close_now()
    finally:
        for node in cluster.nodes:
            node.say("ACL", "DELUSER", "session-tokens")
