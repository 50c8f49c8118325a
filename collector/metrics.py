"""What the collector counts, for Prometheus."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_EVENTS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)


class Metrics:
    """One collector's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests by way in and status", "way", "status")
        self._events = self._counter("events", "Events by outcome: accepted, refused, forbidden", "outcome")
        self._unkept = self._counter(
            "refusals_not_kept", "Refused events that did not go to quarantine: repeated, allowance", "why"
        )
        self.accepted = self._events.labels("accepted")
        self.refused = self._events.labels("refused")
        self.forbidden = self._events.labels("forbidden")
        self.repeated = self._unkept.labels("repeated")
        self.over_allowance = self._unkept.labels("allowance")
        self.commit_seconds = self._histogram("commit_seconds", "Writing one group, until COMMIT returned", _SECONDS)
        self.commit_events = self._histogram("commit_events", "Events in one commit", _EVENTS)
        self.request_events = self._histogram("request_events", "Events in one request", _EVENTS)
        self.failed_commits = self._counter("failed_commits", "Groups that the database did not take")
        self.queue_events = self._gauge("queue_events", "Events that wait for their commit")
        self.held_bytes = self._gauge("held_bytes", "Bytes of request bodies in memory")
        self.database_up = self._gauge("database_up", "1 while the writer is connected")
        self.spooled = self._counter("spooled", "Events and refusals that went to the spool")
        self.drained = self._counter("drained", "Events and refusals that came out of the spool into the database")
        self.damaged = self._counter("spool_damaged", "Segments or records of the spool that were kept aside")
        self.spool_events = self._gauge("spool_events", "Events and refusals in the spool")
        self.spool_bytes = self._gauge("spool_bytes", "Bytes of the spool")
        self._hooks = self._counter(
            "hook_calls", "Webhooks by source and outcome: accepted, ignored, unread, unauthentic", "source", "outcome"
        )
        self._ignored = self._counter(
            "signals_ignored", "OpenTelemetry's signals that are no events, by kind: span, log", "signal"
        )
        self._answered: dict[tuple[str, int], Counter] = {}

    def count_request(self, way: str, status: int) -> None:
        child = self._answered.get((way, status))
        if child is None:
            child = self._answered[way, status] = self._requests.labels(way, str(status))
        child.inc()

    def count_ignored(self, signal: str, count: int) -> None:
        self._ignored.labels(signal).inc(count)

    def count_hook(self, source: str, outcome: str) -> None:
        self._hooks.labels(source, outcome).inc()

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"milepost_collector_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"milepost_collector_{name}", help_text, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"milepost_collector_{name}", help_text, buckets=buckets, registry=self.registry)
