"""One attempt to send an event: to the address that was looked up, without following anything, for ten seconds."""

from __future__ import annotations

import json
import ssl
from collections.abc import Collection
from datetime import UTC, datetime
from typing import NamedTuple

import httpx

from ..crypto.minting import Keyring
from ..events import Event
from ..rules.webhooks import Hook
from .destinations import Destination, Forbidden, destination_of
from .signing import signed_headers

TIMEOUT_S = 10.0
CONNECTIONS_MAX = 32


class Outcome(NamedTuple):
    """How an attempt went: whether the event was taken, whether the address is gone for good, and what to tell."""

    is_taken: bool
    is_gone: bool
    said: str


def body_of(event: Event) -> bytes:
    """Return an event as it is sent."""
    at = datetime.fromtimestamp(event.at / 1000, UTC).isoformat(timespec="milliseconds")
    message = {"type": event.kind, "timestamp": at.replace("+00:00", "Z"), "data": event.to_dict()}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


class Sender:
    """Sends events; one for all webhooks of a process.

    Args:
        allowed: see ``destination_of``.
        trust: the certificates that are trusted; the system's if not given.
    """

    def __init__(self, allowed: Collection[str] = (), trust: ssl.SSLContext | None = None) -> None:
        self._allowed = frozenset(allowed)
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            timeout=TIMEOUT_S,
            verify=trust or ssl.create_default_context(),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
        )

    async def send(self, keyring: Keyring, hook: Hook, event: Event, now_ms: int) -> Outcome:
        """Send an event, signed as of ``now_ms`` (milliseconds since the epoch)."""
        body = body_of(event)
        try:
            destination = await destination_of(hook.url, self._allowed)
            headers = signed_headers(keyring, hook, event.id, now_ms // 1000, body)
            return await self._sent(destination, headers, body)
        except Forbidden as refusal:
            return Outcome(False, False, str(refusal))
        except (OSError, httpx.HTTPError, ValueError) as error:
            return Outcome(False, False, type(error).__name__)

    async def _sent(self, destination: Destination, headers: dict[str, str], body: bytes) -> Outcome:
        scheme, host, port, target, address = destination
        is_plain = port == (443 if scheme == "https" else 80)
        shown = f"[{host}]" if ":" in host else host
        request = self._client.build_request(
            "POST",
            httpx.URL(scheme=scheme, host=address, port=port, raw_path=target.encode("ascii")),
            content=body,
            headers={
                **headers,
                "host": shown if is_plain else f"{shown}:{port}",
                "content-type": "application/json",
                "user-agent": "session-tokens",
            },
            extensions={"sni_hostname": host},  # the certificate must be that of the name, not of the address
        )
        response = await self._client.send(request, stream=True)  # what is answered is of no interest, however long
        await response.aclose()
        return Outcome(response.is_success, response.status_code == 410, f"HTTP {response.status_code}")

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()
