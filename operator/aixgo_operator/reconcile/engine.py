"""The reconcilers, wired: takes watch events, works through keys, looks at everything again now and then."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from aixgo_operator.api.constants import (
    KIND_AGENT_RUNTIME,
    KIND_SESSION_BACKEND,
    LABEL_MANAGED_BY,
    MANAGED_BY,
)
from aixgo_operator.kube.apply import Applier
from aixgo_operator.kube.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotLeadingError,
    RefusedError,
)
from aixgo_operator.kube.resources import CONFIG_MAPS, OUR_KINDS, SECRETS, with_type
from aixgo_operator.reconcile import agentruntime, sessionbackend, triggers
from aixgo_operator.reconcile.addons import Addons
from aixgo_operator.reconcile.agent import reconcile_agent
from aixgo_operator.reconcile.authority import AuthorityReconciler, authority_key
from aixgo_operator.reconcile.cache import Cache, ref_of
from aixgo_operator.reconcile.certificates import CertificateKeeper
from aixgo_operator.reconcile.collect import Collector
from aixgo_operator.reconcile.context import Context
from aixgo_operator.reconcile.describe import describe
from aixgo_operator.reconcile.echo import Echo
from aixgo_operator.reconcile.keys import Key
from aixgo_operator.reconcile.metrics import Metrics
from aixgo_operator.reconcile.referenced import ReferencedObjects
from aixgo_operator.reconcile.resync import list_everything
from aixgo_operator.reconcile.status import StatusWriter
from aixgo_operator.reconcile.workqueue import Requeue, WorkQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.kube.client import KubeClient
    from aixgo_operator.kube.resources import Manifest, Resource
    from aixgo_operator.probe.redis_info import BackendProber
    from aixgo_operator.probe.statusz import PodProber

log = logging.getLogger(__name__)

#: Failures in a row before a failure that may pass by itself is told in the status.
_PATIENCE: Final = 3
#: Seconds until a namespace that is being deleted is looked at again.
_TERMINATING: Final = 10.0
_NOT_LEADING: Final = 1.0
#: Seconds until the cluster is read again after the start: what went between the first reading and the first
#: word of the watches is told by nobody. And seconds that this waits at most for the first look at
#: everything, and for a runtime that has just begun to start; ``resync_seconds`` if that is less.
_FIRST_RESYNC: Final = 15.0
_FIRST_LOOKS: Final = 120.0
_START: Final = 30.0
_ASK_AGAIN: Final = 1.0


class Engine:
    """Everything between watch events and writes. All methods belong to one event loop."""

    def __init__(
        self,
        client: KubeClient,
        settings: OperatorSettings,
        *,
        pods: PodProber,
        backends: BackendProber,
        metrics: Metrics | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        concurrency: int = 10,
    ) -> None:
        self.metrics = metrics or Metrics()
        self.echo = Echo(settings.watch_namespaces, time.monotonic)
        self.cache = Cache(self.echo.expect)
        self.queue: WorkQueue[Key] = WorkQueue(self._work, concurrency=concurrency, observer=self.metrics)
        self.metrics.watch_depth(lambda: float(self.queue.depth))
        referenced = ReferencedObjects(client, self.cache, settings.watch_namespaces)
        self.addons = Addons(client, self.cache, settings)
        self._context = Context(
            settings=settings,
            client=client,
            cache=self.cache,
            referenced=referenced,
            collector=Collector(self.cache, referenced, self.addons, settings),
            applier=Applier(client, self.cache),
            certificates=CertificateKeeper(client, self.cache, settings, now),
            status=StatusWriter(client, self.cache, now),
            pods=pods,
            backends=backends,
            now=now,
            enqueue=lambda key, after: self.queue.add(key, after=after),
        )
        self._authority = AuthorityReconciler(self._context, self.metrics)
        self._authority_key = authority_key(settings)
        self._resync: asyncio.Task[None] | None = None

    async def start(self, *, incomplete: bool = False) -> None:
        """Read the cluster once, look at everything, and go on.

        ``incomplete``: do so when at least one of our kinds is served. Raises ApiError (404: CRDs are
        missing).
        """
        await self.addons.look()
        await self._read_everything(len(OUR_KINDS) - 1 if incomplete else 0)
        self.queue.start()
        self._enqueue_all()
        self._resync = asyncio.create_task(self._resync_forever(), name="resync")

    async def stop(self) -> None:
        """Let running reconciles end and stop."""
        if self._resync is not None:
            self._resync.cancel()
        await self.queue.stop()

    @property
    def alive(self) -> bool:
        """Whether the engine's own tasks run."""
        return self._resync is not None and not self._resync.done()

    def observe(self, resource: Resource, event: str | None, body: Manifest) -> None:
        """Take in a watch event: ADDED, MODIFIED, DELETED, or None for an item of the initial list."""
        manifest = with_type(resource, dict(body))
        self.metrics.event(resource.kind)
        try:
            self._observe(resource, event, manifest)
        finally:
            self.echo.heard(resource.kind, manifest["metadata"].get("namespace", ""))

    def _observe(self, resource: Resource, event: str | None, manifest: Manifest) -> None:
        deleted = event == "DELETED"
        if resource in (SECRETS, CONFIG_MAPS):
            kind, namespace, name = ref_of(manifest)
            if event is None and self._context.referenced.holds(manifest):
                return  # listed when the watch began, after it had been read for those who refer to it
            if deleted:
                self._context.referenced.forget(kind, namespace, name)
            else:
                self._context.referenced.take(manifest)
            if (kind, namespace, name) == (SECRETS.kind, *self._authority_key[1:]):
                self.queue.add(self._authority_key)
            labels = manifest["metadata"].get("labels") or {}
            if labels.get(LABEL_MANAGED_BY) != MANAGED_BY and self.cache.get(ref_of(manifest)) is None:
                # Somebody else's: not kept, but somebody may refer to it.
                for key in triggers.concerned(self.cache, kind, (namespace, name)):
                    self.queue.add(key)
                return
        for key in triggers.observe(self.cache, manifest, deleted=deleted):
            self.queue.add(key)

    async def resync(self) -> int:
        """Read the whole cluster again, repair what a lost event left wrong, and return how many objects
        were."""
        repaired = 0
        async for resource, manifest, deleted in list_everything(
            self._context.client, self.cache, self._context.settings, may_lack=len(OUR_KINDS)
        ):
            known = self.cache.get(ref_of(manifest))
            keys = triggers.observe(self.cache, manifest, deleted=deleted)
            if keys or (deleted and known is not None):
                repaired += 1
                log.info("missed event", extra={"kind": resource.kind, "object": ref_of(manifest)[1:]})
            for key in keys:
                self.queue.add(key)
        self._context.referenced.forget_all()
        self._enqueue_all(spread=self._context.settings.resync_seconds / 20)
        return repaired

    async def _read_everything(self, may_lack: int) -> None:
        found = list_everything(self._context.client, self.cache, self._context.settings, may_lack=may_lack)
        async for _, manifest, _ in found:
            self.cache.put(manifest)

    def _enqueue_all(self, spread: float = 0.0) -> None:
        self.queue.add(self._authority_key)
        for resource in OUR_KINDS:
            for manifest in self.cache.all_of(resource.kind):
                # Those with a steady pace have had their look by then.
                after = random.uniform(spread / 2, spread) if spread else 0.0  # noqa: S311  jitter
                self.queue.add(Key(*ref_of(manifest)), after=after, patient=spread > 0.0)

    async def _resync_forever(self) -> None:
        await asyncio.sleep(min(_FIRST_RESYNC, self._context.settings.resync_seconds))
        await self._until_started(_FIRST_LOOKS)
        while True:
            try:
                await self.resync()
            except ApiError as error:
                log.warning("resync failed", extra={"error": str(error)})
            await asyncio.sleep(self._context.settings.resync_seconds)
            await self.queue.until_drained(_FIRST_LOOKS)

    async def _until_started(self, timeout: float) -> None:
        """Wait for the end of a start: all were looked at, and those that begin have come to something."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        longest = self._context.settings.resync_seconds
        while await self.queue.until_drained(end - loop.time()):
            began = max(self._context.unsettled.values(), default=None)
            if began is None or loop.time() > end:
                return
            if self._context.now() - began > timedelta(seconds=min(_START, longest)):
                return
            await asyncio.sleep(min(_ASK_AGAIN, longest))

    async def _work(self, key: Key) -> Requeue:
        try:
            return await self._reconcile(key)
        except NotLeadingError:
            return Requeue(_NOT_LEADING)  # the process is about to end; should it lead again, it goes on here
        except ForbiddenError as error:
            if error.namespace_is_going:
                return Requeue(_TERMINATING)
            await self._report(key, error)
            raise
        except (RefusedError, InvalidError):
            raise  # told in the status, with everything else as it is
        except Exception as error:
            await self._report(key, error)
            raise

    async def _reconcile(self, key: Key) -> Requeue:
        match key.kind:
            case "AgentRuntime":
                return await agentruntime.reconcile_runtime(self._context, key)
            case "Agent":
                return await reconcile_agent(self._context, key)
            case "SessionBackend":
                return await sessionbackend.reconcile_backend(self._context, key)
            case "CertificateAuthority":
                return await self._authority.reconcile()
        raise ValueError(f"no reconciler for {key.kind}")

    async def _report(self, key: Key, error: Exception) -> None:
        """Tell a failure in the status, unless it may be gone at the next try."""
        passing = isinstance(error, ConflictError) or (isinstance(error, ApiError) and error.retryable)
        if passing and self.queue.failures(key) < _PATIENCE:
            return
        message = describe(error)
        try:
            if key.kind == KIND_AGENT_RUNTIME:
                await agentruntime.report_error(self._context, key, message)
            elif key.kind == KIND_SESSION_BACKEND:
                await sessionbackend.report_error(self._context, key, message)
        except Exception as second:  # noqa: BLE001  the first error is the one to raise
            log.warning("error not reported", extra={"key": str(key), "error": repr(second)})
