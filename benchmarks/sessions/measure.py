"""How one operation of one store is measured. Runs in the worker, next to the store."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.sessions.adapters.base import Adapter

#: ``times`` of the operations in microseconds; ``elapsed`` and ``cpu`` in seconds and ``flushes`` of all.
Sample = dict[str, Any]

#: So many samples are taken however long they take.
_LEAST_SAMPLES = 2


class FlushCounter:
    """Counts ``fsync`` and ``fdatasync`` of Python code in this process, whatever thread calls them."""

    def __init__(self) -> None:
        self.calls = 0
        for name in ("fsync", "fdatasync"):
            setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, flush: Callable[[Any], None]) -> Callable[[Any], None]:
        def counted(fd: Any) -> None:
            self.calls += 1
            flush(fd)

        return counted


class Measurer:
    """Measures one store. Sessions that are only read, or whose length does not matter, are made once."""

    def __init__(self, adapter: Adapter, flushes: FlushCounter) -> None:
        self._adapter = adapter
        self._flushes = flushes
        self._sessions: dict[tuple[str, int], Any] = {}
        self._checkpoints: dict[int, Any] = {}

    async def run(
        self, kind: str, samples: int, seconds: float, *, first: bool, **arguments: Any
    ) -> Sample | None:
        """Measure one kind of operation. ``first``: of its round. None: the store has no such thing."""
        if first and kind == "append" and arguments["history"] <= 100:
            # Long sessions hardly grow; short ones are made anew.
            self._sessions.pop(("append", arguments["history"]), None)
        gc.collect()
        measure: Callable[..., Awaitable[Sample | None]] = getattr(self, f"_{kind}")
        return await measure(samples, seconds, **arguments)

    async def _session(self, purpose: str, history: int) -> Any:
        key = (purpose, history)
        if key not in self._sessions:
            self._sessions[key] = await self._adapter.create()
            await self._adapter.seed(self._sessions[key], history)
        return self._sessions[key]

    async def _create(self, samples: int, seconds: float) -> Sample:
        return await _repeat(self._adapter.create, samples, seconds)

    async def _append(self, samples: int, seconds: float, *, history: int) -> Sample:
        session = await self._session("append", history)
        messages = [self._adapter.message(number) for number in range(samples)]
        before = self._flushes.calls
        sample = await _repeat(lambda: self._adapter.append(session, messages.pop()), samples, seconds)
        return sample | {"flushes": self._flushes.calls - before}

    async def _read(
        self, samples: int, seconds: float, *, history: int, limit: int | None, forget: bool = False
    ) -> Sample:
        """Read messages; ``forget``: decoded anew each time, although the process has just read them."""
        session = await self._session("read", history)
        wanted = history if limit is None else limit
        found = await self._adapter.read(session, limit)
        if len(found) != wanted:
            raise AssertionError(f"{len(found)} messages instead of {wanted}")
        drop = self._adapter.forget

        async def anew() -> None:
            if drop is not None:
                drop(session)

        before = anew if forget else None
        return await _repeat(lambda: self._adapter.read(session, limit), samples, seconds, before)

    async def _cold(self, samples: int, seconds: float, *, history: int, limit: int) -> Sample | None:
        read = self._adapter.cold_read
        if read is None:
            return None
        session = await self._session("read", history)
        times: list[float] = []
        deadline = time.perf_counter() + seconds
        while len(times) < samples and (len(times) < _LEAST_SAMPLES or time.perf_counter() < deadline):
            microseconds, found = await read(session, limit)
            if len(found) != limit:
                raise AssertionError(f"{len(found)} messages instead of {limit}")
            times.append(microseconds)
        return _sample(times, sum(times) / 1e6, 0)

    async def _checkpoint(self, samples: int, seconds: float, *, history: int) -> Sample | None:
        make = self._adapter.checkpoint
        if make is None:
            return None
        session = await self._session("checkpoint", history)
        return await _repeat(lambda: make(session), samples, seconds)

    async def _restore(self, samples: int, seconds: float, *, history: int) -> Sample | None:
        make, restore = self._adapter.checkpoint, self._adapter.restore
        if make is None or restore is None:
            return None
        session = await self._session("checkpoint", history)
        if history not in self._checkpoints:
            self._checkpoints[history] = await make(session)
        checkpoint = self._checkpoints[history]

        async def go_on() -> None:  # there must be something to go back from
            await self._adapter.append(session, self._adapter.message(0))

        return await _repeat(lambda: restore(session, checkpoint), samples, seconds, before=go_on)

    async def _clients(self, samples: int, seconds: float, *, clients: int) -> Sample:
        """Every client appends to a session of its own, one message after the other, for some seconds."""
        sessions = [await self._adapter.create() for _ in range(clients)]
        for session in sessions:
            await self._adapter.append(session, self._adapter.message(0))
        times: list[float] = []
        before = self._flushes.calls
        cpu, begin = time.process_time(), time.perf_counter()
        deadline = begin + seconds

        async def client(session: Any) -> None:
            number = 0
            while True:
                message = self._adapter.message(number)
                start = time.perf_counter()
                if start >= deadline:
                    return
                await self._adapter.append(session, message)
                times.append((time.perf_counter() - start) * 1e6)
                number += 1

        await asyncio.gather(*(client(session) for session in sessions))
        elapsed = time.perf_counter() - begin
        sample = _sample(times, elapsed, time.process_time() - cpu)
        return sample | {"flushes": self._flushes.calls - before}

    async def _limit(self, samples: int, seconds: float, *, name: str) -> Sample | None:
        limits = self._adapter.limits
        return None if limits is None else await _repeat(limits[name], samples, seconds)

    async def _extra(self, samples: int, seconds: float, *, name: str) -> Sample | None:
        extra = self._adapter.extra
        return None if extra is None else await extra[name]()


async def _repeat(
    operation: Callable[[], Awaitable[Any]],
    samples: int,
    seconds: float,
    before: Callable[[], Awaitable[None]] | None = None,
) -> Sample:
    """Time an operation until there are enough samples or the time is over; ``before`` is not timed."""
    times: list[float] = []
    cpu = 0.0
    deadline = time.perf_counter() + seconds
    while len(times) < samples:
        if before is not None:
            await before()
        start_cpu, start = time.process_time(), time.perf_counter()
        if start >= deadline and len(times) >= _LEAST_SAMPLES:
            break
        await operation()
        times.append((time.perf_counter() - start) * 1e6)
        cpu += time.process_time() - start_cpu
    return _sample(times, sum(times) / 1e6, cpu)


def _sample(times: list[float], elapsed: float, cpu: float) -> Sample:
    return {"times": [round(value, 1) for value in times], "elapsed": elapsed, "cpu": cpu}
