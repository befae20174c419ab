"""The admin HTTP server: health, metrics and ``/statusz``. Plaintext, and nothing in it is secret."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import orjson

from aixgo.observability.prometheus import resident_bytes
from aixgo.server.http import Answer, HttpServer
from aixgo.server.status import health_document, overall

if TYPE_CHECKING:
    from typing import Any

    from aixgo.contract import Statusz
    from aixgo.observability.prometheus import PrometheusMetrics
    from aixgo.server.status import Check

#: How long answers that are on their way may take when the process ends, in seconds.
SHUTDOWN_SECONDS = 2.0


class Observed(Protocol):
    """What the admin server shows."""

    metrics: PrometheusMetrics
    #: When the process began, with its time zone.
    started_at: datetime

    def statusz(self) -> Statusz:
        """Return the document of ``/statusz``."""

    def checks(self) -> list[Check]:
        """Return what the parts of the process are like now."""


class AdminServer:
    """Serves the admin endpoints of one runtime."""

    def __init__(self, observed: Observed, host: str, port: int) -> None:
        """Prepare the server. ``port`` 0 takes a free one; ``host`` "" is every address of the machine."""
        self._observed = observed
        self._host = host or None
        documents = {
            "/health": self._health,
            "/health/live": self._live,
            "/health/ready": self._ready,
            "/metrics": self._metrics,
            "/statusz": self._statusz,
        }
        self._http = HttpServer(documents, observed.metrics.http_finished)
        self.port = port

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port cannot be bound.
        """
        self.port = await self._http.start(self._host, self.port)

    async def stop(self) -> None:
        """Stop listening and end the connections."""
        await self._http.stop(SHUTDOWN_SECONDS)

    def _health(self) -> Answer:
        document = health_document(
            self._observed.checks(),
            self._observed.started_at,
            datetime.now(UTC),
            memory_bytes=resident_bytes(),
            tasks=len(asyncio.all_tasks()),
        )
        return _json(document, status=503 if document["status"] == "unhealthy" else 200)

    def _live(self) -> Answer:
        return _json({"status": "alive"})

    def _ready(self) -> Answer:
        if overall(self._observed.checks()) == "unhealthy":
            return _json({"status": "not ready"}, status=503)
        return _json({"status": "ready"})

    def _metrics(self) -> Answer:
        return Answer(self._observed.metrics.exposition(), "text/plain; version=0.0.4; charset=utf-8")

    def _statusz(self) -> Answer:
        return Answer(self._observed.statusz().json())


def _json(document: dict[str, Any], status: int = 200) -> Answer:
    return Answer(orjson.dumps(document), status=status)
