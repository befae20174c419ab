"""A process that measures some stores: one JSON request per line in, one JSON answer per line out."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


async def serve(places: dict[str, Any], answers: int) -> None:
    """Answer requests from standard input until it ends."""
    worker = Worker(places)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            answer = {"result": await worker.answer(json.loads(line))}
        except Exception:  # noqa: BLE001 - the driver decides what it means
            answer = {"error": traceback.format_exc()}
        os.write(answers, json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Run a worker; its arguments come as JSON."""
    places: dict[str, Any] = json.loads(sys.argv[1])
    # Some stores print; the answers have a descriptor of their own.
    answers = os.dup(1)
    os.dup2(2, 1)
    if places.pop("loop") == "uvloop":
        import uvloop

        uvloop.run(serve(places, answers))
    else:
        asyncio.run(serve(places, answers))


if __name__ == "__main__":
    main()
