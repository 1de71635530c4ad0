"""`GET /metrics`: what the server counts, in the form of Prometheus.

Counters of the queue and of the model's thread are read when they are asked for; only requests are
counted here.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from lasttoken.deploy.serving.service import Service

# Seconds: from a tiny model's answer to the default timeout.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counts requests, and shows all counts.

    Args:
        service: whose counts are shown beside.
    """

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "lasttoken_requests",
            "Requests to /classify, by status of the response",
            ["status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "lasttoken_request_seconds",
            "Seconds from a request's head to its response",
            ["status"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_OfService(service))

    def count(self, status: int, seconds: float) -> None:
        """Count a request to /classify."""
        self._requests.labels(str(status)).inc()
        self._seconds.labels(str(status)).observe(seconds)

    def text(self) -> bytes:
        """Return all counts as Prometheus reads them."""
        return generate_latest(self._registry)


class _OfService(Collector):
    """Reads the counts of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        counts, queue = self._service.batcher.counts, self._service.queue
        texts = CounterMetricFamily(
            "lasttoken_texts", "Texts that the model has read", labels=["lane"]
        )
        waiting = GaugeMetricFamily(
            "lasttoken_waiting_texts", "Texts without an answer yet", labels=["lane"]
        )
        for lane in queue.lanes:
            texts.add_metric([lane], counts.num_texts[lane])
            waiting.add_metric([lane], queue.held(lane))
        dropped = CounterMetricFamily(
            "lasttoken_dropped_requests",
            "Requests given up before their answer",
            labels=["reason"],
        )
        for reason, number in sorted(self._service.dropped.items()):
            dropped.add_metric([reason], number)
        yield from (texts, waiting, dropped)
        for name, text, value in (
            ("lasttoken_tokens", "Tokens that the model has read", counts.num_tokens),
            ("lasttoken_batches", "Batches that the model has read", counts.num_batches),
            ("lasttoken_model_faults", "Times that the model failed", counts.num_faults),
            ("lasttoken_model_seconds", "Seconds in the model", counts.busy_seconds),
        ):
            yield CounterMetricFamily(name, text, value=value)
        yield GaugeMetricFamily(
            "lasttoken_ready", "1 while requests are taken", value=self._service.unready is None
        )
