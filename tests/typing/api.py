"""Every public call, as a type checker sees it: never run, read by mypy --strict and by pyright."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, assert_type

from session_tokens import (
    FROM_DB,
    AsyncSessionTokens,
    AsyncTokenTables,
    Event,
    Explanation,
    Forgotten,
    GeneralSetting,
    Issued,
    OwnerSummary,
    Page,
    Session,
    SessionTokens,
    Settings,
    Token,
    TokenKind,
    TokenTables,
)
from session_tokens.client.async_client import AsyncRemoteTokens
from session_tokens.client.blocking_client import RemoteTokens
from session_tokens.testing import ManualClock


def listen(event: Event) -> None:
    assert_type(event.kind, str)
    assert_type(event.at, int)
    assert_type(event.owner, str | None)


def create(prefix: str | None) -> str:
    return f"{prefix or ''}x"


def open_them() -> None:
    settings = Settings(max_age=FROM_DB, idle_timeout=timedelta(minutes=5), max_sessions=None, session_policy="refuse")
    st = SessionTokens.open("memory://", settings=settings, pepper=bytes(32), clock=ManualClock(), sweep=False)
    assert_type(st, SessionTokens)
    with SessionTokens.open(near_cache=timedelta(seconds=2)) as opened:
        assert_type(opened, SessionTokens)
    tables = TokenTables.open("memory://", create, token_strings="clear", pepper={"a": bytes(32)}, sweep=False)
    TokenTables.open("memory://", migrate_from=object())
    assert_type(tables, TokenTables)
    with TokenTables(None, create, token_db=None, db_timeout=None) as opened_tables:
        assert_type(opened_tables, TokenTables)


async def open_them_for_asyncio() -> None:
    st = await AsyncSessionTokens.open("memory://", settings=Settings(), clock=ManualClock(), sweep=False)
    assert_type(st, AsyncSessionTokens)
    async with st as opened:
        assert_type(opened, AsyncSessionTokens)
    assert_type(await AsyncTokenTables.open("memory://"), AsyncTokenTables)
    async with AsyncTokenTables() as opened_tables:
        assert_type(opened_tables, AsyncTokenTables)


def read_records(session: Session, token: Token) -> None:
    assert_type(session.owner, str)
    assert_type(session.created_at, int)
    assert_type(session.last_seen_at, int)
    assert_type(session.expires_at, int | None)
    assert_type(session.idle_timeout, float | None)
    assert_type(session.max_age, float | None)
    assert_type(session.detachable, bool)
    assert_type(session.detached_at, int | None)
    assert_type(session.label, str | None)
    assert_type(session.user_agent, str | None)
    assert_type(session.address, str | None)
    assert_type(session.version, int)
    assert_type(session.time_left(), float | None)
    assert_type(session.require_recent(300), None)
    assert_type(token.kind, TokenKind)
    assert_type(token.owner, str | None)
    assert_type(token.session_id, str | None)
    assert_type(token.epoch, int)
    assert_type(token.price, Decimal | None)
    assert_type(token.gift, bool)
    assert_type(token.previous_owner, str | None)


def pass_on(st: SessionTokens, issued: Issued, token: Issued) -> None:
    assert_type(st.offer_token(token.id, to="bob", until=60, idempotency_key="x"), Token)
    assert_type(st.accept_offer(token.id, receiver="bob", price="1.50", currency="EUR", settlement="p"), Issued)
    assert_type(st.lend_token(token.id, borrower="bob", until=60, idempotency_key="x"), Issued)
    assert_type(st.recall_token(token.id, borrower="bob"), Token)
    assert_type(st.consume_token(token.secret, amount=2), Token)
    assert_type(st.release_token(token.id, owner="ann"), Token)
    assert_type(st.claim_next_token(session_key=issued.id, tag="job"), Issued | None)
    assert_type(st.hand_over("ann", receiver="bob", limit=10), int)
    assert_type(st.issue_token(None, uses=3, tag="job", transferable=True), Issued)


def call_all(st: SessionTokens) -> None:
    issued = st.open_session(
        "ann", idle_timeout=60, max_age=timedelta(hours=1), detached_timeout=None, detachable=True,
        data={"a": [1, None]}, label="phone", user_agent="Browser/1", address="192.0.2.1", client_id=None,
        idempotency_key="once",
    )  # fmt: skip
    assert_type(issued, Issued)
    assert_type(issued.secret, str)
    assert_type(issued.id, str)
    assert_type(issued.session, Session)
    assert_type(st.verify_session(issued.secret, touch=False), Session | None)
    assert_type(st.log_in(None, data={"cart": [1]}, idempotency_key="k"), Issued)
    assert_type(st.log_in("ann", former=issued.id, secret=issued.secret, removed=["a"], remember=True), Issued)
    assert_type(st.log_in("ann", former=issued.id, acr="urn:x", amr=["pwd"]), Issued)
    assert_type(st.open_session("ann", acr="urn:x", amr=["pwd"]), Issued)
    assert_type(st.move_in("cookie", "ann", data={"a": 1}, time_left=60, kept=timedelta(days=1)), Issued | None)
    assert_type(st.finish_moving_in(), bool)
    assert_type(SessionTokens.connect("https://x.example", key=issued.secret, timeout=1, retry_for=2), RemoteTokens)
    assert_type(st.rotate_session(issued.id, authenticated=True, acr="urn:x", amr=("pwd",)), Issued)
    assert_type(st.detach_session(issued.id, idempotency_key="x"), Session)
    assert_type(st.attach_session(issued.id, idempotency_key="x"), Issued)
    assert_type(st.change_session(issued.id, idle_timeout=None, max_age=1.5, detachable=False, label=None), Session)
    assert_type(st.change_session(issued.id, detached_timeout=5, version=1, idempotency_key="x"), Session)
    assert_type(st.update_session_data(issued.id, {"a": None}, removed=["b"], version=1, idempotency_key="x"), Session)
    assert_type(st.destroy_session(issued.id, reason="theft", version=1, idempotency_key="x"), bool)
    assert_type(st.destroy_sessions("ann", except_session=None, reason="revoked", idempotency_key="x"), int)
    assert_type(st.disable_owner("ann", idempotency_key="x"), bool)
    assert_type(st.enable_owner("ann", idempotency_key="x"), bool)
    assert_type(st.get_session(issued.id), Session | None)
    page = st.list_sessions("ann", detached=None, newest=True, after=None, limit=10)
    assert_type(page, Page[Session])
    assert_type(page.items, list[Session])
    assert_type(page.after, str | None)
    token = st.issue_token(
        None, {"may": ["read"]}, transferable=False, timeout=None, client_id="key_1", idempotency_key="x"
    )  # fmt: skip
    assert_type(st.issue_token(issued.id, disownment_timeout=60, transferable=True), Issued)
    assert_type(st.issue_token(None, tag="a seat", scope="read", audience=["a", "b"], for_client="app"), Issued)
    assert_type(token.token, Token)
    assert_type(token.record, Session | Token)
    assert_type(st.verify_token(token.secret), Token | None)
    assert_type(st.verify_token_until(token.secret), tuple[Token, int | None] | None)
    assert_type(st.general_timeouts(), tuple[int | None, int | None])
    assert_type(st.transfer_token(token.id, giver=None, receiver="bob", epoch=0, idempotency_key="x"), Issued)
    assert_type(st.claim_token(token.id, session_key=issued.secret, idempotency_key="x"), Issued)
    assert_type(st.reissue_token(token.id, owner=None, idempotency_key="x"), Issued)
    assert_type(st.offer_token(token.id, price="1.50", currency="EUR", gift=True, version=1), Token)
    assert_type(st.withdraw_token(token.id, version=1, idempotency_key="x"), Token)
    assert_type(st.change_token(token.id, timeout=1, disownment_timeout=None, value=[1], version=1), Token)
    assert_type(st.destroy_token(token.id, version=1, idempotency_key="x"), bool)
    assert_type(st.get_token(token.id), Token | None)
    tokens = st.list_tokens(owner="ann", session=None, transferable=True, sellable=None, unassigned=False, newest=True)
    assert_type(tokens, Page[Token])
    assert_type(st.sweep(limit=10), int)
    assert_type(st.subscribe(listen), Callable[[], None])
    assert_type(st.events(after=None, owner="ann", limit=5), Page[Event])
    with st.follow_events(after=None, name="mailer", owner=None) as follower:
        for event in follower:
            assert_type(event, Event)
    assert_type(st.forget_follower("mailer"), None)
    assert_type(st.last_event_id(), str)
    assert_type(st.events_are_late(), bool)
    assert_type(st.record_events(), None)
    assert_type(st.close(), None)


async def pass_on_for_asyncio(st: AsyncSessionTokens, issued: Issued, token: Issued) -> None:
    assert_type(await st.offer_token(token.id, to="bob", until=60, idempotency_key="x"), Token)
    assert_type(
        await st.accept_offer(token.id, receiver="bob", price="1.50", currency="EUR", settlement="paid"), Issued
    )
    assert_type(await st.lend_token(token.id, borrower="bob", until=60, idempotency_key="x"), Issued)
    assert_type(await st.recall_token(token.id, borrower="bob"), Token)
    assert_type(await st.consume_token(token.secret, amount=2), Token)
    assert_type(await st.release_token(token.id, owner="ann"), Token)
    assert_type(await st.claim_next_token(session_key=issued.id, tag="job"), Issued | None)
    assert_type(await st.hand_over("ann", receiver="bob", limit=10), int)
    assert_type(await st.issue_token(None, uses=3, tag="job", transferable=True), Issued)


async def call_all_for_asyncio(st: AsyncSessionTokens) -> None:
    issued = await st.open_session(
        "ann", idle_timeout=60, max_age=timedelta(hours=1), detached_timeout=None, detachable=True,
        data={"a": [1, None]}, label="phone", user_agent="Browser/1", address="192.0.2.1", client_id=None,
        idempotency_key="once",
    )  # fmt: skip
    assert_type(issued, Issued)
    assert_type(issued.secret, str)
    assert_type(issued.id, str)
    assert_type(issued.session, Session)
    assert_type(await st.verify_session(issued.secret, touch=False), Session | None)
    assert_type(await st.log_in(None, data={"cart": [1]}, max_age=60, label="phone"), Issued)
    assert_type(await st.log_in("ann", former=issued.id, acr="urn:x", amr=["pwd"]), Issued)
    assert_type(await st.move_in("cookie", None, presented=False, user_agent="x", address="::1"), Issued | None)
    assert_type(await st.finish_moving_in(), bool)
    assert_type(await AsyncSessionTokens.connect("https://x.example", key=issued.secret), AsyncRemoteTokens)
    assert_type(await st.rotate_session(issued.id, authenticated=True, acr="urn:x", amr=("pwd",)), Issued)
    assert_type(await st.detach_session(issued.id, idempotency_key="x"), Session)
    assert_type(await st.attach_session(issued.id, idempotency_key="x"), Issued)
    assert_type(
        await st.change_session(issued.id, idle_timeout=None, max_age=1.5, detachable=False, label=None), Session
    )
    assert_type(await st.change_session(issued.id, detached_timeout=5, version=1, idempotency_key="x"), Session)
    assert_type(
        await st.update_session_data(issued.id, {"a": None}, removed=["b"], version=1, idempotency_key="x"), Session
    )
    assert_type(await st.destroy_session(issued.id, reason="theft", version=1, idempotency_key="x"), bool)
    assert_type(await st.destroy_sessions("ann", except_session=None, reason="revoked", idempotency_key="x"), int)
    assert_type(await st.disable_owner("ann", idempotency_key="x"), bool)
    assert_type(await st.enable_owner("ann", idempotency_key="x"), bool)
    assert_type(await st.get_session(issued.id), Session | None)
    page = await st.list_sessions("ann", detached=None, after=None, limit=10)
    assert_type(page, Page[Session])
    assert_type(page.items, list[Session])
    assert_type(page.after, str | None)
    token = await st.issue_token(
        None, {"may": ["read"]}, transferable=False, timeout=None, client_id="key_1", idempotency_key="x"
    )  # fmt: skip
    assert_type(await st.issue_token(issued.id, disownment_timeout=60, transferable=True), Issued)
    assert_type(await st.issue_token(None, tag="a seat", scope="read", audience="a"), Issued)
    assert_type(await st.list_tokens(tag="a seat"), Page[Token])
    assert_type(token.token, Token)
    assert_type(token.record, Session | Token)
    assert_type(await st.verify_token(token.secret), Token | None)
    assert_type(await st.verify_token_until(token.secret), tuple[Token, int | None] | None)
    assert_type(await st.general_timeouts(), tuple[int | None, int | None])
    assert_type(await st.transfer_token(token.id, giver=None, receiver="bob", epoch=0, idempotency_key="x"), Issued)
    assert_type(await st.claim_token(token.id, session_key=issued.secret, idempotency_key="x"), Issued)
    assert_type(await st.reissue_token(token.id, owner=None, idempotency_key="x"), Issued)
    assert_type(await st.offer_token(token.id, price="1.50", currency="EUR", gift=True, version=1), Token)
    assert_type(await st.withdraw_token(token.id, version=1, idempotency_key="x"), Token)
    assert_type(await st.change_token(token.id, timeout=1, disownment_timeout=None, value=[1], version=1), Token)
    assert_type(await st.destroy_token(token.id, version=1, idempotency_key="x"), bool)
    assert_type(await st.get_token(token.id), Token | None)
    tokens = await st.list_tokens(
        owner="ann", session=None, transferable=True, sellable=None, unassigned=False, limit=5
    )
    assert_type(tokens, Page[Token])
    assert_type(await st.sweep(limit=10), int)
    assert_type(st.subscribe(listen), Callable[[], None])
    assert_type(await st.events(after=None, owner="ann", limit=5), Page[Event])
    async with st.follow_events(after=None, name="mailer", owner=None) as follower:
        async for event in follower:
            assert_type(event, Event)
    assert_type(await st.forget_follower("mailer"), None)
    assert_type(await st.last_event_id(), str)
    assert_type(await st.events_are_late(), bool)
    assert_type(await st.record_events(), None)
    assert_type(await st.close(), None)


def operate(st: SessionTokens) -> None:
    assert_type(st.list_owners(anonymous=True, newest=True, limit=5), Page[OwnerSummary])
    assert_type(st.list_disabled_owners(limit=5), Page[OwnerSummary])
    assert_type(st.rename_owner("ann", "anna"), int)
    assert_type(st.forget_owner("anna"), Forgotten)
    assert_type(st.set_general_session_timeout(60), None)
    assert_type(st.set_setting("max_sessions", 3), GeneralSetting)
    assert_type(st.unset_setting("max_sessions"), GeneralSetting)
    assert_type(st.list_settings(), list[GeneralSetting])
    assert_type(st.refresh_settings(), None)
    assert_type(st.data_bytes_max, int)
    assert_type(st.list_audit(owner="ann", since=0), Page[dict[str, Any]])
    assert_type(st.explain("ses_…"), Explanation)


async def operate_for_asyncio(st: AsyncSessionTokens) -> None:
    assert_type(await st.list_owners(anonymous=True, newest=True, limit=5), Page[OwnerSummary])
    assert_type(await st.list_disabled_owners(limit=5), Page[OwnerSummary])
    assert_type(await st.rename_owner("ann", "anna"), int)
    assert_type(await st.forget_owner("anna"), Forgotten)
    assert_type(await st.set_general_session_timeout(60), None)
    assert_type(await st.set_setting("max_sessions", 3), GeneralSetting)
    assert_type(await st.unset_setting("max_sessions"), GeneralSetting)
    assert_type(await st.list_settings(), list[GeneralSetting])
    assert_type(await st.refresh_settings(), None)
    assert_type(await st.list_audit(owner="ann", since=0), Page[dict[str, Any]])
    assert_type(await st.explain("ses_…"), Explanation)


def call_all_of_the_seeds_names(tables: TokenTables) -> None:
    assert_type(tables.set_token_creator(create), bool)
    assert_type(tables.create_token("p_"), str)
    assert_type(tables.add_session("s", "ann", "t", shared=True), str | None)
    assert_type(tables.active_session("s", "ann"), bool | None)
    assert_type(tables.destroy_session("s"), bool)
    assert_type(tables.allow_session_detach("s"), bool)
    assert_type(tables.detach_session("s"), bool)
    assert_type(tables.attach_session("s"), bool)
    assert_type(tables.reload_session_info("s", "ann", "hash"), bool)
    assert_type(tables.quick_insert_active_session("s", "hash"), bool)
    assert_type(tables.discard_quick_insert("s"), bool)
    assert_type(tables.add_token("t", {"a": 1}), bool)
    assert_type(tables.add_session_bounded_token("t", "v", "ann"), bool)
    assert_type(tables.add_transferable_token("t", None, "ann"), bool)
    assert_type(tables.transition_token_is_active("t"), str | None)
    assert_type(tables.from_token("t"), str)
    assert_type(tables.owner_from_session("x"), str)
    assert_type(tables.session_from_owner("x"), str)
    assert_type(tables.session_from_token("x"), str)
    assert_type(tables.tokens_from_session("x"), list[str])
    assert_type(tables.tokens_from_owner("x"), list[str])
    assert_type(tables.token_is_transferable("t"), bool)
    assert_type(tables.transfer_token("t", "ann", "bob"), bool)
    assert_type(tables.acquire_token("t", "s", "ann"), bool)
    assert_type(tables.destroy_token("t"), bool)
    assert_type(tables.reload_token_info("t"), bool)
    assert_type(tables.set_general_session_timeout(FROM_DB), bool)
    assert_type(tables.share_general_session_timeout(None), bool)
    assert_type(tables.set_session_timeout("s", 1000), bool)
    assert_type(tables.get_session_timeout("s"), int | float | None)
    assert_type(tables.get_session_time_left("s"), int | float | None)
    assert_type(tables.set_general_token_timeout(None), bool)
    assert_type(tables.set_token_timeout("t", None), bool)
    assert_type(tables.set_disownment_token_timeout("t", 5), bool)
    assert_type(tables.get_token_timeout("t"), int | float | None)
    assert_type(tables.get_token_time_left("t"), int | float | None)
    assert_type(tables.set_token_sellable("t", Decimal(5)), bool)
    assert_type(tables.unset_token_sellable("t"), bool)
    assert_type(tables.set_token_gift("t"), bool)
    assert_type(tables.unset_token_gift("t"), bool)
    assert_type(tables.list_tranferable_tokens("s"), list[str])
    assert_type(tables.list_transferable_tokens("s"), list[str])
    assert_type(tables.list_sellable_tokens(), list[str])
    assert_type(tables.map_sellable_tokens(), dict[str, Decimal | None])
    assert_type(tables.list_gifted_tokens(), list[str])
    assert_type(tables.list_unassigned_tokens(), list[str])
    assert_type(tables.list_detached_sessions(), list[str])
    assert_type(tables.decrement_timers(), bool)
    assert_type(tables.sweep(), int)
    assert_type(tables.shutdown(), bool)
    assert_type(tables.close(), None)


async def call_all_of_the_seeds_names_for_asyncio(tables: AsyncTokenTables) -> None:
    assert_type(await tables.set_token_creator(create), bool)
    assert_type(await tables.create_token("p_"), str)
    assert_type(await tables.add_session("s", "ann", "t", shared=True), str | None)
    assert_type(await tables.active_session("s", "ann"), bool | None)
    assert_type(await tables.destroy_session("s"), bool)
    assert_type(await tables.allow_session_detach("s"), bool)
    assert_type(await tables.detach_session("s"), bool)
    assert_type(await tables.attach_session("s"), bool)
    assert_type(await tables.reload_session_info("s", "ann", "hash"), bool)
    assert_type(await tables.quick_insert_active_session("s", "hash"), bool)
    assert_type(await tables.discard_quick_insert("s"), bool)
    assert_type(await tables.add_token("t", {"a": 1}), bool)
    assert_type(await tables.add_session_bounded_token("t", "v", "ann"), bool)
    assert_type(await tables.add_transferable_token("t", None, "ann"), bool)
    assert_type(await tables.transition_token_is_active("t"), str | None)
    assert_type(await tables.from_token("t"), str)
    assert_type(await tables.owner_from_session("x"), str)
    assert_type(await tables.session_from_owner("x"), str)
    assert_type(await tables.session_from_token("x"), str)
    assert_type(await tables.tokens_from_session("x"), list[str])
    assert_type(await tables.tokens_from_owner("x"), list[str])
    assert_type(await tables.token_is_transferable("t"), bool)
    assert_type(await tables.transfer_token("t", "ann", "bob"), bool)
    assert_type(await tables.acquire_token("t", "s", "ann"), bool)
    assert_type(await tables.destroy_token("t"), bool)
    assert_type(await tables.reload_token_info("t"), bool)
    assert_type(await tables.set_general_session_timeout(FROM_DB), bool)
    assert_type(await tables.share_general_session_timeout(None), bool)
    assert_type(await tables.set_session_timeout("s", 1000), bool)
    assert_type(await tables.get_session_timeout("s"), int | float | None)
    assert_type(await tables.get_session_time_left("s"), int | float | None)
    assert_type(await tables.set_general_token_timeout(None), bool)
    assert_type(await tables.set_token_timeout("t", None), bool)
    assert_type(await tables.set_disownment_token_timeout("t", 5), bool)
    assert_type(await tables.get_token_timeout("t"), int | float | None)
    assert_type(await tables.get_token_time_left("t"), int | float | None)
    assert_type(await tables.set_token_sellable("t", Decimal(5)), bool)
    assert_type(await tables.unset_token_sellable("t"), bool)
    assert_type(await tables.set_token_gift("t"), bool)
    assert_type(await tables.unset_token_gift("t"), bool)
    assert_type(await tables.list_tranferable_tokens("s"), list[str])
    assert_type(await tables.list_transferable_tokens("s"), list[str])
    assert_type(await tables.list_sellable_tokens(), list[str])
    assert_type(await tables.map_sellable_tokens(), dict[str, Decimal | None])
    assert_type(await tables.list_gifted_tokens(), list[str])
    assert_type(await tables.list_unassigned_tokens(), list[str])
    assert_type(await tables.list_detached_sessions(), list[str])
    assert_type(await tables.decrement_timers(), bool)
    assert_type(await tables.sweep(), int)
    assert_type(await tables.shutdown(), bool)
    assert_type(await tables.close(), None)


def call_a_service(st: RemoteTokens) -> None:
    assert_type(st.open_session("ann", idle_timeout=60, data={"a": 1}), Issued)
    assert_type(st.verify_session("sts_…", touch=False), Session | None)
    assert_type(st.list_sessions("ann"), Page[Session])
    assert_type(st.transfer_token("tok_…", giver=None, receiver="bob", idempotency_key="x"), Issued)
    assert_type(st.destroy_session("ses_…"), bool)


async def call_a_service_for_asyncio(st: AsyncRemoteTokens) -> None:
    async with st:
        assert_type(await st.issue_token(None, {"a": 1}, tag="x"), Issued)
        assert_type(await st.get_token("tok_…"), Token | None)
        assert_type(await st.destroy_sessions("ann", except_session=None), int)
        assert_type(await st.events(after=None), Page[Event])
