"""Where a service is and how it is asked, checked once."""

from __future__ import annotations

import ipaddress
from importlib.metadata import version
from urllib.parse import urlsplit

from ..crypto.secret_form import KEY_SECRET, is_secret
from ..errors import InvalidInput
from ..settings import Duration, duration_ms
from ..validation import may_be_host


class ServiceAddress:
    """The address of a service, the headers of every request, and the times.

    Raises:
        InvalidInput: an address, key or duration that can never be right; no message repeats a secret.
    """

    def __init__(self, url: object, key: object, timeout: Duration, retry_for: Duration) -> None:
        if not isinstance(url, str) or not isinstance(key, str):
            raise TypeError("connect takes the address of a service and the secret of a service key, both str")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
            if not may_be_host(host):
                raise ValueError("no name is written so")
        except ValueError:
            raise InvalidInput("the address of the service has a host or port that is none") from None
        if parts.scheme not in ("http", "https") or not host:
            raise InvalidInput("the address of a service begins with https://, or http:// on this machine")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise InvalidInput("the address of a service has a host and perhaps a path; the key is given as key=")
        if parts.scheme == "http" and not _is_here(host):
            raise InvalidInput("over http everybody on the way reads along; give an address that begins with https://")
        if not is_secret(KEY_SECRET, key):
            raise InvalidInput("key is the secret of a service key (stk_…), as session-tokens keys create shows it")
        self.is_secure = parts.scheme == "https"
        self.url = url.rstrip("/")
        self.headers = {
            "Authorization": f"Bearer {key}",
            "Accept": "application/json",
            "User-Agent": f"session-tokens/{version('session-tokens')}",
        }
        self.timeout_s = _seconds("timeout", timeout)
        self.retry_for_s = _seconds("retry_for", retry_for)


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(name: str, given: Duration) -> float:
    milliseconds = duration_ms(name, given)
    if milliseconds is None:
        raise InvalidInput(f"{name} is a number of seconds")
    return milliseconds / 1000
