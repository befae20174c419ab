"""A queue of keys to reconcile: each key once, one worker per key, back-off on failure, delays, patience."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

log = logging.getLogger(__name__)

K = TypeVar("K", bound="Hashable")
K_contra = TypeVar("K_contra", bound="Hashable", contravariant=True)

#: Seconds of the first pause after a failure, and of the longest one.
BACKOFF_BASE: Final = 0.5
BACKOFF_MAX: Final = 60.0
#: A failed key is not tried again sooner than this, whatever events come in.
MIN_RETRY: Final = 0.5
#: Seconds for which a patient key lets others go before it.
PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Requeue:
    """When to look at a key again, in seconds. None: only when something happens to it."""

    after: float | None = None
    #: Whether nothing will have happened to it as far as is known, so that others may go first.
    patient: bool = False


class QueueObserver(Protocol[K_contra]):
    """What somebody may want to know of a queue (metrics)."""

    def done(self, key: K_contra, seconds: float, error: BaseException | None) -> None:
        """A reconcile ended."""


class WorkQueue(Generic[K]):
    """Runs ``work(key)`` for keys that were added, ``concurrency`` keys at a time.

    A key that is added while it waits is not added twice; one that is added while it is worked on is worked
    on again afterwards. A patient one lets those go first that come up to :data:`PATIENCE` seconds after it.
    An exception of ``work`` puts the key back with exponential back-off and jitter. All
    methods have to be called from the event loop.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[Requeue]],
        *,
        concurrency: int = 10,
        backoff_base: float = BACKOFF_BASE,
        backoff_max: float = BACKOFF_MAX,
        patience: float = PATIENCE,
        observer: QueueObserver[K] | None = None,
    ) -> None:
        self._work = work
        self._concurrency = concurrency
        self._backoff_base = backoff_base
        self._backoff_max = backoff_max
        self._patience = patience
        self._observer = observer
        #: Loop time at which a key has its turn, a number that settles ties, and the key.
        self._ready: asyncio.PriorityQueue[tuple[float, int, K]] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        #: The place of each key that waits for a worker; an entry with another one was overtaken by its key.
        self._waiting: dict[K, tuple[float, int]] = {}
        self._active: set[K] = set()
        #: Added while being worked on.
        self._again: set[K] = set()
        self._delayed: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        #: Loop time before which a failed key rests.
        self._rest_until: dict[K, float] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._stopped = False
        self._idle = asyncio.Event()
        self._idle.set()
        #: Set while no key waits for a worker.
        self._drained = asyncio.Event()
        self._drained.set()

    @property
    def depth(self) -> int:
        """Keys that wait for a worker now (delayed ones do not count)."""
        return len(self._waiting)

    @property
    def active(self) -> int:
        """Keys that are being worked on."""
        return len(self._active)

    async def until_drained(self, timeout: float) -> bool:
        """Wait until no key waits for a worker, for ``timeout`` seconds at most; tell whether it is so."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), timeout)
        return self._drained.is_set()

    def failures(self, key: K) -> int:
        """How often the key failed in a row."""
        return self._failures.get(key, 0)

    def start(self) -> None:
        """Start the workers in the running event loop."""
        self._workers = [
            asyncio.create_task(self._run(), name=f"reconcile worker {number}")
            for number in range(self._concurrency)
        ]

    def add(self, key: K, *, after: float = 0.0, patient: bool = False) -> None:
        """Ask for a reconcile of ``key``, now or ``after`` seconds from now. The earliest of several requests
        counts."""
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        due = max(loop.time() + after, self._rest_until.get(key, 0.0))
        if due > loop.time():
            pending, known = self._delayed.get(key), self._waiting.get(key)
            if (known is not None and known[0] <= due) or (pending is not None and pending.when() <= due):
                return
            if pending is not None:
                pending.cancel()
            self._delayed[key] = loop.call_at(due, self._enqueue, key, patient)
        else:
            self._enqueue(key, patient)

    async def stop(self, timeout: float = 5.0) -> None:
        """Take nothing new, let running reconciles end for ``timeout`` seconds, then cancel them."""
        self._stopped = True
        for handle in self._delayed.values():
            handle.cancel()
        self._delayed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout)
        for worker in self._workers:
            worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers = []

    def _enqueue(self, key: K, patient: bool) -> None:
        handle = self._delayed.pop(key, None)
        if handle is not None:
            handle.cancel()
        if key in self._active:
            self._again.add(key)
            return
        turn = asyncio.get_running_loop().time() + (self._patience if patient else 0.0)
        known = self._waiting.get(key)
        if known is None or turn < known[0]:
            place = self._waiting[key] = (turn, next(self._numbers))
            self._drained.clear()
            self._ready.put_nowait((*place, key))

    async def _run(self) -> None:
        while not self._stopped:
            *place, key = await self._ready.get()
            if self._waiting.get(key) != tuple(place):
                continue  # it had its turn earlier
            del self._waiting[key]
            if not self._waiting:
                self._drained.set()
            if self._stopped:
                return
            self._active.add(key)
            self._idle.clear()
            try:
                await self._process(key)
            finally:
                self._active.discard(key)
                if not self._active:
                    self._idle.set()
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    async def _process(self, key: K) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        error: Exception | None = None
        try:
            requeue = await self._work(key)
        except Exception as caught:
            error = caught
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            pause = min(self._backoff_base * 2 ** (failures - 1), self._backoff_max)
            pause *= random.uniform(1.0, 1.25)  # noqa: S311  jitter
            self._rest_until[key] = loop.time() + min(pause, max(MIN_RETRY, self._backoff_base))
            log.warning(
                "reconcile failed", extra={"key": str(key), "failures": failures, "error": repr(caught)},
                exc_info=failures == 1,
            )  # fmt: skip
            self._schedule(key, pause)
        else:
            self._failures.pop(key, None)
            self._rest_until.pop(key, None)
            if requeue.after is not None:
                self._schedule(key, requeue.after, requeue.patient)
        finally:
            if self._observer is not None:
                self._observer.done(key, loop.time() - started, error)

    def _schedule(self, key: K, after: float, patient: bool = False) -> None:
        """Put a key back that is still marked as active."""
        if not self._stopped and key not in self._again:
            self.add(key, after=max(after, 0.001), patient=patient)
