"""The session engine, by threads and by event loops: Django's contract, and the races that its own engines lose."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.exceptions import PermissionDenied
from django.test.utils import override_settings
from django.utils import timezone

from session_tokens import InvalidInput, Session
from session_tokens.crypto.minting import new_secret
from session_tokens.crypto.secret_form import SHORT_SECRET
from session_tokens.web.django import SessionStore
from session_tokens.web.django.opened import BlockingSessions

Do = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["threads", "asyncio"])
def do(request: pytest.FixtureRequest) -> Do:
    """Call a method by its name, on a thread or as its twin for asyncio."""

    async def call(session: SessionStore, name: str, *arguments: object, **options: object) -> Any:
        if request.param == "asyncio":
            return await getattr(session, "a" + name)(*arguments, **options)
        blocking = {"set": "__setitem__"}.get(name, name)
        return await asyncio.to_thread(getattr(session, blocking), *arguments, **options)

    return call


def record_of(session: SessionStore) -> Session:
    assert session.record is not None
    return session.record


async def saved(do: Do, **data: object) -> SessionStore:
    session = SessionStore()
    for field, value in data.items():
        await do(session, "set", field, value)
    await do(session, "save")
    return session


async def test_the_key_is_a_short_secret_and_the_session_a_visitors(tokens: BlockingSessions, do: Do) -> None:
    session = await saved(do, cart=[1])
    found = tokens.verify_session(session.session_key)

    assert len(session.session_key) == 40
    assert session.session_key.startswith("std_")
    assert found is not None
    assert found.id == record_of(session).id
    assert found.owner.startswith("anonymous:")
    assert dict(found.data) == {"cart": [1]}
    assert session.session_key not in repr(session)


async def test_what_no_store_knows_is_never_adopted(tokens: BlockingSessions, do: Do) -> None:
    brought = new_secret(SHORT_SECRET)
    session = SessionStore(brought)
    await do(session, "set", "a", 1)
    assert session.session_key is None

    await do(session, "save")
    assert session.session_key != brought
    assert tokens.verify_session(brought) is None
    with pytest.raises(CreateError):
        await do(SessionStore(brought), "save", must_create=True)
    assert tokens.verify_session(brought) is None


async def test_an_id_manages_and_never_authenticates(tokens: BlockingSessions, do: Do) -> None:
    session = await saved(do, a=1)
    shown = record_of(session).id
    by_id = SessionStore(shown)

    assert await do(by_id, "load") == {}
    assert by_id.session_key is None
    assert await do(SessionStore(), "exists", shown) is True
    assert await do(SessionStore(), "exists", session.session_key) is True
    await do(SessionStore(), "delete", shown)
    assert await do(SessionStore(), "exists", shown) is False
    assert await do(SessionStore(), "exists", session.session_key) is False
    await do(SessionStore(), "delete", "no key at all")


async def test_a_new_key_is_final_at_once_and_written_when_the_session_is(tokens: BlockingSessions, do: Do) -> None:
    first = await saved(do, cart=[1])
    old, id = first.session_key, record_of(first).id
    await do(first, "cycle_key")
    new = first.session_key

    assert new != old
    assert await do(first, "exists", old) is False
    assert await do(SessionStore(), "exists", new) is True, "packages ask in the signal of a log-in"
    assert await do(SessionStore(new), "load") == {"cart": [1]}
    assert tokens.verify_session(old) is not None, "nothing is written yet: the view may fail"
    await do(first, "save")
    assert first.session_key == new
    assert tokens.verify_session(old) is None
    renewed = tokens.verify_session(new)
    assert renewed is not None
    assert renewed.id == id
    assert dict(renewed.data) == {"cart": [1]}


async def test_a_request_that_fails_after_taking_a_new_key_loses_nothing(tokens: BlockingSessions, do: Do) -> None:
    before = await saved(do, cart=[1])
    failing = SessionStore(before.session_key)
    await do(failing, "cycle_key")
    taken = failing.session_key
    await do(failing, "set", "_auth_user_id", "7")
    del failing

    after = SessionStore(before.session_key)
    assert await do(after, "get", "cart") == [1]
    assert tokens.verify_session(taken) is None


async def test_logging_in_opens_for_the_user_under_the_key_that_was_handed_out(
    tokens: BlockingSessions, do: Do
) -> None:
    visitor = await saved(do, cart=[1])
    old, old_id = visitor.session_key, record_of(visitor).id
    await do(visitor, "cycle_key")
    handed_out = visitor.session_key
    await do(visitor, "set", "_auth_user_id", "7")
    await do(visitor, "save")
    found = tokens.verify_session(handed_out)

    assert found is not None
    assert found.owner == "7"
    assert found.id != old_id
    assert dict(found.data) == {"cart": [1], "_auth_user_id": "7"}
    assert tokens.verify_session(old) is None
    assert tokens.get_session(old_id) is None
    assert [session.id for session in tokens.list_sessions("7").items] == [found.id]


async def test_a_user_that_is_set_without_a_new_key_gets_one_all_the_same(tokens: BlockingSessions, do: Do) -> None:
    visitor = await saved(do, cart=[1])
    old = visitor.session_key
    await do(visitor, "set", "_auth_user_id", "7")
    await do(visitor, "save")

    assert visitor.session_key != old
    assert tokens.verify_session(old) is None


async def test_logging_in_again_keeps_the_key_and_proves_the_user_anew(tokens: BlockingSessions, do: Do) -> None:
    first = await saved(do, _auth_user_id="7")
    again = SessionStore(first.session_key)
    while tokens.store.clock.now() <= record_of(first).authenticated_at:
        pass
    await do(again, "set", "_auth_user_id", "7")
    await do(again, "save")
    found = tokens.get_session(record_of(first).id)

    assert again.session_key == first.session_key
    assert found is not None
    assert found.authenticated_at > record_of(first).authenticated_at


async def test_a_log_out_beside_a_slow_request_is_not_undone(tokens: BlockingSessions, do: Do) -> None:
    first = await saved(do, _auth_user_id="7", a=1)
    slow = SessionStore(first.session_key)
    await do(slow, "set", "a", 2)
    await do(SessionStore(first.session_key), "flush")

    with pytest.raises(UpdateError):
        await do(slow, "save")
    with pytest.raises(UpdateError):
        await do(first, "save")
    await do(slow, "cycle_key")
    with pytest.raises(UpdateError):
        await do(slow, "save")
    assert tokens.list_sessions("7").items == []


async def test_a_request_with_the_key_of_before_writes_nothing(tokens: BlockingSessions, do: Do) -> None:
    first = await saved(do, _auth_user_id="7", a=1)
    slow, quick = SessionStore(first.session_key), SessionStore(first.session_key)
    await do(slow, "set", "a", 2)
    await do(quick, "cycle_key")
    await do(quick, "save")

    with pytest.raises(UpdateError):
        await do(slow, "save")
    assert await do(SessionStore(quick.session_key), "get", "a") == 1


async def test_two_requests_that_change_different_fields_both_survive(tokens: BlockingSessions, do: Do) -> None:
    first = await saved(do, a=1, b=1, c=1)
    one, other = SessionStore(first.session_key), SessionStore(first.session_key)
    await do(one, "set", "a", 2)
    await do(other, "set", "theme", "dark")
    await do(other, "pop", "c")
    await do(one, "save")
    await do(other, "save")

    assert await do(SessionStore(first.session_key), "load") == {"a": 2, "b": 1, "theme": "dark"}


async def test_a_request_that_saves_twice_leaves_what_another_wrote_in_between(
    tokens: BlockingSessions, do: Do
) -> None:
    """A view saves, and the response saves again: what it never had is not taken out, nor what it read written back."""
    key = (await saved(do, kept="here", counted=1)).session_key
    mine, other = SessionStore(key), SessionStore(key)
    for session in (mine, other):
        assert await do(session, "get", "counted") == 1
    await do(other, "set", "theirs", "new")
    await do(other, "set", "counted", 2)
    await do(other, "save")

    await do(mine, "save")  # nothing was changed here
    await do(mine, "set", "mine", 1)
    await do(mine, "save")
    await do(mine, "set", "mine", 2)
    await do(mine, "save")

    found = tokens.verify_session(key)
    assert found is not None
    assert dict(found.data) == {"kept": "here", "counted": 2, "theirs": "new", "mine": 2}


async def test_what_changes_within_a_field_is_noticed(tokens: BlockingSessions, do: Do) -> None:
    first = await saved(do, cart={"items": [1]}, nothing=None)
    session = SessionStore(first.session_key)
    cart = await do(session, "get", "cart")
    assert session.modified is False
    cart["items"].append(2)

    assert session.modified is True
    await do(session, "save")
    session.modified = False
    assert session.modified is False
    assert await do(SessionStore(first.session_key), "load") == {"cart": {"items": [1, 2]}, "nothing": None}


async def test_the_test_cookie_is_gone_for_good(tokens: BlockingSessions, do: Do) -> None:
    first = SessionStore()
    await do(first, "set_test_cookie")
    await do(first, "save")
    session = SessionStore(first.session_key)
    await do(session, "delete_test_cookie")

    assert session.modified is True


async def test_seconds_restart_with_use_and_an_instant_does_not(tokens: BlockingSessions, do: Do) -> None:
    session = await saved(do, a=1)
    general = record_of(session)
    await do(session, "set_expiry", 300)
    await do(session, "save")
    seconds = record_of(session)
    await do(session, "set_expiry", timezone.now() + timedelta(hours=3))
    await do(session, "save")
    instant = record_of(session)
    await do(session, "set_expiry", None)
    await do(session, "save")

    assert general.max_age == 3600, "a visitor's"
    assert general.idle_timeout == 1209600, "SESSION_COOKIE_AGE"
    assert seconds.idle_timeout == 300
    assert instant.idle_timeout is None
    assert instant.max_age == pytest.approx(3 * 3600, abs=2)
    assert record_of(session).idle_timeout == 1209600


@pytest.mark.parametrize("expiry", [None, 0])
async def test_what_asks_for_no_end_of_its_own_ends_as_others_do(
    tokens: BlockingSessions, do: Do, expiry: int | None
) -> None:
    for user in ("7", None):
        as_others = record_of(session := await saved(do, **({} if user is None else {"_auth_user_id": user}), a=1))
        await do(session, "set_expiry", 300)
        await do(session, "save")
        assert record_of(session).idle_timeout == 300
        await do(session, "set_expiry", expiry)
        await do(session, "save")
        found = record_of(session)

        assert (found.idle_timeout, found.max_age) == (as_others.idle_timeout, as_others.max_age)


@pytest.mark.parametrize("expiry", [-10, timedelta(seconds=-10)])
async def test_an_end_in_the_past_is_one_at_once(tokens: BlockingSessions, do: Do, expiry: object) -> None:
    session = await saved(do, a=1)
    key = session.session_key
    await do(session, "set_expiry", expiry)
    await do(session, "save")
    fresh = SessionStore()
    await do(fresh, "set_expiry", expiry)
    await do(fresh, "save")

    assert tokens.verify_session(key) is None
    assert tokens.verify_session(fresh.session_key) is None


async def test_too_much_data_is_refused_by_name_and_nothing_is_lost(tokens: BlockingSessions, do: Do) -> None:
    session = await saved(do, a=1)
    await do(session, "set", "a", "x" * 20_000)

    with pytest.raises(InvalidInput, match="at most 16384"):
        await do(session, "save")
    assert await do(SessionStore(session.session_key), "get", "a") == 1


async def test_what_is_no_json_is_refused_by_the_name_of_its_field(tokens: BlockingSessions, do: Do) -> None:
    session = SessionStore()
    session["when"] = object()

    with pytest.raises(TypeError, match="'when'"):
        await do(session, "save")


async def test_a_disabled_user_is_denied_and_the_visitor_goes_on(tokens: BlockingSessions, do: Do) -> None:
    visitor = await saved(do, cart=[1])
    old = visitor.session_key
    tokens.disable_owner("7")
    await do(visitor, "cycle_key")
    await do(visitor, "set", "_auth_user_id", "7")

    with pytest.raises(PermissionDenied):
        await do(visitor, "save")
    assert await do(SessionStore(old), "get", "cart") == [1]


async def test_threads_and_loops_work_on_one_object(tokens: BlockingSessions) -> None:
    session = SessionStore()
    await session.aset("a", 1)
    await asyncio.to_thread(session.save)
    session["b"] = 2
    await session.acycle_key()
    await session.asave()

    assert await SessionStore(session.session_key).aload() == {"a": 1, "b": 2}
    assert SessionStore(session.session_key).load() == {"a": 1, "b": 2}


async def test_another_object_goes_on_with_a_key_that_is_not_saved(tokens: BlockingSessions, do: Do) -> None:
    """As allauth makes another object of the same class in the middle of a request."""
    first = await saved(do, a=1)
    await do(first, "cycle_key")
    first = first.__class__(first.session_key)
    await do(first, "set", "b", 2)
    await do(first, "save")

    assert await do(SessionStore(first.session_key), "load") == {"a": 1, "b": 2}


@pytest.mark.parametrize("store_url", ["memory"], indirect=True)
async def test_sessions_that_are_over_are_cleared_by_djangos_command(tokens: BlockingSessions, do: Do) -> None:
    session = await saved(do, a=1)
    tokens.change_session(record_of(session).id, max_age=0.001)
    await asyncio.sleep(0.01)

    assert tokens.get_session(record_of(session).id) is None
    await do(session, "clear_expired")
    assert tokens.sweep() == 0


def test_without_a_store_the_settings_are_told_what_to_name(tokens: BlockingSessions) -> None:
    from django.core.exceptions import ImproperlyConfigured

    with (
        override_settings(SESSION_TOKENS_STORE=None),
        pytest.raises(ImproperlyConfigured, match="SESSION_TOKENS_STORE ="),
    ):
        SessionStore("std_" + "0" * 36).exists(new_secret(SHORT_SECRET))
    with (
        override_settings(SESSION_TOKENS={"idle_timeuot": 3}),
        pytest.raises(ImproperlyConfigured, match="idle_timeuot, which means nothing"),
    ):
        SessionStore().exists(new_secret(SHORT_SECRET))


async def test_a_new_key_and_what_was_changed_are_one_command(tokens: BlockingSessions, do: Do) -> None:
    session = await saved(do, _auth_user_id="7", _auth_user_hash="old", cart=[1])
    before = record_of(session).version
    await do(session, "cycle_key")  # as a change of the password does
    await do(session, "set", "_auth_user_hash", "new")
    await do(session, "pop", "cart")
    await do(session, "save")

    found = tokens.verify_session(str(session.session_key))
    assert found is not None
    assert (found.version, dict(found.data)) == (before + 1, {"_auth_user_id": "7", "_auth_user_hash": "new"})


async def test_a_new_key_whose_session_cannot_be_written_is_none(tokens: BlockingSessions, do: Do) -> None:
    session = await saved(do, _auth_user_id="7", a=1)
    old = session.session_key
    await do(session, "cycle_key")
    await do(session, "set", "a", "x" * 20_000)
    await do(session, "set_expiry", 60)

    with pytest.raises(InvalidInput, match="at most 16384"):
        await do(session, "save")
    assert await do(SessionStore(old), "load") == {"_auth_user_id": "7", "a": 1}


@pytest.mark.parametrize("has_cycled", [False, True])
async def test_a_log_out_ends_the_session_though_another_request_has_taken_a_new_key(
    tokens: BlockingSessions, do: Do, has_cycled: bool
) -> None:
    slow = await saved(do, _auth_user_id="7")
    quick = SessionStore(slow.session_key)
    if has_cycled:
        await do(slow, "cycle_key")
    await do(quick, "cycle_key")
    await do(quick, "save")
    await do(slow, "flush")

    assert tokens.list_sessions("7").items == []
    assert await do(SessionStore(quick.session_key), "load") == {}
