"""Bad input of kind D, values: too large, no JSON, and records that someone else has written into the store."""

from __future__ import annotations

import logging
import marshal
import pickle
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_tokens import CorruptRecord, InvalidInput, Issued, SessionTokens, Settings, UnknownPepper
from session_tokens.records import JSON
from session_tokens.testing import ManualClock
from tests.helpers.counting_store import CountingStore

HERE = Path(__file__).parent


@pytest.fixture
def refused_with(st: SessionTokens, store: CountingStore) -> Callable[..., bool]:
    """Whether a value is refused with that error wherever one is taken, and no store was asked."""
    opened = st.open_session("ann")
    token = st.issue_token(None, "kept")
    commands: list[Callable[[Any], object]] = [
        lambda value: st.issue_token(None, value), lambda value: st.change_token(token.id, value=value),
        lambda value: st.open_session("ann", data={"field": value}),
        lambda value: st.update_session_data(opened.id, {"field": value}),
    ]  # fmt: skip

    def is_refused(value: Any, error: type[Exception]) -> bool:
        before = store.calls
        for command in commands:
            with pytest.raises(error):
                command(value)
        return before == store.calls and token.record == st.get_token(token.id)

    return is_refused


@pytest.mark.parametrize("value", ["x" * 16_384, "é" * 8192, ["x" * 16_380]], ids=["ascii", "two bytes", "json"])
def test_row_60_exactly_16_kib(st: SessionTokens, value: Any) -> None:
    kept = st.verify_token(st.issue_token(None, value).secret)

    assert kept is not None
    assert value == kept.value


@pytest.mark.parametrize("value", ["x" * 16_385, "é" * 8193, ["x" * 16_381]], ids=["ascii", "two bytes", "json"])
def test_row_60_a_byte_more(refused_with: Callable[..., bool], value: Any) -> None:
    assert refused_with(value, InvalidInput)


def test_row_62_nested_very_deep(refused_with: Callable[..., bool]) -> None:
    for depth in (33, 200_000):
        value: Any = []
        for _ in range(depth):
            value = [value]
        assert refused_with(value, InvalidInput)
        while value:  # taken apart by hand: freeing it in one go would itself recurse
            value = value[0]


@pytest.mark.parametrize(
    "value", ["\ud800", ["\udfff"], {"\ud800": 1}, {"a": ["x\udc80"]}], ids=["text", "item", "key", "deep"]
)
def test_row_64_a_lone_surrogate(refused_with: Callable[..., bool], value: Any) -> None:
    assert refused_with(value, InvalidInput)


class Anything:
    """An object of the application's own."""


def in_itself() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        {1}, b"bytes", bytearray(b"x"), Anything(), Anything, (i for i in "ab"), 5j, {1: "key"}, {None: 1}, [object()],
        print,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_row_65_what_is_no_json(refused_with: Callable[..., bool], value: Any) -> None:
    assert refused_with(value, TypeError)


@pytest.mark.parametrize("value", [in_itself(), float("nan"), [float("inf")], 2**63, [-(2**64)]], ids=repr)
def test_row_65_what_json_cannot_say(refused_with: Callable[..., bool], value: Any) -> None:
    assert refused_with(value, InvalidInput)


@pytest.mark.parametrize(
    "value",
    [dict.fromkeys(map(str, range(10**6))), {"k" * 65_536: 1}, [None] * 10**6],
    ids=["10^6 keys", "64 KiB key", "10^6 items"],
)
def test_row_66_very_many_keys(refused_with: Callable[..., bool], value: Any) -> None:
    assert refused_with(value, InvalidInput)


def test_row_66_very_many_fields_of_data(st: SessionTokens, store: CountingStore) -> None:
    opened = st.open_session("ann")
    before = store.calls
    for data in (dict.fromkeys(map(str, range(10**6)), 1), {"k" * 65_536: 1}, {"a": "x" * 16_384}):
        with pytest.raises(InvalidInput):
            st.open_session("ann", data=data)
    with pytest.raises(InvalidInput):
        st.update_session_data(opened.id, dict.fromkeys(map(str, range(10**6)), 1))

    assert before == store.calls


@pytest.mark.parametrize("dumped", [pickle.dumps({"a": 1}), marshal.dumps([1]), b"!!python/object:os.system {}"])
def test_row_67_serialised_objects_are_refused_as_bytes_and_only_text_as_text(
    refused_with: Callable[..., bool], st: SessionTokens, dumped: bytes
) -> None:
    text = dumped.decode("latin-1")
    kept = st.verify_token(st.issue_token(None, text).secret)

    assert refused_with(dumped, TypeError)
    assert kept is not None
    assert text == kept.value


# What someone who can write to the database has put into it.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "written.db"


@pytest.fixture
def durable(path: Path, clock: ManualClock) -> Iterator[SessionTokens]:
    settings = Settings(max_sessions=None)
    with SessionTokens.open(f"sqlite:///{path}", settings=settings, pepper=bytes(32), clock=clock, sweep=False) as st:
        yield st


@pytest.fixture
def two(durable: SessionTokens) -> tuple[Issued, Issued]:
    """Two sessions, of ann and of eve."""
    return durable.open_session("ann", data={"a": 1}), durable.open_session("eve")


def write(path: Path, statement: str, *arguments: object) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute(statement, arguments).rowcount == 1
    connection.close()


def is_quarantined(st: SessionTokens, issued: Issued, caplog: pytest.LogCaptureFixture) -> bool:
    """Whether a session does not authenticate, is an error when managed, and is told as an alert without a secret."""
    caplog.clear()
    with caplog.at_level(logging.ERROR, logger="session_tokens.alerts"):
        inactive = st.verify_session(issued.secret) is None
    alerts = [record.getMessage() for record in caplog.records if record.name == "session_tokens.alerts"]
    with pytest.raises(CorruptRecord):
        st.get_session(issued.id)
    with pytest.raises(CorruptRecord):
        st.rotate_session(issued.id)
    return inactive and len(alerts) >= 1 and issued.secret not in "".join(alerts)


FORGED = [
    ("owner", "eve"), ("owner", 5), ("deadline", 2**62), ("deadline", "soon"), ("max_age_ms", None), ("version", 9),
    ("detachable", 7), ("data", '{"admin":true}'), ("data", '{"a":'), ("data_versions", "[]"), ("ended_at", 1),
    ("owner_epoch", 5), ("mac", ""), ("mac", "other"), ("mac", "?:00"), ("created_at", 0),
    ("data", pickle.dumps({"a": 1})),
]  # fmt: skip


@pytest.mark.parametrize(("column", "value"), FORGED, ids=lambda part: repr(part)[:20])
def test_row_68_a_record_that_is_not_as_it_was_written(
    durable: SessionTokens, two: tuple[Issued, Issued], path: Path, caplog: pytest.LogCaptureFixture,
    column: str, value: object,
) -> None:  # fmt: skip
    ann, eve = two
    write(path, f"UPDATE sessions SET {column} = ? WHERE id = ?", value, ann.id)

    assert is_quarantined(durable, ann, caplog)
    assert durable.verify_session(eve.secret) is not None


def test_row_68_a_record_under_a_pepper_that_nobody_gave(
    durable: SessionTokens, two: tuple[Issued, Issued], path: Path
) -> None:
    ann, eve = two
    write(path, "UPDATE sessions SET mac = 'other' || substr(mac, instr(mac, ':')) WHERE id = ?", ann.id)

    assert durable.verify_session(ann.secret) is None
    with pytest.raises(UnknownPepper, match="other"):
        durable.get_session(ann.id)
    page = durable.list_sessions()
    assert ([session.id for session in page], page.unreadable) == ([eve.id], (ann.id,))


@pytest.mark.parametrize(("column", "value"), [("owner", "eve"), ("kind", "free"), ("value", "x"), ("epoch", 9)])
def test_row_68_a_token_that_is_not_as_it_was_written(
    durable: SessionTokens, two: tuple[Issued, Issued], path: Path, column: str, value: object
) -> None:
    token = durable.issue_token(two[0].id, "v", transferable=True)
    write(path, f"UPDATE tokens SET {column} = ? WHERE id = ?", value, token.id)

    assert durable.verify_token(token.secret) is None
    with pytest.raises(CorruptRecord):
        durable.get_token(token.id)
    with pytest.raises(CorruptRecord):
        durable.transfer_token(token.id, giver="eve", receiver="eve")


def test_row_69_a_record_copied_under_another_secret(
    durable: SessionTokens, two: tuple[Issued, Issued], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Eve's secret is put into Ann's row: the MAC covers the look-up key, so Eve is not Ann."""
    ann, eve = two
    keyring = durable.store.keyring
    write(path, "DELETE FROM sessions WHERE id = ?", eve.id)
    write(path, "UPDATE sessions SET lookup = ? WHERE id = ?", keyring.lookup(eve.secret), ann.id)

    assert durable.verify_session(eve.secret) is None
    with pytest.raises(CorruptRecord):
        durable.get_session(ann.id)


def test_row_69_a_whole_row_copied_over_another(durable: SessionTokens, two: tuple[Issued, Issued], path: Path) -> None:
    ann, eve = two
    with sqlite3.connect(path) as connection:
        columns = [
            row[1] for row in connection.execute("PRAGMA table_info(sessions)") if row[1] not in ("id", "lookup")
        ]
        names = ", ".join(columns)
        connection.execute(
            f"UPDATE sessions SET ({names}) = (SELECT {names} FROM sessions WHERE id = ?) WHERE id = ?",
            (ann.id, eve.id),
        )
    connection.close()

    assert durable.verify_session(eve.secret) is None
    assert durable.verify_session(ann.secret) is not None


def test_every_row_that_names_the_library_has_a_test() -> None:
    """Rows 16, 21, 27, 39, 61, 63 and 70 are of the service alone."""
    texts = [path.read_text() for path in sorted(HERE.glob("test_bad_inputs_*.py"))]
    rows = {int(row) for text in texts for row in re.findall(r"def test_row_(\d+)_", text)}

    assert set(range(1, 71)) - {16, 21, 27, 39, 61, 63, 70} == rows


@pytest.mark.parametrize("fits", [[0] * 8191, {chr(0x400 + number): 0 for number in range(2047)}], ids=["list", "dict"])
def test_row_60_as_many_items_as_fit_are_kept_and_more_are_told_by_their_number(fits: JSON) -> None:
    """What can never fit is refused before each item is looked at; what fits is none of it."""
    many: JSON = [0] * 8193 if isinstance(fits, list) else {str(number): 0 for number in range(3277)}
    with SessionTokens.open("memory://", sweep=False) as st:
        assert st.issue_token(None, fits).token.value == fits
        with pytest.raises(InvalidInput, match=r"longer than 8192 items|more than 3276 keys"):
            st.issue_token(None, many)


def test_data_that_is_no_mapping_is_called_what_the_caller_calls_it(st: SessionTokens) -> None:
    session = st.open_session("ann")

    with pytest.raises(TypeError, match=r"^data is a dict"):
        st.open_session("ann", data=[1])  # type: ignore[arg-type]  # that is the point
    with pytest.raises(TypeError, match=r"^changes is a dict"):
        st.update_session_data(session.id, [1])  # type: ignore[arg-type]  # that is the point


def test_row_62_a_field_of_data_has_the_level_of_the_data_around_it(st: SessionTokens) -> None:
    """What is kept can be opened with again, as at a log-in."""
    opened = st.open_session("ann")
    value: Any = []
    for _ in range(30):
        value = [value]
    kept = st.update_session_data(opened.id, {"k": value}).data

    assert kept == st.open_session("ann", data=kept).session.data
    with pytest.raises(InvalidInput, match="nested deeper than 32 levels"):
        st.update_session_data(opened.id, {"k": [value]})
    with pytest.raises(InvalidInput, match="nested deeper than 32 levels"):
        st.open_session("ann", data={"k": [value]})


@pytest.mark.parametrize("given", [5, b"x", None, ["x"], object()])
@pytest.mark.parametrize(
    "call",
    [
        lambda st, given: st.destroy_session("ses_00" + "0" * 22, reason=given),
        lambda st, given: st.destroy_sessions("ann", reason=given),
        lambda st, given: st.list_tokens(session=given or 0),
        lambda st, given: st.list_disabled_owners(after=given or 0),
        lambda st, given: st.forget_follower(given),
        lambda st, given: st.follow_events(name=given or 0),
        lambda st, given: st.move_in(given, "ann"),
    ],
)
def test_row_2_what_should_be_a_text_and_is_none(
    st: SessionTokens, call: Callable[[SessionTokens, Any], object], given: Any
) -> None:
    with pytest.raises(TypeError):
        call(st, given)
