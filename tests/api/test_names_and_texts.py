"""Names that are shown are what they look like, and hold no secret."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator

import pytest

from session_tokens import InvalidInput, SessionTokens, Token, TokenTables
from session_tokens.crypto.minting import new_secret
from session_tokens.crypto.secret_form import SESSION_SECRET, TOKEN_SECRET
from session_tokens.validation import INVISIBLE, sent_text

INVISIBLES = [
    "\u00ad", "\u034f", "\u061c", "\u115f", "\u1160", "\u17b4", "\u180e", "\u200b", "\u200c", "\u200d",
    "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2060", "\u2061", "\u2064",
    "\u2066", "\u2067", "\u2068", "\u2069", "\u2800", "\u3164", "\ufe0f", "\ufeff", "\uffa0", "\ufff9",
    "\U0001d173", "\U000e0001", "\U000e0061", "\U000e0100",
]  # fmt: skip
SECRET = new_secret(SESSION_SECRET)


@pytest.fixture
def tokens() -> Iterator[SessionTokens]:
    with SessionTokens.open("memory://", sweep=False) as opened:
        yield opened


CHOSEN: dict[str, Callable[[SessionTokens, str], object]] = {
    "owner": lambda tokens, text: tokens.open_session(text),
    "receiver": lambda tokens, text: tokens.transfer_token(
        tokens.issue_token(tokens.open_session("alice").id, transferable=True).id, giver="alice", receiver=text
    ),
    "currency": lambda tokens, text: tokens.offer_token(
        tokens.issue_token(tokens.open_session("alice").id, transferable=True).id, price=1, currency=text[:5]
    ),
}


@pytest.mark.parametrize("where", CHOSEN)
@pytest.mark.parametrize("invisible", INVISIBLES)
def test_what_is_not_seen_is_refused_where_the_application_chose_it(
    tokens: SessionTokens, where: str, invisible: str
) -> None:
    for text in (f"al{invisible}ice", f"{invisible}alice", f"alice{invisible}", invisible):
        if where != "currency" or invisible in text[:5]:
            with pytest.raises(InvalidInput, match=r"invisible character \(U\+[0-9A-F]{4,6}\)|control characters"):
                CHOSEN[where](tokens, text)


@pytest.mark.parametrize("invisible", INVISIBLES)
def test_what_is_not_seen_in_what_clients_send_is_taken_out(tokens: SessionTokens, invisible: str) -> None:
    sent = f"Brow{invisible}ser/1{invisible}"
    session = tokens.open_session("alice", user_agent=sent, label=sent, address=sent).session

    assert (session.user_agent, session.label, session.address) == ("Browser/1",) * 3
    assert tokens.change_session(session.id, label=sent).label == "Browser/1"


def test_tables_refuse_such_owners_too() -> None:
    with TokenTables.open("memory://") as tables, pytest.raises(InvalidInput, match="invisible"):
        tables.add_session("session", "ali\u200bce")


def test_every_control_of_direction_and_format_is_among_them() -> None:
    """But the few of the category that are seen: they enclose or precede digits."""
    seen = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
    formats = {code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"}
    directed = {
        code for code in range(sys.maxunicode + 1)
        if unicodedata.bidirectional(chr(code)) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    }  # fmt: skip

    assert {code for code in (formats - seen) | directed if not INVISIBLE.match(chr(code))} == set()


@pytest.mark.parametrize(
    "text",
    ["Zoë 日本 Владимир", "محمد", "שלום", "नमस्ते", "user:1@example.com", "😀", "e\u0301x".replace("e\u0301", "é")],
)
def test_names_of_people_in_any_script_stay(tokens: SessionTokens, text: str) -> None:
    issued = tokens.open_session(text, label=text, user_agent=text)

    assert (issued.session.owner, issued.session.label, issued.session.user_agent) == (text, text, text)


# --- secrets ---


@pytest.mark.parametrize("where", [where for where in CHOSEN if where != "currency"])
@pytest.mark.parametrize(
    "text", [SECRET, f"see {SECRET}", SECRET[:-1], new_secret("stk_")], ids=["whole", "within", "all but whole", "key"]
)
def test_a_secret_is_refused_where_it_would_be_shown(tokens: SessionTokens, where: str, text: str) -> None:
    with pytest.raises(InvalidInput, match="looks like a secret") as refused:
        CHOSEN[where](tokens, text)

    assert "sts_" not in str(refused.value) and "stk_" not in str(refused.value)


def value_of(tokens: SessionTokens, value: str) -> object:
    """Return what a token keeps of a value."""
    record = tokens.issue_token(None, value).record
    assert isinstance(record, Token)
    return record.value


@pytest.mark.parametrize("tail", ["", " ", ":admin", "x"])
def test_a_value_does_not_begin_with_a_secret(tokens: SessionTokens, tail: str) -> None:
    issued = tokens.issue_token(None, "x")
    for use in (
        lambda: tokens.issue_token(None, SECRET + tail),
        lambda: tokens.change_token(issued.id, value=SECRET + tail),
    ):
        with pytest.raises(InvalidInput, match="begins with a secret"):
            use()

    assert value_of(tokens, SECRET[:-1] + "!") == SECRET[:-1] + "!"
    assert value_of(tokens, issued.id) == issued.id


def test_a_user_agent_and_an_address_lose_a_secret_and_a_label_is_refused(tokens: SessionTokens) -> None:
    sent = f"Browser {SECRET} x"
    session = tokens.open_session("alice", user_agent=sent, address=sent).session

    assert (session.user_agent, session.address) == ("Browser  x",) * 2
    for use in (
        lambda: tokens.open_session("alice", label=sent),
        lambda: tokens.change_session(session.id, label=sent),
    ):
        with pytest.raises(InvalidInput, match="looks like a secret") as refused:
            use()
        assert "sts_" not in str(refused.value)


def test_a_prefix_is_no_secret() -> None:
    with TokenTables.open("memory://") as tables:
        made = tables.create_token("app-")
        with pytest.raises(InvalidInput, match="secret"):
            tables.create_token(tables.create_token())

    assert made.startswith("app-" + TOKEN_SECRET)


# --- what clients send ---


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Browser\t1.0\r\nX: y\x00", "Browser 1.0 X: y"),
        ("  Browser ", "Browser"),
        ("x" * 2_000, "x" * 1_024),
        ("é" * 2_000, "é" * 512),
        ("日" * 2_000, "日" * 341),
        ("a\ud800b", "a?b"),
        ("e\u0301", "é"),
        ("e\u200b\u0301", "é"),
        ("\u202e", ""),
        ("", ""),
    ],
)
def test_a_user_agent_is_kept_whatever_it_is(tokens: SessionTokens, sent: str, kept: str) -> None:
    session = tokens.open_session("alice", user_agent=sent).session

    assert session.user_agent == kept


def test_a_user_agent_is_a_text() -> None:
    assert sent_text("user_agent", None, bytes_max=10) is None
    with pytest.raises(TypeError, match="user_agent is a str"):
        sent_text("user_agent", b"Browser", bytes_max=10)
