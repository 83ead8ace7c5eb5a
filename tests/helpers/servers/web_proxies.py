"""Real reverse proxies in front of an application that tells what reached it."""

from __future__ import annotations

import http.server
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

import pytest

from tests.helpers.running_service import ROOT
from tools.system_packages import SEARCH_PATH

NAMES = ("x-session-owner", "x-session-id", "remote-user")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhcHAifQ.c2lnbmF0dXJl"
FILES = {
    "nginx": "deploy/nginx/forward-auth.conf",
    "caddy": "deploy/caddy/Caddyfile",
    "haproxy": "deploy/haproxy/haproxy.cfg",
}
NJS = "deploy/nginx/forward-auth-njs.conf"
"""nginx with njs in place of ``auth_request``."""
NJS_MODULE = "/usr/lib/nginx/modules/ngx_http_js_module.so"
KINDS = [pytest.param(kind, marks=getattr(pytest.mark, f"needs_{kind}")) for kind in FILES]


def told_of(body: bytes) -> str:
    """Return what the page tells of a body.

    It is not told whole: behind any ``forward_auth``, Caddy 2.6 now and then cuts a long answer to a long body.
    """
    return f"{len(body)} bytes, {crc32(body):08x}"


class Page(http.server.BaseHTTPRequestHandler):
    """The application: tells the request, and whom the proxy told it that it is from, in any spelling."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        told = [[value for name, value in self.headers.items() if name.lower().replace("_", "-") == wanted]
                for wanted in NAMES]  # fmt: skip
        who = " ".join(f"{name}={','.join(values)}" for name, values in zip(NAMES, told, strict=True) if values)
        bearer = self.headers.get("Authorization", "-")[:60]
        words = f"{self.command} {self.path} {who} bearer={bearer}: {told_of(body)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(words)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(words)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


for method in METHODS:
    setattr(Page, f"do_{method}", Page.answer)


class Application(http.server.ThreadingHTTPServer):
    """Serves the page; a proxy that stops cuts its connections, which is nothing to report."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Report what is no connection that was cut."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def running_application() -> Iterator[int]:
    """Yield the port of the application."""
    server = Application(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def configured(path: str, listener: int, service: int, application: int) -> str:
    """Return a file of ``deploy/`` with the addresses replaced, as its first lines ask for."""
    text = (ROOT / path).read_text()
    for shown, real in (("127.0.0.1:8000", listener), ("127.0.0.1:8080", service), ("127.0.0.1:3000", application)):
        assert shown in text
        text = text.replace(shown, f"127.0.0.1:{real}")
    return text


@contextmanager
def running_proxy(kind: str, text: str, port: int, folder: Path) -> Iterator[str]:
    """Run nginx, Caddy or HAProxy with the text that guards a page; yield the address of the page.

    Args:
        kind: ``nginx`` (inside ``http {}``), ``caddy`` or ``haproxy``.
        text: of the configuration.
        port: that the text listens on.
        folder: for its files, its log among them.
    """
    program = shutil.which(kind, path=SEARCH_PATH)
    assert program is not None
    if kind == "nginx":
        text = text.replace("/var/log/nginx", str(folder))
        script = folder / "session-tokens.js"
        shutil.copy(ROOT / "deploy/nginx/session-tokens.js", script)
        (folder / "site.conf").write_text(text.replace("/etc/nginx/session-tokens.js", str(script)))
        modules = f"load_module {NJS_MODULE}; " if "js_import" in text else ""
        temporary = "".join(
            f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"{modules}daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}} "
            f"http {{ {temporary} include {folder}/site.conf; }}"
        )
        argv = [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    elif kind == "caddy":
        (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + text)
        argv = [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    else:
        lua = folder / "session-tokens.lua"
        if not lua.exists():
            shutil.copy(ROOT / "deploy/haproxy/session-tokens.lua", lua)
        (folder / "haproxy.cfg").write_text(text.replace("/etc/haproxy/session-tokens.lua", str(lua)))
        argv = [program, "-f", str(folder / "haproxy.cfg")]
    process = _started(argv, port, folder / "log")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _started(argv: list[str], port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start a server; answer once its port takes connections."""
    with log.open("wb") as output:
        # Caddy keeps its last configuration in its home.
        environment = {"PATH": SEARCH_PATH, "HOME": str(log.parent), "XDG_CONFIG_HOME": str(log.parent)}
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    give_up_s = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < give_up_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise AssertionError(f"{argv[0]} does not listen: {log.read_text()}")
