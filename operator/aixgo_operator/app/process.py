"""One operator process: stand by, lead, watch, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import time
from typing import TYPE_CHECKING, Final

import kopf

from aixgo_operator.api.constants import LEASE_NAME
from aixgo_operator.app import definitions
from aixgo_operator.app.health import HealthServer, WatchCanary
from aixgo_operator.app.leadership import Leadership
from aixgo_operator.app.main import EXIT_DEFINITIONS, EXIT_FAILED, EXIT_LOST
from aixgo_operator.handlers import watch
from aixgo_operator.kube.client import ApiServerClient
from aixgo_operator.kube.errors import ApiError, NotFoundError
from aixgo_operator.kube.lease import Elector, LeaseTimes
from aixgo_operator.kube.resources import OUR_KINDS
from aixgo_operator.probe.redis_info import RedisProber
from aixgo_operator.probe.statusz import HttpPodProber
from aixgo_operator.reconcile.engine import Engine
from aixgo_operator.reconcile.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.kube.resources import Resource
    from aixgo_operator.probe.redis_info import BackendProber
    from aixgo_operator.probe.statusz import PodProber

log = logging.getLogger(__name__)

#: Seconds between two tries to read the cluster at the start, and for kopf to stop.
_RETRY: Final = 2.0
_STOP_TIMEOUT: Final = 10.0
#: Seconds in which whoever installs the CRDs has installed all of them.
_INSTALLATION: Final = 10.0
#: Seconds between two looks for CRDs that are missing, and between two at the tasks of the watches.
_LOOK_FOR_CRDS: Final = 10.0
_LOOK_AT_WATCHES: Final = 2.0
#: Seconds that a watch may leave a change unanswered. kopf opens one anew that was silent for 70.
_WATCH_SILENCE: Final = 150.0


class Process:
    """The operator. ``run()`` returns the exit code; SIGTERM and ``stop()`` end it in good order."""

    def __init__(
        self,
        settings: OperatorSettings,
        *,
        kubeconfig: str | None = None,
        health_host: str | None = "127.0.0.1",
        health_port: int = 0,
        pods: PodProber | None = None,
        backends: BackendProber | None = None,
        lease_times: LeaseTimes | None = None,
        on_lost: Callable[[], None] | None = None,
        watch_silence: float = _WATCH_SILENCE,
    ) -> None:
        self._settings = settings
        self._kubeconfig = kubeconfig
        self._pods = pods or HttpPodProber(timeout=settings.probe_timeout_seconds)
        self._backends = backends or RedisProber(timeout=settings.probe_timeout_seconds)
        self._lease_times = lease_times or LeaseTimes()
        self._watch_silence = watch_silence
        #: What to do at once when leadership is lost: nothing may be written any more, not even on the way
        #: out.
        self._on_lost = on_lost or _exit_now
        self.metrics = Metrics()
        self.health = HealthServer(
            self.metrics.registry, problems=self._problems, host=health_host, port=health_port
        )
        self.engine: Engine | None = None
        self.leadership: Leadership | None = None
        self._canary: WatchCanary | None = None
        self._kopf: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        #: Whether the CRDs are older than this operator.
        self._refused = False
        #: Set when the operator leads and has looked at everything once.
        self.working = asyncio.Event()

    def stop(self) -> None:
        """Ask the process to end."""
        self._stop.set()

    async def run(self) -> int:
        """Run until told to stop; return the exit code."""
        self._handle_signals()
        client = await ApiServerClient.connect(self._kubeconfig, on_request=self.metrics.request)
        await self.health.start()
        # As name of the pod and something random: two containers of one pod name must not be one candidate.
        identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}_{secrets.token_hex(4)}"
        leadership = self.leadership = Leadership(
            lambda: ApiServerClient.connect(self._kubeconfig, on_request=self.metrics.request),
            lambda own: Elector(
                own,
                namespace=self._settings.operator_namespace,
                name=LEASE_NAME,
                identity=identity,
                times=self._lease_times,
            ),
            self._on_lost,
        )
        self.metrics.watch_leader(leadership.leading)
        try:
            # Before it is ready: a rolling update stops here, and the old operator goes on.
            if not await self._until_stopped(self._check_definitions(client)):
                return 0
            if self._refused:
                return EXIT_DEFINITIONS
            self.health.ready = True
            if not await self._until_stopped(leadership.acquire()):
                return 0
            return await self._lead(client, leadership, identity)
        finally:
            await leadership.release()
            self.health.ready = False
            await self.health.stop()
            await client.close()
            if isinstance(self._pods, HttpPodProber):
                await self._pods.close()

    async def _lead(self, client: ApiServerClient, leadership: Leadership, identity: str) -> int:
        # Before kopf: at its end it cancels every task that was started after it.
        losing = asyncio.create_task(leadership.lost.wait(), name="lease")
        engine = self.engine = Engine(
            client.with_fence(leadership.leading),
            self._settings,
            pods=self._pods,
            backends=self._backends,
            metrics=self.metrics,
        )
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        stop_kopf = asyncio.Event()
        try:
            if not await self._until_stopped(self._start_engine(client, engine)):
                return 0
            if self._refused:
                return EXIT_DEFINITIONS
            missing = await self._missing(client)
            self._kopf = asyncio.create_task(
                self._watch(client, engine, identity=identity, stop=stop_kopf, missing=missing), name="kopf"
            )
            returning = asyncio.create_task(self._until_installed(client, engine, missing), name="CRDs")
            dying = asyncio.create_task(self._until_a_watch_is_dead(), name="canary")
            self.working.set()
            done, _ = await asyncio.wait(
                {losing, stopping, returning, dying, self._kopf}, return_when=asyncio.FIRST_COMPLETED
            )
            returning.cancel()
            dying.cancel()
            if losing in done:
                return EXIT_LOST
            if returning in done:
                log.warning("a CRD that was missing is installed: starting again")
                return EXIT_FAILED
            if dying in done:
                # Its last watch may hang for ever, and kopf with it.
                log.error("a watch has ended")
                return EXIT_FAILED
            if self._kopf in done and stopping not in done:
                log.error("the watches ended", extra={"error": repr(self._kopf.exception())})
                return EXIT_FAILED
            return 0
        finally:
            await engine.stop()
            stop_kopf.set()
            await self._end_kopf()
            stopping.cancel()
            losing.cancel()
            await asyncio.gather(losing, stopping, return_exceptions=True)

    async def _check_definitions(self, client: ApiServerClient) -> None:
        """Refuse to work with CRDs that are older than this operator."""
        lacking = await definitions.too_old(client, patience=definitions.PATIENCE)
        if lacking:
            self._refused = True
            log.error(definitions.refusal(lacking))

    async def _start_engine(self, client: ApiServerClient, engine: Engine) -> None:
        """Read the cluster; wait for CRDs that are not installed yet.

        Those that stay away may have been deleted: objects of the others may be waiting to be released.
        """
        began = asyncio.get_running_loop().time()
        waited = False
        while True:
            late = asyncio.get_running_loop().time() - began > _INSTALLATION
            try:
                await engine.start(incomplete=late)
            except NotFoundError:
                log.warning("the CRDs of aixgo.dev are not installed: waiting for them")
            except ApiError as error:
                log.warning("the cluster cannot be read", extra={"error": str(error)})
            else:
                break
            waited = True
            await asyncio.sleep(_RETRY)
        if waited:
            await self._check_definitions(client)

    async def _missing(self, client: ApiServerClient) -> list[Resource]:
        """Return our kinds that are not served: a watch of one would end, and with it all others."""
        namespace = next(iter(self._settings.watch_namespaces), None)
        return [each for each in OUR_KINDS if not await client.installed(each, namespace)]

    async def _until_a_watch_is_dead(self) -> None:
        while self._canary is None or not self._canary.dead():  # noqa: ASYNC110  tasks that end tell nobody
            await asyncio.sleep(_LOOK_AT_WATCHES)

    async def _until_installed(
        self, client: ApiServerClient, engine: Engine, missing: list[Resource]
    ) -> None:
        """Wait until one of these kinds is served, or one of an add-on that somebody wants; else for ever."""
        while True:
            await asyncio.sleep(_LOOK_FOR_CRDS)
            with contextlib.suppress(ApiError):
                if missing and not set(missing) <= set(await self._missing(client)):
                    return
                if await engine.addons.have_come():
                    return

    async def _watch(
        self,
        client: ApiServerClient,
        engine: Engine,
        *,
        identity: str,
        stop: asyncio.Event,
        missing: list[Resource],
    ) -> None:
        namespaces = self._settings.watch_namespaces
        watched = watch.build(
            engine,
            client.connection,
            clusterwide=not namespaces,
            optional=engine.addons.installed,
            missing=missing,
        )
        self._canary = WatchCanary(
            frozenset(
                f"watcher for {resource.plural}.{resource.version}"
                + (f".{resource.group}" if resource.group else "")
                + f"@{namespace if resource.namespaced else None}"
                for resource in watched.resources
                for namespace in (namespaces or (None,))
            ),
            time.monotonic,
        )
        before = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=watched.registry,
            settings=watched.settings,
            # Without it kopf asks for the name of the user, which a container need not have. (Its type is a
            # NewType of str that kopf does not export.)
            identity=identity,  # type: ignore[arg-type]
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
        )
        # kopf has just taken the signals over; it would end first, and with it everything else.
        self._handle_signals()
        await kopf.run_tasks(tasks, ignored=before)

    async def _end_kopf(self) -> None:
        """Wait for kopf; one that was stopped while it started may hang."""
        if self._kopf is None:
            return
        done, pending = await asyncio.wait({self._kopf}, timeout=_STOP_TIMEOUT)
        for task in pending:
            task.cancel()
            await asyncio.wait({task}, timeout=_STOP_TIMEOUT)
        for task in done:
            if not task.cancelled() and task.exception() is not None:
                log.warning("kopf ended with an error", extra={"error": repr(task.exception())})

    async def _until_stopped(self, work: Coroutine[object, object, None]) -> bool:
        """Run a coroutine until it ends (True), or until the process has to stop (False)."""
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if task.done():
            await task
            return True
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return False

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, self.stop)

    def _problems(self) -> list[str]:
        """Return why this process should be restarted."""
        problems = []
        if self.engine is not None and self.working.is_set() and not self.engine.alive:
            problems.append("the work queue has stopped")
        if self._canary is not None:
            problems += [f"no {name}" for name in self._canary.dead()]
        if self.engine is not None:
            silent = self.engine.echo.silent(self._watch_silence)
            problems += [f"the watch of {name} does not tell what changes" for name in silent]
        return problems


def _exit_now() -> None:
    """End the process without another word to the API server."""
    log.error("exiting: another process may lead by now")
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(EXIT_LOST)
