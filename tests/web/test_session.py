"""What becomes of a browser's session with a response: every row of the table, over a real store."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_tokens import AsyncSessionTokens, InvalidInput, ReauthenticationRequired, SessionTokens, StoreUnavailable
from session_tokens.rules.reserved import CONSOLE_CLIENT
from session_tokens.settings import CONSOLE_OWNERS
from session_tokens.testing import ManualClock
from session_tokens.web.session import CookieChange, WebSession, drive, drive_async, loading

KEEP, SET, CLEAR = CookieChange.KEEP, CookieChange.SET, CookieChange.CLEAR


@pytest.fixture
def st(clock: ManualClock) -> Iterator[SessionTokens]:
    with SessionTokens.open("memory://", clock=clock, sweep=False) as tokens:
        yield tokens


def loaded(st: SessionTokens, secret: str | None = None) -> WebSession:
    return drive(st, loading(WebSession, secret))


def settled(st: SessionTokens, session: WebSession, status: int = 200) -> CookieChange:
    return drive(st, session.settling(status))


def visitor(st: SessionTokens, **fields: Any) -> str:
    session = loaded(st)
    session.update(fields)
    assert settled(st, session) is SET
    assert session.secret is not None
    return session.secret


def user(st: SessionTokens, owner: str = "ann", secret: str | None = None, **fields: Any) -> str:
    session = loaded(st, secret)
    session.login(owner)
    session.update(fields)
    assert settled(st, session) is SET
    assert session.secret is not None
    return session.secret


def test_without_data_there_is_no_record(st: SessionTokens) -> None:
    session = loaded(st)
    assert (session.get("x"), "x" in session, len(session), session.owner) == (None, False, 0, None)

    assert settled(st, session) is KEEP
    assert [] == st.list_sessions(anonymous=True).items


def test_the_first_field_of_a_visitor_makes_one(st: SessionTokens) -> None:
    secret = visitor(st, cart=["book"], none=None)
    session = loaded(st, secret)

    assert {"cart": ["book"], "none": None} == session
    assert session.owner is None
    assert settled(st, session) is KEEP


def test_reading_writes_nothing(st: SessionTokens) -> None:
    secret = visitor(st, cart=[1])
    told: list[object] = []
    st.subscribe(told.append)
    session = loaded(st, secret)
    dict(session)

    assert settled(st, session) is KEEP
    assert [] == told


def test_only_fields_that_changed_are_written(st: SessionTokens) -> None:
    secret = visitor(st, a=1, b=1, gone=1)
    one, two = loaded(st, secret), loaded(st, secret)
    one["a"] = 2
    del one["gone"]
    two["b"] = 2

    assert [KEEP, KEEP] == [settled(st, one), settled(st, two)]
    assert {"a": 2, "b": 2} == loaded(st, secret)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1, True), (0, False), (1, 1.0), (0.0, -0.0), (None, False), (None, "null"), ([1], "[1]"), ("[1]", [1]),
        ('"a"', "a"), ({}, []), ("", None),
    ],
)  # fmt: skip
def test_what_is_written_is_another_value_of_another_type_too(st: SessionTokens, before: Any, after: Any) -> None:
    secret = visitor(st, field=before)
    session = loaded(st, secret)
    session["field"] = before
    assert not session.modified
    session["field"] = after
    assert session.modified
    assert settled(st, session) is KEEP
    found = loaded(st, secret)["field"]
    assert (type(found), repr(found)) == (type(after), repr(after))


def test_a_value_under_another_name_is_a_change(st: SessionTokens) -> None:
    secret = visitor(st, a=1, b=2)
    session = loaded(st, secret)
    session["c"] = session.pop("b")

    assert settled(st, session) is KEEP
    assert {"a": 1, "c": 2} == loaded(st, secret)


def test_a_message_beside_fields_that_stay_is_kept(st: SessionTokens) -> None:
    secret = visitor(st, a=1)
    session = loaded(st, secret)
    session.flash("saved")
    settled(st, session)

    assert [("message", "saved")] == loaded(st, secret).flashes()


def test_changes_deep_inside_are_noticed(st: SessionTokens) -> None:
    secret = visitor(st, cart={"items": []})
    session = loaded(st, secret)
    session["cart"]["items"].append("book")
    settled(st, session)

    assert {"items": ["book"]} == loaded(st, secret)["cart"]


def test_a_log_in_takes_the_fields_along_and_kills_the_old_cookie(st: SessionTokens) -> None:
    before = visitor(st, cart=[1])
    after = user(st, "ann", before, theme="dark")

    assert loaded(st, before).owner is None
    assert {} == loaded(st, before)
    assert ("ann", {"cart": [1], "theme": "dark"}) == (loaded(st, after).owner, loaded(st, after))
    assert ["ann"] == [session.owner for session in st.list_sessions(anonymous=True).items]


def test_another_user_does_not_see_the_fields_of_the_one_before(st: SessionTokens) -> None:
    ann = user(st, "ann", None, private=1)
    ben = user(st, "ben", ann, own=2)

    assert {"own": 2} == loaded(st, ben)
    assert [] == st.list_sessions("ann").items


def test_what_a_request_says_to_the_next_page_is_there_for_another_user_too(st: SessionTokens) -> None:
    secret = user(st, "ann")
    session = loaded(st, secret)
    session.flash("only for ann")
    settled(st, session)
    session = loaded(st, secret)
    session.flash("you are somebody else now")
    session.login("ben")
    settled(st, session)

    assert [("message", "you are somebody else now")] == loaded(st, session.secret).flashes()


def test_a_log_out_ends_the_session_even_with_an_error(st: SessionTokens) -> None:
    for status in (200, 500):
        secret = user(st)
        session = loaded(st, secret)
        session.logout()
        assert session.owner is None
        assert settled(st, session, status) is CLEAR
        assert st.verify_session(secret) is None


def test_what_is_put_in_after_a_log_out_is_a_visitors(st: SessionTokens) -> None:
    secret = user(st, "ann", None, private=1)
    session = loaded(st, secret)
    session.logout()
    session["language"] = "fr"

    assert settled(st, session) is SET
    assert session.secret not in (None, secret)
    assert ({"language": "fr"}, None) == (loaded(st, session.secret), loaded(st, session.secret).owner)
    assert [] == st.list_sessions("ann").items


def test_an_emptied_session_ends(st: SessionTokens) -> None:
    for secret in (visitor(st, a=1), user(st, "ann", None, a=1)):
        session = loaded(st, secret)
        session.clear()
        assert settled(st, session) is CLEAR
        assert st.verify_session(secret) is None


def test_the_last_field_of_a_visitor_ends_it_and_of_a_user_does_not(st: SessionTokens) -> None:
    for secret, change in ((visitor(st, a=1), CLEAR), (user(st, "ann", None, a=1), KEEP)):
        session = loaded(st, secret)
        del session["a"]
        assert settled(st, session) is change


def test_a_log_out_beside_a_slow_request_is_not_undone(st: SessionTokens) -> None:
    secret = user(st, "ann", None, a=1)
    slow = loaded(st, secret)
    slow["a"] = 2
    quick = loaded(st, secret)
    quick.logout()

    assert [CLEAR, CLEAR] == [settled(st, quick), settled(st, slow)]
    assert loaded(st, secret).owner is None
    assert [] == st.list_sessions("ann").items


def test_a_slow_request_beside_a_log_in_leaves_the_new_cookie_alone(st: SessionTokens) -> None:
    secret = visitor(st, a=1)
    slow = loaded(st, secret)
    slow["b"] = 2
    user(st, "ann", secret)

    assert settled(st, slow) is KEEP


def test_an_error_saves_nothing_and_loses_nothing(st: SessionTokens) -> None:
    secret = visitor(st, cart=[1])
    session = loaded(st, secret)
    session.login("ann")
    session["x"] = 1

    assert settled(st, session, 500) is KEEP
    assert ({"cart": [1]}, None) == (loaded(st, secret), loaded(st, secret).owner)
    assert [] == st.list_sessions("ann").items


def test_an_error_after_a_rotation_still_sets_its_cookie(st: SessionTokens) -> None:
    secret = visitor(st, cart=[1])
    session = loaded(st, secret)
    session.rotated(st.rotate_session(secret))
    session.login("ann")

    assert settled(st, session, 500) is SET
    assert {"cart": [1]} == loaded(st, session.secret)


def test_a_log_in_under_a_secret_that_was_handed_out(st: SessionTokens) -> None:
    session = loaded(st, visitor(st, cart=[1]))
    rotated = st.rotate_session(str(session.secret))
    session.rotated(rotated)
    session.login("ann", secret=rotated.secret)

    assert settled(st, session) is SET
    assert session.secret == rotated.secret
    assert "ann" == loaded(st, rotated.secret).owner


@pytest.mark.parametrize("cookie", ["", "junk", "sts_chosen", "eyJ1IjoxfQ.ZZ.sig"])
def test_an_unknown_cookie_is_never_adopted(st: SessionTokens, cookie: str) -> None:
    session = loaded(st, cookie)
    assert settled(st, session) is KEEP
    session["a"] = 1

    assert settled(st, session) is SET
    assert session.secret != cookie


def test_a_dead_cookie_is_not_adopted_and_not_cleared(st: SessionTokens) -> None:
    secret = visitor(st, a=1)
    st.destroy_session(secret)
    session = loaded(st, secret)
    assert settled(st, session) is KEEP  # another response may have set a new one under the same name
    session["a"] = 1

    assert settled(st, session) is SET
    assert session.secret != secret


def test_a_store_that_is_gone_is_an_error_and_no_empty_session(st: SessionTokens) -> None:
    secret = user(st)
    session = loaded(st, secret)
    session["a"] = 1
    st.close()

    with pytest.raises(StoreUnavailable):
        settled(st, session)
    with pytest.raises(StoreUnavailable):
        loaded(st, secret)


def test_remember_me_lasts_and_is_forgotten_with_the_next_log_in(st: SessionTokens) -> None:
    session = loaded(st)
    session.login("ann", remember=True)
    settled(st, session)

    assert session.remember
    again = loaded(st, session.secret)
    assert ({}, True) == (again, again.remember)
    assert again.record is not None
    assert 30 * 86_400 == again.record.max_age
    again.login("ann")
    settled(st, again)
    assert not loaded(st, again.secret).remember


def test_messages_are_shown_once(st: SessionTokens) -> None:
    session = loaded(st)
    session.flash("saved")
    session.flash({"id": 1}, "error")
    settled(st, session)
    session = loaded(st, session.secret)

    assert {} == session
    assert [("message", "saved"), ("error", {"id": 1})] == session.flashes()
    assert [] == session.flashes()
    settled(st, session)
    assert [] == st.list_sessions(anonymous=True).items


def test_how_recent_a_log_in_is(st: SessionTokens, clock: ManualClock) -> None:
    session = loaded(st, user(st))
    session.require_recent(10)
    clock.advance(11)
    with pytest.raises(ReauthenticationRequired):
        session.require_recent(10)
    with pytest.raises(ReauthenticationRequired):
        loaded(st).require_recent(10)


def test_what_is_no_json_is_refused_where_it_is_put_in(st: SessionTokens) -> None:
    session = loaded(st)
    with pytest.raises(TypeError, match="'when'"):
        session["when"] = object()
    with pytest.raises(TypeError):
        session[1] = 1  # type: ignore[index]
    with pytest.raises(InvalidInput):
        session["_st_remember"] = True

    assert settled(st, session) is KEEP


def test_names_that_are_numbers_become_text_as_in_any_json(st: SessionTokens) -> None:
    session = loaded(st)
    session["cart"] = {7: {1: "pen"}, True: None}
    assert settled(st, session) is SET
    secret = session.secret
    assert secret is not None

    session = loaded(st, secret)
    assert session["cart"] == {"7": {"1": "pen"}, "true": None}
    session["cart"][8] = 2
    session.merge({"cart": {7: {1: "ink", 2: "cap"}}})
    assert settled(st, session) is KEEP

    assert loaded(st, secret)["cart"] == {"7": {"1": "ink", "2": "cap"}, "true": None, "8": 2}


@pytest.mark.parametrize("value", [2**63, "\ud800", ["\udfff"], [[-(2**64)]], json.loads("[" * 32 + "]" * 32)])
def test_what_no_store_keeps_is_refused_where_it_is_put_in(st: SessionTokens, value: object) -> None:
    session = loaded(st)
    with pytest.raises(InvalidInput, match="'answer'"):
        session["answer"] = value
    with pytest.raises(InvalidInput):
        session["\ud800"] = 1

    assert settled(st, session) is KEEP


def test_all_that_looks_at_it_is_noticed(st: SessionTokens) -> None:
    secret = visitor(st, a=1, b=2)

    looks: list[Callable[[WebSession], Any]] = [
        lambda it: it | {"c": 3}, lambda it: {} | it, lambda it: list(reversed(it)), lambda it: it != {},
        lambda it: it.id,
    ]  # fmt: skip
    for look in looks:
        session = loaded(st, secret)
        assert not session.accessed
        assert look(session)
        assert session.accessed


def test_it_is_a_dictionary_that_shows_no_secret(st: SessionTokens) -> None:
    secret = visitor(st, a={"b": [1]})
    session = loaded(st, secret)

    assert '{"a": {"b": [1]}}' == json.dumps(session)
    assert secret not in repr(session) + str(session) + repr(copy.copy(session))
    assert session.accessed
    session |= {"c": 1}
    assert (1, {"c": 1}) == (session.setdefault("c", 2), {"c": session.pop("c")})


def test_the_same_for_asyncio() -> None:
    async def run() -> None:
        async with await AsyncSessionTokens.open("memory://", sweep=False) as st:
            session = await drive_async(st, loading(WebSession, None))
            session["a"] = 1
            assert await drive_async(st, session.settling()) is SET
            slow, session = [await drive_async(st, loading(WebSession, session.secret)) for _ in range(2)]
            session.login("ann")
            assert await drive_async(st, session.settling()) is SET
            slow["a"] = 2
            assert await drive_async(st, slow.settling()) is KEEP
            assert {"a": 1} == await drive_async(st, loading(WebSession, session.secret))

    asyncio.run(run())


class ConsoleSessions(SessionTokens):
    """The library as the console has it."""

    _own_owners = CONSOLE_OWNERS


def test_a_session_of_the_console_logs_nobody_in(clock: ManualClock) -> None:
    with ConsoleSessions.open("memory://", clock=clock, sweep=False) as console:
        entered = console.open_session(f"{CONSOLE_OWNERS}key_1", client_id=CONSOLE_CLIENT)
        session = loaded(console, entered.secret)

        assert session.owner is None
        assert session.record is None
        assert console.verify_session(entered.secret) is not None


def test_the_last_field_of_a_visitor_takes_nothing_with_it_that_another_request_put_in(st: SessionTokens) -> None:
    secret = visitor(st, a=1)
    slow, quick = loaded(st, secret), loaded(st, secret)
    del slow["a"]
    quick["b"] = 2

    assert [KEEP, KEEP] == [settled(st, quick), settled(st, slow)]
    assert {"b": 2} == dict(loaded(st, secret))


def test_the_last_field_of_a_visitor_takes_no_cookie_of_a_log_in_away(st: SessionTokens) -> None:
    secret = visitor(st, a=1)
    slow = loaded(st, secret)
    del slow["a"]
    user(st, "ann", secret)

    assert settled(st, slow) is KEEP
    assert 1 == len(st.list_sessions("ann").items)


def test_a_session_that_is_remembered_stays_so_though_it_is_emptied_and_filled_again(st: SessionTokens) -> None:
    session = loaded(st, None)
    session.login("ann", remember=True)
    settled(st, session)
    secret = session.secret
    session = loaded(st, secret)
    session.clear()
    session["a"] = 1

    assert settled(st, session) is KEEP
    assert session.remember and loaded(st, secret).remember
    session = loaded(st, secret)
    session.clear()
    assert settled(st, session) is CLEAR
