"""The client of a service in a process of its own: what is refused, what goes over the wire, and outages."""

from __future__ import annotations

import math
import random
import signal
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import httpx2
import pytest

from session_tokens import (
    AsyncSessionTokens,
    Conflict,
    InvalidInput,
    NotOwner,
    Refused,
    SessionEnded,
    SessionTokens,
    StoreUnavailable,
    UnknownKey,
    UnknownSession,
    UnknownToken,
)
from session_tokens.client.async_client import AsyncRemoteTokens
from session_tokens.client.calls import CALLS
from session_tokens.client.exchange import Sent, error_of
from session_tokens.crypto.minting import new_secret
from session_tokens.service.routes import OPERATIONS
from session_tokens.service_keys.keys import create_key
from tests.helpers.running_service import RunningService
from tests.helpers.servers.proxy import always, losing_one_reply, proxy_to, sometimes

pytestmark = pytest.mark.process
KEY = new_secret("stk_")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("connect")
    running = RunningService(f"sqlite:///{folder}/s.db", folder / "log")
    yield running
    running.stop()


@pytest.fixture
def st(service: RunningService) -> Iterator[Any]:
    with SessionTokens.connect(service.url, key=service.secret) as tokens:
        yield tokens


def test_a_life_over_http_is_as_it_is_here(st: Any) -> None:
    opened = st.open_session("ann", max_age=timedelta(minutes=10), detachable=True, data={"cart": [1]})
    ticket = st.issue_token(
        opened.secret, {"seat": 7}, transferable=True, tag="seats", scope="enter", audience="gate", for_client="app"
    )
    st.update_session_data(opened.id, {"theme": None}, removed=["cart"])
    session, token = st.verify_session(opened.secret), st.verify_token(ticket.secret)

    assert ({"theme": None}, 600, "ann") == (dict(session.data), session.max_age, session.owner)
    assert ({"seat": 7}, "ann", "seats") == (token.value, token.owner, token.tag)
    assert (("gate",), "app") == (token.audience, token.for_client)
    assert 590 < session.time_left() <= 600
    assert [opened.id] == [each.id for each in st.list_sessions("ann")]
    with pytest.raises(TypeError, match="read only"):
        session.data["theme"] = 1
    passed = st.transfer_token(ticket.secret, giver="ann", receiver="bob")
    assert st.verify_token(ticket.secret) is None
    assert ("bob", 1) == (passed.token.owner, passed.token.epoch)
    assert st.destroy_session(opened.secret) is True
    assert st.destroy_session(opened.id) is False


def test_a_rotation_with_grace_is_as_it_is_here(st: Any) -> None:
    opened = st.open_session("ann")
    first, second = (st.rotate_session(opened.secret, grace=60) for _ in range(2))
    seen = st.verify_session(opened.secret)

    assert first.secret == second.secret != opened.secret
    assert seen.secret_until == seen.rotated_at + 60_000
    assert st.verify_session(first.secret).secret_until is None


def test_errors_are_the_librarys_own(st: Any) -> None:
    opened = st.open_session("eve")
    ticket = st.issue_token(opened.id, transferable=True)
    with pytest.raises(NotOwner):
        st.transfer_token(ticket.id, giver="ann", receiver="bob")
    with pytest.raises(Conflict):
        st.update_session_data(opened.id, {"a": 1}, version=7)
    with pytest.raises(Conflict):
        st.destroy_session(opened.id, version=7)
    st.destroy_session(opened.id)
    with pytest.raises(SessionEnded) as ended:
        st.rotate_session(opened.id)
    assert {"reason": "logout"} == ended.value.details
    with pytest.raises(UnknownSession):
        st.rotate_session(opened.secret)
    with pytest.raises(UnknownSession):
        st.rotate_session("nonsense")
    with pytest.raises(UnknownToken):
        st.reissue_token("nonsense", owner="eve")
    with pytest.raises(InvalidInput):
        st.open_session("ann", max_age=-1)
    with pytest.raises(InvalidInput, match="client_id"):
        st.open_session("ann", client_id="key_x")
    with pytest.raises(TypeError):
        st.rotate_session(5)
    with pytest.raises(TypeError):
        st.open_session("ann", 5)
    with pytest.raises(TypeError):
        st.verify_session(None)


def test_what_is_no_secret_and_no_id_is_not_asked_for(service: RunningService) -> None:
    with SessionTokens.connect("http://127.0.0.1:1", key=KEY, retry_for=0.001) as st:
        assert [None] * 4 == [
            st.verify_session("nonsense"), st.verify_token(new_secret("sts_")), st.get_session("x"), st.get_token("x"),
        ]  # fmt: skip


def test_no_secret_stands_in_an_address_a_repr_or_an_error(service: RunningService) -> None:
    asked: list[httpx2.Request] = []
    with SessionTokens.connect(service.url, key=service.secret) as st:
        st._http.event_hooks["request"].append(asked.append)
        opened = st.open_session("ann", detachable=True)
        token = st.issue_token(opened.secret, transferable=True)
        st.reissue_token(token.secret, owner="ann")
        rotated = st.rotate_session(opened.secret)
        st.change_session(rotated.secret, label="x")
        st.destroy_session(rotated.secret)
        with pytest.raises(UnknownSession) as error:
            st.detach_session(opened.secret)
        for mistaken in (
            lambda: st.list_tokens(session=rotated.secret),
            lambda: st.list_sessions(rotated.secret),
            lambda: st.disable_owner(rotated.secret),
        ):
            with pytest.raises(InvalidInput, match="looks like a secret"):
                mistaken()
        words = " ".join([repr(st), repr(st._http), str(error.value), *(str(request.url) for request in asked)])

    assert len(asked) == 7
    assert "sts_" not in words
    assert "stt_" not in words
    assert service.secret not in words


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("ftp://x.example", {}),
        ("x.example", {}),
        ("https://", {}),
        ("http://tokens.example", {}),
        ("https://user:pass@x.example", {}),
        ("https://x.example/?a=1", {}),
        ("https://x.example:port", {}),
        ("https://x.example", {"key": "stk_short"}),
        ("https://x.example", {"key": new_secret("sts_")}),
        ("https://x.example", {"timeout": 0}),
        ("https://x.example", {"timeout": None}),
        ("https://x.example", {"retry_for": -1}),
    ],
)
def test_what_can_never_be_right_is_refused_before_anything_is_sent(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as error:
        SessionTokens.connect(url, **{"key": KEY, **options})

    assert "st" + "s_" not in str(error.value)


def test_a_wrong_key_a_small_role_and_a_wrong_address_are_told(service: RunningService) -> None:
    with SessionTokens.connect(service.url, key=KEY) as st, pytest.raises(UnknownKey):
        st.open_session("ann")
    with service.http() as http:
        small = http.post("/v1/keys", json={"role": "verify"}).json()["secret"]
    with SessionTokens.connect(service.url, key=small) as st, pytest.raises(Refused, match="role"):
        st.open_session("ann")
    with (
        SessionTokens.connect(service.url + "/elsewhere", key=service.secret) as st,
        pytest.raises(InvalidInput, match="no session-tokens service"),
    ):
        st.open_session("ann")


def test_a_service_that_does_not_answer_is_unavailable_and_never_not_valid() -> None:
    with SessionTokens.connect("http://127.0.0.1:1", key=KEY, retry_for=0.2) as st:
        for ask in (lambda: st.verify_session(new_secret("sts_")), lambda: st.open_session("ann")):
            with pytest.raises(StoreUnavailable, match="try again"):
                ask()


def test_a_command_whose_reply_was_lost_is_done_once(service: RunningService) -> None:
    with (
        proxy_to(service.port) as proxy,
        SessionTokens.connect(f"http://127.0.0.1:{proxy.port}", key=service.secret) as st,
    ):
        proxy.reply_fate = losing_one_reply()
        opened = st.open_session("lost")
        proxy.reply_fate = losing_one_reply()
        rotated = st.rotate_session(opened.secret)
        proxy.reply_fate = losing_one_reply()
        ended = st.destroy_session(rotated.secret)
        lost = proxy.lost

    assert 3 == lost
    assert ended is True
    with SessionTokens.connect(service.url, key=service.secret) as st:
        assert [] == list(st.list_sessions("lost"))


def test_a_service_that_hangs_is_given_up_in_time(service: RunningService) -> None:
    with proxy_to(service.port) as proxy:
        proxy.request_fate = always("swallow")
        url = f"http://127.0.0.1:{proxy.port}"
        with (
            SessionTokens.connect(url, key=service.secret, timeout=0.2, retry_for=0.3) as st,
            pytest.raises(StoreUnavailable),
        ):
            st.open_session("ann")


def test_nothing_is_lost_and_nothing_twice_while_the_service_is_killed(tmp_path: Path) -> None:
    """A thousand commands of four threads, a reply in twenty lost, the service killed and started again."""
    url = f"sqlite:///{tmp_path / 's.db'}"
    running = RunningService(url, tmp_path / "log")
    done: list[str] = []
    with proxy_to(running.port) as proxy:
        proxy.reply_fate = sometimes(random.Random(5), 0.05, "cut", "truncate")
        address = f"http://127.0.0.1:{proxy.port}"

        def work(number: int) -> None:
            with SessionTokens.connect(address, key=running.secret, timeout=2, retry_for=60) as st:
                session = st.open_session(f"owner{number}", max_age=None)
                for step in range(125):
                    token = st.issue_token(session.id, step)
                    st.change_token(token.id, value=[step])
                    done.append(token.id)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for least in (100, 250, 400):
            while len(done) < least and any(thread.is_alive() for thread in threads):
                threads[0].join(0.01)
            secret = running.secret
            running.stop(signal.SIGKILL)
            running = RunningService(url, tmp_path / "log", secret)
            proxy.target_port = running.port
        for thread in threads:
            thread.join(120)
        lost = proxy.lost
    with SessionTokens.open(url, sweep=False) as st:
        for number in range(4):
            (session,) = st.list_sessions(f"owner{number}")
            tokens = list(st.list_tokens(session=session.id, limit=500))  # in order of their issue

            assert [str([step]) for step in range(125)] == [str(token.value) for token in tokens]
            assert {token.id for token in tokens} <= set(done)
    running.stop()

    assert 500 == len(done) == len(set(done))
    assert lost > 10


async def test_it_speaks_tls_and_trusts_whom_it_is_told_to(tmp_path: Path) -> None:
    from tests.helpers.servers.certificates import Authority

    authority = Authority(tmp_path, "ours")
    certificate = authority.issue("localhost")
    running = RunningService(
        f"sqlite:///{tmp_path / 's.db'}",
        tmp_path / "log",
        tls_certificate=str(certificate.certificate),
        tls_key=str(certificate.key),
    )
    try:
        url = f"https://localhost:{running.port}"
        context = ssl.create_default_context(cafile=str(authority.certificate))
        async with await AsyncSessionTokens.connect(url, key=running.secret, tls=context) as st:
            opened = await st.open_session("ann")
            assert (await st.verify_session(opened.secret)) == opened.session
        async with await AsyncSessionTokens.connect(url, key=running.secret, retry_for=0.1) as st:
            with pytest.raises(StoreUnavailable):
                await st.open_session("ann")
    finally:
        running.stop()


NOT_SENT: list[tuple[str, dict[str, Any], type[Exception]]] = [
    ("open_session", {"owner": "\ud800"}, InvalidInput),
    ("open_session", {"owner": "ann", "max_age": math.nan}, InvalidInput),
    ("open_session", {"owner": "ann", "label": Decimal(1)}, TypeError),
    ("open_session", {"owner": "ann", "data": {"a": math.inf}}, InvalidInput),
    ("open_session", {"owner": "ann", "data": {"a": {1: 2}}}, TypeError),
    ("open_session", {"owner": "ann", "idempotency_key": 5}, TypeError),
    ("open_session", {"owner": "ann", "idempotency_key": b"once"}, TypeError),
    ("open_session", {"owner": "ann", "idempotency_key": "\u00e9"}, InvalidInput),
    ("issue_token", {"session_key": None, "value": Decimal(1)}, TypeError),
    ("issue_token", {"session_key": None, "value": timedelta(1)}, TypeError),
    ("issue_token", {"session_key": None, "value": {1: 2}}, TypeError),
    ("issue_token", {"session_key": None, "value": "\ud800"}, InvalidInput),
    ("list_sessions", {"owner": "\ud800"}, InvalidInput),
    ("destroy_sessions", {"owner": True}, TypeError),
    ("disable_owner", {"owner": 5}, TypeError),
    ("list_tokens", {"tag": 5}, TypeError),
]


@pytest.mark.parametrize(("command", "given", "error"), NOT_SENT)
def test_what_the_library_refuses_is_refused_alike_before_it_is_sent(
    st: Any, command: str, given: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        getattr(st, command)(**given)


NO_TOKEN = "tok_" + "0" * 24
TOLD_ALIKE: list[tuple[str, dict[str, Any], type[Exception]]] = [
    ("open_session", {"owner": 42}, TypeError),
    ("open_session", {"owner": "ann", "max_age": datetime(2030, 1, 1, tzinfo=UTC)}, TypeError),
    ("open_session", {"owner": "ann", "idle_timeout": True}, TypeError),
    ("issue_token", {"session_key": None, "timeout": "15m"}, TypeError),
    ("issue_token", {"session_key": None, "uses": 1.0}, TypeError),
    ("offer_token", {"key": NO_TOKEN, "price": 1.5}, TypeError),
    ("accept_offer", {"key": NO_TOKEN, "receiver": 5}, TypeError),
    ("accept_offer", {"key": NO_TOKEN, "receiver": "ann", "price": "1,50"}, InvalidInput),
    ("consume_token", {"key": NO_TOKEN, "amount": 1.0}, TypeError),
    ("lend_token", {"key": NO_TOKEN, "borrower": "ann", "until": datetime(2030, 1, 1, tzinfo=UTC)}, TypeError),
    ("rotate_session", {"key": "ses_" + "0" * 24, "grace": "60"}, TypeError),
    ("open_session", {"owner": "ann", "label": Decimal(1)}, TypeError),
    ("issue_token", {"session_key": None, "scope": ["read"]}, TypeError),
]


@pytest.mark.parametrize(("command", "given", "error"), TOLD_ALIKE)
def test_a_wrong_argument_is_told_in_the_words_of_the_library(
    st: Any, command: str, given: dict[str, Any], error: type[Exception]
) -> None:
    with SessionTokens.open("memory://") as here, pytest.raises(error) as refused:
        getattr(here, command)(**given)
    with pytest.raises(error) as over_http:
        getattr(st, command)(**given)

    assert (type(refused.value), str(refused.value)) == (type(over_http.value), str(over_http.value))


def test_a_closed_client_says_that_it_is_closed_and_not_what_is_under_it(service: RunningService) -> None:
    with SessionTokens.connect(service.url, key=service.secret) as st:
        follower = st.follow_events()

    for asked in (st.list_sessions, lambda: st.verify_session(new_secret("sts_")), lambda: next(iter(follower))):
        with pytest.raises(StoreUnavailable, match="closed; connect again"):
            asked()


def test_why_the_library_refuses_a_value_is_told_alike(st: Any) -> None:
    for value, why in ((2**70, "an integer beyond 64 bits"), ("x" * 2_000_000, "bytes of JSON")):
        with pytest.raises(InvalidInput, match=why):
            st.issue_token(None, value)


def test_words_of_an_application_go_into_an_address_as_what_they_hold(st: Any) -> None:
    class Word(str, Enum):  # noqa: UP042  # shows itself by another text than it holds
        EVE = "eve"

    class Number(int, Enum):
        TWO = 2

    opened = st.open_session("eve")
    assert [each.id for each in st.list_sessions(Word.EVE, limit=Number.TWO)] == [opened.id]
    assert st.destroy_sessions(Word.EVE) == 1
    assert st.disable_owner(Word.EVE)
    assert st.enable_owner("eve")


def test_ending_what_can_be_nothing_changes_nothing(st: Any) -> None:
    assert st.destroy_session("nonsense") is False
    assert st.destroy_token("nonsense") is False
    with pytest.raises(UnknownSession):
        st.rotate_session("nonsense")


def test_a_name_that_is_not_offered_says_so(st: Any) -> None:
    with pytest.raises(InvalidInput, match="where the store is"):
        st.sweep()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        st.nonsense()
    assert not hasattr(st, "sweep")


def test_tokens_are_passed_on(st: Any) -> None:
    ann, agent = st.open_session("ann"), st.open_session("agent")
    ticket = st.issue_token(ann.id, "ticket", transferable=True, uses=3, tag="passed on")
    loan = st.lend_token(ticket.secret, borrower="agent")
    used = st.consume_token(loan.secret)
    st.recall_token(ticket.id)
    st.offer_token(ticket.id, price=5, currency="EUR", to="bob", until=60)
    with pytest.raises(Conflict):
        st.accept_offer(ticket.id, receiver="cyn", price=5, currency="EUR")
    bought = st.accept_offer(ticket.id, receiver="bob", price="5.00", currency="EUR", settlement="payment 7")
    released = st.release_token(ticket.id, owner="bob")
    next_one = st.claim_next_token(session_key=agent.secret, tag="passed on")

    assert (used.borrower, used.uses_left, bought.token.owner) == ("agent", 2, "bob")
    assert st.verify_token(loan.secret) is None
    assert released.is_unassigned
    assert next_one.token.id == ticket.id
    assert st.claim_next_token(session_key=agent.secret, tag="job") is None
    assert st.hand_over("agent", receiver="ann") == 1
    assert st.issue_token(None, transferable=True, tag="job").secret is None


def test_explanations_and_the_audit_log_are_there(st: Any) -> None:
    opened = st.open_session("why")
    st.destroy_session(opened.id, reason="revoked")
    explained = st.explain(opened.id)

    assert ("ended", "revoked", "why") == (explained.state, explained.reason, explained.owner)
    assert isinstance(list(st.list_audit(owner="why")), list)
    for wrong in (opened.secret, "../x", ""):
        with pytest.raises(InvalidInput):
            st.explain(wrong)


def test_every_command_of_the_client_is_served() -> None:
    served = {(operation.method, operation.path.replace("{id}", "{}")) for operation in OPERATIONS}
    asked = {
        (
            call.method,
            call.path.partition("?")[0].replace("{session}", "{}").replace("{token}", "{}").replace("{id}", "{}"),
        )
        for call in CALLS.values()
    }

    assert set() == asked - served
    assert {name for name in CALLS if not hasattr(AsyncRemoteTokens, name)} == set()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 429, 500, 502, 503])
def test_an_answer_that_is_not_the_services_is_an_error_all_the_same(status: int) -> None:
    for content in (b"", b"<html>", b"[]", b'{"code": "new_word"}'):
        error = error_of(Sent(status, {}, content))

        assert str(error)
        assert isinstance(error, StoreUnavailable) is (status >= 500)
        assert (isinstance(error, Refused) and error.code == "forbidden") is (status == 403)


def test_a_key_that_is_bound_works_by_secret_within_its_bounds(service: RunningService) -> None:
    with SessionTokens.open(service.store_url, sweep=False) as direct:
        import asyncio

        async def key() -> str:
            async with await AsyncSessionTokens.open(service.store_url, sweep=False) as tokens:
                return (await create_key(tokens.store, "issue", owner_prefix="app1:")).secret

        bound = asyncio.run(key())
        other = direct.open_session("app2:ann")
    with SessionTokens.connect(service.url, key=bound) as st:
        own = st.open_session("app1:ann")

        assert st.rotate_session(own.secret).session.owner == "app1:ann"
        assert st.verify_session(other.secret) is None
        for act in (lambda: st.rotate_session(other.secret), lambda: st.change_session(other.secret, label="x")):
            with pytest.raises(UnknownSession):
                act()
        with pytest.raises(UnknownSession):
            st.log_in("app1:ann", former=other.secret)
        with pytest.raises(Refused):
            st.log_in("app2:ann")


def test_settings_and_owners_are_the_stores_own(st: Any) -> None:
    st.open_session("renata")
    kept = st.set_setting("token_timeout", timedelta(hours=2))
    listed = {setting.name: setting for setting in st.list_settings()}
    gone = st.unset_setting("token_timeout")
    st.disable_owner("mallory the second")

    assert (7200, "stored", True) == (kept.value, kept.source, kept.is_stored)
    assert kept == listed["token_timeout"]
    assert (None, False) == (gone.value, gone.is_stored)
    assert 1 == st.rename_owner("renata", "renate")
    assert "renate" in {owner.owner for owner in st.list_owners(limit=500)}
    assert 1 == st.forget_owner("renate").sessions
    assert "mallory the second" in {owner.owner for owner in st.list_disabled_owners()}
    with pytest.raises(InvalidInput):
        st.set_setting("token_timeout", 0)
    with pytest.raises(InvalidInput):
        st.set_setting("a/b", 1)
