"""The settings in deploy/ for several Valkey servers: they start with them, and the application has its rights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from session_tokens import SessionTokens
from session_tokens.stores.valkey.library import library_text
from session_tokens.stores.valkey.store import open_valkey_blocking
from tests.helpers.servers.cluster import CALM_TIMEOUT_MS, Cluster
from tests.helpers.servers.sentinels import Sentinel
from tests.helpers.servers.valkey import ValkeyServer

pytestmark = pytest.mark.server

DEPLOY = Path(__file__).parents[2] / "deploy" / "valkey"
PEPPER = bytes(range(32))
DIGEST = "REPLACE-WITH-SHA256-OF-PASSWORD"


def test_the_applications_user_may_do_on_a_cluster_what_the_store_needs() -> None:
    cluster = Cluster(1, (), CALM_TIMEOUT_MS, "--include", str(DEPLOY / "cluster.conf"))
    (node,) = cluster.nodes
    try:
        cluster.start()
        rights = next(line for line in (DEPLOY / "users.acl").read_text().splitlines() if DIGEST in line).split()[2:]
        node.say("ACL", "SETUSER", "app", *(">horse" if DIGEST in word else word for word in rights))
        node.say("FUNCTION", "LOAD", library_text())
        url = f"valkey+cluster://app:horse@127.0.0.1:{node.port}?timeout=10"
        with SessionTokens(open_valkey_blocking(url, pepper=PEPPER)) as tokens:
            issued = tokens.open_session("alice")
            assert tokens.verify_session(issued.secret) == issued.session
        assert node.ask("CONFIG", "GET", "maxmemory-policy")[1] == b"noeviction"
    finally:
        cluster.remove()


def test_a_sentinel_starts_with_its_file(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey()
    text = (DEPLOY / "sentinel.conf").read_text()
    sentinel = Sentinel(server, 1)
    text = text.replace("port 26379", f"port {sentinel.port}").replace(" one 6379 2", f" localhost {server.port} 1")
    (sentinel.folder / "sentinel.conf").write_text(f"{text}dir {sentinel.folder}\n")
    try:
        sentinel.start()
        url = f"valkey+sentinel://127.0.0.1:{sentinel.port}/session-tokens"
        with SessionTokens(open_valkey_blocking(url, pepper=PEPPER)) as tokens:
            issued = tokens.open_session("alice")
            assert tokens.verify_session(issued.secret) == issued.session
    finally:
        sentinel.remove()
