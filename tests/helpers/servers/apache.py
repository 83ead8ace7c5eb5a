"""A real Apache in front of an application, with a file of ``deploy/apache``."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.helpers.running_service import ROOT
from tests.helpers.servers.ports import free_port
from tools.system_packages import SEARCH_PATH

MODULES = Path("/usr/lib/apache2/modules")
LOADED = ("mpm_event", "authn_core", "authz_core", "authz_user", "headers", "proxy", "proxy_http")


class Apache:
    """A running Apache.

    Attributes:
        url: of the guarded application.
        log: what it writes down of requests.
    """

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log

    def ask(
        self, path: str, secret: str | None = None, headers: Mapping[str, str] | None = None, *, in_cookie: bool = False
    ) -> httpx.Response:
        """Send a request that shows a secret."""
        shown = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        if in_cookie:
            shown = {"Cookie": f"a=b; session={secret}"}
        return httpx.get(self.url + path, headers={**(headers or {}), **shown}, timeout=60)


@contextmanager
def running_apache(module: str, replaced: dict[str, str], more: str = "") -> Iterator[Apache]:
    """Run Apache with ``deploy/apache/mod_….conf``.

    Args:
        module: ``auth_openidc`` or ``oauth2``.
        replaced: what stands in the file, and what is put in its place.
        more: lines before those of the file.
    """
    port = free_port()
    text = (ROOT / f"deploy/apache/mod_{module}.conf").read_text()
    with tempfile.TemporaryDirectory(prefix="st-apache-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # its processes are another user's where it is started by root
        for shown, real in {**replaced, "127.0.0.1:8000": f"127.0.0.1:{port}", "/var/log/apache2": name}.items():
            assert shown in text, shown
            text = text.replace(shown, real)
        loaded = "".join(f"LoadModule {each}_module {MODULES}/mod_{each}.so\n" for each in (*LOADED, module))
        user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
        own = f"ServerRoot {name}\nServerName localhost\n{user}PidFile {name}/pid\nErrorLog {name}/errors\n"
        (folder / "apache.conf").write_text(f"DefaultRuntimeDir {name}\n{own}{loaded}{more}\n{text}")
        argv = ["apache2", "-DFOREGROUND", "-f", str(folder / "apache.conf")]
        environment = {**os.environ, "PATH": SEARCH_PATH}
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=environment)
        try:
            apache = Apache(f"http://127.0.0.1:{port}", folder / "application.log")
            _wait(process, apache.url, folder / "errors")
            yield apache
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait(process: subprocess.Popen[bytes], url: str, errors: Path) -> None:
    give_up_s = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < give_up_s:
        try:
            httpx.get(url, timeout=30)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    process.kill()
    raise AssertionError(f"Apache does not listen: {errors.read_text() if errors.exists() else 'no log'}")
