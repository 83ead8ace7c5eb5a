"""The API for asyncio."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ..settings import Duration
from .commands import AsyncCommands

if TYPE_CHECKING:  # it stands on this, and on a library that only those need who connect
    from ssl import SSLContext

    from ..client.async_client import AsyncRemoteTokens


class AsyncSessionTokens(AsyncCommands):
    """Sessions, and the tokens that live under them, on one store.

    Every command is atomic: it is done whole, or raises and has changed nothing. ``verify_*`` and ``get_*`` answer
    ``None`` for whatever is not alive. A ``key`` is an id (which manages) or a secret (which must authenticate).
    Durations are seconds or ``timedelta``, ``None`` is never. Every mutating command takes ``idempotency_key=``:
    the same call again within 24 hours answers its first outcome, its secret too.

    Any command may raise ``StoreUnavailable`` or ``StoreBusy``: the store could not do it, which never means
    "not valid". Arguments of the wrong type raise ``TypeError``, impossible ones ``InvalidInput``.

    Made by ``open``; ``connect`` makes the same over the HTTP service. It is a context manager, and safe for
    any number of tasks and threads.
    """

    @staticmethod
    async def connect(
        url: str,
        *,
        key: str,
        timeout: Duration = 5.0,
        retry_for: Duration = 10.0,
        tls: SSLContext | None = None,
        near_cache: Duration | None = None,
    ) -> AsyncRemoteTokens:
        """Return the same API over the HTTP service at an address; nothing is sent yet. Needs ``[client]``.

        Args:
            url: where the service is, such as ``https://tokens.example``; http on this machine alone.
            key: the secret of a service key (``stk_…``), whose role says what may be done.
            timeout: seconds or ``timedelta`` for one try.
            retry_for: for how long a command is tried again while the service does not answer, or is busy. It is done
                once, however often it is sent.
            tls: how the service is recognised; as the system does if not given.
            near_cache: seconds that the answer of a verification may be older than a change made elsewhere, 0.2 to 60;
                0 for none. As ``SESSION_TOKENS_NEAR_CACHE`` says if not given.

        Raises:
            InvalidInput: an address, key or duration that can never be right.
        """
        client = import_module("session_tokens.client.async_client")
        made: AsyncRemoteTokens = client.AsyncRemoteTokens(
            url, key=key, timeout=timeout, retry_for=retry_for, tls=tls, near_cache=near_cache
        )
        return made
