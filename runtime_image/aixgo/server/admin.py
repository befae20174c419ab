"""The admin HTTP server: health, metrics and ``/statusz``. Plaintext, and nothing in it is secret."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import orjson
from aiohttp import web

from aixgo.observability.prometheus import resident_bytes
from aixgo.server.status import health_document, overall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from aixgo.contract import Statusz
    from aixgo.observability.prometheus import PrometheusMetrics
    from aixgo.server.status import Check

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: How long running requests may go on when the process ends, in seconds.
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
        self._wanted_port = port
        application = web.Application(middlewares=[self._measured])
        application.router.add_get("/health", self._health)
        application.router.add_get("/health/live", self._live)
        application.router.add_get("/health/ready", self._ready)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/statusz", self._statusz)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        self.port = port

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port cannot be bound.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._wanted_port).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening and end running requests."""
        await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        document = health_document(
            self._observed.checks(),
            self._observed.started_at,
            datetime.now(UTC),
            memory_bytes=resident_bytes(),
            tasks=len(asyncio.all_tasks()),
        )
        return _json(document, status=503 if document["status"] == "unhealthy" else 200)

    async def _live(self, _: web.Request) -> web.Response:
        return _json({"status": "alive"})

    async def _ready(self, _: web.Request) -> web.Response:
        if overall(self._observed.checks()) == "unhealthy":
            return _json({"status": "not ready"}, status=503)
        return _json({"status": "ready"})

    async def _metrics(self, _: web.Request) -> web.Response:
        text = self._observed.metrics.exposition()
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _statusz(self, _: web.Request) -> web.Response:
        return _json(self._observed.statusz().model_dump(mode="json", by_alias=True))

    @web.middleware
    async def _measured(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else "other"
        status = 500
        try:
            response = await handler(request)
            status = response.status
            return response
        except web.HTTPException as refused:
            status = refused.status
            raise
        except asyncio.CancelledError:
            status = 499
            raise
        finally:
            # The method comes from the caller; only the ones that routes have may become labels.
            method = request.method if request.method in ("GET", "HEAD") else "other"
            self._observed.metrics.http_finished(method, path, status, time.perf_counter() - began)


def _json(document: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")
