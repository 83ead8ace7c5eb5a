"""Dovecot lets mail programs in by introspection, with the files of ``deploy/dovecot``."""

from __future__ import annotations

import imaplib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.running_service import ROOT, RunningService
from tests.helpers.servers.ports import free_port
from tools.system_packages import SEARCH_PATH

pytestmark = [
    pytest.mark.interop,
    pytest.mark.server,
    pytest.mark.needs_dovecot,
    pytest.mark.skipif(os.geteuid() != 0, reason="Dovecot starts its processes as other users: it needs root"),
]

# What the machine has beside the two files: where mail is, one listener, and no time to wait after a wrong log-in.
OWN = """
base_dir = {folder}/run
state_dir = {folder}/state
protocols = imap
listen = 127.0.0.1
ssl = no
log_path = {folder}/log
auth_failure_delay = 0
mail_location = maildir:{folder}/mail/%u
first_valid_uid = 1
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    running = RunningService("memory://", tmp_path_factory.mktemp("service") / "log")
    yield running
    running.stop()


@contextmanager
def running_dovecot(service: RunningService, scope: str | None = None) -> Iterator[int]:
    """Yield the port of a Dovecot that asks the service, and wants a word of the scope if one is given."""
    with service.http() as admin:
        made = admin.post("/v1/keys", json={"role": "verify"}).json()
    port = free_port()
    question = (ROOT / "deploy/dovecot/dovecot-oauth2.conf.ext").read_text()
    for shown, real in (
        ("https://key_…:stk_…@tokens.example", f"http://{made['id']}:{made['secret']}@127.0.0.1:{service.port}"),
        ("# scope = mail", "" if scope is None else f"scope = {scope}"),
    ):
        assert shown in question
        question = question.replace(shown, real)
    with tempfile.TemporaryDirectory(prefix="st-dovecot-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "mail").mkdir()
        shutil.chown(folder / "mail", "mail", "mail")
        (folder / "oauth2").write_text(question)
        text = (ROOT / "deploy/dovecot/session-tokens.conf").read_text()
        assert "/etc/dovecot/dovecot-oauth2.conf.ext" in text
        text = text.replace("/etc/dovecot/dovecot-oauth2.conf.ext", str(folder / "oauth2"))
        (folder / "conf").write_text(text + OWN.format(folder=folder, port=port))
        argv = ["dovecot", "-F", "-c", str(folder / "conf")]
        environment = {**os.environ, "PATH": SEARCH_PATH}
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=environment)
        try:
            _wait(process, port)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    give_up_s = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < give_up_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    process.kill()
    raise AssertionError("Dovecot does not listen")


def logged_in(port: int, user: str, secret: str, how: str = "OAUTHBEARER") -> imaplib.IMAP4 | None:
    """Return a connection of a user who showed a secret, ``None`` where it was refused."""
    shown = {
        "OAUTHBEARER": f"n,a={user},\x01host=localhost\x01port={port}\x01auth=Bearer {secret}\x01\x01",
        "XOAUTH2": f"user={user}\x01auth=Bearer {secret}\x01\x01",
    }[how]
    answers = [shown.encode()]  # where it is refused, it is asked for once more, and takes nothing
    mail = imaplib.IMAP4("127.0.0.1", port, timeout=60)
    try:
        mail.authenticate(how, lambda _: answers.pop() if answers else b"")
    except imaplib.IMAP4.error:
        mail.shutdown()
        return None
    return mail


def test_dovecot_lets_in_whom_a_living_secret_names_and_nobody_after_its_end(service: RunningService) -> None:
    with service.http() as admin, running_dovecot(service) as port:
        opened: dict[str, Any] = admin.post("/v1/sessions", json={"owner": "Ann"}).json()
        session, secret = opened["session"]["id"], opened["secret"]
        token = admin.post("/v1/tokens", json={"session": session, "scope": "mail"}).json()["secret"]
        first = [logged_in(port, "Ann", secret, how) for how in ("OAUTHBEARER", "XOAUTH2")]
        by_token = logged_in(port, "Ann", token)
        assert by_token is not None and None not in first
        others = [logged_in(port, user, secret) for user in ("ann", "bob")] + [logged_in(port, "Ann", "nonsense")]
        admin.delete(f"/v1/sessions/{session}")
        after = [logged_in(port, "Ann", shown) for shown in (secret, token)]
        still = by_token.noop()[0]  # an open connection goes on, as the page says

        assert (others, after, still) == ([None] * 3, [None] * 2, "OK")
        for mail in [*first, by_token]:
            assert mail is not None
            mail.shutdown()


def test_dovecot_wants_the_scope_that_its_file_names(service: RunningService) -> None:
    with service.http() as admin, running_dovecot(service, scope="mail") as port:
        opened = admin.post("/v1/sessions", json={"owner": "Ann"}).json()
        session = opened["session"]["id"]
        right, small = [
            admin.post("/v1/tokens", json={"session": session, "scope": scope}).json()["secret"]
            for scope in ("read mail", "email")
        ]
        mail = logged_in(port, "Ann", right)

        assert mail is not None
        assert [logged_in(port, "Ann", shown) for shown in (small, opened["secret"])] == [None, None]
        mail.shutdown()
