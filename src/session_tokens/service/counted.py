"""Counts and times requests to the console's routes, as requests to the API are.

What such a route wants to be counted by besides, an act and how it went, it leaves in the scope of its request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Message, Receive, Scope, Send

from .exchange import Exchange
from .metrics import Metrics
from .problems import Problem

TOLD = "session_tokens.told"
"""Where in a scope an act and its outcome stand."""
HOST_ONCE: Final = frozenset({b"host"})


class Counted(BaseRoute):
    """A route whose requests are counted.

    Args:
        route: as it is without.
        metrics: of the service.
        check: raises ``Problem`` for a request, of which only the host is read, that the route is not to see.
    """

    def __init__(self, route: BaseRoute, metrics: Metrics, check: Callable[[Exchange], None] | None = None) -> None:
        self._route = route
        self._metrics = metrics
        self._check = check
        self._path = route.path if isinstance(route, Route) else "(other)"

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the route takes a request."""
        return self._route.matches(scope)

    def url_path_for(self, name: str, /, **path_params: str) -> URLPath:
        """Return the address of the route."""
        return self._route.url_path_for(name, **path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the route answer, and count the answer."""
        began_s, status = time.perf_counter(), 0

        async def noticed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if await self._is_let_in(scope, receive, noticed):
                await self._route.handle(scope, receive, noticed)
        finally:
            if status:
                self._metrics.counted(self._path, scope["method"], status, time.perf_counter() - began_s)
            if TOLD in scope:
                self._metrics.acted(*scope[TOLD])

    async def _is_let_in(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether the route may see a request; else it is answered."""
        if self._check is None or scope["type"] != "http":
            return True
        exchange = Exchange(scope, receive, send, self._path)
        try:
            exchange.read_headers(HOST_ONCE)
            self._check(exchange)
        except Problem as problem:
            await exchange.answer_problem(problem)
            return False
        return True
