"""An API server client that fails as networks and busy API servers do, or dies after a number of writes."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Self

from aixgo_operator.kube.client import ApiServerClient
from aixgo_operator.kube.errors import ApiError, UnavailableError
from aixgo_operator.reconcile.engine import Engine

if TYPE_CHECKING:
    from aixgo_operator.domain.settings import OperatorSettings
    from aixgo_operator.probe.redis_info import BackendProber
    from aixgo_operator.probe.statusz import PodProber
    from aixgo_operator.reconcile.metrics import Metrics


class CrashError(Exception):
    """The process is dead."""


class CrashingClient(ApiServerClient):
    """Does ``writes`` writes, and nothing any more after them: the answer of the last one is never seen."""

    def __init__(self, *arguments: Any, writes: int = 10**9, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.writes = writes
        self.done = 0
        self.dead = asyncio.Event()

    @property
    def crashed(self) -> bool:
        """Whether the process is dead."""
        return self.done >= self.writes

    async def request(self, method: str, path: str, **options: Any) -> Any:
        if self.crashed:
            raise CrashError
        answer = await super().request(method, path, **options)
        if method != "GET":
            self.done += 1
        if self.crashed:
            self.dead.set()
            raise CrashError
        return answer


class FaultyClient(ApiServerClient):
    """Every request fails in one of many ways with a probability of ``rate``; what fails is repeatable."""

    rate = 0.0
    random = random.Random(0)  # noqa: S311
    #: How often each fault came.
    faults: dict[str, int]

    async def request(self, method: str, path: str, **options: Any) -> Any:
        if self.random.random() >= self.rate:
            return await super().request(method, path, **options)
        fault = self.random.choice(("429", "500", "503", "reset", "lost answer", "slow"))
        self.faults[fault] = self.faults.get(fault, 0) + 1
        match fault:
            case "429":
                raise ApiError(429, "TooManyRequests", "slow down", retry_after=0.05)
            case "500" | "503":
                raise ApiError(int(fault), "ServiceUnavailable", "etcd has no leader")
            case "reset":
                raise UnavailableError(0, "ConnectionError", "connection reset")
            case "lost answer":
                # It is done, and nobody hears of it.
                try:
                    await super().request(method, path, **options)
                except ApiError as error:
                    raise UnavailableError(0, "Timeout", "no answer") from error
                raise UnavailableError(0, "Timeout", "no answer")
        await asyncio.sleep(0.2)
        return await super().request(method, path, **options)


class Run:
    """An engine on a client of its own, without watches: a short ``resync_seconds`` feeds it."""

    def __init__(
        self,
        client: ApiServerClient,
        settings: OperatorSettings,
        pods: PodProber,
        backends: BackendProber,
        metrics: Metrics | None = None,
        engine: type[Engine] = Engine,
    ) -> None:
        self.engine = engine(client, settings, pods=pods, backends=backends, metrics=metrics, concurrency=4)
        self._client = client
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.engine.stop()
        await self._client.close()

    async def _run(self) -> None:
        while True:
            try:
                await self.engine.start()
            except (ApiError, CrashError):
                await asyncio.sleep(0.1)
            else:
                return
