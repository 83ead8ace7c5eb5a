"""The Valkey store on a real server: what it needs to open, what it keeps, what it refuses to believe."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio

from session_tokens import (
    AsyncSessionTokens,
    Conflict,
    CorruptRecord,
    InvalidInput,
    NotOwner,
    SessionTokens,
    Settings,
    StoreError,
    StoreUnavailable,
)
from session_tokens.contract.queries import Members
from session_tokens.settings import FROM_DB
from session_tokens.stores.valkey.store import open_valkey, open_valkey_blocking
from tests.helpers.servers.valkey import (
    ValkeyServer,
    async_client_of,
    client_of,
)

PEPPER = bytes(range(32))
OTHER = bytes(range(1, 33))


def keys_of(url: str) -> dict[bytes, bytes]:
    """Return every string that a store keeps, by its key."""
    prefix = url.partition("namespace=")[2]
    with client_of(url) as client:
        names = list(client.scan_iter(match=f"{{{prefix}*", count=1000))
        return {name: client.get(name) for name in names if client.type(name) == b"string"}


# --- opening ---


async def test_a_store_opens_by_each_spelling_of_its_url(valkey_url: str) -> None:
    for scheme in ("valkey", "redis"):
        url = valkey_url.replace("valkey:", f"{scheme}:")
        async with await AsyncSessionTokens.open(url, pepper=PEPPER, sweep=False) as tokens:
            issued = await tokens.open_session("alice")
            assert await tokens.verify_session(issued.secret) == issued.session
        with SessionTokens.open(url, pepper=PEPPER, sweep=False) as blocking:
            assert blocking.verify_session(issued.secret) == issued.session


@pytest.mark.parametrize("driver", [valkey, redis])
@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 3}])
async def test_a_client_that_the_application_has_already_can_be_used(
    valkey_url: str, driver: Any, options: dict[str, Any]
) -> None:
    address, _, query = valkey_url.partition("?")
    address = address.replace("valkey:", f"{driver.__name__}:")
    async_client = driver.asyncio.from_url(address, **options)
    store = await open_valkey(f"?{query}", pepper=PEPPER, client=async_client)
    async with AsyncSessionTokens(store) as tokens:
        issued = await tokens.open_session("alice")
        token = await tokens.issue_token(issued.id, "välue")
        assert await tokens.verify_session(issued.secret) == issued.session
        assert (await tokens.get_token(token.id)) == token.token
    assert await async_client.ping()  # the client is the application's, and stays open
    await async_client.aclose()

    client = driver.from_url(address, **options)
    with SessionTokens(open_valkey_blocking(f"?{query}", pepper=PEPPER, client=client)) as blocking:
        assert blocking.verify_session(issued.secret) == issued.session
    client.close()


async def test_a_client_of_the_wrong_kind_is_a_type_error(valkey_server: ValkeyServer) -> None:
    client = client_of(valkey_server.url)
    with pytest.raises(TypeError, match=r"valkey\.asyncio\.Valkey"):
        await open_valkey(pepper=PEPPER, client=client)
    client.close()  # type: ignore[no-untyped-call]  # the driver's


async def test_a_pepper_is_needed_and_must_be_the_stores(valkey_url: str) -> None:
    with pytest.raises(InvalidInput, match="pepper"):
        await open_valkey(valkey_url, pepper=None)
    await (await open_valkey(valkey_url, pepper={"one": PEPPER})).close()

    with pytest.raises(InvalidInput, match="pepper one is not the one"):
        await open_valkey(valkey_url, pepper={"one": OTHER})
    with pytest.raises(InvalidInput, match="pepper one"):
        await open_valkey(valkey_url, pepper={"two": OTHER})
    with pytest.raises(InvalidInput, match="pepper one"):
        open_valkey_blocking(valkey_url, pepper={"two": OTHER})
    await (await open_valkey(valkey_url, pepper={"two": OTHER, "one": PEPPER})).close()


async def test_secrets_of_an_earlier_pepper_go_on_and_are_keyed_anew_by_use(valkey_url: str) -> None:
    async with AsyncSessionTokens(await open_valkey(valkey_url, pepper={"one": PEPPER})) as tokens:
        issued = await tokens.open_session("alice")
    async with AsyncSessionTokens(await open_valkey(valkey_url, pepper={"two": OTHER, "one": PEPPER})) as tokens:
        session = await tokens.verify_session(issued.secret)

        assert session is not None and session.lookup is not None and session.lookup.startswith("two:")
        assert await tokens.verify_session(issued.secret) == session


def test_an_evicting_server_is_refused(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreError, match=r"allkeys-lru.*set maxmemory-policy noeviction"):
        open_valkey_blocking(server.url, pepper=PEPPER)


def test_a_wrong_password_is_told_without_repeating_it(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey("--requirepass", "right-horse")
    for user in ("", "wrong-horse", "default:wrong-horse"):
        url = server.url.replace("//", f"//{user and (':' + user if ':' not in user else user)}{user and '@'}")
        with pytest.raises(StoreUnavailable, match="password") as refused:
            open_valkey_blocking(url, pepper=PEPPER)
        assert "horse" not in str(refused.value)
    store = open_valkey_blocking(server.url.replace("//", "//:right-horse@"), pepper=PEPPER)
    store.close_now()


def test_a_server_that_is_not_there_is_unavailable(valkey_server: ValkeyServer) -> None:
    with pytest.raises(StoreUnavailable, match="is it running"):
        open_valkey_blocking("valkey://127.0.0.1:1/0", pepper=PEPPER)


@pytest.mark.parametrize(
    "query",
    ["timeout=0", "timeout=x", "durability=sometimes", "replicas=1", "durability=replicated&replicas=0", "namespace={}",
     "namespace=", "no_such_option=1", "timeout=1&timeout=2"],
)  # fmt: skip
def test_options_that_can_never_be_right_are_refused(valkey_server: ValkeyServer, query: str) -> None:
    with pytest.raises(InvalidInput):
        open_valkey_blocking(f"{valkey_server.url}?{query}", pepper=PEPPER)


def test_stores_of_two_namespaces_know_nothing_of_each_other(valkey_server: ValkeyServer) -> None:
    one, other = (f"{valkey_server.url}?namespace=ns{uuid4().hex[:12]}" for _ in range(2))
    with SessionTokens.open(one, pepper=PEPPER) as ours, SessionTokens.open(other, pepper=PEPPER) as theirs:
        issued = ours.open_session("alice")

        assert theirs.verify_session(issued.secret) is None
        assert theirs.list_sessions(owner="alice").items == []
        assert ours.verify_session(issued.secret) is not None
    with SessionTokens.open(one, pepper=PEPPER) as again:
        assert again.verify_session(issued.secret) is not None


def test_an_option_of_another_name_is_told_the_right_one() -> None:
    with pytest.raises(InvalidInput, match=r"option prefix.* known: .*namespace"):
        open_valkey_blocking("valkey://127.0.0.1/0?prefix=a", pepper=PEPPER)


def test_a_text_that_is_no_url_is_refused() -> None:
    for url in ("valkey://[::1", "valkey://127.0.0.1:port/0", "valkey://127.0.0.1:70000/0"):
        with pytest.raises(InvalidInput):
            open_valkey_blocking(url, pepper=PEPPER)


def test_a_server_behind_a_unix_socket_is_reached(private_valkey: Callable[..., ValkeyServer], tmp_path: Path) -> None:
    private_valkey("--unixsocket", str(tmp_path / "s"))
    with SessionTokens.open(f"valkey+unix://{tmp_path / 's'}", pepper=PEPPER, sweep=False) as tokens:
        issued = tokens.open_session("alice")
        assert tokens.verify_session(issued.secret) == issued.session


def test_another_text_of_the_function_library_is_refused(private_valkey: Callable[..., ValkeyServer]) -> None:
    server = private_valkey()
    with client_of(server.url) as client:
        client.function_load("#!lua name=session_tokens_v1\nredis.register_function('f', function() return 1 end)")
    with pytest.raises(StoreError, match="another text"):
        open_valkey_blocking(server.url, pepper=PEPPER)


def test_a_forked_process_gets_connections_of_its_own(valkey_url: str) -> None:
    with SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER), Settings(max_sessions=None)) as tokens:
        owners = {tokens.open_session(f"owner {number}").secret: f"owner {number}" for number in range(4)}
        tokens.verify_session(next(iter(owners)))  # a connection lies idle now

        def all_right() -> bool:
            return all(
                session is not None and session.owner == owner
                for _ in range(200)
                for secret, owner in owners.items()
                for session in [tokens.verify_session(secret)]
            )

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads
            child = os.fork()
        if child == 0:
            code = 2
            try:
                code = 0 if all_right() else 1
            finally:
                os._exit(code)
        right = all_right()
        _, status = os.waitpid(child, 0)

        assert right
        assert os.waitstatus_to_exitcode(status) == 0


# --- what it keeps ---


def test_no_key_and_no_value_holds_a_secret_and_no_key_an_owner(valkey_url: str) -> None:
    owner = "{steer}:owner"
    with SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER)) as tokens:
        session = tokens.open_session(owner, idempotency_key="again")
        token = tokens.issue_token(session.id, "v", transferable=True)
        kept = keys_of(valkey_url)

        assert len(kept) >= 6
        for secret in (session.secret, token.secret):
            assert not any(secret.encode() in key + value for key, value in kept.items())
        prefix = valkey_url.partition("namespace=")[2].encode()
        assert all(key.startswith(b"{" + prefix + b":00}:") and b"steer" not in key for key in kept)


def test_keys_expire_long_after_their_deadline_and_never_without_one(valkey_url: str) -> None:
    settings = Settings(max_age=60, token_timeout=None)
    with SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER), settings) as tokens:
        session, lasting = tokens.open_session("alice"), tokens.open_session("bob", max_age=None)
        holder = tokens.open_session("carol")
        tokens.issue_token(holder.id, "v", transferable=True)
        prefix = "{" + valkey_url.partition("namespace=")[2] + ":00}:"
        with client_of(valkey_url) as client:
            day_ms = 86_400_000
            assert 7 * day_ms < client.pttl(f"{prefix}s:{session.id}") <= 7 * day_ms + 60_000
            assert client.pttl(f"{prefix}s:{lasting.id}") == -1
            # The token's disownment counts from the end of the session that holds it, so that record stays.
            assert client.pttl(f"{prefix}s:{holder.id}") == -1
            tokens.change_session(holder.id, label="again")
            assert client.pttl(f"{prefix}s:{holder.id}") == -1


def test_a_name_space_sees_nothing_of_another(valkey_url: str) -> None:
    with (
        SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER)) as tokens,
        SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER, space="tt")) as others,
    ):
        issued = tokens.open_session("alice")

        assert others.verify_session(issued.secret) is None
        assert others.list_sessions().items == []


def test_a_shared_setting_is_seen_by_every_process(valkey_url: str) -> None:
    with (
        SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER)) as writer,
        SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER), Settings(max_age=FROM_DB)) as reader,
    ):
        writer.set_general_session_timeout(77)

        assert reader.open_session("alice").session.max_age == 77


# --- what it refuses to believe ---


def tampered(url: str, kind: str, change: Callable[[bytes], bytes]) -> None:
    """Change every record of a kind behind the store's back."""
    prefix = "{" + url.partition("namespace=")[2] + ":00}:"
    with client_of(url) as client:
        for key in list(client.scan_iter(match=f"{prefix}{kind}:*")):
            value = client.get(key)
            assert isinstance(value, bytes)
            client.set(key, change(value))


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.replace(b"alice", b"mallo"),
        lambda value: value[: len(value) // 2],
        lambda value: value[:16],
        lambda value: b"",
        lambda value: value.replace(b"[", b"{", 1),
        lambda value: value[:16] + b"e:" + b"0" * 40 + value[value.index(b"\n") :],
    ],
    ids=["owner", "half", "stamp", "nothing", "object", "link"],
)  # fmt: skip
def test_a_changed_record_does_not_authenticate_and_is_told(
    valkey_url: str, change: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER)) as tokens:
        issued = tokens.open_session("alice")
        token = tokens.issue_token(issued.id, "v")
        tampered(valkey_url, "s", change)
        with caplog.at_level(logging.ERROR, "session_tokens.alerts"):
            assert tokens.verify_session(issued.secret) is None
            assert tokens.verify_token(token.secret) is None

        assert len(caplog.records) == 1, "each record is told once"
        assert issued.secret not in caplog.text
        with pytest.raises(CorruptRecord):
            tokens.get_session(issued.id)
        assert any(problem.kind == "session" for problem in tokens.store.check_now())  # type: ignore[attr-defined]  # of this store


async def test_one_changed_record_does_not_disturb_who_asks_for_another(valkey_url: str) -> None:
    async with AsyncSessionTokens(await open_valkey(valkey_url, pepper=PEPPER)) as tokens:
        alice, bob = await tokens.open_session("alice"), await tokens.open_session("bob")
        tampered(valkey_url, "s", lambda value: value.replace(b'"alice"', b'"mallory"'))
        answers = await asyncio.gather(
            tokens.get_session(alice.id), tokens.get_session(bob.id), tokens.verify_session(alice.secret),
            tokens.verify_session(bob.secret), return_exceptions=True,
        )  # fmt: skip

        assert isinstance(answers[0], CorruptRecord)
        assert list(answers[1:]) == [bob.session, None, bob.session]


def test_a_record_copied_over_another_and_a_look_up_key_led_elsewhere_are_refused(valkey_url: str) -> None:
    prefix = "{" + valkey_url.partition("namespace=")[2] + ":00}:"
    with SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER)) as tokens:
        victim, mallory = tokens.open_session("victim").session, tokens.open_session("mallory")
        assert tokens.verify_session(mallory.secret) is not None
        with client_of(valkey_url) as client:
            lookup_key = f"{prefix}S:{mallory.session.lookup}"
            pointer = client.get(lookup_key)
            assert isinstance(pointer, bytes)
            client.set(lookup_key, pointer[:16] + f"s:{victim.id}\n".encode())
            assert tokens.verify_session(mallory.secret) is None

            client.set(lookup_key, pointer)
            client.copy(f"{prefix}s:{victim.id}", f"{prefix}s:{mallory.id}", replace=True)
            assert tokens.verify_session(mallory.secret) is None
            with pytest.raises(CorruptRecord):
                tokens.get_session(mallory.id)


# --- check ---


async def test_check_tells_and_mends_indexes(valkey_url: str) -> None:
    prefix = "{" + valkey_url.partition("namespace=")[2] + ":00}:"
    store = await open_valkey(valkey_url, pepper=PEPPER)
    async with AsyncSessionTokens(store, Settings(max_sessions=None)) as tokens:
        issued = [await tokens.open_session("alice") for _ in range(5)]
        token = await tokens.issue_token(issued[0].id, "v", transferable=True)
        before = (await tokens.list_sessions("alice")).items
        assert await store.check() == []
        async with async_client_of(valkey_url) as client:
            bucket = await anext(client.scan_iter(match=f"{prefix}bo:*"))
            await client.zrem(bucket, issued[0].id)
            await client.zadd(bucket, {"ses_00ghost": 1})
            await client.delete(f"{prefix}lx:{issued[0].id}", f"{prefix}S:{issued[1].session.lookup}")
            await client.zadd(f"{prefix}ld", {issued[2].id: 1})

        problems = await store.check()
        assert len(problems) == 5
        assert [problem._replace(fixed=None) for problem in await store.check(fix=True)] == problems
        assert await store.check() == []
        assert (await tokens.list_sessions("alice")).items == before
        assert await tokens.verify_session(issued[1].secret) is not None
        await tokens.destroy_session(issued[0].id)
        assert [other.id for other in (await tokens.list_tokens(unassigned=True)).items] == [token.id]


async def test_what_the_server_threw_away_leaves_no_trace_after_a_sweep(valkey_url: str) -> None:
    prefix = "{" + valkey_url.partition("namespace=")[2] + ":00}:"
    store = await open_valkey(valkey_url, pepper=PEPPER)
    async with AsyncSessionTokens(store) as tokens:
        issued = await tokens.open_session("alice")
        now, _ = await store.read([])
        async with async_client_of(valkey_url) as client:
            await client.delete(f"{prefix}s:{issued.id}")

            assert await store.due(now + 10 * 3_600_000, 10) == []
            assert await client.zcard(f"{prefix}du") == 0
            assert (await tokens.list_sessions()).items == []
            assert (await store.read([Members("sessions_of", "alice")])).found[0].value == []
            assert (await tokens.open_session("alice")).session.owner == "alice"


# --- races ---


async def test_of_32_concurrent_transfers_exactly_one_wins(valkey_url: str) -> None:
    stores = [AsyncSessionTokens(await open_valkey(valkey_url, pepper=PEPPER)) for _ in range(4)]
    giver = await stores[0].open_session("giver")
    for _ in range(5):
        token = await stores[0].issue_token(giver.id, "v", transferable=True)
        ends = await asyncio.gather(
            *(
                stores[place % 4].transfer_token(token.id, giver="giver", receiver=f"receiver {place}", epoch=0)
                for place in range(32)
            ),
            return_exceptions=True,
        )  # fmt: skip
        won = [end for end in ends if not isinstance(end, BaseException)]

        assert len(won) == 1
        assert all(isinstance(end, Conflict | NotOwner) for end in ends if isinstance(end, BaseException))
        now = await stores[1].get_token(token.id)
        assert now is not None and (now.epoch, now.owner) == (1, won[0].token.owner)
    for tokens in stores:
        await tokens.close()


async def test_no_race_passes_the_cap_of_sessions(valkey_url: str) -> None:
    stores = [
        AsyncSessionTokens(await open_valkey(valkey_url, pepper=PEPPER), Settings(max_sessions=1)) for _ in range(4)
    ]
    opened = await asyncio.gather(*(stores[place % 4].open_session("alice") for place in range(24)))
    living = (await stores[0].list_sessions("alice")).items
    verified = [await stores[0].verify_session(issued.secret) for issued in opened]

    assert len(living) == 1
    assert [session for session in verified if session is not None] == living
    assert sum(store.store.conflicts for store in stores) > 0  # type: ignore[attr-defined]  # of optimistic stores
    for tokens in stores:
        await tokens.close()


def test_two_processes_see_each_other_at_once(valkey_url: str) -> None:
    script = textwrap.dedent("""
        import sys
        from session_tokens import SessionTokens
        from session_tokens.stores.valkey.store import open_valkey_blocking
        with SessionTokens(open_valkey_blocking(sys.argv[1], pepper=bytes(range(32)))) as tokens:
            for line in sys.stdin:
                command, word = line.split()
                if command == "verify":
                    session = tokens.verify_session(word)
                    print("nothing" if session is None else session.owner, flush=True)
                else:
                    print(tokens.destroy_session(word), flush=True)
    """)
    with (
        subprocess.Popen(
            [sys.executable, "-c", script, valkey_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other,
        SessionTokens(open_valkey_blocking(valkey_url, pepper=PEPPER)) as tokens,
    ):
        assert other.stdin is not None and other.stdout is not None

        def ask(command: str, word: str) -> str:
            other.stdin.write(f"{command} {word}\n")  # type: ignore[union-attr]  # it is a pipe
            other.stdin.flush()  # type: ignore[union-attr]  # it is a pipe
            return other.stdout.readline().strip()  # type: ignore[union-attr]  # it is a pipe

        issued = tokens.open_session("alice")
        assert ask("verify", issued.secret) == "alice"
        tokens.destroy_session(issued.id)
        assert ask("verify", issued.secret) == "nothing"

        issued = tokens.open_session("bob")
        assert tokens.verify_session(issued.secret) is not None
        assert ask("destroy", issued.id) == "True"
        assert tokens.verify_session(issued.secret) is None
        other.stdin.close()
