"""The page for the night, section by section: its commands as they stand there, with real processes and stores."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from session_tokens import SessionTokens
from session_tokens.crypto.key_file import read_key_file
from tests.helpers.managed_service import Managed
from tests.helpers.project import ROOT
from tests.helpers.servers.ports import free_port
from tests.helpers.sqlite_files import behind
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.server

PAGE = (ROOT / "docs" / "how-to" / "when-something-is-wrong.md").read_text()
PROGRAMS = Path(sys.executable).parent


class Night:
    """One store, the services on it, and a shell in which an operator pastes what the page says.

    Attributes:
        folder: where the shell is.
        url: of the store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/sessions.db"
        self.variables = {"SESSION_TOKENS_STORE": self.url}
        self._services: list[Managed] = []

    def serve(self, *options: str, secret: str = "") -> Service:
        """Start a service on the store, as `session-tokens serve` does."""
        port = free_port()
        words = ("--store", self.url, "--port", str(port), *options)
        managed = Managed(self.folder / f"log-{port}", *words, environment=self.variables)
        self._services.append(managed)
        return Service(managed, f"http://127.0.0.1:{port}", secret or managed.secret)

    def paste(self, section: str, blocks: slice | None = None, at: str = "", **named: str) -> str:
        """Run blocks of a section, with names in the place of its placeholders; return all that was printed.

        Args:
            section: its title.
            blocks: which of them; all if not given.
            at: where the service is that a block asks.
            named: what each placeholder stands for.
        """
        body = PAGE.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
        shell = re.findall(r"^```bash\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)[blocks or slice(None)]
        return self.run("".join(shell).replace("http://127.0.0.1:8080", at), **named)

    def run(self, script: str, **named: str) -> str:
        """Run a script, in which each word in capitals has a value by then."""
        for placeholder, value in named.items():
            script = re.sub(rf"\b{placeholder}\b", lambda _: shlex.quote(value), script)  # noqa: B023  # called at once
        path = os.pathsep.join([str(PROGRAMS), os.environ["PATH"]])
        ran = subprocess.run(
            ["bash", "-c", f"set -eu\n{script}"], cwd=self.folder, env={**os.environ, **self.variables, "PATH": path},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ran.returncode == 0, f"{script}\n{ran.stdout}{ran.stderr}"
        return ran.stdout + ran.stderr

    def stop(self) -> None:
        for managed in self._services:
            managed.stop()


class Service:
    """A running service, asked with its admin key."""

    def __init__(self, managed: Managed, url: str, secret: str) -> None:
        self.managed = managed
        self.url = url
        self.secret = secret

    def call(self, method: str, path: str, *, secret: str | None = None, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret or self.secret}"}
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=30, **options)

    def open(self, owner: str, *, secret: str | None = None) -> dict[str, Any]:
        answer = self.call("POST", "/v1/sessions", secret=secret, json={"owner": owner, "user_agent": "Phone"})
        opened: dict[str, Any] = answer.json()
        assert answer.status_code == 201, opened
        return opened

    def lives(self, secret: str) -> bool:
        """Tell what a program is told of a secret; a 503 is an error here."""
        answer = self.call("POST", "/introspect", data={"token": secret})
        assert answer.status_code == 200, answer.text
        active: bool = answer.json()["active"]
        return active


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    night = Night(tmp_path)
    yield night
    night.stop()


def written(path: Path, secret: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(secret)
    return path


def stolen_phone(night: Night, request: pytest.FixtureRequest) -> None:
    service = night.serve()
    phone, desk, other = service.open("ann"), service.open("ann"), service.open("bob")
    seat = {"session": phone["session"]["id"], "transferable": True}
    ticket = service.call("POST", "/v1/tokens", json=seat).json()["token"]
    made = service.call("POST", "/v1/keys", json={"role": "operator"}).json()
    night.variables = {
        "SESSION_TOKENS_STORE": service.url,
        "SESSION_TOKENS_KEY_FILE": str(written(night.folder / "operator", made["secret"])),
    }

    shown = night.paste("A phone was stolen", slice(0, 4), OWNER="ann", SESSION_ID=phone["session"]["id"])
    refused = service.call("POST", "/v1/sessions", json={"owner": "ann"})
    night.paste("A phone was stolen", slice(4, None), OWNER="ann")

    assert "Phone" in shown.split("ended")[0], "the list says which session is the phone's"
    assert [False, False, True] == [service.lives(each["secret"]) for each in (phone, desk, other)]
    assert "(theft)" in shown and ticket["id"] in shown
    assert (403, "owner_disabled") == (refused.status_code, refused.json()["code"])
    assert service.lives(service.open("ann")["secret"])


def leaked_key(night: Night, request: pytest.FixtureRequest) -> None:
    service = night.serve("--audit", "--audit-anchor", str(night.folder / "anchors"))
    made = service.call("POST", "/v1/keys", json={"role": "issue", "label": "shop"}).json()
    written(night.folder / "leaked", made["secret"])
    stolen, honest, taken = service.open("ann", secret=made["secret"]), service.open("bob"), service.open("carol")
    rotated = service.call("POST", f"/v1/sessions/{taken['session']['id']}/rotate", secret=made["secret"]).json()
    voucher = service.call("POST", "/v1/tokens", secret=made["secret"], json={"value": "voucher"}).json()["token"]

    found = night.paste("A service key leaked", slice(0, 2), KEY_ID=made["id"])
    (renewed,) = set(re.findall(r"stk_\w+", found))
    during = [service.call("GET", "/v1/sessions", secret=secret).status_code for secret in (made["secret"], renewed)]
    told = night.paste("A service key leaked", slice(2, None), KEY_ID=made["id"])

    assert made["id"] in found and "shop" in found
    assert [200, 200] == during
    assert 401 == service.call("GET", "/v1/sessions", secret=made["secret"]).status_code
    assert "inactive" in told and stolen["session"]["id"] in told and voucher["id"] in told
    assert [False, False, True] == [service.lives(each["secret"]) for each in (stolen, rotated, honest)]


def full_disk(night: Night, request: pytest.FixtureRequest) -> None:
    """In a name space of its own, where a small file system stands for the disk."""
    disk, port = night.folder / "disk", free_port()
    disk.mkdir()
    first, second = (
        "".join(re.findall(r"^```bash\n(.*?)^```$", part, re.MULTILINE | re.DOTALL))
        for part in PAGE.split("## The disk is full\n", 1)[1].split("\n## ", 1)[0].split("Make room", 1)
    )
    (night.folder / "script").write_text(f"""set -eu
mount -t tmpfs -o size=24m,mode=700 tmpfs {disk}
cd {disk}
export SESSION_TOKENS_STORE=sqlite:///{disk}/sessions.db
session-tokens keys create --role admin --json | sed 's/.*"secret":"\\([^"]*\\)".*/Authorization: Bearer \\1/' > key
session-tokens serve --port {port} > log 2>&1 &
trap "kill %1; wait" EXIT
tries=0
until curl -sf http://127.0.0.1:{port}/readyz > /dev/null; do tries=$((tries + 1)); test $tries -lt 300; sleep 0.1; done
url=http://127.0.0.1:{port}/v1/sessions
ask() {{ curl -s -o /dev/null -w '%{{http_code}}' -H @key --json '{{"owner":"'$1'"}}' $url; }}
echo before: $(ask gone) $(ask stays)
for size in 65536 1; do dd if=/dev/zero of=ballast-$size bs=$size 2> /dev/null || true; done
echo full: $(ask late)
{first.replace("OWNER", "gone")}
rm ballast-*
{second}
echo after: $(ask late)
session-tokens sessions --json
""")
    mine = "" if os.geteuid() == 0 else "--user --map-root-user"
    said = night.run(f"unshare {mine} --mount bash script")
    (listed,) = (line for line in said.splitlines() if line.startswith('{"items"'))

    assert ["before: 201 201", "full: 503", "after: 201"] == re.findall(
        r"^(?:before|full|after): .*$", said, re.MULTILINE
    )
    assert "ended: 1" in said and "nothing is wrong" in said
    assert {"stays", "somebody new", "late"} == set(re.findall(r'"owner":"([^"]*)"', listed))


def changed_pepper(night: Night, request: pytest.FixtureRequest) -> None:
    """Two services and a library; one service is forgotten."""
    title = "Change the pepper"
    one = night.serve()
    two = night.serve(secret=one.secret)
    earlier = one.open("ann")
    (old,) = re.findall(r"^pepper (\w+)", (night.folder / "sessions.db.key").read_text(), re.MULTILINE)
    new = night.paste(title, slice(0, 1)).split()[0]
    one.managed.stop()
    one = night.serve(secret=one.secret)
    behind(night.folder / "sessions.db", "UPDATE peppers SET recorded_at = recorded_at - 60001 WHERE key_id = ?", new)
    night.paste(title, slice(1, 2))
    one.managed.stop()
    one = night.serve(secret=one.secret)
    later = one.open("bob")
    with SessionTokens.open(night.url, sweep=False) as library:
        assert library.verify_session(later["secret"]) is not None
        assert library.verify_session(earlier["secret"]) is not None
    forgotten = night.paste(title, slice(2, 3), at=two.url)
    refused = two.call("POST", "/introspect", data={"token": later["secret"]})
    assert "unknown_pepper" in forgotten
    wait_until(lambda: new in two.managed.log_path.read_text())  # its log says which one it lacks
    two.managed.stop()
    two = night.serve(secret=one.secret)

    assert 503 == refused.status_code
    assert [True, True] == [two.lives(each["secret"]) for each in (earlier, later)]
    renewed = one.call("POST", f"/v1/sessions/{earlier['session']['id']}/rotate").json()
    (key,) = (each["id"] for each in one.call("GET", "/v1/keys").json()["keys"])
    (one.secret,) = re.findall(r"stk_\w+", night.paste(title, slice(3, None), KEY_ID=key, OLD_KEY_ID=old))
    assert [old] != [new] == re.findall(r"^pepper (\w+)", (night.folder / "sessions.db.key").read_text(), re.MULTILINE)
    assert [True, True] == [one.lives(each["secret"]) for each in (renewed, later)]


def restored_elsewhere(night: Night, request: pytest.FixtureRequest) -> None:
    """From SQLite to PostgreSQL and from there to Valkey, each time as if the one before were lost."""
    key_file = night.folder / "sessions.db.key"
    with SessionTokens.open(night.url, sweep=False) as tokens:
        kept, token = tokens.open_session("ann"), tokens.issue_token(None, "voucher")
    night.variables["SESSION_TOKENS_PEPPER_FILE"] = str(key_file)
    for number, fixture in enumerate(("postgres_url", "valkey_url")):
        backup, new = night.folder / f"backup-{number}", request.getfixturevalue(fixture)
        night.run(f"session-tokens store backup {backup}")
        night.run("session-tokens store migrate NEW_STORE" if number == 0 else "true", NEW_STORE=new)
        said = night.paste("Restore onto another store", BACKUP=str(backup), NEW_STORE=new, KEY_FILE=str(key_file))
        night.variables["SESSION_TOKENS_STORE"] = new
        assert "nothing is wrong" in said
    peppers = read_key_file(key_file).peppers
    with SessionTokens.open(night.variables["SESSION_TOKENS_STORE"], pepper=peppers, sweep=False) as tokens:
        assert tokens.verify_session(kept.secret) is not None
        assert tokens.verify_token(token.secret) is not None


Trial = Callable[[Night, pytest.FixtureRequest], None]
TRIALS: dict[str, Trial] = {
    "A phone was stolen": stolen_phone,
    "A service key leaked": leaked_key,
    "The disk is full": full_disk,
    "Change the pepper": changed_pepper,
    "Restore onto another store": restored_elsewhere,
}


@pytest.mark.needs_curl
@pytest.mark.share(3)
@pytest.mark.parametrize("trial", TRIALS)
def test_what_the_page_says_helps(
    trial: str, night: Night, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SESSION_TOKENS_PEPPER_FILE", raising=False)

    TRIALS[trial](night, request)


def test_every_section_with_commands_is_tried() -> None:
    sections = PAGE.split("\n## ")[1:]

    assert set(TRIALS) == {text.split("\n", 1)[0] for text in sections if "```bash" in text}
