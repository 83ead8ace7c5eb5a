"""Apache guards an application by introspection, with the files of ``deploy/apache`` for two of its modules."""

from __future__ import annotations

import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.helpers.running_service import RunningService
from tests.helpers.servers.apache import Apache, running_apache
from tests.helpers.servers.certificates import Authority
from tests.helpers.servers.web_proxies import running_application

pytestmark = [pytest.mark.interop, pytest.mark.server, pytest.mark.needs_apache]

OWNER, ENCODED = "müller+söhne@mail.example", "m%c3%bcller+s%c3%b6hne@mail.example"
MODULES = ["auth_openidc", "oauth2"]
TAKEN_AWAY = ["X-Session-Owner", "close, x-session-owner", "keep-alive,X-SESSION-OWNER,x"]
"""A proxy passes on no header that ``Connection`` names (RFC 9110): the client could have ours taken away."""
IDLE_S = 8
"""An idle timeout that a request every moment keeps alive, also on a slow machine."""


class Desk(NamedTuple):
    """A service behind https, with a key that Apache asks with.

    Attributes:
        url: under the name that its certificate has.
        authority: the file of who vouches for it.
        http: asks as admin.
        key: id and secret of a key of the role verify.
    """

    url: str
    authority: Path
    http: httpx.Client
    key: tuple[str, str]

    def session(self, **options: Any) -> tuple[str, str]:
        opened = self.http.post("/v1/sessions", json={"owner": OWNER, **options}).json()
        return opened["session"]["id"], opened["secret"]

    def end(self, session: str) -> None:
        assert self.http.delete(f"/v1/sessions/{session}").status_code == 204


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with tempfile.TemporaryDirectory(prefix="st-authority-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        authority = Authority(folder, "authority")
        own = authority.issue("localhost")
        running = RunningService(
            "memory://", tmp_path_factory.mktemp("service") / "log",
            tls_certificate=str(own.certificate), tls_key=str(own.key),
        )  # fmt: skip
        url = f"https://localhost:{running.port}"
        bearer = {"Authorization": f"Bearer {running.secret}"}
        trusted = ssl.create_default_context(cafile=authority.certificate)
        try:
            with httpx.Client(base_url=url, headers=bearer, verify=trusted) as http:
                made = http.post("/v1/keys", json={"role": "verify"}).json()
                yield Desk(url, authority.certificate, http, (made["id"], made["secret"]))
        finally:
            running.stop()


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    with running_application() as port:
        yield port


@contextmanager
def guarded(module: str, desk: Desk, application: int, **without: str) -> Iterator[Apache]:
    """Run Apache with the file of a module; of its lines, those in ``without`` are replaced."""
    replaced = {
        "https://tokens.example": desk.url, "key_…": desk.key[0], "stk_…": desk.key[1],
        "127.0.0.1:3000": f"127.0.0.1:{application}", **without,
    }  # fmt: skip
    if module == "oauth2":  # it trusts the authorities of the machine alone
        replaced["introspect.auth="] = "introspect.ssl_verify=false&introspect.auth="
    with running_apache(
        module, replaced, f"OIDCCABundlePath {desk.authority}" if module == "auth_openidc" else ""
    ) as apache:
        yield apache


@pytest.mark.parametrize("module", MODULES)
def test_apache_lets_in_who_is_alive_and_nobody_after_a_revocation(desk: Desk, application: int, module: str) -> None:
    session, secret = desk.session()
    token = desk.http.post("/v1/tokens", json={"session": session, "scope": "read"}).json()["secret"]
    small = desk.http.post("/v1/tokens", json={"session": session, "scope": "write"}).json()["secret"]
    free = desk.http.post("/v1/tokens", json={"scope": "read"}).json()["secret"]
    forged = {"X-Session-Owner": "root", "X_Session_Owner": "root", "X-Session_Owner": "root", "X-Session-Id": "ses_1"}
    with guarded(module, desk, application) as apache:
        told = [
            apache.ask("/page?query=canary", secret).text,
            apache.ask("/page", secret, in_cookie=True).text,
            apache.ask("/page", secret, forged).text,
            apache.ask("/page", token).text,
            *(apache.ask("/page", secret, {"Connection": named}).text for named in TAKEN_AWAY),
        ]
        refused = [
            apache.ask("/page").status_code, apache.ask("/page", "nonsense").status_code,
            apache.ask("/page", free).status_code, apache.ask("/page", None, forged).status_code,
        ]  # fmt: skip
        scoped = [apache.ask("/api/x", shown).status_code for shown in (token, small, secret)]
        desk.end(session)
        ended = [apache.ask("/page", shown).status_code for shown in (secret, token)]
        ended.append(apache.ask("/page", secret, in_cookie=True).status_code)
        log = apache.log.read_text()

    assert all(f" x-session-owner={ENCODED} bearer" in text for text in told), told
    assert refused == [401] * 4
    assert scoped == [200, 401, 401]
    assert ended == [401] * 3
    assert secret not in log and "canary" not in log


def test_mod_auth_openidc_that_keeps_answers_throws_no_active_user_out(desk: Desk, application: int) -> None:
    """Without its line an answer is kept until ``exp``: in time for the idle timeout, and no longer after an end."""
    session, secret = desk.session(idle_timeout=IDLE_S)
    line = {"OIDCOAuthTokenIntrospectionInterval -1": ""}
    with guarded("auth_openidc", desk, application, **line) as apache:
        until_s = time.monotonic() + 2.5 * IDLE_S
        while time.monotonic() < until_s:
            assert apache.ask("/page", secret).status_code == 200
            time.sleep(0.2)
        desk.end(session)
        ended_s = time.monotonic()
        while apache.ask("/page", secret).status_code == 200:
            assert time.monotonic() - ended_s < IDLE_S / 2 + 5
            time.sleep(0.1)


@pytest.mark.parametrize("module", MODULES)
def test_nobody_gets_in_while_the_service_does_not_answer(desk: Desk, application: int, module: str) -> None:
    _, secret = desk.session()
    gone = desk._replace(url="https://localhost:1")
    with guarded(module, gone, application) as apache:
        assert apache.ask("/page", secret).status_code in (401, 500, 502, 503)
