"""Health, readiness and metrics over HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

#: Seconds that kopf has to start its watches; and that one may be away after all of them ran.
_GRACE: Final = 60.0
_LOST: Final = 10.0


@dataclass(slots=True)
class WatchCanary:
    """Notices when a watch is gone while its process goes on (a task of kopf may end without a word)."""

    #: Parts of the names of the watch tasks that have to run.
    expected: frozenset[str]
    monotonic: Callable[[], float]
    _missing_since: float | None = None
    _complete: bool = False

    def dead(self) -> list[str]:
        """Return the watches that did not come, or went and did not come back."""
        names = " ".join(task.get_name() for task in asyncio.all_tasks() if not task.done())
        missing = sorted(name for name in self.expected if name not in names)
        if not missing:
            self._missing_since = None
            self._complete = True
            return []
        if self._missing_since is None:
            self._missing_since = self.monotonic()
        grace = _LOST if self._complete else _GRACE
        return missing if self.monotonic() - self._missing_since > grace else []


class HealthServer:
    """``/healthz``: restart me if not 200. ``/readyz``: the process serves or stands by. ``/metrics``:
    Prometheus."""

    def __init__(
        self, registry: CollectorRegistry, *, problems: Callable[[], list[str]], host: str | None, port: int
    ) -> None:
        self._registry = registry
        self._problems = problems
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self.ready = False

    @property
    def port(self) -> int:
        """The port that is listened on (of interest when it was given as 0)."""
        if self._runner is None or not self._runner.addresses:
            return self._port
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        problems = self._problems()
        return web.json_response(
            {"status": "failing" if problems else "ok", "problems": problems}, status=500 if problems else 200
        )

    async def _readyz(self, _: web.Request) -> web.Response:
        return web.json_response({"ready": self.ready}, status=200 if self.ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        from prometheus_client import exposition

        return web.Response(
            body=exposition.generate_latest(self._registry),
            headers={"Content-Type": exposition.CONTENT_TYPE_LATEST},
        )
