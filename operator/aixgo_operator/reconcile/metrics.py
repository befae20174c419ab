"""What the operator counts. Names are part of its interface; labels are bounded (kinds, verbs, outcomes)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from aixgo_operator.pki.rotation import Phase

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aixgo_operator.reconcile.keys import Key

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The operator's Prometheus metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._reconciles = Counter(
            "aixgo_operator_reconciles", "Reconciles by kind.", ["kind"], registry=self.registry
        )
        self._errors = Counter(
            "aixgo_operator_reconcile_errors",
            "Reconciles that failed, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "aixgo_operator_reconcile_seconds",
            "Time of a reconcile, by kind.",
            ["kind"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._requests = Counter(
            "aixgo_operator_api_requests",
            "Requests to the API server, by verb, resource and status (0: no answer).",
            ["verb", "resource", "status"],
            registry=self.registry,
        )
        self._events = Counter(
            "aixgo_operator_watch_events", "Watch events by kind.", ["kind"], registry=self.registry
        )
        self._depth = Gauge(
            "aixgo_operator_queue_depth", "Keys that wait for a worker.", registry=self.registry
        )
        self._phase = Gauge(
            "aixgo_operator_ca_rotation_phase",
            "1 for the phase that the certificate authority is in.",
            ["phase"],
            registry=self.registry,
        )
        self._waiting = Gauge(
            "aixgo_operator_ca_rotation_waiting",
            "Secrets and pods that a change of the certificate authority waits for.",
            registry=self.registry,
        )
        self._ca_expiry = Gauge(
            "aixgo_operator_ca_expiry_timestamp_seconds",
            "When the certificate authority that signs expires.",
            registry=self.registry,
        )
        self._leader = Gauge("aixgo_operator_leader", "1 while this process acts.", registry=self.registry)

    def done(self, key: Key, seconds: float, error: BaseException | None) -> None:
        """A reconcile ended (:class:`~aixgo_operator.reconcile.workqueue.QueueObserver`)."""
        self._reconciles.labels(key.kind).inc()
        self._seconds.labels(key.kind).observe(seconds)
        if error is not None:
            self._errors.labels(key.kind).inc()

    def request(self, verb: str, resource: str, status: int) -> None:
        """A request to the API server was answered, or not (status 0)."""
        self._requests.labels(verb, resource, str(status)).inc()

    def event(self, kind: str) -> None:
        """A watch event came in."""
        self._events.labels(kind).inc()

    def authority(self, phase: str, waiting: int, expiry: datetime) -> None:
        """The certificate authority was looked at."""
        for each in Phase:
            self._phase.labels(each).set(each == phase)
        self._waiting.set(waiting)
        self._ca_expiry.set(expiry.timestamp())

    def watch_depth(self, depth: Callable[[], float]) -> None:
        """Report the queue's depth from ``depth`` whenever somebody asks."""
        self._depth.set_function(depth)

    def watch_leader(self, leading: Callable[[], bool]) -> None:
        """Report leadership from ``leading`` whenever somebody asks."""
        self._leader.set_function(lambda: 1.0 if leading() else 0.0)
