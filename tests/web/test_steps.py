"""Counters, merged objects and messages: two requests at once, and both count."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from session_tokens import AsyncSessionTokens, Conflict, SessionTokens, StoreBusy
from session_tokens.web.session import CookieChange, WebSession, drive, drive_async, loading

KEEP, CLEAR, SET = CookieChange.KEEP, CookieChange.CLEAR, CookieChange.SET


@pytest.fixture
def st() -> Iterator[SessionTokens]:
    with SessionTokens.open("memory://", sweep=False) as tokens:
        yield tokens


@pytest.fixture
def secret(st: SessionTokens) -> str:
    return st.log_in(None, data={"views": 1, "cart": {"a": {"n": 1}}, "name": "x"}).secret


def two(st: SessionTokens, secret: str) -> tuple[WebSession, WebSession]:
    return drive(st, loading(WebSession, secret)), drive(st, loading(WebSession, secret))


def settled(st: SessionTokens, *sessions: WebSession) -> list[CookieChange]:
    return [drive(st, session.settling()) for session in sessions]


def test_two_increments_both_count(st: SessionTokens, secret: str) -> None:
    one, other = two(st, secret)
    assert (2, 11, 5) == (one.increment("views"), other.increment("views", 10), other.increment("new", 5))
    one["name"] = other["name"] = "y"

    assert [KEEP, KEEP] == settled(st, one, other)
    session = drive(st, loading(WebSession, secret))
    assert (12, 5, "y") == (session["views"], session["new"], session["name"])


def test_two_merges_into_one_object_both_stay(st: SessionTokens, secret: str) -> None:
    one, other = two(st, secret)
    one.merge({"cart": {"a": {"m": 2}, "b": 1}})
    other.merge({"cart": {"a": {"k": 3}, "c": None}, "name": "y"})
    settled(st, one, other)

    assert {"a": {"n": 1, "m": 2, "k": 3}, "b": 1, "c": None} == drive(st, loading(WebSession, secret))["cart"]


def test_two_messages_are_both_shown(st: SessionTokens, secret: str) -> None:
    one, other = two(st, secret)
    one.flash("a")
    other.flash("b")
    settled(st, one, other)

    assert [("message", "a"), ("message", "b")] == drive(st, loading(WebSession, secret)).flashes()


def test_what_is_put_in_after_a_step_stands(st: SessionTokens, secret: str) -> None:
    one, other = two(st, secret)
    one.increment("views")
    other.increment("views")
    other["views"] = 100
    settled(st, one, other)

    assert 100 == drive(st, loading(WebSession, secret))["views"]


def test_a_step_from_what_another_request_replaced_stands_as_it_was_seen(st: SessionTokens, secret: str) -> None:
    one, other = two(st, secret)
    one["views"] = "many"
    other.increment("views")
    settled(st, one, other)

    assert 2 == drive(st, loading(WebSession, secret))["views"]


def test_a_step_beside_a_log_out_revives_nothing(st: SessionTokens, secret: str) -> None:
    one, other = two(st, secret)
    one.logout()
    other.increment("views")

    assert [CLEAR, CLEAR] == settled(st, one, other)
    assert [] == st.list_sessions(anonymous=True).items


def test_steps_go_along_with_a_log_in(st: SessionTokens, secret: str) -> None:
    one, _ = two(st, secret)
    one.increment("views")
    one.login("ann")
    settled(st, one)

    assert 2 == drive(st, loading(WebSession, one.secret))["views"]


def test_only_numbers_are_counted_and_objects_merged(st: SessionTokens, secret: str) -> None:
    one, _ = two(st, secret)
    with pytest.raises(TypeError, match="'name'"):
        one.increment("name")
    with pytest.raises(TypeError, match="'name'"):
        one.merge({"name": {"a": 1}})
    with pytest.raises(TypeError):
        one.increment("views", True)

    assert [KEEP] == settled(st, one)


async def test_many_tabs_at_once_lose_no_count() -> None:
    async with await AsyncSessionTokens.open("memory://", sweep=False) as st:
        secret = (await st.log_in(None, data={"views": 0})).secret

        async def visit() -> None:
            session = await drive_async(st, loading(WebSession, secret))
            await asyncio.sleep(0)
            session.increment("views")
            await drive_async(st, session.settling())

        await asyncio.gather(*(visit() for _ in range(20)))
        assert 20 == (await drive_async(st, loading(WebSession, secret)))["views"]


def test_a_message_beside_one_that_is_shown_is_kept(st: SessionTokens, secret: str) -> None:
    first = drive(st, loading(WebSession, secret))
    first.flash("a")
    settled(st, first)
    showing, saying = two(st, secret)
    assert [("message", "a")] == showing.flashes()
    saying.flash("b")
    saying.flash("a")
    settled(st, saying, showing)

    assert [("message", "b"), ("message", "a")] == drive(st, loading(WebSession, secret)).flashes()


def test_a_page_that_shows_a_message_and_says_another_takes_none_of_others(st: SessionTokens, secret: str) -> None:
    first = drive(st, loading(WebSession, secret))
    first.flash("a")
    settled(st, first)
    showing, saying = two(st, secret)
    showing.flashes()
    showing.flash("c")
    saying.flash("b")
    settled(st, saying, showing)

    assert [("message", "b"), ("message", "c")] == drive(st, loading(WebSession, secret)).flashes()


def test_the_last_message_of_a_visitor_is_kept_beside_the_one_that_is_shown(st: SessionTokens) -> None:
    secret = st.log_in(None, data={"_st_flash": [["message", "a"]]}).secret
    showing, saying = two(st, secret)
    showing.flashes()
    saying.flash("b")
    settled(st, saying)

    assert settled(st, showing) == [KEEP]
    assert [("message", "b")] == drive(st, loading(WebSession, secret)).flashes()


def test_steps_of_a_log_in_count_with_those_of_another_request(st: SessionTokens, secret: str) -> None:
    one, other = two(st, secret)
    one.increment("views", 10)
    one.merge({"cart": {"b": 1}})
    one.flash("welcome")
    one["name"] = "ann"
    one.login("ann")
    other.increment("views")
    other.merge({"cart": {"c": 2}})
    other.flash("saved")
    other["name"], other["theme"] = "y", "dark"

    assert [KEEP, SET] == settled(st, other, one)
    session = drive(st, loading(WebSession, one.secret))
    assert ("ann", 12, "ann", "dark") == (session.owner, session["views"], session["name"], session["theme"])
    assert {"a": {"n": 1}, "b": 1, "c": 2} == session["cart"]
    assert [("message", "saved"), ("message", "welcome")] == session.flashes()


def test_a_message_beside_a_log_in_that_shows_another_is_kept(st: SessionTokens) -> None:
    secret = st.log_in(None, data={"_st_flash": [["message", "a"]]}).secret
    one, other = two(st, secret)
    one.flashes()
    one.login("ann")
    other.flash("b")

    assert [KEEP, SET] == settled(st, other, one)
    assert [("message", "b")] == drive(st, loading(WebSession, one.secret)).flashes()


def test_steps_of_a_log_in_stand_where_the_session_before_is_over(st: SessionTokens, secret: str) -> None:
    one, other = two(st, secret)
    one.increment("views", 10)
    one.login("ann")
    other.increment("views")
    other.logout()

    assert [CLEAR, SET] == settled(st, other, one)
    assert 11 == drive(st, loading(WebSession, one.secret))["views"]


def test_of_another_user_nothing_is_counted_on(st: SessionTokens) -> None:
    secret = st.log_in("bob", data={"views": 7}).secret
    one, other = two(st, secret)
    one.login("ann")
    one.increment("views")
    other.increment("views")

    assert [KEEP, SET] == settled(st, other, one)
    assert 1 == drive(st, loading(WebSession, one.secret))["views"]


async def test_a_log_in_that_is_passed_all_the_time_is_told() -> None:
    """Another request changes the field between each look at it and the log-in."""
    async with await AsyncSessionTokens.open("memory://", sweep=False) as st:
        secret = (await st.log_in(None, data={"views": 1})).secret
        one = await drive_async(st, loading(WebSession, secret))
        one.increment("views")
        one.login("ann")

        async def settle(passed: int = 0) -> None:
            steps = one.settling()
            command = next(steps)
            while True:
                if command.name == "log_in":
                    passed += 1
                    await st.update_session_data(secret, {"views": passed})
                try:
                    answer = await command.do(st)
                except Conflict as error:
                    command = steps.throw(error)
                else:
                    command = steps.send(answer)

        with pytest.raises(StoreBusy):
            await settle()
        assert await st.verify_session(secret) is not None


def test_a_new_secret_hides_no_step_of_another_request(st: SessionTokens, secret: str) -> None:
    one, other = two(st, secret)
    other.increment("views")
    settled(st, other)
    one.rotated(st.rotate_session(str(one.id)))
    one.increment("views")

    assert [CookieChange.SET] == settled(st, one)
    assert 3 == drive(st, loading(WebSession, one.secret))["views"]


def test_a_new_secret_hides_nothing_that_another_request_put_in(st: SessionTokens) -> None:
    one, other = two(st, st.log_in(None, data={"a": 1}).secret)
    other["b"] = 2
    settled(st, other)
    one.rotated(st.rotate_session(str(one.id)))
    del one["a"]

    assert [CookieChange.SET] == settled(st, one)
    assert {"b": 2} == dict(drive(st, loading(WebSession, one.secret)))
