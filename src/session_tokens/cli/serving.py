"""``session-tokens serve``: HTTP by this process, or by several that it starts."""

from __future__ import annotations

import socket
import sys
from argparse import Namespace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import exits
from .exits import UsageError
from .main import exit_code_of, warn
from .operating import settings_of, store_url

if TYPE_CHECKING:
    from ..service.workers.member import Member

WORKER = (sys.executable, "-P", "-m", "session_tokens.cli.serving")
"""Runs a worker; its code is read anew at each reload."""


def serve(options: Namespace) -> int:
    """Serve HTTP until the process is stopped."""
    if options.audit_anchor is not None and not options.audit:
        raise UsageError("--audit-anchor goes with --audit")
    if options.trusted_proxy and not options.behind_proxy:
        raise UsageError("--trusted-proxy goes with --behind-proxy")
    if options.workers == 1:
        return _serve_alone(options, None)
    code: int = _service("workers.serving").serve_by_workers(
        store_url(options),
        options.workers,
        WORKER,
        vars(options),
        host=options.host,
        port=options.port,
        console_host=options.console_host,
        console_port=options.console_port,
        tls_certificate=options.tls_certificate,
        tls_key=options.tls_key,
        behind_proxy=options.behind_proxy,
    )
    return code


def _serve_alone(options: Namespace, member: Member | None) -> int:
    """Serve by this process, which may be one of several."""
    from ..audit.log import Audit

    serving = _service("serve")
    serving.serve(
        store_url(options),
        audit=Audit(options.audit_anchor) if options.audit else None,
        host=options.host,
        port=options.port,
        behind_proxy=options.behind_proxy,
        trusted_proxies=options.trusted_proxy or serving.TRUSTED_PROXIES,
        allowed_hosts=options.allowed_host or (),
        public_url=options.public_url,
        tls_certificate=options.tls_certificate,
        tls_key=options.tls_key,
        session_cookie=options.session_cookie,
        owner_header=options.owner_header,
        identity_headers=options.identity_header or (),
        login_url=options.login_url,
        console_host=options.console_host,
        console_port=options.console_port,
        webhook_allow=options.webhook_allow or (),
        first_key=not options.no_first_key,
        settings=settings_of(options),
        near_cache=options.near_cache,
        member=member,
    )
    return exits.OK


def _service(module: str) -> Any:
    """Return a module of the service.

    Raises:
        UsageError: what it needs is not installed.
    """
    try:
        return import_module(f"..service.{module}", __package__)
    except ImportError as error:
        raise UsageError(
            f"serving needs the extra: pip install 'session-tokens[service]' (missing: {error.name})"
        ) from None


def _work(control: int) -> int:
    """Serve as one of several workers; ``control`` is the file of the socket to the supervisor."""
    warn(quiet=False)
    member = _service("workers.member").Member(socket.socket(fileno=control))
    options = Namespace(**member.options)
    return exit_code_of(lambda: _serve_alone(options, member), as_json=options.json)


if __name__ == "__main__":
    sys.exit(_work(int(sys.argv[1])))
