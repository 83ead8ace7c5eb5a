"""Bad input at the command line: the rows that name C, by number; each ends with its exit code and changes nothing."""

import base64
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from session_tokens import SessionTokens, Settings
from session_tokens.crypto.minting import new_secret
from session_tokens.testing import ManualClock
from tests.helpers.command_line import Cli

INACTIVE, BAD_INPUT, UNAVAILABLE, CONFLICT, DENIED = 1, 2, 3, 4, 5


@pytest.fixture
def good(cli: Cli) -> str:
    secret: str = cli("open", "alice", "--json").json["secret"]
    return secret


ROWS_OF_STRINGS: dict[str, Callable[[str], bytes]] = {
    "1-empty": lambda good: b"",
    "4-short": lambda good: good[:-1].encode(),
    "4-long": lambda good: good.encode() + b"0",
    "5-1MiB": lambda good: b"s" * 2**20,
    "6-flipped": lambda good: (good[:20] + ("A" if good[20] != "A" else "B") + good[21:]).encode(),
    "7-unknown": lambda good: new_secret("sts_").encode(),
    "8-too-large": lambda good: b"sts_00" + b"z" * 43 + good[49:].encode(),
    "9-case": lambda good: good.swapcase().encode(),
    "10-leading-space": lambda good: b" " + good.encode(),
    "10-trailing-tab": lambda good: good.encode() + b"\t",
    "10-two-newlines": lambda good: good.encode() + b"\n\n",
    "11-nul": lambda good: good[:10].encode() + b"\0" + good[11:].encode(),
    "12-fullwidth": lambda good: ("sts_００" + good[6:]).encode(),
    "12-cyrillic": lambda good: good.replace("s", "ѕ", 1).encode(),
    "13-bom": lambda good: "\ufeff".encode() + good.encode(),
    "13-zwj": lambda good: (good[:5] + "\u200d" + good[5:]).encode(),
    "13-rtl": lambda good: ("\u202e" + good).encode(),
    "14-not-utf-8": lambda good: b"\xed\xa0\x80" + good.encode(),
    "17-base64": lambda good: base64.b64encode(good.encode()),
    "17-hex": lambda good: good.encode().hex().encode(),
    "19-digest": lambda good: b"ab" * 32,
    "20-kind": lambda good: b"stt_" + good[4:].encode(),
    "22-github": lambda good: b"ghp_" + b"a" * 36,
    "22-jwt": lambda good: b"eyJhbGciOiJub25lIn0.e30.",
    "24-other-namespace": lambda good: good[:4].encode() + b"zz" + good[6:].encode(),
    "28-wildcard": lambda good: b"sts_*",
    "28-like": lambda good: b"sts_%",
}


@pytest.mark.parametrize("row", ROWS_OF_STRINGS)
def test_strings_that_are_no_secret_are_inactive(cli: Cli, good: str, row: str) -> None:
    said = cli("verify", stdin=ROWS_OF_STRINGS[row](good))

    assert (said.code, said.out) == (INACTIVE, "inactive\n")


def test_10_exactly_one_final_newline_is_stripped(cli: Cli, good: str) -> None:
    assert cli("verify", stdin=good.encode() + b"\n").code == 0
    assert cli("verify", stdin=good.encode() + b"\r\n").code == 0
    assert cli("verify", stdin=good.encode()).code == 0


def test_18_an_id_is_no_secret(cli: Cli, good: str) -> None:
    session = cli("sessions", "--json").json["items"][0]["id"]

    assert cli("verify", stdin=session.encode()).code == INACTIVE


def test_25_26_expired_and_dead_secrets_are_inactive(cli: Cli, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with SessionTokens.open(url, settings=Settings(max_age=1), sweep=False, clock=ManualClock()) as st:
        expired = st.open_session("alice").secret
    with SessionTokens.open(url, sweep=False) as st:
        session = st.open_session("bob")
        st.rotate_session(session.id)

    assert cli("verify", stdin=expired.encode()).code == INACTIVE
    assert cli("verify", stdin=session.secret.encode()).code == INACTIVE


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param("", id="29-empty"),
        pytest.param("x" * 256, id="30-256-bytes"),
        pytest.param("é" * 128, id="30-256-bytes-of-utf-8"),
        pytest.param("e\u0301", id="32-nfd"),
        pytest.param("alice ", id="33-trailing-space"),
        pytest.param("a\nb", id="34-newline"),
        pytest.param("a\x1b[31mb", id="34-ansi"),
        pytest.param("system", id="41-reserved"),
        pytest.param("console:key_00", id="41-console"),
        pytest.param("orphan", id="41-orphan"),
    ],
)
def test_impossible_owners_are_bad_input(cli: Cli, owner: str) -> None:
    said = cli("open", owner)

    assert said.code == BAD_INPUT
    assert "\x1b" not in said.err
    assert cli("sessions", "--json").json["items"] == []


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param("Alice", id="33-case"),
        pytest.param("{tag}", id="35-braces"),
        pytest.param("'; DROP TABLE sessions; --", id="36-sql"),
        pytest.param("${jndi:ldap://x}", id="36-jndi"),
        pytest.param("%s {0} :name $1", id="36-formats"),
        pytest.param("<script>alert(1)</script>", id="38-html"),
        pytest.param("=HYPERLINK(1)", id="38-formula"),
    ],
)
def test_strange_owners_are_data(cli: Cli, owner: str) -> None:
    assert cli("open", owner, "--json").json["owner"] == owner
    assert [session["owner"] for session in cli("sessions", "--json").json["items"]] == [owner]


def test_43_a_second_session_follows_the_policy(cli: Cli) -> None:
    """Without a cap both live, the second after the first."""
    first = cli("open", "alice", "--json").json["id"]
    second = cli("open", "alice", "--json").json["id"]

    assert [session["id"] for session in cli("sessions", "--json").json["items"]] == [first, second]


@pytest.mark.parametrize(
    "duration",
    [
        pytest.param("0", id="47-zero"),
        pytest.param("-1", id="47-negative"),
        pytest.param("-0.0", id="47-minus-zero"),
        pytest.param("nan", id="48-nan"),
        pytest.param("inf", id="48-inf"),
        pytest.param("1e400", id="48-1e400"),
        pytest.param("9223372036854775808", id="49-2-63"),
        pytest.param("1" + "0" * 5000, id="49-huge"),
        pytest.param("1_000", id="51-underscore"),
        pytest.param("１２３", id="51-fullwidth"),
        pytest.param(" 5", id="51-space"),
        pytest.param("5\n", id="51-newline"),
        pytest.param("999999d", id="53-beyond-the-limit"),
        pytest.param("", id="51-empty"),
        pytest.param("5x", id="51-unit"),
    ],
)
@pytest.mark.parametrize("option", ["--max-age", "--idle-timeout"])
def test_impossible_durations_are_bad_input(cli: Cli, option: str, duration: str) -> None:
    assert cli("open", "alice", f"{option}={duration}").code == BAD_INPUT
    assert cli("sessions", "--json").json["items"] == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000), ("0.5", 0.5)]
)
def test_durations_may_have_a_unit(cli: Cli, text: str, seconds: float) -> None:
    assert cli("open", "alice", "--max-age", text, "--json").json["max_age"] == seconds


def test_47_never_is_said_in_words(cli: Cli) -> None:
    assert cli("open", "alice", "--max-age", "never", "--json").json["max_age"] is None


def test_54_a_longer_token_timeout_is_accepted_and_ends_with_the_session(cli: Cli) -> None:
    session = cli("open", "alice", "--json").json
    token = cli("issue", "--session", session["id"], "--timeout", "10h", "--json").json

    assert token["expires_at"] == session["expires_at"]


def test_55_a_bound_token_has_no_disownment_timeout(cli: Cli) -> None:
    session = cli("open", "alice", "--json").json["id"]

    assert cli("issue", "--session", session, "--disownment-timeout", "60").code == BAD_INPUT


@pytest.mark.parametrize("limit", ["0", "-1", "1000000000", "ten", "１"])
def test_59_page_sizes(cli: Cli, limit: str) -> None:
    assert cli("sessions", f"--limit={limit}").code == BAD_INPUT


@pytest.mark.parametrize("cursor", ["x", "5.ses_1", "5.tok_00" + "0" * 22, "-5.ses_00" + "0" * 22, "\n"])
def test_59_forged_cursors(cli: Cli, cursor: str) -> None:
    assert cli("sessions", f"--after={cursor}").code == BAD_INPUT


def test_60_values_up_to_16_kib(cli: Cli) -> None:
    assert cli("issue", "--value", "x" * 16_384, "--json").code == 0
    assert cli("issue", "--value", "x" * 16_385).code == BAD_INPUT


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', "NaN", "[" * 50_000, "{'a':1}", "[1,]", "\ufeff1", '"\\ud800"', ""])
def test_61_to_64_json_values(cli: Cli, text: str) -> None:
    assert cli("issue", "--value-json", text).code == BAD_INPUT
    assert cli("tokens", "--json").json["items"] == []


@pytest.mark.parametrize("command", [["verify"], ["open"], ["end"], ["tokens", "--session"]])
def test_100_a_secret_is_never_an_argument(cli: Cli, good: str, command: list[str]) -> None:
    said = cli(*command, good)

    assert said.code == BAD_INPUT
    assert "standard input" in said.err
    assert good not in said.err


@pytest.mark.parametrize("around", ["x={}", "https://app.example/?x={}", "owner={}&y", "--owner=x={}", '{{"x": "{}"}}'])
@pytest.mark.parametrize("mistyped", ["", "0", "!"])
def test_100_nor_is_it_within_one(cli: Cli, around: str, mistyped: str) -> None:
    """It was pasted with what stood around it, and perhaps a character too many or too few."""
    secret = cli("open", "alice", "--json").json["secret"]
    given = around.format(secret[:-1] + mistyped)
    arguments = ["sessions", given] if given.startswith("--") else ["open", given]
    said = cli(*arguments)

    assert said.code == 2
    assert "never an argument" in said.err
    assert secret[:-1] not in said.out + said.err
    assert len(cli("sessions", "--json").json["items"]) == 1


def test_100_owners_that_only_begin_alike_are_owners(cli: Cli) -> None:
    for owner in ("sts_room", "guests_of_the_twenty-first_floor", "hosts_abcdefghijklmnopqrstuvwxyz"):
        assert cli("open", owner).code == 0


def test_100_a_mistyped_secret_is_not_repeated(cli: Cli) -> None:
    said = cli("verify", "sts_abc")

    assert said.code == BAD_INPUT
    assert "sts_abc" not in said.err


def test_101_secret_files_that_are_refused(cli: Cli, good: str, tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.write_text(good)
    open_to_all.chmod(0o644)
    private = tmp_path / "private"
    private.write_text(good)
    private.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(private)
    empty = tmp_path / "empty"
    empty.touch(0o600)
    pipe = tmp_path / "pipe"  # that nobody writes to, and that would be waited for
    os.mkfifo(pipe, 0o600)

    for path in (open_to_all, link, tmp_path, empty, pipe, tmp_path / "nothing"):
        said = cli("verify", "--secret-file", str(path))
        assert said.code == BAD_INPUT, path
        assert good not in said.err
    assert cli("verify", "--secret-file", str(private)).code == 0


def test_102_unknown_options_and_variables_are_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--no-such" in cli("sessions", "--no-such").err
    assert cli("sessions", "--own", "x").code == BAD_INPUT
    assert "nothing" in cli("sessions", "--store", "nothing://x").err
    assert "synch" in cli("sessions", "--store", "sqlite:///x.db?synch=1").err
    monkeypatch.setenv("SESSION_TOKENS_STROE", "x")
    said = cli("sessions")
    assert said.code == BAD_INPUT
    assert "SESSION_TOKENS_STROE" in said.err


def test_102_two_peppers_contradict_each_other(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)
    monkeypatch.setenv("SESSION_TOKENS_PEPPER_FILE", "/nowhere")
    said = cli("sessions")

    assert said.code == BAD_INPUT
    assert "SESSION_TOKENS_PEPPER_FILE" in said.err


def test_103_serving_beyond_this_machine_needs_tls_or_a_proxy(cli: Cli) -> None:
    assert cli("serve", "--host", "0.0.0.0", "--port", "0").code == BAD_INPUT


def test_103_a_short_pepper_is_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 31)

    assert cli("sessions").code == BAD_INPUT


def test_105_a_server_that_is_down_is_unavailable(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it, and it refuses
        port = taken.getsockname()[1]
        monkeypatch.setenv("SESSION_TOKENS_PEPPER", "ab" * 32)
        for url in (f"valkey://127.0.0.1:{port}/0", f"postgresql://nobody@127.0.0.1:{port}/none"):
            assert cli("sessions", "--store", url).code == UNAVAILABLE


def test_106_a_file_that_is_no_database(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"this is no database, and never was one" * 100)

    assert cli("sessions").code in (BAD_INPUT, UNAVAILABLE)
    assert (tmp_path / "store.db").read_bytes().startswith(b"this is no database")
