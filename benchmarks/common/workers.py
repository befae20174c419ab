"""Processes that measure: one JSON request per line in, one JSON answer per line out."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any, Self

from benchmarks.common.machine import ROOT, clean_environment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

_TAIL = 2000


class WorkerError(Exception):
    """A worker could not do what it was asked for."""


class WorkerProcess:
    """A worker, as the driver sees it."""

    def __init__(self, python: Path, module: str, places: dict[str, Any], log: Path) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [str(python), "-m", module, json.dumps(places)],
                cwd=ROOT,
                env=clean_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def ask(self, **request: Any) -> Any:
        """Send a request and return the answer.

        Raises:
            WorkerError: it failed, or the worker is gone.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise WorkerError(f"worker ended: {self._log.read_text(errors='replace')[-_TAIL:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["result"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        try:
            self.ask(do="close")
            self._process.stdin.close()
            self._process.wait(10)
        except (WorkerError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()


def run_worker(make: Callable[[dict[str, Any]], Callable[[dict[str, Any]], Awaitable[Any]]]) -> None:
    """Be a worker; its arguments come as JSON, ``loop`` among them.

    Args:
        make: Gets the arguments and returns what answers requests.
    """
    places: dict[str, Any] = json.loads(sys.argv[1])
    # Some libraries print; the answers have a descriptor of their own.
    answers = os.dup(1)
    os.dup2(2, 1)

    async def serve() -> None:
        answer_to = make(places)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            try:
                answer = {"result": await answer_to(json.loads(line))}
            except Exception:  # noqa: BLE001 - the driver decides what it means
                answer = {"error": traceback.format_exc()}
            os.write(answers, json.dumps(answer).encode() + b"\n")

    if places.pop("loop") == "uvloop":
        import uvloop

        uvloop.run(serve())
    else:
        asyncio.run(serve())
