"""What the service counts, for Prometheus: requests, failed keys and what happened; never an owner, id or secret."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from ..async_api import AsyncSessionTokens
from ..events import Event
from .exchange import Exchange

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The counters of one service; each has a registry of its own, so that several can live in one process.

    Labels are templates of addresses, methods, statuses, codes, kinds of events and reasons: sets that do not grow.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "session_tokens_http_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "session_tokens_http_request_seconds", "Time from request to answer.", ["route"], buckets=BUCKETS_S,
            registry=self.registry,
        )  # fmt: skip
        self._problems = Counter(
            "session_tokens_http_problems", "Problems answered, by code.", ["code"], registry=self.registry
        )
        self._events = Counter(
            "session_tokens_events", "State changes committed by this process.", ["kind", "reason"],
            registry=self.registry,
        )  # fmt: skip
        # Finding a labelled child costs more than counting in it; a hot route looks its own up here.
        self._children: dict[tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]] = {}

    def answered(self, exchange: Exchange, duration_s: float) -> None:
        """Count an answered request."""
        place = (exchange.route, exchange.method, exchange.status)
        child = self._children.get(place)
        if child is None:
            method = exchange.method if exchange.method in METHODS else "other"
            count = self._requests.labels(exchange.route, method, str(exchange.status)).inc
            child = (count, self._seconds.labels(exchange.route).observe)
            if method != "other":
                self._children[place] = child
        child[0]()
        child[1](duration_s)
        if exchange.code != "ok":
            self._problems.labels(exchange.code).inc()

    def watch(self, tokens: AsyncSessionTokens) -> Callable[[], None]:
        """Count what is committed from now on; the answer ends it."""
        return tokens.subscribe(self._happened)

    def _happened(self, event: Event) -> None:
        self._events.labels(event.kind, event.reason or "").inc()

    def text(self) -> bytes:
        """Answer everything counted in Prometheus' text form."""
        return generate_latest(self.registry)


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
