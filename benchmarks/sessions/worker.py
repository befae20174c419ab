"""A process that measures some stores."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.workers import run_worker
from benchmarks.sessions.adapters import load
from benchmarks.sessions.measure import FlushCounter, Measurer

if TYPE_CHECKING:
    from benchmarks.sessions.adapters.base import Adapter


class Worker:
    """Answers requests, one after the other."""

    def __init__(self, places: dict[str, Any]) -> None:
        self._places = places
        self._adapters: dict[str, Adapter] = {}
        self._measurers: dict[str, Measurer] = {}
        self._flushes = FlushCounter()

    async def answer(self, request: dict[str, Any]) -> Any:
        """Do what a request asks for."""
        if request["do"] == "open":
            return await self._open(request["row"])
        if request["do"] == "close":
            for adapter in self._adapters.values():
                await adapter.close()
            return None
        return await self._measurers[request["row"]].run(**request["measure"])

    async def _open(self, row: str) -> dict[str, Any]:
        directory = Path(self._places["directory"]) / row
        directory.mkdir(mode=0o700)
        redis = {key: value for key, value in self._places.items() if key.startswith("redis_")}
        adapter = self._adapters[row] = load(row, directory=directory, **redis)
        await adapter.open()
        self._measurers[row] = Measurer(adapter, self._flushes)
        versions = {"python": platform.python_version(), **adapter.versions()}
        return {"durability": adapter.durability, "versions": versions}


if __name__ == "__main__":
    run_worker(lambda places: Worker(places).answer)
