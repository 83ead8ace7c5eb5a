"""A record of a Valkey store that cannot be read: a check sets it aside, and leaves what lives for another pepper."""

from __future__ import annotations

import valkey

from session_tokens import SessionTokens, Settings
from session_tokens.stores.common.findings import Finding
from session_tokens.stores.valkey.store import BlockingValkeyStore, open_valkey_blocking

PEPPER = bytes(range(32))


def said(store: BlockingValkeyStore, *, fix: bool = False) -> list[Finding]:
    return list(store.check_now(fix=fix))


def keys_of(client: valkey.Valkey, prefix: str) -> list[bytes]:
    keys = client.keys(prefix + "*")
    assert isinstance(keys, list)
    return keys


def test_a_check_sets_aside_what_cannot_be_read_and_leaves_what_another_process_can(valkey_url: str) -> None:
    address, _, name = valkey_url.partition("?namespace=")
    prefix = f"{{{name}:00}}:"
    store = open_valkey_blocking(valkey_url, pepper=PEPPER)
    assert isinstance(store, BlockingValkeyStore)
    client: valkey.Valkey = valkey.Valkey.from_url(address)
    with SessionTokens(store, Settings(max_sessions=None)) as tokens, client:
        whole = tokens.open_session("ann")
        torn, later = tokens.open_session("ann", max_age=1), tokens.open_session("ann")
        token = tokens.issue_token(torn.id, "ticket", transferable=True)
        client.hset(prefix + "m", "later", "check 1 0")
        for id, change in ((torn.id, b"?"), (later.id, b"later")):
            key = f"{prefix}s:{id}"
            value = client.get(key)
            assert isinstance(value, bytes)
            head, mac, row = value.split(b"\n", 2)
            client.set(key, b"\n".join((head, change + b":" + mac.partition(b":")[2], row)))

        assert {(problem.kind, problem.id, problem.fixed) for problem in said(store)} == {
            ("session", torn.id, None), ("session", later.id, None),
        }  # fmt: skip
        assert {(problem.kind, problem.id, problem.fixed) for problem in said(store, fix=True)} == {
            ("session", torn.id, "moved to quarantine"), ("session", later.id, None),
            ("token", token.id, "written down as unassigned"),
        }  # fmt: skip
        assert [(problem.kind, problem.id) for problem in said(store)] == [("session", later.id)]
        page = tokens.list_sessions("ann")
        assert ([session.id for session in page], page.unreadable) == ([whole.id], (later.id,))
        assert tokens.get_session(torn.id) is None
        left = tokens.get_token(token.id)
        assert left is not None
        assert left.is_unassigned, "its session is gone"
        assert f"{prefix}q:s:{torn.id}".encode() in keys_of(client, prefix)
        due = client.zrange(prefix + "du", 0, -1)
        assert isinstance(due, list)
        assert not any(torn.id.encode() in member for member in due)
