"""What the service counts, for Prometheus: requests, failed keys and what happened; never an owner, id or secret."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from .._async.api import AsyncSessionTokens
from .._async.sessions import REASONS
from ..contract.near_cache import NearCache
from ..errors import CorruptRecord, StoreUnavailable, UnknownPepper
from ..events import SESSION_ENDED, SETTING_CHANGED, WEBHOOK_REPLAYED, Event
from .crew import METRICS, Alone, Crew
from .exchange import Exchange
from .logs import lines_dropped
from .workers.sums import Counts, added_up

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
ALARMING_CODES = (
    "internal_error", "unauthenticated", StoreUnavailable.code, UnknownPepper.code, CorruptRecord.code,
)  # fmt: skip
"""Codes that are shown before they were answered: what begins at 1 has not grown in the eyes of `increase()`."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Answers(Collector):
    """Counts answered requests and their times in plain numbers: one loop serves all, so no lock is needed."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._times: dict[str, tuple[list[int], list[float]]] = {}

    def add(self, route: str, method: str, status: int, duration_s: float) -> None:
        """Count one."""
        place = (route, method if method in METHODS else "other", status)
        self._counts[place] += 1
        times = self._times.get(route)
        if times is None:
            times = self._times[route] = ([0] * (len(BUCKETS_S) + 1), [0.0])
        times[0][bisect_left(BUCKETS_S, duration_s)] += 1
        times[1][0] += duration_s

    def collect(self) -> Iterator[Metric]:
        """Return what was counted."""
        requests = CounterMetricFamily(
            "session_tokens_http_requests", "Requests answered.", labels=["route", "method", "status"]
        )
        for (route, method, status), count in self._counts.items():
            requests.add_metric([route, method, str(status)], count)
        yield requests
        seconds = HistogramMetricFamily(
            "session_tokens_http_request_seconds", "Time from request to answer.", labels=["route"]
        )
        names = [*map(str, BUCKETS_S), "+Inf"]
        for route, (buckets, sums) in self._times.items():
            seconds.add_metric([route], list(zip(names, accumulate(buckets), strict=True)), sums[0])
        yield seconds
        dropped = CounterMetricFamily(
            "session_tokens_log_lines_dropped", "Lines of the log that were dropped, because nobody read it in time."
        )
        dropped.add_metric([], lines_dropped())
        yield dropped


class NearCacheCounts(Collector):
    """Tells what a near cache answered.

    Attributes:
        cache: that of the store; ``None`` where there is none.
    """

    def __init__(self) -> None:
        self.cache: NearCache | None = None

    def collect(self) -> Iterator[Metric]:
        """Return what was counted."""
        if self.cache is None:
            return
        verifications = CounterMetricFamily(
            "session_tokens_near_cache_verifications", "Verifications, by whether the near cache answered them.",
            labels=["answered"],
        )  # fmt: skip
        verifications.add_metric(["near"], self.cache.hits)
        verifications.add_metric(["store"], self.cache.misses)
        yield verifications
        drops = CounterMetricFamily("session_tokens_near_cache_drops", "How often the near cache was emptied.")
        drops.add_metric([], self.cache.drops)
        yield drops


class Metrics:
    """The counters of one service; each has a registry of its own, so that several can live in one process.

    Labels are templates of addresses, methods, statuses, codes, kinds of events and reasons: sets that do not grow.

    Args:
        crew: the workers whose counters are added up.
    """

    def __init__(self, crew: Crew | None = None) -> None:
        self._crew = crew or Alone()
        self._crew.answer(METRICS, lambda _: self._counts())
        self.registry = CollectorRegistry()
        self._answers = Answers()
        self.registry.register(self._answers)
        self._near = NearCacheCounts()
        self.registry.register(self._near)
        self._problems = Counter(
            "session_tokens_http_problems", "Problems answered, by code.", ["code"], registry=self.registry
        )
        for code in ALARMING_CODES:
            self._problems.labels(code)
        self._events = Counter(
            "session_tokens_events", "State changes committed by this process.", ["kind", "reason"],
            registry=self.registry,
        )  # fmt: skip
        for reason in sorted(REASONS):
            self._events.labels(SESSION_ENDED, reason)
        self._acts = Counter(
            "session_tokens_console_acts", "What was done in the console, and what was refused there.",
            ["act", "outcome"], registry=self.registry,
        )  # fmt: skip
        self._unreadable = Gauge(
            "session_tokens_unreadable_records", "Records that this process met and cannot read.",
            registry=self.registry,
        )  # fmt: skip
        self._unwritten = Gauge(
            "session_tokens_unwritten_uses", "Uses of sessions that this process could not write down.",
            registry=self.registry,
        )  # fmt: skip
        self._held_back = Gauge(
            "session_tokens_events_held_back_seconds", "How long events have been waiting to be shown, when last seen.",
            registry=self.registry,
        )  # fmt: skip

        Gauge("session_tokens_workers", "Workers that answer.", registry=self.registry).set(1)
        Counter("session_tokens_workers_died", "Workers that died and were started anew.", registry=self.registry)

    def counted(self, route: str, method: str, status: int, duration_s: float) -> None:
        """Count an answered request of a route that is not the service's own."""
        self._answers.add(route, method, status, duration_s)

    def acted(self, act: str, outcome: str) -> None:
        """Count what somebody did in the console, or was refused."""
        self._acts.labels(act, outcome).inc()

    def answered(self, exchange: Exchange, duration_s: float) -> None:
        """Count an answered request."""
        self._answers.add(exchange.route, exchange.method, exchange.status, duration_s)
        if exchange.code != "ok":
            self._problems.labels(exchange.code).inc()

    def watch(self, tokens: AsyncSessionTokens) -> Callable[[], None]:
        """Count what is committed from now on, and what cannot be read or written down; the answer ends it."""
        unreadables, touches = tokens.store.unreadables, tokens.touches
        self._unreadable.set_function(lambda: unreadables.count)
        self._unwritten.set_function(lambda: touches.failed)
        self._held_back.set_function(lambda: tokens.events_held_back_ms / 1000)
        self._near.cache = tokens.store.near_cache
        return tokens.subscribe(self._happened)

    def _happened(self, event: Event) -> None:
        reason = event.reason or ""
        if event.kind == SETTING_CHANGED and reason != "unset":
            reason = "set"  # what is stored would be a label without an end
        elif event.kind == WEBHOOK_REPLAYED and reason:
            reason = "after"  # so would the event that it goes on behind
        self._events.labels(event.kind, reason).inc()

    def text(self) -> bytes:
        """Return everything that this process counted in Prometheus' text form."""
        return generate_latest(self.registry)

    async def text_of_all(self) -> bytes:
        """Return the same of all workers together.

        Raises:
            TimeoutError: they do not say what they counted.
        """
        if self._crew.size == 1:
            return self.text()
        own = self._counts()
        return generate_latest(_Sums(added_up([own, *await self._crew.ask(METRICS, own)])))

    def _counts(self) -> Counts:
        """Return everything that this process counted in plain values."""
        return [
            [
                family.name, family.documentation, family.type,
                [[sample.name, sample.labels, sample.value] for sample in family.samples],
            ]
            for family in self.registry.collect()
        ]  # fmt: skip


class _Sums(CollectorRegistry):
    """What several workers counted, as a registry that is asked once."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._sums = counts

    def collect(self) -> Iterator[Metric]:
        """Return the sums."""
        for name, words, kind, samples in self._sums:
            metric = Metric(name, words, kind)
            for sample, labels, value in samples:
                metric.add_sample(sample, labels, value)
            yield metric
